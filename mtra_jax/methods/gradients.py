"""A method's losses -> one gradient. The only place that branches on what it needs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.methods import base
from mtra_jax.types import Batch, Params


class Gradient(NamedTuple):
    """One gradient of the global batch, and what was seen on the way.

    `present` (bool), `losses`, `weights` and the entries of `terms` are [T]; `scalars` are
    single numbers.
    """

    gradient: Params
    objective: jax.Array
    present: jax.Array
    losses: jax.Array
    weights: jax.Array
    terms: dict[str, jax.Array]
    scalars: dict[str, jax.Array]
    state: Any


def word_embeddings(params: Params) -> Any:
    """Booleans that select the word-embedding matrix, which MTRA perturbs (section 3.2)."""
    mask = jax.tree.map(lambda _: False, params)
    mask["encoder"]["embeddings"]["word_embeddings"]["embedding"] = True
    return mask


def differentiate(
    method: base.Method,
    model: base.Model,
    params: Params,
    batch: Batch,
    rngs: base.Rngs,
    state: Any,
    *,
    one_task: bool,
    axis_name: str | None,
) -> Gradient:
    """The gradient of the method's objective by all parameters, mean over the devices.

    `one_task` promises that the global batch holds a single task, which saves the aligned
    gradient a backward pass.
    """
    present = base.present_tasks(batch, model.space.num_tasks, axis_name)

    def losses_fn(params: Params, rngs: base.Rngs, batch: Batch = batch) -> base.Losses:
        return method.losses(model, params, batch, rngs, axis_name)

    given = method.gradient, losses_fn, params, present, rngs, state
    if isinstance(method.gradient, base.AlignedGradient):
        return _aligned(*given, one_task=one_task, axis_name=axis_name)
    if isinstance(method.gradient, base.Combined):
        names = model.space.names
        return _combined(*given, batch=batch, names=names, axis_name=axis_name)
    return _weighted(*given, axis_name=axis_name)


def _weighted(
    gradient: base.Weighted,
    losses_fn: Callable,
    params: Params,
    present: jax.Array,
    rngs: base.Rngs,
    state: Any,
    *,
    axis_name: str | None,
) -> Gradient:
    def value_of(params: Params, losses: jax.Array) -> tuple[jax.Array, Any]:
        return gradient.objective(
            params["method"], losses, present, state, rngs["method"]
        )

    def objective(params: Params) -> tuple[jax.Array, tuple]:
        seen = losses_fn(params, rngs)
        value, new_state = value_of(params, seen.losses)
        return value + seen.batch_loss, (seen, new_state)

    (value, (seen, new_state)), grads = jax.value_and_grad(objective, has_aux=True)(
        params
    )
    losses = seen.losses
    weights = jax.grad(value_of, argnums=1, has_aux=True)(params, losses)[0]
    if axis_name is not None:
        grads = jax.lax.pmean(grads, axis_name)
    has_more = not isinstance(seen.batch_loss, float)
    scalars = {"batch_loss": seen.batch_loss} if has_more else {}
    return Gradient(
        grads, value, present, losses, weights, seen.terms, scalars, new_state
    )


def _combined(
    gradient: base.Combined,
    losses_fn: Callable,
    params: Params,
    present: jax.Array,
    rngs: base.Rngs,
    state: Any,
    *,
    batch: Batch,
    names: tuple[str, ...],
    axis_name: str | None,
) -> Gradient:
    parts = batch if batch.tasks.ndim == 2 else _as_parts(batch, len(names))
    owner = parts.tasks[:, 0]  # the task of each part, [P]

    def of_part(part: Batch, index: jax.Array) -> tuple[tuple, Params]:
        dropout_rng = jax.random.fold_in(rngs["dropout"], index)

        def loss(params: Params) -> tuple[jax.Array, tuple]:
            seen = losses_fn(params, {**rngs, "dropout": dropout_rng}, part)
            return jnp.sum(seen.losses), (seen.losses, seen.terms)  # one is not 0

        return jax.value_and_grad(loss, has_aux=True)(params)

    # A text is in one part, so all tasks' gradients cost one forward and one backward
    # pass, where one backward pass for each task would go through the others' texts too.
    (_, (losses, terms)), grads = jax.vmap(of_part)(parts, jnp.arange(len(owner)))
    losses, terms = jax.tree.map(lambda rows: jnp.sum(rows, axis=0), (losses, terms))
    if axis_name is not None:
        grads = jax.lax.pmean(grads, axis_name)
    owners = base.owners(params)
    shared = [
        leaf
        for leaf, owner in zip(
            jax.tree.leaves(grads), jax.tree.leaves(owners), strict=True
        )
        if owner == base.SHARED
    ]
    products = sum(_inner_products(leaf) for leaf in shared)
    gram = jnp.zeros((len(names),) * 2, products.dtype)
    gram = gram.at[owner[:, None], owner].set(products)
    weights, new_state = gradient.combine(gram, present, state, rngs["method"])

    def combined(leaf: jax.Array, name: str) -> jax.Array:
        if name == base.SHARED:
            shares = weights[owner]
        else:
            shares = (owner == names.index(name)).astype(leaf.dtype)
        return jnp.tensordot(shares, leaf, axes=1, precision=jax.lax.Precision.HIGHEST)

    return Gradient(
        jax.tree.map(combined, grads, owners),
        base.sum_present(losses, present),
        present,
        losses,
        weights,
        terms,
        {},
        new_state,
    )


def _as_parts(batch: Batch, num_tasks: int) -> Batch:
    """A batch of mixed rows as T parts, each of all rows, at the cost of T passes.

    For batches that no `Batcher` with a `part_size` made.
    """

    def part(task: jax.Array) -> Batch:
        where = batch.where & (batch.tasks == task)
        return batch._replace(where=where, tasks=jnp.full_like(batch.tasks, task))

    return jax.vmap(part)(jnp.arange(num_tasks, dtype=batch.tasks.dtype))


def _inner_products(leaf: jax.Array) -> jax.Array:
    """[T, ...] -> [T, T], in full precision where matrix products round to less."""
    rows = leaf.reshape(leaf.shape[0], -1)
    return jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST)


def _aligned(
    gradient: base.AlignedGradient,
    losses_fn: Callable,
    params: Params,
    present: jax.Array,
    rngs: base.Rngs,
    state: Any,
    *,
    one_task: bool,
    axis_name: str | None,
) -> Gradient:
    options = {
        "select": word_embeddings,
        "axis_name": axis_name,
        **gradient._asdict(),
    }

    def per_task(params: Params, rngs: base.Rngs) -> tuple[jax.Array, Any]:
        seen = losses_fn(params, rngs)
        return seen.losses, seen.terms

    def in_sum(params: Params, rngs: base.Rngs) -> tuple[jax.Array, Any]:
        losses, terms = per_task(params, rngs)
        return base.sum_present(losses, present), terms

    if one_task:
        aligned = objectives.aligned_value_and_grad(in_sum, **options)
        (value, seen), grads = aligned(params, rngs)
    else:
        aligned = objectives.aligned_tasks_value_and_grad(per_task, **options)
        (value, seen), grads = aligned(params, present, rngs)
    # As [T], also where only the one task's scalars are known.
    losses, perturbed, weights = (
        jnp.where(present, x, 0) for x in (seen.loss, seen.perturbed_loss, seen.weight)
    )
    terms = {**seen.aux, "perturbed": perturbed}
    scalars = {
        "norm/perturbation_gradient": seen.gradient_norm,
        "norm/perturbation": seen.perturbation_norm,
    }
    return Gradient(grads, value, present, losses, weights, terms, scalars, state)
