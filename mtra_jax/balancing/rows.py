"""A tree of the tasks' gradients [T, ...] -> their Gramian, and one gradient of them."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtra_jax.balancing import checks
from mtra_jax.balancing.contract import (
    Balancer,
    Combined,
    Inputs,
    Reads,
    State,
    Tree,
)

ELEMENTS = 2**19
"""In a part of the T gradients whose Gramian is summed on a CPU: 2 MiB of float32."""


class Taken(NamedTuple):
    """The outputs of a balancer besides its gradient; see `apply.Aux` and `State`."""

    weights: jax.Array
    learned: Tree
    memory: Tree
    own_weights: jax.Array | None = None
    """See `Combined`."""


def weigh(balancer: Balancer, state: State, inputs: Inputs) -> tuple[jax.Array, Taken]:
    """Returns the objective of a balancer that reads the losses, and its weights."""

    def objective(losses: jax.Array, learned: Tree) -> tuple[jax.Array, Tree]:
        given = inputs._replace(losses=losses)
        result = combined(balancer, given, state._replace(learned=learned))
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
        result = combined(balancer, inputs, state._replace(learned=learned))
        return jnp.asarray(result.penalty, inputs.losses.dtype), result

    learned, result = jax.grad(penalty, has_aux=True)(state.learned)
    if balancer.reads is Reads.GRADIENTS:
        gradient, weights = result.value, result.own_weights
        if weights is None:
            weights = jnp.full_like(inputs.losses, jnp.nan)
    else:
        weights = result.value
        gradient = weighted(weights, inputs.gradients)
    return gradient, Taken(weights, learned, result.memory, result.own_weights)


def combined(balancer: Balancer, inputs: Inputs, state: State) -> Combined:
    """The result of the balancer's `combine`.

    Its matrix products are in full precision: by default a GPU rounds their inputs to
    TF32, with 11 bits, and a TPU to bfloat16, with 8. A solver does not bear that. Outside
    of a compiled step it is one program too: the loops of a solver would be compiled in
    every call.

    Raises:
      TypeError: it is not a `Combined`.
      ValueError: its objective is not a scalar, its weights are not [T], or its memory has
        other shapes than that of `state`.
    """
    with jax.default_matmul_precision("highest"):
        result = jax.jit(balancer.combine)(inputs, state)
    if not isinstance(result, Combined):
        kind = type(result).__name__
        raise TypeError(f"`combine` must return a Combined; found {kind}.")
    checks.memory(result.memory, state.memory)
    shape = jnp.shape(result.value) if balancer.reads is not Reads.GRADIENTS else None
    if balancer.reads is Reads.LOSSES and shape != ():
        raise ValueError(
            f"`combine` must return a scalar objective; found shape {shape}."
        )
    if balancer.reads is Reads.GRAMIAN and shape != inputs.losses.shape:
        raise ValueError(
            f"`combine` must return weights {inputs.losses.shape}; found shape {shape}."
        )
    if balancer.reads is Reads.GRAMIAN:  # a solver may leave rounding errors there
        return result._replace(value=jnp.where(inputs.present, result.value, 0))
    return result


def of_shared(gradients: Tree, is_shared: Tree) -> Tree:
    """The gradients with zeros in the leaves that are not shared, a tree of booleans."""
    return jax.tree.map(
        lambda g, shared: g if shared else jnp.zeros_like(g), gradients, is_shared
    )


def of_owners(gradients: Tree, taken: Taken) -> Tree:
    """The gradient of parameters that a single task owns each, from leaves [T, ...]."""
    if taken.own_weights is None:
        return jax.tree.map(lambda g: jnp.sum(g, axis=0), gradients)
    return weighted(taken.own_weights, gradients)


def weighted(weights: jax.Array, gradients: Tree) -> Tree:
    """Returns the weighted sum of the gradients, each leaf in its type."""
    return jax.tree.map(functools.partial(weighted_sum, weights), gradients)


def weighted_sum(weights: jax.Array, leaf: jax.Array) -> jax.Array:
    """Returns the weighted sum over the first axis of a leaf [T, ...], in its type."""
    summed = jnp.tensordot(weights, leaf, 1, precision=jax.lax.Precision.HIGHEST)
    return summed.astype(leaf.dtype)


def gramian(gradients: Tree, is_shared: Tree) -> jax.Array:
    """Returns the inner products [T, T] of the shared leaves [T, ...], float32 or wider."""

    def products(leaf: jax.Array, shared: bool) -> jax.Array:
        return jnp.where(shared, inner_products(leaf), 0)

    return jax.tree.reduce(jnp.add, jax.tree.map(products, gradients, is_shared))


def inner_products(leaf: jax.Array) -> jax.Array:
    """Returns the inner products [T, T] of a leaf [T, ...], float32 or wider."""
    rows = leaf.reshape(leaf.shape[0], -1)
    return jax.lax.platform_dependent(rows, cpu=_by_columns, default=_products)


def _products(rows: jax.Array) -> jax.Array:
    """The inner products [T, T] of `rows` [T, D]."""
    # Full precision, where matrix products round to less. The squares of float16 may
    # overflow, and there are no linear solvers for bfloat16.
    return jnp.matmul(
        rows,
        rows.T,
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.promote_types(rows.dtype, jnp.float32),
    )


def _by_columns(rows: jax.Array) -> jax.Array:
    """`_products`, a part of the columns at a time: XLA's kernel for CPUs copies `rows`."""
    count, width = rows.shape
    part = max(ELEMENTS // count, 1)
    whole = width - width % part
    if whole <= part:
        return _products(rows)

    def of_part(start: jax.Array) -> jax.Array:
        return _products(jax.lax.dynamic_slice_in_dim(rows, start, part, axis=1))

    sums = jnp.sum(jax.lax.map(of_part, jnp.arange(0, whole, part)), axis=0)
    return sums + _products(rows[:, whole:])
