"""What a method is, and the losses of the tasks that all methods start from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax import objectives
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
    steps_per_epoch: int = 1

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

    def encode(self, params: Params, batch: Batch, rng: jax.Array | None) -> jax.Array:
        """The last hidden states of all tokens [R, S, H], in the rows of `merged`.

        All micro-batches at once: their states are held together anyhow. Dropout by `rng`.
        """
        rows = merged(batch)
        return self._encode(
            params, rows.tokens, rows.segments, rows.positions, None, rng
        )

    def represent(
        self, params: Params, batch: Batch, rng: jax.Array | None
    ) -> jax.Array:
        """z [B, H]: the last hidden state at each text's first token; dropout by `rng`.

        Of micro-batches one is encoded after the other, and once more in each backward
        pass, so that the activations of one are held at a time. What comes after z sees
        the whole batch: a loss need not be a mean over texts, as the bound is none.

        Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
        """
        rows = batch.tokens, batch.segments, batch.positions, batch.first_tokens
        if batch.tokens.ndim == 2:
            return self._encode(params, *rows, rng)

        def encode(part: tuple) -> jax.Array:
            index, rows = part
            key = None if rng is None else jax.random.fold_in(rng, index)
            return self._encode(params, *rows, key)

        # A loop's body is never merged with its own repetition, which prevent_cse is for.
        encode = jax.checkpoint(encode, prevent_cse=False)
        z = jax.lax.map(encode, (jnp.arange(len(batch.tokens)), rows))
        return z.swapaxes(0, 1).reshape(-1, z.shape[-1])  # [K, B / K, H] -> [B, H]

    def _encode(
        self,
        params: Params,
        tokens: jax.Array,
        segments: jax.Array,
        positions: jax.Array,
        wanted: jax.Array | None,
        rng: jax.Array | None,
    ) -> jax.Array:
        return self.encoder.apply(
            {"params": params["encoder"]},
            tokens,
            segments,
            positions,
            wanted,
            deterministic=rng is None,
            rngs={} if rng is None else {"dropout": rng},
        )

    def head_features(
        self, params: Params, z: jax.Array, rng: jax.Array | None
    ) -> jax.Array:
        """dropout(relu(z)) [B, H]: what `predict` multiplies with the heads' kernels."""
        return self.heads.apply(
            {"params": params["heads"]},
            z,
            deterministic=rng is None,
            rngs={} if rng is None else {"dropout": rng},
            method="features",
        )

    def predict(self, params: Params, z: jax.Array, rng: jax.Array | None) -> jax.Array:
        """Outputs of all tasks [B, L] for representations `z` [B, H]."""
        return self.heads.apply(
            {"params": params["heads"]},
            z,
            deterministic=rng is None,
            rngs={} if rng is None else {"dropout": rng},
        )


class Losses(NamedTuple):
    """What a forward pass yields: losses and named terms [T], outputs [B, L].

    `batch_loss` is a loss of the global batch that belongs to no task: it is added to
    the objective as it is.
    """

    losses: jax.Array
    terms: dict[str, jax.Array]
    outputs: jax.Array
    batch_loss: jax.Array | float = 0.0


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


class Combined(NamedTuple):
    """Σ_t w_t g_t of the tasks' gradients g_t by the shared parameters; all held at once.

    The loss and the terms of a task that is not in a batch are 0. One pass where batches
    come in parts, see `types.Batch`.

    `combine(gram, present, state, rng) -> (weights, state)`: `gram` [T, T] holds the
    inner products of the g_t of the global batch, 0 for absent tasks; `present` and
    `weights` are [T]. What belongs to one task alone takes the gradient of its loss.
    """

    combine: Callable[..., tuple[jax.Array, Any]]


