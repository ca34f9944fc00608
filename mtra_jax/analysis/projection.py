"""Representations -> their first principal components."""

from typing import Any, NamedTuple

import numpy as np

from mtra_jax.analysis import vectors


class Projection(NamedTuple):
    """`points` [N, k], and the share of the variance that each component has: [k]."""

    points: np.ndarray
    shares: np.ndarray


def principal_components(z: Any, k: int = 2) -> Projection:
    """Projects `z` [N, H] on its `k` directions of largest variance, by SVD.

    The sign of a component is that of its largest loading, so that the result does not
    depend on the platform.

    Raises:
      ValueError: `z` is not a finite [N, H], or k is larger than N or H.
    """
    rows = vectors.matrix("z", z)
    if not 1 <= k <= min(rows.shape):
        raise ValueError(f"`k` must be between 1 and {min(rows.shape)}; found {k}.")
    centred = rows - rows.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(directions[:k]).argmax(axis=1)
    signs = np.where(directions[np.arange(k), largest] < 0, -1.0, 1.0)
    variances = singular**2
    total = variances.sum()
    shares = variances[:k] / total if total > 0 else np.zeros(k)
    return Projection(centred @ directions[:k].T * signs, shares)
