"""Lines of `results.jsonl`, a run each -> rows over seeds, with Δp and p."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from mtra_jax import metrics
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.tasks import BENCHMARKS, Task

SPLITS = ("validation", "test")
AVG = ("", "avg")


class Entry(NamedTuple):
    """A run: `results` as in results.json, `values` all that its line holds."""

    name: str
    seed: int
    tasks: tuple[Task, ...]
    results: dict[str, Any]
    values: dict[str, Any]


class Cell(NamedTuple):
    """A figure in percent over the seeds; None for what is missing or has one seed."""

    mean: float | None
    std: float | None


class Row(NamedTuple):
    """The runs of one name. Keys of `cells`: (task, metric) and `AVG`."""

    name: str
    num_seeds: int
    cells: dict[tuple[str, str], Cell]
    delta_p: float | None
    p: float | None


class Comparison(NamedTuple):
    """Rows in the order in which their names first occur."""

    tasks: tuple[Task, ...]
    rows: list[Row]
    baseline: str


def parse(text: str, source: str) -> list[Entry]:
    """The runs of `text`, one JSON object a line, as scripts/sweep.py writes them.

    Raises:
      InputError: begins with `source` and the line that is damaged, has other tasks than
        the first run, or holds a run once more.
    """
    found: list[Entry] = []
    places: dict[tuple[str, int], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{source}:{number}"
        try:
            entry = _entry(json.loads(line))
        except KeyError as error:
            raise InputError(f"{where}: damaged: no {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{where}: damaged: {error}") from error
        if found and entry.tasks != found[0].tasks:
            raise InputError(
                f"{where}: tasks {_describe(entry)}; expected those of the first run, "
                f"{_describe(found[0])}"
            )
        key = (entry.name, entry.seed)
        if key in places:
            raise InputError(
                f"{where}: {entry.name}, seed {entry.seed} is on line {places[key]} "
                "already; expected each run once"
            )
        places[key] = number
        found.append(entry)
    return found


def _entry(values: Any) -> Entry:
    """Raises KeyError, ValueError, TypeError or AttributeError where it is none."""
    benchmark = _benchmark_name(values)
    if benchmark not in BENCHMARKS:
        raise ValueError(
            f"benchmark {benchmark!r}; {did_you_mean(benchmark, BENCHMARKS)}"
        )
    results = values["results"]
    names = [name for name in results["test"] if name != "avg"]
    if not isinstance(values["name"], str) or type(values["seed"]) is not int:
        raise ValueError("expected a text as name and a whole number as seed")
    for split in SPLITS:
        _check_summary(results[split])
    return Entry(
        values["name"],
        values["seed"],
        BENCHMARKS[benchmark].select(names).tasks,
        results,
        values,
    )


def _benchmark_name(values: Mapping[str, Any]) -> str:
    return values["overrides"].get("benchmark") or values["preset"].partition("_")[2]


def _check_summary(summary: Mapping[str, Any]) -> None:
    figures = [summary.get("avg")]
    for name, scores in summary.items():
        if name != "avg":
            figures += scores.values()
    for figure in figures:
        if not isinstance(figure, int | float | None):
            raise ValueError(f"figure {figure!r}; expected a number")


def _describe(entry: Entry) -> str:
    names = ", ".join(task.name for task in entry.tasks)
    return f"{names} of {_benchmark_name(entry.values)}"


def compare(
    entries: Sequence[Entry], split: str = "test", baseline: str = "ew"
) -> Comparison:
    """Means and standard deviations (ddof 1) over seeds, Δp and p against `baseline`.

    A figure that one of a row's seeds lacks is missing in the row. Δp is that of the
    means. p is that of Welch's two-sided t-test of Avg.; it needs two seeds on either
    side, which are not all equal.

    Raises:
      InputError: there are no runs, or none of the baseline.

    Source: MTRA, appendix B.3 (Δp), section 4 (p).
    """
    if not entries:
        raise InputError("no finished run to compare")
    names = list(dict.fromkeys(entry.name for entry in entries))
    if baseline not in names:
        raise InputError(
            f"unknown baseline {baseline!r}; {did_you_mean(baseline, names)}"
        )
    tasks = entries[0].tasks
    cells, averages = {}, {}
    for name in names:
        summaries = [e.results[split] for e in entries if e.name == name]
        keys = [(task.name, metric) for task in tasks for metric in task.metrics]
        cells[name] = {key: _cell(summaries, key) for key in [*keys, AVG]}
        averages[name] = [_figure(summary, AVG) for summary in summaries]
    rows = [
        Row(
            name,
            len(averages[name]),
            cells[name],
            _delta_p(cells[name], cells[baseline], tasks),
            None if name == baseline else _welch(averages[name], averages[baseline]),
        )
        for name in names
    ]
    return Comparison(tasks, rows, baseline)


def _figure(summary: Mapping[str, Any], key: tuple[str, str]) -> float | None:
    task, metric = key
    value = summary.get("avg") if key == AVG else summary.get(task, {}).get(metric)
    return float(value) if value is not None and math.isfinite(value) else None


def _cell(summaries: Sequence[Mapping[str, Any]], key: tuple[str, str]) -> Cell:
    figures = [_figure(summary, key) for summary in summaries]
    if None in figures:
        return Cell(None, None)
    std = float(np.std(figures, ddof=1)) if len(figures) > 1 else None
    return Cell(float(np.mean(figures)), std)


def _delta_p(
    cells: Mapping[tuple[str, str], Cell],
    baseline: Mapping[tuple[str, str], Cell],
    tasks: Sequence[Task],
) -> float | None:
    scores, base = (
        {task.name: {m: of[task.name, m].mean for m in task.metrics} for task in tasks}
        for of in (cells, baseline)
    )
    try:
        return metrics.delta_p(scores, base, tasks)
    except (
        TypeError,
        ValueError,
    ):  # A figure is missing, or the baseline's is not > 0.
        return None


def _welch(one: list[float | None], other: list[float | None]) -> float | None:
    if min(len(one), len(other)) < 2 or None in one + other:
        return None
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        return None  # 0 / 0, or a certainty that equal seeds do not give.
    # From the moments, since `ttest_ind` warns where one side's are exactly 0.
    moments = ((np.mean(x), np.std(x, ddof=1), len(x)) for x in (one, other))
    (mean, std, n), (base, base_std, base_n) = moments
    test = stats.ttest_ind_from_stats(
        mean, std, n, base, base_std, base_n, equal_var=False
    )
    return float(test.pvalue)
