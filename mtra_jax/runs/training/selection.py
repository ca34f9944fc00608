"""The validation of an epoch -> the figure by which the best epoch is chosen."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import metrics
from mtra_jax.config_values import AVERAGE
from mtra_jax.errors import InputError, expected_one, shown
from mtra_jax.tasks import Benchmark
from mtra_jax.train import evaluate

FLOOR = 1e-2
"""The default of `objectives.floored_log`, whatever `method.floor` is: the selection is the
same for all methods."""


class Selection(NamedTuple):
    """How the best epoch is chosen, and when training ends early.

    `name`: "loss", the mean of the tasks' validation losses. "log_sum", the sum of their
    logarithms, which no task's unit dominates (MTRA, Eq. 3). "average", Avg. of the
    validation figures. Or "TASK/METRIC": `metric` of `task` on validation.
    """

    name: str = "loss"
    task: str = ""
    metric: str = ""
    higher_is_better: bool = False

    def score(self, scored: evaluate.Evaluation, summary: Mapping[str, Any]) -> float:
        """The score of an epoch: lower is better, and infinite for one with faults.

        `summary`: the figures of `scored`, see `metrics.summarize`.
        """
        if scored.faults:
            return math.inf
        figure = self._figure(scored, summary)
        return self.figure_of(figure) if math.isfinite(figure) else math.inf

    def figure_of(self, score: float) -> float:
        """The figure with this score; also the score of a figure."""
        return -score if self.higher_is_better else score

    def _figure(self, scored: evaluate.Evaluation, summary: Mapping[str, Any]) -> float:
        if self.name == "log_sum":
            return floored_log_sum(scored.losses.values())
        if self.name == AVERAGE:
            return summary["avg"]
        return summary[self.task][self.metric] if self.task else scored.loss


def make(name: str, benchmark: Benchmark) -> Selection:
    """The selection `name` for the tasks of `benchmark`.

    Raises:
      InputError: a task or a metric of it is unknown, or no task has a figure in Avg.
    """
    if name == AVERAGE:
        rows = [metrics.find(m, task) for task in benchmark.tasks for m in task.metrics]
        if not any(metric.is_share for metric in rows):
            own = benchmark.tasks[0]
            raise InputError(
                "selection is 'average', and all metrics of "
                f"{', '.join(benchmark.task_names)} are errors in a task's unit; "
                f"expected TASK/METRIC, such as {own.name}/{own.metrics[0]}; loss or "
                "log_sum also choose epochs, not trials of a search"
            )
        return Selection(name, higher_is_better=True)
    for task in benchmark.tasks:
        if name.startswith(f"{task.name}/"):
            metric = name.removeprefix(f"{task.name}/")
            if metric not in task.metrics:
                hint = expected_one(f"a metric of {task.name}", metric, task.metrics)
                raise InputError(f"selection is {shown(name)}; {hint}")
            is_higher = metrics.find(metric, task).higher_is_better
            return Selection(name, task.name, metric, is_higher)
    return Selection(name)


def floored_log_sum(losses: Iterable[float]) -> float:
    """Σ_t log ℓ_t, and below `FLOOR` the tangent of the logarithm there.

    In float64. `objectives.log_sum` is the same in JAX.

    >>> floored_log_sum([1.0, 0.01]) == math.log(0.01)
    True
    """
    x = np.array(list(losses), np.float64)
    tangent = math.log(FLOOR) + (x - FLOOR) / FLOOR
    logs = np.log(np.maximum(x, FLOOR))
    return float(np.sum(np.where(x >= FLOOR, logs, tangent)))
