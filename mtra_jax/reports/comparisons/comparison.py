"""`results.jsonl`, one run a line -> rows of means over seeds, with Δp and p."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtra_jax import files, metrics
from mtra_jax.errors import InputError, check_name, did_you_mean, shown
from mtra_jax.reports.comparisons import comparable, missing, run_tasks, tuning, unread
from mtra_jax.reports.comparisons.json_members import member
from mtra_jax.reports.statistics import intervals, ranks, seeds, significance
from mtra_jax.reports.statistics.seeds import AVG, Cell
from mtra_jax.tasks import BENCHMARKS, Benchmark, Task

SPLITS = ("validation", "test")
# In percent, with room for a figure of 100 that was rounded up.
LARGEST = 100.001
# The largest other figure, such as an error: means and deviations of such numbers are finite.
LARGEST_UNBOUNDED = 1e150


class Entry(NamedTuple):
    """A run. `results`: as in results.json. `values`: its whole line."""

    name: str
    seed: int
    tasks: tuple[Task, ...]
    results: dict[str, Any]
    values: dict[str, Any]


class Row(NamedTuple):
    """The runs of one name. Keys of `cells`: (task, metric) and `AVG`.

    `p` is Welch's. `baseline`: the name of the row that `delta_p` and `p` refer to. `holm`
    is `p` corrected for all rows that have one, `interval` that of `delta_p`. `unread`: of
    a language model, the percentage of replies without a label.
    """

    name: str
    num_seeds: int
    cells: dict[tuple[str, str], Cell]
    delta_p: float | None
    p: float | None
    baseline: str
    holm: float | None = None
    interval: intervals.Interval | None = None
    unread: Cell = Cell(None, None)


class Comparison(NamedTuple):
    """Rows in order of first occurrence.

    `notes`: what keeps runs from being compared, why Δp is missing, whether the seeds are
    too few, how rows were tuned, which tasks learned nothing. `ranking`: None for few
    methods or tasks.
    """

    tasks: tuple[Task, ...]
    rows: list[Row]
    notes: tuple[str, ...] = ()
    ranking: ranks.Ranks | None = None

    @property
    def baselines(self) -> list[str]:
        """The rows that Δp and p refer to, in the order of the rows that do."""
        return list(dict.fromkeys(row.baseline for row in self.rows))


def read(path: Path) -> list[Entry]:
    """The runs of the file `path`, see `parse`.

    Raises:
      InputError: the file cannot be read, is not UTF-8, or is damaged.
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
      InputError: a line is damaged, has other tasks than the first run, or repeats a
        run. The message begins with `source` and the number of the line.
    """
    entries: list[Entry] = []
    places: dict[tuple[str, int], int] = {}
    # `str.splitlines` also splits at U+2028 and U+0085, which JSON strings may contain.
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
        if entries:
            check_same_tasks(entry, entries[0], where)
        key = (entry.name, entry.seed)
        if key in places:
            raise InputError(
                f"{where}: {entry.name}, seed {entry.seed} is on line {places[key]} "
                "already; expected each run once"
            )
        places[key] = number
        entries.append(entry)
    return entries


def check_same_tasks(entry: Entry, first: Entry, where: str) -> None:
    """Raises InputError, beginning with `where`, if the tasks of two runs differ."""
    if (difference := run_tasks.difference(entry.tasks, first.tasks)) is None:
        return
    if "tasks" in entry.values and "tasks" in first.values:
        raise InputError(f"{where}: {difference}, as in the first run")
    raise InputError(
        f"{where}: tasks {_describe(entry)}; expected those of the first run, "
        f"{_describe(first)}"
    )


def _describe(entry: Entry) -> str:
    names = ", ".join(task.name for task in entry.tasks)
    is_own = "tasks" in entry.values
    return f"{names} of {'own tasks' if is_own else benchmark_name(entry.values)}"


def check_results(results: Any, source: str) -> None:
    """Checks the content of a results.json before it is shown.

    Each split, and "majority", must hold an object for each task (figures by metric) and
    "avg". A figure may be null or NaN. Epochs are numbers, or one number per task if the
    tasks were trained separately.

    Raises:
      InputError: a value is missing or of another kind; the message begins with `source`.
    """
    try:
        _check_results(results, (*SPLITS, "majority"))
        _check_epochs_and_times(results)
        unread.check(results)
    except InputError as error:
        raise InputError(f"{source}: damaged: {error}") from error


def _entry(values: Any) -> Entry:
    """Raises InputError if `values` is not a run record."""
    name, seed = member(values, "name", str), member(values, "seed", int)
    if "baseline" in values:
        member(values, "baseline", str)
    tuning.check(values)
    check_name(name, "name")
    results = member(values, "results", dict)
    has_majority = "majority" in results  # absent in lines of older versions
    _check_results(results, (*SPLITS, *["majority"] * has_majority))
    unread.check(results)
    names = [name for name in results["test"] if name != "avg"]
    if not names:
        raise InputError("results without a task; expected at least one")
    return Entry(name, seed, _tasks(values, names), results, values)


def _tasks(values: Mapping[str, Any], names: Sequence[str]) -> tuple[Task, ...]:
    """The tasks `names` of a line: its own "tasks", or those of its benchmark."""
    if "tasks" in values:
        own = Benchmark("own", run_tasks.read(values))
        return own.select(names).tasks
    benchmark = benchmark_name(values)
    if benchmark not in BENCHMARKS:
        raise InputError(
            f"benchmark {shown(benchmark)}; {did_you_mean(benchmark, BENCHMARKS)}"
        )
    return run_tasks.columns_of(BENCHMARKS[benchmark].select(names).tasks)


def benchmark_name(values: Mapping[str, Any]) -> str:
    """The benchmark of a run record.

    Raises:
      InputError: the record does not name it.
    """
    overrides = member(values, "overrides", dict)
    if "benchmark" in overrides:
        return member(overrides, "benchmark", str)
    return member(values, "preset", str).partition("_")[2]


def _check_results(results: Any, splits: Sequence[str]) -> None:
    constant = member(results, "constant", list) if "constant" in results else []
    if not all(isinstance(name, str) for name in constant):
        raise InputError(f"'constant' is {shown(constant)}; expected names of tasks")
    for split in splits:
        summary = member(results, split, dict)
        is_bounded = True
        for task in (name for name in summary if name != "avg"):
            for metric, figure in member(summary, task, dict).items():
                if not metrics.is_bounded(metric):
                    is_bounded = False
                _check_figure(figure, metrics.is_bounded(metric), split, task, metric)
        if "avg" in summary:
            _check_figure(summary["avg"], is_bounded, split, "avg")


def _check_epochs_and_times(results: dict[str, Any]) -> None:
    kind = dict if isinstance(results.get("epochs"), dict) else int
    best, last = (member(results, key, kind) for key in ("best_epoch", "epochs"))
    if kind is dict and best.keys() != last.keys():
        raise InputError(
            f"'epochs' of {shown(list(last))}; expected those of {shown(list(best))}"
        )
    times = {"train_seconds": results.get("train_seconds")}
    if "scoring_seconds" in results:  # results of older versions have no such time
        times["scoring_seconds"] = results["scoring_seconds"]
    for key, seconds in times.items():
        if type(seconds) not in (int, float):
            raise InputError(f"{key!r} is {shown(seconds)}; expected a number")


def _check_figure(figure: Any, is_bounded: bool, *place: str) -> None:
    largest = LARGEST if is_bounded else LARGEST_UNBOUNDED
    is_number = type(figure) in (int, float) and not abs(figure) > largest
    if figure is not None and not is_number:
        range_ = " from -100 to 100" if is_bounded else f" up to {largest:g}"
        raise InputError(
            f"figure {shown(figure)} of {shown('/'.join(place))}; expected a number"
            f"{range_}, or null"
        )


def compare(
    entries: Sequence[Entry],
    split: str = "test",
    baseline: str | Mapping[str, str] = "ew",
) -> Comparison:
    """Means and standard deviations (ddof 1) over seeds, Δp and p against `baseline`.

    `baseline`: one row for all, or the name of each row's, see `baselines_of`. A figure
    that is missing in one seed is missing in the row. Δp is computed from the means. p is
    from Welch's two-sided t-test of Avg.; it needs two seeds in both rows, and figures
    that are not all equal. Both are missing while the row of a baseline is, which a note
    says. Methods with the same training data are ranked by their means on each task.

    Raises:
      InputError: `entries` is empty, or has no run of the one `baseline`.

    Source: MTRA, appendix B.3 (Δp), section 4 (p). For the correction, the interval and
    the ranks see `significance`, `intervals` and `ranks`.
    """
    if not entries:
        raise InputError("no finished run to compare")
    names = list(dict.fromkeys(entry.name for entry in entries))
    if isinstance(baseline, str):
        if baseline not in names:
            hint = did_you_mean(baseline, names)
            raise InputError(f"unknown baseline {baseline!r}; {hint}")
        baseline = dict.fromkeys(names, baseline)
    chosen = list(dict.fromkeys(baseline[name] for name in names))
    tasks = entries[0].tasks
    summaries = {
        name: [entry.results[split] for entry in entries if entry.name == name]
        for name in names
    }
    rows = [
        _row(name, baseline[name], summaries, tasks)._replace(
            unread=unread.cell(e.results for e in entries if e.name == name)
        )
        for name in names
    ]
    corrected = significance.holm([row.p for row in rows])
    rows = [row._replace(holm=p) for row, p in zip(rows, corrected, strict=True)]
    means = {row.name: seeds.means(row.cells, tasks) for row in rows}
    notes: list[str | None] = [*comparable.notes(entries, split, baseline)]
    notes += [missing.delta_p(name, means, tasks) for name in chosen]
    num_seeds = {row.name: row.num_seeds for row in rows}
    notes.append(significance.unequal_note(num_seeds))
    notes.append(significance.seeds_note(list(num_seeds.values())))
    notes.append(
        tuning.note(
            tuning.row_of(e.name, e.values)
            for e in entries
            if not unread.is_prompted(e.results)
        )
    )
    notes.append(unread.note((entry.name, entry.results) for entry in entries))
    notes += [
        missing.interval(name, summaries.get(name, []), tasks)
        for name in chosen
        if any(row.baseline == name != row.name for row in rows)
    ]
    given = tuple(filter(None, notes))
    is_ranked = comparable.have_same_data(entries)
    ranking = ranks.of_tasks(means, tasks) if is_ranked else None
    return Comparison(tasks, rows, given, ranking)


def _row(
    name: str,
    baseline: str,
    summaries: Mapping[str, Sequence[Mapping[str, Any]]],
    tasks: Sequence[Task],
) -> Row:
    """The row `name` without `holm`. `summaries`: those of the seeds of each row."""
    keys = [*((task.name, metric) for task in tasks for metric in task.metrics), AVG]
    own, base = summaries[name], summaries.get(baseline, [])
    cells = {key: seeds.cell(own, key) for key in keys}
    base_cells = {key: seeds.cell(base, key) for key in keys} if base else None
    delta_p = seeds.delta_p(cells, base_cells, tasks)
    row = Row(name, len(own), cells, delta_p, None, baseline)
    if name == baseline:
        return row
    averages, base_averages = (
        [seeds.figure(summary, AVG) for summary in part] for part in (own, base)
    )
    return row._replace(
        p=seeds.welch(averages, base_averages),
        interval=intervals.of_delta_p(own, base, tasks),
    )


def baselines_of(entries: Sequence[Entry]) -> dict[str, str]:
    """The baseline of each row: that of its last line that names one.

    A row whose lines name none, as those of older versions, has the baseline of the last
    line of all that names one, or else "ew".
    """
    named = {e.name: e.values["baseline"] for e in entries if e.values.get("baseline")}
    others = [e.values["baseline"] for e in entries if e.values.get("baseline")]
    default = others[-1] if others else "ew"
    return {entry.name: named.get(entry.name, default) for entry in entries}
