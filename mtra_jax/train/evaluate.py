"""Parameters and a split -> its losses, predictions and scores."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from mtra_jax import metrics
from mtra_jax.data.packed import batches, plans
from mtra_jax.data.splits import readout, targets
from mtra_jax.tasks import Benchmark
from mtra_jax.train import memory
from mtra_jax.types import Batch, Metrics, Params


class Forward(Protocol):
    """The program of `step.make_forward`: returns outputs [B * D, L], and losses [T]."""

    def __call__(
        self, params: Params, batch: Batch, /
    ) -> tuple[jax.Array, Metrics]: ...


class Evaluation(NamedTuple):
    """The results of a model on one split."""

    loss: float
    """Mean of `losses` over the tasks."""
    losses: dict[str, float]
    """Loss of each task, without a perturbation (ℓ_TA for MTRA)."""
    predictions: dict[str, np.ndarray]
    """Each task's, in the order of its examples, see `readout.predictions`."""
    scores: dict[str, dict[str, float]]
    """NaN for a task with outputs that are not finite; its predictions are meaningless."""
    faults: dict[str, str]
    """Tasks whose outputs or losses are not finite, with a description for a message."""
    thresholds: dict[str, list[float]]
    """The thresholds of each multi-label task with which its labels were predicted."""
    terms: Mapping[str, dict[str, float]] = MappingProxyType({})
    """By name, the terms of the method's losses of each task: "task", or MTRA's "mi"."""


class Split(NamedTuple):
    """The input of an evaluation: packed batches of all examples, see `plan_evaluation`."""

    batcher: batches.Batcher
    plan: np.ndarray


ADVICE = "expected a smaller batch_size or data.max_length"
"""Remedies for an evaluation that is out of memory; it has no micro-batches."""

Bar = Callable[[Iterable, int], Iterable]
"""`bar(items, total)` yields the items and shows the progress."""


def no_bar(items: Iterable, total: int) -> Iterable:
    """A `Bar` that shows nothing."""
    del total
    return items


def predict_outputs(
    forward: Forward, params: Params, split: Split, bar: Bar = no_bar
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the outputs [N, L] of the plan's examples in order, and the batches' losses.

    The losses are [n, T], under "losses"; the terms of the method, by name, are too.
    """
    packed = batches.prefetch(split.batcher.batches(split.plan))
    outputs, figures = [], []
    results = _one_behind(forward, params, packed)
    for batch_outputs, measured in bar(results, len(split.plan)):
        outputs.append(np.asarray(batch_outputs))
        terms = measured.get("terms", {})
        figures.append({"losses": measured["losses"], **terms})
    stacked = {name: np.stack([row[name] for row in figures]) for name in figures[0]}
    return plans.in_order(split.plan, np.concatenate(outputs)), stacked


def _one_behind(
    forward: Forward, params: Params, packed: Iterable[Batch]
) -> Iterator[tuple]:
    """Yields a batch's results while the next batch is computed."""
    waiting = None
    shapes: deque[memory.Shape] = deque(maxlen=2)

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
    forward: Forward,
    params: Params,
    split: Split,
    benchmark: Benchmark,
    bar: Bar = no_bar,
    *,
    chooses_thresholds: bool = False,
) -> Evaluation:
    """Scores `params` on a split.

    The loss of a task is the mean of its batches' losses, weighted by their numbers of
    examples, or by the class weights of these: the bound in ℓ_TA is defined for a batch,
    in validation as in training. With `chooses_thresholds` (validation) multi-label tasks
    are scored with the thresholds that `choose_thresholds` finds on this split, and else
    (test) with those of `benchmark`.
    """
    outputs, figures = predict_outputs(forward, params, split, bar)
    corpus = split.batcher.corpus
    if chooses_thresholds:
        benchmark = choose_thresholds(outputs, corpus, benchmark)
    means = _means(figures, split, benchmark)
    losses = means.pop("losses")
    predictions, scores, faults = score_outputs(outputs, corpus, benchmark)
    for name, mean in losses.items():
        if not math.isfinite(mean):
            faults.setdefault(name, f"loss {mean}")
    with np.errstate(invalid="ignore"):
        loss = float(np.mean(list(losses.values())))
    thresholds = {t.name: list(t.thresholds) for t in benchmark.tasks if t.thresholds}
    return Evaluation(loss, losses, predictions, scores, faults, thresholds, means)


def _means(
    figures: Mapping[str, np.ndarray], split: Split, benchmark: Benchmark
) -> dict[str, dict[str, float]]:
    """The mean over the batches of each task, by the name of the figure, [n, T] each."""
    counts = _batch_weights(split, benchmark)
    batch_tasks = split.batcher.corpus.tasks[split.plan[:, 0]]
    means: dict[str, dict[str, float]] = {name: {} for name in figures}
    for index, task in enumerate(benchmark.tasks):
        mine = batch_tasks == index
        for name, values in figures.items():
            with np.errstate(invalid="ignore"):  # infinities of both signs
                mean = np.average(values[mine, index], weights=counts[mine])
            means[name][task.name] = float(mean)
    return means


def _batch_weights(split: Split, benchmark: Benchmark) -> np.ndarray:
    """The weight of each batch in the mean loss of its task: [n]."""
    is_example, corpus = split.plan >= 0, split.batcher.corpus
    slot_weights = targets.slot_weights(benchmark)
    if slot_weights is None:
        return np.sum(is_example, axis=1)
    is_classification = np.array([task.is_classification for task in benchmark.tasks])
    weights = np.where(
        is_classification[corpus.tasks], corpus.targets @ slot_weights, 1.0
    )
    return np.sum(np.where(is_example, weights[split.plan], 0.0), axis=1)


def choose_thresholds(
    outputs: np.ndarray, corpus: batches.Corpus, benchmark: Benchmark
) -> Benchmark:
    """Sets the thresholds of multi-label tasks to the best ones for `outputs` [N, L].

    See `metrics.best_thresholds`. A task with outputs that are not finite stays as it is.
    """
    thresholds = {}
    for index, task in enumerate(benchmark.tasks):
        own = outputs[corpus.tasks == index, benchmark.slots(task.name)]
        if task.kind == "multi_label" and np.isfinite(own).all():
            best = metrics.best_thresholds(
                readout.label_probabilities(own), corpus.labels[index]
            )
            thresholds[task.name] = best.tolist()
    return targets.with_thresholds(benchmark, thresholds)


def score_outputs(
    outputs: np.ndarray, corpus: batches.Corpus, benchmark: Benchmark
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]], dict[str, str]]:
    """Returns the predictions, scores and faults of `Evaluation`.

    `outputs`: [N, L], in the order of the examples of `corpus`. Predictions and labels are
    compared in the user's unit. Tasks without examples are left out.
    """
    predictions, scores, faults = {}, {}, {}
    for index, task in enumerate(benchmark.tasks):
        if not corpus.sizes[index]:
            continue
        own = outputs[corpus.tasks == index, benchmark.slots(task.name)]
        is_bad = ~np.isfinite(own).all(axis=1)
        predictions[task.name] = predicted = readout.predictions(task, own)
        if is_bad.any():
            faults[task.name] = f"{is_bad.sum()} of {len(is_bad)} outputs not finite"
            scores[task.name] = dict.fromkeys(task.metrics, math.nan)
        else:
            # The labels, not the targets: these are rounded and in another unit.
            scores[task.name] = metrics.score(
                task,
                predicted,
                corpus.labels[index],
                readout.probabilities(task, own),
            )
    return predictions, scores, faults
