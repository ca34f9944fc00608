"""Two processes train through the script as one does; neither outlives the other."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xla_flags
from messages import assert_mentions, without_progress
from tiers import NIGHTLY_ONLY, nightly_only, rest_nightly

from mtra_jax.runs.directory import checkpoints, checksums
from mtra_jax.runs.processes import group

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.processes
RATE, STEPS = 1e-4, 6
FLAGS = (
    "--config=configs/mtra.py:new_synthetic",
    "--config.tasks=irony,intensity",
    "--config.epochs=1",
    "--config.data.fraction=0.3",
    "--config.backbone.num_hidden_layers=1",
    "--config.backbone.hidden_size=32",
    "--config.backbone.intermediate_size=64",
    "--config.checkpoint_every=2",
    # Adamax moves a parameter by about the rate whatever its gradient's size, so that
    # rounding grows with every step: small steps keep it small.
    f"--config.learning_rate={RATE}",
)
STEP = "mtra_jax.runs.directory.metrics_log:MetricsLog.add"
KILL = signal.SIGKILL.value


def start(workdir, cache, num_devices, *flags, faults=(), variables=()):
    environment = {
        **xla_flags.environment(num_devices),
        **dict(variables),
        "TQDM_DISABLE": "1",
    }
    command = ["tests/runs/fault.py", json.dumps(faults), "scripts/train.py"]
    cache = f"--config.data.cache_dir={cache}"
    return subprocess.Popen(
        [sys.executable, *command, f"--workdir={workdir}", *FLAGS, cache, *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(workdir, caches, faults=((), ()), flags=((), ()), variables=()):
    """Two processes of two devices each, with faults and flags for each."""
    port = choose_port()
    return [
        start(
            workdir,
            caches[index],
            2,
            "--distributed",
            f"--coordinator=127.0.0.1:{port}",
            "--num_processes=2",
            f"--process_id={index}",
            *flags[index],
            faults=faults[index],
            variables=variables,
        )
        for index in range(2)
    ]


def finish(process, code=0):
    """Standard output, and standard error without progress lines."""
    try:
        output, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == code, errors[-3000:]
    return output, without_progress(errors)


def choose_port():
    """A free port below those that the system gives to outgoing connections."""
    for port in np.random.default_rng().permutation(np.arange(20_000, 32_000)):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", int(port)))
            return int(port)
    raise AssertionError("no port is free")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def ended(cache, tmp_path_factory):
    """The work directories of one process and of two, and the second one's output.

    The system does not let the second process write any byte to a file.
    """
    root = tmp_path_factory.mktemp("runs")
    forbidden = [("mtra_jax.runs.training.run:train", 1, "largest file", 0)]
    one = start(root / "one", cache, 4)
    two = start_two(root / "two", (cache, ""), ((), forbidden))
    outputs = [finish(process)[0] for process in (one, *two)]
    return root / "one", root / "two", outputs[-1]


GLOO = {
    *("[Gloo]", "Rank", "is", "connected", "to", "peer", "ranks", "ranks.", "Expected"),
    *("number", "of", ":"),
}
"""The words of a line of Gloo, besides numbers."""


def losses_of(workdir):
    lines = [
        json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
    return [line["objective"] for line in lines if "objective" in line]


def named_params_of(workdir):
    """The parameters of the last step by name, in float64."""
    store = checkpoints.Checkpoints(workdir / "checkpoints", read_only=True)
    assert store.latest_step() == STEPS
    leaves = checksums.by_name(store.restore_params(STEPS))
    store.close()
    return {name: np.float64(leaf).reshape(-1) for name, leaf in leaves.items()}


def params_of(workdir):
    """The parameters of the last step, [N] in float64."""
    return np.concatenate(list(named_params_of(workdir).values()))


def test_two_processes_of_two_devices_equal_one_of_four(ended):
    one, two = map(losses_of, ended[:2])
    assert len(one) == STEPS
    assert two == pytest.approx(one, rel=1e-3, abs=1e-4)


def test_two_processes_end_with_the_parameters_of_one(ended):
    """Rounding changes gradients by a thousandth, and steps by a thousandth of the rate.

    A gradient that is only rounding moves its parameter by a whole step in either
    direction. The critic's layer that reads z comes near to this: its gradient is the
    difference of two almost equal means, over true and over shuffled pairs.
    """
    one, two = map(named_params_of, ended[:2])
    distances = {name: np.abs(one[name] - two[name]) for name in one}
    assert max(map(np.max, distances.values())) <= 2 * STEPS * RATE
    rest = [d for name, d in distances.items() if "statistics/from_z" not in name]
    assert len(rest) == len(distances) - 2
    assert np.quantile(np.concatenate(rest), 0.99) <= 1e-3 * STEPS * RATE


@nightly_only
def test_two_processes_compute_the_same_bits_by_shard_map(ended, cache, tmp_path):
    flag = ("--config.mapping=shard_map",)
    for process in start_two(tmp_path, (cache, cache), flags=(flag, flag)):
        finish(process)
    np.testing.assert_array_equal(params_of(tmp_path), params_of(ended[1]))
    assert losses_of(tmp_path) == losses_of(ended[1])


def test_only_process_0_writes_and_prints(ended):
    _, two, output = ended
    # Its threads may print at once, each a line in pieces.
    assert set(re.sub(r"\d+", " ", output).split()) <= GLOO
    writers = {path.name for path in (two / "checkpoints").rglob("ocdbt.process_*")}
    assert writers == {"ocdbt.process_0"}
    assert json.loads((two / "environment.json").read_text())["processes"] == 2
    assert len(list((two / "tensorboard").iterdir())) == 1


def test_a_missing_process_is_named_after_the_timeout(tmp_path):
    """The runtime would abort the process."""
    # Bound, so that no other program takes the port; it refuses connections.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        flags = (
            "--distributed",
            f"--coordinator={address}",
            "--num_processes=2",
            "--process_id=1",
            "--initialization_timeout=1",
        )
        output, errors = finish(start(tmp_path / "run", "", 1, *flags), 1)
    assert output == ""
    assert errors.startswith("error: --distributed: ")
    assert_mentions(
        errors,
        "process 0",
        address,
        "Connection refused",
        "every host has its own 127.0.0.1",
        "--initialization_timeout",
    )
    assert not (tmp_path / "run").exists()


def test_a_killed_process_ends_the_other_and_both_continue(ended, cache, tmp_path):
    caches = cache, cache
    first, second = start_two(tmp_path, caches, ((), [(STEP, 4, "signal", KILL)]))
    finish(second, -KILL)
    errors = finish(first, 1)[1].splitlines()
    assert errors[-1].startswith("error: another process of this run is lost: ")
    assert errors[-1].endswith("; the same command in each of them continues")
    assert not any("Traceback" in line for line in errors)

    first, second = start_two(tmp_path, caches)
    output, _ = finish(first)
    finish(second)
    assert "continuing at step 2" in output
    np.testing.assert_array_equal(params_of(tmp_path), params_of(ended[1]))
    assert losses_of(tmp_path) == losses_of(ended[1])


FIRST_STEP = "mtra_jax.runs.training.loop:fit"
END_SECONDS = group.HEARTBEAT_SECONDS + group.GRACE_SECONDS
"""The longest time for which a process outlives another, see `runs/processes/group.py`."""


def end_of_the_other(victim, other, code):
    """Seconds from the end of `victim` with `code` to that of `other`, and its errors."""
    finish(victim, code)
    began = time.monotonic()
    _, errors = other.communicate(timeout=600)
    assert other.returncode not in (0, 2)
    return time.monotonic() - began, without_progress(errors)


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=NIGHTLY_ONLY)])
def test_a_process_killed_before_the_first_step_ends_the_other(number, cache, tmp_path):
    faults = [(), ()]
    faults[number] = [(FIRST_STEP, 1, "signal", KILL)]
    started = start_two(tmp_path / "run", (cache, cache), faults)
    seconds, errors = end_of_the_other(started[number], started[1 - number], -KILL)
    assert seconds < END_SECONDS
    # Without process 0 the runtime may abort and print its own lines.
    assert number == 0 or "another process of this run is lost" in errors


@nightly_only
def test_process_0_killed_in_a_step_ends_the_other_and_both_continue(
    ended, cache, tmp_path
):
    caches, faults = (cache, cache), ([(STEP, 4, "signal", KILL)], ())
    first, second = start_two(tmp_path, caches, faults)
    seconds, _ = end_of_the_other(first, second, -KILL)
    assert seconds < END_SECONDS
    for process in start_two(tmp_path, caches):
        finish(process)
    np.testing.assert_array_equal(params_of(tmp_path), params_of(ended[1]))


@pytest.mark.parametrize(
    ("number", "place"), rest_nightly([(0, STEP), (1, FIRST_STEP)], [(0, STEP)])
)
def test_an_error_in_one_process_ends_the_other_with_one_line(
    number, place, cache, tmp_path
):
    faults = [(), ()]
    faults[number] = [(place, 1, "raise", "planted")]
    started = start_two(tmp_path / "run", (cache, cache), faults)
    seconds, errors = end_of_the_other(started[number], started[1 - number], 1)
    assert seconds < END_SECONDS
    lines = errors.splitlines()
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    assert "the same command in each of them continues" in lines[0]


def test_processes_with_different_configurations_do_not_begin(cache, tmp_path):
    flags = ("--config.seed=3",), ("--config.seed=4",)
    started = start_two(tmp_path / "run", (cache, cache), flags=flags)
    errors = [finish(process, 2)[1] for process in started]
    assert "process 1 differs" in errors[0]
    assert all(x in errors[1] for x in ("seed", "4 here", "3 in process 0"))
    assert [len(text.splitlines()) for text in errors] == [1, 1]
    assert not (tmp_path / "run").exists()


@nightly_only
def test_processes_do_not_connect_through_a_proxy(ended, cache, tmp_path):
    proxy = {"http_proxy": f"http://127.0.0.1:{choose_port()}"}  # which is not in use
    started = start_two(tmp_path, (cache, cache), variables=proxy)
    output, errors = finish(started[0])
    finish(started[1])
    assert "4 of 4 visible devices on 1 host" in output
    assert errors == ""
    np.testing.assert_array_equal(params_of(tmp_path), params_of(ended[1]))
