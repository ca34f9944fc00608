"""Parameters and a loss of each task -> gradients at perturbed parameters, balanced.

SAMO wraps a balancer: it takes the gradient of each task where that task's loss
is larger, within a ball around the parameters, and leaves the rest to the balancer.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.balancing import axes, checks, given
from mtra_jax.balancing.apply import Aux, Step
from mtra_jax.balancing.contract import Balancer, Inputs, State, Tree, wide

SHARED = -1
"""The owner of a leaf that all tasks share."""
_NOISE = 2**31 - 1  # no task and no step folds this number into a key


class Sharpness(NamedTuple):
    """Numbers of SAMO: see `samo_value_and_grad`."""

    rho: float | jax.Array = 1e-3
    alpha: float | jax.Array = 0.5
    mu: float | jax.Array = 1e-2


class Leaves(NamedTuple):
    """The properties of each leaf of the parameters that its perturbation depends on.

    `owners`: the task that the leaf belongs to, or `SHARED`. `stacked`: whether its first
    axis counts layers, which are normalised apart.
    """

    owners: Sequence[int]
    stacked: Sequence[bool]


def check(sharpness: Sharpness) -> None:
    """Raises ValueError unless the numbers are in their ranges."""
    checks.positive("rho", sharpness.rho)
    checks.share("alpha", sharpness.alpha)
    checks.positive("mu", sharpness.mu)


def task_keys(rng: jax.Array, count: int) -> jax.Array:
    """Returns the keys of the tasks' random directions: [T]."""
    return jax.random.split(jax.random.fold_in(rng, _NOISE), count)


def directions(key: jax.Array, params: list[jax.Array], leaves: Leaves) -> list:
    """Returns z from N(0, I) for the shared leaves, the number 0 for the others.

    `params`: the leaves of the parameters. Each z has the shape and type of its leaf.
    """
    keys = jax.random.split(key, len(params))
    return [
        jax.random.normal(k, leaf.shape, leaf.dtype) if owner == SHARED else 0.0
        for k, leaf, owner in zip(keys, params, leaves.owners, strict=True)
    ]


def along(
    params: list[jax.Array], direction: list, step: float | jax.Array
) -> list[jax.Array]:
    """Returns `params` moved by `step` times `direction`, a result of `directions`.

    `step`: a scalar. Leaves have the shapes and types of those of `params`.
    """
    return [
        jnp.asarray(leaf + step * z, leaf.dtype)
        for leaf, z in zip(params, direction, strict=True)
    ]


def perturbed(
    params: list[jax.Array],
    mean_gradient: list[jax.Array],
    direction: list,
    slope: jax.Array,
    task: jax.Array,
    leaves: Leaves,
    sharpness: Sharpness,
) -> list[jax.Array]:
    """Returns the parameters at which SAMO takes the gradient of `task`.

    `mean_gradient`: that of the mean of the losses, or a multiple of it; leaves like those
    of `params`, as are those returned. `direction`: a result of `directions`. `slope`: a
    scalar, of the task's loss along `direction`, of which the sign alone counts: the
    leaves' normalisation cancels its size. `task`: its number, a scalar.
    """
    rho, alpha, _ = sharpness

    def joint(gradient: jax.Array, z: jax.Array, is_stacked: bool) -> jax.Array:
        over = tuple(range(int(is_stacked), gradient.ndim))
        size = jnp.sqrt(jnp.sum(wide(gradient) ** 2, axis=over, keepdims=True))
        length = jnp.sqrt(jnp.sum(wide(z) ** 2, axis=over, keepdims=True))
        local = jnp.sign(slope) * z * _ratio(size, length)
        return alpha * gradient + (1 - alpha) * local

    moves = [
        joint(g, z, is_stacked) if owner == SHARED else g
        for g, z, owner, is_stacked in zip(
            mean_gradient, direction, *leaves, strict=True
        )
    ]
    lengths = {
        owner: jnp.sqrt(
            sum(
                jnp.sum(wide(move) ** 2)
                for move, own in zip(moves, leaves.owners, strict=True)
                if own == owner
            )
        )
        for owner in set(leaves.owners)
    }

    def step(owner: int) -> jax.Array:
        size = _ratio(jnp.asarray(rho), lengths[owner])
        return size if owner == SHARED else jnp.where(task == owner, size, 0)

    return [
        (leaf + step(owner) * move).astype(leaf.dtype)
        for leaf, move, owner in zip(params, moves, leaves.owners, strict=True)
    ]


def _ratio(above: jax.Array, below: jax.Array) -> jax.Array:
    """`above / below`, 0 where `below` is 0."""
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1), 0)


