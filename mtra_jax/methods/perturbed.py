"""A batch in parts of one task each -> gradients at the parameters that SAMO perturbs."""

from typing import Any

import jax
import jax.numpy as jnp

from mtra_jax.balancing import sharpness
from mtra_jax.balancing.sharpness import Leaves, Sharpness
from mtra_jax.methods import model, task_losses
from mtra_jax.methods.contract import LossFunction
from mtra_jax.types import Batch, Params, Rngs


def gradients_of_parts(
    chosen: Sharpness,
    loss_function: LossFunction,
    params: Params,
    batch: Batch,
    rngs: Rngs,
    axis_name: str | None,
    tasks: tuple[str, ...],
) -> tuple[jax.Array, dict[str, jax.Array], Params]:
    """Returns losses [T] and terms [T] at `params`, and perturbed gradients [P, ...].

    See `balancing.samo_value_and_grad`. Both passes of a part have the same dropout masks.
    The passes along the random direction have none, as in the released code.
    """
    flat, structure = jax.tree.flatten(params)
    leaves = leaves_of(params, tasks)

    def loss(
        flat: list[jax.Array],
        part: Batch,
        index: jax.Array,
        *,
        has_dropout: bool = True,
    ) -> tuple[jax.Array, Any]:
        params = jax.tree.unflatten(structure, flat)
        own = rngs if has_dropout else None
        return task_losses.of_part(loss_function, params, part, index, own, axis_name)

    places = jnp.arange(len(batch.tasks))

    def summed(flat: list[jax.Array]) -> tuple[jax.Array, Any]:
        values, outcomes = jax.vmap(loss, (None, 0, 0))(flat, batch, places)
        return jnp.sum(values), jax.tree.map(lambda x: jnp.sum(x, axis=0), outcomes)

    # The perturbation depends on the direction of the gradient alone: a sum is a mean.
    (_, (losses, terms)), gradient = jax.value_and_grad(summed, has_aux=True)(flat)
    if axis_name is not None:
        gradient = jax.lax.pmean(gradient, axis_name)
    keys = sharpness.task_keys(rngs["method"], len(tasks))

    def of_part(pair: tuple[Batch, jax.Array]) -> list[jax.Array]:
        part, index = pair
        task = part.tasks[0]
        z = sharpness.directions(keys[task], flat, leaves)
        ahead, behind = (
            loss(sharpness.along(flat, z, size), part, index, has_dropout=False)[0]
            for size in (chosen.mu, -chosen.mu)
        )
        moved = sharpness.perturbed(
            flat, gradient, z, ahead - behind, task, leaves, chosen
        )
        return jax.grad(loss, has_aux=True)(moved, part, index)[0]

    # One after the other: each part has its own copy of the parameters.
    own = jax.lax.map(of_part, (batch, places))
    if axis_name is not None:
        own = jax.lax.pmean(own, axis_name)
    return losses, terms, jax.tree.unflatten(structure, own)


def leaves_of(params: Params, tasks: tuple[str, ...]) -> Leaves:
    """Returns the owners of the leaves, and which of them stack the encoder's layers."""
    owners = [
        sharpness.SHARED if owner == model.SHARED else tasks.index(owner)
        for owner in jax.tree.leaves(model.owners(params))
    ]
    stacked = [
        path[0].key == "encoder" and path[1].key == "layers"
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    return Leaves(owners, stacked)
