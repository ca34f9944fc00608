"""A loss function and parameters -> the aligned objective and its gradient.

    L = Σ_t log(ℓ_t(θ) + ℓ_t(θ + δ)),   δ = ε g/‖g‖,   g = ∂ Σ_t ℓ_t(θ) / ∂θ_selected

with δ constant for differentiation (MTRA, Eq. 7 and 9). The gradient is taken by the
quotient rule, ∇L = Σ_t (∇ℓ_t(θ) + ∇ℓ_t(θ + δ)) / (ℓ_t(θ) + ℓ_t(θ + δ)), so that the
pass that yields δ also yields ∇ℓ_t(θ).
"""

import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtra_jax.objectives import balance, masked, perturbation, trees

Params = Any

SECOND_PASS = 2**31 - 1
"""Folded into the keys of the second pass; larger than any index of a step or layer."""


class Aligned(NamedTuple):
    """The intermediate values of the two passes of an aligned objective.

    `loss` and `perturbed_loss` are ℓ(θ) and ℓ(θ + δ): scalars, or [T]. `weight` is the
    derivative of the objective with respect to either. `is_floored`, of that shape, is
    whether ℓ(θ) + ℓ(θ + δ) lies at or below the floor, where `floored_log` is a tangent
    and the weight stays 1 / floor; False without the logarithm and for an absent task.
    `gradient_norm` is ‖g‖ of the selected parameters, `perturbation_norm` is ‖δ‖. `aux`
    and `perturbed_aux` are the auxiliary outputs of the loss function, None without any.
    """

    loss: jax.Array
    perturbed_loss: jax.Array
    weight: jax.Array
    is_floored: jax.Array
    gradient_norm: jax.Array
    perturbation_norm: jax.Array
    aux: Any
    perturbed_aux: Any


def aligned_value_and_grad(
    loss_fn: Callable[..., Any],
    *,
    epsilon: float,
    select: Callable[[Params], Any],
    floor: float = 1e-2,
    logarithm: bool = True,
    axis_name: str | None = None,
    averaged: Callable[[Params], Any] = lambda params: False,
) -> Callable[..., tuple[tuple[jax.Array, Aligned], Params]]:
    """Returns `(params, *args) -> ((value, Aligned), grads)` of log(ℓ(θ) + ℓ(θ + δ)).

    `loss_fn(params, *args)` returns a scalar loss, or a pair (loss, aux) of it and anything
    else; arguments by name are passed on, too. `select(params)` returns a pytree of
    booleans, or a prefix of one: the True leaves are perturbed together, by a step of L2
    norm `epsilon`. The logarithm is `floored_log` with `floor`: `Aligned.is_floored`
    reports a total ℓ(θ) + ℓ(θ + δ) at or below it, and so at or below 0. `logarithm=False`
    leaves it out (the ablation "w/o SI").

    The cost is two forward and two backward passes. For the second pass every typed key
    (`jax.random.key`) anywhere in `args` is folded with `SECOND_PASS`, so that the passes
    have different dropout masks. All other arguments are the same in both passes.

    Inside `pmap` with `axis_name`, `loss_fn` must return the global loss; the gradient
    that yields δ and the returned gradients are averaged over the axis, except for the
    leaves that `averaged(params)` selects, as `select` does: for these `loss_fn` averages
    the gradient of each backward pass itself.

    Raises:
      ValueError: `epsilon` is negative, `floor` is not positive, the loss is not scalar,
        `loss_fn` returns a tuple other than a pair, or `select` no booleans of the
        structure of `params`.
      TypeError: an argument is uint32[2], the form of a raw key (`jax.random.PRNGKey`);
        other arrays of raw keys are the same in both passes.

    Source: MTRA, Eq. 7 and 9, Algorithm 1.

    >>> loss_fn = lambda params: jnp.sum(params**2)
    >>> grad_fn = aligned_value_and_grad(loss_fn, epsilon=1.0, select=lambda _: True)
    >>> (value, aligned), grads = grad_fn(jnp.array([3.0, 4.0]))  # log(25 + 36)
    >>> print(f"{value:.4f} {aligned.perturbed_loss:.1f} {grads[0]:.4f}")
    4.1109 36.0 0.2164
    """
    _check(epsilon, floor)

    def value_and_grad(
        params: Params, *args: Any, **kwargs: Any
    ) -> tuple[tuple, Params]:
        (loss, aux), grads = _value_and_grad(loss_fn, params, (args, kwargs))
        moved, gradient_norm, delta_norm = _perturb(
            params, grads, select, epsilon, axis_name
        )
        (moved_loss, moved_aux), moved_grads = _value_and_grad(
            loss_fn, moved, _with_fresh_keys((args, kwargs))
        )
        value, weight, is_floored = _weighed(
            loss + moved_loss, jnp.array(True), floor, logarithm
        )
        # Sums of float16 overflow before the weight scales them.
        grads = jax.tree.map(
            lambda a, b: ((masked.as_floats("gradient", a) + b) * weight).astype(
                a.dtype
            ),
            grads,
            moved_grads,
        )
        aligned = Aligned(
            loss,
            moved_loss,
            weight,
            is_floored,
            gradient_norm,
            delta_norm,
            aux,
            moved_aux,
        )
        return (value, aligned), trees.mean_over(grads, axis_name, averaged(params))

    return value_and_grad


