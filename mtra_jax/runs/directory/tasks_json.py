"""The tasks of a run <-> `tasks.json` in its directory.

The file holds every field of the tasks, those that depend on the training data included.
With it and the checkpoint a model can be used without the files that it was trained on.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from mtra_jax import files, metrics
from mtra_jax.errors import InputError, shown
from mtra_jax.tasks import Benchmark, Kind, Task

FILE = "tasks.json"
FORMAT = 1
# Fields that may not change while a run is continued. A title is free, and the data
# determine the means and deviations.
_COMPARED = ("kind", "labels", "metrics", "is_pair")
_OF_LOSSES = ("class_weights", "label_smoothing")


def write(directory: Path, benchmark: Benchmark) -> None:
    """Writes `tasks.json`."""
    files.write_json(directory / FILE, to_json(benchmark))


def read(directory: Path) -> Benchmark:
    """Reads `tasks.json` of a run or an export.

    Raises:
      InputError: the file is missing or damaged.
    """
    path = directory / FILE
    try:
        values = files.read_json(path)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; expected the directory of a run"
        ) from None
    return from_json(values, str(path))


def to_json(benchmark: Benchmark) -> dict[str, Any]:
    """The content of `tasks.json`."""
    tasks = [dataclasses.asdict(task) for task in benchmark.tasks]
    return {"format": FORMAT, "benchmark": benchmark.name, "tasks": tasks}


def from_json(values: Any, source: str) -> Benchmark:
    """The benchmark in the content of `tasks.json`, the inverse of `to_json`.

    Raises:
      InputError: a value is missing or of another kind; the message begins with `source`.
    """
    try:
        if values["format"] != FORMAT:
            raise ValueError(f"format {shown(values['format'])}; expected {FORMAT}")
        name, tasks = values["benchmark"], tuple(map(_task, values["tasks"]))
        if not isinstance(name, str) or not tasks:
            raise ValueError("expected a benchmark with a name and tasks")
        metrics.check_metrics(tasks)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{source}: damaged: {reason}") from error
    return Benchmark(name, tasks)


def _task(values: dict[str, Any]) -> Task:
    """Raises KeyError, TypeError or ValueError if `values` is not a task."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
    }
    task = Task(**fields)
    numbers = (task.means, task.deviations, task.thresholds)
    weights = task.class_weights
    smoothing = task.label_smoothing
    fits = (
        all(isinstance(text, str) for text in (task.name, task.title))
        and task.kind in get_args(Kind)
        and _all_are(str, task.labels)
        and bool(task.labels)
        and _all_are(str, task.metrics)
        and type(task.is_pair) is bool
        and all(_all_are(float, row, task.num_outputs) for row in numbers)
        and (isinstance(weights, str) or _all_are(float, weights, task.num_outputs))
        and (smoothing is None or type(smoothing) is float)
    )
    if not fits:
        raise ValueError(f"{shown(values)} is not a task")
    return task


def _all_are(kind: type, values: Any, length: int | None = None) -> bool:
    """Whether `values` is a tuple of `kind`; of this `length`, or empty, if it is given."""
    fits = isinstance(values, tuple) and all(type(value) is kind for value in values)
    return fits and (length is None or len(values) in (0, length))


def check(directory: Path, benchmark: Benchmark) -> None:
    """Raises InputError if the run in `directory` has other tasks than `benchmark`."""
    before = read(directory)
    path = directory / FILE
    if before.task_names != benchmark.task_names:
        raise InputError(
            f"{path}: tasks {', '.join(before.task_names)} there and "
            f"{', '.join(benchmark.task_names)} here; expected the same, or a new --workdir"
        )
    _check_fields(path, before, benchmark, _COMPARED)


def check_losses(directory: Path, benchmark: Benchmark) -> None:
    """Raises InputError if the run in `directory` has other class weights or smoothing.

    `benchmark`: the same tasks, see `check`, resolved by `targets.resolved`.
    """
    _check_fields(directory / FILE, read(directory), benchmark, _OF_LOSSES)


def _check_fields(
    path: Path, before: Benchmark, now: Benchmark, fields: Sequence[str]
) -> None:
    for old, new in zip(before.tasks, now.tasks, strict=True):
        for field in fields:
            there, here = getattr(old, field), getattr(new, field)
            if there != here:
                raise InputError(
                    f"{path}: {field} of {old.name} is {shown(there)} there and "
                    f"{shown(here)} here; expected the same, or a new --workdir"
                )
