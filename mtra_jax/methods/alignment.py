"""z, targets and a critic -> the bound on I(Z; Y_t) of each task, and how hard it pulls."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.methods import layout, task_losses
from mtra_jax.types import Array, Batch

MARGINALS = ("shuffle", "all_pairs")
BOUNDS = ("mine", "smile", "info_nce", "jsd")
BALANCES = ("none", "pull")


class Critic(Protocol):
    """Scores pairs of representations [..., H] and targets [..., L]: [...]."""

    def __call__(self, z: jax.Array, y: Array, /) -> jax.Array: ...


class Estimate(NamedTuple):
    """How I(Z; Y_t) is estimated from the scores of a critic; see `mtra.make`."""

    bound: str = "mine"
    marginal: str = "shuffle"
    clip: float = 5.0


class PerTask(Protocol):
    """Values of each task [T] as a function of the representations z [B, H]."""

    def __call__(self, z: jax.Array, /) -> jax.Array: ...


def bound_per_task(
    score: Critic,
    z: jax.Array,
    batch: Batch,
    num_tasks: int,
    estimate: Estimate,
    axis_name: str | None,
) -> jax.Array:
    """Returns the bound on I(Z; Y_t) of each task [T], in nats.

    The bound of an absent task is 0. `z`: [B, H]. The targets of the marginal pairs come
    from the global batch.
    """
    targets = layout.gather(jnp.asarray(batch.targets), axis_name)
    membership = task_losses.members(batch, num_tasks)
    joint = score(z, batch.targets)
    if estimate.bound != "info_nce" and estimate.marginal == "shuffle":
        bound = jax.vmap(_bound_of_scores(estimate), in_axes=(None, None, 0, None))
        return bound(joint, score(z, targets[batch.partners]), membership, axis_name)
    pairs = score(z[:, None], targets[None])
    columns = layout.gather(membership.T, axis_name).T
    if estimate.bound == "info_nce":
        bound = jax.vmap(objectives.info_nce_bound, in_axes=(None, None, 0, None, 0))
        return bound(joint, pairs, membership, axis_name, columns)
    bound = jax.vmap(_bound_of_scores(estimate), in_axes=(None, None, 0, None, 0))
    valid = membership[:, :, None] & columns[:, None, :]
    return bound(
        joint, pairs.reshape(-1), membership, axis_name, valid.reshape(num_tasks, -1)
    )


def _bound_of_scores(estimate: Estimate) -> Callable[..., jax.Array]:
    """The function `(joint, marginal, where, axis_name, marginal_where) -> bound`."""
    if estimate.bound == "mine":
        return objectives.dv_bound
    if estimate.bound == "jsd":
        return objectives.jsd_bound

    def smile(
        joint: jax.Array,
        marginal: jax.Array,
        where: jax.Array,
        axis_name: str | None,
        marginal_where: jax.Array | None = None,
    ) -> jax.Array:
        return objectives.smile_bound(
            joint, marginal, estimate.clip, where, axis_name, marginal_where
        )

    return smile


def shares_per_task(
    losses_of: PerTask,
    bounds_of: PerTask,
    z: jax.Array,
    batch: Batch,
    num_tasks: int,
    axis_name: str | None,
) -> jax.Array:
    """Returns `objectives.pull_share` of each task [T], 1 for an absent task."""
    z = jax.lax.stop_gradient(z)

    def by_z(values_of: PerTask) -> jax.Array:
        # A row of z enters the values of its task alone: one gradient serves all tasks.
        return jax.grad(lambda z: jnp.sum(values_of(z)))(z)

    share = jax.vmap(objectives.pull_share, in_axes=(None, None, 0, None))
    membership = task_losses.members(batch, num_tasks)
    return share(by_z(losses_of), by_z(bounds_of), membership, axis_name)
