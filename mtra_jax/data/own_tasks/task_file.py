"""Own tasks, in a TOML file or as Python lists -> a benchmark and its examples.

`task_entries` describes the file, `tables` the formats of the data, `cells` what a
label may be, and `shares` how splits without data are cut from the training data.
"""

import dataclasses
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtra_jax.data.built_in import hub, sources
from mtra_jax.data.own_tasks import doubts, labelled, task_entries
from mtra_jax.data.own_tasks.labelled import Labelled
from mtra_jax.data.own_tasks.task_entries import Entry
from mtra_jax.data.splits import shares
from mtra_jax.data.splits.examples import SPLITS, Data, Examples, Splits
from mtra_jax.data.table_files import cells, tables
from mtra_jax.data.table_files.tables import Row
from mtra_jax.errors import InputError, caller_level, did_you_mean, shown
from mtra_jax.tasks import OWN, Benchmark, Task


def names(path: str | Path) -> tuple[str, ...]:
    """The names of the tasks in a TOML file; no data are read.

    Raises:
      InputError: as `task_entries.read`.
    """
    return tuple(task_entries.read(path))


def load(
    path: str | Path, names: Sequence[str] = (), splits: Sequence[str] = SPLITS
) -> Data:
    """Reads the tasks `names` of a TOML file, by default all, in the file's order.

    Labels that the file does not list are those of the training data: in the order of
    numbers if all are numbers, otherwise by code point. Warns of such a label that
    looks like a misspelling, and of test and validation texts that are training texts.

    Raises:
      InputError: as `task_entries.read`, `tables.rows` and `hub.open_splits`; a task or
        split is unknown; a cell does not fit its column; a label is not one of the
        task's; there is a single class; or a split is empty.
    """
    sources.check_splits(splits)
    entries = task_entries.read(path)
    for name in names:
        if name not in entries:
            raise InputError(
                f"{path}: unknown task {shown(name)}; {did_you_mean(name, entries)}"
            )
    tasks, read_splits = [], {}
    for name, entry in entries.items():
        if name in names or not names:
            task, read_splits[name] = _read(entry, None, splits)
            tasks.append(task)
            doubts.warn_of_shared_texts(entry, read_splits[name])
            if "train" in splits and not entry.task.labels:
                doubts.warn_of_doubtful_labels(entry, task, read_splits[name]["train"])
    return Data(Benchmark(OWN, tuple(tasks)), read_splits)


def read(
    path: str | Path, benchmark: Benchmark, splits: Sequence[str] = SPLITS
) -> Splits:
    """Reads splits of the tasks of `benchmark`, whose labels are known.

    Only the data of `splits` need to exist; a split that is a share of the training
    data needs these.

    Raises:
      InputError: as `load`; or the file has no such task, or one of another kind or
        with other columns.
    """
    sources.check_splits(splits)
    entries = task_entries.read(path)
    result: Splits = {}
    for task in benchmark.tasks:
        if task.name not in entries:
            raise InputError(
                f"{path}: no task {shown(task.name)}; "
                f"{did_you_mean(task.name, entries)}"
            )
        entry = entries[task.name]
        _check_same(entry, task)
        _, result[task.name] = _read(entry, task, splits)
    return result


def cut_off(path: str | Path, names: Iterable[str], split: str) -> list[str]:
    """A line for each of the tasks `names` whose `split` is a share of its training data.

    The line names the data and the key that makes all of them the split.

    Raises:
      InputError: as `read`.
    """
    entries = task_entries.read(path)
    lines = []
    for name in names:
        entry = entries[name]
        if split in entry.shares and not _source(entry).has(split):
            key, source = "splits", json.dumps(entry.splits.get("train", "train"))
            if entry.files:
                key, source = "files", _shown_paths(entry.files["train"], path)
            lines.append(
                f"{entry.place}: {name}: a share of {entry.shares[split]:g} of {source} "
                f"was split off for {split}; {key} = {{ {split} = {source} }} scores all "
                "of it"
            )
    return lines


