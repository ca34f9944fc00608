"""The axes of a packed batch: parts, micro-batches, and the order of the planned batch."""

import jax
import jax.numpy as jnp

from mtra_jax.types import Batch


def only_part(batch: Batch) -> Batch:
    """Returns the one part of a batch, without the axis P.

    Raises:
      ValueError: the batch has several parts.
    """
    num_parts = batch.tasks.shape[0]
    if num_parts != 1:
        raise ValueError(f"`batch` must have one part; found {num_parts}.")
    return Batch(*(array[0] for array in batch))


def one_part_per_task(batch: Batch, num_tasks: int) -> Batch:
    """Returns T copies of the one part of a batch, each with the texts of one task.

    Each copy has all rows, so encoding them costs T passes. A `Batcher` with a
    `part_size` packs each task in separate rows, which costs one pass.
    """
    whole = only_part(batch)

    def part(task: jax.Array) -> Batch:
        where = whole.where & (whole.tasks == task)
        return whole._replace(where=where, tasks=jnp.full_like(whole.tasks, task))

    return jax.vmap(part)(jnp.arange(num_tasks, dtype=whole.tasks.dtype))


def merged(batch: Batch) -> Batch:
    """Returns one part of a batch with its K micro-batches merged: K * R rows."""
    num_micro_batches, num_rows, row_length = batch.tokens.shape
    if num_micro_batches == 1:
        return batch
    rows = {
        name: getattr(batch, name).reshape(1, -1, row_length)
        for name in ("tokens", "segments", "positions", "types")
    }
    places = jnp.arange(num_micro_batches, dtype=jnp.int32)
    starts = places * (num_rows * row_length)
    first_tokens = (batch.first_tokens + starts[:, None]).T.reshape(1, -1)
    return batch._replace(**rows, first_tokens=first_tokens)


def gather(rows: jax.Array, axis_name: str | None) -> jax.Array:
    """Gathers rows [B, ...] of all devices in the order of the planned batch: [B * D, ...].

    Position p of the plan is row p // D of device p % D (see `types.Batch`).
    """
    if axis_name is None:
        return rows
    gathered = jax.lax.all_gather(rows, axis_name, axis=1)
    return gathered.reshape(-1, *rows.shape[1:])


def planned_places(num_rows: int, axis_name: str | None) -> jax.Array:
    """Returns the place in the planned batch of each row of this device: int32 [B]."""
    rows = jnp.arange(num_rows)
    if axis_name is None:
        return rows
    num_devices = jax.lax.psum(1, axis_name)
    return rows * num_devices + jax.lax.axis_index(axis_name)
