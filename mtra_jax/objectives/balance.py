"""Losses of the tasks -> the sum of their logarithms (MTRA, Eq. 3 and 9)."""

import numbers

import jax
import jax.numpy as jnp

from mtra_jax.objectives import masked


def floored_log(x: jax.Array, floor: float = 1e-2) -> jax.Array:
    """Returns log x for x ≥ `floor`, and below it the tangent of log at `floor`.

    Value and first derivative are continuous, and finite for every finite x. An MI
    estimate can push ℓ_Task − β·I below 0, where the paper's logarithm is undefined.
    Above the floor the function equals the paper's logarithm.

    Raises:
      ValueError: `floor` is not positive.
      TypeError: the entries of `x` are not real numbers.

    Source: the logarithm is that of MTRA, Eq. 3 and 9; the tangent is ours.

    >>> floored_log(jnp.array([1.0, 0.0]), floor=1.0)
    Array([ 0., -1.], dtype=float32)
    """
    if isinstance(floor, numbers.Real) and not floor > 0:
        raise ValueError(f"`floor` must be positive; found {floor}.")
    x = masked.as_floats("x", x)
    tangent = jnp.log(jnp.asarray(floor, x.dtype)) + (x - floor) / floor
    # `where` on the input too: log would make the gradient of the tangent NaN.
    safe = jnp.where(x >= floor, x, floor)
    return jnp.where(x >= floor, jnp.log(safe), tangent)


def log_sum(
    losses: jax.Array, floor: float = 1e-2, where: jax.Array | None = None
) -> jax.Array:
    """Returns Σ_t floored_log(ℓ_t) over the tasks present.

    `losses` [T]; `where` [T] bool, the tasks present (all for None).

    Raises:
      ValueError: the shapes do not fit, or `floor` is not positive.
      TypeError: `where` is not boolean, or losses are not real numbers.

    Source: MTRA, Eq. 9.

    >>> present = jnp.array([True, True, False])
    >>> print(f"{log_sum(jnp.array([1.0, jnp.e, 7.0]), where=present):.4f}")
    1.0000
    """
    losses = masked.as_floats("losses", losses)
    masked.check_ndim("losses", losses, 1)
    where = masked.as_mask(where, losses.shape[0])
    logs = floored_log(jnp.where(where, losses, floor), floor)
    return jnp.sum(jnp.where(where, logs, 0))
