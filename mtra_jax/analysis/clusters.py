"""Representations -> k-means clusters, and their agreement with labels."""

from typing import Any, NamedTuple

import numpy as np
from scipy.cluster import vq

from mtra_jax.analysis import vectors

ROUNDS = 300
"""Rounds of Lloyd's algorithm at most; it usually ends after a few dozen."""


class Clusters(NamedTuple):
    """`labels` int [N], `centres` float64 [k, H], and the sum of squared distances."""

    labels: np.ndarray
    centres: np.ndarray
    inertia: float


def agreement(z: Any, labels: Any, *, seed: int) -> float:
    """Returns the adjusted Rand index of k-means clusters of `z` against `labels` [N].

    k is the number of different labels. The papers' tables show it in percent.

    Raises:
      ValueError: see `k_means` and `adjusted_rand_index`.

    Source: InfoMTL, Table 5.
    """
    k = len(np.unique(np.asarray(labels)))
    return adjusted_rand_index(k_means(z, k, seed=seed).labels, labels)


def k_means(z: Any, k: int, *, seed: int, restarts: int = 10) -> Clusters:
    """Returns the best of `restarts` runs of Lloyd's algorithm, a function of `seed`.

    `z` [N, H]. Each run starts at k rows drawn by k-means++ (Arthur & Vassilvitskii
    2007).

    Raises:
      ValueError: `z` is not a finite [N, H], or k is not between 1 and N.
    """
    rows = vectors.matrix("z", z)
    if not 1 <= k <= len(rows):
        raise ValueError(f"`k` must be between 1 and {len(rows)} rows; found {k}.")
    rng = np.random.default_rng(seed)
    runs = [lloyd(rows, rows[_starts(rows, k, rng)]) for _ in range(restarts)]
    return min(runs, key=lambda run: run.inertia)


def lloyd(z: Any, centres: Any) -> Clusters:
    """Returns the clusters of `z` [N, H] that Lloyd's algorithm reaches from `centres`.

    A centre without rows stays where it is.
    """
    rows, centres = vectors.matrix("z", z), vectors.matrix("centres", centres)
    labels, distances = vq.vq(rows, centres)
    for _ in range(ROUNDS):
        is_member = labels[None] == np.arange(len(centres))[:, None]
        counts = is_member.sum(axis=1, keepdims=True)
        means = is_member.astype(np.float64) @ rows / np.maximum(counts, 1)
        centres = np.where(counts > 0, means, centres)
        previous, (labels, distances) = labels, vq.vq(rows, centres)
        if np.array_equal(labels, previous):
            break
    return Clusters(labels, centres, float(np.sum(distances**2)))


def adjusted_rand_index(first: Any, second: Any) -> float:
    """Returns the agreement of two labellings [N], corrected for chance.

    1 for the same partition under any names, about 0 for independent ones, and down to
    −0.5. Two partitions that both put all rows together, or all apart, agree.

    Raises:
      ValueError: the labellings are empty, or differ in length.

    Source: Hubert & Arabie 1985, Eq. 5.

    >>> adjusted_rand_index([0, 0, 1, 1], ["b", "b", "a", "a"])
    1.0
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(
            "`first` and `second` must be [N] with N > 0; "
            f"found {first.shape} and {second.shape}."
        )
    rows = np.unique(first, return_inverse=True)[1]
    columns = np.unique(second, return_inverse=True)[1]
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    together = _pairs(table).sum()
    in_first, in_second = (_pairs(table.sum(axis=axis)).sum() for axis in (1, 0))
    if in_first == together == in_second:
        return 1.0
    count = len(first)
    expected = in_first * in_second / (count * (count - 1) / 2)
    return float((together - expected) / ((in_first + in_second) / 2 - expected))


def _pairs(counts: np.ndarray) -> np.ndarray:
    """The number of pairs in groups of these sizes."""
    return counts * (counts - 1) / 2


def _starts(rows: np.ndarray, k: int, rng: np.random.Generator) -> list[int]:
    """Indices of k rows: each further one with probability ∝ its squared distance."""
    chosen = [int(rng.integers(len(rows)))]
    nearest = np.sum((rows - rows[chosen[0]]) ** 2, axis=1)
    for _ in range(1, k):
        total = nearest.sum()
        # Fewer different rows than clusters: any row serves.
        shares = nearest / total if total > 0 else None
        chosen.append(int(rng.choice(len(rows), p=shares)))
        distances = np.sum((rows - rows[chosen[-1]]) ** 2, axis=1)
        nearest = np.minimum(nearest, distances)
    return chosen
