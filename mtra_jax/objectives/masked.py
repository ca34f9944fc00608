"""Values and a mask -> means over the valid entries of the global batch."""

from typing import Any

import jax
import jax.numpy as jnp


def as_floats(name: str, array: jax.Array) -> jax.Array:
    """Returns `array` in float32, or in float64 if it is float64.

    Raises:
      TypeError: the entries are complex, or not numbers.
    """
    array = jnp.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating) and not jnp.issubdtype(
        array.dtype, jnp.integer
    ):
        raise TypeError(f"`{name}` must hold real numbers; found {array.dtype}.")
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def scale_of(x: jax.Array, axis_name: str | None = None, **axes: Any) -> jax.Array:
    """Returns max |x|: the squares of `x` over it neither overflow nor all underflow.

    1 where the largest is 0 or not finite, or `x` is empty. A constant for differentiation.
    With `axis_name` the largest of all devices. `axes`: `axis` and `keepdims` of `jnp.max`.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), initial=0, **axes))
    if axis_name is not None:
        largest = jax.lax.pmax(largest, axis_name)
    return jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)


def check_same_shape(first: str, a: jax.Array, second: str, b: jax.Array) -> None:
    """Raises ValueError unless `a` and `b` have the same shape."""
    if a.shape != b.shape:
        raise ValueError(
            f"`{first}` and `{second}` must have the same shape; "
            f"found {a.shape} and {b.shape}."
        )


def check_ndim(name: str, array: jax.Array, ndim: int) -> None:
    """Raises ValueError unless `array` has `ndim` axes."""
    if array.ndim != ndim:
        raise ValueError(
            f"`{name}` must have {ndim} {'axis' if ndim == 1 else 'axes'}; "
            f"found shape {array.shape}."
        )


def as_mask(where: jax.Array | None, batch: int, name: str = "where") -> jax.Array:
    """Returns the mask of valid rows, bool [B]; None marks all rows as valid.

    Raises:
      TypeError: the mask is not boolean.
      ValueError: the mask is not [B].
    """
    if where is None:
        return jnp.ones((batch,), bool)
    where = jnp.asarray(where)
    if where.dtype != jnp.bool_:
        raise TypeError(f"`{name}` must be boolean; found {where.dtype}.")
    if where.shape != (batch,):
        raise ValueError(f"`{name}` must have shape ({batch},); found {where.shape}.")
    return where


def mask_rows(array: jax.Array, where: jax.Array) -> jax.Array:
    """Zeroes the invalid rows of [B, ...], so that no NaN in them reaches a gradient."""
    return jnp.where(where.reshape(where.shape + (1,) * (array.ndim - 1)), array, 0)


def masked_mean(
    values: jax.Array, where: jax.Array | None = None, axis_name: str | None = None
) -> jax.Array:
    """Returns the mean of `values` [B] over the valid rows; 0 without a valid row.

    Sums and counts are reduced over `axis_name`, not ratios: devices may hold different
    numbers of valid rows.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `where` is not boolean, or values are not real numbers.

    >>> masked_mean(jnp.array([1.0, 3.0, 9.0]), jnp.array([True, True, False]))
    Array(2., dtype=float32)
    """
    values = as_floats("values", values)
    check_ndim("values", values, 1)
    where = as_mask(where, values.shape[0])
    total = jnp.sum(jnp.where(where, values, 0))
    count = jnp.sum(where, dtype=values.dtype)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return total / jnp.maximum(count, 1)


def masked_ratio(
    values: jax.Array,
    weights: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns Σ values / Σ weights over the valid rows; 0 if the weights add up to 0.

    `values` and `weights` [B]: a weighted mean if the values contain the weights, which
    are at least 0. Both sums are reduced over `axis_name`.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `where` is not boolean, or values or weights are not real numbers.

    >>> masked_ratio(jnp.array([3.0, 3.0]), jnp.array([3.0, 1.0]))
    Array(1.5, dtype=float32)
    """
    values, weights = as_floats("values", values), as_floats("weights", weights)
    check_ndim("values", values, 1)
    check_same_shape("values", values, "weights", weights)
    where = as_mask(where, values.shape[0])
    total = jnp.sum(jnp.where(where, values, 0))
    weight = jnp.sum(jnp.where(where, weights, 0))
    if axis_name is not None:
        total, weight = jax.lax.psum((total, weight), axis_name)
    return jnp.where(weight > 0, total, 0) / jnp.where(weight > 0, weight, 1)


def log_mean_exp(
    values: jax.Array, where: jax.Array | None = None, axis_name: str | None = None
) -> jax.Array:
    """Returns log mean exp of `values` [B] over the valid rows; 0 without a valid row.

    The largest value is subtracted first, so that scores of any size stay finite. The
    exponentials are summed over all devices before the logarithm.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `where` is not boolean, or values are not real numbers.

    >>> log_mean_exp(jnp.array([500.0, 500.0]))
    Array(500., dtype=float32)
    """
    values = as_floats("values", values)
    check_ndim("values", values, 1)
    where = as_mask(where, values.shape[0])
    values = jnp.where(where, values, 0)
    largest = jnp.max(jnp.where(where, values, -jnp.inf), initial=-jnp.inf)
    largest = jax.lax.stop_gradient(largest)
    if axis_name is not None:
        largest = jax.lax.pmax(largest, axis_name)
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    # Masked before the exponential too: an overflow there would make the gradient NaN.
    shifted = jnp.where(where, values - largest, 0)
    total = jnp.sum(jnp.where(where, jnp.exp(shifted), 0))
    count = jnp.sum(where, dtype=values.dtype)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    has_any = count > 0
    mean = jnp.where(has_any, total, 1) / jnp.maximum(count, 1)
    is_zero = mean == 0  # all values are −inf; the gradient is 0 there, not NaN
    logarithm = jnp.log(jnp.where(is_zero, 1, mean))
    return jnp.where(has_any, jnp.where(is_zero, -jnp.inf, logarithm) + largest, 0)
