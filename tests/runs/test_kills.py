"""Runs of the real script, killed at random moments, end as an undisturbed run.

`KILLS=300 KILLS_SEED=1 python -m pytest tests/runs/test_kills.py` is the longer mode.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import xla_flags

from mtra_jax.runs.directory import checkpoints

pytest.importorskip("orbax.checkpoint")
ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.processes, pytest.mark.nightly]
KILLS = int(os.environ.get("KILLS", "1"))
# Parameters of the method in every run; the longer mode has together all kinds of state.
METHODS = ("mtra",) if KILLS <= 2 else ("mtra", "uw", "dwa", "pcgrad")
SEED = int(os.environ.get("KILLS_SEED", "0"))
FLAGS = (
    "--config.tasks=irony,intensity",
    "--config.data.fraction=0.1",
    "--config.epochs=3",
    "--config.backbone.hidden_size=16",
    "--config.backbone.intermediate_size=32",
    "--config.backbone.num_hidden_layers=1",
    "--config.batch_size=64",
    "--config.checkpoint_every=2",
)


def start(method, workdir, cache):
    return subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "scripts/train.py"),
            f"--config={ROOT}/configs/baselines.py:{method}_new_synthetic",
            f"--workdir={workdir}",
            f"--config.data.cache_dir={cache}",
            *FLAGS,
        ],
        env=xla_flags.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A new process group, so that the kill reaches the children of the script.
        start_new_session=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]


def end_of(workdir):
    """All files of a finished run except times."""
    results = json.loads((workdir / "results.json").read_text())
    results.pop("train_seconds")
    results.pop("scoring_seconds")
    store = checkpoints.Checkpoints(workdir / "checkpoints")
    steps = {"latest": store.latest_step(), "best": store.best_step()}
    states = {}
    for name, step in steps.items():
        state, record = store._read(step)
        record.pop("seconds")
        states[name] = (record, jax.tree.leaves_with_path(state))
    store.close()
    files = {
        str(path.relative_to(workdir)): path.read_bytes()
        for pattern in ("predictions/**/*.txt", "encoder/*", "metrics.jsonl")
        for path in workdir.glob(pattern)
    }
    return results, steps, states, files


def assert_same_end(actual, expected):
    for part in (0, 1, 3):
        assert actual[part] == expected[part]
    for name, (record, leaves) in expected[2].items():
        assert actual[2][name][0] == record
        assert len(actual[2][name][1]) == len(leaves)
        for (path, leaf), (_, other) in zip(leaves, actual[2][name][1], strict=True):
            np.testing.assert_array_equal(
                other, leaf, err_msg=jax.tree_util.keystr(path)
            )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("method", METHODS)
def test_killed_runs_end_as_an_undisturbed_run(method, tmp_path, cache):
    workdir = tmp_path / "whole"
    finish(start(method, workdir, cache))  # fills the cache of compiled programs
    again = tmp_path / "again"
    began = time.monotonic()
    finish(start(method, again, cache))
    seconds = time.monotonic() - began
    expected = end_of(workdir)
    assert_same_end(end_of(again), expected)
    lines = [json.loads(x) for x in expected[3]["metrics.jsonl"].splitlines()]
    steps = [line["step"] for line in lines if "objective" in line]
    assert steps == list(range(1, expected[1]["latest"] + 1))

    rng = np.random.default_rng([SEED, METHODS.index(method)])
    kills, runs = 0, 0
    while kills < KILLS / len(METHODS):
        runs += 1
        broken = tmp_path / f"broken{runs}"
        is_over = False
        while not is_over:
            process = start(method, broken, cache)
            # At any moment from the first import to after the last step. After enough
            # kills the run is left alone until its end.
            if kills < KILLS / len(METHODS):
                try:
                    process.wait(timeout=rng.uniform(0, 1.2 * seconds))
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
                    kills += 1
                    continue
            finish(process)
            is_over = True
        assert_same_end(end_of(broken), expected)
