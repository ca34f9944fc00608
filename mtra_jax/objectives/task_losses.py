"""Outputs and targets of a task -> its loss (Hu et al. 2026, MTRA, section 3.1)."""

import jax
import jax.numpy as jnp

from mtra_jax.objectives import masked

# Low enough to get no share of the softmax; finite because 0 · −inf is NaN.
OUTSIDE = -1e30


def cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns the mean cross-entropy in nats over the valid rows.

    `logits` [B, C]; `targets` [B, C], one-hot or probabilities; `where` [B] bool.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `where` is not boolean.

    >>> cross_entropy(jnp.zeros((2, 4)), jnp.eye(4)[:2])  # log 4
    Array(1.3862944, dtype=float32)
    """
    logits, targets = _pair("logits", logits, "targets", targets)
    where = masked.as_mask(where, logits.shape[0])
    logits, targets = (masked.mask_rows(x, where) for x in (logits, targets))
    return masked.masked_mean(cross_entropy_terms(logits, targets), where, axis_name)


def cross_entropy_terms(
    logits: jax.Array, targets: jax.Array, columns: jax.Array | None = None
) -> jax.Array:
    """Returns the cross-entropy of each row in nats: [B].

    `logits` [B, C]; `targets` [B, C], one-hot or probabilities; `columns` [B, C] bool
    selects each row's own classes where rows of several tasks share a label space.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `columns` is not boolean.

    >>> cross_entropy_terms(jnp.zeros((2, 4)), jnp.eye(4)[:2])  # log 4
    Array([1.3862944, 1.3862944], dtype=float32)
    """
    logits, targets = _pair("logits", logits, "targets", targets)
    has_probability = targets != 0
    if columns is not None:
        columns = _as_columns(columns, logits)
        logits = jnp.where(columns, logits, OUTSIDE)
        has_probability &= columns
    # A class without probability adds 0, even if its logit is −inf.
    log_probabilities = jnp.where(has_probability, jax.nn.log_softmax(logits), 0)
    return -jnp.sum(targets * log_probabilities, axis=-1)


def mean_squared_error(
    outputs: jax.Array,
    targets: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns the mean squared error over the valid rows and all dimensions.

    `outputs` and `targets` [B, D]; `where` [B] bool.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `where` is not boolean.

    >>> mean_squared_error(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]]))
    Array(2.5, dtype=float32)
    """
    outputs, targets = _pair("outputs", outputs, "targets", targets)
    where = masked.as_mask(where, outputs.shape[0])
    outputs, targets = (masked.mask_rows(x, where) for x in (outputs, targets))
    return masked.masked_mean(squared_error_terms(outputs, targets), where, axis_name)


def squared_error_terms(
    outputs: jax.Array, targets: jax.Array, columns: jax.Array | None = None
) -> jax.Array:
    """Returns the squared error of each row, mean over its dimensions: [B].

    `outputs` and `targets` [B, D]; `columns` [B, D] bool selects each row's own
    dimensions where rows of several tasks share an output space.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `columns` is not boolean.

    >>> squared_error_terms(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]]))
    Array([2.5], dtype=float32)
    """
    outputs, targets = _pair("outputs", outputs, "targets", targets)
    if columns is None:
        return jnp.mean((outputs - targets) ** 2, axis=-1)
    columns = _as_columns(columns, outputs)
    squares = jnp.where(columns, (outputs - targets) ** 2, 0)
    count = jnp.sum(columns, axis=-1, dtype=squares.dtype)
    return jnp.sum(squares, axis=-1) / jnp.maximum(count, 1)


def _pair(
    first: str, a: jax.Array, second: str, b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    a, b = masked.as_floats(first, a), masked.as_floats(second, b)
    masked.check_ndim(first, a, 2)
    masked.check_same_shape(first, a, second, b)
    if a.shape[1] == 0:
        raise ValueError(f"`{first}` must have a column; found shape {a.shape}.")
    return a, b


def _as_columns(columns: jax.Array, outputs: jax.Array) -> jax.Array:
    columns = jnp.asarray(columns)
    if columns.dtype != jnp.bool_:
        raise TypeError(f"`columns` must be boolean; found {columns.dtype}.")
    masked.check_same_shape("columns", columns, "outputs", outputs)
    return columns
