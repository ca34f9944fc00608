"""Whole runs in this process: programs compiled, epochs, early stopping, bad values."""

import json
import math

import jax
import numpy as np
import pytest

from mtra_jax import config as configs
from mtra_jax.errors import InputError
from mtra_jax.runs.directory import checkpoints, metrics_log
from mtra_jax.runs.training import interfaces, loop, preparation
from mtra_jax.train import batching
from mtra_jax.train.devices import to_host

SMALL = [
    ("tasks", "irony,intensity"),
    ("data.fraction", "0.3"),
    ("batch_size", "64"),
    ("backbone.hidden_size", "16"),
    ("backbone.intermediate_size", "32"),
    ("backbone.num_hidden_layers", "1"),
    ("data.cache_dir", ""),
    ("devices", "1"),
]


def make_config(*overrides, preset="configs/mtra.py:new_synthetic"):
    return configs.load(preset, [*SMALL, *overrides])


def silent():
    return interfaces.Watch()


@pytest.fixture
def compilations():
    """Names of the programs that are compiled during the test."""
    names = []

    def listen(event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(details.get("fun_name", ""))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.slow
def test_two_epochs_compile_each_shape_once(compilations, tmp_path):
    prepared = preparation.prepare(
        make_config(("epochs", "2"), ("data.max_shapes", "2"))
    )
    run = prepared.run
    compilations.clear()
    record = metrics_log.MetricsLog(tmp_path, step=0)
    loop.fit(
        run,
        checkpoints.Checkpoints(tmp_path / "checkpoints"),
        record,
        loop.Progress(),
        silent(),
    )
    record.close()
    # The step and the evaluation, once per shape, and no operation outside of these two.
    shapes = len(run.train.shapes), len(run.validation.batcher.shapes)
    assert 2 <= len(compilations) <= sum(shapes), compilations


@pytest.mark.parametrize(
    ("losses", "epochs", "best"),
    [
        ([5, 4, 3, 2, 1], 5, 5),
        ([3, 2, 2.5, 2.1, 2.0, 1.0], 5, 2),  # three epochs without a better one
        ([3, 2, 2.5, 2.1, 1.9], 5, 5),
        ([math.inf, 3, 3, 3, 3], 5, 2),
    ],
)
def test_early_stopping_counts_epochs_without_a_better_loss(losses, epochs, best):
    schedule = batching.Schedule(
        5, 3, 0, 10, plan=lambda epoch: None, steps_per_epoch=7
    )
    progress = loop.Progress()
    for epoch, loss in enumerate(losses):
        if progress.is_over(schedule):
            break
        progress = progress._replace(step=7 * (epoch + 1))
        progress = progress.after_epoch(epoch, loss, {"avg": loss}, loss)
    assert progress.is_over(schedule)
    assert progress.step == 7 * epochs
    assert progress.best_epoch == best
    assert progress.best_summary == {"avg": losses[best - 1]}


@pytest.mark.slow
def test_too_many_nonfinite_steps_end_the_run_and_name_step_and_task(tmp_path):
    """The first step is so large that the outputs of all later ones overflow."""
    overrides = ("learning_rate", "1e30"), ("max_bad_steps", "3")
    prepared = preparation.prepare(make_config(*overrides))
    record = metrics_log.MetricsLog(tmp_path, step=0)
    reports = []
    watch = silent()._replace(say=reports.append)
    expected = (
        r"step 4 on (irony|intensity): not finite: objective, .*; 3 such steps in a row, "
        "the last good checkpoint is kept"
    )
    with pytest.raises(loop.TrainingError, match=expected):
        loop.fit(
            prepared.run,
            checkpoints.Checkpoints(tmp_path / "checkpoints"),
            record,
            loop.Progress(),
            watch,
        )
    assert [line[:6] for line in reports] == ["step 2", "step 3"]
    assert all(
        line.endswith(f"skipped, {n} in a row") for n, line in enumerate(reports, 1)
    )


RATE = 1e-4


class Poisoned:
    """An epoch with a NaN target in steps 3 and 5, on the last device."""

    def __init__(self, num_devices, directory):
        prepared = preparation.prepare(
            make_config(
                ("devices", str(num_devices)),
                ("epochs", "1"),
                # So that devices differ by rounding alone; see test_processes.py.
                ("backbone.dropout", "0"),
                ("head_dropout", "0"),
                ("learning_rate", str(RATE)),
                ("warm_up", "1"),
            )
        )
        run, self.states, self.reports = prepared.run, {}, []
        batches = run.train.batches

        def poisoned(plan, **where):
            for index, batch in enumerate(batches(plan, **where), start=1):
                if index in (3, 5):
                    batch.targets[-1, 0] = math.nan
                yield batch

        def update(state, batch):
            new, measured = run.update(state, batch)
            self.states[int(new.step)] = to_host(new)
            return new, measured

        update.compile_ahead = run.update.compile_ahead
        run.train.batches = poisoned
        record = metrics_log.MetricsLog(directory, step=0)
        _, self.progress = loop.fit(
            run._replace(update=update),
            checkpoints.Checkpoints(directory / "checkpoints"),
            record,
            loop.Progress(),
            silent()._replace(say=self.reports.append),
        )
        record.close()
        text = (directory / "metrics.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        self.lines = {line["step"]: line for line in lines if "objective" in line}


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """By the number of devices."""
    return {n: Poisoned(n, tmp_path_factory.mktemp("poisoned")) for n in (1, 4)}


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", [1, 4])
def test_a_nonfinite_step_is_skipped_and_counted(num_devices, poisoned):
    run = poisoned[num_devices]
    states, progress, reports, steps = run.states, run.progress, run.reports, run.lines
    for step in (3, 5):
        before, after = states[step - 1], states[step]
        jax.tree.map(
            np.testing.assert_array_equal,
            after._replace(step=0, bad_steps=0),
            before._replace(step=0, bad_steps=0),
        )
        assert (after.step, after.bad_steps) == (step, 1)
    changed = jax.tree.map(np.array_equal, states[3].params, states[4].params)
    assert not all(jax.tree.leaves(changed))
    assert states[4].bad_steps == 0
    assert progress.skipped_steps == 2
    assert [line.partition(" on ")[0] for line in reports] == ["step 3", "step 5"]
    assert all("not finite: objective, loss/" in line for line in reports)
    assert list(steps) == list(range(1, progress.step + 1))
    assert steps[3]["objective"] is None
    assert steps[3]["bad_steps"] == 1
    assert steps[4]["bad_steps"] == 0
    # The rate of a step by the optimiser's count; the warm-up takes all steps.
    for step in range(2, progress.step + 1):
        count = int(states[step - 1].optimiser[-1].count)
        rate = RATE * (count + 1) / progress.step
        assert steps[step]["learning_rate"] == pytest.approx(rate, rel=1e-12)


@pytest.mark.slow
def test_devices_skip_together_and_end_with_the_parameters_of_one(poisoned):
    one, four = poisoned[1], poisoned[4]
    skipped = {step: line["bad_steps"] for step, line in one.lines.items()}
    assert {step: line["bad_steps"] for step, line in four.lines.items()} == skipped
    last = max(skipped)
    distance = jax.tree.map(
        lambda a, b: np.abs(np.float64(a) - b),
        one.states[last].params,
        four.states[last].params,
    )
    network, critic = (
        np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(parts)])
        for parts in ((distance["encoder"], distance["heads"]), distance["method"])
    )
    # As in test_processes.py: some gradients of the critic are only rounding.
    assert max(network.max(), critic.max()) <= 2 * last * RATE
    assert np.quantile(network, 0.99) <= 1e-3 * last * RATE


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([("devices", "8"), ("batch_size", "60")], "batch_size is 60"),
        ([("devices", "9")], "devices is 9"),
        ([("sampling", "joint"), ("batch_size", "1")], "batch_size is 1"),
        ([("backbone.hidden_size", "15")], "hidden_size 15"),
        ([("method.marginal", "shufle")], "shuffle"),
    ],
)
def test_incompatible_values_are_refused(overrides, message):
    with pytest.raises(InputError, match=message):
        preparation.prepare(make_config(*overrides))
