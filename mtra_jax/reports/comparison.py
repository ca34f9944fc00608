"""Lines of `results.jsonl`, a run each -> rows over seeds, with Δp and p."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import files, metrics
from mtra_jax.errors import InputError, check_name, did_you_mean, shown
from mtra_jax.reports import tables
from mtra_jax.tasks import BENCHMARKS, Task

SPLITS = ("validation", "test")
AVG = ("", "avg")
KINDS = {str: "a text", int: "a whole number", dict: "an object"}
# In percent; a little more, since a figure at the end may be rounded up.
LARGEST = 100.001


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
    """Rows in the order in which their names first occur. `note` says why Δp is missing."""

    tasks: tuple[Task, ...]
    rows: list[Row]
    baseline: str
    note: str | None = None


def read(path: Path) -> list[Entry]:
    """The runs of the file `path`, see `parse`.

    Raises:
      InputError: it cannot be read, is not UTF-8 or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected that of a sweep") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return parse(files.decode(content, path, " text"), str(path))


def parse(text: str, source: str) -> list[Entry]:
    """The runs of `text`, one JSON object a line, as scripts/sweep.py writes them.

    Raises:
      InputError: begins with `source` and the line that is damaged, has other tasks than
        the first run, or holds a run once more.
    """
    found: list[Entry] = []
    places: dict[tuple[str, int], int] = {}
    # Not str.splitlines: JSON may hold U+2028 and other breaks of its.
    lines = text.removesuffix("\n").split("\n") if text else []
    for number, line in enumerate(lines, start=1):
        where = f"{source}:{number}"
        try:
            entry = _entry(json.loads(line))
        except json.JSONDecodeError as error:
            raise InputError(
                f"{where}: damaged: not JSON from column {error.colno} on: {error.msg}"
            ) from error
        except RecursionError as error:
            raise InputError(f"{where}: damaged: nested too deep") from error
        except ValueError as error:  # besides ours, a number of thousands of digits
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


def check_results(results: Any, source: str) -> None:
    """Raises InputError that begins with `source` where a results.json cannot be shown.

    Each split, and "majority", has an object for each task, its figures in percent by
    metric, and "avg". A figure may be null or NaN where there was none. Epochs are
    numbers, or one for each task where they were trained apart.
    """
    try:
        _check_results(results, (*SPLITS, "majority"))
        _check_progress(results)
    except InputError as error:
        raise InputError(f"{source}: damaged: {error}") from error


def _entry(values: Any) -> Entry:
    """Raises InputError where `values` are no run."""
    name, seed = _member(values, "name", str), _member(values, "seed", int)
    if "baseline" in values:
        _member(values, "baseline", str)
    check_name(name, "name")
    benchmark = _benchmark_name(values)
    if benchmark not in BENCHMARKS:
        raise InputError(
            f"benchmark {shown(benchmark)}; {did_you_mean(benchmark, BENCHMARKS)}"
        )
    results = _member(values, "results", dict)
    _check_results(results, SPLITS)
    names = [name for name in results["test"] if name != "avg"]
    if not names:
        raise InputError("results of no task; expected at least one")
    tasks = BENCHMARKS[benchmark].select(names).tasks
    return Entry(name, seed, tasks, results, values)


def _benchmark_name(values: Mapping[str, Any]) -> str:
    overrides = _member(values, "overrides", dict)
    if "benchmark" in overrides:
        return _member(overrides, "benchmark", str)
    return _member(values, "preset", str).partition("_")[2]


def _check_results(results: Any, splits: Sequence[str]) -> None:
    for split in splits:
        summary = _member(results, split, dict)
        for task in summary:
            if task == "avg":
                _check_figure(summary["avg"], split, "avg")
                continue
            for metric, figure in _member(summary, task, dict).items():
                _check_figure(figure, split, task, metric)


def _check_progress(results: dict[str, Any]) -> None:
    kind = dict if isinstance(results.get("epochs"), dict) else int
    best, last = (_member(results, key, kind) for key in ("best_epoch", "epochs"))
    if kind is dict and best.keys() != last.keys():
        raise InputError(
            f"'epochs' of {shown(list(last))}; expected those of {shown(list(best))}"
        )
    seconds = results.get("train_seconds")
    if type(seconds) not in (int, float):
        raise InputError(f"'train_seconds' is {shown(seconds)}; expected a number")


def _check_figure(figure: Any, *place: str) -> None:
    is_number = type(figure) in (int, float) and not abs(figure) > LARGEST
    if figure is not None and not is_number:
        raise InputError(
            f"figure {shown(figure)} of {shown('/'.join(place))}; expected a number "
            "from -100 to 100, or null"
        )


def _member(values: Any, key: str, kind: type) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"{shown(values)}; expected an object with {shown(key)}")
    if key not in values:
        raise InputError(f"no {shown(key)}; expected {KINDS[kind]}")
    if type(values[key]) is not kind:
        raise InputError(
            f"{shown(key)} is {shown(values[key])}; expected {KINDS[kind]}"
        )
    return values[key]


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
    figures = _means(cells[baseline], tasks)
    note = tables.delta_p_note(baseline, figures, tasks)
    return Comparison(tasks, rows, baseline, note)


def baseline_of(entries: Sequence[Entry]) -> str:
    """The row that the sweep compares with, which its lines name; else "ew"."""
    names = [entry.values.get("baseline") for entry in entries]
    return next((name for name in reversed(names) if name), "ew")


def _means(
    cells: Mapping[tuple[str, str], Cell], tasks: Sequence[Task]
) -> dict[str, dict[str, float | None]]:
    return {
        task.name: {m: cells[task.name, m].mean for m in task.metrics} for task in tasks
    }


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
    try:
        return metrics.delta_p(_means(cells, tasks), _means(baseline, tasks), tasks)
    except (TypeError, ValueError):
        # A figure is missing, or one of the baseline's is not above 0: see the note.
        return None


def _welch(one: list[float | None], other: list[float | None]) -> float | None:
    from scipy import stats  # two seconds, of a script that may need none of it

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
