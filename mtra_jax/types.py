"""Records shared by several packages, and the letters of their axes.

`B` texts per device, `R` rows, `S` tokens per row, `H` width, `L` slots of the joint
label space, `T` tasks, `D` devices, `P` parts of a batch, `K` micro-batches per device.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray
Params = Any
Metrics = dict[str, Any]
Rngs = dict[str, jax.Array]
"""The keys of a step: "method" is the same on all devices, "dropout" differs."""


class Batch(NamedTuple):
    """Texts packed end to end into rows, with their targets.

    The axes P and K are always present, with length 1 if unused. On the host the arrays
    have a leading axis D. The train step sees one device, without D; a method's losses see
    one part, without P.

    The text at position p of the planned batch is text p // D of device p % D, so that
    the empty places of a batch are spread evenly over the devices. On each device text i
    lies in micro-batch i % K, at place i // K.

    A batch has several parts if the method needs the gradient of each task. Each part then
    has the texts of one task, and `tasks` names that task at empty places too.
    """

    tokens: Array
    """int32 [P, K, R, S]"""
    segments: Array
    """int32 [P, K, R, S]: 1, 2, ... for the texts of a row; 0 is padding."""
    positions: Array
    """int32 [P, K, R, S]: restarts at 0 with each text."""
    types: Array
    """int32 [P, K, R, S]: of the tokens, from the tokenizer. In BERT 1 for the second text
    of a pair; 0 elsewhere. A pair is one text of the batch."""
    first_tokens: Array
    """int32 [P, K, B / K]: where each text starts in the flattened [R * S]."""
    where: Array
    """bool [P, B]: False at empty places."""
    tasks: Array
    """int32 [P, B]"""
    targets: Array
    """float32 [P, B, L]: one-hot or values in the slots of the text's task; 0 elsewhere."""
    partners: Array
    """int32 [P, B]: a random permutation of the texts of each task, as positions in the
    part. A text with the target of its partner is a draw from the product of marginals."""
