"""Predictions and labels of one task -> its figures, and those of a constant prediction."""

import math

import numpy as np

from mtra_jax.metrics import statistics
from mtra_jax.metrics.table import Metric, find
from mtra_jax.tasks import Task


def score(
    task: Task,
    predictions: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray | None = None,
) -> dict[str, float]:
    """The metrics of one task, in the order of `task.metrics`.

    Shares are in percent, errors in the task's unit. Classification: class ids, int [N].
    Regression: values, float [N, D]. Multi-label: 0/1 [N, D]. `probabilities`: of each
    class or label, [N, D]; without them the figures that need them are NaN.

    The figures equal those of the official TweetEval scorer if each class occurs in the
    labels or the predictions. A class that occurs in neither counts as 0 here, since the
    average is over all classes of the task. A correlation with a constant is defined as
    0, and the AUROC of a label that all examples or none have as 0.5.

    Raises:
      ValueError: a wrong shape or type, unequal lengths, no examples, a class id out of
        range, or a value that is not finite.

    Source: appendix B.3; TweetEval (Barbieri et al. 2020), its evaluation script.

    >>> from mtra_jax.tasks import TWEETEVAL
    >>> irony = TWEETEVAL.select(["irony"]).tasks[0]
    >>> score(irony, np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    {'irony_f1': 50.0}
    """
    predictions = check_values(task, predictions, "predictions")
    labels = check_values(task, labels, "labels")
    if len(predictions) != len(labels):
        raise ValueError(
            f"{task.name}: {len(predictions)} predictions for {len(labels)} labels"
        )
    if probabilities is not None:
        probabilities = _check_probabilities(task, probabilities, len(labels))
    figures = {}
    for name in task.metrics:
        metric = find(name, task)
        outputs = list(metric.outputs)
        if not metric.needs_probabilities:
            measured = columns(task, predictions, outputs)
        elif probabilities is None:
            figures[name] = math.nan
            continue
        else:
            measured = probabilities[:, outputs]
        figures[name] = _figure(metric, measured, columns(task, labels, outputs))
    return figures


def zeros(task: Task, labels: np.ndarray) -> tuple[list[str], list[str]]:
    """The classes or labels that no example has, and the metrics in which each counts 0.

    `labels`: as in `score`.

    >>> from mtra_jax.tasks import TWEETEVAL
    >>> stance = TWEETEVAL.select(["stance"]).tasks[0]
    >>> zeros(stance, np.array([0, 2, 2]))
    (['against'], ['favor_against_f1'])
    """
    if task.kind == "regression":
        return [], []
    outputs = list(range(task.num_outputs))
    occurs = np.any(columns(task, np.asarray(labels), outputs), axis=0).tolist()
    names = []
    for name in task.metrics:
        metric = find(name, task)
        is_mean = metric.statistic in (statistics.macro_f1, statistics.macro_recall)
        if is_mean and not all(occurs[i] for i in metric.outputs):
            names.append(name)
    absent = [label for label, own in zip(task.labels, occurs, strict=True) if not own]
    return (absent, names) if names else ([], [])


def _figure(metric: Metric, measured: np.ndarray, labels: np.ndarray) -> float:
    value = metric.statistic(measured, labels)
    return 100.0 * value if metric.is_share else value


def columns(task: Task, values: np.ndarray, outputs: list[int]) -> np.ndarray:
    """Whether each example has each of `outputs`, bool [N, K]; or the values, float.

    `values`: as `check_values` returns them.
    """
    if task.is_classification:
        return values[:, None] == np.array(outputs)
    chosen = values[:, outputs]
    return chosen if task.kind == "regression" else chosen == 1


def check_values(task: Task, values: np.ndarray, name: str) -> np.ndarray:
    """The class ids, int [N], the values, float64 [N, D], or the labels, int64 0/1 [N, D].

    Raises:
      ValueError: a value is invalid. The message holds `name`, the rule and the first
        wrong value.
    """
    values = np.asarray(values)
    if task.is_classification:
        expected = "integers [N]"
        fits = values.ndim == 1 and np.issubdtype(values.dtype, np.integer)
    else:
        expected = f"numbers [N, {task.num_outputs}]"
        fits = values.ndim == 2 and values.shape[1] == task.num_outputs
    if not fits or not len(values):
        raise ValueError(
            f"{task.name}: `{name}` must be {expected} with N > 0; found "
            f"{values.dtype} {list(values.shape)}"
        )
    if task.is_classification:
        rule = f"from 0 to {task.num_outputs - 1}"
        valid = (values >= 0) & (values < task.num_outputs)
    elif task.kind == "multi_label":
        rule = "0 or 1"
        valid = (values == 0) | (values == 1)
    else:
        rule = "finite"
        values = values.astype(np.float64)
        valid = np.isfinite(values)
    if not valid.all():
        place = tuple(np.argwhere(~valid)[0])
        raise ValueError(
            f"{task.name}: `{name}` must be {rule}; found {values[place]} "
            f"at index {place[0]}"
        )
    return values.astype(np.int64) if task.kind == "multi_label" else values


def _check_probabilities(task: Task, values: np.ndarray, size: int) -> np.ndarray:
    """Returns the probabilities as float64 [N, D]."""
    values = np.asarray(values, np.float64)
    wanted = (size, task.num_outputs)
    if values.shape != wanted or not np.isfinite(values).all():
        raise ValueError(
            f"{task.name}: `probabilities` must be finite numbers {list(wanted)}; found "
            f"{list(values.shape)}"
        )
    return values


def majority_baseline(
    task: Task, train_labels: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """The metrics of a prediction that is the same for all examples.

    It is the most frequent training class, the first of equals, the mean value, or all
    labels of a multi-label task that occur in training. No text has to be read for that F1,
    2p / (1 + p) of a label with the share p, and a model with thresholds for F1 that has
    learned nothing predicts all labels, too. The probabilities are the training
    frequencies. Shapes and errors are those of `score`.
    """
    train_labels = check_values(task, train_labels, "train_labels")
    labels = np.asarray(labels)
    frequencies = None
    if task.is_classification:
        counts = np.bincount(train_labels, minlength=task.num_outputs)
        constant = counts.argmax()
        frequencies = counts / len(train_labels)
    else:
        constant = train_labels.mean(axis=0)
        if task.kind == "multi_label":
            frequencies, constant = constant, (constant > 0).astype(np.int64)
    if frequencies is not None:
        frequencies = np.broadcast_to(frequencies, (len(labels), task.num_outputs))
    predictions = np.broadcast_to(constant, labels.shape)
    return score(task, predictions, labels, frequencies)
