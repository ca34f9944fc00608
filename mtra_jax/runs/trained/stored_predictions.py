"""Directories of finished runs -> what they predicted for the examples of a split."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtra_jax import metrics
from mtra_jax.data import benchmarks, fingerprints, task_entries
from mtra_jax.data.examples import Examples, Splits
from mtra_jax.errors import InputError, shown
from mtra_jax.reports import predictions
from mtra_jax.reports.example_noise import Predicted
from mtra_jax.runs.directory import layout, tasks_json
from mtra_jax.tasks import OWN, Benchmark, Task

STORED = "test"
"""The split whose predictions a run stores."""


def read(
    runs: Mapping[str, Path],
    tasks: Sequence[Task],
    split: str,
    summaries: Mapping[str, Mapping[str, Any]],
    hashes: Mapping[str, Mapping[str, str]],
) -> Predicted:
    """The stored predictions of `runs`, and the labels in the data of the first of them.

    `summaries`: the figures of the split, by run. `hashes`: those of the examples, by run
    and task, as far as they are known. Predictions of other examples, or which have other
    figures than those of the run, are left out; so are all if the data cannot be read
    without going online.
    """
    try:
        examples, contents = _examples(runs, split)
    except InputError as error:
        first = next(iter(runs))
        return Predicted(
            {},
            {name: {} for name in runs},
            {first: {task.name: str(error) for task in tasks}},
        )
    parts: dict[str, dict[str, np.ndarray]] = {}
    faults: dict[str, dict[str, str]] = {}
    for name, directory in runs.items():
        parts[name], faults[name] = {}, {}
        for task in tasks:
            now = contents[task.name]
            try:
                if hashes[name].get(task.name, now) != now:
                    raise InputError(
                        f"{directory}: its {split} examples are not those in the data of "
                        f"{next(iter(runs))}"
                    )
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


def _examples(
    runs: Mapping[str, Path], split: str
) -> tuple[dict[str, Examples], dict[str, str]]:
    """The examples of the first run that names its data, and their hashes, by task.

    Raises:
      InputError: there are no stored predictions of the split, or the data cannot be read.
    """
    if split != STORED:
        raise InputError(f"runs store their predictions of the {STORED} set only")
    named = (path for path in runs.values() if (path / layout.CONFIG).exists())
    directory = next(named, None)
    if directory is None:
        raise InputError("no row is a trained run, whose configuration names the data")
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
    return (
        {name: part[split] for name, part in limited.items()},
        {
            name: part[split]["sha256"]
            for name, part in fingerprints.of_splits(whole).items()
        },
    )


def _check_is_local(
    directory: Path, benchmark: Benchmark, data_dir: str, task_path: str
) -> None:
    """Raises InputError if the data of the run in `directory` may be on the hub."""
    where = directory / layout.CONFIG
    if benchmark.name == OWN:
        # A relative path, in another directory; or the tasks were given in Python.
        if not os.path.isfile(task_path):
            raise InputError(
                f"{where}: data.tasks is {shown(task_path)}; there is no such file here"
            )
        for entry in task_entries.read(task_path).values():
            if not entry.files and not os.path.isdir(entry.dataset):
                raise InputError(
                    f"{entry.place}: dataset {entry.dataset} is on the hub"
                )
    elif data_dir == benchmarks.HUB:
        raise InputError(f"{where}: data.dir is {shown(data_dir)}, which is online")


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
