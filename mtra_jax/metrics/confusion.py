"""Counts of right and wrong labels -> the figures of one set of examples, or of many.

All counts are of K classes or labels. Their last axis is K; the axes before it, such as one
for resamples, stay in the result.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Confusion(NamedTuple):
    """float64. `right`, `size`: examples with all K values right, and all; [...].

    `hits`, `num_predicted`, `num_actual`: true positives, predicted positives and actual
    positives, [..., K].
    """

    right: np.ndarray
    size: np.ndarray
    hits: np.ndarray
    num_predicted: np.ndarray
    num_actual: np.ndarray


def count(predicted: np.ndarray, actual: np.ndarray) -> Confusion:
    """Counts the examples of `predicted` and `actual`, bool [N, K]."""
    columns = [predicted & actual, predicted, actual]
    right = (predicted == actual).all(axis=1)
    sums = [column.sum(axis=0, dtype=float) for column in columns]
    return Confusion(right.sum(dtype=float), np.array(float(len(right))), *sums)


def counter(
    predicted: np.ndarray, actual: np.ndarray
) -> Callable[[np.ndarray], Confusion]:
    """`count` of R resamples, as a function of how often each has each example, [R, N]."""
    # Examples that are predicted alike count together; there are few kinds of them.
    packed = np.packbits(np.concatenate([predicted, actual], axis=1), axis=1)
    _, first, kind = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    kind, predicted, actual = kind.ravel(), predicted[first], actual[first]
    right = (predicted == actual).all(axis=1, keepdims=True)
    parts = [right, predicted & actual, predicted, actual]
    of_kind = np.concatenate(parts, axis=1, dtype=np.float64)

    def counted(counts: np.ndarray) -> Confusion:
        numbers = [np.bincount(kind, row, len(first)) for row in counts]
        sums = np.array(numbers) @ of_kind
        return Confusion(
            sums[:, 0], counts.sum(axis=1), *np.split(sums[:, 1:], 3, axis=1)
        )

    return counted


def accuracy(c: Confusion) -> np.ndarray:
    """The share of examples with all K values right."""
    return c.right / c.size


def macro_f1(c: Confusion) -> np.ndarray:
    """The mean of the F1 of each column; 0 for one without positives."""
    return np.mean(_f1(c.hits, c.num_predicted, c.num_actual), axis=-1)


def micro_f1(c: Confusion) -> np.ndarray:
    """F1 of the counts of all columns together."""
    return _f1(*(x.sum(axis=-1) for x in (c.hits, c.num_predicted, c.num_actual)))


def weighted_f1(c: Confusion) -> np.ndarray:
    """The mean of the F1 of each column, weighted by its number of actual positives."""
    f1 = _f1(c.hits, c.num_predicted, c.num_actual)
    return ratio((f1 * c.num_actual).sum(axis=-1), c.num_actual.sum(axis=-1))


def macro_recall(c: Confusion) -> np.ndarray:
    """The mean of the recall of each column; 0 for one without actual positives."""
    return np.mean(ratio(c.hits, c.num_actual), axis=-1)


def balanced_accuracy(c: Confusion) -> np.ndarray:
    """The mean of the recall of each class that occurs in the labels."""
    recall, occurs = ratio(c.hits, c.num_actual), c.num_actual > 0
    return recall.sum(axis=-1) / occurs.sum(axis=-1)


def mcc(c: Confusion) -> np.ndarray:
    """Matthews' correlation of classes; 0 if predictions or labels are constant.

    Source: Gorodkin 2004, "Comparing two K-category assignments".
    """
    by_chance = (c.num_predicted * c.num_actual).sum(axis=-1)
    covariance = c.size * c.hits.sum(axis=-1) - by_chance
    first, second = (
        c.size**2 - (n * n).sum(axis=-1) for n in (c.num_predicted, c.num_actual)
    )
    varies = np.minimum(first, second) > 0
    roots = (np.sqrt(np.where(varies, x, 1.0)) for x in (first, second))
    return np.where(varies, covariance / next(roots) / next(roots), 0.0)


def kappa(c: Confusion) -> np.ndarray:
    """Cohen's kappa; 0 if predictions and labels are one and the same class."""
    by_chance = (c.num_predicted * c.num_actual).sum(axis=-1)
    return ratio(c.size * c.hits.sum(axis=-1) - by_chance, c.size**2 - by_chance)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part` / `whole`; 0 where `whole` is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 0.0)


def _f1(
    hits: np.ndarray, num_predicted: np.ndarray, num_actual: np.ndarray
) -> np.ndarray:
    return ratio(2 * hits, num_predicted + num_actual)
