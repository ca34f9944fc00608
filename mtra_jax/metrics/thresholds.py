"""Probabilities and labels -> the threshold of each label that is best by F1."""

import numpy as np


def best_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The threshold of each label with the highest F1: float64 [D].

    `probabilities`: [N, D], from 0 to 1. `labels`: 0/1, [N, D]. A label is predicted from
    its threshold on. Between two neighbouring probabilities all thresholds predict the
    same; of each such interval 0.5 is tried if it holds it, and else the middle, which
    rounding in another evaluation does not cross. Among equals the nearest to 0.5 is
    chosen, then the lower one. A label without positives gets 0.5.

    Raises:
      ValueError: the shapes differ or are empty, or a value is out of range.

    >>> best_thresholds(np.array([[0.1], [0.2], [0.4]]), np.array([[0], [1], [1]]))
    array([0.15])
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels) > 0
    if p.ndim != 2 or p.shape != y.shape or not len(p):
        raise ValueError(
            "`probabilities` and `labels` must have one shape [N, D] with N > 0; found "
            f"{list(p.shape)} and {list(y.shape)}"
        )
    if not ((p >= 0) & (p <= 1)).all():  # NaN is neither
        raise ValueError("`probabilities` must be from 0 to 1")
    order = np.argsort(p, axis=0)[::-1]
    p, y = np.take_along_axis(p, order, axis=0), np.take_along_axis(y, order, axis=0)
    # Row k: the k + 1 most probable examples are predicted to have the label.
    next_lower = np.concatenate([p[1:], np.zeros_like(p[:1])])
    middle = (p + next_lower) / 2
    # The middle of neighbouring floats may be the lower one, which it would then predict.
    cut = np.where(middle > next_lower, middle, p)
    cut = np.where((next_lower < 0.5) & (p >= 0.5), 0.5, cut)
    num_predicted = np.arange(1, len(p) + 1)[:, None]
    f1 = 2 * np.cumsum(y, axis=0) / (num_predicted + y.sum(axis=0))
    is_cut = np.concatenate([p[1:] < p[:-1], np.ones_like(y[:1])])
    best = np.where(is_cut, f1, -1.0)
    distance = np.where(best == best.max(axis=0), np.abs(cut - 0.5), np.inf)
    # From the lowest cut up, so that `argmin` takes the lower of two at one distance.
    chosen = len(p) - 1 - np.argmin(distance[::-1], axis=0)
    return np.where(y.any(axis=0), cut[chosen, np.arange(p.shape[1])], 0.5)
