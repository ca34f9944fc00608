"""A tree of the tasks' gradients [T, ...] -> their Gramian, and one gradient of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtra_jax.balancing.contract import Balancer, Inputs, Reads, State, Tree


class Taken(NamedTuple):
    """What a balancer returns besides its gradient; see `apply.Aux` and `State`."""

    weights: jax.Array
    learned: Tree
    memory: Tree


def weigh(balancer: Balancer, state: State, inputs: Inputs) -> tuple[jax.Array, Taken]:
    """Returns the objective of a balancer that reads the losses, and its weights."""

    def objective(losses: jax.Array, learned: Tree) -> tuple[jax.Array, Tree]:
        result = balancer.combine(
            inputs._replace(losses=losses), state._replace(learned=learned)
        )
        return result.value, result.memory

    (value, memory), (weights, learned) = jax.value_and_grad(
        objective, (0, 1), has_aux=True
    )(inputs.losses, state.learned)
    return value, Taken(weights, learned, memory)


def combine(balancer: Balancer, state: State, inputs: Inputs) -> tuple[Tree, Taken]:
    """Returns the gradient of a balancer that reads the Gramian or the gradients.

    `inputs.gradients`: arrays [T, ...].
    """

    def penalty(learned: Tree) -> tuple[Any, Any]:
        result = balancer.combine(inputs, state._replace(learned=learned))
        return jnp.asarray(result.penalty, inputs.losses.dtype), result

    learned, result = jax.grad(penalty, has_aux=True)(state.learned)
    if balancer.reads is Reads.GRADIENTS:
        nothing = jnp.full_like(inputs.losses, jnp.nan)
        return result.value, Taken(nothing, learned, result.memory)
    summed = weighted(result.value, inputs.gradients)
    return summed, Taken(result.value, learned, result.memory)


def weighted(weights: jax.Array, gradients: Tree) -> Tree:
    """Returns the weighted sum of the gradients, each leaf in its type."""
    return jax.tree.map(
        lambda g: jnp.tensordot(weights, g, 1).astype(g.dtype), gradients
    )


def gramian(gradients: Tree, is_shared: Tree) -> jax.Array:
    """Returns the inner products [T, T] of the shared leaves [T, ...], float32 or wider."""

    def products(leaf: jax.Array, shared: bool) -> jax.Array:
        rows = leaf.reshape(leaf.shape[0], -1)
        # Full precision, where matrix products round to less. The squares of float16 may
        # overflow, and there are no linear solvers for bfloat16.
        gram = jnp.matmul(
            rows,
            rows.T,
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.promote_types(rows.dtype, jnp.float32),
        )
        return jnp.where(shared, gram, 0)

    return jax.tree.reduce(jnp.add, jax.tree.map(products, gradients, is_shared))
