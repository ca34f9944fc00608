"""Processes agree on what they run, and count the devices of their hosts."""

import json

import numpy as np
import pytest

from mtra_jax import files
from mtra_jax.errors import InputError
from mtra_jax.runs.processes import agreement
from mtra_jax.train import devices


class Processes:
    """Replaces the collectives of three processes; this one is number 1."""

    def __init__(self, texts):
        self._texts = texts

    def process_count(self):
        return len(self._texts)

    def broadcast_one_to_all(self, value):
        content = np.frombuffer(self._texts[0].encode(), np.uint8)
        return np.int32(content.size) if value.ndim == 0 else content

    def process_allgather(self, flag):
        differs = [text != self._texts[0] for text in self._texts]
        assert flag == differs[1]
        return np.array(differs, np.int32)


def check(monkeypatch, *values):
    """The error of process 1, if the processes have `values`; None without one."""
    flat = [files.flatten(value) for value in values]
    encoded = [{k: json.dumps(v) for k, v in value.items()} for value in flat]
    others = Processes([json.dumps(value) for value in encoded])
    monkeypatch.setattr(agreement, "multihost_utils", others)
    monkeypatch.setattr(agreement.jax, "process_count", others.process_count)
    try:
        agreement.check_same("--config", values[1])
    except InputError as error:
        return str(error)
    return None


SAME = {"seed": 1, "tasks": ["emotion"], "data": {"dir": "é" * 40, "fraction": 0.5}}


def test_equal_values_pass(monkeypatch):
    assert check(monkeypatch, SAME, dict(SAME), dict(SAME)) is None


@pytest.mark.parametrize(
    ("change", "mentioned"),
    [
        ({"seed": 2}, ("seed", "2 here", "1 in process 0")),
        ({"data": {"dir": "x", "fraction": 0.5}}, ("data.dir", "'x' here")),
        ({"added": True}, ("added", "True here", "absent in process 0")),
    ],
)
def test_the_process_that_differs_names_the_key(monkeypatch, change, mentioned):
    message = check(monkeypatch, SAME, SAME | change, SAME)
    assert all(text in message for text in ("--config", *mentioned))


def test_a_missing_key_is_named(monkeypatch):
    values = {key: value for key, value in SAME.items() if key != "seed"}
    assert "seed: absent here, 1 in process 0" in check(monkeypatch, SAME, values)


def test_a_process_that_agrees_names_the_one_that_differs(monkeypatch):
    message = check(monkeypatch, SAME, SAME, SAME | {"seed": 3})
    assert "process 2 differs from process 0" in message


def test_nan_agrees_with_nan(monkeypatch):
    values = SAME | {"beta": float("nan")}
    assert check(monkeypatch, values, dict(values)) is None


def test_one_process_agrees_with_itself(monkeypatch):
    monkeypatch.setattr(agreement, "multihost_utils", None)
    agreement.check_same("--config", SAME)


@pytest.mark.parametrize(
    ("table", "line", "is_idle"),
    [
        # host, devices of the process, devices visible to it
        ([[1, 1, 1]], "1 of 1 visible device on 1 host", False),
        ([[1, 8, 8], [2, 8, 8]], "16 of 16 visible devices on 2 hosts", False),
        ([[1, 1, 4]] * 4, "4 of 4 visible devices on 1 host", False),
        # Each process sees its own device alone, as with --gpus-per-task.
        ([[1, 1, 1]] * 4, "4 of 4 visible devices on 1 host", False),
        # SLURM gives a process one device, and there is one process a host.
        ([[1, 1, 8], [2, 1, 8]], "2 of 16 visible devices on 2 hosts", True),
        ([[1, 1, 8], [2, 8, 8]], "9 of 16 visible devices on 2 hosts", True),
    ],
)
def test_idle_devices_are_counted_by_host(table, line, is_idle):
    counted, warning = agreement.describe_devices(np.array(table))
    assert counted == line
    assert (warning is not None) == is_idle
    if is_idle:
        assert line in warning
        assert "--local_device_ids" in warning


@pytest.mark.parametrize(
    ("platform", "named", "nodes", "expected"),
    [
        ("cpu", "0,1,2,3", 4, 2),
        ("gpu", None, 4, 4),
        ("gpu", "0,3,5", 8, 3),
        ("gpu", "", 8, 2),
    ],
)
def test_visible_devices_include_those_of_other_processes(
    monkeypatch, platform, named, nodes, expected
):
    monkeypatch.setattr(devices.jax, "local_device_count", lambda: 2)
    monkeypatch.setattr(devices.jax, "default_backend", lambda: platform)
    monkeypatch.setattr(devices.glob, "glob", lambda pattern: ["/dev/nvidia0"] * nodes)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert devices.count_local() == (2, expected)
