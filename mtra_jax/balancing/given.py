"""Losses, gradients of the tasks and a balancer -> one gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mtra_jax.balancing import checks, rows
from mtra_jax.balancing.apply import Aux
from mtra_jax.balancing.contract import (
    Balancer,
    Inputs,
    Reads,
    State,
    Tree,
    total,
    wide,
)
from mtra_jax.objectives import trees


def combine_gradients(
    balancer: Balancer,
    state: State,
    losses: jax.Array,
    gradients: Tree,
    *,
    select: Callable[[Tree], Tree] | None = None,
    rng: jax.Array | None = None,
    present: jax.Array | None = None,
) -> tuple[tuple[jax.Array, Aux], Tree, State]:
    """A step of `value_and_grad` from gradients that the caller has.

    They may be those of one batch for each task, which cost less than T passes of all
    batches, or sums over several batches. `losses`: [T]. `gradients`: arrays [T, ...] in
    any tree, of the global batch. `select(gradients)`, `rng`, `present` and the results are
    those of `value_and_grad` and its step.

    Raises:
      TypeError: as in `value_and_grad`.
      ValueError: an argument has another shape or type; `state` does not fit.

    >>> from mtra_jax import balancing
    >>> gradients = {"w": jnp.array([[2.0, 0.0], [0.0, 1.0]])}
    >>> (value, aux), gradient, _ = combine_gradients(
    ...     balancing.mgda(), balancing.State(), jnp.array([1.0, 3.0]), gradients
    ... )
    >>> print([f"{weight:.1f}" for weight in aux.weights], f"{gradient['w'][0]:.1f}")
    ['0.2', '0.8'] 0.4
    """
    checks.balancer(balancer)
    checks.is_state(state)
    losses = wide(checks.losses(jnp.asarray(losses), "`losses` must be [T] floats"))
    checks.floats("gradients", gradients)
    count = len(losses)
    checks.rows("gradients", gradients, count)
    like = jax.tree.map(lambda leaf: leaf[0], gradients)
    checks.state(balancer, state, count, like)
    chosen = True if select is None else select(gradients)
    is_shared = trees.mask("select", chosen, gradients)
    here = checks.present(present, count)
    inputs = Inputs(jnp.where(here, losses, 0), here, rng)

    value, aux, gradient, memory = combine(
        balancer, state, inputs, gradients, is_shared
    )
    return (value, aux), gradient, state._replace(memory=memory)


def combine(
    balancer: Balancer,
    state: State,
    inputs: Inputs,
    gradients: Tree,
    shared: list[bool],
) -> tuple[jax.Array, Aux, Tree, Tree]:
    """Combines gradients [T, ...]; those of absent tasks may be anything.

    `shared`: of each leaf. Returns the value, what else is reported, the gradient and the
    memory.
    """

    def of_present(leaf: jax.Array) -> jax.Array:
        there = jnp.expand_dims(inputs.present, range(1, jnp.ndim(leaf)))
        return jnp.where(there, leaf, 0)

    gradients = jax.tree.map(of_present, gradients)
    if balancer.reads is Reads.LOSSES:
        value, taken = rows.weigh(balancer, state, inputs)
        aux = Aux(inputs.losses, taken.weights, taken.learned)
        gradient = rows.weighted(taken.weights, gradients)
        return value, aux, gradient, taken.memory
    is_shared = jax.tree.unflatten(jax.tree.structure(gradients), shared)
    products = rows.gramian(gradients, is_shared)
    own = rows.of_shared(gradients, is_shared)
    inputs = inputs._replace(gramian=products, gradients=own)
    combined, taken = rows.combine(balancer, state, inputs)
    gradient = jax.tree.map(
        jnp.where, is_shared, combined, rows.of_owners(gradients, taken)
    )
    aux = Aux(inputs.losses, taken.weights, taken.learned, products)
    return total(inputs.losses, inputs.present), aux, gradient, taken.memory
