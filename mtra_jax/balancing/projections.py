"""Gramian of the tasks' gradients -> weights: methods that remove conflicts.

Every function makes a `Balancer` that reads the inner products [T, T] of the gradients. A
step costs one forward and T backward passes, and holds T gradients. The gradient is
Σ_t w_t g_t: projections, too, stay in the span of the g_t.

With `select` or `represent` of `value_and_grad` the parameters of one task take the plain
gradient of its loss, unless a docstring states another one.
"""

import jax
import jax.numpy as jnp

from mtra_jax.balancing import checks, solvers
from mtra_jax.balancing.contract import (
    Balancer,
    Combined,
    Inputs,
    Reads,
    State,
    root,
    stateless,
)


def pcgrad() -> Balancer:
    """Projecting conflicting gradients (PCGrad): Σ_t g_t', each g_t less its conflicts.

    g_t' starts as g_t and is projected on the normal plane of every other g_j, in random
    order, where the two have a negative inner product. The step needs `rng`. With one
    task present there is nothing to project.

    Source: Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", Algorithm 1.

    Raises:
      ValueError: the step: `rng` is missing.
    """

    def combine(inputs: Inputs, state: State) -> Combined:
        gram = inputs.gram
        coefficients = project(gram, _orders(inputs))
        return Combined(_sum_present(coefficients, inputs.present), state.memory)

    return Balancer(stateless, combine, Reads.GRAMIAN)


def project(gram: jax.Array, orders: jax.Array) -> jax.Array:
    """Returns the coefficients [T, T] of the projected gradients: g_i' = Σ_j c_ij g_j.

    `gram` [T, T] holds g_i · g_j. `orders`: int [T, T]; row i is the order in which g_i is
    projected on the others (g_i itself is skipped).
    """
    count = gram.shape[0]

    def one(task: jax.Array, order: jax.Array) -> jax.Array:
        def meet(place: jax.Array, coefficients: jax.Array) -> jax.Array:
            other = order[place]
            dot, square = coefficients @ gram[:, other], gram[other, other]
            # The square of a tiny gradient may round to 0.
            is_conflict = (other != task) & (dot < 0) & (square > 0)
            share = jnp.where(is_conflict, dot / jnp.where(is_conflict, square, 1), 0)
            return coefficients.at[other].add(-share)

        start = jax.nn.one_hot(task, count, dtype=gram.dtype)
        return jax.lax.fori_loop(0, count, meet, start)

    return jax.vmap(one)(jnp.arange(count), orders)


def gradvac(decay: float = 0.01) -> Balancer:
    """Gradient vaccine (GradVac): raises the cosines of gradients to their usual values.

    Where cos(g_i', g_j) lies below its moving average φ_ij, a multiple of g_j is added to
    g_i' so that it equals φ_ij. φ starts at 0 and moves by `decay` a step (β in the
    paper). With φ = 0 it is PCGrad. The step needs `rng`. The paper compares gradients
    layer by layer; here all parameters form one vector.

    Source: Wang et al. 2021, "Gradient Vaccine", Eq. 3-4 and Algorithm 1.

    Raises:
      ValueError: `decay` is not in [0, 1]. The step: `rng` is missing.
    """
    checks.share("decay", decay)

    def combine(inputs: Inputs, state: State) -> Combined:
        gram, present = inputs.gram, inputs.present
        coefficients, averages = vaccinate(
            gram, _orders(inputs), state.memory, present, decay
        )
        return Combined(_sum_present(coefficients, present), averages)

    return Balancer(
        lambda count: State(memory=jnp.zeros((count, count))), combine, Reads.GRAMIAN
    )


