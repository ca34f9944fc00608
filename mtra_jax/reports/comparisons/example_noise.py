"""Predictions of the same test examples -> how far rows differ beyond their noise."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mtra_jax import metrics
from mtra_jax.metrics import resampling
from mtra_jax.reports.formatting import tables
from mtra_jax.reports.statistics import intervals
from mtra_jax.reports.statistics.intervals import Interval
from mtra_jax.reports.statistics.seeds import AVG, figure
from mtra_jax.tasks import Task

RESAMPLES = 1000
_LONG = 400_000
"""Predictions of which the resamples take seconds."""
LEVEL = f"{100 * intervals.LEVEL:.0f} %"

Intervals = dict[tuple[str, str], Interval]
"""By task and metric, and `AVG`."""


class Predicted(NamedTuple):
    """`labels`: by task. `predictions`: by row and task. `faults`: why one is missing.

    The first row is the baseline. Values are as in `metrics.score`. `groups`: the tasks of
    the same texts, in the same order; each task with labels is in one group.
    """

    labels: Mapping[str, np.ndarray]
    predictions: Mapping[str, Mapping[str, np.ndarray]]
    faults: Mapping[str, Mapping[str, str]]
    groups: Sequence[Sequence[str]] = ()


def of_differences(predicted: Predicted, tasks: Sequence[Task]) -> dict[str, Intervals]:
    """The percentile intervals of each other row's figures less those of the first.

    The examples of each task are drawn with replacement `RESAMPLES` times, the same for
    all rows, and for all tasks of the same texts. The intervals cover the noise of these
    examples, not that of the seed. Without an interval are tasks that a row or the first
    one lacks, metrics that need probabilities, and then Avg.

    Source: Efron & Tibshirani 1993, section 13.3.
    """
    drawn: dict[str, dict[str, resampling.Figures]] = {
        row: {} for row in predicted.predictions
    }
    for group in predicted.groups:
        own = [task for task in tasks if task.name in group]
        if own:
            figures = resampling.joint(
                own, predicted.predictions, predicted.labels, resamples=RESAMPLES
            )
            for row, part in figures.items():
                drawn[row] |= part
    baseline, *others = drawn
    return {row: _intervals(drawn[row], drawn[baseline], tasks) for row in others}


def _intervals(
    own: Mapping[str, resampling.Figures],
    base: Mapping[str, resampling.Figures],
    tasks: Sequence[Task],
) -> Intervals:
    nothing = np.full(RESAMPLES, np.nan)
    changes: dict[str, dict[str, np.ndarray]] = {}
    for task in tasks:
        name = task.name
        changes[name] = dict.fromkeys(task.metrics, nothing)
        if name in own and name in base:
            changes[name] = {key: own[name][key] - base[name][key] for key in own[name]}
    drawn = {
        (task, metric): values
        for task, part in changes.items()
        for metric, values in part.items()
    }
    drawn[AVG] = _averages(changes, tasks)
    tail = 100 * (1 - intervals.LEVEL) / 2
    return {
        key: Interval(*map(float, np.percentile(values, [tail, 100 - tail])))
        for key, values in drawn.items()
        if np.isfinite(values).all()
    }


def _averages(
    changes: Mapping[str, Mapping[str, np.ndarray]], tasks: Sequence[Task]
) -> np.ndarray:
    """Avg. of each resample."""
    return np.array(
        [
            metrics.average(
                {
                    task: {metric: float(values[i]) for metric, values in own.items()}
                    for task, own in changes.items()
                },
                tasks,
            )
            for i in range(RESAMPLES)
        ]
    )


def announcement(predicted: Predicted) -> str:
    """A line about resamples that take long; "" if they do not."""
    rows = predicted.predictions.values()
    size = sum(len(values) for row in rows for values in row.values())
    if size < _LONG:
        return ""
    return f"drawing {RESAMPLES} resamples of {size} predictions for the intervals"


def block(
    predicted: Predicted,
    rows: Mapping[str, tables.Summary],
    tasks: Sequence[Task],
    *,
    is_markdown: bool = False,
) -> str:
    """The differences of the `rows` from the first, with their intervals.

    Each metric of a task is a line, and so is Avg. The lines below say what the intervals
    cover, and why some are missing.
    """
    of_rows = of_differences(predicted, tasks)
    ends = {name: part for name, part in of_rows.items() if part}
    notes = [*_fault_notes(predicted, tasks)]
    parts = []
    if ends:
        notes = [_meaning(predicted), *_probability_notes(tasks), *notes]
        heads = [(name, part) for name in ends for part in ("Δ", LEVEL)]
        make = tables.markdown if is_markdown else tables.grouped
        parts.append(make(heads, _body(ends, rows, tasks)))
    parts += map(tables.escaped, notes) if is_markdown else notes
    return ("\n\n" if is_markdown else "\n").join(parts)


def _body(
    ends: Mapping[str, Intervals],
    rows: Mapping[str, tables.Summary],
    tasks: Sequence[Task],
) -> list[list[str]]:
    """For each metric its name, and each row's difference and interval."""
    metric_of = {
        (task.name, name): (f"{task.title} {row.title}", row)
        for task in tasks
        for name in task.metrics
        for row in [metrics.find(name, task)]
    }
    base = next(iter(rows.values()))
    lines = []
    for key in (*metric_of, AVG):
        head, metric = metric_of.get(key, ("Avg.", None))
        line = [head]
        for name, intervals_of in ends.items():
            line += _cells(
                figure(rows[name], key),
                figure(base, key),
                intervals_of.get(key),
                metric,
            )
        lines.append(line)
    return lines


def _cells(
    value: float | None,
    base: float | None,
    interval: Interval | None,
    metric: metrics.Metric | None,
) -> list[str]:
    if value is None or base is None:
        return [tables.MISSING, tables.MISSING]
    numbers = [value - base, *(interval or ())]
    form = ".2f" if metric is None else tables.digits(metric, max(map(abs, numbers)))
    # "z": no sign before a zero.
    change, *shown = (format(number, f"+z{form}") for number in numbers)
    return [change, f"[{', '.join(shown)}]" if shown else tables.MISSING]


def _meaning(predicted: Predicted) -> str:
    baseline = next(iter(predicted.predictions))
    shared = (
        ", and for tasks of the same texts"
        if any(x[1:] for x in predicted.groups)
        else ""
    )
    return (
        f"Δ: difference from {baseline}; {LEVEL}: of {RESAMPLES} resamples of the test "
        f"examples, the same for both rows{shared}: the noise of these examples, not of "
        "the seed"
    )


def _probability_notes(tasks: Sequence[Task]) -> Iterator[str]:
    names = [
        f"{task.title} {metric.title}"
        for task in tasks
        for metric in (metrics.find(name, task) for name in task.metrics)
        if metric.needs_probabilities
    ]
    if names:
        yield (
            f"no interval for {', '.join(names)} and Avg.: runs store labels, without "
            "probabilities"
        )


def _fault_notes(predicted: Predicted, tasks: Sequence[Task]) -> Iterator[str]:
    """A line for each row that lacks predictions, with the first reason."""
    baseline = next(iter(predicted.predictions))
    for name, faults in predicted.faults.items():
        if not faults:
            continue
        which = "no intervals"
        if len(faults) < len(tasks):
            lacking = ", ".join(task.title for task in tasks if task.name in faults)
            which = f"no interval for {lacking} and Avg."
        whose = f" of {name}" if name != baseline else ""
        yield f"{which}{whose}: {next(iter(faults.values()))}"