def _shown_paths(paths: Sequence[Path], toml: str | Path) -> str:
    """The value of a key of `files`, relative to the TOML file."""
    names = [json.dumps(os.path.relpath(p, Path(toml).parent)) for p in paths]
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def examples(task: Task, pairs: Iterable[Any]) -> Examples:
    """Examples of a Python list of (text, label), or ((text, text), label) for pairs.

    `label`: the name of a class; the list of the names of a multi-label example's
    labels; or the number of a regression, or a list of its numbers.

    Raises:
      InputError: an example does not fit `task`, by its index; or `pairs` is empty.
    """
    read = [labelled.of_pair(task, index, pair) for index, pair in enumerate(pairs)]
    return labelled.stack(task, read, task.name)


def _check_same(entry: Entry, task: Task) -> None:
    own = entry.task
    for key in ("kind", "is_pair"):
        if getattr(own, key) != getattr(task, key):
            raise InputError(
                f"{entry.place}: {task.name}: {key} is {getattr(own, key)}; the task "
                f"was trained with {getattr(task, key)}"
            )
    if own.labels and own.labels != task.labels:
        raise InputError(
            f"{entry.place}: {task.name}: the labels are {shown(list(own.labels))}; "
            f"the task was trained with {shown(list(task.labels))}"
        )


# ---- one task


def _read(
    entry: Entry, task: Task | None, splits: Sequence[str]
) -> tuple[Task, dict[str, Examples]]:
    """The task with its labels, which are `task`'s if it is given, and its `splits`."""
    source = _source(entry)
    missing = [split for split in entry.shares if not source.has(split)]
    cut = [split for split in splits if split in missing]
    needs_train = "train" in splits or bool(cut)
    wanted = [split for split in splits if split not in (*missing, "train")]
    if cut and entry.files and "train" not in (*entry.files, *splits):
        raise InputError(f"{entry.place}: {entry.task.name}: no files of {cut[0]}")
    read = {split: list(source.read(split)) for split in wanted}
    labels = task.labels if task else source.labels
    if needs_train or not labels:
        read["train"] = list(source.read("train"))
    advice = "" if labels else "`labels` of the task lists labels that training lacks"
    if task is None:
        task = _resolved(entry, labels or labelled.names_in(read["train"]))
    stacked = {
        split: labelled.stack(
            task, part, f"{entry.place}: {entry.task.name}, {split}", advice
        )
        for split, part in read.items()
    }
    if needs_train and missing:
        chosen = {split: entry.shares[split] for split in missing}
        where = f"{entry.place}: {task.name}"
        stacked |= shares.cut(task, stacked["train"], chosen, entry.seed, where)
    return task, {split: stacked[split] for split in splits}


def _source(entry: Entry) -> "_Files | _Dataset":
    return _Files(entry) if entry.files else _Dataset(entry)


def _resolved(entry: Entry, labels: Sequence[str]) -> Task:
    task = dataclasses.replace(entry.task, labels=tuple(labels))
    if task.is_classification and len(labels) < 2:
        raise InputError(
            f"{entry.place}: {task.name}: the label of every training example is "
            f"{shown(labels[0]) if labels else 'missing'}; expected two classes or more"
        )
    if not labels:
        raise InputError(f"{entry.place}: {task.name}: no training example has a label")
    for name in entry.weights:
        if name not in labels:
            raise InputError(
                f"{entry.place}: {task.name}: class_weights of {shown(name)}; "
                f"{did_you_mean(name, labels)}"
            )
    if entry.weights:
        weights = tuple(entry.weights.get(label, 1.0) for label in labels)
        task = dataclasses.replace(task, class_weights=weights)
    return task


