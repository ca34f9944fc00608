"""The records that cross rooms, and the letters of their axes.

`B` texts per device, `R` rows, `S` tokens per row, `H` width, `L` slots of the joint
label space, `T` tasks, `D` devices, `K` micro-batches per device. On the host the
arrays of a `Batch` have a leading axis D; inside the step they do not.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray
Params = Any
Metrics = dict[str, Any]


class Batch(NamedTuple):
    """Texts packed end to end into rows, with their targets.

    The text at position p of the planned batch is the text p // D of device p % D, so a
    batch that is not full is spread evenly.

    With K > 1 the rows, and `first_tokens` within them, have a leading axis K: text i of
    the device lies in micro-batch i % K, as its text i // K. What belongs to the texts
    keeps its axis B and its order, whatever K.

    For a method that needs the gradient of each task, a batch is a stack of P such
    batches, each with the texts of one task alone: all arrays have an axis P before those
    that are named here, and `tasks` is that of the part at empty places too.
    """

    tokens: Array
    """int32 [R, S]; [K, R, S] where K > 1, as the next two."""
    segments: Array
    """int32 [R, S]: 1, 2, ... for the texts of a row; 0 is padding."""
    positions: Array
    """int32 [R, S]: restarts at 0 with each text."""
    first_tokens: Array
    """int32 [B]: where each text starts in the flattened [R * S]; [K, B / K] where K > 1."""
    where: Array
    """bool [B]: False for the slots that hold no text."""
    tasks: Array
    """int32 [B]"""
    targets: Array
    """float32 [B, L]: one-hot, or values, in the slots of the own task; 0 elsewhere."""
    partners: Array
    """int32 [B]: position in the planned batch of the text whose target is paired with
    this text under the product of the marginals: a random permutation of each task."""
