"""Two dropout views of the same texts -> their expected distance on the sphere."""

from typing import Any

import numpy as np

from mtra_jax.analysis import vectors


def alignment(z: Any, z_again: Any, alpha: float = 2.0) -> float:
    """Returns mean_i ‖z_i/‖z_i‖ − z'_i/‖z'_i‖‖^alpha; lower is better aligned.

    `z` and `z_again` [N, H]: representations of the same texts in the same order, with
    different dropout masks in the encoder. With `alpha` 2 the result lies in [0, 4]. It
    is the SA loss of MTRA's Table 5, whose text names this measure but no scale: the
    rows are scaled to length 1, as in the source.

    Raises:
      ValueError: the shapes differ or are not [N, H], or a row is zero or not finite.

    Source: Wang & Isola 2020, Eq. 1.

    >>> value = alignment([[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]])
    >>> print(f"{value:.3f}")  # 0 and 90 degrees: the mean of 0 and 2
    1.000
    """
    one, other = vectors.unit("z", z), vectors.unit("z_again", z_again)
    if one.shape != other.shape:
        raise ValueError(
            "`z` and `z_again` must have the same shape; "
            f"found {one.shape} and {other.shape}."
        )
    distances = np.linalg.norm(one - other, axis=1)
    return float(np.mean(distances**alpha))
