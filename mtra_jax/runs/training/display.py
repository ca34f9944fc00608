"""A prepared run -> callbacks that show a bar or log lines, and a table per epoch."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Self

import jax

from mtra_jax.models import safetensors_files
from mtra_jax.reports.progress import bars, label_counts
from mtra_jax.reports.progress.bounds import Bound
from mtra_jax.runs.training import interfaces, loop, preparation
from mtra_jax.tasks import OWN

CACHE = "jax_compilation_cache_dir"  # a setting that JAX does not declare
COMPILING = (
    "compiling the step (once for {}{}); XLA may say 'Very slow compile?', which is no "
    "error"
)


class Display:
    """Shows one run after another, with bars if standard error is a terminal.

    `say` writes a line; `warn` writes a line about a recovered problem (default: `say`).
    `position` is the terminal line of the first bar. `should_stop`: see `interfaces.Watch`.
    With `quiet` only `warn` is called. As a context it closes its view at the end.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        position: int = 0,
        *,
        warn: Callable[[str], None] | None = None,
        should_stop: Callable[[int | None], bool] = lambda step: False,
        quiet: bool = False,
    ) -> None:
        self._say = say
        self._warn = warn or say
        self._position = position
        self._should_stop = should_stop
        self._quiet = quiet
        self._view: bars.TrainingView | None = None

    def watch(
        self, prepared: preparation.Prepared, at: loop.Progress
    ) -> interfaces.Watch:
        """Returns the callbacks of a run that continues from `at`.

        Closes the view of the previous run.
        """
        self.close()
        if self._quiet:
            return interfaces.Watch(say=self._warn, should_stop=self._should_stop)
        self._introduce(prepared, at)
        view = self._view = self._open(prepared.run, at.step)
        name = prepared.run.selection.name

        def after_epoch(
            epoch: int,
            loss: float,
            summary: dict[str, Any],
            at: loop.Progress,
            bounds: dict[str, Bound],
        ) -> None:
            note = f", best {name} so far" if at.stale_epochs == 0 else ""
            view.epoch(epoch, loss, summary, note, bounds)

        evaluation = functools.partial(bars.evaluation_bar, position=self._position)
        return interfaces.Watch(
            view.step, after_epoch, evaluation, self._warn, self._should_stop
        )

    def _introduce(self, prepared: preparation.Prepared, at: loop.Progress) -> None:
        run = prepared.run
        sizes = zip(run.benchmark.task_names, run.train.corpus.sizes, strict=True)
        counts = ", ".join(f"{name} {size}" for name, size in sizes)
        if prepared.inputs.backbone.dropped:
            names = safetensors_files.listed(prepared.inputs.backbone.dropped)
            self._say(f"weights of the checkpoint that are not used: {names}")
        steps = run.schedule.steps_per_epoch
        self._say(f"training examples: {counts}; {steps} steps an epoch")
        if run.benchmark.name == OWN:
            for task in run.benchmark.tasks:
                labels = prepared.inputs.examples[task.name]["train"].label_counts(task)
                if labels:
                    self._say(label_counts.line(task.name, labels))
        for line in _absent(prepared):
            self._say(line)
        if prepared.inputs.cut:
            self._say(prepared.inputs.cut)
        if prepared.origin and not at.step:
            self._say(prepared.origin)
        if at.step:
            self._say(f"continuing at step {at.step}")
        if not at.is_over(run.schedule):
            is_cached = getattr(jax.config, CACHE) is not None
            count = len(run.train.shapes)
            shapes = "its shape" if count == 1 else f"each of {count} shapes"
            cached = "; cached for the next run" if is_cached else ""
            self._say(COMPILING.format(shapes, cached))

    def _open(self, run: loop.Run, step: int) -> bars.TrainingView:
        tasks, schedule = run.benchmark.tasks, run.schedule
        total = schedule.epochs * schedule.steps_per_epoch
        if not bars.has_terminal():
            return bars.TrainingLines(
                tasks, total=total, epochs=schedule.epochs, say=self._say
            )
        return bars.TrainingBar(
            tasks,
            total=total,
            initial=step,
            epochs=schedule.epochs,
            say=self._say,
            position=self._position,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the view of the run."""
        if self._view is not None:
            self._view.close()
            self._view = None


def _absent(prepared: preparation.Prepared) -> Iterator[str]:
    """Yields a line for each task of which a split lacks classes that count as 0 there."""
    for split in ("validation", "test"):
        labels = {
            name: own[split].labels for name, own in prepared.inputs.examples.items()
        }
        yield from label_counts.absent(prepared.run.benchmark.tasks, labels, split)
