"""Examples of own tasks -> warnings about shared texts and doubtful labels."""

import itertools
import warnings
from collections.abc import Mapping

from mtra_jax.data.own_tasks import spelling
from mtra_jax.data.own_tasks.task_entries import Entry
from mtra_jax.data.splits import shared_texts
from mtra_jax.data.splits.examples import Examples
from mtra_jax.errors import caller_level
from mtra_jax.tasks import Task

_MOST_WARNINGS = 3  # of misspelt labels, for each task


def warn_of_shared_texts(entry: Entry, splits: Mapping[str, Examples]) -> None:
    """Warns if test or validation texts of a task are training texts, too."""
    if line := shared_texts.line(splits):
        warnings.warn(
            f"{entry.place}: {entry.task.name}: {line}", stacklevel=caller_level()
        )


def warn_of_doubtful_labels(entry: Entry, task: Task, train: Examples) -> None:
    """Warns of labels that look like missing values, lists, or misspellings."""
    what = "class" if task.is_classification else "label"
    counts = train.label_counts(task)
    doubts = [
        f"{what} {name} of {task.name} has {counts[name]} training examples; is it a "
        "missing value? labels = [...] makes it an error"
        for name in spelling.missing_values(counts)
    ]
    if task.is_classification and spelling.are_measurements(counts):
        doubts.append(
            f"the {len(counts)} classes of {task.name} are numbers; are they measurements? "
            'kind = "regression" predicts numbers'
        )
    separator = "" if entry.columns.separator else spelling.separator_in(counts)
    if separator and task.kind == "multi_label":
        doubts.append(
            f"labels of {task.name} such as "
            f"{next(name for name in counts if separator in name)} look like several; "
            f'label_separator = "{separator}" divides them'
        )
    for doubt in doubts:
        warnings.warn(f"{entry.place}: {doubt}", stacklevel=caller_level())
    for name, other in itertools.islice(spelling.same_numbers(counts), _MOST_WARNINGS):
        warnings.warn(
            f"{entry.place}: {what} {name} of {task.name} has {counts[name]} training "
            f"examples, {other} has {counts[other]}; are they one {what}?",
            stacklevel=caller_level(),
        )
    for name, other in itertools.islice(spelling.suspects(counts), _MOST_WARNINGS):
        plural = "" if counts[name] == 1 else "s"
        warnings.warn(
            f"{entry.place}: {what} {name} of {task.name} has {counts[name]} training "
            f"example{plural}; did you mean {other}? labels = [...] makes a misspelling "
            "an error",
            stacklevel=caller_level(),
        )
