"""`diagnostics.jsonl` of a run -> a heat map of cosines, and curves: PNG and PDF files."""

from pathlib import Path
from typing import Any

import numpy as np

from mtra_jax import files
from mtra_jax.errors import InputError
from mtra_jax.reports.pictures import drawing, figures
from mtra_jax.runs.directory import metrics_log, tasks_json


def draw(directory: Path) -> list[Path]:
    """Writes pictures of the run in `directory` into its `figures`; returns their paths.

    The heat map has the means of the cosines over the measured steps. The curves are the
    share of conflicts, the norms of the tasks' gradients and the weights of the tasks.

    Raises:
      InputError: the run has no diagnostics, a line is damaged, or matplotlib is missing.
    """
    tasks = tasks_json.read(directory).tasks
    titles = {task.name: task.title for task in tasks}
    lines = read(directory, len(tasks))
    stack = np.stack([line["cosines"] for line in lines])
    is_measured = np.isfinite(stack)
    counts = is_measured.sum(axis=0)
    sums = np.where(is_measured, stack, 0).sum(axis=0)
    means = np.where(counts > 0, sums, np.nan) / np.maximum(counts, 1)
    made = {
        "gradient_cosines": figures.conflict_heat_map(means, list(titles.values())),
        "gradient_curves": figures.gradient_curves(lines, titles),
    }
    return drawing.save_all(made, directory / drawing.DIRECTORY)


def read(directory: Path, num_tasks: int) -> list[dict[str, Any]]:
    """The lines of the run in `directory`; `cosines` is an array [T, T] with NaN for null.

    Raises:
      InputError: there is no such file or no line in it, or a line is damaged.
    """
    path = directory / metrics_log.DIAGNOSTICS
    rule = "expected a run with --config.diagnostics.every=N after N steps"
    try:
        logged = files.json_lines(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {rule}") from None
    lines = [_line(value, place, num_tasks) for place, value in logged]
    if not lines:
        raise InputError(f"{path}: empty; {rule}")
    return lines


def _line(line: Any, place: str, num_tasks: int) -> dict[str, Any]:
    try:
        cosines = np.array(line["cosines"], np.float64)
        if cosines.shape == (num_tasks, num_tasks) and type(line["step"]) is int:
            return {**line, "cosines": cosines}
    except (KeyError, TypeError, ValueError):
        pass
    raise InputError(
        f"{place}: damaged; expected a step and the cosines of {num_tasks} tasks"
    )
