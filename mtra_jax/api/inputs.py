"""Texts and tasks as a caller gives them -> checked lists, and examples with labels."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtra_jax import metrics
from mtra_jax.data import benchmarks
from mtra_jax.data.own_tasks import labelled, task_entries, task_file
from mtra_jax.data.splits import shares
from mtra_jax.data.splits.examples import SPLITS, Data, Splits
from mtra_jax.errors import InputError, check_name, did_you_mean, shown
from mtra_jax.tasks import BENCHMARKS, OWN, SYNTHETIC, Benchmark, Task

Given = str | Path | Sequence[tuple[Task, Mapping[str, Iterable[Any]]]]
"""The name of a built-in benchmark, a TOML file, or tasks with their examples by split.

Examples are pairs (text, label), see `data.own_tasks.task_file.examples`.
"""


class Texts(NamedTuple):
    """N texts; `second` has the other texts of pairs, and is empty for single texts."""

    first: list[str]
    second: list[str]


def texts_of(values: Any) -> Texts:
    """Checks the texts of a call: a list of strings, or of pairs of strings.

    Raises:
      InputError: `values` is a single text or a table, or an element is another thing.
    """
    if isinstance(values, Mapping) or hasattr(values, "columns"):
        # Iteration would yield the names of the columns.
        raise InputError(
            f"texts is a {type(values).__name__}; expected the texts of one column, such "
            "as table['text']"
        )
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(
            f"texts is {shown(values)}; expected a list of texts, such as ['a text']"
        )
    rows = list(values)
    are_texts = bool(rows) and isinstance(rows[0], str)
    for index, row in enumerate(rows):
        if not (isinstance(row, str) if are_texts else _is_pair(row)):
            expected = "a text, as the first" if are_texts else "a text, or a pair"
            raise InputError(f"texts[{index}] is {shown(row)}; expected {expected}")
    if are_texts:
        return Texts(rows, [])
    return Texts([first for first, _ in rows], [second for _, second in rows])


def _is_pair(row: Any) -> bool:
    is_long = isinstance(row, tuple | list) and len(row) == 2
    return is_long and all(isinstance(part, str) for part in row)


def is_benchmark(tasks: Given) -> bool:
    """Whether `tasks` is the name of a built-in benchmark."""
    return isinstance(tasks, str) and tasks in BENCHMARKS


def is_file(tasks: Given) -> bool:
    """Whether `tasks` names a file, or the name of a benchmark that there is not."""
    return isinstance(tasks, str | Path) and not is_benchmark(tasks)


def check_file(tasks: Given) -> str:
    """The path of a TOML file of tasks.

    Raises:
      InputError: there is no such file, and no such benchmark.
    """
    path = Path(str(tasks)).expanduser()
    if not os.path.isfile(path):
        hint = did_you_mean(str(tasks), BENCHMARKS)
        raise InputError(
            f"tasks is {shown(str(tasks))}: no such file; expected a TOML file or a "
            f"benchmark; {hint}"
        )
    return str(path)


def training_data(tasks: Given) -> Data:
    """Tasks and examples of a list, for training.

    Without examples of validation or test a share of the training examples becomes that
    split, as for tasks of a file.

    Raises:
      InputError: the list or an example is not of the right form.
    """
    splits: Splits = {}
    chosen = []
    for task, parts in _listed(tasks):
        if "train" not in parts:
            raise InputError(f"{task.name}: no examples for 'train'")
        own = {name: task_file.examples(task, parts[name]) for name in parts}
        missing = {s: task_entries.SHARE for s in SPLITS if s not in own}
        if missing:
            own |= shares.cut(task, own["train"], missing, 0, task.name)
        splits[task.name] = {split: own[split] for split in SPLITS}
        chosen.append(task)
    metrics.check_metrics(chosen)
    return Data(Benchmark(OWN, tuple(chosen)), splits)


def of_run(
    config: ConfigDict, benchmark: Benchmark, data_dir: str = ""
) -> tuple[Given, str]:
    """The tasks that a run was trained with, and the root of a built-in benchmark's files.

    `config`: of the run. `data_dir`: instead of the run's.

    Raises:
      InputError: the run does not name its data, its file of tasks is not here or lacks one
        of them, `data_dir` is given for own tasks, or the data are those of a hub and
        `data_dir` does not say so.
    """
    if benchmark.name != OWN:
        if config.data.dir == benchmarks.HUB and not data_dir:
            raise InputError(
                f"the run has data.dir {benchmarks.HUB!r}; expected data_dir='hub', to go "
                "online, or a directory"
            )
        return benchmark.name, data_dir or config.data.dir
    path = config.data.tasks
    if not path:
        raise InputError(
            "tasks is None, and the model does not name its data; expected a TOML file or "
            "a list of tasks"
        )
    if not os.path.isfile(os.path.expanduser(path)):
        raise InputError(
            f"tasks is None, and the run's file {path!r} is not here; expected a TOML file "
            "or a list of tasks"
        )
    there = task_file.names(check_file(path))
    for name in benchmark.task_names:
        if name not in there:
            raise InputError(
                f"{path}: no task {name!r} of the run; expected its tasks, or tasks= for "
                "those of the file"
            )
    return path, data_dir


def evaluation_data(
    tasks: Given, benchmark: Benchmark, split: str, data_dir: str = ""
) -> Data:
    """Examples of one split for those tasks of a model that `tasks` has.

    `benchmark`: the model's, whose labels the examples get. `data_dir`: of a built-in
    benchmark's files.

    Raises:
      InputError: data are missing, the model has none of the tasks, or a label is not
        one of the model's.
    """
    if split not in SPLITS:
        raise InputError(f"split is {shown(split)}; {did_you_mean(str(split), SPLITS)}")
    if data_dir and not is_benchmark(tasks):
        raise InputError(
            f"data_dir is {shown(data_dir)}, and the tasks are not of a built-in benchmark; "
            "expected only tasks="
        )
    if not isinstance(tasks, str | Path):
        given = {task.name: parts for task, parts in _listed(tasks)}
        chosen = benchmark.common(given, "tasks")
        splits = {}
        for task in chosen.tasks:
            if split not in given[task.name]:
                raise InputError(f"{task.name}: no examples for {split!r}")
            part = task_file.examples(task, given[task.name][split])
            splits[task.name] = {split: part}
        return Data(chosen, splits)
    if is_file(tasks):
        path = check_file(tasks)
        chosen = benchmark.common(task_file.names(path), path)
        return Data(chosen, task_file.read(path, chosen, [split]))
    built_in = BENCHMARKS[str(tasks)]
    chosen = benchmark.common(built_in.task_names, str(tasks))
    if not data_dir and built_in is not SYNTHETIC:
        raise InputError(
            f"data_dir is empty; {tasks} needs a directory that `mtra-jax prepare` wrote, "
            "or 'hub'"
        )
    source = built_in.select(chosen.task_names)
    labels = {task.name: task.labels for task in chosen.tasks}
    for task in source.tasks:
        if task.labels != labels[task.name]:
            raise InputError(f"{task.name}: the model has other labels than {tasks}")
    return Data(chosen, benchmarks.read_examples(source, data_dir, [split]))


def _listed(tasks: Any) -> list[tuple[Task, Mapping[str, Iterable[Any]]]]:
    """The pairs of a list of tasks.

    Raises:
      InputError: it is empty, or an element is not (Task, {split: examples}).
    """
    form = '(Task, {"train": [(text, label), ...], ...})'
    if not isinstance(tasks, list | tuple) or not tasks:
        raise InputError(
            f"tasks is {shown(tasks)}; expected a benchmark, a TOML file, or a list of "
            f"{form}"
        )
    names: set[str] = set()
    for index, row in enumerate(tasks):
        fits = isinstance(row, tuple | list) and len(row) == 2
        if not (fits and isinstance(row[0], Task) and isinstance(row[1], Mapping)):
            raise InputError(f"tasks[{index}] is {shown(row)}; expected {form}")
        for split in row[1]:
            if split not in SPLITS:
                hint = did_you_mean(str(split), SPLITS)
                raise InputError(f"{row[0].name}: split {shown(split)}; {hint}")
            if not isinstance(row[1][split], Iterable):
                raise InputError(
                    f"{row[0].name}: {split} is {shown(row[1][split])}; expected a list "
                    "of (text, label)"
                )
        task = row[0]
        task_entries.check_task_name(task.name, f"tasks[{index}]: the task's name is")
        if task.name in names:
            raise InputError(f"tasks: {task.name} is there twice; expected other names")
        names.add(task.name)
        if not isinstance(task.title, str):
            raise InputError(
                f"task {task.name}: title {shown(task.title)}; expected a text"
            )
        check_name(task.title, f"task {task.name}: title")
        labelled.check_labels(task)
    task_entries.check_different([row[0].name for row in tasks], lambda name: "tasks: ")
    return [(task, parts) for task, parts in tasks]
