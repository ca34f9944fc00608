"""Arrays of representations -> checked float64 matrices and unit vectors."""

from typing import Any

import numpy as np


def matrix(name: str, array: Any) -> np.ndarray:
    """Returns `array` as float64 [N, H].

    Raises:
      ValueError: it has other axes, no row, or an entry that is not finite.
    """
    result = np.asarray(array, np.float64)
    if result.ndim != 2 or not len(result):
        raise ValueError(f"`{name}` must be [N, H] with N > 0; found {result.shape}.")
    if not np.isfinite(result).all():
        raise ValueError(f"`{name}` must be finite; found NaN or infinity.")
    return result


def unit(name: str, array: Any) -> np.ndarray:
    """Returns the rows of `array` [N, H] scaled to length 1, in float64.

    Raises:
      ValueError: see `matrix`; or a row is zero and has no direction.

    >>> unit("z", [[3.0, 4.0]])
    array([[0.6, 0.8]])
    """
    rows = matrix(name, array)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        zero = int(np.flatnonzero(lengths == 0)[0])
        raise ValueError(f"`{name}` must have no row of zeros; found one at {zero}.")
    return rows / lengths
