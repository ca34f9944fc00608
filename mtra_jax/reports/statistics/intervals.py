"""Figures of two rows' seeds -> a bootstrap interval of Δp."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import metrics
from mtra_jax.reports.statistics import seeds
from mtra_jax.reports.statistics.significance import FEWEST_SEEDS
from mtra_jax.tasks import Task

LEVEL = 0.95
RESAMPLES = 10_000


class Interval(NamedTuple):
    """Percentiles of Δp, in percent."""

    low: float
    high: float


def of_delta_p(
    summaries: Sequence[Mapping[str, Any]],
    base_summaries: Sequence[Mapping[str, Any]],
    tasks: Sequence[Task],
    *,
    seed: int = 0,
) -> Interval | None:
    """The percentile interval of Δp of the means, seeds drawn with replacement.

    The seeds of the two rows are drawn independently, `RESAMPLES` times, from `seed`: the
    same runs give the same interval. It covers the noise of the seeds, not that of the
    tasks or of their test sets. With few seeds it is too narrow: with three in each
    row, it covers the true value about four times in five.

    None with fewer than `FEWEST_SEEDS` seeds in a row, if a figure is missing, or if a
    resample of the baseline can have a figure that Δp cannot be measured against.

    Source: Efron & Tibshirani 1993, section 13.3.
    """
    figures, base = (_figures(row, tasks) for row in (summaries, base_summaries))
    if figures is None or base is None or min(len(figures), len(base)) < FEWEST_SEEDS:
        return None
    if any(any(metrics.unfit_bases(summary, tasks)) for summary in base_summaries):
        return None
    rng = np.random.default_rng(seed)
    means, base_means = (_resampled_means(part, rng) for part in (figures, base))
    changes = 100 * (means - base_means) / base_means @ _weights(tasks)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(changes, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _figures(
    summaries: Sequence[Mapping[str, Any]], tasks: Sequence[Task]
) -> np.ndarray | None:
    """The figures [seeds, metrics of all tasks]; None if one is missing."""
    keys = [(task.name, metric) for task in tasks for metric in task.metrics]
    rows = [[seeds.figure(summary, key) for key in keys] for summary in summaries]
    if any(value is None for row in rows for value in row):
        return None
    return np.array(rows, np.float64)


def _weights(tasks: Sequence[Task]) -> np.ndarray:
    """The weight of each metric in Δp, negative where lower is better."""
    return np.array(
        [
            (1 if metrics.find(name, task).higher_is_better else -1)
            / (len(tasks) * len(task.metrics))
            for task in tasks
            for name in task.metrics
        ]
    )


def _resampled_means(figures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means [RESAMPLES, metrics] over as many seeds, drawn with replacement."""
    count = len(figures)
    return figures[rng.integers(count, size=(RESAMPLES, count))].mean(axis=1)