def vaccinate(
    gram: jax.Array,
    orders: jax.Array,
    averages: jax.Array,
    present: jax.Array,
    decay: float,
) -> tuple[jax.Array, jax.Array]:
    """Returns the coefficients [T, T] of `gradvac`, and the next averages [T, T]."""
    count, present = gram.shape[0], jnp.asarray(present)

    def one(task: jax.Array, order: jax.Array, own: jax.Array) -> tuple:
        def meet(place: jax.Array, carry: tuple) -> tuple:
            coefficients, own = carry
            other = order[place]
            norm_i = root(coefficients @ gram @ coefficients)
            norm_j = root(gram[other, other])
            product = norm_i * norm_j
            counts = (other != task) & present[task] & present[other] & (product > 0)
            cosine = coefficients @ gram[:, other] / jnp.where(counts, product, 1)
            cosine, goal = jnp.clip(cosine, -1, 1), own[other].astype(gram.dtype)
            sine, goal_sine = root(1 - cosine**2), root(1 - goal**2)
            is_low = counts & (cosine < goal) & (goal_sine > 0)
            divisor = jnp.where(is_low, norm_j * goal_sine, 1)
            share = norm_i * (goal * sine - cosine * goal_sine) / divisor
            coefficients = coefficients.at[other].add(jnp.where(is_low, share, 0))
            moved = (1 - decay) * goal + decay * cosine
            moved = jnp.where(counts, moved, goal).astype(own.dtype)
            return coefficients, own.at[other].set(moved)

        start = jax.nn.one_hot(task, count, dtype=gram.dtype)
        return jax.lax.fori_loop(0, count, meet, (start, own))

    return jax.vmap(one)(jnp.arange(count), orders, averages)


def upgrad(regularisation: float = 1e-4) -> Balancer:
    """Unconflicting projection (UPGrad): the mean of g_t projected on the dual cone.

    The projection of g_t is the nearest vector that has no negative inner product with
    any gradient, so that the mean has none either, up to the `regularisation`. It is added
    to the diagonal of the scaled Gramian, as in TorchJD: without it, gradients that cancel
    out have no unique weights.

    Source: Quinton & Rey 2024, "Jacobian Descent for Multi-Objective Optimization", Eq. 3
    and Proposition 1: min vᵀ G v over v ≥ e_t.

    Raises:
      ValueError: `regularisation` is negative.
    """
    checks.not_negative("regularisation", regularisation)

    def combine(inputs: Inputs, state: State) -> Combined:
        present = inputs.present
        gram = solvers.scaled(inputs.gram)
        gram = gram + regularisation * jnp.eye(len(gram), dtype=gram.dtype)

        # Unit diagonal, and the largest conflict 1: else those of almost orthogonal
        # gradients are below the accuracy of the solver.
        norms = root(jnp.diagonal(gram))
        norms = jnp.where(norms > 0, norms, 1)
        cosines = gram / norms[:, None] / norms[None]

        def projected(unit: jax.Array) -> jax.Array:
            linear = cosines @ unit
            conflict = jnp.maximum(jnp.max(-linear), jnp.finfo(gram.dtype).eps)
            linear = linear / conflict
            x = solvers.nonnegative_minimum(
                lambda x: x @ cosines @ x / 2 + linear @ x, present, gram.dtype
            )
            x = solvers.on_support(cosines, linear, x, present, keep_sum=False)
            return unit + conflict * x * (unit @ norms) / norms

        weights = jax.vmap(projected)(jnp.eye(len(gram), dtype=gram.dtype))
        count = jnp.maximum(jnp.sum(present), 1)
        return Combined(_sum_present(weights, present) / count, state.memory)

    return Balancer(stateless, combine, Reads.GRAMIAN)


def aligned_mtl(scale: str = "min") -> Balancer:
    """Aligned-MTL: the mean of the gradients made orthogonal and of one length.

    The singular values of the matrix of gradients become equal. `scale`: the common value
    is the smallest one above rounding ("min", as in the paper and the released code), or
    their quadratic mean ("rmse", an option of that code). The released code and LibMTL take
    the sum, which is T times as long.

    Source: Senushkin et al. 2023, "Independent Component Alignment", Algorithm 1.

    Raises:
      ValueError: `scale` is not "min" or "rmse".
    """
    checks.choice("scale", scale, ("min", "rmse"))

    def combine(inputs: Inputs, state: State) -> Combined:
        gram, present = inputs.gram, inputs.present
        values, vectors = jnp.linalg.eigh(gram)
        is_kept = _is_kept(values)
        safe = jnp.where(is_kept, values, 1)
        smallest = jnp.min(jnp.where(is_kept, values, jnp.inf))
        mean = jnp.sum(jnp.where(is_kept, values, 0)) / jnp.maximum(jnp.sum(is_kept), 1)
        common = smallest if scale == "min" else mean
        factors = jnp.where(is_kept, jnp.sqrt(common / safe), 0)
        shares = present / jnp.maximum(jnp.sum(present), 1)
        weights = vectors @ (factors * (vectors.T @ shares.astype(gram.dtype)))
        # Without any gradient there is nothing to align.
        weights = jnp.where(jnp.any(is_kept), weights, shares)
        return Combined(weights, state.memory)

    return Balancer(stateless, combine, Reads.GRAMIAN)


