"""Metrics of steps, read late -> logged lines, skipped steps, and why training ends."""

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mtra_jax.runs.directory import metrics_log
from mtra_jax.runs.training import bound_ceilings, diagnostics, divergence
from mtra_jax.runs.training.interfaces import Log, Watch
from mtra_jax.train.devices import to_host


class Waiting(NamedTuple):
    """The metrics of a step, which the device may not have computed yet."""

    step: int
    num_texts: int
    metrics: Any
    products: Callable[[], Any] | None
    """See `diagnostics.Diagnostics.at`."""


class Read(NamedTuple):
    """The figures of the metrics that were read.

    `skipped`: the number of skipped steps. `diverged`: why training ends at the step
    `diverged_at`; empty, and 0, if it continues.
    """

    skipped: int
    diverged: str = ""
    diverged_at: int = 0


@dataclasses.dataclass
class LateMetrics:
    """The metrics of an epoch's steps, read late so that no step waits for the host.

    `rate`: (steps taken before) -> the learning rate. `skipped_before`: the skipped steps
    of the run among those whose metrics were read. `steps`: takes their figures.
    """

    task_names: tuple[str, ...]
    rate: Callable[[np.ndarray], Any]
    max_bad_steps: int
    epoch: int
    skipped_before: int
    log: Log
    watch: Watch
    steps: bound_ceilings.Steps
    _waiting: deque[Waiting] = dataclasses.field(default_factory=deque)

    def add(self, waiting: Waiting) -> None:
        """Adds the metrics of the latest step."""
        self._waiting.append(waiting)

    def read(self, behind: int) -> Read:
        """Reads, logs and checks the metrics of all steps but the last `behind`.

        It ends at a step where training has to end.
        """
        skipped = 0
        while len(self._waiting) > behind:
            waiting = self._waiting.popleft()
            flat = self._read(waiting)
            skipped += flat["bad_steps"] > 0
            step, most = waiting.step, self.max_bad_steps
            diverged = divergence.check_step(step, flat, most, self.watch.say)
            if diverged:
                return Read(skipped, diverged, step)
        return Read(skipped)

    def _read(self, waiting: Waiting) -> dict[str, float]:
        step, num_texts, metrics, products = waiting
        flat = metrics_log.flatten(to_host(metrics), self.task_names)
        # Skipped steps do not count for the schedule of the rate.
        rate = float(self.rate(np.asarray(step - 1 - self.skipped_before)))
        self.skipped_before += flat["bad_steps"] > 0
        self.steps.add(flat)
        once = self.steps.first_line() if step == 1 else {}
        of_run = {"epoch": self.epoch, "learning_rate": rate}
        self.log.add(step, {**of_run, **flat, **once})
        if products is not None:
            line = diagnostics.figures(products(), self.task_names, flat)
            self.log.diagnose(step, {"epoch": self.epoch, **line})
        self.watch.step(step, self.epoch, flat, num_texts)
        return flat
