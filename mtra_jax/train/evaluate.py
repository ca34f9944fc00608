"""Parameters and a split -> its losses, predictions and scores."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from mtra_jax import metrics
from mtra_jax.data import batches
from mtra_jax.tasks import Benchmark
from mtra_jax.train import memory
from mtra_jax.types import Params


class Evaluation(NamedTuple):
    """One split scored. `loss` is the mean over the tasks of `losses`, their mean ℓ_TA."""

    loss: float
    losses: dict[str, float]
    predictions: dict[str, np.ndarray]
    """Class ids int [N], or values [N, d], of each task in the order of its examples."""
    scores: dict[str, dict[str, float]]
    """NaN for a task whose outputs are not finite; its predictions mean nothing."""
    faults: dict[str, str]
    """What is not finite, by task: its outputs, or its loss; empty for a sound model."""


class Split(NamedTuple):
    """What an evaluation reads: packed batches of all examples in order."""

    batcher: batches.Batcher
    plan: np.ndarray


ADVICE = "expected a smaller batch_size or data.max_length"
"""Remedies for an evaluation that is out of memory; it has no micro-batches."""

Bar = Callable[[Iterable, int], Iterable]
"""`bar(items, total)` yields the items and shows how far it is."""


def no_bar(items: Iterable, total: int) -> Iterable:
    """Shows nothing."""
    del total
    return items


def predict_outputs(
    forward: Callable, params: Params, split: Split, bar: Bar = no_bar
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of all examples [N, L] in order, and the losses of each batch [n, T]."""
    packed = batches.prefetch(split.batcher.batches(split.plan))
    outputs, losses = [], []
    results = _one_behind(forward, params, packed)
    for found, measured in bar(results, len(split.plan)):
        outputs.append(np.asarray(found))
        losses.append(np.asarray(measured["losses"]))
    valid = split.plan.reshape(-1) >= 0
    return np.concatenate(outputs)[valid], np.stack(losses)


def _one_behind(forward: Callable, params: Params, packed: Any) -> Iterator[tuple]:
    """Yields a batch's results while the next batch is computed."""
    waiting = None
    shapes: deque = deque(maxlen=2)

    def get(results: Any) -> Any:
        with memory.naming(shapes, ADVICE):
            return jax.device_get(results)

    for batch in packed:
        shapes.append(memory.shape_of(batch))
        with memory.naming(shapes, ADVICE):
            running = forward(params, batch)
        if waiting is not None:
            yield get(waiting)
        waiting = running
    if waiting is not None:
        yield get(waiting)


def evaluate(
    forward: Callable,
    params: Params,
    split: Split,
    benchmark: Benchmark,
    bar: Bar = no_bar,
) -> Evaluation:
    """Scores `params` on a split by `forward` (see `step.make_forward`).

    The loss of a task is the mean over its examples of the loss of their batch: the
    bound in ℓ_TA is one of a batch, in validation as in training.
    """
    outputs, batch_losses = predict_outputs(forward, params, split, bar)
    corpus = split.batcher.corpus
    counts = np.sum(split.plan >= 0, axis=1)
    batch_tasks = corpus.tasks[split.plan[:, 0]]
    losses = {}
    for index, task in enumerate(benchmark.tasks):
        mine = batch_tasks == index
        with np.errstate(invalid="ignore"):  # infinities of both signs
            mean = np.average(batch_losses[mine, index], weights=counts[mine])
        losses[task.name] = float(mean)
    predictions, scores, faults = score_outputs(outputs, corpus, benchmark)
    for name, mean in losses.items():
        if not math.isfinite(mean):
            faults.setdefault(name, f"loss {mean}")
    with np.errstate(invalid="ignore"):
        loss = float(np.mean(list(losses.values())))
    return Evaluation(loss, losses, predictions, scores, faults)


def score_outputs(
    outputs: np.ndarray, corpus: batches.Corpus, benchmark: Benchmark
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]], dict[str, str]]:
    """Predictions, scores and faults of each task, as in `Evaluation`.

    `outputs`: [N, L], those of the examples of `corpus` in their order.
    """
    predictions, scores, faults = {}, {}, {}
    for index, task in enumerate(benchmark.tasks):
        rows = corpus.tasks == index
        own = benchmark.slots(task.name)
        predicted, wanted = outputs[rows, own], corpus.targets[rows, own]
        is_bad = ~np.isfinite(predicted).all(axis=1)
        if task.is_classification:
            predicted, wanted = predicted.argmax(axis=1), wanted.argmax(axis=1)
        predictions[task.name] = predicted
        if is_bad.any():
            faults[task.name] = f"{is_bad.sum()} of {len(is_bad)} outputs not finite"
            scores[task.name] = dict.fromkeys(task.metrics, math.nan)
        else:
            scores[task.name] = metrics.score(task, predicted, wanted)
    return predictions, scores, faults
