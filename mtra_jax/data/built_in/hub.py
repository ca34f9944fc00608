"""Data sets of the Hugging Face hub, or directories of data files -> examples and rows.

Only data files are read, through `datasets`, which does not run code of a repository.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtra_jax.data.built_in.tweeteval import STANCE_TARGETS
from mtra_jax.data.splits.examples import SPLITS, Examples, Rows, Splits, make_examples
from mtra_jax.data.table_files import tables
from mtra_jax.data.table_files.tables import Row
from mtra_jax.errors import InputError, shown
from mtra_jax.tasks import TWEETEVAL, Benchmark, Task

HUB_DATASETS = {
    "tweeteval": "cardiffnlp/tweet_eval",
    "goemotions": "google-research-datasets/go_emotions",
}


def load_hub(
    benchmark: Benchmark,
    roots: Mapping[str, str] = HUB_DATASETS,
    splits: Sequence[str] = SPLITS,
) -> Splits:
    """Reads the tasks of `benchmark` from the hub, or from its cache on this machine.

    `roots`: hub names or local copies (directories) of the two repositories, with the
    keys of `HUB_DATASETS`. The result equals that of `sources.load_benchmark`.

    Raises:
      InputError: a repository, split or column is missing, a label is not a class id,
        or a task has no official repository (EmoBank, EI-Reg).
    """
    return {task.name: _load_task(task, roots, splits) for task in benchmark.tasks}


def _load_task(
    task: Task, roots: Mapping[str, str], splits: Sequence[str]
) -> dict[str, Examples]:
    key = "tweeteval" if task.name in TWEETEVAL.task_names else task.name
    if key not in HUB_DATASETS:
        raise InputError(
            f"{task.title} has no official hub data set; `mtra-jax prepare "
            "--download` fetches it from its publisher, then read it with data.dir"
        )
    if key not in roots:
        raise InputError(f"no hub data set given for {key!r}; found {sorted(roots)}")
    loaded = {name: open_splits(roots[key], name) for name in _configs(task)}
    return {
        split: _examples(task, {f"{roots[key]}/{n}": loaded[n] for n in loaded}, split)
        for split in splits
    }


def _configs(task: Task) -> list[str]:
    if task.name == "stance":
        return [f"stance_{target}" for target in STANCE_TARGETS]
    return ["simplified"] if task.name == "goemotions" else [task.name]


def open_splits(root: str, config: str = "") -> Mapping[str, Any]:
    """The `datasets.Dataset` of each split, by the names of the splits.

    `root`: a hub name, a directory of data files, or one that `save_to_disk` wrote; a
    single data set there is the split "train". `config`: one of its configurations.

    Raises:
      InputError: there is no such repository, directory or configuration, a data file
        is broken, or the repository consists of code.
    """
    import datasets  # takes seconds to import, and files do not need it

    where = f"{root}, configuration {config!r}" if config else root
    saved = [Path(root) / name for name in ("dataset_dict.json", "state.json")]
    try:
        if any(path.is_file() for path in saved):
            loaded = datasets.load_from_disk(root)
        else:
            loaded = datasets.load_dataset(root, config or None)
    except (
        Exception
    ) as error:  # of network, files, Arrow, each with a class of its package
        # `datasets` hides the cause behind "An error occurred".
        cause = f"; {error.__cause__}" if error.__cause__ else ""
        reason = " ".join(f"{error}{cause}".split()) or type(error).__name__
        raise InputError(f"{where}: {reason}") from None
    return {"train": loaded} if isinstance(loaded, datasets.Dataset) else loaded


def rows(
    dataset: Any, columns: Sequence[str], named: Sequence[str], where: str
) -> Iterator[Row]:
    """Yields the cells of `columns` of a `datasets.Dataset`, with "where, row N".

    Numbers of classes in the columns `named` become the names that the data set
    declares.

    Raises:
      InputError: a column is missing, or a number has no name.
    """
    tables.check_needed(dataset.column_names, columns, where)
    names = {column: class_names(dataset, column) for column in named}
    # A saved data set may ask for the tensors of another framework.
    plain = dataset.select_columns(list(columns)).with_format(None)
    for number, row in enumerate(plain, 1):
        place = f"{where}, row {number}"
        cells = {
            column: _named(row[column], names.get(column, ()), f"{place}: {column}")
            for column in columns
        }
        yield Row(place, cells)


def class_names(dataset: Any, column: str) -> tuple[str, ...]:
    """The names of the classes that the data set declares; () if it declares none."""
    feature = dataset.features.get(column)
    # Lists of classes have the class as their feature.
    names = getattr(getattr(feature, "feature", feature), "names", None)
    return tuple(names or ())


def _named(cell: Any, names: Sequence[str], where: str) -> Any:
    if not names or cell is None:
        return cell
    if isinstance(cell, list):
        return [_named(item, names, where) for item in cell]
    if not isinstance(cell, int) or not 0 <= cell < len(names):
        raise InputError(
            f"{where} {shown(cell)}; expected an integer from 0 to {len(names) - 1}"
        )
    return names[cell]


def _examples(
    task: Task, configs: Mapping[str, Mapping[str, Any]], split: str
) -> Examples:
    """One split of the task, with the rows of all its configurations in order."""
    rows: Rows = []
    sizes = []
    for where, dataset in configs.items():
        if split not in dataset:
            raise InputError(f"{where}: no split {split!r}; found {', '.join(dataset)}")
        rows += (part := _single_label_rows(task, dataset[split], f"{where}, {split}"))
        sizes.append(len(part))
    names = STANCE_TARGETS if task.name == "stance" else ()
    targets = tuple(zip(names, sizes, strict=True)) if names else ()
    where = f"{', '.join(configs)}, {split}"
    return make_examples(rows, task, where, targets)


def _single_label_rows(task: Task, dataset: Any, where: str) -> Rows:
    label_column = "labels" if task.name == "goemotions" else "label"
    for name in ("text", label_column):
        if name not in dataset.column_names:
            raise InputError(
                f"{where}: no column {name!r}; found {', '.join(dataset.column_names)}"
            )
    rows = []
    columns = zip(dataset["text"], dataset[label_column], strict=True)
    for number, (text, label) in enumerate(columns, 1):
        ids = label if isinstance(label, list) else [label]
        if not isinstance(text, str):
            raise InputError(f"{where}, row {number}: text {text!r}; expected a string")
        for class_id in ids:
            if not isinstance(class_id, int) or not 0 <= class_id < task.num_outputs:
                raise InputError(
                    f"{where}, row {number}: label {class_id!r} of {task.title}; "
                    f"expected an integer from 0 to {task.num_outputs - 1}"
                )
        if len(ids) == 1:
            rows.append((text, ids[0]))
    return rows