def samo_value_and_grad(
    losses_fn: Callable[..., Any],
    balancer: Balancer,
    *,
    rho: float = 1e-3,
    alpha: float = 0.5,
    mu: float = 1e-2,
    owners: Callable[[Tree], Tree] | None = None,
    axis_name: str | None = None,
    has_aux: bool = False,
) -> Step:
    """Sharpness-aware multi-task optimisation (SAMO) around any balancer.

    The balancer gets the gradients g_t of ℓ_t at θ + ε_t in place of those at θ. g_0 is
    the gradient of the mean loss of the tasks present, z is drawn from N(0, I) for the
    shared leaves and is 0 for the others. Over the shared leaves l:

        ε_t = ρ d_t / ‖d_t‖, the norm over all shared leaves together,
        d_t,l = α g_0,l + (1 − α) ‖g_0,l‖ s_t z_l / ‖z_l‖, the norms of the leaf alone,
        s_t = sign(ℓ_t(θ + μ z) − ℓ_t(θ − μ z)).

    s_t z_l / ‖z_l‖ is the direction of the paper's estimate of task t's gradient by two
    forward passes, z (ℓ_t(θ + μ z) − ℓ_t(θ − μ z)) / 2μ. Losses, and weights from them,
    are those at θ.

    Arguments and results are those of `value_and_grad`; the step needs `rng`. In place of
    its `select`, `owners(params)` returns a tree like `params` of the number of the task
    that owns each leaf, `SHARED` (−1) for shared ones; all are shared by default. For task
    t the leaves that it owns move by ρ g_0 / ‖g_0‖, with the norm over these leaves. They
    take the gradient of its loss at θ + ε_t, weighted as in `value_and_grad`.

    A step costs T + 1 forward and backward passes, 2 T forward passes, and the memory of T
    + 3 gradients. The tasks' passes run one after the other, and tasks that are absent cost
    theirs, too. Outside of `jit` every call compiles the loop over them. The method `samo`
    of the trainer differs in four points: the layers of the encoder, whose arrays are
    stacked, are leaves one by one; the 2 T passes have no dropout; only tasks of the batch
    have passes; and the balancer is the plain sum or one of pcgrad, cagrad, mgda and
    fairgrad.

    The released code divides by the estimate's norm also where both losses are equal; here
    s_t is then 0. `losses_fn` has no mode of evaluation, in which the code takes the two
    passes.

    Source: Ban et al. 2025, "SAMO: A Lightweight Sharpness-Aware Approach for Multi-Task
    Optimization with Joint Global-Local Perturbation", arXiv 2507.07883, and its released
    code, from whose scripts the numbers are.

    Raises:
      TypeError: as in `value_and_grad`.
      ValueError: `rho` or `mu` is not positive, or `alpha` is not in [0, 1]. The step:
        `rng` is missing; the result of `owners` does not fit `params`; as in
        `value_and_grad`.
    """
    sharpness = Sharpness(rho, alpha, mu)
    check(sharpness)

    checks.balancer(balancer)
    split = functools.partial(axes.result, has_aux=has_aux, axis_name=axis_name)

    def step(
        params: Tree,
        state: State,
        *args: Any,
        rng: jax.Array | None = None,
        present: jax.Array | None = None,
        **kwargs: Any,
    ) -> tuple[tuple[jax.Array, Aux], Tree, State]:
        checks.is_state(state)
        checks.floats("params", params)
        params = axes.varying(params, axis_name)
        flat, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, params))

        def losses_of(flat: list[jax.Array]) -> tuple[jax.Array, Any]:
            params = jax.tree.unflatten(structure, flat)
            return split(losses_fn(params, *args, **kwargs))

        losses, pull, outputs = jax.vjp(losses_of, flat, has_aux=True)
        leaves = _leaves(owners, params, len(losses))
        here = checks.present(present, len(losses))
        losses = objectives.mean_over(losses, axis_name)
        inputs = Inputs(jnp.where(here, losses, 0), here, rng)
        checks.state(balancer, state, len(losses), params)
        shares = (here / jnp.maximum(jnp.sum(here), 1)).astype(losses.dtype)
        (mean_gradient,) = pull(axes.varying(shares, axis_name))
        mean_gradient = objectives.mean_over(mean_gradient, axis_name)

        def of_task(pair: tuple[jax.Array, jax.Array]) -> list[jax.Array]:
            task, key = pair
            z = directions(key, flat, leaves)
            ahead, behind = (
                objectives.mean_over(losses_of(along(flat, z, size))[0], axis_name)[
                    task
                ]
                for size in (mu, -mu)
            )
            moved = perturbed(
                flat, mean_gradient, z, ahead - behind, task, leaves, sharpness
            )
            moved = axes.varying(moved, axis_name)
            return jax.grad(lambda flat: losses_of(flat)[0][task])(moved)

        keys = task_keys(inputs.key, len(losses))
        own = jax.lax.map(of_task, (jnp.arange(len(losses)), keys))
        own = objectives.mean_over(own, axis_name)
        gradients = jax.tree.unflatten(structure, own)
        value, aux, gradient, memory = given.combine(
            balancer, state, inputs, gradients, [o == SHARED for o in leaves.owners]
        )
        aux = aux._replace(outputs=outputs)
        return (value, aux), gradient, state._replace(memory=memory)

    return step


def _leaves(
    owners: Callable[[Tree], Tree] | None, params: Tree, num_tasks: int
) -> Leaves:
    count = len(jax.tree.leaves(params))
    if owners is None:
        return Leaves([SHARED] * count, [False] * count)
    chosen = jax.tree.leaves(checks.like("owners", owners(params), params))
    for owner in chosen:
        is_task = isinstance(owner, int) and not isinstance(owner, bool)
        if not is_task or not SHARED <= owner < num_tasks:
            raise ValueError(
                f"`owners` must return task numbers below {num_tasks}, or SHARED "
                f"({SHARED}); found {owner!r}."
            )
    return Leaves(chosen, [False] * count)
