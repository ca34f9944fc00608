"""What a method is, and the losses of the tasks that all methods start from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax import objectives
from mtra_jax.models import encoder
from mtra_jax.types import Batch, Params

Rngs = dict[str, jax.Array]


class Space(NamedTuple):
    """The joint label space of the tasks, and their sizes in training."""

    names: tuple[str, ...]
    slot_tasks: np.ndarray
    """int32 [L]: the task that owns each slot."""
    is_classification: np.ndarray
    """bool [T]"""
    num_examples: tuple[int, ...]
    """Training examples of each task."""

    @property
    def num_tasks(self) -> int:
        return len(self.names)

    @property
    def num_outputs(self) -> np.ndarray:
        """int [T]: slots of each task."""
        return np.bincount(self.slot_tasks, minlength=self.num_tasks)


class Model(NamedTuple):
    """The network that all methods share, as functions of its parameters.

    `params` is `{"encoder": ..., "heads": {task: ...}, "method": ...}`, where "method"
    holds what the method adds; what belongs to one task only lies under
    `params["method"]["tasks"][task]` and rests, as its head does, in steps without it.
    """

    encoder: nn.Module
    heads: nn.Module
    space: Space
    hidden_size: int

    def represent(
        self, params: Params, batch: Batch, rng: jax.Array | None
    ) -> jax.Array:
        """z [B, H]: the last hidden state at each text's first token; dropout by `rng`."""
        hidden = self.encoder.apply(
            {"params": params["encoder"]},
            batch.tokens,
            batch.segments,
            batch.positions,
            deterministic=rng is None,
            rngs={} if rng is None else {"dropout": rng},
        )
        return encoder.first_tokens(hidden, batch.first_tokens)

    def predict(self, params: Params, z: jax.Array, rng: jax.Array | None) -> jax.Array:
        """Outputs of all tasks [B, L] for representations `z` [B, H]."""
        return self.heads.apply(
            {"params": params["heads"]},
            z,
            deterministic=rng is None,
            rngs={} if rng is None else {"dropout": rng},
        )


class Losses(NamedTuple):
    """What a forward pass yields: losses and named terms [T], outputs [B, L]."""

    losses: jax.Array
    terms: dict[str, jax.Array]
    outputs: jax.Array


class Weighted(NamedTuple):
    """The gradient of one scalar made from the losses; one pass.

    `objective(params["method"], losses, present, state, rng) -> (value, state)`. `losses`
    and `present` are [T], `rng` is the same on all devices. The derivative of the value
    by the losses is logged as the tasks' weights.
    """

    objective: Callable[..., tuple[jax.Array, Any]]


class AlignedGradient(NamedTuple):
    """The gradient of Σ log(ℓ_t(θ) + ℓ_t(θ + δ)) by `objectives.aligned`; two passes."""

    epsilon: float
    floor: float
    logarithm: bool


class Method(NamedTuple):
    """A method, in three statements.

    `init(rng) -> params["method"]` is what it adds to the model. `losses(model, params,
    batch, rngs, axis_name) -> Losses` is the loss of each task; `rngs` is None in
    evaluation, else "method" (the same on all devices) and "dropout" (one a device).
    `gradient` is how the losses become one gradient. `init_state` is what it remembers
    from step to step beside parameters.
    """

    init: Callable[[jax.Array], Params]
    losses: Callable[..., Losses]
    gradient: Weighted | AlignedGradient
    init_state: Any = ()


def members(batch: Batch, num_tasks: int) -> jax.Array:
    """Which texts belong to which task: bool [T, B]."""
    return (batch.tasks == jnp.arange(num_tasks)[:, None]) & batch.where


def present_tasks(batch: Batch, num_tasks: int, axis_name: str | None) -> jax.Array:
    """The tasks of the global batch: bool [T]."""
    counts = jnp.sum(members(batch, num_tasks), axis=1)
    if axis_name is not None:
        counts = jax.lax.psum(counts, axis_name)
    return counts > 0


def mean_per_task(
    values: jax.Array, batch: Batch, num_tasks: int, axis_name: str | None
) -> jax.Array:
    """The mean of `values` [B] over the global batch of each task: [T], 0 if absent."""
    mean = jax.vmap(objectives.masked_mean, in_axes=(None, 0, None))
    return mean(values, members(batch, num_tasks), axis_name)


def task_losses(
    space: Space, outputs: jax.Array, batch: Batch, axis_name: str | None
) -> jax.Array:
    """ℓ_Task of every task [T] from outputs [B, L]; 0 for absent tasks.

    Cross-entropy within the own slots for classification, squared error averaged over
    the own slots for regression, both of every row: one program serves any mixture.
    """
    own = jnp.asarray(space.slot_tasks) == batch.tasks[:, None]
    # Low enough to leave the softmax, and finite: 0 · −inf would be NaN.
    logits = jnp.where(own, outputs, -1e30)
    squares = jnp.where(own, (outputs - batch.targets) ** 2, 0)
    entropies = -jnp.sum(
        jnp.where(own, batch.targets * jax.nn.log_softmax(logits), 0), axis=-1
    )
    errors = jnp.sum(squares, axis=-1) / jnp.asarray(space.num_outputs)[batch.tasks]
    is_classification = jnp.asarray(space.is_classification)[batch.tasks]
    rows = jnp.where(is_classification, entropies, errors)
    return mean_per_task(rows, batch, space.num_tasks, axis_name)


def plain_losses(
    model: Model, params: Params, batch: Batch, rngs: Rngs | None, axis_name: str | None
) -> Losses:
    """The losses of hard parameter sharing: encoder, heads, ℓ_Task."""
    _, outputs = represent_and_predict(model, params, batch, rngs)
    losses = task_losses(model.space, outputs, batch, axis_name)
    return Losses(losses, {"task": losses}, outputs)


def represent_and_predict(
    model: Model, params: Params, batch: Batch, rngs: Rngs | None
) -> tuple[jax.Array, jax.Array]:
    """z [B, H] and the outputs [B, L], with separate dropout keys for the two."""
    if rngs is None:
        z = model.represent(params, batch, None)
        return z, model.predict(params, z, None)
    encoder_rng, heads_rng = jax.random.split(rngs["dropout"])
    z = model.represent(params, batch, encoder_rng)
    return z, model.predict(params, z, heads_rng)


def gather(rows: jax.Array, axis_name: str | None) -> jax.Array:
    """Rows [B, ...] of all devices in the order of the planned batch: [B * D, ...].

    Position p of the plan is row p // D of device p % D (see `types.Batch`).
    """
    if axis_name is None:
        return rows
    gathered = jax.lax.all_gather(rows, axis_name, axis=1)
    return gathered.reshape(-1, *rows.shape[1:])
