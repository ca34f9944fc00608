"""The cores, GPUs and memory of each of several workers."""

import os

import jax
import pytest
from messages import assert_mentions

from mtra_jax.errors import InputError
from mtra_jax.runs.sweeps import shares


def test_the_cores_are_divided(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 2, 3, 5, 6})
    assert [shares.cores(place, 2) for place in (0, 1)] == [[2, 5, 7], [3, 6]]
    assert [shares.cores(place, 6) for place in range(6)] == [
        *([core] for core in (2, 3, 5, 6, 7)),
        [2],
    ]
    monkeypatch.delattr(os, "sched_getaffinity")
    assert shares.cores(0, 2) == []


def test_the_memory_of_a_gpu_is_divided_unless_the_user_has_done_so(monkeypatch):
    old, usual = shares.FRACTIONS
    for name in shares.FRACTIONS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(shares.ALLOCATOR, "platform")
    assert shares.environment(0, 3)[usual] == "0.300"
    assert shares.environment(0, 3)[shares.ALLOCATOR] == "platform"
    monkeypatch.setenv(old, "0.2")
    assert shares.environment(0, 3)[old] == "0.2"
    # JAX refuses both.
    assert usual not in shares.environment(0, 3)


@pytest.mark.parametrize(
    ("named", "num_gpus", "num_workers", "expected"),
    [
        ("", 4, 2, [("0,1", "0.900"), ("2,3", "0.900")]),
        ("", 4, 3, [("0", "0.900"), ("1", "0.900"), ("2", "0.900")]),
        ("", 2, 3, [("0", "0.450"), ("1", "0.450"), ("0", "0.450")]),
        ("GPU-b, 7", 2, 2, [("GPU-b", "0.900"), ("7", "0.900")]),
        ("0,,1,-1,2", 2, 2, [("0", "0.900"), ("1", "0.900")]),
        ("3", 1, 2, [("3", "0.450"), ("3", "0.450")]),
    ],
)
def test_several_gpus_are_divided(named, num_gpus, num_workers, expected, monkeypatch):
    for name in shares.FRACTIONS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(shares.VISIBLE, named)
    monkeypatch.setattr(shares.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(shares.devices, "count_local", lambda: (num_gpus, num_gpus))
    own = [shares.environment(place, num_workers) for place in range(num_workers)]
    assert [(e[shares.VISIBLE], e[shares.FRACTIONS[1]]) for e in own] == expected


def test_this_process_keeps_no_memory_of_a_gpu_and_does_not_say_so_to_the_workers(
    monkeypatch,
):
    monkeypatch.delenv(shares.ALLOCATOR, raising=False)
    monkeypatch.setattr(shares, "_set_here", [])
    shares.start_devices(1)
    assert shares.ALLOCATOR not in os.environ
    # Restored at the end of the test, whatever is set in between.
    monkeypatch.setitem(os.environ, shares.ALLOCATOR, "")
    del os.environ[shares.ALLOCATOR]
    shares.start_devices(2)
    assert os.environ[shares.ALLOCATOR] == "platform"
    assert shares.ALLOCATOR not in shares.environment(0, 2)


def test_a_device_of_one_process_is_refused(monkeypatch):
    monkeypatch.setenv(shares.ALLOCATOR, "platform")
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    with pytest.raises(InputError) as error:
        shares.start_devices(2)
    assert_mentions(error.value, "--jobs 2", "tpu", "--jobs 1")
    shares.start_devices(1)
