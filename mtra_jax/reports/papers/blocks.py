"""A printed table as text -> the figures of its rows."""

import re
from typing import NamedTuple

from mtra_jax.reports.statistics.seeds import AVG, Cell
from mtra_jax.tasks import BENCHMARKS


class Block(NamedTuple):
    """Rows of one table. `tasks`: those of a part of the benchmark; () for all of it."""

    table: str
    experiments: tuple[str, ...]
    backbone: str
    benchmark: str
    text: str
    tasks: tuple[str, ...] = ()
    has_tasks: bool = True


class Figures(NamedTuple):
    """A printed row. Keys of `cells`: (task, metric) and `AVG`, or `AVG` alone."""

    table: str
    cells: dict[tuple[str, str], Cell]
    delta_p: float | None


def read(block: Block) -> dict[str, Figures]:
    """The rows of `block` by name."""
    keys = [AVG]
    if block.has_tasks:
        benchmark = BENCHMARKS[block.benchmark]
        tasks = benchmark.select(block.tasks or benchmark.task_names).tasks
        keys = [(task.name, m) for task in tasks for m in task.metrics] + keys
    rows = {}
    for line in block.text.strip().splitlines():
        name, text = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        *figures, delta_p = text.split()
        cells = dict(zip(keys, map(_cell, figures), strict=True))
        rows[name] = Figures(
            block.table, cells, None if delta_p == "-" else float(delta_p)
        )
    return rows


def _cell(text: str) -> Cell:
    if text == "-":
        return Cell(None, None)
    mean, _, std = text.partition("±")
    return Cell(float(mean), float(std) if std else None)
