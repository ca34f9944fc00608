"""Gradients of T tasks -> one gradient, entry by entry.

Both functions make a `Balancer` that reads the gradients themselves. With `select` or
`represent` of `value_and_grad` the parameters of one task take the gradient of its loss,
with `excess_mtl` by its weight.
"""

import functools
from typing import NamedTuple

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
from mtra_jax.balancing.rows import weighted


def graddrop() -> Balancer:
    """GradDrop: each entry takes the gradients of one sign, drawn by its purity.

    The purity P = ½ (1 + Σ g / Σ |g|) is the probability of the positive sign. The step
    needs `rng`. The paper applies it to the gradients of a representation z, as `represent`
    of `value_and_grad` does: there P is that of each unit, with Σ sgn(z) g over the rows as
    the gradient of a task, and each row takes the same tasks for a unit. For parameters it
    is TorchJD's, with P for each of them.

    Source: Chen et al. 2020, "Just Pick a Sign", Algorithm 1, without leak.

    Raises:
      ValueError: the step: `rng` is missing.
    """

    def combine(inputs: Inputs, state: State) -> Combined:
        leaves, structure = jax.tree.flatten(inputs.gradients)
        keys = jax.random.split(inputs.key, len(leaves))
        signed = (
            leaves if inputs.units is None else jax.tree.leaves(inputs.units.signed)
        )
        rows = [_one_sign(*own) for own in zip(leaves, signed, keys, strict=True)]
        return Combined(jax.tree.unflatten(structure, rows), state.memory)

    return Balancer(stateless, combine, Reads.GRADIENTS)


def _one_sign(rows: jax.Array, signed: jax.Array, key: jax.Array) -> jax.Array:
    """`rows` [T, ...] -> [...]: the sum of those whose `signed` has the drawn sign.

    `signed`: [T, ...] like `rows`, or without the axis of a batch.
    """
    size = _total(jnp.abs(signed))
    purity = (1 + _total(signed) / jnp.where(size > 0, size, 1)) / 2
    is_positive = purity > jax.random.uniform(key, purity.shape, purity.dtype)
    is_taken = jnp.where(is_positive, signed > 0, signed < 0)
    if signed.ndim < rows.ndim:
        is_taken = is_taken[:, None]
    return _total(jnp.where(is_taken, rows, 0))


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
    still 1/T. They weigh the losses, also where a single task owns parameters. The paper
    may take a mean of several epochs as the first value (TorchJD's `n_warmup_steps`); its
    released code takes that of one step. Its `rate` is 1 in the example, 0.01 by default;
    here it is 1, with which a few tasks may soon have almost all of the weight.

    A task that is absent counts as if it had its last gradient in every step, so that tasks
    with equal gradients keep equal weights, however often each of them is there. The source
    has all tasks in every step.

    The memory holds the sums of squares, T times the size of the parameters:
    `init(T, params)`. With `represent` the gradients are summed over the rows of z, its
    first axis, before they are squared, as in the released code: `init(T, z[0])`.

    Source: He et al. 2024, "Robust Multi-Task Learning with Excess Risks", Eq. 6-9.

    Raises:
      ValueError: `rate` is not positive. `init`: `params` are missing.
    """
    checks.positive("rate", rate)

    def init(count: int, params: Tree = None) -> State:
        checks.parameters(params)
        squares = jax.tree.map(lambda p: jnp.zeros((count, *jnp.shape(p))), params)
        # One array for each: a step that donates its state must not find one twice.
        logits, first, counts = (jnp.zeros(count) for _ in range(3))
        latest, steps = jnp.ones(count), jnp.zeros(())
        return State(memory=_Risks(squares, logits, first, latest, counts, steps))

    def combine(inputs: Inputs, state: State) -> Combined:
        risks = _updated(state.memory, inputs)
        weights = jax.nn.softmax(risks.logits)
        gradient = weighted(weights, inputs.gradients)
        own_weights = jnp.where(inputs.present, weights, 0)
        return Combined(gradient, risks, own_weights=own_weights)

    def _updated(risks: _Risks, inputs: Inputs) -> _Risks:
        present, first = inputs.present, risks.first
        gradients = inputs.gradients if inputs.units is None else inputs.units.sums
        # The squares of narrow floats overflow and underflow.
        new = jax.tree.map(lambda g: wide(g) ** 2, gradients)
        squares = jax.tree.map(jnp.add, risks.squares, new)
        risk = jax.tree.reduce(jnp.add, jax.tree.map(_sum_of_ratios, new, squares))
        # The first risk divided by itself is 1. TorchJD 0.18 takes it undivided; the paper
        # and the released code do not. A task without a gradient so far is at its optimum.
        ratio = risk / jnp.where(first > 0, first + 1e-7, 1)
        ratio = jnp.where(first > 0, ratio, risk > 0)
        latest = jnp.where(present, ratio, risks.latest)
        counts, steps = risks.counts + present, risks.steps + jnp.any(present)
        # With equal gradients the risk falls with the root of their number.
        excess = latest * jnp.sqrt(jnp.maximum(counts, 1) / jnp.maximum(steps, 1))
        return _Risks(
            squares,
            jax.nn.log_softmax(
                risks.logits + jnp.where(jnp.any(present), rate * excess, 0)
            ),
            jnp.where((first == 0) & present, risk, first),
            latest,
            counts,
            steps,
        )

    return Balancer(init, combine, Reads.GRADIENTS)


class _Risks(NamedTuple):
    """The memory of `excess_mtl`.

    `squares`: [T, ...], the sums of squared gradients. `logits`: [T], of the weights.
    `first`: [T], the first risks, 0 before. `latest`: [T], the last risks over the first.
    `counts`: [T], the steps with the task. `steps`: those with any.
    """

    squares: Tree
    logits: jax.Array
    first: jax.Array
    latest: jax.Array
    counts: jax.Array
    steps: jax.Array


def _sum_of_ratios(new: jax.Array, total: jax.Array) -> jax.Array:
    """Σ g² / √(Σ g² + 1e-7) over all entries of each task: [T, ...] -> [T]."""
    ratios = new / jnp.sqrt(total + 1e-7)
    return jnp.sum(ratios.reshape(ratios.shape[0], -1), axis=1)
