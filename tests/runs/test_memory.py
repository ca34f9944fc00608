"""A failed allocation in a step, an evaluation or a run is reported with its batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import config as configs
from mtra_jax.errors import RunError
from mtra_jax.runs.directory import checkpoints, metrics_log
from mtra_jax.runs.training import interfaces, late_metrics, loop, preparation
from mtra_jax.runs.training import run as training
from mtra_jax.train import memory
from mtra_jax.types import Batch

SMALL = [
    ("tasks", "irony,intensity"),
    ("data.fraction", "0.1"),
    ("batch_size", "64"),
    ("micro_batches", "2"),
    ("epochs", "1"),
    ("backbone.hidden_size", "16"),
    ("backbone.intermediate_size", "32"),
    ("backbone.num_hidden_layers", "1"),
    ("data.cache_dir", ""),
    ("devices", "1"),
]


@pytest.fixture(scope="module")
def config():
    return configs.load("configs/baselines.py:ew_new_synthetic", SMALL)


@pytest.fixture(scope="module")
def prepared(config):
    return preparation.prepare(config)


def on_a_device():
    jnp.zeros(1 << 50).block_until_ready()


def on_the_host():
    np.empty(1 << 58)


def failing_at(function, call, fail):
    """`function`, which runs out of memory in the given call."""
    calls = iter(range(1, 1 << 30))

    def wrapped(*arguments):
        if next(calls) == call:
            fail()
        return function(*arguments)

    wrapped.compile_ahead = getattr(function, "compile_ahead", None)
    return wrapped


def fit(run, directory):
    record = metrics_log.MetricsLog(directory, step=0)
    silent = interfaces.Watch(lambda *_: None, lambda *_: None)
    try:
        loop.fit(
            run,
            checkpoints.Checkpoints(directory / "checkpoints"),
            record,
            loop.Progress(),
            silent,
        )
    finally:
        record.close()


@pytest.mark.slow
@pytest.mark.parametrize("fail", [on_a_device, on_the_host])
@pytest.mark.parametrize("call", [1, 3])
def test_a_step_names_the_largest_batch_in_work(prepared, tmp_path, fail, call):
    """Steps run ahead of the read metrics: an earlier batch may be at fault."""
    run, shapes = prepared.run, []

    def note(state, batch):
        shapes.append(np.shape(batch.tokens)[-2:])
        return run.update(state, batch)

    note.compile_ahead = run.update.compile_ahead
    update = failing_at(note, call, fail)
    with pytest.raises(RunError) as error:
        fit(run._replace(update=update), tmp_path)
    # The batch that failed was not noted; those before it had at most its shape, or
    # not.
    batch = next(run.train.batches(run.schedule.plan(0), epoch=0, start=call - 1))
    shapes.append(np.shape(batch.tokens)[-2:])
    rows, tokens = max(shapes, key=np.prod)
    message = str(error.value)
    assert message.startswith(
        f"out of memory in a batch of {rows} rows of {tokens} tokens on each device: "
    )
    assert message.endswith(f"; {loop.ADVICE}")
    for remedy in ("micro_batches", "batch_size", "data.max_length"):
        assert remedy in loop.ADVICE
    assert ("RESOURCE_EXHAUSTED" in message) == (fail is on_a_device)
    assert "\n" not in message


@pytest.mark.slow
def test_an_evaluation_names_its_batch(prepared, tmp_path):
    run = prepared.run
    forward = failing_at(run.forward, 2, on_a_device)
    with pytest.raises(RunError) as error:
        fit(run._replace(forward=forward), tmp_path)
    packed = run.validation.batcher.batches(run.validation.plan)
    shapes = [
        memory.shape_of(batch) for _, batch in zip(range(2), packed, strict=False)
    ]
    largest = max(shapes, key=np.prod)
    assert str(error.value).startswith(f"out of memory in a batch of {largest} on each")


def test_an_allocation_that_fails_when_results_are_read_names_its_batch(
    prepared, tmp_path, monkeypatch
):
    """Devices run asynchronously: the error shows when metrics are read."""
    read = late_metrics.to_host
    monkeypatch.setattr(late_metrics, "to_host", failing_at(read, 1, on_a_device))
    with pytest.raises(RunError, match=r"^out of memory in a batch of \d+ rows of "):
        fit(prepared.run, tmp_path)


@pytest.mark.slow
def test_an_allocation_that_fails_while_saving_is_reported(
    config, tmp_path, monkeypatch
):
    """The message about a failed save does not name the shape of a batch."""
    save = checkpoints.Checkpoints.save
    for fail in (on_a_device, on_the_host):
        failing = failing_at(save, 2, fail)  # after the trial
        monkeypatch.setattr(checkpoints.Checkpoints, "save", failing)
        with pytest.raises(
            loop.TrainingError, match=r"^out of memory: .*micro_batches"
        ):
            training.train(
                config,
                tmp_path / fail.__name__,
                lambda *_: interfaces.Watch(lambda *_: None, lambda *_: None),
            )


def test_other_errors_pass():
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="lost"),
        memory.naming([memory.Shape(1, 2)], "advice"),
    ):
        raise jax.errors.JaxRuntimeError("INTERNAL: a peer is lost")


@pytest.mark.parametrize(
    "shape", [(8, 64), (2, 8, 64), (4, 2, 8, 64), (6, 4, 2, 8, 64)]
)
def test_the_shape_of_a_batch_is_that_of_one_device_and_part(shape):
    fields = dict.fromkeys(Batch._fields, np.zeros(1))
    batch = Batch(**{**fields, "tokens": np.zeros(shape)})
    assert memory.shape_of(batch) == (8, 64)
    assert str(memory.shape_of(batch)) == "8 rows of 64 tokens"
