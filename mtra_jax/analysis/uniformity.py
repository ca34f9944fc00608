"""Representations -> how evenly they cover the sphere."""

from typing import Any

import numpy as np

from mtra_jax.analysis import vectors


def uniformity(z: Any, t: float = 2.0, *, chunk: int = 512) -> float:
    """Returns log mean exp(−t ‖u_i − u_j‖²) over pairs i < j; lower is more uniform.

    `z` [N, H], at least two rows; u_i is row i scaled to length 1. The points of a
    uniform distribution in H dimensions have log(exp(−2t) ₀F₁(; H/2; t²)), about −4 for
    `t` 2 and large H; equal rows have 0. Memory is `chunk` × N, time N² H / 2.

    Raises:
      ValueError: `z` is not [N, H] with N > 1, or a row is zero or not finite.

    Source: Wang & Isola 2020, Eq. 2 and section 4.1.2; InfoMTL, Table 5.

    >>> uniformity([[1.0, 0.0], [-3.0, 0.0]])  # distance 2: log exp(−2 · 4)
    -8.0
    """
    unit = vectors.unit("z", z)
    count = len(unit)
    if count < 2:
        raise ValueError(f"`z` must have at least 2 rows; found {count}.")
    total = 0.0
    for start in range(0, count, chunk):
        # ‖u − v‖² = 2 − 2 u·v on the sphere.
        cosines = unit[start : start + chunk] @ unit[start:].T
        # Row i of the block is column i: the pairs i < j lie above the diagonal.
        total += np.triu(np.exp(2 * t * (cosines - 1)), 1).sum()
    return float(np.log(total) - np.log(count * (count - 1) / 2))
