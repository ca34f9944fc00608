"""Outputs and targets of a task -> its loss (Hu et al. 2026, MTRA, section 3.1)."""

import jax
import jax.numpy as jnp

from mtra_jax.objectives import masked


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
    # A class of probability 0 has no loss, even if its logit is −inf.
    log_probabilities = jnp.where(targets == 0, 0, jax.nn.log_softmax(logits))
    losses = -jnp.sum(targets * log_probabilities, axis=-1)
    return masked.masked_mean(losses, where, axis_name)


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
    errors = masked.mask_rows(outputs, where) - masked.mask_rows(targets, where)
    return masked.masked_mean(jnp.mean(errors**2, axis=-1), where, axis_name)


def _pair(
    first: str, a: jax.Array, second: str, b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    a, b = masked.as_floats(first, a), masked.as_floats(second, b)
    masked.check_ndim(first, a, 2)
    masked.check_same_shape(first, a, second, b)
    if a.shape[1] == 0:
        raise ValueError(f"`{first}` must have a column; found shape {a.shape}.")
    return a, b
