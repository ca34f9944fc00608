"""The tasks of a model, with all that was resolved from data -> `tasks.json`, and back."""

import dataclasses
from pathlib import Path
from typing import Any, get_args

from mtra_jax import files
from mtra_jax.errors import InputError, shown
from mtra_jax.tasks import Benchmark, Kind, Task

FILE = "tasks.json"
FORMAT = 1


def write(directory: Path, benchmark: Benchmark) -> None:
    """Writes `tasks.json`."""
    tasks = [dataclasses.asdict(task) for task in benchmark.tasks]
    values = {"format": FORMAT, "benchmark": benchmark.name, "tasks": tasks}
    files.write_json(directory / FILE, values)


def read(directory: Path) -> Benchmark:
    """Reads `tasks.json`.

    Raises:
      InputError: it is missing, damaged, or of a newer version.
    """
    path = directory / FILE
    try:
        values = files.read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected an exported model") from None
    try:
        if values["format"] > FORMAT:
            raise InputError(f"{path}: format {values['format']}; expected {FORMAT}")
        tasks = tuple(_task(fields) for fields in values["tasks"])
        return Benchmark(str(values["benchmark"]), tasks)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged: {shown(values)}; expected tasks") from error


def _task(fields: dict[str, Any]) -> Task:
    values: Any = {k: tuple(v) if type(v) is list else v for k, v in fields.items()}
    task = Task(**values)
    names = task.name, task.title, *task.labels, *task.metrics
    numbers = *task.means, *task.deviations, *task.thresholds
    sizes = {len(x) for x in (task.means, task.deviations, task.thresholds) if x}
    if (
        task.kind not in get_args(Kind)
        or not task.labels
        or not all(isinstance(name, str) for name in names)
        or not all(isinstance(number, float) for number in numbers)
        or not sizes <= {task.num_outputs}
    ):
        raise ValueError(task)
    return task
