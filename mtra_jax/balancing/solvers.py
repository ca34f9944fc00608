"""Small convex problems of T variables, solved within a compiled step.

All solvers run a fixed number of Newton steps with T × T systems: deterministic, without a
call to the host, and batched by `vmap`. Problems are scaled first, so that the accuracy
does not depend on the size of the gradients while their squares are finite: in float32
between about 1e-17 and 1e18. In float64 the objective is within 1e-9 of the optimum
relative to its scale, in float32 within 1e-4.

Source: Boyd & Vandenberghe 2004, "Convex Optimization", sections 9.6 and 11.3.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

STEPS = 160
"""Newton steps of the barrier method; each multiplies the accuracy by at most `GROWTH`."""
GROWTH = 4.0
ROUNDS = 6
"""Solutions of `on_support`."""
NEWTON_STEPS, FIRST_STEPS, FINAL_STEPS = 80, 20, 20
"""Newton steps of `fair_weights`; how many are at power 1, and at the wanted power."""
LONGEST = 4.0
"""The largest change of a logarithm in one of these steps."""


def scaled(gramian: jax.Array) -> jax.Array:
    """Returns `gramian` [T, T] divided by its trace; a gramian of zeros stays as it is."""
    trace = jnp.trace(gramian)
    return gramian / jnp.where(trace > 0, trace, 1)


def simplex_minimum(
    objective: Callable[[jax.Array], jax.Array], present: jax.Array, dtype: Any
) -> jax.Array:
    """Returns the minimiser [T] of a convex function over weights w ≥ 0 with sum 1.

    Weights of tasks that are not `present` are 0. `objective` must be twice
    differentiable inside the simplex and of the order of 1. `dtype`: of the result.
    """
    start = present.astype(dtype) / jnp.maximum(jnp.sum(present), 1).astype(dtype)
    return _barrier(objective, start, present, keep_sum=True)


def nonnegative_minimum(
    objective: Callable[[jax.Array], jax.Array], present: jax.Array, dtype: Any
) -> jax.Array:
    """Returns the minimiser [T] of a strictly convex function over x ≥ 0.

    As `simplex_minimum`, without the sum.
    """
    return _barrier(objective, present.astype(dtype), present, keep_sum=False)


def _barrier(
    objective: Callable[[jax.Array], jax.Array],
    start: jax.Array,
    present: jax.Array,
    *,
    keep_sum: bool,
) -> jax.Array:
    """Follows the minima of t·f(x) − Σ log x for growing t."""
    dtype = start.dtype
    # The gap to the optimum is T / t.
    largest = 1e11 if dtype == jnp.float64 else 1e5
    gradient, hessian = jax.grad(objective), jax.hessian(objective)

    def newton(_: int, carry: tuple) -> tuple:
        x, t = carry
        scale = jnp.where(present, x, 0)
        # In units of x, u = Δx / x, the system is I plus a positive matrix.
        slope = jnp.where(present, t * scale * gradient(x) - 1, 0)
        matrix = t * scale[:, None] * hessian(x) * scale[None]
        matrix = matrix + jnp.eye(len(x), dtype=dtype)
        right = jnp.stack([-slope, scale], axis=1)
        solved = jax.scipy.linalg.solve(matrix, right, assume_a="pos")
        u = solved[:, 0]
        if keep_sum:
            u = u - solved[:, 1] * (scale @ u) / (scale @ solved[:, 1])
        # Near a kink the matrix may round to one that is not positive: x stays.
        u = jnp.where(present & jnp.all(jnp.isfinite(u)), u, 0)
        decrement = jnp.sqrt(jnp.maximum(u @ matrix @ u, 0))
        size = jnp.where(decrement > 0.25, 1 / (1 + decrement), 1.0)
        size = jnp.minimum(size, 0.95 / jnp.maximum(jnp.max(-u), 1e-30))
        is_centred = decrement < 1
        x = x * (1 + size * u)
        if keep_sum:
            x = x / jnp.sum(x)
        return x, jnp.where(is_centred, jnp.minimum(t * GROWTH, largest), t)

    x, _ = jax.lax.fori_loop(0, STEPS, newton, (start, jnp.ones((), dtype)))
    # `on_support` has the derivatives of the solution; those of the path to it may be NaN.
    return jax.lax.stop_gradient(jnp.where(present, x, 0))


def on_support(
    matrix: jax.Array,
    linear: jax.Array,
    x: jax.Array,
    present: jax.Array,
    *,
    keep_sum: bool,
) -> jax.Array:
    """Improves an approximate minimiser x of ½ xᵀMx + cᵀx over x ≥ 0 (and Σ x = 1).

    `matrix` M [T, T], positive semidefinite; `linear` c, `x` and `present` [T]. Each of
    `ROUNDS` rounds takes from the last solution and its multipliers which numbers are not
    0, and solves for these alone; those of tasks that are not present stay 0. Returns the
    best solution that is feasible, `x` if none is better. In float32 this yields the
    digits that a barrier cannot resolve.

    Source: Hintermüller, Ito & Kunisch 2002, "The primal-dual active set strategy as a
    semismooth Newton method".
    """
    diagonal = jnp.diagonal(matrix)
    size = jnp.where(diagonal > 0, diagonal, 1)
    # Equal gradients have no unique weights.
    ridge = 8 * jnp.finfo(x.dtype).eps * jnp.diag(size)

    def objective(x: jax.Array) -> jax.Array:
        return x @ matrix @ x / 2 + linear @ x

    def improve(_: int, carry: tuple) -> tuple:
        x, best = carry
        slope = matrix @ x + linear
        # The multipliers of x ≥ 0; at the optimum either x or its multiplier is 0.
        dual = slope - (jnp.sum(slope * x) / jnp.sum(x) if keep_sum else 0)
        support = (x > dual / size) & present
        both = support[:, None] & support[None]
        own = jnp.where(both, matrix, jnp.eye(len(x), dtype=x.dtype)) + ridge
        right = jnp.stack([jnp.where(support, -linear, 0), support], axis=1)
        solved = jnp.linalg.solve(own, right.astype(x.dtype))
        new = solved[:, 0]
        if keep_sum:
            new = new + solved[:, 1] * (1 - jnp.sum(new)) / jnp.sum(solved[:, 1])
        new = jnp.where(support, new, 0)
        # Near the optimum the values differ by rounding alone, and the solution is closer.
        slack = 8 * jnp.finfo(x.dtype).eps * jnp.abs(objective(best))
        is_better = jnp.all(new >= 0) & (objective(new) <= objective(best) + slack)
        best = jnp.where(is_better, new, best)
        return jnp.where(jnp.all(jnp.isfinite(new)), new, best), best

    return jax.lax.fori_loop(0, ROUNDS, improve, (x, x))[1]


def fair_weights(matrix: jax.Array, power: float) -> jax.Array:
    """Returns x > 0 [T] with (M x)_t = x_t^(−power), for a positive matrix M [T, T].

    The solution minimises the convex function ½ xᵀMx − Σ_t x_t^(1−power) / (1−power).
    Newton's method in units of x first takes power 1, where the solution does not depend on
    the scale of the rows, then moves to `power` in small steps. Each takes the one of
    twelve sizes with the smallest value; the last ones that with the smallest error of the
    equations.

    If some x ≥ 0 has M x = 0 there is no solution, and the numbers grow until the steps
    end.
    """
    inverse = 1 / jnp.sqrt(jnp.diagonal(matrix))
    matrix = matrix * inverse[:, None] * inverse[None]
    # x = y / √M_tt: (M' y)_t = a_t y_t^(−power) with a_t = M_tt^((power − 1) / 2)
    log_scale = -jnp.log(inverse)
    target = jnp.asarray(power, matrix.dtype)

    def log_right(log_y: jax.Array, power: jax.Array) -> jax.Array:
        return (power - 1) * log_scale - power * log_y

    def error(log_y: jax.Array, power: jax.Array) -> jax.Array:
        left = matrix @ jnp.exp(log_y)
        return jnp.sum((left * jnp.exp(-log_right(log_y, power)) - 1) ** 2)

    def value(log_y: jax.Array, power: jax.Array) -> jax.Array:
        y, rest = jnp.exp(log_y), 1 - power
        is_log = jnp.abs(rest) < 1e-6
        safe = jnp.where(is_log, 1, rest)
        utility = jnp.where(is_log, log_y, jnp.expm1(rest * log_y) / safe)
        return y @ matrix @ y / 2 - jnp.sum(jnp.exp(-rest * log_scale) * utility)

    sizes = jnp.append(2.0 ** -jnp.arange(12), 0.0).astype(matrix.dtype)

    def newton(step: int, log_y: jax.Array) -> jax.Array:
        share = (step - FIRST_STEPS) / (NEWTON_STEPS - FIRST_STEPS - FINAL_STEPS)
        now = target ** jnp.clip(share, 0, 1).astype(matrix.dtype)
        y, right = jnp.exp(log_y), jnp.exp(log_right(log_y, now))
        curvature = y[:, None] * matrix * y[None] + jnp.diag(now * y * right)
        u = jax.scipy.linalg.solve(curvature, y * (right - matrix @ y), assume_a="pos")
        u = jnp.where(jnp.all(jnp.isfinite(u)), u, 0)
        u = u * jnp.minimum(1, LONGEST / jnp.maximum(jnp.max(jnp.abs(u)), 1e-30))
        candidates = log_y + sizes[:, None] * u
        is_last = step >= NEWTON_STEPS - FINAL_STEPS // 2
        costs = jnp.where(
            is_last,
            jax.vmap(error, (0, None))(candidates, now),
            jax.vmap(value, (0, None))(candidates, now),
        )
        return candidates[jnp.nanargmin(costs)]

    log_y = jax.lax.fori_loop(0, NEWTON_STEPS, newton, jnp.zeros_like(log_scale))
    return jnp.exp(log_y) * inverse
