"""Methods, a preset and a budget -> trials on validation, and the best values of each method."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mtra_jax import config_values, files
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.reports import bars
from mtra_jax.runs import (
    experiments,
    search_optuna,
    search_results,
    search_spaces,
    search_trials,
    search_values,
    training,
    workers,
)
from mtra_jax.runs import workdir as run_files
from mtra_jax.runs.experiments import Overrides, Trial
from mtra_jax.runs.search_results import Try
from mtra_jax.runs.search_sources import Grid, Source
from mtra_jax.runs.search_spaces import Point, Space
from mtra_jax.runs.search_trials import Record
from mtra_jax.runs.search_values import Chosen
from mtra_jax.runs.workers import Work

SETTINGS = "search.json"
Kind = Literal["grid", "optuna"]


class Search(NamedTuple):
    """A search as requested by one command. `overrides`: the user's, for every trial."""

    preset: str
    workdir: Path
    spaces: Mapping[str, Space]
    num_trials: int
    kind: Kind
    seed: int
    overrides: Overrides
    command: str

    def trial(self, name: str, point: Point) -> Trial:
        """The run of a point in the space `name`."""
        space = self.spaces[name]
        overrides = (*self.overrides, *space.fixed, *point)
        return Trial(name, space.method, self.preset, self.seed, overrides)

    def directory(self, name: str, number: int) -> Path:
        """The directory of a trial."""
        return self.workdir / name / f"trial{number:02d}"

    def base(self, name: str) -> dict[str, Any]:
        """The configuration of the first trial, by dotted key."""
        trial = self.trial(name, ())._replace(overrides=self.spaces[name].fixed)
        return config_values.flat(experiments.config_of(trial, self.overrides))

    def selection(self, name: str) -> str:
        """What the trials are compared by, see `selection.make`."""
        return self.base(name)["selection"]


def make(
    names: Sequence[str],
    preset: str,
    workdir: Path,
    num_trials: int,
    kind: Kind,
    seed: int,
    overrides: Overrides = (),
    command: str = "",
) -> Search:
    """A search over the spaces `names`; writes nothing.

    Raises:
      InputError: an unknown name or preset, a grid with fewer points than trials, values
        that do not fit, a key that a space has fixed, another search in `workdir`, or a
        `found.toml` there that is damaged or compared more trials.
    """
    spaces = search_spaces.load(preset)
    for name in names:
        if name not in spaces:
            raise InputError(f"method {name}: {did_you_mean(name, spaces)}")
    chosen = {name: spaces[name] for name in names}
    search = Search(preset, workdir, chosen, num_trials, kind, seed, overrides, command)
    for name in chosen:
        _check_fixed(chosen[name], name, overrides)
        points = search_spaces.ordered(chosen[name], search.base(name), seed)
        if kind == "grid" and len(points) < num_trials:
            raise InputError(
                f"--trials {num_trials}: the grid of {name} has {len(points)} points, and "
                f"all methods get as many trials; expected at most {len(points)}, or "
                "--space optuna"
            )
        for point in points[:num_trials]:
            experiments.config_of(search.trial(name, point))
    if kind == "optuna":
        search_optuna.load()
    _check_settings(search)
    _check_found(search)
    return search


def _check_fixed(space: Space, name: str, overrides: Overrides) -> None:
    for key, value in space.fixed:
        if key in dict(overrides):
            raise InputError(
                f"--config.{key}: {name} is the search with {value!r}; expected another "
                f"key, or no {name}"
            )


def _settings(search: Search) -> dict[str, Any]:
    """What all commands with one work directory must have in common."""
    own = {k: v for k, v in search.overrides if k not in run_files.FREE_KEYS}
    return {
        "preset": search.preset,
        "space": search.kind,
        "seed": search.seed,
        "overrides": own,
    }


def _check_settings(search: Search) -> None:
    path = search.workdir / SETTINGS
    if not path.exists():
        return
    before = files.read_json(path)
    for key, value in _settings(search).items():
        there = before.get(key) if isinstance(before, dict) else None
        if there != value:
            raise InputError(
                f"{path}: {key} is {there!r} there and {value!r} here; expected the same, "
                "or a new --workdir"
            )


def _check_found(search: Search) -> None:
    """Raises InputError if `found.toml` cannot take the results of `search`.

    Fewer trials could replace values by worse ones.
    """
    path = search.workdir / search_values.FILE
    if not path.exists():
        return
    rows = search_values.read(str(path)).rows
    if not (search.workdir / SETTINGS).exists():
        raise InputError(
            f"{path}: a search without its {SETTINGS}; expected a whole search, or a new "
            "--workdir"
        )
    for name in search.spaces:
        there = rows[name].num_trials if name in rows else 0
        if search.num_trials < there:
            raise InputError(
                f"--trials {search.num_trials}: {path} has the best of {there} trials of "
                f"{name}; expected at least {there}, or a new --workdir"
            )


