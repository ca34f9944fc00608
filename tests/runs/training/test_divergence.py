"""Runs with nonfinite outputs or losses: parameters, reports and files."""

import json
import math

import jax
import numpy as np
import pytest

from mtra_jax import config as configs
from mtra_jax.runs.directory import checkpoints, metrics_log
from mtra_jax.runs.training import interfaces, loop, preparation, results
from mtra_jax.runs.training import run as training

pytestmark = pytest.mark.slow
SMALL = [
    ("tasks", "irony,intensity"),
    ("data.fraction", "0.1"),
    ("batch_size", "64"),
    ("backbone.hidden_size", "16"),
    ("backbone.intermediate_size", "32"),
    ("backbone.num_hidden_layers", "1"),
    ("data.cache_dir", ""),
    ("devices", "1"),
]


def make_config(*overrides):
    preset = "configs/baselines.py:ew_new_synthetic"
    return configs.load(preset, [*SMALL, *overrides])


@pytest.fixture(scope="module")
def prepared():
    """Four steps an epoch, four epochs, patience 2."""
    return preparation.prepare(make_config(("epochs", "4"), ("patience", "2")))


class Forward:
    """The run's forward pass with faults; `faults`: evaluation (from 1) -> fault.

    A fault changes the losses, or an output of the first text of each batch of the second
    task.
    """

    def __init__(self, run, faults):
        self._forward, self._faults = run.forward, faults
        self._num_batches = len(run.validation.plan)
        self._calls = 0
        self.compile_ahead = run.forward.compile_ahead

    def __call__(self, params, batch):
        outputs, measured = jax.device_get(self._forward(params, batch))
        evaluation = self._calls // self._num_batches + 1
        self._calls += 1
        fault = self._faults.get(evaluation)
        if fault in ("nan", "-inf") and batch.tasks.max() == 1:
            outputs = outputs.copy()
            outputs[0, -1] = float(fault)
        if fault in ("loss inf", "loss -inf"):
            losses = np.full_like(measured["losses"], float(fault.split()[1]))
            measured = {**measured, "losses": losses}
        return outputs, measured


class Fitted:
    """A run with those faults, the lines it reported and the lines of its log."""

    def __init__(self, prepared, directory, faults, **changes):
        directory.mkdir(exist_ok=True)
        self.reports, self.scores = [], []
        store = checkpoints.Checkpoints(directory / "checkpoints")
        save = store.save
        store.save = lambda step, state, record, score: (
            self.scores.append(score) or save(step, state, record, score)
        )
        if "update" in changes:
            changes["update"].compile_ahead = prepared.run.update.compile_ahead
        run = prepared.run._replace(**changes)
        run = run._replace(forward=Forward(run, faults))
        watch = interfaces.Watch(say=self.reports.append)
        record = metrics_log.MetricsLog(directory, step=0)
        try:
            self.params, self.progress = loop.fit(
                run, store, record, loop.Progress(), watch
            )
        finally:
            record.close()
            text = (directory / "metrics.jsonl").read_text()
            self.lines = [json.loads(x, parse_constant=fail) for x in text.splitlines()]


