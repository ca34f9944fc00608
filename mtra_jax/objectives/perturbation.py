"""A gradient -> the fast-gradient perturbation along it."""

import numbers
from typing import Any

import jax
import jax.numpy as jnp

from mtra_jax.objectives import masked


def global_norm(tree: Any) -> jax.Array:
    """Returns the L2 norm over all leaves, without overflow of the squares.

    0 for a tree without leaves.

    Raises:
      TypeError: entries are not real numbers.
    """
    leaves = [masked.as_floats("tree", leaf) for leaf in jax.tree.leaves(tree)]
    if not leaves:
        return jnp.zeros(())
    scale = masked.scale_of(jnp.stack([jnp.max(jnp.abs(x), initial=0) for x in leaves]))
    square = jnp.asarray(sum(jnp.sum((x / scale) ** 2) for x in leaves))
    # The root has no derivative at 0: there that of the norm is 0, not NaN.
    is_zero = square == 0
    return scale * jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, square)))


def fgm_perturbation(gradient: Any, epsilon: float | jax.Array) -> Any:
    """Returns δ = ε g/‖g‖₂, an ascent step of length ε along `gradient`.

    `gradient`: any pytree of arrays; the norm is over all its leaves. δ is zero if the
    norm is zero or not finite.

    Raises:
      ValueError: `epsilon` is negative.
      TypeError: entries of `gradient` are not real numbers.

    Source: Miyato et al. 2017, Eq. 5; MTRA, Eq. 7.

    >>> fgm_perturbation({"w": jnp.array([3.0, 4.0])}, epsilon=10.0)
    {'w': Array([6., 8.], dtype=float32)}
    """
    if isinstance(epsilon, numbers.Real) and not epsilon >= 0:
        raise ValueError(f"`epsilon` must not be negative; found {epsilon}.")
    # The papers write δ = −ε g/‖g‖ with g the gradient of the log-likelihood. Here g is
    # the gradient of the loss, so the ascent has no minus sign.
    gradient = jax.tree.map(jnp.asarray, gradient)
    norm = global_norm(gradient)
    usable = (norm > 0) & jnp.isfinite(norm)
    safe_norm = jnp.where(usable, norm, 1)
    return jax.tree.map(
        lambda g: jnp.where(usable, epsilon * (g / safe_norm), 0).astype(g.dtype),
        gradient,
    )
