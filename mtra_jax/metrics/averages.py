"""Figures of the tasks -> Avg., Δp, and the summary of a split."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from mtra_jax.metrics.table import Metric, find
from mtra_jax.tasks import Task

Scores = Mapping[str, Mapping[str, float | None]]
"""Figures by task and metric; a missing one is NaN or None."""
LEAST_BASE = 5.0
"""Percent: the smallest share that Δp is measured against. Below it each point of change
counts as more than 20 %, so that one figure near 0 would decide the mean."""


def average(scores: Scores, tasks: Iterable[Task]) -> float:
    """Avg.: the mean over tasks of the mean over the task's shares, in percent.

    Errors in a task's unit are left out, and so is a task without any other metric. NaN
    if no task is left. `scores`: metric figures by task name.

    Raises:
      ValueError: there is no task.

    Source: appendix B.3.

    >>> from mtra_jax.tasks import AFFECTEVAL
    >>> tasks = AFFECTEVAL.select(["emotion", "ei-reg"]).tasks
    >>> average({"emotion": {"macro_f1": 80.0},
    ...          "ei-reg": {"pearson": 50.0, "spearman": 60.0}}, tasks)
    67.5
    """
    return _mean_over_tasks(scores, tasks, lambda metric: metric.is_share)


def delta_p(scores: Scores, baseline_scores: Scores, tasks: Iterable[Task]) -> float:
    """Δp: the mean relative improvement over a baseline, in percent.

    Averaged over a task's metrics, then over tasks. The change of a metric that is better
    when lower is counted with the other sign.

    Raises:
      ValueError: a share of the baseline is below `LEAST_BASE`, or an error not above 0,
        which makes the ratio huge, undefined or of the wrong sign; or a figure is missing.

    Source: appendix B.3.
    """
    tasks = tuple(tasks)
    improvements: dict[str, dict[str, float]] = {}
    for task in tasks:
        improvements[task.name] = {}
        for metric in task.metrics:
            figure, base = (
                _number(of[task.name][metric]) for of in (scores, baseline_scores)
            )
            row = find(metric, task)
            if not _is_fit(base, row) or math.isnan(figure):
                raise ValueError(
                    f"Δp needs shares of at least {LEAST_BASE:g} and errors above 0 of "
                    f"the baseline; found {base} for {metric} of {task.name}, and "
                    f"{figure} to compare"
                )
            change = figure - base if row.higher_is_better else base - figure
            improvements[task.name][metric] = 100.0 * change / base
    return _mean_over_tasks(improvements, tasks, lambda metric: True)


def unfit_bases(
    scores: Scores, tasks: Iterable[Task]
) -> Iterator[tuple[Task, str, float]]:
    """Yields (task, metric, figure) for figures that cannot be the baseline of Δp.

    Missing figures are skipped.
    """
    for task in tasks:
        for metric in task.metrics:
            figure = scores[task.name][metric]
            if figure is None or math.isnan(figure):
                continue
            if not _is_fit(figure, find(metric, task)):
                yield task, metric, figure


def _is_fit(base: float, metric: Metric) -> bool:
    return base >= LEAST_BASE if metric.is_share else base > 0


def summarize(scores: Scores, tasks: Iterable[Task]) -> dict[str, Any]:
    """One split of results.json: `{"emotion": {"macro_f1": 76.97}, ..., "avg": 69.96}`.

    `average` and `delta_p` accept the result as `scores`.
    """
    tasks = tuple(tasks)
    summary: dict[str, Any] = {
        task.name: {
            metric: _number(scores[task.name][metric]) for metric in task.metrics
        }
        for task in tasks
    }
    summary["avg"] = average(scores, tasks)
    return summary


def _mean_over_tasks(
    figures: Scores, tasks: Iterable[Task], is_counted: Callable[[Metric], bool]
) -> float:
    tasks = tuple(tasks)
    if not tasks:
        raise ValueError("an average needs at least one task; found none")
    means = []
    for task in tasks:
        counted = [m for m in task.metrics if is_counted(find(m, task))]
        if counted:
            means.append(np.mean([_number(figures[task.name][m]) for m in counted]))
    return float(np.mean(means)) if means else math.nan


def _number(figure: float | None) -> float:
    """The figure, or NaN for null in JSON, which makes every mean over it NaN too."""
    return math.nan if figure is None else float(figure)
