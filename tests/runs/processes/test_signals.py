"""Signals to real runs at chosen places: saved, reported, and continued."""

import os
import signal

import pytest
from tiers import NIGHTLY_ONLY

pytest.importorskip("orbax.checkpoint")
pytestmark = pytest.mark.processes
# After the run is prepared; as the second step's figures are read, before the third
# step's check; before the first batch of a split.
START = "mtra_jax.runs.directory.checkpoints:open_store"
STEP = "mtra_jax.runs.directory.metrics_log:MetricsLog.add"
EVALUATION = "mtra_jax.train.evaluate:predict_outputs"
SCORING = "mtra_jax.runs.training.results:finish"
# Each continues the previous one: place, number of the call there, saved step.
STOPS = (
    (START, 1, 0),
    (STEP, 1, 3),
    (EVALUATION, 1, 4),
    (EVALUATION, 3, 12),
    (SCORING, 1, 12),
)

STOPPING = (
    "\nstopping after the current step (a compilation may take minutes), then saving"
)
FIRST = {
    "SIGTERM": f"{STOPPING}\n",
    "SIGINT": f"{STOPPING}; Ctrl-C again ends without saving\n",
}


# One handler serves both signals, so that two places are enough for the second.
@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("SIGTERM", STOPS if "KILLS" in os.environ else STOPS[1:3]),
        pytest.param("SIGINT", (STOPS[1], STOPS[4]), marks=NIGHTLY_ONLY),
    ],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_at_any_time_saves_and_the_same_command_continues(
    name, stops, script, same_end, tmp_path
):
    number = signal.Signals[name].value
    for place, call, step in stops:
        faults = [(place, call, "signal", number)]
        errors = script.train(tmp_path, code=128 + number, faults=faults)
        assert errors == (
            f"{FIRST[name]}stopped at step {step}, saved; the same command continues\n"
        )
        assert not (tmp_path / "results.json").exists()
    assert script.train(tmp_path) == ""
    same_end(tmp_path)


@pytest.mark.parametrize(
    "first", [pytest.param("SIGTERM", marks=NIGHTLY_ONLY), "SIGINT"]
)
def test_a_second_sigint_ends_the_run_at_once_and_does_no_damage(
    first, script, same_end, tmp_path
):
    """Even if the checkpoint after the first signal never completes."""
    write = "orbax.checkpoint.checkpoint_manager:CheckpointManager._finalize"
    faults = [
        (STEP, 6, "signal", signal.Signals[first].value),
        (write, 4, "signal", signal.SIGINT.value),
        (write, 4, "hang", 3600),
    ]
    errors = script.train(tmp_path, code=130, faults=faults)
    second = "ended without saving; the same command continues from the last checkpoint"
    assert errors == f"{FIRST[first]}\n{second}\n"
    assert script.train(tmp_path) == ""
    same_end(tmp_path)
