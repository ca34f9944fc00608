"""An elementwise transformation -> one that leaves the parameters of absent tasks alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mtra_jax.methods import model
from mtra_jax.types import Params


class RestingState(NamedTuple):
    """The states of the inner transformation."""

    shared: Any
    """State of the shared parameters."""
    own: Any
    """States of the parameters of single tasks; arrays have a leading axis T."""


def resting(
    inner: optax.GradientTransformation, tasks: tuple[str, ...]
) -> optax.GradientTransformationExtraArgs:
    """Applies `inner`, but changes neither parameters nor state of absent tasks.

    `inner` must be elementwise: it runs once on the shared parameters, and once per task
    on the concatenated parameters of the task, each time with separate state. `update`
    takes the keyword `present`, bool [T]. The parameters of an absent task get the update
    0; their state and its step count do not change. The published results come from
    PyTorch, where such parameters have no gradient and are skipped; with a zero gradient
    Adamax's momentum would move them.

    The tasks' parameters form one array [T, W], so that the time of an update hardly
    depends on the number of tasks. An Adamax for each of 128 tasks under
    `optax.conditionally_mask` took fifty times as long on a CPU.

    Raises:
      ValueError: a parameter belongs to a task that is not among `tasks`.
    """

    def init(params: Params) -> RestingState:
        own = jax.vmap(inner.init)(_rows(params, tasks))
        return RestingState(inner.init(_shared(params)), own)

    def update_task(
        gradient: jax.Array, state: Any, params: jax.Array | None, is_present: jax.Array
    ) -> tuple[jax.Array, Any]:
        update, new_state = inner.update(gradient, state, params)
        new_state = jax.tree.map(
            lambda new, old: jnp.where(is_present, new, old), new_state, state
        )
        return jnp.where(is_present, update, 0), new_state

    def update(
        gradient: Params,
        state: RestingState,
        params: Params | None = None,
        *,
        present: jax.Array,
    ) -> tuple[Params, RestingState]:
        shared_params, own_params = None, None
        if params is not None:
            shared_params, own_params = _shared(params), _rows(params, tasks)
        shared, shared_state = inner.update(
            _shared(gradient), state.shared, shared_params
        )
        own, own_state = jax.vmap(update_task)(
            _rows(gradient, tasks), state.own, own_params, present
        )
        updates = _joined(shared, own, gradient, tasks)
        return updates, RestingState(shared_state, own_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _shared(tree: Params) -> Params:
    """Returns the tree with an empty node in place of each task-specific leaf."""
    return jax.tree.map(
        lambda leaf, owner: leaf if owner == model.SHARED else optax.MaskedNode(),
        tree,
        model.owners(tree),
    )


def _rows(tree: Params, tasks: tuple[str, ...]) -> jax.Array:
    """Returns each task's leaves, concatenated to a row padded with 0: [T, W]."""
    owned = _owned(tree, tasks)
    width = max(sum(leaf.size for leaf in leaves) for leaves in owned)
    dtype = jnp.result_type(*(leaf for leaves in owned for leaf in leaves), jnp.float32)
    pieces = []
    for leaves in owned:
        padding = jnp.zeros(width - sum(leaf.size for leaf in leaves), dtype)
        pieces += [*(jnp.ravel(leaf) for leaf in leaves), padding]
    # One concatenation of all pieces; a stack of padded rows compiles and runs slower.
    return jnp.concatenate(pieces).reshape(len(tasks), width)


def _owned(tree: Params, tasks: tuple[str, ...]) -> list[list[jax.Array]]:
    """Returns the leaves of each task, in the order of the tree."""
    owned: dict[str, list[jax.Array]] = {task: [] for task in tasks}
    for leaf, owner in _pairs(tree):
        if owner == model.SHARED:
            continue
        if owner not in owned:
            raise ValueError(f"`tasks` must hold {owner!r}; found {tasks}.")
        owned[owner].append(leaf)
    return list(owned.values())


def _joined(
    shared: Params, rows: jax.Array, like: Params, tasks: tuple[str, ...]
) -> Params:
    """Inverts `_shared` and `_rows`: returns a tree with the shapes of `like`."""
    places = {task: place for place, task in enumerate(tasks)}
    starts = dict.fromkeys(tasks, 0)
    shared_leaves = iter(jax.tree.leaves(shared))
    leaves = []
    for leaf, owner in _pairs(like):
        if owner == model.SHARED:
            leaves.append(next(shared_leaves))
            continue
        start = starts[owner]
        starts[owner] += leaf.size
        piece = rows[places[owner], start : start + leaf.size]
        leaves.append(piece.reshape(leaf.shape).astype(leaf.dtype))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _pairs(tree: Params) -> list[tuple[jax.Array, str]]:
    owners = jax.tree.leaves(model.owners(tree))
    return list(zip(jax.tree.leaves(tree), owners, strict=True))
