"""Figures of methods on tasks -> mean ranks, Friedman's test, a critical difference."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mtra_jax import metrics
from mtra_jax.tasks import Task

ALPHA = 0.05
FEWEST = 3
"""The fewest methods, and the fewest tasks, that are ranked."""


class Ranks(NamedTuple):
    """`means`: the mean rank of each method over the tasks, 1 for the best.

    `statistic` and `p` are Friedman's. Methods whose mean ranks differ by less than
    `critical_difference` are not told apart at `ALPHA`.
    """

    names: tuple[str, ...]
    num_tasks: int
    means: tuple[float, ...]
    statistic: float
    p: float
    critical_difference: float


def of_tasks(
    rows: Mapping[str, Mapping[str, Mapping[str, float | None]]], tasks: Sequence[Task]
) -> Ranks | None:
    """Ranks the `rows`: figures by task and metric of each method.

    Methods are ranked by each metric of a task; the ranks of a task with several metrics
    are averaged and ranked again, so that a unit or scale does not count. A method
    without one of its figures is left out. None for fewer than `FEWEST` methods or tasks,
    or if all methods are equal.
    """
    from scipy import stats  # takes two seconds, which most calls do not need

    complete = {
        name: row
        for name, row in rows.items()
        if all(row[task.name][m] is not None for task in tasks for m in task.metrics)
    }
    if len(complete) < FEWEST or len(tasks) < FEWEST:
        return None
    blocks = []
    for task in tasks:
        ranks = []
        for metric in task.metrics:
            figures = [row[task.name][metric] for row in complete.values()]
            signed = _sign(metric, task) * np.array(figures, np.float64)
            ranks.append(stats.rankdata(signed))
        blocks.append(np.mean(ranks, axis=0))
    return compare(tuple(complete), -np.array(blocks))


def compare(names: Sequence[str], figures: np.ndarray) -> Ranks | None:
    """Ranks methods by `figures` [tasks, methods], higher is better, ties at their mean.

    None if all methods are equal on every task. Friedman's p is that of χ² with a
    correction for ties, and too large for few tasks.

    Source: Friedman 1937; Nemenyi 1963; Demšar 2006, section 3.2.2.
    """
    from scipy import stats

    num_tasks, k = figures.shape
    ranks = stats.rankdata(-figures, axis=1)
    spread = np.sum((ranks - (k + 1) / 2) ** 2)
    if spread == 0:
        return None
    means = ranks.mean(axis=0)
    between = num_tasks * np.sum((means - (k + 1) / 2) ** 2)
    # Without ties `spread` is num_tasks · k (k² − 1) / 12.
    statistic = (k - 1) * num_tasks * between / spread
    quantile = stats.studentized_range.ppf(1 - ALPHA, k, np.inf) / np.sqrt(2)
    return Ranks(
        tuple(names),
        num_tasks,
        tuple(map(float, means)),
        float(statistic),
        float(stats.chi2.sf(statistic, k - 1)),
        float(quantile * np.sqrt(k * (k + 1) / (6 * num_tasks))),
    )


def line(ranks: Ranks) -> str:
    """The result on one line, such as for the end of a table."""
    order = sorted(range(len(ranks.names)), key=lambda i: ranks.means[i])
    best, worst = (
        f"{ranks.names[i]} {ranks.means[i]:.1f}" for i in (order[0], order[-1])
    )
    p = "p < 0.001" if ranks.p < 0.001 else f"p = {ranks.p:.3f}"
    return (
        f"Friedman's test over {ranks.num_tasks} tasks: {p}; mean ranks from {best} to "
        f"{worst}; Nemenyi's critical difference {ranks.critical_difference:.1f}"
    )


def _sign(name: str, task: Task) -> int:
    return -1 if metrics.find(name, task).higher_is_better else 1
