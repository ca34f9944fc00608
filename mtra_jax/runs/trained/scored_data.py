"""The data that a trained model is scored on: tasks, files, how much of them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtra_jax.data.own_tasks import task_file
from mtra_jax.errors import InputError
from mtra_jax.runs.directory import inputs_json, layout
from mtra_jax.tasks import OWN, Benchmark
from mtra_jax.train import evaluate


class Options(NamedTuple):
    """Options of `scoring.evaluate_run`.

    `data_dir` and `cache_dir`: None for the run's data and for your own cache. `task_path`:
    the TOML file of own tasks, perhaps not of all; None for the run's. `num_devices`: 0
    for all. `batch_size`: None for that of training; it is rounded up to a multiple of
    the devices.
    """

    data_dir: str | None = None
    cache_dir: str | None = None
    task_path: str | None = None
    num_devices: int = 0
    batch_size: int | None = None
    bar: evaluate.Bar = evaluate.no_bar


def choose(
    benchmark: Benchmark, task_path: str | None
) -> tuple[Benchmark, tuple[str, ...]]:
    """The own tasks of a run that the file `task_path` has, and the names of the others.

    Raises:
      InputError: the file cannot be read, or has none of the tasks.
    """
    if task_path is None or benchmark.name != OWN:
        return benchmark, ()
    names = task_file.names(task_path)
    common = benchmark.common(names, task_path)
    return common, tuple(name for name in benchmark.task_names if name not in names)


def task_path(
    directory: Path, benchmark: Benchmark, config: ConfigDict, options: Options
) -> str:
    """The TOML file of own tasks to read; "" for a built-in benchmark.

    Raises:
      InputError: the options do not fit the tasks of the run, or no file has them.
    """
    if benchmark.name != OWN:
        if options.task_path is not None:
            raise InputError(
                f"--tasks {options.task_path}: {directory} has tasks of "
                f"{benchmark.name}; expected --data_dir DIR for other data"
            )
        return ""
    if options.data_dir is not None:
        raise InputError(
            f"--data_dir {options.data_dir}: {directory} has own tasks; expected "
            "--tasks FILE.toml for other data"
        )
    path = options.task_path or config.data.tasks
    if options.task_path is None and not os.path.exists(path):
        # A relative path, in another directory; or the tasks were given in Python.
        raise InputError(
            f"{directory / layout.CONFIG}: data.tasks is {path!r}, and there is no such "
            "file here; expected --tasks FILE.toml"
        )
    return path


def cut_off(
    then: inputs_json.Fingerprints, now: dict[str, Any], path: str, split: str
) -> Iterator[str]:
    """Yields the lines of `task_file.cut_off` about data that are not those of the run.

    `then`, `now`: the data of the run, and the scored ones, as `Fingerprints.data`. All of
    the run's data, with its training examples, are not to be scored. `path`: the TOML file;
    "" for a built-in benchmark.
    """
    if path:
        changed = [
            name
            for name, parts in now.items()
            if inputs_json.data_difference(then, {name: parts}) is not None
        ]
        yield from task_file.cut_off(path, changed, split)
