"""Predictions of the same examples -> their figures on resamples of these examples.

A resample is stored as counts: how often it has each example. The figures are those of
`scoring.score` on the examples so repeated, computed for many resamples at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from mtra_jax.metrics import confusion, statistics
from mtra_jax.metrics.scoring import check_values, columns
from mtra_jax.metrics.statistics import Statistic
from mtra_jax.metrics.table import Metric, find
from mtra_jax.tasks import Task

_CELLS = 1 << 17
"""The most counts in memory at a time, unless one resample has more."""

Figures = dict[str, np.ndarray]
"""Float64 [R] by metric: a figure for each of R resamples."""
_OfCounts = Callable[[np.ndarray], np.ndarray]
"""Counts [R, N] -> a figure for each resample [R]."""
_OfColumn = Callable[[np.ndarray, np.ndarray], _OfCounts]
"""Predicted and actual values [N] of one output -> its figures."""


def joint(
    tasks: Sequence[Task],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    labels: Mapping[str, np.ndarray],
    *,
    resamples: int,
    seed: int = 0,
) -> dict[str, dict[str, Figures]]:
    """The figures by row and task, all of them on the same resamples of the examples.

    `tasks`: they have the same examples, in the same order. `predictions`: by row and
    task; a row may lack some. `labels`: by task.

    Each resample draws as many examples as there are, with replacement. The draws depend on
    `seed`, the name of the first task and the number of examples alone.

    Raises:
      ValueError: as `scoring.score`; or the tasks have different numbers of examples.
    """
    size = len(labels[tasks[0].name])
    measured: dict[tuple[str, str], Callable[[np.ndarray], Figures]] = {}
    for task in tasks:
        actual = check_values(task, labels[task.name], "labels")
        for row, own in predictions.items():
            if task.name not in own:
                continue
            predicted = check_values(task, own[task.name], "predictions")
            if not len(predicted) == len(actual) == size:
                raise ValueError(
                    f"{task.name}: {len(predicted)} predictions for {len(actual)} labels; "
                    f"expected {size}, as for {tasks[0].name}"
                )
            measured[row, task.name] = of_counts(task, predicted, actual)
    parts: dict[tuple[str, str], list[Figures]] = {key: [] for key in measured}
    rng = np.random.default_rng([seed, *tasks[0].name.encode()])
    for counts in _drawn(size, resamples, rng):
        for key, figures_of in measured.items():
            parts[key].append(figures_of(counts))
    drawn: dict[str, dict[str, Figures]] = {row: {} for row in predictions}
    for (row, task_name), pieces in parts.items():
        drawn[row][task_name] = {
            name: np.concatenate([piece[name] for piece in pieces])
            for name in pieces[0]
        }
    return drawn


def of_counts(
    task: Task, predictions: np.ndarray, labels: np.ndarray
) -> Callable[[np.ndarray], Figures]:
    """`scoring.score` on R resamples, as a function of their counts, float64 [R, N].

    Figures that need probabilities are NaN. `predictions`, `labels`: as `check_values`
    returns them. No resample is empty. What does not depend on the resamples, such as the
    order of the values, is computed once.
    """
    measures = {}
    for name in task.metrics:
        metric = find(name, task)
        outputs = list(metric.outputs)
        predicted, actual = (columns(task, x, outputs) for x in (predictions, labels))
        measures[name] = _measure(metric, predicted, actual)
    return lambda counts: {name: of(counts) for name, of in measures.items()}


def _measure(metric: Metric, predicted: np.ndarray, actual: np.ndarray) -> _OfCounts:
    scale = 100.0 if metric.is_share else 1.0
    if metric.needs_probabilities:
        return lambda counts: np.full(len(counts), np.nan)
    if isinstance(metric.statistic, statistics.OfCounts):
        formula, counted = (
            metric.statistic.formula,
            confusion.counter(predicted, actual),
        )
        return lambda counts: scale * formula(counted(counts))
    if of_column := _OF_VALUES.get(metric.statistic):
        pairs = zip(predicted.T, actual.T, strict=True)
        parts = [of_column(np.ascontiguousarray(x), y) for x, y in pairs]
        return lambda counts: scale * np.mean([of(counts) for of in parts], axis=0)

    # One resample after the other, for a metric without a formula here.
    def one_by_one(counts: np.ndarray) -> np.ndarray:
        drawn = (np.repeat(np.arange(len(actual)), row) for row in counts.astype(int))
        each = [metric.statistic(predicted[rows], actual[rows]) for rows in drawn]
        return scale * np.array(each)

    return one_by_one


def _drawn(size: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each resample has each example, in pieces: float64 [R, `size`]."""
    step = max(1, _CELLS // size)
    for start in range(0, resamples, step):
        number = min(step, resamples - start)
        examples = rng.integers(size, size=(number, size))
        examples += size * np.arange(number)[:, None]
        counts = np.bincount(examples.ravel(), minlength=number * size)
        yield counts.reshape(number, size).astype(np.float64)


# ---- statistics of one dimension of a regression


def _pearson(x: np.ndarray, y: np.ndarray) -> _OfCounts:
    own, actual = _scaled(x), _scaled(y)

    def of(counts: np.ndarray) -> np.ndarray:
        dx, dy = (_deviations(values, counts) for values in (own, actual))
        covariance, first, second = _moments(dx, dy, counts)
        varies = _varies(x, first, counts) & _varies(y, second, counts)
        return _correlation(covariance, first, second, varies)

    return of


def _spearman(x: np.ndarray, y: np.ndarray) -> _OfCounts:
    own, actual = _rank_deviations(x), _rank_deviations(y)

    def of(counts: np.ndarray) -> np.ndarray:
        moments = _moments(own(counts), actual(counts), counts)
        return _correlation(*moments, (moments[1] > 0) & (moments[2] > 0))

    return of


def _rmse(x: np.ndarray, y: np.ndarray) -> _OfCounts:
    errors = np.square(x - y)
    return lambda counts: np.sqrt(_sums(errors, counts) / counts.sum(axis=1))


def _mae(x: np.ndarray, y: np.ndarray) -> _OfCounts:
    errors = np.abs(x - y)
    return lambda counts: _sums(errors, counts) / counts.sum(axis=1)


def _r2(x: np.ndarray, y: np.ndarray) -> _OfCounts:
    # Moved and scaled: a rounding error of a large mean is not a deviation.
    unit = np.ptp(y) or 1.0
    actual, errors = _scaled(y), np.square((x - y) / unit)

    def of(counts: np.ndarray) -> np.ndarray:
        deviations = _deviations(actual, counts)
        spread = np.einsum("rn,rn,rn->r", counts, deviations, deviations)
        varies = _varies(y, spread, counts)
        return np.where(
            varies, 1 - _sums(errors, counts) / np.where(varies, spread, 1.0), 0.0
        )

    return of


_OF_VALUES: dict[Statistic, _OfColumn] = {
    statistics.pearson: _pearson,
    statistics.spearman: _spearman,
    statistics.rmse: _rmse,
    statistics.mae: _mae,
    statistics.r2: _r2,
}


def _sums(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The sum of `x`, [N], over each resample: [R]."""
    # Not `counts @ x`: for these shapes the threads of BLAS took a hundred times as long.
    return np.einsum("rn,n->r", counts, x)


def _moments(
    dx: np.ndarray, dy: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums [R] of the products of two deviations [R, N], and of the squares of each."""
    weighted = counts * dx
    return (
        np.einsum("rn,rn->r", weighted, dy),
        np.einsum("rn,rn->r", weighted, dx),
        np.einsum("rn,rn,rn->r", counts, dy, dy),
    )


def _correlation(
    covariance: np.ndarray, first: np.ndarray, second: np.ndarray, varies: np.ndarray
) -> np.ndarray:
    """The correlation where both values vary; 0 elsewhere."""
    first, second = (np.sqrt(np.where(varies, x, 1.0)) for x in (first, second))
    return np.where(varies, np.clip(covariance / first / second, -1.0, 1.0), 0.0)


def _varies(x: np.ndarray, spread: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether the examples of each resample have more than one value `x`, [N].

    `spread`: the sum of squared deviations [R] of `x` in units of its range. Where it may
    be an error of rounding, the values themselves are compared.
    """
    varies = spread > 0
    unsure = varies & (spread < 1e-20 * counts.sum(axis=1))
    if unsure.any():
        is_drawn = counts[unsure] > 0
        low = np.where(is_drawn, x, np.inf).min(axis=1)
        varies[unsure] = np.where(is_drawn, x, -np.inf).max(axis=1) > low
    return varies


def _deviations(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`x`, [N], less its mean over each resample: [R, N]."""
    return x - (_sums(x, counts) / counts.sum(axis=1))[:, None]


def _scaled(x: np.ndarray) -> np.ndarray:
    """`x` moved and scaled to [0, 1], so that squares stay in range."""
    low, high = x.min(), x.max()
    return (x - low) / (high - low) if high > low else x - low


def _rank_deviations(x: np.ndarray) -> _OfCounts:
    """Twice each example's rank less the mean rank of a resample: [R, N], exact.

    Ties have their mean rank, which is a multiple of a half.
    """
    _, place, numbers = np.unique(x, return_inverse=True, return_counts=True)
    order, starts = np.argsort(place, kind="stable"), np.cumsum(numbers) - numbers

    def of(counts: np.ndarray) -> np.ndarray:
        equal = np.take(counts, order, axis=1)
        if len(numbers) < len(x):
            equal = np.add.reduceat(equal, starts, axis=1)
        # The rank is cumsum - (equal - 1) / 2, its mean (size + 1) / 2.
        deviations = np.cumsum(equal, axis=1)
        size = deviations[:, -1:].copy()
        deviations *= 2
        deviations -= equal
        deviations -= size
        return np.take(deviations, place, axis=1)

    return of
