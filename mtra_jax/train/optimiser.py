"""Gradients in, parameter updates out: global-norm clipping, Adamax, warm-up."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtra_jax.methods import model
from mtra_jax.types import Params

B1, B2, EPSILON = 0.9, 0.999, 1e-8


class Packed(NamedTuple):
    """Parameters, or what is laid out as they are."""

    shared: Params
    """The tree, with nothing in the places of what belongs to one task alone."""
    own: jax.Array | optax.MaskedNode
    """[P]: the entries of all that does, in the order of the tree; nothing for none."""


class AdamaxState(NamedTuple):
    """First and infinity moments, and how many steps they have seen."""

    count: jax.Array
    """int32: of the shared parameters."""
    own_counts: jax.Array
    """int32 [T]: the steps that held the task."""
    mu: Packed
    nu: Packed


def warm_up(
    learning_rate: float | jax.Array, num_warm_up_steps: int | jax.Array
) -> optax.Schedule:
    """Linear from `learning_rate`/n at the first step to the full rate at step n; constant after.

    The first step already moves: the rate at step k (from 0) is that of k + 1 of n. Both
    arguments may be arguments of a compiled program.
    """

    def rate(step: jax.Array) -> jax.Array:
        num_steps = jnp.maximum(num_warm_up_steps, 1)
        # The share is exactly 1 after the last step of the warm-up.
        return learning_rate * (jnp.minimum(step + 1, num_steps) / num_steps)

    return rate


def make(
    schedule: optax.Schedule,
    tasks: tuple[str, ...],
    clip_norm: float | jax.Array = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """Clipping at `clip_norm`, Adamax (Kingma & Ba 2015, Algorithm 2), the rate of `schedule`.

    `update` takes the keyword `present`, bool [T]. The parameters, moments and step count
    of an absent task rest: in PyTorch, on which the published figures stand, they have no
    gradient and are skipped; a zero gradient would let Adamax's momentum move them.
    The clipping (coefficient min(1, c/‖g‖), without the 1e-6 that PyTorch adds to the
    norm) and the schedule are global.

    What belongs to single tasks is one array in here, so that a step with many tasks is
    as quick as one with few: with `optax.conditionally_mask` around an Adamax of each of
    128 tasks the update took fifty times as long on a CPU, more than all passes through a
    small encoder.
    """

    def init(params: Params) -> AdamaxState:
        moments = optax.tree.zeros_like(pack(params))
        counts = jnp.zeros((), jnp.int32), jnp.zeros(len(tasks), jnp.int32)
        return AdamaxState(*counts, moments, moments)

    def update(
        gradient: Params,
        state: AdamaxState,
        params: Params | None = None,
        *,
        present: jax.Array,
    ) -> tuple[Params, AdamaxState]:
        del params
        packed = pack(gradient)
        # One factor, where optax divides by the norm in a pass over all arrays.
        clip = jnp.minimum(1, clip_norm / optax.tree.norm(packed))
        packed = jax.tree.map(lambda g: g * clip.astype(g.dtype), packed)
        entries = _owners_of_entries(gradient, tasks)
        rate = schedule(state.count)
        updates, state = _adamax(packed, state, present, entries, rate)
        return unpack(updates, gradient), state

    return optax.GradientTransformationExtraArgs(init, update)


def pack(tree: Params) -> Packed:
    """Lays what belongs to single tasks end to end."""
    owners = model.owners(tree)
    shared = jax.tree.map(
        lambda leaf, owner: leaf if owner == model.SHARED else optax.MaskedNode(),
        tree,
        owners,
    )
    own = [jnp.ravel(leaf) for leaf, owner in _pairs(tree) if owner != model.SHARED]
    return Packed(shared, jnp.concatenate(own) if own else optax.MaskedNode())


def unpack(packed: Packed, like: Params) -> Params:
    """The inverse of `pack`, a tree of the shapes of `like`."""
    pairs = _pairs(like)
    own = [leaf for leaf, owner in pairs if owner != model.SHARED]
    ends = np.cumsum([leaf.size for leaf in own])
    pieces = iter(jnp.split(packed.own, ends[:-1]) if own else ())
    shared = iter(jax.tree.leaves(packed.shared))
    leaves = [
        next(shared) if owner == model.SHARED else next(pieces).reshape(leaf.shape)
        for leaf, owner in pairs
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _pairs(tree: Params) -> list[tuple[jax.Array, str]]:
    owners = jax.tree.leaves(model.owners(tree))
    return list(zip(jax.tree.leaves(tree), owners, strict=True))


def _owners_of_entries(tree: Params, tasks: tuple[str, ...]) -> np.ndarray:
    """The task of each entry of `Packed.own`: int32 [P]."""
    own = [(leaf.size, owner) for leaf, owner in _pairs(tree) if owner != model.SHARED]
    places = np.array([tasks.index(owner) for _, owner in own], np.int32)
    return np.repeat(places, [size for size, _ in own])


def _adamax(
    gradient: Packed,
    state: AdamaxState,
    present: jax.Array,
    entries: np.ndarray,
    rate: jax.Array | float,
) -> tuple[Packed, AdamaxState]:
    """The updates −rate · μ / (1 − β₁ᵏ) / ν after k steps, in which absent tasks rest.

    `present`: bool [T]. `entries`: int32 [P], the tasks of `gradient.own`.
    """
    count = optax.safe_increment(state.count)
    steps = optax.safe_increment(state.own_counts)
    mu = optax.tree.update_moment(gradient, state.mu, B1, 1)
    nu = optax.tree.update_infinity_moment(gradient, state.nu, B2, EPSILON)

    def step_sizes(count: jax.Array) -> jax.Array:
        return -rate / (1 - B1**count)

    def move(mu: jax.Array, nu: jax.Array, size: jax.Array) -> jax.Array:
        return mu * size.astype(mu.dtype) / nu

    shared_size = step_sizes(count)
    shared = jax.tree.map(lambda *m: move(*m, shared_size), mu.shared, nu.shared)
    own = gradient.own
    if not isinstance(own, optax.MaskedNode):
        # Each task's own count: a number a task, spread over its entries.
        is_present = present[entries]
        own = jnp.where(is_present, move(mu.own, nu.own, step_sizes(steps)[entries]), 0)
        mu, nu = (
            new._replace(own=jnp.where(is_present, new.own, old.own))
            for new, old in ((mu, state.mu), (nu, state.nu))
        )
    own_counts = jnp.where(present, steps, state.own_counts)
    return Packed(shared, own), AdamaxState(count, own_counts, mu, nu)
