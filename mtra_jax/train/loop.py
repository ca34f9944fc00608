"""A prepared run -> trained parameters: epochs, validation, early stopping, checkpoints."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import metrics
from mtra_jax.data import batches
from mtra_jax.errors import InputError
from mtra_jax.tasks import Benchmark
from mtra_jax.train import checkpoints, evaluate, parallel, records
from mtra_jax.train.step import TrainState
from mtra_jax.types import Params

STEPS_BEHIND = 2
"""Metrics are read this many steps late, so that the device never waits for the host."""


class TrainingError(RuntimeError):
    """The run cannot go on; the message says at which step and task."""


class Schedule(NamedTuple):
    """What is visited when; see `data.batches.plan_epoch`."""

    epochs: int
    patience: int
    checkpoint_every: int
    plan: Callable[[int], np.ndarray]
    """epoch -> [num_batches, batch_size]; the same number of batches each epoch."""
    steps_per_epoch: int


class Progress(NamedTuple):
    """Where a run stands; goes into the record of each checkpoint."""

    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    stale_epochs: int = 0
    seconds: float = 0.0
    best_summary: dict[str, Any] | None = None
    """The validation figures of the best epoch, as in `results.json`."""

    def is_over(self, schedule: Schedule) -> bool:
        """Whether training has ended."""
        whole = self.step % schedule.steps_per_epoch == 0
        return self.step >= schedule.epochs * schedule.steps_per_epoch or (
            whole and self.stale_epochs >= schedule.patience
        )


class Run(NamedTuple):
    """All that `fit` needs, with the parts put together by `train.build`."""

    benchmark: Benchmark
    schedule: Schedule
    update: Callable
    forward: Callable
    train: batches.Batcher
    validation: evaluate.Split
    state: TrainState


class Watch(NamedTuple):
    """What sees the run go by: called with the step's figures, and after each epoch."""

    step: Callable[[int, int, dict[str, float], int], Any]
    """(step, epoch, flat metrics, number of examples)"""
    epoch: Callable[[int, float, dict[str, Any], Progress], Any]
    """(epoch, validation loss, validation figures as in `results.json`, progress)"""
    bar: evaluate.Bar = evaluate.no_bar
    """Shows how far an evaluation is."""


def fit(
    run: Run,
    store: checkpoints.Store,
    record: records.Records,
    progress: Progress,
    watch: Watch,
) -> tuple[Params, Progress]:
    """Trains from `run.state` at `progress` to the end; returns the best parameters.

    Raises:
      TrainingError: a loss or gradient is not finite.
    """
    state = run.state
    started = time.monotonic() - progress.seconds

    def save(state: TrainState, score: float) -> None:
        record.flush()
        arrays = parallel.to_host(state)._asdict()
        store.save(progress.step, arrays, progress._asdict(), score)

    while not progress.is_over(run.schedule):
        epoch, offset = divmod(progress.step, run.schedule.steps_per_epoch)
        steps = _epoch(run, state, epoch, offset, record, watch)
        for state, step in steps:
            progress = progress._replace(step=step, seconds=time.monotonic() - started)
            if _is_due(run.schedule, step):
                save(state, math.inf)
        found = evaluate.evaluate(
            run.forward, state.params, run.validation, run.benchmark, watch.bar
        )
        summary = metrics.summarize(found.scores, run.benchmark.tasks)
        progress = after_epoch(progress, epoch, found.loss, summary)
        progress = progress._replace(seconds=time.monotonic() - started)
        record.add(progress.step, _validation_line(epoch, found, summary))
        save(state, found.loss)
        watch.epoch(epoch + 1, found.loss, summary, progress)
    best, _ = store.restore(store.best_step(), parallel.to_host(state)._asdict())
    return best["params"], progress


def _is_due(schedule: Schedule, step: int) -> bool:
    """Whether a checkpoint within the epoch is due; its end has one anyway."""
    every = schedule.checkpoint_every
    return every > 0 and step % every == 0 and step % schedule.steps_per_epoch != 0


def _epoch(
    run: Run,
    state: TrainState,
    epoch: int,
    offset: int,
    record: records.Records,
    watch: Watch,
) -> Iterator[tuple[TrainState, int]]:
    """Yields the state after each step of an epoch from batch `offset` on."""
    plan = run.schedule.plan(epoch)
    first = epoch * run.schedule.steps_per_epoch
    packed = run.train.batches(plan, epoch=epoch, start=offset)
    waiting: deque = deque()

    def read(step: int, measured: Any) -> None:
        flat = records.flatten(parallel.to_host(measured), run.benchmark.task_names)
        _check_finite(step, flat)
        record.add(step, {"epoch": epoch + 1, **flat})
        watch.step(step, epoch + 1, flat, int(np.sum(plan[step - first - 1] >= 0)))

    for index, batch in enumerate(batches.prefetch(packed), start=offset):
        state, measured = run.update(state, batch)
        step = first + index + 1
        waiting.append((step, measured))
        is_last = index + 1 == len(plan)
        while waiting and (
            is_last or len(waiting) > STEPS_BEHIND or _is_due(run.schedule, step)
        ):
            read(*waiting.popleft())
        yield state, step


def _check_finite(step: int, flat: dict[str, float]) -> None:
    bad = [name for name, value in flat.items() if not math.isfinite(value)]
    if bad:
        tasks = [
            name.removeprefix("loss/") for name in flat if name.startswith("loss/")
        ]
        raise TrainingError(
            f"step {step} on {', '.join(tasks)}: not finite: {', '.join(bad)}; "
            "the last good checkpoint is kept"
        )


def after_epoch(
    progress: Progress, epoch: int, loss: float, summary: dict[str, Any]
) -> Progress:
    """The progress with the validation of `epoch` (from 0) taken into account."""
    if loss < progress.best_loss:
        return progress._replace(
            best_loss=loss, best_epoch=epoch + 1, stale_epochs=0, best_summary=summary
        )
    return progress._replace(stale_epochs=progress.stale_epochs + 1)


def _validation_line(
    epoch: int, found: evaluate.Evaluation, summary: dict[str, Any]
) -> dict[str, Any]:
    line: dict[str, Any] = {"epoch": epoch + 1, "validation/loss": found.loss}
    for task, loss in found.losses.items():
        line[f"validation/loss/{task}"] = loss
    for task, figures in found.scores.items():
        for name, value in figures.items():
            line[f"validation/{task}/{name}"] = value
    return line | {"validation/avg": summary["avg"]}


def resume(run: Run, store: checkpoints.Store, workdir: Any) -> tuple[Run, Progress]:
    """The run and its progress as of the latest checkpoint; as they are without one."""
    latest = store.latest_step()
    if latest is None:
        return run, Progress()
    arrays, record = store.restore(latest, run.state._asdict())
    progress = Progress(**record)
    if progress.step != latest:
        raise InputError(f"{workdir}: the record of checkpoint {latest} is damaged")
    return run._replace(state=TrainState(**arrays)), progress