class _Files:
    """The splits of a task whose data are table files."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def has(self, split: str) -> bool:
        return split in self._entry.files

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that are known before the data are read; () for none."""
        return self._entry.task.labels

    def read(self, split: str) -> Iterator[Labelled]:
        entry = self._entry
        if split not in entry.files:
            raise InputError(f"{entry.place}: {entry.task.name}: no files of {split}")
        columns = entry.columns
        keys: list[tuple[Path, list[str]]] = []  # of files whose rows may lack columns
        there: set[str] = set()
        for path in entry.files[split]:
            has_keys = tables.has_keys(path, entry.format)
            rows = tables.read(
                path,
                entry.format,
                columns=entry.header,
                needs=columns.text if has_keys else columns.all,
                separator=entry.separator,
            )
            names = list(columns.label)  # those of other formats have been checked
            if has_keys:
                names = list(dict.fromkeys(key for row in rows for key in row.cells))
                keys.append((path, names))
                if not entry.skips_missing:
                    _check_keys(rows, names, entry)
            there.update(names)
            yield from _labelled(rows, entry, str(path))
        for path, names in keys:
            unknown = [name for name in columns.label if name not in there]
            tables.check_needed(names, unknown, path)
            try:
                tables.check_needed(names, columns.label, path)
            except InputError as error:
                warnings.warn(
                    f"{error}; other files of {split} have it",
                    stacklevel=caller_level(),
                )


def _check_keys(rows: Iterable[Row], names: Sequence[str], entry: Entry) -> None:
    """Raises InputError if a row lacks the key of a label; `names`: those of all rows."""
    label = entry.columns.label
    can_skip = set(label) <= set(names)
    advice = f'; expected it, or missing = "{task_entries.SKIP}"' if can_skip else ""
    for row in rows:
        tables.check_needed(row.cells, label, row.place, advice)


class _Dataset:
    """The splits of a task whose data `datasets` reads."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._splits: Mapping[str, Any] = hub.open_splits(entry.dataset, entry.config)
        for split, name in entry.splits.items():
            if name not in self._splits:
                raise InputError(
                    f"{entry.place}: {self._name} has no split {shown(name)} for "
                    f"{split}; found {', '.join(self._splits)}"
                )

    @property
    def _name(self) -> str:
        return "/".join(filter(None, (self._entry.dataset, self._entry.config)))

    def has(self, split: str) -> bool:
        name = self._entry.splits.get(split, split)
        return name in self._splits and split not in self._entry.cut

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that are known before the data are read; () for none."""
        listed = self._entry.task.labels
        if listed or not self._named or not self.has("train"):
            return listed
        train = self._splits[self._entry.splits.get("train", "train")]
        return tuple(
            cells.class_name(name, self._named[0], self._name)
            for name in hub.class_names(train, self._named[0])
        )

    @property
    def _named(self) -> tuple[str, ...]:
        """The columns whose numbers may have names."""
        has_numbers = self._entry.task.kind == "regression"
        columns = self._entry.columns
        return () if has_numbers or columns.has_flags else columns.label

    def read(self, split: str) -> Iterator[Labelled]:
        entry = self._entry
        name = entry.splits.get(split, split)
        if name not in self._splits:
            raise InputError(
                f"{entry.place}: {self._name} has no split {shown(name)}; "
                f"found {', '.join(self._splits)}"
            )
        where = f"{self._name}, {name}"
        data = self._splits[name]
        rows = hub.rows(data, entry.columns.all, self._named, where)
        yield from _labelled(rows, entry, where)


def _labelled(rows: Iterable[Row], entry: Entry, where: str) -> Iterator[Labelled]:
    """The examples in `rows` of `where`, without those that `missing` leaves out."""
    kind, columns = entry.task.kind, entry.columns
    num_skipped = 0
    for row in rows:
        column = labelled.missing_label(row, kind, columns)
        if column and entry.skips_missing:
            num_skipped += 1
            continue
        try:
            yield labelled.of_row(row, kind, columns)
        except InputError as error:
            advice = f', or missing = "{task_entries.SKIP}"' if column else ""
            raise InputError(f"{error}{advice}") from error
    if num_skipped:
        count = "1 row" if num_skipped == 1 else f"{num_skipped} rows"
        warnings.warn(
            f"{where}: {count} without a label of {entry.task.name} left out",
            stacklevel=caller_level(),
        )
