"""The columns of rows and the predictions for them -> JSON lines, CSV or TSV, printed."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mtra_jax import files
from mtra_jax.reports.predicted import answers
from mtra_jax.tasks import Task

Outputs = Mapping[str, np.ndarray]
"""The outputs [d] of each task for one row, see `prediction.in_units`."""


class Rows(Protocol):
    """Prints rows, each with its predictions."""

    def write(self, columns: dict[str, Any], outputs: Outputs) -> None:
        """Prints the row with these `columns`."""

    def end(self, header: Sequence[str]) -> None:
        """Is called after the last row. `header`: the columns of CSV and TSV."""


class JsonLines:
    """An object a row.

    `is_bare`: only the prediction of the one task. `taken`: names of columns of any row: a
    prediction has the same key in all rows, also where a row lacks the column.
    """

    def __init__(
        self, tasks: Sequence[Task], *, is_bare: bool = False, taken: Iterable[str] = ()
    ) -> None:
        self._tasks, self._is_bare = tasks, is_bare
        self._taken = dict.fromkeys(taken)

    def write(self, columns: dict[str, Any], outputs: Outputs) -> None:
        predicted = {
            task.name: answers.answer(task, outputs[task.name]) for task in self._tasks
        }
        if self._is_bare:
            record = predicted[self._tasks[0].name]
        else:
            self._taken.update(columns)
            both = answers.beside(self._taken, predicted)
            added = {
                key: value for key, value in both.items() if key not in self._taken
            }
            record = columns | added
        line = json.dumps(files.plain(record), ensure_ascii=False, default=str)
        sys.stdout.write(f"{line}\n")

    def end(self, header: Sequence[str]) -> None:
        del header


class Table:
    """CSV or TSV, with a line of names first, also if there is no row.

    `delimiter`: between the cells. `has_mark`: whether it begins with a byte-order mark.
    """

    def __init__(
        self, tasks: Sequence[Task], delimiter: str, *, has_mark: bool = False
    ) -> None:
        self._tasks, self._has_mark = tasks, has_mark
        self._rows = csv.writer(
            sys.stdout, delimiter=delimiter, lineterminator="\n"
        ).writerow
        self._has_names = False

    def write(self, columns: dict[str, Any], outputs: Outputs) -> None:
        row = columns
        for task in self._tasks:  # columns of two tasks may have the same name
            row = answers.beside(row, answers.cells(task, outputs[task.name]))
        self._write_names(row)
        self._rows(row.values())

    def end(self, header: Sequence[str]) -> None:
        row: dict[str, Any] = dict.fromkeys(header)
        for task in self._tasks:
            nothing = answers.cells(task, np.full(task.num_outputs, np.nan))
            row = answers.beside(row, nothing)
        self._write_names(row)

    def _write_names(self, names: Iterable[str]) -> None:
        if not self._has_names:
            sys.stdout.write("\ufeff" if self._has_mark else "")
            self._rows(names)
            self._has_names = True
