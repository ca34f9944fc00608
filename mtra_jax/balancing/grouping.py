"""Losses of T tasks -> one objective with a weight for each group of similar tasks.

A step costs one forward and one backward pass, and T numbers of memory. The grouping costs
T³ operations, in the compiled step.
"""

import jax
import jax.numpy as jnp

from mtra_jax.balancing import checks
from mtra_jax.balancing.contract import (
    SMALLEST_LOSS,
    Balancer,
    Combined,
    Inputs,
    State,
    total,
)


def go4align(groups: int = 2, beta: float = 1e-4) -> Balancer:
    """GO4Align: L = Σ_t ω_t ℓ_t, with one weight ω for the tasks of a group.

    Indicators γ_t = q_t ℓ̄ / ℓ_t, with the mean loss ℓ̄ and q_t ∝ exp(−β Σ ℓ_t) over all
    steps so far, are put into at most `groups` groups by K-means. ω is the mean of a
    group's indicators, a constant. The paper has 2 groups of 3 tasks and 5 of 11.
    Losses below 1e-8 count as 1e-8 where they divide.

    The groups are those with the smallest sum of squares, where the released code starts
    K-means from random tasks. Its indicators are T times as large, as in it ℓ̄ is the sum
    of the losses; we follow the paper. An absent task keeps its sum, and q sums to 1 over
    the tasks present.

    Source: Shen et al. 2024, "GO4Align: Group Optimization for Multi-Task Alignment",
    Eq. 3-7.

    Raises:
      ValueError: `groups` is not a positive integer, or `beta` is negative.
    """
    checks.integer("groups", groups)
    checks.not_negative("beta", beta)

    def combine(inputs: Inputs, state: State) -> Combined:
        present = inputs.present
        losses = jnp.where(present, jax.lax.stop_gradient(inputs.losses), 0)
        logs = state.memory - beta * losses
        # The largest is 0, so that the sums stay small.
        logs = (logs - jnp.max(logs)).astype(state.memory.dtype)
        is_any = jnp.any(present)
        q = jax.nn.softmax(logs, where=present | ~is_any).astype(losses.dtype)
        mean = jnp.sum(losses) / jnp.maximum(jnp.sum(present), 1)
        ratios = mean / jnp.maximum(losses, SMALLEST_LOSS)
        ratios = jnp.minimum(ratios, jnp.finfo(losses.dtype).max)
        weights = group_means(q * ratios, present, groups)
        return Combined(total(weights * inputs.losses, present), logs)

    return Balancer(lambda count: State(memory=jnp.zeros(count)), combine)


def group_means(values: jax.Array, present: jax.Array, groups: int) -> jax.Array:
    """Returns the mean of each value's group [T], of at most `groups` groups.

    `values` [T]: 0 or more. The groups have the smallest sum of squared distances to their
    means: a dynamic program over the sorted values, in which each group is an interval.
    Values that are not `present` are in no group and become 0.

    Source: Wang & Song 2011, "Ckmeans.1d.dp", section 2.
    """
    size = len(values)
    scale = jnp.max(jnp.where(present, values, 0))
    order = jnp.argsort(jnp.where(present, values, jnp.inf))
    sorted_values = (values / jnp.where(scale > 0, scale, 1))[order]
    places = jnp.arange(size)
    first, last = places[:, None], places[None]
    # [i, j, k]: whether place k is in the interval from i to j
    inside = (first[..., None] <= places) & (places <= last[..., None]) & present[order]
    counts = jnp.maximum(jnp.sum(inside, axis=-1), 1)
    means = jnp.sum(jnp.where(inside, sorted_values, 0), axis=-1) / counts
    squares = jnp.square(sorted_values - means[..., None])
    costs = jnp.sum(jnp.where(inside, squares, 0), axis=-1)
    costs = jnp.where(first <= last, costs, jnp.inf)
    best, starts = costs[0], [jnp.zeros(size, int)]
    for _ in range(min(groups, size) - 1):
        # Those of one more group, which begins at place i.
        totals = jnp.append(jnp.zeros_like(best[:1]), best[:-1])[:, None] + costs
        best = jnp.min(totals, axis=0)
        starts.append(jnp.argmin(totals, axis=0))
    result, end = jnp.zeros_like(sorted_values), jnp.array(size - 1)
    for start in reversed(starts):
        begin = start[end]
        is_own = (begin <= places) & (places <= end)
        result = jnp.where(is_own, means[begin, end], result)
        end = begin - 1
    result = jnp.zeros_like(values).at[order].set(result) * scale
    return jnp.where(present, result, 0)