def run_all(
    search: Search,
    say: Callable[[str], None],
    should_stop: Callable[[int | None], bool] = lambda step: False,
    num_workers: int = 1,
) -> dict[str, list[Try]]:
    """Trains the trials that have not ended; returns all, by the name of the space.

    `num_workers`: how many trials of a grid at a time, see `workers`; one is trained in
    this process.

    `found.toml` and `trials.jsonl` are written as each method ends. `say` receives a line
    as each trial starts and ends.

    Raises:
      InputError: a trial lacks data or weights, or its directory holds another one.
      loop.Stopped: `should_stop`, as in `loop.Watch`; the same call continues.
    """
    # Again: another process may have searched since `make`.
    _check_settings(search)
    _check_found(search)
    files.write_json(search.workdir / SETTINGS, _settings(search))
    ended: dict[str, list[Try]] = {}
    current = training.CurrentInputs()
    with bars.sweep_bar(
        len(search.spaces) * search.num_trials, initial=0, name="search"
    ) as bar:
        new = {}
        if num_workers > 1:
            new = _at_a_time(search, num_workers, current, say, should_stop, bar.update)
        for name in search.spaces:
            source = _source(search, name)
            ended[name] = []
            for number in range(search.num_trials):
                directory = search.directory(name, number)
                if directory in new:
                    tried = Try(number, source.point(number), new[directory])
                else:
                    tried = _try(
                        search, name, number, source, current, say, should_stop
                    )
                    bar.update()
                ended[name].append(tried)
            _write(search, name, ended[name])
    return ended


def _at_a_time(
    search: Search,
    num_workers: int,
    current: training.CurrentInputs,
    say: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
    update: Callable[[], Any],
) -> dict[Path, Record]:
    """Trains the trials of a grid that have not ended; their records by directory."""
    works = []
    for name in search.spaces:
        source = _source(search, name)
        for number in range(search.num_trials):
            point = source.point(number)
            trial = search.trial(name, point)
            directory = search.directory(name, number)
            search_trials.check(trial, directory, current)
            if search_trials.read(directory) is None:
                label = _label(search, name, number, point)
                works.append(Work("trial", label, trial, (), directory))
    records: dict[Path, Record] = {}
    for index, ending in workers.run_all(works, num_workers, say, should_stop):
        directory = works[index].directory
        if ending.record is not None:
            record = Record(**ending.record)
        else:  # a process may be killed after it has written the record
            record = search_trials.read(directory) or Record(
                "failed", math.inf, None, 0, ending.seconds, ending.reason
            )
        records[directory] = record
        say(f"{works[index].label}: {_ended(record)}")
        update()
        _write_whole(search, works[index].trial.name, records)
    return records


def _write_whole(search: Search, name: str, records: Mapping[Path, Record]) -> None:
    """Writes the files of a search for the space `name` if all its trials have ended."""
    source, tries = _source(search, name), []
    for number in range(search.num_trials):
        directory = search.directory(name, number)
        record = records.get(directory) or search_trials.read(directory)
        if record is None:
            return
        tries.append(Try(number, source.point(number), record))
    _write(search, name, tries)


def _ended(record: Record) -> str:
    return f"{search_results.ending(record)}, {record.seconds:.0f} s"


def _label(search: Search, name: str, number: int, point: Point) -> str:
    shown = search_results.shown(point)
    return f"{name} [{number + 1}/{search.num_trials}] {shown}"


def _source(search: Search, name: str) -> Source:
    space, base = search.spaces[name], search.base(name)
    if search.kind == "grid":
        return Grid(search_spaces.ordered(space, base, search.seed))
    first = search_spaces.centre(space, base)
    journal = search.workdir / search_optuna.FILE
    return search_optuna.Tree(journal, name, space, first, search.seed)


def _try(
    search: Search,
    name: str,
    number: int,
    source: Source,
    current: training.CurrentInputs,
    say: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
) -> Try:
    """Trains one trial unless it has ended."""
    point = source.point(number)
    trial, directory = search.trial(name, point), search.directory(name, number)
    label = _label(search, name, number, point)
    search_trials.check(trial, directory, current)
    record = search_trials.read(directory)
    if record is None:
        has_begun = (directory / run_files.CONFIG).exists()
        say(f"{label}: {'continues' if has_begun else 'starts'}")
        record = search_trials.run(
            trial, directory, source.is_hopeless, say, should_stop
        )
        say(f"{label}: {_ended(record)}")
    else:
        say(f"{label}: {search_results.ending(record)} before")
        search_trials.remove_checkpoints(directory)
    source.end(number, record)
    return Try(number, point, record)


def _write(search: Search, name: str, tries: Sequence[Try]) -> None:
    """Writes `trials.jsonl`, and the best trial of a space, or none, into `found.toml`."""
    search_results.store(search.workdir, name, search.selection(name), tries)
    path = search.workdir / search_values.FILE
    rows = search_values.read(str(path)).rows if path.exists() else {}
    rows.pop(name, None)
    chosen = search_results.best(tries)
    if chosen is not None:
        rows[name] = _chosen(search, name, tries, chosen)
    elif not rows:
        path.unlink(missing_ok=True)
        return
    head = {
        "space": search.kind,
        "seed": search.seed,
        "command": search.command,
        "overrides": _settings(search)["overrides"],
    }
    search_values.write(path, head, rows.values(), search.preset)


def _chosen(search: Search, name: str, tries: Sequence[Try], chosen: Try) -> Chosen:
    directory = search.directory(name, chosen.number)
    own = next(p.parent for p in sorted(directory.glob(f"**/{run_files.ENVIRONMENT}")))
    environment = files.read_json(own / run_files.ENVIRONMENT)
    figure = chosen.record.figure
    return Chosen(
        name,
        search.spaces[name].method,
        len(tries),
        (*search.spaces[name].fixed, *chosen.point),
        selection=search.selection(name),
        validation=math.nan if figure is None else round(figure, 6),
        best_trial=chosen.number,
        lost_trials=sum(not math.isfinite(t.record.score) for t in tries),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=environment.get("git_revision") or "",
    )
