"""A prepared run -> trained parameters: epochs, validation, early stopping, checkpoints."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import metrics
from mtra_jax.data import batches
from mtra_jax.errors import InputError, RunError
from mtra_jax.runs import checkpoints, divergence, metrics_log
from mtra_jax.tasks import Benchmark
from mtra_jax.train import evaluate, memory
from mtra_jax.train.devices import Program, compiling, to_host
from mtra_jax.train.step import TrainState
from mtra_jax.types import Params

ADVICE = "expected more micro_batches, or a smaller batch_size or data.max_length"
"""Against a training step that needs too much memory."""
STEPS_BEHIND = 2
"""Metrics are read this many steps late, so that the device never waits for the host."""


class TrainingError(RunError):
    """Training ended without a result; the message says at which step and task."""


class Stopped(Exception):
    """The run was asked to stop, and did so with its state saved at `step`."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step


class Schedule(NamedTuple):
    """What is visited when; see `data.batches.plan_epoch`.

    After `max_bad_steps` skipped steps in a row the run ends.
    """

    epochs: int
    patience: int
    checkpoint_every: int
    max_bad_steps: int
    plan: Callable[[int], np.ndarray]
    """epoch -> [num_batches, batch_size]; the same number of batches each epoch."""
    steps_per_epoch: int


class Progress(NamedTuple):
    """Where a run stands; goes into the record of each checkpoint."""

    step: int = 0
    validated: int = 0
    """Epochs whose validation is done: one may end in a saved step, and not yet be."""
    skipped_steps: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    stale_epochs: int = 0
    seconds: float = 0.0
    best_summary: dict[str, Any] | None = None
    """The validation figures of the best epoch, as in `results.json`."""

    def is_over(self, schedule: Schedule) -> bool:
        """Whether training has ended."""
        return (
            self.validated >= schedule.epochs or self.stale_epochs >= schedule.patience
        )


class Run(NamedTuple):
    """All that `fit` needs, with the parts put together by `train.build`."""

    benchmark: Benchmark
    schedule: Schedule
    update: Program
    forward: Program
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
    say: Callable[[str], Any] = lambda text: None
    """Takes a line about what went wrong and was got over."""
    should_stop: Callable[[int | None], bool] = lambda step: False
    """Asked after each step, and with None after each batch of an evaluation."""


class Step(NamedTuple):
    """A step taken: the state after it, and whether it is to be saved, or the last."""

    state: TrainState
    step: int
    is_due: bool
    is_last: bool
    skipped: int
    """Steps found skipped since the one before; they are seen a little late."""
    diverged: str
    """Why training ends here; empty where it does not."""


Save = Callable[[TrainState, Progress, float], None]
"""Saves a state and where it stands under a score, the lower the better."""


def fit(
    run: Run,
    store: checkpoints.Checkpoints,
    record: metrics_log.Records,
    progress: Progress,
    watch: Watch,
) -> tuple[Params, Progress]:
    """Trains from `run.state` at `progress` to the end; returns the best parameters.

    A run that diverges after a sound epoch ends there, with the parameters of the best.

    Raises:
      TrainingError: the run diverged before a sound epoch.
      RunError: a batch needs too much memory.
      Stopped: `watch.should_stop()`.
    """
    if watch.should_stop(None):
        raise Stopped(progress.step)
    with compiling() as pool:
        if not progress.is_over(run.schedule):
            _compile_ahead(run, pool)
        return _fit(run, store, record, progress, watch)


def _compile_ahead(run: Run, pool: futures.Executor) -> None:
    """Compiles the programs of all shapes at once, training's first.

    A step waits for the program of its own shape, although that of the largest shape,
    which holds any batch, may be compiled before: results depend on the shape in their
    last bits, and on how long a compilation takes they must not.
    """
    validation = run.validation
    run.update.compile_ahead(pool, run.state, run.train.blanks(run.schedule.plan(0)[0]))
    run.forward.compile_ahead(
        pool, run.state.params, validation.batcher.blanks(validation.plan[0])
    )


def _fit(
    run: Run,
    store: checkpoints.Checkpoints,
    record: metrics_log.Records,
    progress: Progress,
    watch: Watch,
) -> tuple[Params, Progress]:
    state, diverged = run.state, ""
    started = time.monotonic() - progress.seconds

    def save(state: TrainState, progress: Progress, score: float) -> None:
        record.flush()
        arrays = to_host(state)._asdict()
        store.save(progress.step, arrays, progress._asdict(), score)

    while not progress.is_over(run.schedule):
        for taken in _epoch(run, state, progress, record, watch):
            state, diverged = taken.state, taken.diverged
            progress = progress._replace(
                step=taken.step,
                skipped_steps=progress.skipped_steps + taken.skipped,
                seconds=time.monotonic() - started,
            )
            if diverged:
                break
            if taken.is_due:
                save(state, progress, math.inf)
            if taken.is_last:
                raise Stopped(taken.step)
        if diverged:
            break
        progress = _validate(run, state, progress, record, watch, save, started)
    best = _restore_best(store, to_host(state), progress, diverged)
    if diverged:
        watch.say(f"{diverged}; training ends: epoch {progress.best_epoch} is the best")
    return best, progress


