"""A TOML file of tasks -> one checked `Entry` for each of its tables; no data are read.

```toml
[reviews]                       # the name of the task
kind = "classification"         # or "regression", "multi_label"
title = "Reviews"               # of tables; by default the name
text = "body"                   # a column; or two: ["premise", "hypothesis"]
label = "sentiment"             # a column; see below
labels = ["bad", "good"]        # in this order; by default those of the training data
metrics = ["accuracy", "macro_f1"]
files = { train = "reviews.csv", validation = "dev.csv", test = ["a.csv", "b.csv"] }
shares = { validation = 0.1, test = 0.1 }  # of train, for splits without files
seed = 0                        # of the choice of these shares
class_weights = "balanced"      # or "none", or { good = 1.0, bad = 3.0 }
label_smoothing = 0.1
```

`label`: a column of class names; for regression a column or several, one for each
dimension; for multi-label a column of lists of names, or a list of columns of 0 and 1.
`label_separator` divides the names in a text. `missing = "skip"` leaves out rows without a
label, as of a table that several tasks label in part; by default they are errors, but an
empty cell of a multi-label column means none of the labels. JSON lines may lack the key
of the label, and a number may be the text NaN. Paths are relative
to the TOML file; `files` may be those of train alone. `format` is that of files with
another suffix (csv, tsv, jsonl, parquet), `columns` has the names of the columns of CSV
and TSV files whose first line is a row, and `separator` is the sign between the columns
of CSV, by default a comma.

In place of `files`: `dataset`, a directory that `datasets` reads or a name on the hub,
with `config` and the names of its splits, `splits = { validation = "dev" }`. A share
that is written down is cut from train even if the data set has such a split.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from mtra_jax.data.own_tasks import toml_tables
from mtra_jax.data.own_tasks.labelled import Columns
from mtra_jax.data.own_tasks.toml_tables import Table
from mtra_jax.data.splits.examples import SPLITS
from mtra_jax.data.table_files import cells, delimited
from mtra_jax.data.table_files.tables import FORMATS
from mtra_jax.errors import InputError, check_name, did_you_mean, shown
from mtra_jax.tasks import Kind, Task

KEYS = (
    *("kind", "title", "text", "label", "labels", "label_separator", "metrics"),
    *("files", "format", "columns", "dataset", "config", "splits", "shares", "seed"),
    *("separator", "class_weights", "label_smoothing", "missing"),
)
METRICS = {
    "classification": ("macro_f1", "accuracy"),
    "regression": ("pearson", "rmse"),
    "multi_label": ("macro_f1", "micro_f1"),
}
"""kind -> the metrics of a task that names none"""
SKIP = "skip"
"""The value of `missing` that leaves rows without a label out."""
SHARE = 0.1
"""The share of the training data of a split that has neither data nor a share."""

# Names are directories, parts of lists separated by commas, and of TASK/METRIC.
_NAME = re.compile(r"\w[\w-]*")
_LONGEST_NAME = 60
_KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
# The mean over tasks, beside them in results, and directories of a run.
_RESERVED = ("avg", "checkpoints", "encoder", "predictions", "tensorboard")


class Entry(NamedTuple):
    """One task of the file.

    `place`: file and line of its table. `task`: without `labels` where they are read
    from the data. `weights`: of classes by their names. `files`: split -> paths; empty
    if the data are `dataset`, with `splits` as split -> its name there. `shares`: of the
    training data, for each split that may have to be cut from them; those in `cut` are
    cut even if `dataset` has such a split. `separator`: of CSV; "" for a comma.
    `skips_missing`: rows without a label are left out.
    """

    place: str
    task: Task
    columns: Columns
    files: dict[str, tuple[Path, ...]]
    format: str
    header: tuple[str, ...]
    dataset: str
    config: str
    splits: dict[str, str]
    shares: dict[str, float]
    cut: tuple[str, ...]
    seed: int
    weights: dict[str, float]
    separator: str = ""
    skips_missing: bool = False


def read(path: str | Path) -> dict[str, Entry]:
    """The entries of a TOML file by the names of their tasks, in the file's order.

    Raises:
      InputError: the file cannot be read, is not TOML, has no task, or a key is
        unknown, missing or has a wrong value. The message is one line with file and
        line.
    """
    path = Path(path)
    if path.suffix.lower().removeprefix(".") in FORMATS and path.is_file():
        raise InputError(f"{path}: expected a TOML file that describes tasks, not data")
    text, values = toml_tables.read(path)
    if not values:
        raise InputError(f"{path}: no task; expected a table [NAME] for each task")
    entries = {
        name: _entry(Table(path, text, name, _checked(path, text, name, table)))
        for name, table in values.items()
    }
    check_different(entries, lambda name: f"{toml_tables.place(path, text, name)}: ")
    return entries


def check_different(names: Iterable[str], where: Callable[[str], str]) -> None:
    """Raises InputError if two names are one file on a disk that ignores case.

    `where(name)` begins the message.
    """
    lower: dict[str, str] = {}
    for name in names:
        other = lower.setdefault(name.lower(), name)
        if other != name:
            raise InputError(
                f"{where(name)}the names {other} and {name} differ in case alone; some "
                "disks have one file for both"
            )


def check_task_name(name: object, what: str) -> None:
    """Raises InputError about `what` unless `name` may name a task, and a directory."""
    is_text = isinstance(name, str) and _NAME.fullmatch(name)
    if not is_text or len(str(name)) > _LONGEST_NAME or name in _RESERVED:
        raise InputError(
            f"{what} {shown(name)}; expected at most {_LONGEST_NAME} letters, digits, "
            f"'_' and '-', not '-' first, and none of {', '.join(_RESERVED)}"
        )


def _checked(path: Path, text: str, name: str, table: Any) -> dict[str, Any]:
    place = toml_tables.place(path, text, name)
    if not isinstance(table, dict):
        raise InputError(
            f"{place}: {name} is {shown(table)}; expected a table [NAME] for each task"
        )
    check_task_name(name, f"{place}: the task's name is")
    for key in table:
        if key not in KEYS:
            place = toml_tables.place(path, text, name, key)
            hint = did_you_mean(key, KEYS)
            raise InputError(f"{place}: {name} has an unknown key {shown(key)}; {hint}")
    return table


def _entry(table: Table) -> Entry:
    place = table.place()
    kind = _KINDS[table.choice("kind", _KINDS, "classification")]
    text = table.strings("text", ("text",))
    if len(text) > 2:
        raise table.fault("text", "one column, or a pair of them")
    columns = _columns(table, kind, text)
    paths = _paths(table)
    seed = table.values.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise table.fault("seed", "a whole number from 0 to 4294967295")
    title = table.string("title", table.name)
    check_name(title, f"{place}: title")
    weights = _weights(table, kind)
    smoothing = table.values.get("label_smoothing")
    if smoothing is not None:
        if type(smoothing) not in (int, float) or not 0 <= smoothing < 1:
            raise table.fault("label_smoothing", "a number from 0 to less than 1")
        smoothing = float(smoothing)
    is_flagged = columns.has_flags or kind == "regression"
    task = Task(
        table.name,
        title,
        kind,
        columns.label if is_flagged else _labels(table, kind),
        table.strings("metrics", METRICS[kind]),
        is_pair=len(text) == 2,
        class_weights="" if isinstance(weights, dict) else weights,
        label_smoothing=smoothing,
    )
    return Entry(
        place,
        task,
        columns,
        paths,
        table.choice("format", FORMATS, ""),
        table.strings("columns"),
        *_dataset(table),
        _shares(table, paths),
        tuple(table.values.get("shares", ())),
        seed,
        weights if isinstance(weights, dict) else {},
        _separator(table),
        table.choice("missing", ("error", SKIP), "error") == SKIP,
    )


def _separator(table: Table) -> str:
    """The sign between the columns of CSV; "" for a comma."""
    value = table.string("separator")
    if value and not delimited.is_separator(value):
        raise table.fault("separator", 'one sign, such as ";"')
    return value


def _columns(table: Table, kind: str, text: tuple[str, ...]) -> Columns:
    label = table.strings("label", ("label",))
    has_flags = kind == "multi_label" and isinstance(table.values.get("label"), list)
    if len(label) > 1 and kind == "classification":
        raise table.fault("label", "one column")
    separator = table.string("label_separator")
    if separator and (kind != "multi_label" or has_flags):
        raise table.fault("label_separator", "it for one column of several labels only")
    if "labels" in table.values and (kind == "regression" or has_flags):
        raise table.fault("labels", "none: the columns in `label` name the outputs")
    for name in label:
        check_name(name, f"{table.place('label')}: label")
    return Columns(text, label, has_flags, separator)


def _labels(table: Table, kind: str) -> tuple[str, ...]:
    """The listed labels; () where they are read from the data."""
    value = table.values.get("labels", [])
    least = 2 if kind == "classification" else 1
    place = table.place("labels")
    if not isinstance(value, list):
        raise table.fault("labels", "a list of labels")
    names = [cells.class_name(item, "labels", place) for item in value]
    if "labels" in table.values and (len(names) < least or len({*names}) < len(names)):
        raise table.fault("labels", f"a list of different labels, at least {least}")
    return tuple(names)


def _weights(table: Table, kind: str) -> str | dict[str, float]:
    """The weights by the names of the classes, "none", "balanced", or "" for no key."""
    key = "class_weights"
    for name in (key, "label_smoothing"):
        if name in table.values and kind != "classification":
            raise table.fault(name, f"it for classification only; the kind is {kind}")
    value = table.values.get(key, "")
    if key not in table.values or value in ("none", "balanced"):
        return value
    if not isinstance(value, dict) or not value:
        raise table.fault(key, '"none", "balanced" or a table { LABEL = WEIGHT }')
    place = table.place(key)
    return {
        cells.class_name(name, key, place): table.number(
            key, weight, 0, 1e9, "weights above 0 and below 1e9"
        )
        for name, weight in value.items()
    }


def _paths(table: Table) -> dict[str, tuple[Path, ...]]:
    if ("files" in table.values) == ("dataset" in table.values):
        raise table.fault("files", "either `files` or `dataset`")
    value = table.values.get("files", {})
    value = {"train": value} if isinstance(value, str | list) else value
    if not isinstance(value, dict) or not value.keys() <= set(SPLITS):
        raise table.fault("files", f"a table with the keys {', '.join(SPLITS)}")
    result = {}
    for split, names in value.items():
        names = [names] if isinstance(names, str) else names
        if (
            not isinstance(names, list)
            or not names
            or not all(map(toml_tables.is_text, names))
        ):
            raise table.fault("files", f"a path, or a list of paths, for {split}")
        if any("\0" in name for name in names):
            raise table.fault("files", "paths without a NUL character")
        result[split] = tuple(table.path.parent / name for name in names)
    of_files = {"format", "columns", "separator"}
    if "dataset" in table.values and (bad := of_files & {*table.values}):
        raise table.fault(min(bad), "it with `files` only")
    return result


def _dataset(table: Table) -> tuple[str, str, dict[str, str]]:
    """The directory or hub name, the configuration, and the names of the splits."""
    name, config = table.string("dataset"), table.string("config")
    splits = table.table("splits", SPLITS)
    if not name and (bad := {"config", "splits"} & {*table.values}):
        raise table.fault(min(bad), "it with `dataset` only")
    if not all(map(toml_tables.is_text, splits.values())):
        raise table.fault("splits", "the name of a split for each key")
    if "\0" in name:
        raise table.fault("dataset", "a name without a NUL character")
    if name and (table.path.parent / name).is_dir():
        name = str(table.path.parent / name)
    elif name and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise table.fault("dataset", "a directory that exists, or a hub name ORG/NAME")
    return name, config, splits


def _shares(table: Table, paths: Mapping[str, Any]) -> dict[str, float]:
    """The share of each split, given or not, that may have to be cut from train."""
    given = table.table("shares", ("validation", "test"))
    result = {}
    for split in ("validation", "test"):
        if split in given and (split in paths or split in table.table("splits")):
            raise table.fault("shares", f"no share for {split}, whose data are given")
        if split not in paths:
            what = f"a share between 0 and 1 for {split}"
            result[split] = table.number("shares", given.get(split, SHARE), 0, 1, what)
    if sum(result.values()) >= 1:
        raise table.fault("shares", "shares whose sum is less than 1")
    return result
