"""A method's losses -> one gradient, by the method's rule."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.balancing import rows
from mtra_jax.methods import layout, model, perturbed, task_losses
from mtra_jax.methods.contract import (
    AlignedPasses,
    Losses,
    LossFunction,
    MergedGradients,
    Method,
    Needs,
    State,
    Weighted,
    WeightedGradients,
)
from mtra_jax.types import Batch, Params, Rngs


class Gradient(NamedTuple):
    """One gradient of the global batch, and the values that the step logs.

    `present` (bool), `losses`, `weights` and the entries of `terms` are [T]; `scalars`
    holds single numbers. `state` is the method's next state.
    """

    grads: Params
    objective: jax.Array
    present: jax.Array
    losses: jax.Array
    weights: jax.Array
    terms: dict[str, jax.Array]
    scalars: dict[str, jax.Array]
    state: State


class StepInputs(NamedTuple):
    """The inputs of a step that every rule reads."""

    loss_function: LossFunction
    params: Params
    batch: Batch
    present: jax.Array
    """bool [T]"""
    rngs: Rngs
    state: State
    axis_name: str | None
    in_pieces: bool = False


def word_embeddings(params: Params) -> Any:
    """Returns a mask of the word-embedding matrix, which MTRA perturbs (section 3.2)."""
    mask = jax.tree.map(lambda _: False, params)
    mask["encoder"]["embeddings"]["word_embeddings"]["embedding"] = True
    return mask


def layers(params: Params) -> Any:
    """Returns a mask of the encoder's layers."""
    mask = jax.tree.map(lambda _: False, params)
    mask["encoder"]["layers"] = True
    return mask


def nothing(params: Params) -> Any:
    """Returns a mask without a parameter."""
    del params
    return False


def differentiate(
    method: Method,
    params: Params,
    batch: Batch,
    rngs: Rngs,
    state: State,
    *,
    tasks: tuple[str, ...],
    one_task: bool,
    axis_name: str | None,
    in_pieces: bool = False,
) -> Gradient:
    """Returns the gradient of the method's objective, averaged over the devices.

    `in_pieces`: the losses average the gradients of the encoder's layers themselves.

    `batch` has the axis P of `types.Batch`. `tasks` are the names of all tasks, in the
    order of the label space. With `one_task` the caller guarantees that the global batch
    holds a single task, which saves the aligned gradient a backward pass.

    Raises:
      ValueError: `batch` has several parts, but the method reads no gradients of tasks.
    """
    present = task_losses.present(batch, len(tasks), axis_name)
    inputs = StepInputs(
        method.losses, params, batch, present, rngs, state, axis_name, in_pieces
    )
    rule = method.rule
    if rule.needs is Needs.GRAMIAN or rule.needs is Needs.GRADIENTS:
        if len(batch.tasks) == 1 and not one_task:
            batch = layout.one_part_per_task(batch, len(tasks))
        inputs = inputs._replace(batch=batch)
        if rule.needs is Needs.GRADIENTS:
            return _merged(rule, inputs, tasks)
        return _combined(rule, inputs, tasks)
    inputs = inputs._replace(batch=layout.only_part(batch))
    if rule.needs is Needs.ALIGNMENT:
        return _aligned(rule, inputs, one_task=one_task)
    return _weighted(rule, inputs)


def _weighted(rule: Weighted, inputs: StepInputs) -> Gradient:
    loss_function, params, batch, present, rngs, state, axis_name, in_pieces = inputs

    def value_of(params: Params, losses: jax.Array) -> tuple[jax.Array, State]:
        return rule.objective(params["method"], losses, present, state, rngs["method"])

    def objective(params: Params) -> tuple[jax.Array, tuple[Losses, State]]:
        outcome = loss_function(params, batch, rngs, axis_name)
        value, new_state = value_of(params, outcome.losses)
        if outcome.batch_loss is not None:
            value += outcome.batch_loss
        return value, (outcome, new_state)

    (value, (outcome, new_state)), grads = jax.value_and_grad(objective, has_aux=True)(
        params
    )
    losses = outcome.losses
    weights = jax.grad(value_of, argnums=1, has_aux=True)(params, losses)[0]
    grads = _mean_over_devices(grads, axis_name, in_pieces=in_pieces)
    own = outcome.batch_loss
    scalars = {} if own is None else {"batch_loss": own}
    terms = outcome.terms
    if rule.floor is not None:
        terms = {**terms, "floored": present & (losses <= rule.floor)}
    return Gradient(grads, value, present, losses, weights, terms, scalars, new_state)


def _combined(
    rule: WeightedGradients, inputs: StepInputs, tasks: tuple[str, ...]
) -> Gradient:
    present, state = inputs.present, inputs.state
    part_tasks = jnp.asarray(inputs.batch.tasks[:, 0])  # the task of each part, [P]
    if rule.sharpness is None:
        losses, terms, grads = _gradients_of_parts(inputs)
    else:
        losses, terms, grads = perturbed.gradients_of_parts(
            rule.sharpness,
            inputs.loss_function,
            inputs.params,
            inputs.batch,
            inputs.rngs,
            inputs.axis_name,
            tasks,
        )
    owners = model.owners(inputs.params)
    gram = _gramian(grads, owners, part_tasks, len(tasks))
    weights, own_weights, new_state = rule.combine(
        gram, losses, present, state, inputs.rngs["method"]
    )

    def combined(leaf: jax.Array, owner: str) -> jax.Array:
        if owner == model.SHARED:
            shares = weights[part_tasks]
        else:
            is_own = part_tasks == tasks.index(owner)
            shares = jnp.where(is_own, own_weights[part_tasks], 0)
        return rows.weighted_sum(shares, leaf)

    return Gradient(
        jax.tree.map(combined, grads, owners),
        task_losses.total(losses, present),
        present,
        losses,
        weights,
        terms,
        {},
        new_state,
    )


