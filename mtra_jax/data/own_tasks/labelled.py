"""Rows of a table, or pairs of a Python list -> texts and labels of a task.

Labels go by their names until `stack` turns them into ids, so the training data can
decide which labels there are.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtra_jax.data.splits import texts
from mtra_jax.data.splits.examples import LABEL_TYPES, Examples
from mtra_jax.data.table_files import cells
from mtra_jax.data.table_files.tables import Row
from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.tasks import Kind, Task


class Columns(NamedTuple):
    """Where a row has its texts and its label.

    `text`: one column, or two for a pair. `label`: one column; or, for regression, one
    for each dimension. `has_flags`: the columns of a multi-label task hold 0 and 1, one for
    each label. `separator`: divides the labels of a cell, see `cells.label_names`.
    """

    text: tuple[str, ...]
    label: tuple[str, ...]
    has_flags: bool = False
    separator: str = ""

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.text + self.label))


class Labelled(NamedTuple):
    """One example, read but without ids.

    `texts`: one, or two of a pair. `label`: the name of a class; the values of a
    regression; or the names of the labels of a multi-label task.
    """

    place: str
    texts: tuple[str, ...]
    label: str | list[float] | list[str]


def of_row(row: Row, kind: Kind, columns: Columns) -> Labelled:
    """The example in a row.

    Raises:
      InputError: a text or label that does not fit, with its place, column and value.
    """
    values = [row.cells[name] for name in columns.label]
    pairs = list(zip(columns.label, values, strict=True))
    label: str | list[float] | list[str]
    if kind == "classification":
        if isinstance(values[0], list):
            raise InputError(
                f"{row.place}: {columns.label[0]} {shown(values[0])}; expected a label; "
                'kind = "multi_label" takes lists of them'
            )
        label = cells.class_name(values[0], columns.label[0], row.place)
    elif kind == "regression":
        label = [cells.number(value, name, row.place) for name, value in pairs]
    elif columns.has_flags:
        label = [name for name, value in pairs if cells.flag(value, name, row.place)]
    else:
        separator, name = columns.separator, columns.label[0]
        label = cells.label_names(values[0], separator, name, row.place)
    parts = [cells.text(row.cells[name], name, row.place) for name in columns.text]
    return Labelled(row.place, tuple(map(texts.normalize, parts)), label)


def missing_label(row: Row, kind: Kind, columns: Columns) -> str:
    """The first label column whose cell is empty, null, NaN or not there; "" for none.

    The text NaN is a class or a label, but neither a number nor a flag.
    """
    is_missing = cells.is_missing
    if kind == "regression" or columns.has_flags:
        is_missing = cells.is_not_a_number
    return next((x for x in columns.label if is_missing(row.cells.get(x))), "")


def of_pair(task: Task, index: int, pair: Any) -> Labelled:
    """The example number `index` of a list of (text, label).

    Raises:
      InputError: it does not fit `task`.
    """
    place = f"{task.name}, example [{index}]"
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise InputError(f"{place}: {shown(pair)}; expected (text, label)")
    content, value = pair
    parts = content if task.is_pair else (content,)
    if not isinstance(parts, list | tuple) or len(parts) != 1 + task.is_pair:
        raise InputError(f"{place}: text {shown(content)}; expected a pair of texts")
    names = ("first text", "second text") if task.is_pair else ("text",)
    columns = Columns(names, ("label",))
    values: Sequence[Any] = [value]
    if task.kind == "regression":
        columns = Columns(names, task.labels)
        if isinstance(value, np.ndarray):
            value = value.tolist()
        values = value if isinstance(value, list | tuple) else [value]
        if len(values) != task.num_outputs:
            raise InputError(
                f"{place}: {len(values)} values; expected {task.num_outputs}: "
                f"{', '.join(task.labels)}"
            )
    row = dict(zip((*names, *columns.label), (*parts, *values), strict=True))
    return of_row(Row(place, row), task.kind, columns)


def names_in(examples: Iterable[Labelled]) -> tuple[str, ...]:
    """The names of the classes or labels that `examples` have, in order."""
    names: set[str] = set()
    for example in examples:
        label = example.label
        names |= {label} if isinstance(label, str) else set(map(str, label))
    return cells.in_order(names)


def check_labels(task: Task) -> None:
    """Checks the names of the outputs of a task that a caller made.

    Raises:
      InputError: there is no name, two are equal, or one is not a name as `cells` reads it.
    """
    if not task.labels:
        raise InputError(f"task {task.name}: no labels; expected their names")
    names = set()
    for name in task.labels:
        if not isinstance(name, str):
            raise InputError(
                f"task {task.name}: label {shown(name)}; expected a text, as {str(name)!r}"
            )
        read = cells.class_name(name, "label", f"task {task.name}")
        if read != name:
            raise InputError(
                f"task {task.name}: label {shown(name)}; expected {read!r}, as labels "
                "are read"
            )
        if name in names:
            raise InputError(f"task {task.name}: label {shown(name)} is there twice")
        names.add(name)


def stack(
    task: Task, examples: Sequence[Labelled], where: str, advice: str = ""
) -> Examples:
    """The arrays of `examples`, with the ids of the labels of `task`.

    `advice` ends the message about a label that is unlike all of the task's.

    Raises:
      InputError: a label is not one of the task's; or `examples` is empty, and the
        message begins with `where`.
    """
    if not examples:
        raise InputError(f"{where}: no example of {task.title}; expected at least one")
    ids = {name: number for number, name in enumerate(task.labels)}
    dtype = LABEL_TYPES[task.kind]
    labels: np.ndarray
    if task.kind == "regression":
        labels = np.asarray([example.label for example in examples], dtype)
    elif task.kind == "classification":
        labels = np.asarray(
            [_ids(x, [x.label], ids, advice)[0] for x in examples], dtype
        )
    else:
        labels = np.zeros((len(examples), task.num_outputs), dtype)
        for row, example in enumerate(examples):
            labels[row, _ids(example, example.label, ids, advice)] = 1.0
    columns = list(zip(*(example.texts for example in examples), strict=True))
    second = list(columns[1]) if task.is_pair else ()
    return Examples(list(columns[0]), labels, second_texts=second)


def _ids(
    example: Labelled, names: Iterable[Any], ids: Mapping[str, int], advice: str
) -> list[int]:
    for name in names:
        if name not in ids:
            hint = did_you_mean(name, ids)
            hint = hint if hint.endswith("?") and len(hint) <= 100 else advice
            raise InputError(
                f"{example.place}: label {shown(name)} is not one of the "
                f"{len(ids)} labels {_listed(ids)}{hint and f'; {hint}'}"
            )
    return [ids[name] for name in names]


def _listed(ids: Mapping[str, int]) -> str:
    """The first labels, as many as fit on a line."""
    text = ", ".join(ids)
    return f"({text})" if len(text) <= 100 else f"({text[:100]} …)"
