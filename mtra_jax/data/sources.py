"""Files in their publishers' layouts -> texts and labels of each task and split.

Under one data root:

* `tweeteval/datasets/TASK/{train,val,test}_{text,labels}.txt`, one example a line;
  `stance` has one such folder for each of its five targets, which together are the task.
* `affecteval/goemotions/{train,dev,test}.tsv`: text, comma-separated label ids, comment
  id; quoted like CSV. Only rows with a single label belong to the task.
* `affecteval/emobank/emobank.csv` with the columns split, V, A, D, text.
* `affecteval/ei-reg/EI-reg/{training,development,test-gold}/`: one tab-separated file
  for each of four emotions, which together are the task. Quotes have no meaning.

Every text passes through `texts.normalize`. Empty texts are legal: HatEval
holds eight, each with a label.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import files
from mtra_jax.data import texts
from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.tasks import TWEETEVAL, Benchmark, Task

SPLITS = ("train", "validation", "test")
STANCE_TARGETS = ("abortion", "atheism", "climate", "feminist", "hillary")

_EMOTIONS = ("anger", "fear", "joy", "sadness")
_TWEETEVAL, _GOEMOTIONS = "tweeteval/datasets", "affecteval/goemotions"
_EMOBANK, _EI_REG = "affecteval/emobank", "affecteval/ei-reg/EI-reg"
_LAYOUTS = {
    _TWEETEVAL: "TASK/{train,val,test}_{text,labels}.txt, stance/TARGET/ likewise",
    _GOEMOTIONS: "{train,dev,test}.tsv",
    _EMOBANK: "emobank.csv",
    _EI_REG: "{training,development,test-gold}/*EI-reg-En-EMOTION-*.txt",
}
_TWEETEVAL_PARTS = {"train": "train", "validation": "val", "test": "test"}
_DEV_PARTS = {"train": "train", "validation": "dev", "test": "test"}
_EI_REG_PARTS = {
    "train": "training/EI-reg-En-{}-train.txt",
    "validation": "development/2018-EI-reg-En-{}-dev.txt",
    "test": "test-gold/2018-EI-reg-En-{}-test-gold.txt",
}
_EI_REG_HEADER = ["ID", "Tweet", "Affect Dimension", "Intensity Score"]

# Stricter than int() and float(), which accept "1_0", "١" and "nan".
_CLASS_ID = re.compile(r"[0-9]{1,9}")
# Each character matches in one way only, so the match takes linear time.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FLOAT32_MAX = float(np.finfo(np.float32).max)

Rows = list[tuple[str, Any]]


class Examples(NamedTuple):
    """One split of one task, in the order of its files.

    `texts`: N strings. `labels`: class ids, int32 [N]; values, float32 [N, D]; or 0 and 1
    for each label of a multi-label task, float32 [N, D].
    `targets`: for StanceEval, (target, number of examples) in the order of the examples;
    they divide the predictions into the leaderboard's five files. Empty for other tasks.
    `second_texts`: N strings for a task of pairs of texts; empty for other tasks.
    """

    texts: list[str]
    labels: np.ndarray
    targets: tuple[tuple[str, int], ...] = ()
    second_texts: Sequence[str] = ()


Splits = dict[str, dict[str, Examples]]
"""task name -> split -> examples"""


def load_benchmark(
    benchmark: Benchmark, data_dir: str | Path, splits: Sequence[str] = SPLITS
) -> Splits:
    """Reads the tasks of `benchmark` from the files under `data_dir`.

    Only the files of `splits` ("train", "validation", "test") need to exist.

    Raises:
      InputError: a file is missing, empty or not UTF-8; the numbers of texts and labels
        differ; a label is not a class id, or not a finite number; a row has a wrong
        number of columns; a split is unknown or empty. The message is one line, with
        file and line number.
    """
    for split in splits:
        if split not in SPLITS:
            raise InputError(f"unknown split {split!r}; {did_you_mean(split, SPLITS)}")
    root = Path(data_dir)
    return {
        task.name: {split: _read_task(task, root, split) for split in splits}
        for task in benchmark.tasks
    }


def task_files(task: Task) -> list[str]:
    """The files that hold `task`, as paths below the data root."""
    if task.name == "goemotions":
        return [f"{_GOEMOTIONS}/{part}.tsv" for part in _DEV_PARTS.values()]
    if task.name == "emobank":
        return [f"{_EMOBANK}/emobank.csv"]
    if task.name == "ei-reg":
        return [file for split in SPLITS for file in _ei_reg_files(split)]
    return [
        f"{folder}/{part}_{kind}.txt"
        for folder in _tweeteval_folders(task)
        for part in _TWEETEVAL_PARTS.values()
        for kind in ("text", "labels")
    ]


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
    dtype = np.int32 if task.is_classification else np.float32
    normalized = [texts.normalize(text) for text in raw]
    return Examples(normalized, np.asarray(labels, dtype), targets)


def _read_task(task: Task, root: Path, split: str) -> Examples:
    if task.name not in _READERS:
        raise InputError(
            f"task {task.name!r} has no files; {did_you_mean(task.name, _READERS)}"
        )
    return _READERS[task.name](task, root, split)


def _read_tweeteval(task: Task, root: Path, split: str) -> Examples:
    parts = [
        _line_pairs(root, folder, _TWEETEVAL_PARTS[split], task)
        for folder in _tweeteval_folders(task)
    ]
    sizes = map(len, parts)
    targets = zip(STANCE_TARGETS, sizes, strict=True) if task.name == "stance" else ()
    rows = [row for part in parts for row in part]
    return make_examples(rows, task, root / _TWEETEVAL / task.name, tuple(targets))


def _tweeteval_folders(task: Task) -> list[str]:
    if task.name == "stance":
        return [f"{_TWEETEVAL}/stance/{target}" for target in STANCE_TARGETS]
    return [f"{_TWEETEVAL}/{task.name}"]


def _line_pairs(root: Path, folder: str, part: str, task: Task) -> Rows:
    """Pairs line i of the texts with line i of the labels."""
    text_file, label_file = f"{folder}/{part}_text.txt", f"{folder}/{part}_labels.txt"
    lines, labels = _read_lines(root, text_file), _read_lines(root, label_file)
    if len(lines) != len(labels):
        raise InputError(
            f"{root / text_file} has {len(lines)} lines but {root / label_file} has "
            f"{len(labels)}; expected one label for each text"
        )
    where = str(root / label_file)
    return [
        (text, _class_id(label, task, f"{where}:{number}"))
        for number, (text, label) in enumerate(zip(lines, labels, strict=True), 1)
    ]


def _read_goemotions(task: Task, root: Path, split: str) -> Examples:
    file = f"{_GOEMOTIONS}/{_DEV_PARTS[split]}.tsv"
    return make_examples(_single_label_rows(task, root, file), task, root / file)


def _single_label_rows(task: Task, root: Path, file: str) -> Rows:
    rows = []
    for where, fields in _read_csv(root, file, delimiter="\t"):
        _check_columns(fields, ["text", "label ids", "comment id"], where)
        ids = [_class_id(field, task, where) for field in fields[1].split(",")]
        if len(ids) == 1:
            rows.append((fields[0], ids[0]))
    return rows


def _read_emobank(task: Task, root: Path, split: str) -> Examples:
    (file,) = task_files(task)
    records = _read_csv(root, file, delimiter=",")
    where, header = next(records)
    for name in ("split", "text", *task.labels):
        if name not in header:
            raise InputError(f"{where}: no column {name!r}; found {shown(header)}")
        if header.count(name) > 1:
            raise InputError(
                f"{where}: column {name!r} is there {header.count(name)} times; "
                "expected it once"
            )
    parts: dict[str, Rows] = {part: [] for part in _DEV_PARTS.values()}
    for where, fields in records:
        _check_columns(fields, header, where)
        record = dict(zip(header, fields, strict=True))
        if record["split"] not in parts:
            raise InputError(
                f"{where}: split {shown(record['split'])}; expected {', '.join(parts)}"
            )
        values = [_number(record[name], name, where) for name in task.labels]
        parts[record["split"]].append((record["text"], values))
    part = _DEV_PARTS[split]
    return make_examples(parts[part], task, f"{root / file}, split {part!r}")


def _read_ei_reg(task: Task, root: Path, split: str) -> Examples:
    rows: Rows = []
    for file in _ei_reg_files(split):
        rows += _intensity_rows(root, file)
    return make_examples(rows, task, root / _EI_REG)


def _ei_reg_files(split: str) -> list[str]:
    return [f"{_EI_REG}/{_EI_REG_PARTS[split].format(name)}" for name in _EMOTIONS]


def _intensity_rows(root: Path, file: str) -> Rows:
    header, *lines = _read_lines(root, file)
    if [name.strip() for name in header.split("\t")] != _EI_REG_HEADER:
        raise InputError(
            f"{root / file}:1: header {shown(header)}; expected {_EI_REG_HEADER}, "
            "separated by tabs"
        )
    if not lines:
        raise InputError(f"{root / file}: only a header; expected examples below it")
    path, rows = str(root / file), []
    for number, line in enumerate(lines, 2):
        where, fields = f"{path}:{number}", line.split("\t")
        _check_columns(fields, _EI_REG_HEADER, where)
        rows.append((fields[1], [_number(fields[3], "Intensity Score", where)]))
    return rows


_READERS: dict[str, Callable[[Task, Path, str], Examples]] = {
    **dict.fromkeys(TWEETEVAL.task_names, _read_tweeteval),
    "goemotions": _read_goemotions,
    "emobank": _read_emobank,
    "ei-reg": _read_ei_reg,
}


def _class_id(field: str, task: Task, where: str) -> int:
    text = field.strip(" \t\r")
    if not _CLASS_ID.fullmatch(text) or int(text) >= task.num_outputs:
        raise InputError(
            f"{where}: label {shown(text)} of {task.title}; "
            f"expected an integer from 0 to {task.num_outputs - 1}"
        )
    return int(text)


def _number(field: str, name: str, where: str) -> float:
    text = field.strip(" \t\r")
    if not _NUMBER.fullmatch(text) or abs(float(text)) > _FLOAT32_MAX:
        raise InputError(f"{where}: {name} {shown(text)}; expected a finite number")
    return float(text)


def _check_columns(fields: list[str], names: list[str], where: str) -> None:
    if len(fields) != len(names):
        raise InputError(
            f"{where}: {len(fields)} columns; expected {len(names)}: {', '.join(names)}"
        )


def _read_lines(root: Path, file: str) -> list[str]:
    # `str.splitlines` also splits at U+2028 and U+0085, which tweets contain.
    lines = _read_text(root, file).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _read_csv(
    root: Path, file: str, *, delimiter: str
) -> Iterator[tuple[str, list[str]]]:
    """Yields "file:line" of the first line of each record, and its fields."""
    text = _read_text(root, file)
    # Only a line feed ends a line, as in the other files.
    stream = io.StringIO(text, newline="\n")
    # strict: a quote that never closes would swallow the rest of the file.
    records = csv.reader(stream, delimiter=delimiter, strict=True)
    path = str(root / file)
    where = f"{path}:1"
    # The reader's default limit refuses texts of more than 131,072 characters.
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    try:
        for fields in records:
            yield where, fields
            where = f"{path}:{records.line_num + 1}"
    except csv.Error as error:
        reason = str(error).partition(" - ")[0]
        raise InputError(
            f"{where}: quoting that CSV does not allow: {reason}"
        ) from None
    finally:
        csv.field_size_limit(limit)


def _read_text(root: Path, file: str) -> str:
    path = root / file
    try:
        if path.is_fifo():
            raise InputError(f"{path}: cannot be read: a pipe; expected a file")
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(_missing(path, file)) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    text = files.decode(content, path)
    if not text:
        raise InputError(f"{path}: the file is empty; expected one example a line")
    return text


def _missing(path: Path, file: str) -> str:
    """The message on a missing file: its highest missing folder, and the right layout."""
    absent = next(p for p in (*reversed(path.parents), path) if not p.exists())
    kind = "file" if absent == path else "directory"
    folder = next((name for name in _LAYOUTS if file.startswith(name)), None)
    if folder is None:
        raise KeyError(f"no row of _LAYOUTS for {file}")
    return (
        f"{absent}: no such {kind}; a data directory holds {folder}/{_LAYOUTS[folder]} "
        "(scripts/prepare_data.py fetches or copies it)"
    )
