"""Outputs of all tasks and targets -> ℓ_Task of each task."""

import functools

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.methods.contract import Losses, LossFunction
from mtra_jax.methods.model import Model, Space
from mtra_jax.types import Batch, Params, Rngs


def members(batch: Batch, num_tasks: int) -> jax.Array:
    """Returns the mask of each task's texts: bool [T, B]."""
    return (batch.tasks == jnp.arange(num_tasks)[:, None]) & batch.where


def present(batch: Batch, num_tasks: int, axis_name: str | None) -> jax.Array:
    """Returns the mask of the tasks with a text in any part of the global batch: [T]."""
    batch = batch._replace(tasks=batch.tasks.ravel(), where=batch.where.ravel())
    counts = jnp.sum(members(batch, num_tasks), axis=1)
    if axis_name is not None:
        counts = jax.lax.psum(counts, axis_name)
    return counts > 0


def mean(
    values: jax.Array, batch: Batch, num_tasks: int, axis_name: str | None
) -> jax.Array:
    """Returns the mean of `values` [B] over each task's texts: [T], 0 for absent tasks."""
    masked_mean = jax.vmap(objectives.masked_mean, in_axes=(None, 0, None))
    return masked_mean(values, members(batch, num_tasks), axis_name)


def of_outputs(
    space: Space, outputs: jax.Array, batch: Batch, axis_name: str | None
) -> jax.Array:
    """Returns ℓ_Task of every task [T] for outputs [B, L]; 0 for absent tasks.

    The loss of a text is the cross-entropy over its task's slots in classification, the
    mean binary cross-entropy over them for a multi-label task, and the mean squared error
    over them in regression. All are computed for every text, so that one program serves
    any mixture of tasks; a kind that no task has is left out. The loss of a task is the
    mean over its texts in the global batch; with class weights it is Σ w_y ℓ / Σ w_y, w_y
    the weight of a text's class (see `objectives.cross_entropy`).
    """
    own = jnp.asarray(space.slot_tasks) == batch.tasks[:, None]
    targets = jnp.asarray(batch.targets)
    weights, smoothing = space.class_weights, space.label_smoothing
    entropies = objectives.cross_entropy_terms(
        outputs,
        targets,
        own,
        weights=None if weights is None else jnp.asarray(weights),
        smoothing=None if smoothing is None else jnp.asarray(smoothing)[batch.tasks],
    )
    errors = objectives.squared_error_terms(outputs, targets, own)
    is_classification = jnp.asarray(space.is_classification)[batch.tasks]
    rows = jnp.where(is_classification, entropies, errors)
    if space.is_multi_label is not None:
        is_multi_label = jnp.asarray(space.is_multi_label)[batch.tasks]
        labels = own & is_multi_label[:, None]
        entropies = objectives.binary_cross_entropy_terms(outputs, targets, labels)
        rows = jnp.where(is_multi_label, entropies, rows)
    if weights is None:
        return mean(rows, batch, space.num_tasks, axis_name)
    of_classes = jnp.sum(targets * jnp.asarray(weights, targets.dtype), axis=-1)
    of_texts = jnp.where(is_classification, of_classes, 1)
    ratio = jax.vmap(objectives.masked_ratio, in_axes=(None, None, 0, None))
    return ratio(rows, of_texts, members(batch, space.num_tasks), axis_name)


def plain(model: Model) -> LossFunction:
    """Returns the losses of hard parameter sharing, `plain_losses` of `model`."""
    return functools.partial(plain_losses, model)


def plain_losses(
    model: Model, params: Params, batch: Batch, rngs: Rngs | None, axis_name: str | None
) -> Losses:
    """Encodes one part of a batch, applies the heads, and returns ℓ_Task of each task."""
    _, outputs = model.represent_and_predict(params, batch, rngs)
    losses = of_outputs(model.space, outputs, batch, axis_name)
    return Losses(losses, {"task": losses}, outputs)


def of_part(
    loss_function: LossFunction,
    params: Params,
    part: Batch,
    index: jax.Array,
    rngs: Rngs | None,
    axis_name: str | None,
) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    """The loss of a part with one task, then losses [T] and terms [T].

    `index`: of the part within its batch; each part has other dropout masks. Without
    `rngs` there is no dropout.
    """
    if rngs is not None:
        rngs = {**rngs, "dropout": jax.random.fold_in(rngs["dropout"], index)}
    outcome = loss_function(params, part, rngs, axis_name)
    # The losses of the other tasks are 0.
    return jnp.sum(outcome.losses), (outcome.losses, outcome.terms)
