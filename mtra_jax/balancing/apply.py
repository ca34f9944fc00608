"""A function of the tasks' losses and a balancer -> a function of value and gradient."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.balancing import axes, checks, rows
from mtra_jax.balancing.contract import (
    Balancer,
    Inputs,
    Reads,
    State,
    Tree,
    Units,
    total,
    wide,
)
from mtra_jax.objectives import trees


class Aux(NamedTuple):
    """The outputs of a step besides its value and gradient.

    `losses`: [T]. `weights`: [T], the factors of the tasks' gradients; NaN for balancers
    that read the gradients and have none, as `graddrop`. `learned`: the gradient of
    `State.learned`, for the user's optimiser. `gramian`: [T, T], or None where it was not
    needed. `outputs`: what `losses_fn` returns besides the losses, with `has_aux`.
    """

    losses: jax.Array
    weights: jax.Array
    learned: Tree
    gramian: jax.Array | None = None
    outputs: Any = None


Step = Callable[..., tuple[tuple[jax.Array, Aux], Tree, State]]


def value_and_grad(
    losses_fn: Callable[..., Any],
    balancer: Balancer,
    *,
    select: Callable[[Tree], Tree] | None = None,
    represent: Callable[..., Tree] | None = None,
    axis_name: str | None = None,
    has_aux: bool = False,
) -> Step:
    """Returns `step(params, state, *args, rng=None, present=None, **kwargs)`.

    `losses_fn(params, *args, **kwargs)` returns the losses [T] of any JAX model; with
    `has_aux` a pair of them and anything else. The step returns `((value, aux), gradient,
    state)`: `value` is the objective of a balancer that reads the losses, and for the
    others the sum of the losses; the gradient has the structure of `params`; `state`
    replaces the old one. `present`: bool [T], all tasks by default; the losses of absent
    tasks are ignored, as long as their derivatives are finite. `rng` and `present` are not
    passed on to `losses_fn`. Numbers that the balancer learns are in `state.learned`, and
    their gradient is in `aux.learned`.

    `select(params)` returns a tree of booleans, or a prefix of one, True for the parameters
    that all tasks share. Balancers that read gradients then compare those alone; each other
    parameter belongs to one task and takes the gradient of its loss, times
    `Combined.own_weights` where the balancer has them.

    With `represent` the gradients that are compared are those with respect to a shared
    representation z, which costs T backward passes of the small part after it and one of
    the encoder. Then `represent(params, *args, **kwargs)` returns z, and `losses_fn(params,
    z, *args, **kwargs)` the losses. Parameters that are used after z take their gradients
    as those of a single task do. The first axis of z is that of the batch. If each row
    belongs to one task alone, gradients with respect to z never conflict: take `select`.

    With `axis_name` (inside `pmap` or `shard_map`) losses, Gramian and gradients are those
    of the global batch: the mean over the devices is taken before anything that is not
    linear. `losses_fn` returns the means over the device's examples, if each task has as
    many on all devices; or else the losses of the global batch, as the functions of
    `objectives` with `axis_name` do. `present` is that of the global batch.

    Losses and parameters may be in bfloat16 or float16. The losses that the balancer
    reads, Gramian and weights are then in float32, and each gradient has the type of its
    parameter.

    Raises:
      TypeError: `balancer` is not a `Balancer`, `state` not a `State`, or the balancer's
        `combine` does not return a `Combined`.
      ValueError: `select` is given with `represent`. The step: the losses are not one axis
        of real numbers; `params` or the representation has leaves of another type than
        floats; `present`, `state` or the result of `select` does not fit them; z has an
        array without an axis, and the balancer reads gradients.

    >>> from mtra_jax import balancing
    >>> def losses_fn(params, x):
    ...     return jnp.array([(params - x) ** 2, (params + x) ** 2])
    >>> balancer = balancing.ew()
    >>> step = value_and_grad(losses_fn, balancer)
    >>> (value, aux), gradient, state = step(jnp.array(1.0), balancer.init(2), 3.0)
    >>> print(value, gradient, aux.losses)
    10.0 2.0 [ 4. 16.]
    """
    checks.balancer(balancer)
    if select is not None and represent is not None:
        raise ValueError("`select` and `represent` exclude each other; found both.")

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
        if represent is None:
            like = params
            losses, pull, outputs = jax.vjp(
                lambda p: split(losses_fn(p, *args, **kwargs)), params, has_aux=True
            )
            is_shared = None
            if select is not None:
                chosen = trees.mask("select", select(params), params)
                is_shared = jax.tree.unflatten(jax.tree.structure(params), chosen)
            passes = _Passes(pull, None, None, is_shared, axis_name)
        else:
            z, back = jax.vjp(lambda p: represent(p, *args, **kwargs), params)
            checks.floats("the representation", z)
            z = axes.varying(z, axis_name)
            like = jax.tree.map(_row, z)
            losses, pull, outputs = jax.vjp(
                lambda p, z: split(losses_fn(p, z, *args, **kwargs)),
                params,
                z,
                has_aux=True,
            )
            passes = _Passes(pull, back, z, None, axis_name)
        losses = objectives.mean_over(losses, axis_name)
        checks.state(balancer, state, len(losses), like)
        present = checks.present(present, len(losses))
        inputs = Inputs(jnp.where(present, losses, 0), present, rng)
        run = _of_losses if balancer.reads is Reads.LOSSES else _of_gradients
        value, aux, gradient, memory = run(balancer, state, inputs, passes)
        aux = aux._replace(outputs=outputs)
        return (value, aux), gradient, state._replace(memory=memory)

    return step


def _row(z: jax.Array) -> jax.ShapeDtypeStruct:
    """The form of an array of a representation without the axis of the batch."""
    return jax.ShapeDtypeStruct(z.shape[1:], z.dtype)


class _Passes(NamedTuple):
    """The backward passes of a step.

    `pull`: cotangents of the losses [T] -> (gradient of the parameters,), or with `back`
    (that of the parameters used after z, that of z). `back`: cotangent of z -> (gradient
    of the parameters,). `z`: the representation, with `back`. `is_shared`: the result of
    `select`, None for all parameters.
    """

    pull: Callable[[jax.Array], tuple[Tree, ...]]
    back: Callable[[Tree], tuple[Tree]] | None
    z: Tree | None
    is_shared: Tree | None
    axis_name: str | None


def _units(z: Tree, gradients: Tree, axis_name: str | None) -> Units:
    """Sums over the rows of all devices of gradients [T, B, ...] of the global mean."""
    checks.rows_of_a_batch(z)
    wide_gradients = jax.tree.map(wide, gradients)
    signed = jax.tree.map(lambda g, z: g * jnp.sign(z), wide_gradients, z)
    units = jax.tree.map(lambda g: jnp.sum(g, axis=1), Units(wide_gradients, signed))
    return units if axis_name is None else jax.lax.psum(units, axis_name)


def _of_losses(
    balancer: Balancer, state: State, inputs: Inputs, passes: _Passes
) -> tuple[jax.Array, Aux, Tree, Tree]:
    """One backward pass, of the weighted sum of the losses."""
    value, taken = rows.weigh(balancer, state, inputs)
    gradient, *by_z = passes.pull(axes.varying(taken.weights, passes.axis_name))
    if passes.back is not None:
        gradient = jax.tree.map(jnp.add, gradient, passes.back(*by_z)[0])
    gradient = objectives.mean_over(gradient, passes.axis_name)
    aux = Aux(inputs.losses, taken.weights, taken.learned)
    return value, aux, gradient, taken.memory


def _of_gradients(
    balancer: Balancer, state: State, inputs: Inputs, passes: _Passes
) -> tuple[jax.Array, Aux, Tree, Tree]:
    """T backward passes, one per task; with `back` of the part after z only."""
    axis_name, back = passes.axis_name, passes.back
    num_devices = 1 if axis_name is None else jax.lax.psum(1, axis_name)
    cotangents = jnp.diag(inputs.present.astype(inputs.losses.dtype))
    by_params, *by_z = jax.vmap(passes.pull)(axes.varying(cotangents, axis_name))
    if back is None:
        # Means first: projection and norms are not linear.
        gradients = by_params = objectives.mean_over(by_params, axis_name)
    else:
        # The texts of a device are a part of the global batch, whose loss is the mean.
        gradients = jax.tree.map(lambda g: g / num_devices, *by_z)
    is_shared = passes.is_shared
    if is_shared is None:
        is_shared = jax.tree.map(lambda _: True, gradients)
    products = rows.gramian(gradients, is_shared)
    if back is not None and axis_name is not None:
        products = jax.lax.psum(products, axis_name)
    own = rows.of_shared(gradients, is_shared)
    inputs = inputs._replace(gramian=products, gradients=own)
    if back is not None and balancer.reads is Reads.GRADIENTS:
        inputs = inputs._replace(units=_units(passes.z, gradients, axis_name))
    combined, taken = rows.combine(balancer, state, inputs)
    sums = rows.of_owners(by_params, taken)
    if back is None:
        gradient = jax.tree.map(jnp.where, is_shared, combined, sums)
    else:
        # `combined` is a gradient of the global mean, and the mean below divides again.
        (through_z,) = back(jax.tree.map(lambda g: g * num_devices, combined))
        gradient = objectives.mean_over(
            jax.tree.map(jnp.add, sums, through_z), axis_name
        )
    value = total(inputs.losses, inputs.present)
    aux = Aux(inputs.losses, taken.weights, taken.learned, products)
    return value, aux, gradient, taken.memory
