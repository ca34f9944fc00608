"""A model during training -> inner products of the tasks' gradients of the encoder."""

import jax
import numpy as np

from mtra_jax.analysis import conflicts
from mtra_jax.methods import layout, task_losses
from mtra_jax.runs.trained import Trained
from mtra_jax.types import Batch, Params

NUM_BATCHES = 4
"""Batches of each task whose gradients are averaged."""


def gramian(trained: Trained, split: str = "train") -> np.ndarray:
    """Inner products [T, T] of the gradients of ℓ_Task with respect to the encoder.

    Each is a mean over the first `NUM_BATCHES` batches of the task, without dropout, so
    that methods and epochs compare.
    """
    model, method = trained.model_and_method()
    corpus, plan, packed = trained.packed(split)
    tasks = corpus.tasks[plan[:, 0]]

    @jax.jit
    def gradient(params: Params, batch: Batch) -> Params:
        part = layout.only_part(batch)

        def loss(encoder: Params) -> jax.Array:
            outputs = method.losses({**params, "encoder": encoder}, part, None, None)
            return task_losses.of_outputs(
                model.space, outputs.outputs, part, None
            ).sum()

        return jax.grad(loss)(params["encoder"])

    params = trained.saved.params
    means = []
    for task in range(len(trained.tasks)):
        own = [packed[i] for i in np.flatnonzero(tasks == task)[:NUM_BATCHES]]
        parts = [gradient(params, batch) for batch in own]
        means.append(jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *parts))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *means)
    return np.asarray(conflicts.gramian(stacked))