class Method(NamedTuple):
    """A method, in three statements.

    `init(rng) -> params["method"]` is what it adds to the model. `losses(model, params,
    batch, rngs, axis_name) -> Losses` is the loss of each task; `rngs` is None in
    evaluation, else "method" (the same on all devices) and "dropout" (one a device).
    `gradient` is how the losses become one gradient. `init_state` is what it remembers
    from step to step beside parameters, `num_features` the width of what the heads read
    where that is not z.
    """

    init: Callable[[jax.Array], Params]
    losses: Callable[..., Losses]
    gradient: Weighted | AlignedGradient | Combined
    init_state: Any = ()
    num_features: int | None = None


SHARED = "(shared)"  # no name of a task


def owners(params: Params) -> Any:
    """For each parameter the task it belongs to alone, or `SHARED`: a tree of names."""

    def owner(path: tuple, _: Any) -> str:
        keys = [entry.key for entry in path]
        if keys[0] == "heads":
            return keys[1]
        if keys[:2] == ["method", "tasks"]:
            return keys[2]
        return SHARED

    return jax.tree_util.tree_map_with_path(owner, params)


def no_params(rng: jax.Array) -> Params:
    """`init` of a method that adds nothing to the model."""
    del rng
    return {}


def merged(batch: Batch) -> Batch:
    """The rows of all micro-batches as those of one, [K * R, S]."""
    if batch.tokens.ndim == 2:
        return batch
    num_parts, num_rows, row_length = batch.tokens.shape
    tokens, segments, positions = (rows.reshape(-1, row_length) for rows in batch[:3])
    starts = jnp.arange(num_parts, dtype=jnp.int32) * (num_rows * row_length)
    first_tokens = (batch.first_tokens + starts[:, None]).T.reshape(-1)
    return Batch(tokens, segments, positions, first_tokens, *batch[4:])


def members(batch: Batch, num_tasks: int) -> jax.Array:
    """Which texts belong to which task: bool [T, B]."""
    return (batch.tasks == jnp.arange(num_tasks)[:, None]) & batch.where


def present_tasks(batch: Batch, num_tasks: int, axis_name: str | None) -> jax.Array:
    """The tasks of the global batch: bool [T]."""
    # A batch in parts has one more axis.
    batch = batch._replace(tasks=batch.tasks.ravel(), where=batch.where.ravel())
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
    encoder_rng, heads_rng = dropout_keys(rngs)
    z = model.represent(params, batch, encoder_rng)
    return z, model.predict(params, z, heads_rng)


def dropout_keys(
    rngs: Rngs | None,
) -> tuple[jax.Array, jax.Array] | tuple[None, None]:
    """The dropout keys of encoder and heads; None in evaluation."""
    if rngs is None:
        return None, None
    encoder_rng, heads_rng = jax.random.split(rngs["dropout"])
    return encoder_rng, heads_rng


def sum_present(values: jax.Array, present: jax.Array) -> jax.Array:
    """Σ over the tasks of the batch of `values` [T]."""
    return jnp.sum(jnp.where(present, values, 0))


def reparameterize(
    mean: jax.Array, log_variance: jax.Array, rngs: Rngs | None, axis_name: str | None
) -> jax.Array:
    """A draw of N(mean, exp(log_variance)) for each row [B, ...]; the mean in evaluation.

    Each row's noise follows from its place in the planned batch, so that it is the same
    on any number of devices.
    """
    if rngs is None:
        return mean
    rows = jnp.arange(mean.shape[0])
    if axis_name is not None:
        num_devices = jax.lax.psum(1, axis_name)
        rows = rows * num_devices + jax.lax.axis_index(axis_name)
    rng = rngs["method"]

    def draw(row: jax.Array) -> jax.Array:
        key = jax.random.fold_in(rng, row)
        return jax.random.normal(key, mean.shape[1:], mean.dtype)

    return mean + jnp.exp(0.5 * log_variance) * jax.vmap(draw)(rows)


def gather(rows: jax.Array, axis_name: str | None) -> jax.Array:
    """Rows [B, ...] of all devices in the order of the planned batch: [B * D, ...].

    Position p of the plan is row p // D of device p % D (see `types.Batch`).
    """
    if axis_name is None:
        return rows
    gathered = jax.lax.all_gather(rows, axis_name, axis=1)
    return gathered.reshape(-1, *rows.shape[1:])
