"""Gradients of T tasks -> one gradient, entry by entry.

Both functions make a `Balancer` that reads the gradients themselves. With `select` or
`represent` of `value_and_grad` the parameters of one task take the gradient of its loss,
with `excess_mtl` by its weight.
"""

import functools

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
    stateless,
    wide,
)


def graddrop() -> Balancer:
    """GradDrop: each entry takes the gradients of one sign, drawn by its purity.

    The purity P = ½ (1 + Σ g / Σ |g|) is the probability of the positive sign. The step
    needs `rng`. The paper applies it to the gradients of a representation: see `represent`
    of `value_and_grad`.

    Source: Chen et al. 2020, "Just Pick a Sign", Algorithm 1, without leak.

    Raises:
      ValueError: the step: `rng` is missing.
    """

    def combine(inputs: Inputs, state: State) -> Combined:
        leaves, structure = jax.tree.flatten(inputs.gradients)
        keys = jax.random.split(inputs.key, len(leaves))
        rows = [_one_sign(*pair) for pair in zip(leaves, keys, strict=True)]
        return Combined(jax.tree.unflatten(structure, rows), state.memory)

    return Balancer(stateless, combine, Reads.GRADIENTS)


def _one_sign(rows: jax.Array, key: jax.Array) -> jax.Array:
    """`rows` [T, ...] -> [...]: the sum of those with the drawn sign."""
    size = _total(jnp.abs(rows))
    purity = (1 + _total(rows) / jnp.where(size > 0, size, 1)) / 2
    is_positive = purity > jax.random.uniform(key, purity.shape, purity.dtype)
    return _total(jnp.where((rows > 0) == is_positive, rows, 0))


def _total(rows: jax.Array) -> jax.Array:
    """The sum over the tasks. XLA's sums over a leading axis are slow on CPUs."""
    return jax.lax.platform_dependent(
        rows, cpu=_row_by_row, default=lambda rows: jnp.sum(rows, axis=0)
    )


def _row_by_row(rows: jax.Array) -> jax.Array:
    return functools.reduce(jnp.add, list(wide(rows))).astype(rows.dtype)


def excess_mtl(rate: float = 1.0) -> Balancer:
    """ExcessMTL: raises the weights of tasks that are far from their optimum.

    The excess risk of a task is estimated by Σ g² / √(Σ over steps g²), and divided by its
    value in the task's first step. The weights start at 1/T and are multiplied by exp(rate
    times the excess), then divided by their sum: in a first step with all tasks they are
    still 1/T. They weigh the losses, also where a single task owns parameters. The memory
    holds the sums of squares, T times the size of the parameters: `init(T, params)`, or
    `init(T, z)` with `represent`.

    Source: He et al. 2024, "Robust Multi-Task Learning with Excess Risks", Eq. 6-9.

    Raises:
      ValueError: `rate` is not positive. `init`: `params` are missing.
    """
    checks.positive("rate", rate)

    def init(count: int, params: Tree = None) -> State:
        checks.parameters(params)
        squares = jax.tree.map(lambda p: jnp.zeros((count, *jnp.shape(p))), params)
        logits, first = jnp.zeros(count), jnp.zeros(count)
        return State(memory=(squares, logits, first))

    def combine(inputs: Inputs, state: State) -> Combined:
        squares, logits, first = state.memory
        # The squares of narrow floats overflow and underflow.
        new = jax.tree.map(
            lambda g: wide(g) ** 2,
            inputs.gradients,
        )
        squares = jax.tree.map(jnp.add, squares, new)
        risk = jax.tree.reduce(jnp.add, jax.tree.map(_sum_of_ratios, new, squares))
        # The first risk divided by itself is 1. TorchJD 0.18 takes it undivided; the paper
        # and the released code do not. A task without a gradient so far is at its optimum.
        ratio = risk / jnp.where(first > 0, first + 1e-7, 1)
        excess = jnp.where(first > 0, ratio, risk > 0)
        first = jnp.where((first == 0) & inputs.present, risk, first)
        moved = logits + jnp.where(inputs.present, rate * excess, 0)
        logits = jax.nn.log_softmax(moved)
        weights = jnp.exp(logits)
        gradient = jax.tree.map(
            lambda g: jnp.tensordot(weights.astype(g.dtype), g, 1), inputs.gradients
        )
        memory = squares, logits, first
        return Combined(
            gradient, memory, own_weights=jnp.where(inputs.present, weights, 0)
        )

    return Balancer(init, combine, Reads.GRADIENTS)


def _sum_of_ratios(new: jax.Array, total: jax.Array) -> jax.Array:
    """Σ g² / √(Σ g² + 1e-7) over all entries of each task: [T, ...] -> [T]."""
    ratios = new / jnp.sqrt(total + 1e-7)
    return jnp.sum(ratios.reshape(ratios.shape[0], -1), axis=1)
