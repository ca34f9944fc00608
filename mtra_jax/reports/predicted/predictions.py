"""Predictions -> files in the layout of the TweetEval leaderboard, and back.

`DIR/emotion.txt` and so on hold one label id a line, in the order of the test file.
Stance has one file for each target: `DIR/stance/abortion.txt` and so on. A regression
task has one value a line, in the unit of its labels, or several separated by tabs. A
multi-label task has the ids of an example's labels, separated by commas; the line of an
example without labels is empty. The official evaluation script reads this layout.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtra_jax import files, metrics
from mtra_jax.errors import InputError, shown
from mtra_jax.tasks import Task

_INTEGER = re.compile(r"[+-]?[0-9]+")
# Numbers as in C; `float` would also accept "1_000" and digits of other scripts.
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def write_predictions(
    directory: str | os.PathLike,
    task: Task,
    predictions: np.ndarray,
    target_sizes: Mapping[str, int] | None = None,
) -> None:
    """Writes the predictions of a task; each file appears complete.

    `predictions`: class ids, int [N]; values, float [N, D]; or 0 and 1 for each label
    of a multi-label task, [N, D]. `target_sizes`: the number of examples of each
    target, in the order of the examples; each target becomes a file. Without it the
    task is one file. Reading the values back as float64 gives exactly the same numbers,
    hence the same figures.

    Raises:
      ValueError: the predictions are invalid, or the sizes do not add up to N.
    """
    predictions = metrics.check_values(task, predictions, "predictions")
    lines = (f"{line}\n" for line in _format(task, predictions))
    for path, size in _files(directory, task, len(predictions), target_sizes):
        files.write_text(path, "".join(itertools.islice(lines, size)))


def read_predictions(
    directory: str | os.PathLike,
    task: Task,
    num_examples: int,
    target_sizes: Mapping[str, int] | None = None,
) -> np.ndarray:
    """Class ids, int64 [N]; values, float64 [N, D]; or 0 and 1 a label, int64 [N, D].

    N is `num_examples`. `target_sizes`: as in `write_predictions`. A byte-order mark, CRLF
    and a last line without a line feed are accepted.

    Raises:
      InputError: a file is missing, has another number of lines or columns, or holds
        something other than label ids of the task, or finite numbers; or a line names a
        label twice.
    """
    rows = []
    for path, size in _files(directory, task, num_examples, target_sizes):
        lines = _lines(path, task, size)
        rows += [
            _parse(task, line, f"{path}:{number}")
            for number, line in enumerate(lines, start=1)
        ]
    return np.array(rows, np.float64 if task.kind == "regression" else np.int64)


def score_predictions(
    directory: str | os.PathLike,
    tasks: Iterable[Task],
    labels: Mapping[str, np.ndarray],
    targets: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, Any]:
    """The figures of a directory of prediction files, as one split of results.json.

    `labels`: gold labels by task name. `targets`: by task name, the `target_sizes` of
    `read_predictions`, whose InputError passes through.
    """
    tasks = tuple(tasks)
    scores = {}
    for task in tasks:
        gold, sizes = labels[task.name], (targets or {}).get(task.name)
        predictions = read_predictions(directory, task, len(gold), sizes)
        scores[task.name] = metrics.score(task, predictions, gold)
    return metrics.summarize(scores, tasks)


def _files(
    directory: str | os.PathLike,
    task: Task,
    num_examples: int,
    target_sizes: Mapping[str, int] | None,
) -> list[tuple[Path, int]]:
    """The files of a task and the number of lines in each."""
    directory = Path(directory)
    if not target_sizes:
        return [(directory / f"{task.name}.txt", num_examples)]
    if sum(target_sizes.values()) != num_examples:
        raise ValueError(
            f"{task.name}: `target_sizes` must add up to {num_examples} examples; "
            f"found {dict(target_sizes)}"
        )
    return [
        (directory / task.name / f"{target}.txt", size)
        for target, size in target_sizes.items()
    ]


def _format(task: Task, predictions: np.ndarray) -> Iterator[str]:
    """Yields the line of each example."""
    if task.kind == "multi_label":
        for row in predictions:
            yield ",".join(map(str, np.flatnonzero(row).tolist()))
    else:
        for row in predictions.reshape(len(predictions), -1).tolist():
            yield "\t".join(map(repr, row))


def _lines(path: Path, task: Task, num_lines: int) -> list[str]:
    try:
        if path.is_fifo():
            raise InputError(f"{path}: a pipe; expected a file of {num_lines} lines")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; expected {num_lines} lines, the predictions "
            f"of {task.name}"
        ) from error
    text = files.decode(content, path, " text")
    lines = text.removesuffix("\n").split("\n") if text else []
    if len(lines) != num_lines:
        # Names the first line that is missing or surplus.
        raise InputError(
            f"{path}:{min(len(lines), num_lines) + 1}: found {len(lines)} lines; "
            f"expected {num_lines}, one a test example of {task.name}"
        )
    return lines


def _parse(task: Task, line: str, place: str) -> int | list[int] | list[float]:
    if task.is_classification:
        return _label(task, line.strip(), place)
    if task.kind == "multi_label":
        return _label_set(task, line.strip(), place)
    fields = line.strip().split("\t")
    if len(fields) != task.num_outputs:
        raise InputError(
            f"{place}: found {len(fields)} tab-separated values; expected "
            f"{task.num_outputs} ({', '.join(task.labels)})"
        )
    return [_value(field.strip(), place) for field in fields]


def _label(task: Task, field: str, place: str) -> int:
    if _INTEGER.fullmatch(field) and len(field) < 20:
        label = int(field)
        if 0 <= label < task.num_outputs:
            return label
    raise InputError(
        f"{place}: found {shown(field)}; expected a label id from 0 to "
        f"{task.num_outputs - 1}"
    )


def _label_set(task: Task, line: str, place: str) -> list[int]:
    """The 0 and 1 of each label, from label ids separated by commas."""
    ids = [_label(task, field.strip(), place) for field in line.split(",") if line]
    if len(set(ids)) < len(ids):
        raise InputError(f"{place}: found {shown(line)}; expected each label id once")
    return [int(label in ids) for label in range(task.num_outputs)]


def _value(field: str, place: str) -> float:
    # Larger values would overflow in the correlations; no model writes them.
    if _FLOAT.fullmatch(field) and abs(value := float(field)) <= _FLOAT32_MAX:
        return value
    raise InputError(f"{place}: found {shown(field)}; expected a finite number")
