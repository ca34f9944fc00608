"""A trained model under noise on its word embeddings -> Avg. for each size of the noise."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mtra_jax import metrics
from mtra_jax.analysis import robustness
from mtra_jax.data.packed import plans
from mtra_jax.methods import gradients, layout, task_losses
from mtra_jax.runs.trained.finished_run import Trained
from mtra_jax.train import evaluate
from mtra_jax.types import Batch, Params


def averages(
    trained: Trained, attack: robustness.Attack, sizes: Sequence[float]
) -> list[float]:
    """Avg. of the test split, in percent, at each L2 norm of the noise.

    The word-embedding matrix moves, anew for each batch, along what raises the task's loss
    there. A batch has the texts of one task, as in an evaluation.

    Source: InfoMTL, figures 3 and 4.
    """
    benchmark = trained.saved.benchmark
    model, method = trained.model_and_method()
    corpus, plan, packed = trained.packed("test")

    def apply(params: Params, batch: Batch) -> jax.Array:
        return method.losses(params, layout.only_part(batch), None, None).outputs

    def loss(outputs: jax.Array, batch: Batch) -> jax.Array:
        part = layout.only_part(batch)
        return task_losses.of_outputs(model.space, outputs, part, None).sum()

    def average(outputs: list[Any]) -> float:
        rows = plans.in_order(plan, np.concatenate([np.asarray(x) for x in outputs]))
        _, scores, _ = evaluate.score_outputs(rows, corpus, benchmark)
        return metrics.average(scores, benchmark.tasks)

    return robustness.curve(
        apply,
        trained.saved.params,
        packed,
        sizes,
        loss=loss,
        metric=average,
        attack=attack,
        select=gradients.word_embeddings,
        seed=trained.config.seed,
    )
