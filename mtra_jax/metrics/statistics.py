"""Predicted and actual values of N examples and K outputs -> one number.

The arguments of most functions are `predicted` and `actual`, bool [N, K]: whether an
example has a class or a label. Those of a regression are float64 [N, K]; their result is
the mean over the K dimensions. N and K are positive.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from mtra_jax.metrics import confusion

Statistic = Callable[[np.ndarray, np.ndarray], float]


@dataclasses.dataclass(frozen=True)
class OfCounts:
    """A statistic that depends on counts alone, by its formula."""

    formula: Callable[[confusion.Confusion], np.ndarray]

    def __call__(self, predicted: np.ndarray, actual: np.ndarray) -> float:
        return float(self.formula(confusion.count(predicted, actual)))


accuracy = OfCounts(confusion.accuracy)
macro_f1 = OfCounts(confusion.macro_f1)
micro_f1 = OfCounts(confusion.micro_f1)
weighted_f1 = OfCounts(confusion.weighted_f1)
macro_recall = OfCounts(confusion.macro_recall)
balanced_accuracy = OfCounts(confusion.balanced_accuracy)
mcc = OfCounts(confusion.mcc)
kappa = OfCounts(confusion.kappa)


def auroc(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """The mean of the area under the ROC curve of each column.

    `probabilities`: float64 [N, K]. A tie of a positive and a negative counts as half. A
    column with positives or negatives only counts as 0.5.
    """
    ranks = np.stack([ranks_of(column) for column in probabilities.T], axis=1)
    positives = actual.sum(axis=0).astype(np.float64)
    pairs = positives * (len(actual) - positives)
    wins = np.where(actual, ranks, 0.0).sum(axis=0) - positives * (positives + 1) / 2
    defined = np.where(pairs > 0, pairs, 1.0)
    return float(np.mean(np.where(pairs > 0, wins / defined, 0.5)))


def pearson(predicted: np.ndarray, actual: np.ndarray) -> float:
    """Pearson correlation; 0 with a constant."""
    return _mean_over_columns(_pearson, predicted, actual)


def spearman(predicted: np.ndarray, actual: np.ndarray) -> float:
    """Spearman correlation; 0 with a constant."""
    return _mean_over_columns(_spearman, predicted, actual)


def rmse(predicted: np.ndarray, actual: np.ndarray) -> float:
    """Root of the mean squared error."""
    return float(np.mean(np.sqrt(np.mean(np.square(predicted - actual), axis=0))))


def mae(predicted: np.ndarray, actual: np.ndarray) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(predicted - actual)))


def r2(predicted: np.ndarray, actual: np.ndarray) -> float:
    """1 − squared errors / squared deviations of the labels; 0 for constant labels."""
    return _mean_over_columns(_r2, predicted, actual)


def _mean_over_columns(
    statistic: Statistic, predicted: np.ndarray, actual: np.ndarray
) -> float:
    pairs = zip(predicted.T, actual.T, strict=True)
    return float(np.mean([statistic(x, y) for x, y in pairs]))


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    # The squares of a value that is scaled neither overflow nor underflow.
    x, y = ((values - values.mean()) / np.ptp(values) for values in (x, y))
    return float(np.corrcoef(x, y)[0, 1])


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    return _pearson(ranks_of(x), ranks_of(y))


def ranks_of(values: np.ndarray) -> np.ndarray:
    """The ranks of `values` [N] from 1 on, float64 [N]; ties have their mean rank.

    As `scipy.stats.rankdata`, whose import takes longer than the start of a run should.

    >>> ranks_of(np.array([0.5, 0.1, 0.5, 0.9]))
    array([2.5, 1. , 2.5, 4. ])
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _r2(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(y) == 0:
        return 0.0
    return float(1 - np.sum(np.square(x - y)) / np.sum(np.square(y - y.mean())))
