"""Gramian of the tasks' gradients -> weights: bargains, equal norms, learned weights.

Every function makes a `Balancer` that reads the inner products [T, T] of the gradients. A
step costs one forward and T backward passes, and holds T gradients. All but `db_mtl` and
`gradnorm` solve an optimisation problem of T variables in each step (`solvers`).

With `select` or `represent` of `value_and_grad` the parameters of one task take the plain
gradient of its loss, unless a docstring states another one.
"""

import jax
import jax.numpy as jnp

from mtra_jax.balancing import checks, solvers
from mtra_jax.balancing.contract import (
    SMALLEST_LOSS,
    Balancer,
    Combined,
    Inputs,
    Reads,
    State,
    root,
    stateless,
)


def mgda(solver: str = "exact") -> Balancer:
    """Multiple gradient descent (MGDA): the shortest vector in the gradients' convex hull.

    It decreases all losses, and is 0 up to rounding at Pareto-stationary points. `solver`:
    "exact", or "frank_wolfe" for the 100 iterations of the paper's Algorithm 2, which may
    end early.

    Source: Sener & Koltun 2018, "Multi-Task Learning as Multi-Objective Optimization",
    Eq. 4 and Algorithm 2.

    Raises:
      ValueError: an unknown `solver`.
    """
    checks.choice("solver", solver, ("exact", "frank_wolfe"))

    def combine(inputs: Inputs, state: State) -> Combined:
        gram = solvers.scaled(inputs.gram)
        if solver == "frank_wolfe":
            weights = _frank_wolfe(gram, inputs.present)
        else:
            weights = solvers.simplex_minimum(
                lambda w: w @ gram @ w / 2, inputs.present, gram.dtype
            )
            zeros = jnp.zeros_like(weights)
            weights = solvers.on_support(
                gram, zeros, weights, inputs.present, keep_sum=True
            )
        return Combined(weights, state.memory)

    return Balancer(stateless, combine, Reads.GRAMIAN)


def _frank_wolfe(
    gram: jax.Array, present: jax.Array, steps: int = 100, stop: float = 1e-3
) -> jax.Array:
    def move(_: int, carry: tuple) -> tuple:
        w, is_over = carry
        slopes = gram @ w
        best = jnp.argmin(jnp.where(present, slopes, jnp.inf))
        a, b, c = slopes[best], w @ slopes, gram[best, best]
        inside = (b - a) / jnp.where(b + c - 2 * a > 0, b + c - 2 * a, 1)
        size = jnp.where(c <= a, 1.0, jnp.where(b <= a, 0.0, inside))
        moved = (1 - size) * w + size * jax.nn.one_hot(best, len(w), dtype=w.dtype)
        return jnp.where(is_over, w, moved), is_over | (size < stop)

    count = jnp.maximum(jnp.sum(present), 1)
    start = jnp.where(present, 1 / count, 0).astype(gram.dtype)
    return jax.lax.fori_loop(0, steps, move, (start, jnp.zeros((), bool)))[0]


