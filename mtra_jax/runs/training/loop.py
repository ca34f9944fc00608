"""Programs and batches -> trained parameters, by epochs with validation and checkpoints."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import metrics
from mtra_jax.data.packed import batches
from mtra_jax.errors import RunError
from mtra_jax.runs.directory import best_model, metrics_log
from mtra_jax.runs.training import bound_ceilings, diagnostics, divergence
from mtra_jax.runs.training.interfaces import Log, Store, Watch
from mtra_jax.runs.training.late_metrics import LateMetrics, Waiting
from mtra_jax.runs.training.progress import Progress
from mtra_jax.runs.training.selection import Selection
from mtra_jax.tasks import Benchmark
from mtra_jax.train import evaluate, memory
from mtra_jax.train.batching import Schedule
from mtra_jax.train.devices import Program, compiling, to_host
from mtra_jax.train.step import TrainState
from mtra_jax.types import Params

ADVICE = "expected more micro_batches, or a smaller batch_size or data.max_length"
"""Advice for a training step that runs out of memory."""
STEPS_BEHIND = 2
"""Metrics are read this many steps late, so that the device never waits for the host."""


class TrainingError(RunError):
    """Training ended without a result; the message names step and task."""


class Stopped(Exception):
    """The run stopped as requested, with its state saved at `step`."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step


class Run(NamedTuple):
    """The inputs of `fit`: programs, batches and the first state."""

    benchmark: Benchmark
    schedule: Schedule
    update: Program
    forward: Program
    train: batches.Batcher
    validation: evaluate.Split
    state: TrainState
    rate: Callable[[np.ndarray], Any]
    """(steps taken before) -> the learning rate, without a device."""
    selection: Selection = Selection()
    probe: diagnostics.Diagnostics | None = None


class Step(NamedTuple):
    """The state after a step. `is_due`: it must be saved. `is_last`: training must stop."""

    state: TrainState
    step: int
    is_due: bool
    is_last: bool
    skipped: int
    """Skipped steps among those whose metrics were read since the last step."""
    diverged: str
    """Why training ends here; empty if it continues."""


class _Training(NamedTuple):
    """A run and what it reports to. `started`: when it began, on the monotonic clock."""

    run: Run
    store: Store
    log: Log
    watch: Watch
    steps: bound_ceilings.Steps
    started: float

    def seconds(self) -> float:
        """The time of training so far."""
        return time.monotonic() - self.started

    def save(self, state: TrainState, progress: Progress, score: float) -> None:
        """Saves a state and its progress under a score; lower scores are better."""
        self.log.flush()
        arrays = to_host(state)._asdict()
        self.store.save(progress.step, arrays, progress._asdict(), score)


def fit(
    run: Run, store: Store, log: Log, progress: Progress, watch: Watch
) -> tuple[Params, Progress]:
    """Trains from `run.state` at `progress` to the end; returns the best parameters.

    A run that diverges after an epoch with a finite validation ends there, with the
    parameters of the best epoch.

    Raises:
      TrainingError: no epoch had a finite validation.
      RunError: a batch needs too much memory.
      Stopped: `watch.should_stop` returned True.
    """
    if watch.should_stop(None):
        raise Stopped(progress.step)
    with compiling() as pool:
        if not progress.is_over(run.schedule):
            _compile_ahead(run, pool)
        validation = run.validation.batcher.corpus
        steps = bound_ceilings.Steps(run.benchmark, run.train.corpus, validation)
        started = time.monotonic() - progress.seconds
        return _fit(_Training(run, store, log, watch, steps, started), progress)


def _compile_ahead(run: Run, pool: futures.Executor) -> None:
    """Starts to compile the programs of all shapes, training's first.

    A step waits for the program of its batch's shape, although that of the largest shape
    holds any batch and may be ready earlier: the last bits of a result depend on the
    shape, and must not depend on the duration of a compilation.
    """
    validation = run.validation
    run.update.compile_ahead(pool, run.state, run.train.blanks(run.schedule.plan(0)[0]))
    run.forward.compile_ahead(
        pool, run.state.params, validation.batcher.blanks(validation.plan[0])
    )


def _fit(training: _Training, progress: Progress) -> tuple[Params, Progress]:
    run, state, diverged = training.run, training.run.state, ""
    while not progress.is_over(run.schedule):
        for taken in _epoch(training, state, progress):
            state, diverged = taken.state, taken.diverged
            progress = progress._replace(
                step=taken.step,
                skipped_steps=progress.skipped_steps + taken.skipped,
                seconds=training.seconds(),
            )
            if diverged:
                break
            if taken.is_due:
                training.save(state, progress, math.inf)
            if taken.is_last:
                raise Stopped(taken.step)
        if diverged:
            break
        progress = _validate(training, state, progress)
    best = _restore_best(training.store, to_host(state), progress, diverged)
    if diverged:
        line = f"training ends: epoch {progress.best_epoch} is the best"
        training.watch.say(f"{diverged}; {line}")
    return best, progress


