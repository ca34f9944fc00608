"""Losses of T tasks -> one objective: fixed, drawn, learned and adaptive weights.

Every function makes a `Balancer` that reads the losses alone: a step costs one forward and
one backward pass, and T numbers of memory.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mtra_jax import objectives
from mtra_jax.balancing import checks
from mtra_jax.balancing.contract import (
    Balancer,
    Combined,
    Inputs,
    State,
    stateless,
    total,
)


def ew(
    reduction: str = "mean", weights: Sequence[float] | float | None = None
) -> Balancer:
    """Equal weighting: L = (1/T) Σ_t ℓ_t, or Σ_t ℓ_t with `reduction="sum"`.

    `weights`: constants w [T] of your own in place of equal ones, L = (1/T) Σ_t w_t ℓ_t.

    Source: Hu et al. 2026 (MTRA), section 2, λ_t = 1/T; the sum is the "unitary
    scalarization" of Kurin et al. 2022.

    Raises:
      ValueError: `reduction` is not "mean" or "sum". The step: `weights` are not one finite
        number or T of them.
    """
    checks.choice("reduction", reduction, ("mean", "sum"))

    def combine(inputs: Inputs, state: State) -> Combined:
        losses = inputs.losses
        if weights is not None:
            losses *= checks.per_task("weights", weights, len(losses), losses.dtype)
        count = len(losses) if reduction == "mean" else 1
        return Combined(total(losses, inputs.present) / count, state.memory)

    return Balancer(stateless, combine)


def tw(counts: Sequence[int]) -> Balancer:
    """Weights proportional to the tasks' numbers of examples: L = Σ_t (N_t / Σ N) ℓ_t.

    Source: Hu et al. 2026 (MTRA), appendix B.2; it is the mean over the examples of all
    tasks.

    Raises:
      ValueError: a count is negative, or their sum is 0. The step: there are not T.
    """
    numbers = checks.counts("counts", counts)
    whole = sum(numbers)
    shares = [number / whole for number in numbers]

    def combine(inputs: Inputs, state: State) -> Combined:
        losses = inputs.losses
        if len(numbers) != len(losses):
            raise ValueError(
                f"`counts` must have {len(losses)} numbers, one for each task; found "
                f"{len(numbers)}."
            )
        weighted = jnp.asarray(shares, losses.dtype) * losses
        return Combined(total(weighted, inputs.present), state.memory)

    return Balancer(stateless, combine)


def rlw() -> Balancer:
    """Random loss weighting (RLW): L = Σ_t λ_t ℓ_t, λ = softmax of N(0, I) in every step.

    The step needs `rng`. The weights sum to 1.

    Source: Lin et al. 2022, "Reasonable Effectiveness of Random Weighting", Algorithm 2.

    Raises:
      ValueError: the step: `rng` is missing.
    """

    def combine(inputs: Inputs, state: State) -> Combined:
        losses = inputs.losses
        draws = jax.random.normal(inputs.key, losses.shape, losses.dtype)
        return Combined(
            total(jax.nn.softmax(draws) * losses, inputs.present), state.memory
        )

    return Balancer(stateless, combine)


def uw(factors: ArrayLike = 1.0) -> Balancer:
    """Uncertainty weighting (UW): L = Σ_t c_t exp(−s_t) ℓ_t + s_t/2, s_t learned.

    `factors`: c_t, one number or [T], 1 for cross-entropy and 1/2 for squared errors.
    s_t = log σ_t² starts at 0 and lies in `State.learned`.

    Source: Kendall et al. 2018, Eq. 7 and 10.

    Raises:
      ValueError: the step: `factors` are not one finite number or T of them.
    """

    def combine(inputs: Inputs, state: State) -> Combined:
        s, losses = state.learned, inputs.losses
        c = checks.per_task("factors", factors, len(losses), losses.dtype)
        terms = c * jnp.exp(-s) * losses + s / 2
        return Combined(total(terms, inputs.present), state.memory)

    return Balancer(lambda count: State(jnp.zeros(count)), combine)


def imtl_l() -> Balancer:
    """Impartial loss scaling (IMTL-L): L = Σ_t exp(s_t) ℓ_t − s_t, s_t learned from 0.

    Source: Liu et al. 2021, "Towards Impartial Multi-task Learning", section 3.2, with
    base e.
    """

    def combine(inputs: Inputs, state: State) -> Combined:
        s = state.learned
        terms = jnp.exp(s) * inputs.losses - s
        return Combined(total(terms, inputs.present), state.memory)

    return Balancer(lambda count: State(jnp.zeros(count)), combine)


def uw_so(temperature: float = 1.0) -> Balancer:
    """UW-SO: L = Σ_t λ_t ℓ_t, λ = softmax((1 / ℓ) / temperature), λ constant.

    The optimum of uncertainty weighting in closed form, smoothed. For losses above 0.

    Source: Kirchdorfer et al. 2024, "Analytical Uncertainty-Based Loss Weighting", Eq. 9.

    Raises:
      ValueError: `temperature` is not positive.
    """
    checks.positive("temperature", temperature)

    def combine(inputs: Inputs, state: State) -> Combined:
        losses = jax.lax.stop_gradient(inputs.losses)
        floor = jnp.finfo(losses.dtype).tiny
        scores = 1 / jnp.maximum(losses, floor) / temperature
        # The softmax of infinite scores is NaN.
        scores = jnp.minimum(scores, jnp.finfo(losses.dtype).max)
        weights = jax.nn.softmax(scores, where=inputs.present)
        return Combined(total(weights * inputs.losses, inputs.present), state.memory)

    return Balancer(stateless, combine)


def gls() -> Balancer:
    """Geometric loss strategy (GLS): L = (Π_t ℓ_t)^(1/T) over the tasks present.

    Computed from logarithms, so that no product underflows. For losses above 0, as
    cross-entropies and squared errors are. With one task present it is that task's loss.
    The gradients of all tasks vanish with the loss of one.

    Source: Chennupati et al. 2019, "MultiNet++", Eq. 2.
    """

    def combine(inputs: Inputs, state: State) -> Combined:
        logs = _log(jnp.where(inputs.present, inputs.losses, 1))
        count = jnp.maximum(jnp.sum(inputs.present), 1)
        value = jnp.exp(jnp.sum(logs) / count)
        return Combined(jnp.where(jnp.any(inputs.present), value, 0), state.memory)

    return Balancer(stateless, combine)


def si(floor: float = 1e-2) -> Balancer:
    """Scale-invariant loss, the log-sum of MTRA: L = Σ_t log ℓ_t.

    Below `floor` the logarithm is continued by its tangent, so that losses at or below 0
    have finite values and gradients.

    Source: Hu et al. 2026 (MTRA), appendix B.2 (SI), which is Eq. 3 with β = 0.

    Raises:
      ValueError: `floor` is not positive.
    """
    checks.positive("floor", floor)

    def combine(inputs: Inputs, state: State) -> Combined:
        value = objectives.log_sum(inputs.losses, floor, inputs.present)
        return Combined(value, state.memory)

    return Balancer(stateless, combine)


def _log(losses: jax.Array) -> jax.Array:
    """The logarithm of losses that may be 0, with a finite value and gradient there."""
    return jnp.log(jnp.maximum(losses, jnp.finfo(losses.dtype).tiny))


def stch(
    mu: float = 1.0,
    weights: Sequence[float] | None = None,
    reference: Sequence[float] | float = 0.0,
) -> Balancer:
    """Smooth Tchebycheff scalarisation (STCH): L = μ log Σ_t exp(λ_t (ℓ_t − z_t) / μ).

    `weights`: λ [T], 1/T each by default. `reference`: z, one number or [T], a point that
    no task can beat. For μ → 0 it is the largest of the weighted losses.

    Source: Lin et al. 2024, "Smooth Tchebycheff Scalarization", Eq. 8.

    Raises:
      ValueError: `mu` is not positive. The step: `weights` or `reference` are not one
        finite number or T of them.
    """
    checks.positive("mu", mu)

    def combine(inputs: Inputs, state: State) -> Combined:
        losses = inputs.losses
        count, dtype = len(losses), losses.dtype
        lambdas = 1 / count if weights is None else weights
        shares = checks.per_task("weights", lambdas, count, dtype)
        z = checks.per_task("reference", reference, count, dtype)
        value = mu * jax.nn.logsumexp(shares * (losses - z) / mu, where=inputs.present)
        # The logarithm of an empty sum is −inf.
        value = jnp.where(jnp.any(inputs.present), value, 0)
        return Combined(value.astype(dtype), state.memory)

    return Balancer(stateless, combine)


class Averages(NamedTuple):
    """The memory of dynamic weight averaging; arrays are [T]."""

    total: jax.Array
    """Sum of the losses in this epoch so far."""
    steps_with_task: jax.Array
    last: jax.Array
    """Mean loss of the last complete epoch; 0 in the first."""
    second_last: jax.Array
    steps: jax.Array
    """Steps since the start."""


def dwa(steps_per_epoch: int, temperature: float | jax.Array = 2.0) -> Balancer:
    """Dynamic weight average (DWA): L = Σ_t λ_t ℓ_t, λ = T softmax(r / temperature).

    r_t is the ratio of the mean losses of the last two epochs, which are `steps_per_epoch`
    calls each. In the first two epochs all weights are 1. For losses above 0: r_t is 1
    where one of the two means is 0 or less.

    Source: Liu et al. 2019, "End-to-End Multi-Task Learning with Attention", Eq. 7.

    Raises:
      ValueError: `steps_per_epoch` is not a positive integer, or `temperature` is not
        positive.
    """
    checks.integer("steps_per_epoch", steps_per_epoch)
    checks.positive("temperature", temperature)

    def init(count: int) -> State:
        # Four arrays: one buffer cannot be donated four times.
        zeros = [jnp.zeros(count) for _ in range(4)]
        return State(memory=Averages._make([*zeros, jnp.zeros((), jnp.int32)]))

    def combine(inputs: Inputs, state: State) -> Combined:
        old = state.memory
        mean = old.total / jnp.maximum(old.steps_with_task, 1)
        empty = jnp.zeros_like(mean)
        rolled = Averages(empty, empty, mean, old.last, old.steps)
        is_first = old.steps % steps_per_epoch == 0
        now = jax.tree.map(
            lambda new, same: jnp.where(is_first, new, same), rolled, old
        )
        has_both = (now.last > 0) & (now.second_last > 0)
        ratios = now.last / jnp.where(has_both, now.second_last, 1)
        ratios = jnp.where(has_both, ratios, 1)
        weights = len(ratios) * jax.nn.softmax(ratios / temperature)
        losses = jnp.where(inputs.present, inputs.losses, 0)
        memory = now._replace(
            total=now.total + jax.lax.stop_gradient(losses),
            steps_with_task=now.steps_with_task + inputs.present,
            steps=now.steps + 1,
        )
        return Combined(jnp.sum(weights.astype(losses.dtype) * losses), memory)

    return Balancer(init, combine)


class Before(NamedTuple):
    """The memory of FAMO: the losses of the last step [T], and whether there was one."""

    losses: jax.Array
    is_set: jax.Array


def famo(minimum: Sequence[float] | float = 0.0) -> Balancer:
    """Fast adaptive multitask optimisation (FAMO): decreases all losses at one rate.

    L = Σ_t c z_t log(ℓ_t − m_t) with z = softmax(ξ), c = 1 / Σ_t z_t / (ℓ_t − m_t), both
    constant. `minimum`: m, one number or [T], below all losses. The logits ξ lie in
    `State.learned`; their gradient is softmax'(ξ) applied to the change of the logarithms
    over a step. The paper moves them by Adam with a rate of 0.025 and a weight decay of
    1e-3.

    The paper compares the losses of one batch before and after the step, which costs
    another forward pass. Here the losses of the next batch stand for those after the step,
    so that the gradient comes one step later, 0 in the first one, and contains the noise of
    the batches.

    Source: Liu et al. 2023, "FAMO: Fast Adaptive Multitask Optimization", Algorithm 1.

    Raises:
      ValueError: the step: `minimum` is not one finite number or T of them.
    """

    def init(count: int) -> State:
        memory = Before(jnp.zeros(count), jnp.zeros(count, bool))
        return State(jnp.zeros(count), memory)

    def combine(inputs: Inputs, state: State) -> Combined:
        least = checks.per_task(
            "minimum", minimum, len(inputs.losses), inputs.losses.dtype
        )
        above = inputs.losses - least + 1e-8
        fixed = jax.lax.stop_gradient(above)
        present, memory = inputs.present, state.memory
        z = jax.lax.stop_gradient(jax.nn.softmax(state.learned)).astype(above.dtype)
        c = 1 / jnp.maximum(total(z / fixed, present), jnp.finfo(above.dtype).tiny)
        value = total(c * z * _log(above), present)
        both = present & memory.is_set
        change = _log(jnp.where(both, memory.losses, 1)) - _log(
            jnp.where(both, fixed, 1)
        )
        # Its value is 0; its derivative with respect to ξ is the gradient of the logits.
        mixed = jnp.sum(jax.nn.softmax(state.learned) * jnp.where(both, change, 0))
        value = value + (mixed - jax.lax.stop_gradient(mixed)).astype(value.dtype)
        memory = Before(
            jnp.where(present, fixed, memory.losses).astype(memory.losses.dtype),
            memory.is_set | present,
        )
        return Combined(value, memory)

    return Balancer(init, combine)