def cagrad(c: float = 0.5) -> Balancer:
    """Conflict-averse gradient descent (CAGrad): near the mean, best for the worst task.

    The direction maximises the smallest inner product with a gradient within a ball of
    radius c ‖g_0‖ around the mean g_0. c = 0 is the mean of the gradients; large c tends to
    MGDA. Where a mean of the gradients with some weights is 0 to four digits, as with a
    task whose gradient is 0, the direction is g_0, as in the released code where that mean
    is exactly 0; TorchJD takes 0 there, so that one task that has converged stops all. It
    is not divided by 1 + c², as the released code does by default: gradients that are equal
    give 1 + c times their mean.

    Source: Liu et al. 2021, "Conflict-Averse Gradient Descent", Algorithm 1.

    Raises:
      ValueError: `c` is negative.
    """
    checks.not_negative("c", c)

    def combine(inputs: Inputs, state: State) -> Combined:
        present = inputs.present
        gram = solvers.scaled(inputs.gram)
        mean = present / jnp.maximum(jnp.sum(present), 1).astype(gram.dtype)
        radius = c * root(mean @ gram @ mean)
        # The norm has no derivative at 0, which a Pareto-stationary point reaches.
        tiny = jnp.finfo(gram.dtype).eps

        def worst(w: jax.Array) -> jax.Array:
            square = jnp.maximum(w @ gram @ w, 0)  # of rounding
            return mean @ gram @ w + radius * jnp.sqrt(square + tiny)

        w = solvers.simplex_minimum(worst, present, gram.dtype)
        for _ in range(4):
            # With its norm fixed the problem is quadratic.
            norm = jnp.sqrt(jnp.maximum(w @ gram @ w, tiny))
            pull = radius / norm
            better = solvers.on_support(
                pull * gram, gram @ mean, w, present, keep_sum=True
            )
            slack = 8 * jnp.finfo(gram.dtype).eps * jnp.abs(worst(w))
            w = jnp.where(worst(better) <= worst(w) + slack, better, w)
        norm = root(w @ gram @ w)
        is_stationary = norm < 1e-4  # of the square root of the trace
        pull = jnp.where(is_stationary, 0, radius / jnp.where(is_stationary, 1, norm))
        return Combined(mean + pull * w, state.memory)

    return Balancer(stateless, combine, Reads.GRAMIAN)


def nash_mtl(max_norm: float = 1.0) -> Balancer:
    """Nash-MTL: the weights of the Nash bargaining solution, (G α)_t = 1 / α_t.

    The direction Σ α_t g_t does not depend on the scale of any gradient. Its norm is √T,
    and is scaled down to `max_norm` (0 turns that off). The released code solves the
    problem approximately by at most 20 convex problems and in every few steps only; here
    Newton's method solves it exactly in every step. Gradients that cancel out have no
    solution; their weights are large and finite. The parameters of one task take the plain
    gradient of its loss, where the released code multiplies it by α_t.

    Source: Navon et al. 2022, "Multi-Task Learning as a Bargaining Game", Eq. 3.

    Raises:
      ValueError: `max_norm` is negative, or not finite.
    """
    checks.not_negative("max_norm", max_norm)

    def combine(inputs: Inputs, state: State) -> Combined:
        # The released code multiplies the gradient of a task's own parameters by α_t, which
        # has no bound: a head of zeros would be thrown far off in its second step.
        weights = _limited(_fair(inputs, 1.0), inputs.gram, max_norm)
        return Combined(weights, state.memory)

    return Balancer(stateless, combine, Reads.GRAMIAN)


def fairgrad(alpha: float = 2.0, max_norm: float = 0.0) -> Balancer:
    """FairGrad: the weights of α-fair progress, (G w)_t = w_t^(−1/α).

    α = 1 is Nash-MTL without its limit on the norm, α → 0 the plain sum; a large α favours
    the task with the least progress. The norm of the direction grows as gradients shrink,
    as ‖g‖^(−1/3) for α = 2, so that plain SGD does not settle. `max_norm` limits it, 0 does
    not. The paper has no limit, nor have LibMTL and TorchJD; the released code multiplies
    the direction by T and limits the norm to 1.

    Source: Ban & Ji 2024, "Fair Resource Allocation in Multi-Task Learning", Eq. 4.

    Raises:
      ValueError: `alpha` is not positive and finite; `max_norm` is negative or not finite.
    """
    checks.positive("alpha", alpha)
    checks.not_negative("max_norm", max_norm)

    def combine(inputs: Inputs, state: State) -> Combined:
        weights = _limited(_fair(inputs, alpha), inputs.gram, max_norm)
        return Combined(weights, state.memory)

    return Balancer(stateless, combine, Reads.GRAMIAN)


def _limited(weights: jax.Array, gram: jax.Array, max_norm: float) -> jax.Array:
    """The weights, scaled down until ‖Σ w_t g_t‖ is `max_norm`; 0 for no limit."""
    norm = root(weights @ gram @ weights)
    share = jnp.minimum(1, max_norm / jnp.where(norm > 0, norm, 1))
    return weights * jnp.where(jnp.asarray(max_norm) > 0, share, 1).astype(gram.dtype)


