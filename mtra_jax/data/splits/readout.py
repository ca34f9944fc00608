"""Outputs of a task's head -> probabilities, and predictions in the user's unit.

Outputs are float32. Probabilities and units are computed in float64, so that a large mean
costs no digits of a prediction.
"""

import numpy as np

from mtra_jax.tasks import DEFAULT_THRESHOLD, Task


def probabilities(task: Task, outputs: np.ndarray) -> np.ndarray | None:
    """Returns the probability of each class or label: float64 [N, d]; None in regression.

    `outputs`: [N, d]. The rows of classes add up to 1; labels are independent.
    """
    if task.kind == "regression":
        return None
    of_kind = class_probabilities if task.is_classification else label_probabilities
    return of_kind(outputs)


def class_probabilities(outputs: np.ndarray) -> np.ndarray:
    """Returns the softmax of each row: float64 [N, C]."""
    outputs = outputs.astype(np.float64)
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def label_probabilities(outputs: np.ndarray) -> np.ndarray:
    """Returns the logistic function of each output: float64 [N, D]."""
    outputs = outputs.astype(np.float64)
    powers = np.exp(-np.abs(outputs))  # of a positive number it could overflow
    return np.where(outputs >= 0, 1.0, powers) / (1 + powers)


def predictions(task: Task, outputs: np.ndarray) -> np.ndarray:
    """Returns the predictions of outputs [N, d].

    Class ids, int64 [N]; 1 for each label whose probability reaches its threshold and 0
    for the others, int64 [N, d]; or values [N, d] in the user's unit: float64 for a
    standardised task, the outputs themselves for another.
    """
    if task.is_classification:
        return outputs.argmax(axis=1)
    if task.kind == "multi_label":
        thresholds = np.array(task.thresholds or DEFAULT_THRESHOLD)
        return (label_probabilities(outputs) >= thresholds).astype(np.int64)
    if task.means:
        return outputs.astype(np.float64) * task.deviations + task.means
    return outputs
