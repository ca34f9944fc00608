"""Predicted and actual values of N examples and K outputs -> one number.

The arguments of most functions are `predicted` and `actual`, bool [N, K]: whether an
example has a class or a label. Those of a regression are float64 [N, K]; their result is
the mean over the K dimensions. N and K are positive.
"""

from collections.abc import Callable

import numpy as np

Statistic = Callable[[np.ndarray, np.ndarray], float]


def accuracy(predicted: np.ndarray, actual: np.ndarray) -> float:
    """The share of examples with all K values right."""
    return float(np.mean((predicted == actual).all(axis=1)))


def macro_f1(predicted: np.ndarray, actual: np.ndarray) -> float:
    """The mean of the F1 of each column; 0 for one without positives."""
    return float(np.mean(_f1(*_counts(predicted, actual))))


def micro_f1(predicted: np.ndarray, actual: np.ndarray) -> float:
    """F1 of the counts of all columns together."""
    return float(_f1(*(count.sum() for count in _counts(predicted, actual))))


def weighted_f1(predicted: np.ndarray, actual: np.ndarray) -> float:
    """The mean of the F1 of each column, weighted by its number of actual positives."""
    hits, num_predicted, num_actual = _counts(predicted, actual)
    if not num_actual.any():
        return 0.0
    f1 = _f1(hits, num_predicted, num_actual)
    return float(np.average(f1, weights=num_actual))


def macro_recall(predicted: np.ndarray, actual: np.ndarray) -> float:
    """The mean of the recall of each column; 0 for one without actual positives."""
    hits, _, num_actual = _counts(predicted, actual)
    return float(np.mean(_ratio(hits, num_actual)))


def balanced_accuracy(predicted: np.ndarray, actual: np.ndarray) -> float:
    """The mean of the recall of each class that occurs in the labels."""
    hits, _, num_actual = _counts(predicted, actual)
    occurs = num_actual > 0
    return float(np.mean(hits[occurs] / num_actual[occurs]))


def mcc(predicted: np.ndarray, actual: np.ndarray) -> float:
    """Matthews' correlation of classes; 0 if predictions or labels are constant.

    Source: Gorodkin 2004, "Comparing two K-category assignments".
    """
    hits, num_predicted, num_actual = _counts(predicted, actual)
    size = float(len(actual))
    covariance = size * hits.sum() - num_predicted @ num_actual
    variances = [size**2 - n @ n for n in (num_predicted, num_actual)]
    if min(variances) <= 0:
        return 0.0
    return float(covariance / np.sqrt(variances[0]) / np.sqrt(variances[1]))


def kappa(predicted: np.ndarray, actual: np.ndarray) -> float:
    """Cohen's kappa; 0 if predictions and labels are one and the same class."""
    hits, num_predicted, num_actual = _counts(predicted, actual)
    size = float(len(actual))
    by_chance = num_predicted @ num_actual
    if by_chance == size**2:
        return 0.0
    return float((size * hits.sum() - by_chance) / (size**2 - by_chance))


def auroc(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """The mean of the area under the ROC curve of each column.

    `probabilities`: float64 [N, K]. A tie of a positive and a negative counts as half. A
    column with positives or negatives only counts as 0.5.
    """
    from scipy import stats

    ranks = stats.rankdata(probabilities, axis=0)
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


def _counts(
    predicted: np.ndarray, actual: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, predicted positives and actual positives: float64 [K] each."""
    counted = (predicted & actual, predicted, actual)
    hits, num_predicted, num_actual = (x.sum(axis=0, dtype=float) for x in counted)
    return hits, num_predicted, num_actual


def _f1(
    hits: np.ndarray, num_predicted: np.ndarray, num_actual: np.ndarray
) -> np.ndarray:
    return _ratio(2 * hits, num_predicted + num_actual)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part` / `whole`; 0 where `whole` is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 0.0)


def _mean_over_columns(
    statistic: Statistic, predicted: np.ndarray, actual: np.ndarray
) -> float:
    pairs = zip(predicted.T, actual.T, strict=True)
    return float(np.mean([statistic(x, y) for x, y in pairs]))


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    # Imported late: it takes two seconds, and is only needed at the end of an epoch.
    from scipy import stats

    # Also covers a single example, for which scipy raises.
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(stats.pearsonr(x, y).statistic)


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    from scipy import stats

    return _pearson(stats.rankdata(x), stats.rankdata(y))


def _r2(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(y) == 0:
        return 0.0
    return float(1 - np.sum(np.square(x - y)) / np.sum(np.square(y - y.mean())))