def _fair(inputs: Inputs, alpha: float) -> jax.Array:
    """The weights with (G w)_t = w_t^(−1/α); 0 for absent tasks and zero gradients."""
    gram = inputs.gram
    counts = inputs.present & (jnp.diagonal(gram) > 0)
    eye = jnp.eye(len(gram), dtype=gram.dtype)
    own = jnp.where(counts[:, None] & counts[None], gram, eye)
    # Gradients that cancel out have no solution; this keeps the weights finite.
    ridge = 10 * jnp.finfo(gram.dtype).eps
    own = own + ridge * jnp.diag(jnp.diagonal(own))
    return jnp.where(counts, solvers.fair_weights(own, 1 / alpha), 0)


def db_mtl() -> Balancer:
    """DB-MTL: logarithms of the losses, and gradients of equal norm.

    The gradient is Σ_t (c / ‖∇ log ℓ_t‖) ∇ log ℓ_t with the largest of these norms as c.
    The parameters of one task take ∇ log ℓ_t, as in the released code. Losses below 1e-8
    count as 1e-8, which the released code adds to every loss.
    The paper also averages the gradients of each task over steps, with a factor that
    vanishes in the course of training; here they are those of the step.

    Source: Lin et al. 2023, "Dual-Balancing for Multi-Task Learning", Algorithm 1.
    """

    def combine(inputs: Inputs, state: State) -> Combined:
        norms = root(jnp.diagonal(inputs.gram))
        counts = inputs.present & (norms > 0)
        losses = jnp.maximum(inputs.losses, SMALLEST_LOSS)
        largest = jnp.max(jnp.where(counts, norms / losses, 0))
        weights = largest / jnp.where(counts, norms, 1)
        return Combined(
            jnp.where(counts, weights, 0),
            state.memory,
            own_weights=jnp.where(inputs.present, 1 / losses, 0),
        )

    return Balancer(stateless, combine, Reads.GRAMIAN)


def gradnorm(alpha: float = 1.5) -> Balancer:
    """GradNorm: learns weights under which all tasks train at similar rates.

    The norms n_t = w_t ‖g_t‖ are pulled towards mean(n) r_t^α, r_t the loss relative to
    the first step's over the mean of these ratios. `State.learned` holds logits s, with w
    = T softmax(s), so that the weights sum to T; the paper learns w and divides by the sum
    after each step. Their gradient is that of Σ_t |n_t − mean(n) r_t^α| with the goals
    held constant. The parameters of one task take w_t times its gradient, that of
    Σ w_t ℓ_t. For losses above 0: a first loss of 0 counts as not set, and the next one
    takes its place.

    Source: Chen et al. 2018, "GradNorm", Eq. 1-2 and Algorithm 1.

    Raises:
      ValueError: `alpha` is negative.
    """
    checks.not_negative("alpha", alpha)

    def init(count: int) -> State:
        return State(jnp.zeros(count), jnp.zeros(count))

    def combine(inputs: Inputs, state: State) -> Combined:
        gram, present = inputs.gram, inputs.present
        first = state.memory
        losses = jax.lax.stop_gradient(inputs.losses)
        first = jnp.where((first == 0) & present, losses.astype(first.dtype), first)
        count = jnp.maximum(jnp.sum(present), 1)
        weights = len(first) * jax.nn.softmax(state.learned)
        norms = weights * root(jnp.diagonal(gram))
        ratios = jnp.where(present, losses / jnp.where(first != 0, first, 1), 0)
        mean_ratio = jnp.sum(ratios) / count
        rates = ratios / jnp.where(mean_ratio > 0, mean_ratio, 1)
        mean_norm = jnp.sum(jnp.where(present, norms, 0)) / count
        goals = jax.lax.stop_gradient(mean_norm * jnp.maximum(rates, 0) ** alpha)
        penalty = jnp.sum(jnp.where(present, jnp.abs(norms - goals), 0))
        weights = jax.lax.stop_gradient(weights).astype(gram.dtype)
        weights = jnp.where(present, weights, 0)
        return Combined(weights, first, penalty, own_weights=weights)

    return Balancer(init, combine, Reads.GRAMIAN)
