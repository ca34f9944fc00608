"""Whole runs in this process: programs compiled, epochs, early stopping, bad values."""

import math

import jax
import pytest

from mtra_jax import config as configs
from mtra_jax.errors import InputError
from mtra_jax.train import build, checkpoints, loop, records

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


def make_config(*overrides, preset="configs/mtra.py:tiny_synthetic"):
    return configs.load(preset, [*SMALL, *overrides])


def silent():
    return loop.Watch(lambda *_: None, lambda *_: None)


@pytest.fixture
def compilations():
    """Names of the programs compiled from here on."""
    found = []

    def listen(event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(details.get("fun_name", ""))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def test_two_epochs_compile_each_shape_once(compilations, tmp_path):
    prepared = build.prepare_run(make_config(("epochs", "2"), ("data.max_shapes", "2")))
    run = prepared.run
    compilations.clear()
    record = records.Records(tmp_path, step=0)
    loop.fit(run, checkpoints.Memory(), record, loop.Progress(), silent())
    record.close()
    # The step and the evaluation, once a shape, and no operation outside of the two.
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
    schedule = loop.Schedule(5, 3, 0, plan=lambda epoch: None, steps_per_epoch=7)
    progress = loop.Progress()
    for epoch, loss in enumerate(losses):
        if progress.is_over(schedule):
            break
        progress = progress._replace(step=7 * (epoch + 1))
        progress = loop.after_epoch(progress, epoch, loss, {"avg": loss})
    assert progress.is_over(schedule)
    assert progress.step == 7 * epochs
    assert progress.best_epoch == best
    assert progress.best_summary == {"avg": losses[best - 1]}


def test_a_loss_that_is_not_finite_stops_the_run_with_step_and_task(tmp_path):
    prepared = build.prepare_run(make_config(("learning_rate", "1e30")))
    record = records.Records(tmp_path, step=0)
    with pytest.raises(
        loop.TrainingError, match=r"step 1 on (irony|intensity): not finite: "
    ):
        loop.fit(prepared.run, checkpoints.Memory(), record, loop.Progress(), silent())


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
def test_values_that_do_not_fit_together_are_refused(overrides, message):
    with pytest.raises(InputError, match=message):
        build.prepare_run(make_config(*overrides))
