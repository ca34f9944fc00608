"""TweetEval's files -> texts and class ids.

`tweeteval/datasets/TASK/{train,val,test}_{text,labels}.txt`, one example a line;
`stance` has one such folder for each of its five targets, which together are the task.
"""

from pathlib import Path

from mtra_jax.data.built_in import benchmark_files
from mtra_jax.data.built_in.benchmark_files import TWEETEVAL
from mtra_jax.data.splits.examples import Examples, Rows, make_examples
from mtra_jax.errors import InputError
from mtra_jax.tasks import Task

STANCE_TARGETS = ("abortion", "atheism", "climate", "feminist", "hillary")

_PARTS = {"train": "train", "validation": "val", "test": "test"}


def read(task: Task, root: Path, split: str) -> Examples:
    """Reads one split of a TweetEval task from below `root`.

    Raises:
      InputError: as `sources.load_benchmark`.
    """
    parts = [
        _line_pairs(root, folder, _PARTS[split], task) for folder in _folders(task)
    ]
    sizes = map(len, parts)
    targets = zip(STANCE_TARGETS, sizes, strict=True) if task.name == "stance" else ()
    rows = [row for part in parts for row in part]
    return make_examples(rows, task, root / TWEETEVAL / task.name, tuple(targets))


def files(task: Task) -> list[str]:
    """The files that hold `task`, as paths below the data root."""
    return [
        f"{folder}/{part}_{kind}.txt"
        for folder in _folders(task)
        for part in _PARTS.values()
        for kind in ("text", "labels")
    ]


def _folders(task: Task) -> list[str]:
    if task.name == "stance":
        return [f"{TWEETEVAL}/stance/{target}" for target in STANCE_TARGETS]
    return [f"{TWEETEVAL}/{task.name}"]


def _line_pairs(root: Path, folder: str, part: str, task: Task) -> Rows:
    """Pairs line i of the texts with line i of the labels."""
    text_file, label_file = f"{folder}/{part}_text.txt", f"{folder}/{part}_labels.txt"
    lines = benchmark_files.read_lines(root, text_file)
    labels = benchmark_files.read_lines(root, label_file)
    if len(lines) != len(labels):
        raise InputError(
            f"{root / text_file} has {len(lines)} lines but {root / label_file} has "
            f"{len(labels)}; expected one label for each text"
        )
    where = str(root / label_file)
    return [
        (text, benchmark_files.class_id(label, task, f"{where}:{number}"))
        for number, (text, label) in enumerate(zip(lines, labels, strict=True), 1)
    ]