def _validate(training: _Training, state: TrainState, progress: Progress) -> Progress:
    """Validates the epoch that has ended, and logs and saves it; returns the progress."""
    run, watch = training.run, training.watch
    epoch = progress.validated
    bar = stoppable(watch, progress.step)
    try:
        scored = evaluate.evaluate(
            run.forward,
            state.params,
            run.validation,
            run.benchmark,
            bar,
            chooses_thresholds=True,
        )
    except Stopped:
        training.save(state, progress, math.inf)
        raise
    summary = metrics.summarize(scored.scores, run.benchmark.tasks)
    score = run.selection.score(scored, summary)
    progress = progress.after_epoch(
        epoch, scored.loss, summary, score, scored.thresholds
    )
    bounds, floored = training.steps.end(scored.terms.get(bound_ceilings.MI, {}))
    line, said = bound_ceilings.findings(epoch + 1, bounds, floored, progress.said)
    progress = progress._replace(seconds=training.seconds(), said=said)
    figures = metrics_log.of_validation(scored.losses, scored.scores, scored.terms)
    means = {"validation/loss": scored.loss, "validation/avg": summary["avg"]}
    training.log.add(progress.step, {"epoch": epoch + 1, **figures, **means})
    training.save(state, progress, score)
    try:
        watch.epoch(epoch + 1, scored.loss, summary, progress, bounds)
    finally:  # what a caller's function raises must not hide these, said once in a run
        if line:
            watch.say(line)
        divergence.report_validation(epoch + 1, scored.faults, watch.say)
    return progress


def _restore_best(
    store: Store, state: TrainState, progress: Progress, diverged: str
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
    step = store.best_step()
    if step is None:
        raise best_model.lost(progress.best_epoch)
    best, best_record = store.restore(step, state._asdict())
    best_model.check_epoch(best_record, progress.best_epoch)
    return best["params"]


def stoppable(watch: Watch, step: int) -> evaluate.Bar:
    """The bar of `watch`, which raises `Stopped` once `watch.should_stop` returns True."""

    def bar(items: Iterable, total: int) -> Iterator:
        for item in watch.bar(items, total):
            if watch.should_stop(None):
                raise Stopped(step)
            yield item

    return bar


def _is_due(schedule: Schedule, step: int) -> bool:
    """Whether a checkpoint within the epoch is due; the end of an epoch always has one."""
    every = schedule.checkpoint_every
    return every > 0 and step % every == 0 and step % schedule.steps_per_epoch != 0


def _epoch(
    training: _Training, state: TrainState, progress: Progress
) -> Iterator[Step]:
    """Yields the epoch's remaining steps, and adds their figures to `training.steps`."""
    run = training.run
    epoch = progress.validated
    plan = run.schedule.plan(epoch)
    first = epoch * run.schedule.steps_per_epoch
    offset = progress.step - first
    packed = run.train.batches(plan, epoch=epoch, start=offset)
    late = LateMetrics(
        task_names=run.benchmark.task_names,
        rate=run.rate,
        max_bad_steps=run.schedule.max_bad_steps,
        epoch=epoch + 1,
        skipped_before=progress.skipped_steps,
        log=training.log,
        watch=training.watch,
        steps=training.steps,
    )
    shapes: deque = deque(maxlen=STEPS_BEHIND + 1)
    for index, batch in enumerate(batches.prefetch(packed), start=offset):
        step, num_texts = first + index + 1, int(np.sum(plan[index] >= 0))
        shapes.append(memory.shape_of(batch))
        with memory.naming(shapes, ADVICE):
            state, measured = run.update(state, batch)
            probe = run.probe
            products = None if probe is None else probe.at(step, state.params)
            late.add(Waiting(step, num_texts, measured, products))
            is_last = training.watch.should_stop(step)
            is_due = is_last or _is_due(run.schedule, step)
            behind = 0 if is_due or index + 1 == len(plan) else STEPS_BEHIND
            result = late.read(behind)
        at = result.diverged_at or step
        yield Step(state, at, is_due, is_last, result.skipped, result.diverged)


def resume(run: Run, store: Store, say: Callable[[str], Any]) -> tuple[Run, Progress]:
    """The run and its progress at the latest checkpoint, or at the start without one.

    `say` reports each damaged checkpoint in a line; an earlier one is used instead.
    """
    latest = store.restore_latest(run.state._asdict(), say)
    if latest is None:
        return run, Progress()
    _, arrays, record = latest
    return run._replace(state=TrainState(**arrays)), Progress(**record)
