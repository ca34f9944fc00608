"""Predictions of the same examples -> their figures on resamples of these examples.

A resample is stored as counts: how often it has each example. The figures are those of
`scoring.score` on the examples so repeated, computed for many resamples at once.
"""

from collections.abc import Callable

import numpy as np

from mtra_jax.metrics import confusion, statistics
from mtra_jax.metrics.scoring import check_values, columns
from mtra_jax.metrics.statistics import Statistic
from mtra_jax.metrics.table import find
from mtra_jax.tasks import Task

_CELLS = 1 << 17
"""The most counts in memory at a time, unless one resample has more."""

Figures = dict[str, np.ndarray]
"""Float64 [R] by metric: a figure for each of R resamples."""
_Weighted = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Predicted and actual values [N], counts [R, N] -> [R]."""


def paired(
    task: Task,
    predictions: np.ndarray,
    base_predictions: np.ndarray,
    labels: np.ndarray,
    *,
    resamples: int,
    seed: int = 0,
) -> tuple[Figures, Figures]:
    """The figures of both predictions on the same resamples of the examples.

    Each resample draws as many examples as there are, with replacement. The draws depend on
    `seed`, the name of the task and the arguments, not on other tasks.

    Raises:
      ValueError: as `scoring.score`.
    """
    own = check_values(task, predictions, "predictions")
    base = check_values(task, base_predictions, "base_predictions")
    actual = check_values(task, labels, "labels")
    if not len(own) == len(base) == len(actual):
        raise ValueError(
            f"{task.name}: {len(own)} and {len(base)} predictions for {len(actual)} labels"
        )
    own, base, actual, numbers = _distinct(own, base, actual)
    rng = np.random.default_rng([seed, *task.name.encode()])
    parts: list[tuple[Figures, Figures]] = []
    step = max(1, _CELLS // len(numbers))
    for start in range(0, resamples, step):
        counts = _drawn(numbers, min(step, resamples - start), rng)
        first, second = (scores(task, values, actual, counts) for values in (own, base))
        parts.append((first, second))
    first, second = (
        {
            name: np.concatenate([part[side][name] for part in parts])
            for name in task.metrics
        }
        for side in (0, 1)
    )
    return first, second


def scores(
    task: Task, predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray
) -> Figures:
    """`scoring.score` on R resamples; NaN for a metric that needs probabilities.

    `predictions`, `labels`: as `check_values` returns them. `counts`: how often each
    resample has each example, float64 [R, N]; no resample is empty.
    """
    figures = {}
    for name in task.metrics:
        metric = find(name, task)
        outputs = list(metric.outputs)
        predicted, actual = (columns(task, x, outputs) for x in (predictions, labels))
        if metric.needs_probabilities:
            values = np.full(len(counts), np.nan)
        elif isinstance(metric.statistic, statistics.OfCounts):
            counted = confusion.count(predicted, actual, counts)
            values = metric.statistic.formula(counted)
        elif of_column := _OF_VALUES.get(metric.statistic):
            pairs = zip(predicted.T, actual.T, strict=True)
            values = np.mean([of_column(x, y, counts) for x, y in pairs], axis=0)
        else:  # one resample after the other, for a metric without a formula here
            drawn = (
                np.repeat(np.arange(len(labels)), row) for row in counts.astype(int)
            )
            each = [metric.statistic(predicted[rows], actual[rows]) for rows in drawn]
            values = np.array(each)
        figures[name] = 100.0 * values if metric.is_share else values
    return figures


def _distinct(
    predictions: np.ndarray, base_predictions: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The distinct examples, of which a classification has few, and the number of each."""
    size = len(labels)
    parts = (predictions, base_predictions, labels)
    rows = np.concatenate([part.reshape(size, -1) for part in parts], axis=1)
    _, first, numbers = np.unique(rows, axis=0, return_index=True, return_counts=True)
    return predictions[first], base_predictions[first], labels[first], numbers


def _drawn(numbers: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each resample has each distinct example: float64 [resamples, N].

    `numbers`: how many examples are equal to each.
    """
    size, places = numbers.sum(), len(numbers)
    if places < size / 4:
        # The same distribution as below, and quicker for few distinct examples.
        return rng.multinomial(size, numbers / size, resamples).astype(np.float64)
    place_of = np.repeat(np.arange(places), numbers)
    rows = place_of[rng.integers(size, size=(resamples, size))]
    rows += places * np.arange(resamples)[:, None]
    counts = np.bincount(rows.ravel(), minlength=resamples * places)
    return counts.reshape(resamples, places).astype(np.float64)


# ---- statistics of one dimension of a regression


def _pearson(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    dx, dy = (_deviations(_scaled(values), counts) for values in (x, y))
    covariance, *spreads = (
        np.einsum("rn,rn,rn->r", counts, a, b)
        for a, b in ((dx, dy), (dx, dx), (dy, dy))
    )
    varies = _varies(x, spreads[0], counts) & _varies(y, spreads[1], counts)
    first, second = (np.sqrt(np.where(varies, spread, 1.0)) for spread in spreads)
    return np.where(varies, np.clip(covariance / first / second, -1.0, 1.0), 0.0)


def _spearman(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return _pearson(_ranks(x, counts), _ranks(y, counts), counts)


def _rmse(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.sqrt(counts @ np.square(x - y) / counts.sum(axis=1))


def _mae(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ np.abs(x - y) / counts.sum(axis=1)


def _r2(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    deviations = _deviations(y, counts)
    spread = np.einsum("rn,rn,rn->r", counts, deviations, deviations)
    varies = _varies(y, spread / max(np.ptp(y), 1e-150) ** 2, counts)
    errors = counts @ np.square(x - y)
    return np.where(varies, 1 - errors / np.where(varies, spread, 1.0), 0.0)


_OF_VALUES: dict[Statistic, _Weighted] = {
    statistics.pearson: _pearson,
    statistics.spearman: _spearman,
    statistics.rmse: _rmse,
    statistics.mae: _mae,
    statistics.r2: _r2,
}


def _varies(x: np.ndarray, spread: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether the examples of each resample have more than one value `x`, [N] or [R, N].

    `spread`: the sum of squared deviations [R] of `x` in units of its range. Where it may
    be an error of rounding, the values themselves are compared.
    """
    varies = spread > 0
    unsure = varies & (spread < 1e-20 * counts.sum(axis=1))
    if unsure.any():
        is_drawn = counts[unsure] > 0
        values = x if x.ndim == 1 else x[unsure]
        low = np.where(is_drawn, values, np.inf).min(axis=1)
        varies[unsure] = np.where(is_drawn, values, -np.inf).max(axis=1) > low
    return varies


def _deviations(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`x`, [N] or [R, N], less its mean over each resample: [R, N]."""
    sums = counts @ x if x.ndim == 1 else np.einsum("rn,rn->r", counts, x)
    return x - (sums / counts.sum(axis=1))[:, None]


def _scaled(x: np.ndarray) -> np.ndarray:
    """`x` moved and scaled to [0, 1], so that squares stay in range."""
    low, high = x.min(), x.max()
    return (x - low) / (high - low) if high > low else x - low


def _ranks(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The rank of each example in each resample, ties at their mean: [R, N]."""
    _, place, numbers = np.unique(x, return_inverse=True, return_counts=True)
    equal = counts[:, np.argsort(place, kind="stable")]
    if len(numbers) < len(x):
        starts = np.cumsum(numbers) - numbers
        equal = np.add.reduceat(equal, starts, axis=1)
    return (np.cumsum(equal, axis=1) - (equal - 1) / 2)[:, place]
