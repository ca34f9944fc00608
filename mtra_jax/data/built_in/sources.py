"""Files in their publishers' layouts -> texts and labels of each task and split.

A row of `SOURCES` has the reader of a built-in task and the files that it reads under
one data root; `tweeteval` and `affecteval` describe their layouts. Tasks in the form of
tables need no row here: `task_file` reads them as a TOML file describes them.

Every text passes through `texts.normalize`. Empty texts are legal: HatEval
holds eight, each with a label.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mtra_jax.data.built_in import affecteval, tweeteval
from mtra_jax.data.splits.examples import SPLITS, Examples, Splits
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.tasks import TWEETEVAL, Benchmark, Task


class Source(NamedTuple):
    """`read(task, root, split)`: the examples. `files(task)`: paths below the root."""

    read: Callable[[Task, Path, str], Examples]
    files: Callable[[Task], list[str]]


_TWEETEVAL = Source(tweeteval.read, tweeteval.files)

SOURCES: dict[str, Source] = {
    **dict.fromkeys(TWEETEVAL.task_names, _TWEETEVAL),
    "goemotions": Source(affecteval.read_goemotions, affecteval.goemotions_files),
    "emobank": Source(affecteval.read_emobank, affecteval.emobank_files),
    "ei-reg": Source(affecteval.read_ei_reg, affecteval.ei_reg_files),
}
"""task name -> its source"""


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
    check_splits(splits)
    root = Path(data_dir)
    return {
        task.name: {split: _source(task).read(task, root, split) for split in splits}
        for task in benchmark.tasks
    }


def check_splits(splits: Sequence[str]) -> None:
    """Raises InputError about the first of `splits` that is not one of `SPLITS`."""
    for split in splits:
        if split not in SPLITS:
            raise InputError(f"unknown split {split!r}; {did_you_mean(split, SPLITS)}")


def task_files(task: Task) -> list[str]:
    """The files that hold `task`, as paths below the data root.

    Raises:
      InputError: the task is not a built-in one.
    """
    return _source(task).files(task)


def _source(task: Task) -> Source:
    if task.name not in SOURCES:
        raise InputError(
            f"task {task.name!r} has no files; {did_you_mean(task.name, SOURCES)}"
        )
    return SOURCES[task.name]
