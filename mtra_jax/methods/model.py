"""Parameters and a packed batch -> z and the outputs of all tasks."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax.methods import layout, randomness
from mtra_jax.models.network import Network
from mtra_jax.types import Array, Batch, Params, Rngs

SHARED = "(shared)"
"""The owner of a parameter that no single task owns. Parentheses occur in no task name."""
CRITIC = "statistics"
"""The entry of `params["method"]` of a statistics network, which may have its own rate."""


class Space(NamedTuple):
    """The joint label space of the tasks, and the sizes of their training sets."""

    names: tuple[str, ...]
    slot_tasks: np.ndarray
    """int32 [L]: the task that owns each slot."""
    is_classification: np.ndarray
    """bool [T]: an example has exactly one class."""
    num_examples: tuple[int, ...]
    """Training examples per task."""
    steps_per_epoch: int = 1
    """Training steps per epoch."""
    is_multi_label: np.ndarray | None = None
    """bool [T]; None if no task is."""
    class_weights: np.ndarray | None = None
    """float [L]: the weight of each class in the cross-entropy, 1 in the slots of tasks
    without weights; None if no task has weights."""
    label_smoothing: np.ndarray | None = None
    """float [T]: the smoothing of the cross-entropy; None if no task has any."""
    label_entropies: np.ndarray | None = None
    """float [T]: H(Y_t) of the training labels in nats, infinite for regression; None
    without training data."""

    @property
    def num_tasks(self) -> int:
        """The number T of tasks."""
        return len(self.names)

    @property
    def has_cross_entropy(self) -> np.ndarray:
        """bool [T]: whether the loss is a cross-entropy, not a squared error."""
        if self.is_multi_label is None:
            return self.is_classification
        return self.is_classification | self.is_multi_label

    @property
    def num_outputs(self) -> np.ndarray:
        """int [T]: slots per task."""
        return np.bincount(self.slot_tasks, minlength=self.num_tasks)


class TaskHeads(Network, Protocol):
    """Heads of all tasks over one representation; see `models.heads.Heads`."""

    @property
    def tasks(self) -> Sequence[tuple[str, int]]:
        """(name, number of outputs) of each task."""
        ...


class _Rows(NamedTuple):
    """The encoder's inputs of a batch, see `Encoder.__call__`."""

    tokens: Array
    segments: Array
    positions: Array
    wanted: Array | None
    types: Array | None


class Model(NamedTuple):
    """The network that all methods share, as functions of its parameters.

    `params` is `{"encoder": ..., "heads": {task: ...}, "method": ...}`. "method" holds the
    parameters that the method adds. Those of a single task lie under
    `params["method"]["tasks"][task]`. Like the task's head they do not change in steps
    without the task.
    """

    encoder: Network
    heads: TaskHeads
    space: Space
    hidden_size: int
    in_pieces: bool = False
    """Whether the encoder averages its layers' gradients over devices, one by one."""
    reads_types: bool = False
    """Whether the encoder reads the types of the tokens: a task has pairs of texts."""

    def encode(self, params: Params, batch: Batch, rng: jax.Array | None) -> jax.Array:
        """Returns the last hidden states of all tokens [R, S, H], rows as in `merged`.

        All micro-batches are encoded at once, because the caller holds all their states
        anyway. `rng` is the dropout key; None turns dropout off.
        """
        rows = self._rows(layout.merged(batch))._replace(wanted=None)
        return self._encode(params, jax.tree.map(lambda x: x[0], rows), rng)

    def represent(
        self, params: Params, batch: Batch, rng: jax.Array | None
    ) -> jax.Array:
        """Returns z [B, H], the last hidden state at each text's first token.

        Micro-batches are encoded sequentially with rematerialisation, so that the
        activations of one are in memory at a time. Everything after z reads the whole
        batch: losses need not decompose over texts (the MINE bound does not). `rng` is
        the dropout key; None turns dropout off.

        Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
        """
        rows = self._rows(batch)
        num_micro_batches = len(batch.tokens)
        if num_micro_batches == 1:  # no loop, no second forward pass, no folded key
            return self._encode(params, jax.tree.map(lambda x: x[0], rows), rng)

        def encode(part: tuple[jax.Array, _Rows]) -> jax.Array:
            index, rows = part
            key = None if rng is None else jax.random.fold_in(rng, index)
            return self._encode(params, rows, key)

        # In the body of a loop `prevent_cse` is not needed and costs time.
        encode = jax.checkpoint(encode, prevent_cse=False)
        z = jax.lax.map(encode, (jnp.arange(num_micro_batches), rows))
        return z.swapaxes(0, 1).reshape(-1, z.shape[-1])  # [K, B / K, H] -> [B, H]

    def _rows(self, batch: Batch) -> _Rows:
        # Without pairs the programs do not take the types.
        types = batch.types if self.reads_types else None
        return _Rows(
            batch.tokens, batch.segments, batch.positions, batch.first_tokens, types
        )

    def _encode(self, params: Params, rows: _Rows, rng: jax.Array | None) -> jax.Array:
        *arrays, types = rows
        return self.encoder.apply(
            {"params": params["encoder"]},
            *arrays,
            **({} if types is None else {"types": types}),
            deterministic=rng is None,
            rngs={} if rng is None else {"dropout": rng},
        )

    def head_features(
        self, params: Params, z: jax.Array, rng: jax.Array | None
    ) -> jax.Array:
        """Returns dropout(relu(z)) [B, H], which the heads' kernels multiply."""
        return self.heads.apply(
            {"params": params["heads"]},
            z,
            deterministic=rng is None,
            rngs={} if rng is None else {"dropout": rng},
            method="features",
        )

    def predict(self, params: Params, z: jax.Array, rng: jax.Array | None) -> jax.Array:
        """Returns the outputs of all tasks [B, L] for representations `z` [B, H]."""
        return self.heads.apply(
            {"params": params["heads"]},
            z,
            deterministic=rng is None,
            rngs={} if rng is None else {"dropout": rng},
        )

    def represent_and_predict(
        self, params: Params, batch: Batch, rngs: Rngs | None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns z [B, H] and the outputs [B, L], with separate dropout keys."""
        encoder_rng, heads_rng = randomness.dropout_keys(rngs)
        z = self.represent(params, batch, encoder_rng)
        return z, self.predict(params, z, heads_rng)


def shared_leaves(params: Params) -> list[jax.Array]:
    """Returns the leaves of `params` that no single task owns, in their order."""
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(owners(params)), strict=True)
    return [leaf for leaf, owner in pairs if owner == SHARED]


def with_shared_leaves(params: Params, shared: Iterable[jax.Array]) -> Params:
    """Returns `params` with those of `shared_leaves` replaced, in their order."""
    leaves, structure = jax.tree.flatten(params)
    new = iter(shared)
    pairs = zip(leaves, jax.tree.leaves(owners(params)), strict=True)
    replaced = [next(new) if owner == SHARED else leaf for leaf, owner in pairs]
    return jax.tree.unflatten(structure, replaced)


def owners(params: Params) -> Any:
    """Returns a tree like `params` of the task that owns each leaf, or `SHARED`."""

    def owner(path: tuple, _: Any) -> str:
        keys = [entry.key for entry in path]
        if keys[0] == "heads":
            return keys[1]
        if keys[:2] == ["method", "tasks"]:
            return keys[2]
        return SHARED

    return jax.tree_util.tree_map_with_path(owner, params)