def aligned_tasks_value_and_grad(
    losses_fn: Callable[..., Any],
    *,
    epsilon: float,
    select: Callable[[Params], Any],
    floor: float = 1e-2,
    logarithm: bool = True,
    axis_name: str | None = None,
    averaged: Callable[[Params], Any] = lambda params: False,
) -> Callable[..., tuple[tuple[jax.Array, Aligned], Params]]:
    """Like `aligned_value_and_grad`, for a batch that holds several tasks.

    Returns `(params, present, *args) -> ((value, Aligned), grads)`, where
    `losses_fn(params, *args)` returns the losses [T], or a pair (losses, aux), and
    `present` [T] bool selects the tasks of the batch; the losses of the others are
    ignored, as long as their derivatives are finite. All tasks share one δ, from
    Σ_t ℓ_t(θ). The weights of the tasks depend on the second forward pass, so the first
    pass has two backward passes, for δ and for the weighted sum: one more than for a
    single task.

    Raises:
      TypeError: `present` is not boolean.
      ValueError: as `aligned_value_and_grad`, where the losses must be [T], and `present`,
        too.

    Source: MTRA, Eq. 7 and 9, Algorithm 1.

    >>> losses_fn = lambda params: params**2
    >>> grad_fn = aligned_tasks_value_and_grad(
    ...     losses_fn, epsilon=0.0, select=lambda _: True)
    >>> (value, _), grads = grad_fn(jnp.array([2.0, 5.0]), jnp.array([True, False]))
    >>> print(f"{value:.4f}", grads)  # log(4 + 4), and 2·(2 + 2)/(4 + 4)
    2.0794 [1. 0.]
    """
    _check(epsilon, floor)

    def value_and_grad(
        params: Params, present: jax.Array, *args: Any, **kwargs: Any
    ) -> tuple[tuple, Params]:
        losses, pull, aux = _losses_and_pull(losses_fn, params, (args, kwargs))
        present = masked.as_mask(present, len(losses), "present")
        (ascent,) = pull(present.astype(losses.dtype))
        moved, gradient_norm, delta_norm = _perturb(
            params, ascent, select, epsilon, axis_name
        )
        moved_losses, moved_pull, moved_aux = _losses_and_pull(
            losses_fn, moved, _with_fresh_keys((args, kwargs))
        )
        value, weights, is_floored = _weighed(
            losses + moved_losses, present, floor, logarithm
        )
        grads = jax.tree.map(jnp.add, pull(weights)[0], moved_pull(weights)[0])
        aligned = Aligned(
            losses,
            moved_losses,
            weights,
            is_floored,
            gradient_norm,
            delta_norm,
            aux,
            moved_aux,
        )
        return (value, aligned), trees.mean_over(grads, axis_name, averaged(params))

    return value_and_grad


def _check(epsilon: float, floor: float) -> None:
    if isinstance(epsilon, numbers.Real) and not epsilon >= 0:
        raise ValueError(f"`epsilon` must not be negative; found {epsilon}.")
    if isinstance(floor, numbers.Real) and not floor > 0:
        raise ValueError(f"`floor` must be positive; found {floor}.")