def _validate(
    run: Run,
    state: TrainState,
    progress: Progress,
    record: metrics_log.Records,
    watch: Watch,
    save: Save,
    started: float,
) -> Progress:
    """Validates the epoch that has ended, records and saves it; returns the progress.

    `started`: when training began, on the monotonic clock.
    """
    epoch = progress.validated
    bar = stoppable(watch, progress.step)
    try:
        found = evaluate.evaluate(
            run.forward, state.params, run.validation, run.benchmark, bar
        )
    except Stopped:
        save(state, progress, math.inf)
        raise
    summary = metrics.summarize(found.scores, run.benchmark.tasks)
    loss = math.inf if found.faults else found.loss
    progress = after_epoch(progress, epoch, loss, summary)
    progress = progress._replace(seconds=time.monotonic() - started)
    figures = metrics_log.of_validation(found.losses, found.scores)
    means = {"validation/loss": found.loss, "validation/avg": summary["avg"]}
    record.add(progress.step, {"epoch": epoch + 1, **figures, **means})
    save(state, progress, loss)
    watch.epoch(epoch + 1, found.loss, summary, progress)
    divergence.report_validation(epoch + 1, found.faults, watch.say)
    return progress


def _restore_best(
    store: checkpoints.Checkpoints, state: TrainState, progress: Progress, diverged: str
) -> Params:
    """The parameters of the best epoch.

    Raises:
      TrainingError: the validation of no epoch was finite.
    """
    if not progress.best_epoch:
        reason = diverged or (
            f"the validation of none of {progress.validated} epochs is finite"
        )
        raise TrainingError(
            f"{reason}, the last good checkpoint is kept; {divergence.ADVICE}"
        )
    best, best_record = store.restore(store.best_step(), state._asdict())
    check_best(best_record, progress.best_epoch)
    return best["params"]


def check_best(found: dict[str, Any], best_epoch: int) -> None:
    """Raises InputError where the record `found` is not that of `best_epoch`."""
    if found["best_epoch"] != best_epoch:
        raise InputError(
            f"the checkpoint of the best epoch, {best_epoch}, is missing; remove the "
            "run's checkpoints to train again"
        )


def stoppable(watch: Watch, step: int) -> evaluate.Bar:
    """The bar of `watch`, which raises `Stopped` once it should stop."""

    def bar(items: Iterable, total: int) -> Iterator:
        for item in watch.bar(items, total):
            if watch.should_stop(None):
                raise Stopped(step)
            yield item

    return bar


def _is_due(schedule: Schedule, step: int) -> bool:
    """Whether a checkpoint within the epoch is due; its end has one anyway."""
    every = schedule.checkpoint_every
    return every > 0 and step % every == 0 and step % schedule.steps_per_epoch != 0


def _epoch(
    run: Run,
    state: TrainState,
    progress: Progress,
    record: metrics_log.Records,
    watch: Watch,
) -> Iterator[Step]:
    """Yields each step of the epoch that `progress` stands in, from its step on."""
    epoch = progress.validated
    plan = run.schedule.plan(epoch)
    first = epoch * run.schedule.steps_per_epoch
    offset = progress.step - first
    packed = run.train.batches(plan, epoch=epoch, start=offset)
    waiting: deque = deque()
    shapes: deque = deque(maxlen=STEPS_BEHIND + 1)
    most = run.schedule.max_bad_steps

    def read(step: int, measured: Any) -> dict[str, float]:
        flat = metrics_log.flatten(to_host(measured), run.benchmark.task_names)
        record.add(step, {"epoch": epoch + 1, **flat})
        watch.step(step, epoch + 1, flat, int(np.sum(plan[step - first - 1] >= 0)))
        return flat

    for index, batch in enumerate(batches.prefetch(packed), start=offset):
        step, skipped, diverged = first + index + 1, 0, ""
        shapes.append(memory.shape_of(batch))
        with memory.naming(shapes, ADVICE):
            state, measured = run.update(state, batch)
            waiting.append((step, measured))
            is_last = watch.should_stop(step)
            is_due = is_last or _is_due(run.schedule, step)
            behind = 0 if is_due or index + 1 == len(plan) else STEPS_BEHIND
            while len(waiting) > behind and not diverged:
                at, measured = waiting.popleft()
                flat = read(at, measured)
                skipped += flat["bad_steps"] > 0
                diverged = divergence.check_step(at, flat, most, watch.say)
        if diverged:
            step = at
        yield Step(state, step, is_due, is_last, skipped, diverged)


def after_epoch(
    progress: Progress, epoch: int, loss: float, summary: dict[str, Any]
) -> Progress:
    """The progress with the validation of `epoch` (from 0) taken into account.

    A loss that is not finite is no improvement, negative infinity included.
    """
    progress = progress._replace(validated=epoch + 1)
    if math.isfinite(loss) and loss < progress.best_loss:
        return progress._replace(
            best_loss=loss, best_epoch=epoch + 1, stale_epochs=0, best_summary=summary
        )
    return progress._replace(stale_epochs=progress.stale_epochs + 1)


def resume(
    run: Run, store: checkpoints.Checkpoints, say: Callable[[str], Any]
) -> tuple[Run, Progress]:
    """The run and its progress as of the latest checkpoint; as they are without one.

    `say` takes a line about a checkpoint that is damaged and passed over.
    """
    found = store.restore_latest(run.state._asdict(), say)
    if found is None:
        return run, Progress()
    _, arrays, record = found
    return run._replace(state=TrainState(**arrays)), Progress(**record)
