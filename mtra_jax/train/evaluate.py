"""Parameters and a split -> its losses, predictions and scores."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from mtra_jax import metrics
from mtra_jax.data import batches
from mtra_jax.tasks import Benchmark
from mtra_jax.types import Params


class Evaluation(NamedTuple):
    """One split scored. `loss` is the mean over the tasks of `losses`, their mean ℓ_TA."""

    loss: float
    losses: dict[str, float]
    predictions: dict[str, np.ndarray]
    """Class ids int [N], or values [N, d], of each task in the order of its examples."""
    scores: dict[str, dict[str, float]]


class Split(NamedTuple):
    """What an evaluation reads: packed batches of all examples in order."""

    batcher: batches.Batcher
    plan: np.ndarray


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
    for batch in packed:
        running = forward(params, batch)
        if waiting is not None:
            yield jax.device_get(waiting)
        waiting = running
    if waiting is not None:
        yield jax.device_get(waiting)


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
        mean = np.average(batch_losses[mine, index], weights=counts[mine])
        losses[task.name] = float(mean)
    predictions, scores = score_outputs(outputs, corpus, benchmark)
    mean = float(np.mean(list(losses.values())))
    return Evaluation(mean, losses, predictions, scores)


def score_outputs(
    outputs: np.ndarray, corpus: batches.Corpus, benchmark: Benchmark
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """Predictions and scores of each task, as in `Evaluation`, from `outputs` [N, L]."""
    predictions, scores = {}, {}
    for index, task in enumerate(benchmark.tasks):
        rows = corpus.tasks == index
        own = benchmark.slots(task.name)
        predicted, wanted = outputs[rows, own], corpus.targets[rows, own]
        if task.is_classification:
            predicted, wanted = predicted.argmax(axis=1), wanted.argmax(axis=1)
        predictions[task.name] = predicted
        scores[task.name] = metrics.score(task, predicted, wanted)
    return predictions, scores
