"""Predicted probabilities or values of one text -> labels, a JSON object, or cells."""

import json
import math
from typing import Any

import numpy as np

from mtra_jax.tasks import DEFAULT_THRESHOLD, Task

DIGITS = 6
"""The least number of decimals of the numbers that are written."""


def answer(
    task: Task, outputs: np.ndarray, *, is_rounded: bool = True
) -> dict[str, Any]:
    """The prediction of a task from its `outputs` [d], see `prediction.in_units`.

    A classification has its `label` (None unless all outputs are finite), a multi-label
    task its `labels`, both with `probabilities`; a regression has `values`. `is_rounded`:
    to `DIGITS` decimals; values of a regression to as many of their deviation, or of
    themselves if they are small and the task has none.
    """
    numbers = [float(value) for value in outputs]
    shown = _rounded(task, numbers) if is_rounded else numbers
    figures = dict(zip(task.labels, shown, strict=True))
    if task.kind == "regression":
        return {"values": figures}
    if task.kind == "multi_label":
        thresholds = task.thresholds or (DEFAULT_THRESHOLD,) * task.num_outputs
        chosen = [
            name
            for name, value, least in zip(task.labels, numbers, thresholds, strict=True)
            if value >= least
        ]
        return {"labels": chosen, "probabilities": figures}
    is_sound = np.isfinite(outputs).all()
    label = task.labels[outputs.argmax()] if is_sound else None
    return {"label": label, "probabilities": figures}


def _rounded(task: Task, numbers: list[float]) -> list[float]:
    units = [1.0] * len(numbers)
    if task.kind == "regression":
        units = list(task.deviations) or [min(1.0, abs(x)) for x in numbers]
    pairs = zip(numbers, units, strict=True)
    return [round(x, _decimals(unit)) for x, unit in pairs]


def _decimals(unit: float) -> int:
    """Enough to tell a millionth of `unit`, and at least `DIGITS`."""
    exponent = math.floor(math.log10(unit)) if unit > 0 else 0
    return DIGITS - min(0, exponent)


def cells(task: Task, outputs: np.ndarray) -> dict[str, Any]:
    """The prediction of a task as the cells of a table, by the names of their columns.

    TASK holds the label, the labels, or the value. Labels are separated by commas, or a
    JSON list if one of the task has a comma; own tasks read both. TASK_probability
    is that of the label, TASK_LABEL that of each label of a multi-label task. A
    regression with several dimensions has TASK_DIMENSION for each.
    """
    answered, name = answer(task, outputs), task.name
    if task.kind == "regression":
        values = answered["values"]
        if len(values) == 1:
            return {name: next(iter(values.values()))}
        return {f"{name}_{dimension}": value for dimension, value in values.items()}
    probabilities = answered["probabilities"]
    if task.kind == "multi_label":
        each = {f"{name}_{label}": value for label, value in probabilities.items()}
        chosen = answered["labels"]
        is_list = any("," in label for label in task.labels)
        joined = json.dumps(chosen, ensure_ascii=False) if is_list else ",".join(chosen)
        return {name: joined, **each}
    label = answered["label"]
    return {
        name: "" if label is None else label,
        f"{name}_probability": probabilities.get(label, ""),
    }


def beside(columns: dict[str, Any], predicted: dict[str, Any]) -> dict[str, Any]:
    """`columns` and `predicted` in one row; a taken name gets `predicted_` before it.

    >>> beside({"text": "so good", "mood": "glad"}, {"mood": "sad"})
    {'text': 'so good', 'mood': 'glad', 'predicted_mood': 'sad'}
    """
    row = dict(columns)
    for name, value in predicted.items():
        while name in row:
            name = f"predicted_{name}"
        row[name] = value
    return row
