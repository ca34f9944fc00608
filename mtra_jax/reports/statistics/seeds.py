"""Figures of one row's seeds -> means and deviations, Δp and p against another row's."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import metrics
from mtra_jax.tasks import Task

AVG = ("", "avg")
"""The key of Avg., beside (task, metric)."""


class Cell(NamedTuple):
    """A figure over the seeds. None: it is missing, or has one seed only."""

    mean: float | None
    std: float | None


def means(
    cells: Mapping[tuple[str, str], Cell], tasks: Sequence[Task]
) -> dict[str, dict[str, float | None]]:
    """The means over the seeds, by task and metric."""
    return {
        task.name: {m: cells[task.name, m].mean for m in task.metrics} for task in tasks
    }


def figure(summary: Mapping[str, Any], key: tuple[str, str]) -> float | None:
    """The figure of one run; None if it is missing or not finite."""
    task, metric = key
    value = summary.get("avg") if key == AVG else summary.get(task, {}).get(metric)
    return float(value) if value is not None and math.isfinite(value) else None


def _complete(figures: Sequence[float | None]) -> list[float] | None:
    """Returns `figures`, or None if one of them is missing."""
    present = [value for value in figures if value is not None]
    return present if len(present) == len(figures) else None


def cell(summaries: Sequence[Mapping[str, Any]], key: tuple[str, str]) -> Cell:
    """The mean and the standard deviation (ddof 1) over the runs."""
    figures = _complete([figure(summary, key) for summary in summaries])
    if figures is None:
        return Cell(None, None)
    std = float(np.std(figures, ddof=1)) if len(figures) > 1 else None
    return Cell(float(np.mean(figures)), std)


def delta_p(
    cells: Mapping[tuple[str, str], Cell],
    baseline: Mapping[tuple[str, str], Cell] | None,
    tasks: Sequence[Task],
) -> float | None:
    """Δp of the means; None if a figure or the baseline is missing, or Δp is undefined."""
    if baseline is None:
        return None
    try:
        return metrics.delta_p(means(cells, tasks), means(baseline, tasks), tasks)
    except (TypeError, ValueError):
        # A figure is missing, or one of the baseline is too small: see the note.
        return None


def welch(
    averages: Sequence[float | None], base_averages: Sequence[float | None]
) -> float | None:
    """p of Welch's two-sided t-test; None if a figure is missing or all are equal."""
    from scipy import stats  # takes two seconds, which most calls do not need

    one, other = _complete(averages), _complete(base_averages)
    if one is None or other is None or min(len(one), len(other)) < 2:
        return None
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        return None  # the statistic is 0 / 0, or infinite
    # From the moments: `ttest_ind` warns if one variance is exactly 0.
    moments = ((np.mean(x), np.std(x, ddof=1), len(x)) for x in (one, other))
    (mean, std, n), (base, base_std, base_n) = moments
    test = stats.ttest_ind_from_stats(
        mean, std, n, base, base_std, base_n, equal_var=False
    )
    return float(test.pvalue)
