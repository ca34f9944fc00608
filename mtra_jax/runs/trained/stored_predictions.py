"""Directories of finished runs -> what they predicted for the examples of a split."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import metrics
from mtra_jax.data import benchmarks
from mtra_jax.data.own_tasks import task_entries
from mtra_jax.data.splits import fingerprints
from mtra_jax.data.splits.examples import Examples, Splits
from mtra_jax.errors import InputError, shown
from mtra_jax.reports.comparisons.example_noise import Predicted
from mtra_jax.reports.predicted import predictions
from mtra_jax.runs.directory import layout, tasks_json
from mtra_jax.tasks import OWN, SYNTHETIC, Benchmark, Task

STORED = "test"
"""The split whose predictions a run stores."""
Hashes = Mapping[str, Mapping[str, str]]
"""Hashes of the examples of a split, by run and task, as far as they are known."""


class _Data(NamedTuple):
    """The examples of a split in the data of a run, and their hashes, by task.

    `run`: its name. `place`: the file or directory of the data.
    """

    run: str
    place: str
    examples: dict[str, Examples]
    hashes: dict[str, str]


def read(
    runs: Mapping[str, Path],
    tasks: Sequence[Task],
    split: str,
    summaries: Mapping[str, Mapping[str, Any]],
    hashes: Hashes,
) -> Predicted:
    """The stored predictions of `runs`, and the labels in the data of the first of them.

    `summaries`: the figures of the split, by run. Predictions of other examples, or which
    have other figures than those of the run, are left out; so are all if the data cannot
    be read without going online.
    """
    try:
        data = _read(runs, split)
    except InputError as error:
        first = next(iter(runs))
        return Predicted(
            {},
            {name: {} for name in runs},
            {first: {task.name: str(error) for task in tasks}},
        )
    examples = data.examples
    parts: dict[str, dict[str, np.ndarray]] = {}
    faults: dict[str, dict[str, str]] = {}
    for name, directory in runs.items():
        parts[name], faults[name] = {}, {}
        for task in tasks:
            try:
                _check_examples(name, directory, task, split, hashes, data)
                parts[name][task.name] = _predictions(
                    directory, task, examples[task.name], summaries[name]
                )
            except InputError as error:
                faults[name][task.name] = str(error)
    labels = {name: part.labels for name, part in examples.items()}
    groups: dict[Any, list[str]] = {}
    for name, part in examples.items():
        key = tuple(part.texts), tuple(part.second_texts)
        groups.setdefault(key, []).append(name)
    return Predicted(labels, parts, faults, [*groups.values()])


def _check_examples(
    name: str, directory: Path, task: Task, split: str, hashes: Hashes, data: _Data
) -> None:
    """Raises InputError if the run `name` had other examples of `task` than `data`."""
    now = data.hashes[task.name]
    then = hashes[name].get(task.name, now)
    if then == now:
        return
    if then == hashes[data.run].get(task.name, now):
        raise InputError(
            f"{directory}: the {split} examples of {task.name} in {data.place} have "
            "changed since the run"
        )
    raise InputError(
        f"{directory}: its {split} examples of {task.name} are not those in the data of "
        f"{data.run}"
    )


def _read(runs: Mapping[str, Path], split: str) -> _Data:
    """The data of the first run that names its data.

    Raises:
      InputError: there are no stored predictions of the split, or the data cannot be read.
    """
    if split != STORED:
        raise InputError(f"runs store their predictions of the {STORED} set only")
    named = (name for name, path in runs.items() if (path / layout.CONFIG).exists())
    name = next(named, None)
    if name is None:
        raise InputError("no row is a trained run, whose configuration names the data")
    directory = runs[name]
    config = layout.read_config(directory)
    benchmark = tasks_json.read(directory)
    path = config.data.tasks if benchmark.name == OWN else ""
    _check_is_local(directory, benchmark, config.data.dir, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training has shown them
        whole: Splits = benchmarks.read_examples(
            benchmark, config.data.dir, [split], path
        )
    limited = benchmarks.limit_examples(benchmark, whole, config.data.limit)
    prints = fingerprints.of_splits(whole)
    return _Data(
        name,
        path or config.data.dir,
        {task: part[split] for task, part in limited.items()},
        {task: part[split]["sha256"] for task, part in prints.items()},
    )


def _check_is_local(
    directory: Path, benchmark: Benchmark, data_dir: str, task_path: str
) -> None:
    """Raises InputError if the data of the run in `directory` may be on the hub."""
    where = directory / layout.CONFIG
    if benchmark.name == OWN:
        if not task_path:
            raise InputError(
                f"{where}: data.tasks is ''; the tasks were given in Python, and their "
                "examples are not stored"
            )
        if not os.path.isfile(task_path):
            raise _missing(where, "data.tasks", task_path)
        for entry in task_entries.read(task_path).values():
            if not entry.files and not os.path.isdir(entry.dataset):
                raise InputError(
                    f"{entry.place}: dataset {entry.dataset} is on the hub"
                )
    elif data_dir == benchmarks.HUB:
        raise InputError(f"{where}: data.dir is {shown(data_dir)}, which is online")
    elif data_dir and benchmark.name != SYNTHETIC.name and not os.path.isdir(data_dir):
        raise _missing(where, "data.dir", data_dir)


def _missing(where: Path, key: str, path: str) -> InputError:
    """The error about data that the configuration `where` names, and that are not there."""
    fault = f"{where}: {key} is {shown(path)}"
    if os.path.isabs(path):
        return InputError(f"{fault}, which does not exist")
    return InputError(
        f"{fault}, relative to the directory in which the run was trained; run this "
        "command there"
    )


def _predictions(
    directory: Path, task: Task, part: Examples, summary: Mapping[str, Any]
) -> np.ndarray:
    """The predictions of a task.

    Raises:
      InputError: they are missing or damaged, or their figures are not those in `summary`.
    """
    values = predictions.read_predictions(
        directory / layout.PREDICTIONS, task, len(part.texts), dict(part.targets)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training has shown them
        figures = metrics.score(task, values, part.labels)
    for name, figure in figures.items():
        stored = summary.get(task.name, {}).get(name)
        if np.isnan(figure):  # without probabilities
            continue
        # The files have all digits of the values, so that only sums may be rounded.
        points = 1e-4 if metrics.find(name, task).is_share else 0.0
        if stored is None or not np.isclose(figure, stored, rtol=1e-6, atol=points):
            raise InputError(
                f"{directory / layout.PREDICTIONS}: {name} of {task.name} is "
                f"{figure:.9g}; expected {stored}, as in {layout.RESULTS}"
            )
    return values