def _merged(
    rule: MergedGradients, inputs: StepInputs, tasks: tuple[str, ...]
) -> Gradient:
    part_tasks = jnp.asarray(inputs.batch.tasks[:, 0])
    losses, terms, grads = _gradients_of_parts(inputs)
    leaves, structure = jax.tree.flatten(grads)
    owners = jax.tree.leaves(model.owners(inputs.params))

    def of_tasks(leaf: jax.Array) -> jax.Array:
        """[P, ...] -> [T, ...]"""
        zeros = jnp.zeros((len(tasks), *leaf.shape[1:]), leaf.dtype)
        return zeros.at[part_tasks].set(leaf)

    pairs = [*zip(leaves, owners, strict=True)]
    shared = [of_tasks(leaf) for leaf, owner in pairs if owner == model.SHARED]
    merged, new_state = rule.merge(
        shared, losses, inputs.present, inputs.state, inputs.rngs["method"]
    )
    next_merged = iter(merged)
    combined = [
        next(next_merged)
        if owner == model.SHARED
        else of_tasks(leaf)[tasks.index(owner)]
        for leaf, owner in pairs
    ]
    return Gradient(
        jax.tree.unflatten(structure, combined),
        task_losses.total(losses, inputs.present),
        inputs.present,
        losses,
        inputs.present.astype(losses.dtype),
        terms,
        {},
        new_state,
    )


def _gradients_of_parts(
    inputs: StepInputs,
) -> tuple[jax.Array, dict[str, jax.Array], Params]:
    """Returns losses [T], terms [T], and the gradient of each part, leaves [P, ...].

    Each text is in one part, so all gradients together cost one forward and one backward
    pass. A backward pass per task over a whole batch would process all texts each time.
    """
    loss_function, params, batch, _, rngs, _, axis_name, in_pieces = inputs

    def of_part(part: Batch, index: jax.Array) -> tuple[tuple, Params]:
        def loss(params: Params) -> tuple[jax.Array, tuple]:
            return task_losses.of_part(
                loss_function, params, part, index, rngs, axis_name
            )

        return jax.value_and_grad(loss, has_aux=True)(params)

    places = jnp.arange(len(batch.tasks))
    (_, (losses, terms)), grads = jax.vmap(of_part)(batch, places)
    losses, terms = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), (losses, terms))
    return (
        losses,
        terms,
        _mean_over_devices(grads, axis_name, in_pieces=in_pieces),
    )


def _mean_over_devices(
    grads: Params, axis_name: str | None, *, in_pieces: bool
) -> Params:
    """Averages the gradients that are not averaged yet."""
    averaged = layers if in_pieces else nothing
    return objectives.mean_over(grads, axis_name, averaged(grads))


def _gramian(
    grads: Params, owners: Any, part_tasks: jax.Array, num_tasks: int
) -> jax.Array:
    """Returns the inner products [T, T] of the gradients of the shared parameters."""
    pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(owners), strict=True)
    products = functools.reduce(
        jnp.add,
        (rows.inner_products(leaf) for leaf, owner in pairs if owner == model.SHARED),
    )
    gram = jnp.zeros((num_tasks, num_tasks), products.dtype)
    return gram.at[part_tasks[:, None], part_tasks].set(products)


def _aligned(rule: AlignedPasses, inputs: StepInputs, *, one_task: bool) -> Gradient:
    loss_function, params, batch, present, rngs, state, axis_name, in_pieces = inputs

    def per_task(params: Params, rngs: Rngs) -> tuple[jax.Array, Any]:
        outcome = loss_function(params, batch, rngs, axis_name)
        return outcome.losses, outcome.terms

    def summed(params: Params, rngs: Rngs) -> tuple[jax.Array, Any]:
        losses, terms = per_task(params, rngs)
        return task_losses.total(losses, present), terms

    options: dict[str, Any] = {
        "epsilon": rule.epsilon,
        "select": word_embeddings,
        "floor": rule.floor,
        "logarithm": rule.logarithm,
        "axis_name": axis_name,
        "averaged": layers if in_pieces else nothing,
    }
    if one_task:
        step = objectives.aligned_value_and_grad(summed, **options)
        (value, passes), grads = step(params, rngs)
    else:
        step = objectives.aligned_tasks_value_and_grad(per_task, **options)
        (value, passes), grads = step(params, present, rngs)
    # [T] in both cases: with one task the aligned gradient returns that task's scalars.
    losses, perturbed, weights = (
        jnp.where(present, x, 0)
        for x in (passes.loss, passes.perturbed_loss, passes.weight)
    )
    terms = {**passes.aux, "perturbed": perturbed}
    if rule.logarithm:
        terms["floored"] = present & passes.is_floored
    scalars = {
        "norm/perturbation_gradient": passes.gradient_norm,
        "norm/perturbation": passes.perturbation_norm,
    }
    return Gradient(grads, value, present, losses, weights, terms, scalars, state)
