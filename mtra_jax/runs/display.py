"""A prepared run -> its bar, and a table after each epoch, on a terminal."""

import functools
from collections.abc import Callable
from typing import Any

from mtra_jax.models import safetensors_files
from mtra_jax.reports import progress
from mtra_jax.runs import loop, preparation


class Terminal:
    """Shows one run after another; `say` takes the lines, `position` places the bars.

    `warn` takes the lines on what went wrong (`say` without it), and `should_stop` is
    that of `loop.Watch`.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        position: int = 0,
        *,
        warn: Callable[[str], None] | None = None,
        should_stop: Callable[[int | None], bool] = lambda step: False,
    ) -> None:
        self._say = say
        self._warn = warn or say
        self._position = position
        self._should_stop = should_stop
        self._bar: progress.TrainingBar | None = None

    def watch(self, prepared: preparation.Prepared, at: loop.Progress) -> loop.Watch:
        """Opens the bar of a run that stands at `at`; that of the run before closes."""
        self.close()
        run = prepared.run
        steps = run.schedule.steps_per_epoch
        sizes = zip(run.benchmark.task_names, run.train.corpus.sizes, strict=True)
        counts = ", ".join(f"{name} {size}" for name, size in sizes)
        if prepared.backbone.dropped:
            names = safetensors_files.listed(prepared.backbone.dropped)
            self._say(f"weights of the checkpoint that are not used: {names}")
        self._say(f"training examples: {counts}; {steps} steps an epoch")
        if at.step:
            self._say(f"continuing at step {at.step}")
        bar = self._bar = progress.TrainingBar(
            run.benchmark.tasks,
            total=run.schedule.epochs * steps,
            initial=at.step,
            epochs=run.schedule.epochs,
            say=self._say,
            position=self._position,
        )

        def after_epoch(
            epoch: int, loss: float, summary: dict[str, Any], at: loop.Progress
        ) -> None:
            note = ", best so far" if at.stale_epochs == 0 else ""
            bar.epoch(epoch, loss, summary, note)

        evaluation = functools.partial(progress.evaluation_bar, position=self._position)
        return loop.Watch(
            bar.step, after_epoch, evaluation, self._warn, self._should_stop
        )

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