def _with_aux(name: str, result: Any) -> tuple[Any, Any]:
    """A loss, or a pair of it and auxiliary outputs -> the pair; None for no outputs."""
    if not isinstance(result, tuple):
        return result, None
    if len(result) != 2:
        raise ValueError(
            f"`{name}` must return a loss or a pair (loss, aux); found a tuple of "
            f"{len(result)}."
        )
    return result


def _objective(
    totals: jax.Array, present: jax.Array, floor: float, logarithm: bool
) -> jax.Array:
    """Σ log(ℓ(θ) + ℓ(θ + δ)) over the tasks present, or the sum without the logarithm."""
    totals, present = jnp.atleast_1d(totals), jnp.atleast_1d(present)
    if logarithm:
        return balance.log_sum(totals, floor, present)
    return jnp.sum(jnp.where(present, totals, 0))


def _weighed(
    totals: jax.Array, present: jax.Array, floor: float, logarithm: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The objective of `totals`, its derivatives, and which totals are floored."""
    value, weights = jax.value_and_grad(_objective)(totals, present, floor, logarithm)
    is_floored = present & (totals <= floor) if logarithm else jnp.zeros_like(present)
    return value, weights, is_floored


def _value_and_grad(
    loss_fn: Callable, params: Params, arguments: tuple[tuple, dict]
) -> tuple[tuple[jax.Array, Any], Params]:
    args, kwargs = arguments

    def scalar_loss(params: Params) -> tuple[jax.Array, Any]:
        loss, aux = _with_aux("loss_fn", loss_fn(params, *args, **kwargs))
        loss = masked.as_floats("loss", loss)
        masked.check_ndim("loss", loss, 0)
        return loss, aux

    return jax.value_and_grad(scalar_loss, has_aux=True)(params)


def _losses_and_pull(
    losses_fn: Callable, params: Params, arguments: tuple[tuple, dict]
) -> tuple[jax.Array, Callable, Any]:
    args, kwargs = arguments

    def losses_of(params: Params) -> tuple[jax.Array, Any]:
        losses, aux = _with_aux("losses_fn", losses_fn(params, *args, **kwargs))
        losses = masked.as_floats("losses", losses)
        masked.check_ndim("losses", losses, 1)
        return losses, aux

    return jax.vjp(losses_of, params, has_aux=True)


def _perturb(
    params: Params,
    grads: Params,
    select: Callable[[Params], Any],
    epsilon: float,
    axis_name: str | None,
) -> tuple[Params, jax.Array, jax.Array]:
    """Returns θ + δ, with δ along the gradient of the selected leaves, ‖g‖ and ‖δ‖."""
    leaves, structure = jax.tree.flatten(params)
    chosen = trees.mask("select", select(params), params)
    ascent = [g for g, hit in zip(jax.tree.leaves(grads), chosen, strict=True) if hit]
    ascent = trees.mean_over(ascent, axis_name)
    delta = perturbation.fgm_perturbation(ascent, epsilon)
    steps = iter(delta)
    moved = [
        leaf + jax.lax.stop_gradient(next(steps)) if hit else leaf
        for leaf, hit in zip(leaves, chosen, strict=True)
    ]
    return (
        jax.tree.unflatten(structure, moved),
        perturbation.global_norm(ascent),
        perturbation.global_norm(delta),
    )


def _with_fresh_keys(arguments: Any) -> Any:
    def renew(leaf: Any) -> Any:
        dtype = getattr(leaf, "dtype", None)
        if dtype == jnp.uint32 and getattr(leaf, "shape", None) == (2,):
            raise TypeError(
                "an argument looks like a raw key, uint32[2], with which both passes would "
                "have the same dropout; pass `jax.random.key(seed)`, or "
                "`jax.random.wrap_key_data(key)`. Pass data in another type."
            )
        if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
            return leaf
        fold = jax.vmap(lambda key: jax.random.fold_in(key, SECOND_PASS))
        return fold(leaf.reshape(-1)).reshape(leaf.shape)

    return jax.tree.map(renew, arguments)
