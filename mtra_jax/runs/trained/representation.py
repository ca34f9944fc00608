"""A trained model and new texts -> z, the representations that the heads read."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax.methods import layout
from mtra_jax.methods.contract import Method
from mtra_jax.methods.model import Model
from mtra_jax.runs.directory.best_model import Saved
from mtra_jax.runs.trained import prediction
from mtra_jax.train.devices import AXIS, local_device, replicate
from mtra_jax.types import Batch, Params


class Representer:
    """Calls of a trained encoder with texts: `representer(texts)`.

    Compiled programs stay with the object; the batches have the few shapes of
    `prediction.plan`.
    """

    def __init__(self, saved: Saved) -> None:
        devices = local_device()
        self._saved = saved
        self._params = replicate(saved.params, devices)
        self._program = prediction.program_of(saved, devices, _z)

    def __call__(
        self, texts: Sequence[str], second_texts: Sequence[str] = ()
    ) -> np.ndarray:
        """Returns z, float32 [N, H], in the order of the `texts`.

        `second_texts`: empty, or the second text of each of N pairs.
        """
        width = self._saved.backbone.config.hidden_size
        return prediction.rows_of(
            self._program, self._params, self._saved, texts, second_texts, width
        )


def _z(model: Model, method: Method, params: Params, batch: Batch) -> jax.Array:
    del method
    z = model.represent(params, layout.only_part(batch), None)
    return layout.gather(z.astype(jnp.float32), AXIS)
