"""Gradients of a task's loss and bound by z -> the share of the bound that counts."""

import jax
import jax.numpy as jnp

from mtra_jax.objectives import masked


def pull_share(
    task_gradient: jax.Array,
    bound_gradient: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns min(1, ‖∂ℓ/∂z‖ / ‖∂I/∂z‖), a constant for differentiation.

    `task_gradient` and `bound_gradient` [B, H]: the gradients of one task's loss ℓ and
    bound I by the representations z; `where` [B] bool. The norms are over all valid rows,
    with `axis_name` of all devices. A weight β of the bound that is multiplied by the
    share pulls on z at most β times as hard as the loss does. The share is 1 where the
    bound does not pull.

    A factor that both gradients have, such as the number of devices in `pmap`, cancels.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `where` is not boolean, or gradients are not real.

    Source: an option of this package, not in the MTRA paper.

    >>> print(pull_share(jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 4.0]])))
    0.75
    """
    task = masked.as_floats("task_gradient", jax.lax.stop_gradient(task_gradient))
    bound = masked.as_floats("bound_gradient", jax.lax.stop_gradient(bound_gradient))
    masked.check_ndim("task_gradient", task, 2)
    masked.check_same_shape("task_gradient", task, "bound_gradient", bound)
    where = masked.as_mask(where, task.shape[0])
    both = jnp.where(where[:, None], jnp.stack([task, bound]), 0)
    scale = masked.scale_of(both, axis_name)
    # XLA would square constants before it divides.
    squares = jnp.sum(jax.lax.optimization_barrier(both / scale) ** 2, axis=(1, 2))
    if axis_name is not None:
        squares = jax.lax.psum(squares, axis_name)
    task_norm, bound_norm = jnp.sqrt(squares)
    # NaN is in no order, and passes through.
    is_weaker = bound_norm <= task_norm
    return jnp.where(is_weaker, 1, task_norm / jnp.where(is_weaker, 1, bound_norm))
