"""Labels of the training examples -> what the losses compare with, and where heads start.

A task's fields that depend on the training data are set here, once they are read.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mtra_jax.data.splits.examples import Examples
from mtra_jax.errors import InputError, shown
from mtra_jax.tasks import Benchmark, Task


def resolved(
    benchmark: Benchmark,
    train_examples: Mapping[str, Examples],
    *,
    standardize: bool = False,
    class_weights: str = "none",
    label_smoothing: float = 0.0,
) -> Benchmark:
    """Sets the fields of the tasks that depend on the training examples.

    `standardize`: regression tasks get the mean and the population standard deviation of
    each dimension. `class_weights` ("none" or "balanced") and `label_smoothing` apply to
    the classification tasks that do not set their own. Afterwards `class_weights` holds
    one number per class, or nothing, and `label_smoothing` is a number.

    Balanced weights are N / (K n_c) for N examples, n_c of class c, and K classes that
    occur. A class without an example has the weight 1, the mean weight of an example.

    Raises:
      InputError: a dimension to standardise is constant, weights do not fit a task, or a
        smoothing is outside [0, 1).

    Source: King and Zeng 2001, "Logistic Regression in Rare Events Data", section 4.2, for
    the weights, as scikit-learn's "balanced".
    """
    tasks = []
    for task in benchmark.tasks:
        labels = train_examples[task.name].labels
        if standardize and task.kind == "regression":
            task = _standardized(task, labels)
        task = dataclasses.replace(
            task,
            class_weights=_weights(task, labels, task.class_weights or class_weights),
            label_smoothing=_smoothing(task, label_smoothing),
        )
        tasks.append(task)
    return dataclasses.replace(benchmark, tasks=tuple(tasks))


def _standardized(task: Task, labels: np.ndarray) -> Task:
    values = labels.astype(np.float64)
    for name, column in zip(task.labels, values.T, strict=True):
        if not np.ptp(column):
            raise InputError(
                f"task {task.name}: all {len(column)} training values of {shown(name)} "
                f"are {column[0]:g}; expected different values, or "
                "--config.data.standardize=False"
            )
    means, deviations = values.mean(axis=0), values.std(axis=0)
    return dataclasses.replace(
        task, means=tuple(means.tolist()), deviations=tuple(deviations.tolist())
    )


def _weights(
    task: Task, labels: np.ndarray, weights: str | tuple[float, ...]
) -> tuple[float, ...]:
    if task.kind != "classification":
        if task.class_weights not in ("", (), "none"):
            raise InputError(
                f"task {task.name}: class_weights {shown(task.class_weights)} of a "
                f"{task.kind} task; expected none, only classification has them"
            )
        return ()
    if weights == "none":
        return ()
    if weights == "balanced":
        counts = _counts(task, labels)
        balanced = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return tuple(np.where(counts > 0, balanced, 1.0).tolist())
    if isinstance(weights, str) or len(weights) != task.num_outputs:
        raise InputError(
            f"task {task.name}: class_weights is {shown(weights)}; expected none, "
            f"balanced, or {task.num_outputs} numbers"
        )
    if not (np.isfinite(weights).all() and min(weights) > 0):
        raise InputError(
            f"task {task.name}: class_weights is {shown(weights)}; expected finite "
            "numbers of more than 0"
        )
    return tuple(map(float, weights))


def _smoothing(task: Task, default: float) -> float:
    own = task.label_smoothing
    if task.kind != "classification":
        if own:
            raise InputError(
                f"task {task.name}: label_smoothing {own} of a {task.kind} task; "
                "expected none, only classification has it"
            )
        return 0.0
    smoothing = default if own is None else own
    if not 0 <= smoothing < 1:
        raise InputError(
            f"task {task.name}: label_smoothing is {smoothing}; expected at least 0 and "
            "less than 1"
        )
    return float(smoothing)


def slot_weights(benchmark: Benchmark) -> np.ndarray | None:
    """Returns the weight of each slot's class: float64 [L]; None if no task has weights.

    It is 1 in the slots of tasks without weights.

    Raises:
      ValueError: the weights of a task are not resolved.
    """
    weights = np.concatenate([_slot_weights(task) for task in benchmark.tasks])
    return weights if np.any(weights != 1) else None


def _slot_weights(task: Task) -> np.ndarray:
    if task.class_weights in ("", "none", ()):
        return np.ones(task.num_outputs)
    if isinstance(task.class_weights, str):
        raise ValueError(f"{task.name}: `class_weights` must be resolved first.")
    return np.array(task.class_weights, np.float64)


def smoothings(benchmark: Benchmark) -> np.ndarray | None:
    """Returns each task's label smoothing: float64 [T]; None if no task has any."""
    values = np.array([task.label_smoothing or 0.0 for task in benchmark.tasks])
    return values if values.any() else None


def _counts(task: Task, labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels, minlength=task.num_outputs).astype(np.float64)


def of_labels(task: Task, labels: np.ndarray) -> np.ndarray:
    """Returns the targets of a task's labels: float32 [N, d].

    One-hot rows of class ids [N]; the values [N, d], standardised if the task has means;
    the 0 and 1 of a multi-label task.
    """
    if task.is_classification:
        return np.eye(task.num_outputs, dtype=np.float32)[labels]
    if task.means:
        values = (labels.astype(np.float64) - task.means) / task.deviations
        return values.astype(np.float32)
    return labels.astype(np.float32)


def base_rates(
    train_examples: Mapping[str, Examples], benchmark: Benchmark
) -> np.ndarray:
    """Returns biases of the heads that predict the training set's base rates: float32 [L].

    For a class its log share of the examples, for a label of a multi-label task the
    log-odds of its share, for a regression dimension its mean; 0 if it is standardised.
    One example is added to each class, and one with and one without each label, so that
    absent ones stay finite. The shares of classes are those that the loss sees: weighted
    and smoothed as it is. `benchmark` is a resolved one.
    """
    biases = [_base_rate(t, train_examples[t.name].labels) for t in benchmark.tasks]
    return np.concatenate(biases).astype(np.float32)


def _base_rate(task: Task, labels: np.ndarray) -> np.ndarray:
    if task.kind == "regression":
        if task.means:
            return np.zeros(task.num_outputs)
        return labels.mean(axis=0, dtype=np.float64)
    if task.kind == "multi_label":
        counts = labels.sum(axis=0, dtype=np.float64)
        return np.log(counts + 1) - np.log(len(labels) - counts + 1)
    counts = _counts(task, labels) + 1
    smoothing = task.label_smoothing or 0.0
    counts = (1 - smoothing) * counts + smoothing * counts.mean()
    counts = counts * _slot_weights(task)
    return np.log(counts / counts.sum())


def with_thresholds(
    benchmark: Benchmark, thresholds: Mapping[str, Sequence[float]] | None
) -> Benchmark:
    """Sets the thresholds of those tasks that `thresholds` names.

    `thresholds`: as `Evaluation.thresholds` or the `thresholds` of `results.json`.
    """
    thresholds = thresholds or {}
    tasks = tuple(
        dataclasses.replace(task, thresholds=tuple(thresholds[task.name]))
        if task.name in thresholds
        else task
        for task in benchmark.tasks
    )
    return dataclasses.replace(benchmark, tasks=tasks)