def config() -> Balancer:
    """ConFIG: the direction with equal cosines to all gradients.

    Its length is the sum of the gradients' projections on it.

    Source: Liu et al. 2024, "ConFIG: Towards Conflict-free Training of Physics Informed
    Neural Networks", Eq. 2.
    """

    def combine(inputs: Inputs, state: State) -> Combined:
        gram, present = inputs.gram, inputs.present
        norms = root(jnp.diagonal(gram))
        cosines, inverse = _cosines(gram)
        p, _ = _pseudo_solve(cosines, present.astype(gram.dtype))
        square = jnp.maximum(p @ cosines @ p, 0)
        length = jnp.where(square > 0, (norms @ cosines @ p) / square, 0)
        return Combined(length * p * inverse, state.memory)

    return Balancer(stateless, combine, Reads.GRAMIAN)


def imtl_g() -> Balancer:
    """IMTL-G: the combination of the gradients with equal projections on each of them.

    The weights sum to 1 and may be negative.

    Source: Liu et al. 2021, "Towards Impartial Multi-task Learning", section 3.1; for
    linearly dependent gradients as in Quinton & Rey 2024, by a pseudo-inverse.
    """

    def combine(inputs: Inputs, state: State) -> Combined:
        # The weights do not depend on the scale of all gradients.
        gram = solvers.scaled(inputs.gram)
        cosines, inverse = _cosines(gram)
        has_gradient = inverse > 0
        # Independent gradients: G v = d, d their norms, in units of the norms. Else a
        # gradient that is thousands of times shorter than another is lost in rounding.
        by_cosines, rank = _pseudo_solve(cosines, has_gradient.astype(gram.dtype))
        by_cosines = by_cosines * inverse / jnp.maximum(jnp.max(inverse), 1)
        dependent, _ = _pseudo_solve(gram, root(jnp.diagonal(gram)))
        v = jnp.where(rank == jnp.sum(has_gradient), by_cosines, dependent)
        v_sum = jnp.sum(v)
        is_zero = jnp.abs(v_sum) < max(1e-12, 8 * float(jnp.finfo(gram.dtype).eps))
        weights = jnp.where(is_zero, 0, v / jnp.where(is_zero, 1, v_sum))
        return Combined(weights, state.memory)

    return Balancer(stateless, combine, Reads.GRAMIAN)


def _cosines(gram: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The cosines [T, T] of the gradients, and 1 / ‖g_t‖ [T]; 0 for gradients of 0."""
    norms = root(jnp.diagonal(gram))
    inverse = jnp.where(norms > 0, 1 / jnp.where(norms > 0, norms, 1), 0)
    return gram * inverse[:, None] * inverse[None], inverse


def _is_kept(values: jax.Array) -> jax.Array:
    """Which eigenvalues [T] are larger than the rounding of the largest."""
    return values > jnp.max(values) * len(values) * jnp.finfo(values.dtype).eps


def _pseudo_solve(matrix: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The pseudo-inverse of a positive matrix [T, T], times `right` [T]; its rank."""
    values, vectors = jnp.linalg.eigh(matrix)
    is_kept = _is_kept(values)
    inverse = jnp.where(is_kept, 1 / jnp.where(is_kept, values, 1), 0)
    return vectors @ (inverse * (vectors.T @ right)), jnp.sum(is_kept)


def _orders(inputs: Inputs) -> jax.Array:
    """A random order of the tasks for each task: int [T, T]."""
    count = len(inputs.gram)
    keys = jax.random.split(inputs.key, count)
    return jax.vmap(lambda key: jax.random.permutation(key, count))(keys)


def _sum_present(rows: jax.Array, present: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(present[:, None], rows, 0), axis=0)
