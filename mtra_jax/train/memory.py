"""A failed allocation -> the batch at fault, and what needs less memory."""

import contextlib
from collections.abc import Collection, Iterator
from typing import NamedTuple

from mtra_jax import failures
from mtra_jax.errors import RunError
from mtra_jax.types import Batch


class Shape(NamedTuple):
    """What one device holds of a batch at a time: a micro-batch where there are several."""

    rows: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.rows} rows of {self.tokens} tokens"


def shape_of(batch: Batch) -> Shape:
    """The shape of a batch, whose arrays have leading axes of devices and parts."""
    rows, tokens = batch.tokens.shape[-2:]
    return Shape(int(rows), int(tokens))


@contextlib.contextmanager
def naming(shapes: Collection[Shape], advice: str) -> Iterator[None]:
    """Turns a failed allocation, on the host or a device, into a RunError.

    `shapes`: those in work at the time, of which the largest is named. `advice`: what to
    change.
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
