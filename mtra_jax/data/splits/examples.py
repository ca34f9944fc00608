"""Texts and labels of one split of a task, as every reader returns them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtra_jax.data.splits import texts
from mtra_jax.errors import InputError
from mtra_jax.tasks import Benchmark, Task

SPLITS = ("train", "validation", "test")

Rows = list[tuple[str, Any]]
"""Pairs of a raw text and its label: a class id, or a list of values."""


LABEL_TYPES: dict[str, type] = {
    "classification": np.int32,
    "multi_label": np.float32,
    "regression": np.float64,  # a large mean would leave few digits of float32
}
"""The type of `Examples.labels`, by the kind of the task."""


class Examples(NamedTuple):
    """One split of one task, in the order of its files.

    `texts`: N strings. `labels`: class ids, int32 [N]; values, float64 [N, D]; or 0 and 1
    for each label of a multi-label task, float32 [N, D].
    `targets`: for StanceEval, (target, number of examples) in the order of the examples;
    they divide the predictions into the leaderboard's five files. Empty for other tasks.
    `second_texts`: N strings for a task of pairs of texts; empty for other tasks.
    """

    texts: list[str]
    labels: np.ndarray
    targets: tuple[tuple[str, int], ...] = ()
    second_texts: Sequence[str] = ()

    def label_counts(self, task: Task) -> dict[str, int]:
        """The number of examples of each class or label of `task`; {} for regression."""
        if task.kind == "regression":
            return {}
        if task.is_classification:
            counts = np.bincount(self.labels, minlength=task.num_outputs)
        else:
            counts = self.labels.sum(axis=0)
        return dict(zip(task.labels, map(int, counts), strict=True))


Splits = dict[str, dict[str, Examples]]
"""task name -> split -> examples"""


class Data(NamedTuple):
    """Tasks with the labels of their training data, and the examples of their splits."""

    benchmark: Benchmark
    splits: Splits

    def select(self, names: Sequence[str]) -> "Data":
        """Only the tasks `names`, in the order of the benchmark."""
        benchmark = self.benchmark.select(names)
        splits = {name: self.splits[name] for name in benchmark.task_names}
        return Data(benchmark, splits)


def make_examples(
    rows: Rows,
    task: Task,
    where: str | Path,
    targets: tuple[tuple[str, int], ...] = (),
) -> Examples:
    """Stacks (raw text, label) pairs.

    Raises:
      InputError: `rows` is empty; the message begins with `where`.
    """
    if not rows:
        raise InputError(f"{where}: no example of {task.title}; expected at least one")
    raw, labels = zip(*rows, strict=True)
    normalized = [texts.normalize(text) for text in raw]
    return Examples(normalized, np.asarray(labels, LABEL_TYPES[task.kind]), targets)


def none_of(task: Task) -> Examples:
    """No example of `task`."""
    shape = (0,) if task.is_classification else (0, task.num_outputs)
    return Examples([], np.zeros(shape, LABEL_TYPES[task.kind]))


def take(part: Examples, rows: np.ndarray) -> Examples:
    """The examples at the sorted `rows`, with the number of each target that remains."""
    names, sizes = [name for name, _ in part.targets], [n for _, n in part.targets]
    places = np.searchsorted(np.cumsum(sizes), rows, side="right")
    counts: Iterable[int] = np.bincount(places, minlength=len(names)) if names else ()
    targets = tuple((name, int(n)) for name, n in zip(names, counts, strict=True))
    second_texts = [part.second_texts[i] for i in rows] if part.second_texts else ()
    chosen = [part.texts[i] for i in rows]
    return Examples(chosen, part.labels[rows], targets, second_texts)