def fail(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("fault", ["nan", "-inf", "loss inf", "loss -inf"])
def test_a_nonfinite_epoch_is_never_the_best(prepared, tmp_path, fault):
    """The fault is in epochs 1 and 3."""
    fitted = Fitted(prepared, tmp_path, {1: fault, 3: fault})
    assert fitted.progress.best_epoch in (2, 4)
    assert math.isfinite(fitted.progress.best_loss)
    assert [math.isinf(score) for score in fitted.scores] == [True, False, True, False]
    size, batch_size = prepared.run.validation.batcher.corpus.sizes[1], 64
    expected = (
        f"irony: {fault}, intensity: {fault}"
        if "loss" in fault
        else f"intensity: {-(-size // batch_size)} of {size} outputs not finite"
    )
    assert fitted.reports == [
        f"epoch {epoch}: {expected}; it cannot be the best" for epoch in (1, 3)
    ]
    validations = [x for x in fitted.lines if "validation/loss" in x]
    name = "loss" if "loss" in fault else "intensity/pearson"
    assert [line[f"validation/{name}"] is None for line in validations] == [
        *(True, False, True, False)
    ]
    assert None not in [line["validation/irony/macro_f1"] for line in validations]


def test_a_run_without_a_finite_validation_fails_with_a_message(prepared, tmp_path):
    """It fails after two epochs, its patience."""
    message = (
        "the validation of none of 2 epochs is finite, the last good checkpoint is kept; "
        "the run has diverged: a lower learning_rate (or smaller regression targets) may "
        "help, in a new --workdir"
    )
    with pytest.raises(loop.TrainingError) as error:
        Fitted(prepared, tmp_path, {1: "nan", 2: "loss inf"})
    assert str(error.value) == message


def broken_from(run, step):
    """The run's update with nonfinite objectives from `step` on."""

    def update(state, batch):
        if int(state.step) + 1 >= step:
            batch = batch._replace(targets=np.full_like(batch.targets, math.nan))
        return run.update(state, batch)

    return update


def test_divergence_after_a_finite_epoch_returns_its_parameters(prepared, tmp_path):
    run = prepared.run
    sound = Fitted(
        prepared, tmp_path / "sound", {}, schedule=run.schedule._replace(epochs=1)
    )
    schedule = run.schedule._replace(max_bad_steps=2)
    changes = {"update": broken_from(run, 6), "schedule": schedule}
    fitted = Fitted(prepared, tmp_path / "broken", {}, **changes)
    assert (fitted.progress.best_epoch, fitted.progress.step) == (1, 7)
    assert fitted.progress.skipped_steps == 2
    jax.tree.map(np.testing.assert_array_equal, fitted.params, sound.params)
    assert fitted.reports[-1].startswith("step 7 on ")
    assert fitted.reports[-1].endswith(
        "; 2 such steps in a row; training ends: epoch 1 is the best"
    )


def test_divergence_before_a_finite_epoch_fails(prepared, tmp_path):
    run = prepared.run
    schedule = run.schedule._replace(max_bad_steps=2)
    changes = {"update": broken_from(run, 2), "schedule": schedule}
    with pytest.raises(loop.TrainingError, match=r"^step 3 on ") as error:
        Fitted(prepared, tmp_path, {}, **changes)
    assert "; 2 such steps in a row, the last good checkpoint is kept; " in str(
        error.value
    )


# ---- the files


def finish(prepared, directory, faults):
    run = prepared.run
    prepared = prepared._replace(run=run._replace(forward=Forward(run, faults)))
    progress = loop.Progress(
        step=4, validated=1, best_loss=1.0, best_epoch=1, best_summary={"avg": 1.0}
    )
    params = run.state.params
    directory.mkdir()
    log = metrics_log.MetricsLog(directory, step=4)
    results.finish(directory, prepared, params, progress, lambda items, _: items, log)
    log.close()
    text = (directory / "metrics.jsonl").read_text()
    json.loads(text, parse_constant=fail)
    return json.loads((directory / "results.json").read_text(), parse_constant=fail)


def test_nonfinite_test_outputs_get_null_scores_and_no_predictions(prepared, tmp_path):
    """The other task gets scores and predictions."""
    result = finish(prepared, tmp_path / "bad", dict.fromkeys(range(99), "nan"))
    good = finish(prepared, tmp_path / "good", {})
    assert result["test"]["irony"] == good["test"]["irony"]
    assert result["test"]["intensity"] == {"pearson": None, "spearman": None}
    assert result["test"]["avg"] is None
    names = [path.name for path in (tmp_path / "bad" / "predictions").iterdir()]
    assert names == ["irony.txt"]
    assert len(list((tmp_path / "good" / "predictions").iterdir())) == 2


def test_a_real_divergence_is_reported_and_ends_with_code_1(tmp_path):
    """The step is so large that products of the parameters overflow float32."""
    config = make_config(
        ("learning_rate", "1e15"), ("warm_up", "0"), ("max_bad_steps", "99")
    )
    reports = []

    def watch_of(prepared, at):
        return interfaces.Watch(say=reports.append)

    with pytest.raises(
        loop.TrainingError, match=r"^the validation of none of 3 epochs"
    ):
        training.train(config, tmp_path, watch_of)
    assert any("outputs not finite; it cannot be the best" in x for x in reports)
    assert not (tmp_path / "results.json").exists()
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=fail)
    # The same command reports it again.
    with pytest.raises(
        loop.TrainingError, match=r"^the validation of none of 3 epochs"
    ):
        training.train(config, tmp_path, watch_of)
