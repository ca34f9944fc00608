"""`metrics.jsonl` of runs -> validation figures epoch by epoch, a table for each task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtra_jax import files, metrics
from mtra_jax.errors import InputError
from mtra_jax.reports.formatting import tables
from mtra_jax.tasks import Task

Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """The lines of a `metrics.jsonl`; one that is being written is left out.

    Raises:
      InputError: there is no such file, no epoch has ended, or a line is damaged.
    """
    rule = "expected the file of a run after its first epoch"
    try:
        logged = files.json_lines(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {rule}") from error
    for place, line in logged:
        if not _is_whole(line):
            raise InputError(f"{place}: damaged; expected a step and figures")
    lines = [line for _, line in logged]
    if not of_epochs(lines):
        raise InputError(f"{path}: no epoch; {rule}")
    return lines


def _is_whole(line: Any) -> bool:
    """Whether `line` has a step, a number of an epoch if any, and numbers as figures."""
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return False
    epoch = line.get("epoch", 1)
    return (
        type(epoch) is int
        and epoch >= 1
        and all(value is None or type(value) in (int, float) for value in line.values())
    )


def of_epochs(lines: Sequence[Line]) -> list[Line]:
    """The lines with the figures of the validation set."""
    return [line for line in lines if "validation/loss" in line and "epoch" in line]


def table(
    runs: Mapping[str, Sequence[Line]], tasks: Sequence[Task], *, markdown: bool = False
) -> str:
    """For each task the loss ℓ_Task, the scores and the bound I of each run by epoch.

    `runs`: the lines of `read` by the name of the run. A run without a bound has no column
    of it, and an epoch that it did not reach is "-".

    >>> from mtra_jax.tasks import BENCHMARKS
    >>> tasks = BENCHMARKS["synthetic"].select(["irony"]).tasks
    >>> line = {"step": 3, "epoch": 1, "validation/loss": 0.5, "validation/loss/irony": 0.6}
    >>> own = {"validation/mi/irony": 0.1, "validation/task/irony": 0.7}
    >>> score = {"validation/irony/macro_f1": 61.5}
    >>> print(table({"EW": [line | score], "MTRA": [line | own | score]}, tasks))
    Irony
                   EW               MTRA
               loss   M-F1    loss   M-F1      I
    epoch 1  0.6000  61.50  0.7000  61.50  0.100
    """
    epochs = {
        name: {line["epoch"]: line for line in of_epochs(lines)}
        for name, lines in runs.items()
    }
    last = max(max(lines) for lines in epochs.values())
    parts = []
    for task in tasks:
        heads: list[tuple[str, str]] = []
        columns: list[list[str]] = []
        for name, lines in epochs.items():
            for head, column in _columns(lines, task, last):
                heads.append((name, head))
                columns.append(column)
        body = [
            [f"epoch {epoch}", *(column[epoch - 1] for column in columns)]
            for epoch in range(1, last + 1)
        ]
        make = tables.markdown if markdown else tables.grouped
        title = f"**{tables.escaped(task.title)}**\n" if markdown else task.title
        parts.append(f"{title}\n{make(heads, body)}")
    return "\n\n".join(parts)


def clipping(runs: Mapping[str, Sequence[Line]], limits: Mapping[str, float]) -> str:
    """In how many steps the gradient of each run was longer than its limit.

    `limits`: the largest norms, by the name of the run (`clip_norm`).

    >>> lines = [{"step": i, "norm/grads": norm} for i, norm in enumerate((0.5, 3.0, 2.0))]
    >>> print(clipping({"EW": lines}, {"EW": 1.0}))
    steps with a clipped gradient: EW 66.7 % (median of the norm 2, clip_norm 1)
    """
    parts = []
    for name, lines in runs.items():
        norms = [
            line["norm/grads"] for line in lines if line.get("norm/grads") is not None
        ]
        if norms:
            share = 100 * np.mean(np.array(norms) > limits[name])
            parts.append(
                f"{name} {share:.1f} % (median of the norm {np.median(norms):.3g}, "
                f"clip_norm {limits[name]:g})"
            )
    return f"steps with a clipped gradient: {', '.join(parts)}" if parts else ""


def _columns(
    lines: Mapping[int, Line], task: Task, last: int
) -> list[tuple[str, list[str]]]:
    """The heads and the cells of the epochs 1 to `last` of one run."""
    first = next(iter(lines.values()))
    bound = f"validation/mi/{task.name}"
    chosen: list[tuple[str, str, metrics.Metric | None]] = [
        ("loss", _loss_key(first, task.name), None)
    ]
    for name in task.metrics:
        metric = metrics.find(name, task)
        chosen.append((metric.title, f"validation/{task.name}/{name}", metric))
    if any(bound in line for line in lines.values()):
        chosen.append(("I", bound, None))
    return [
        (head, [_cell(lines.get(epoch), key, metric) for epoch in range(1, last + 1)])
        for head, key, metric in chosen
    ]


def _cell(line: Line | None, key: str, metric: metrics.Metric | None) -> str:
    value = None if line is None else line.get(key)
    if value is None:
        return tables.MISSING
    if metric is not None:
        return tables.figure(metric, value)
    return format(value, "z.3f" if "/mi/" in key else ".4f")


def _loss_key(line: Line, task: str) -> str:
    """The key of ℓ_Task; methods that add nothing to it have it as the loss of the task."""
    key = f"validation/task/{task}"
    return key if key in line else f"validation/loss/{task}"
