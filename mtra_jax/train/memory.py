"""A failed allocation -> an error with the batch's shape and a remedy."""

import contextlib
from collections.abc import Collection, Iterator
from typing import NamedTuple

from mtra_jax import failures
from mtra_jax.errors import RunError
from mtra_jax.types import Batch


class Shape(NamedTuple):
    """The shape of a batch, or of a micro-batch if there are several, on one device."""

    rows: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.rows} rows of {self.tokens} tokens"


def shape_of(batch: Batch) -> Shape:
    """Returns the shape of `batch`."""
    rows, tokens = batch.tokens.shape[-2:]
    return Shape(int(rows), int(tokens))


@contextlib.contextmanager
def naming(shapes: Collection[Shape], advice: str) -> Iterator[None]:
    """Turns a failed allocation, on the host or a device, into a RunError.

    The error names the largest of `shapes`, the batches in memory at the time. `advice`:
    the remedy, for the message.
    """
    try:
        yield
    except Exception as error:
        reason = failures.out_of_memory(error)
        if reason is None:
            raise
        largest = max(shapes, key=lambda shape: shape.rows * shape.tokens)
        raise RunError(
            f"out of memory in a batch of {largest} on each device: {reason}; {advice}"
        ) from error
