"""A search -> its trials, trained, and the best values of each method in `found.toml`."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from mtra_jax import files
from mtra_jax.reports.progress import bars
from mtra_jax.runs.directory import layout
from mtra_jax.runs.search import optuna_points
from mtra_jax.runs.search import plan as search
from mtra_jax.runs.search import results as search_results
from mtra_jax.runs.search.plan import Search
from mtra_jax.runs.search.points import Grid, Source
from mtra_jax.runs.search.results import Try
from mtra_jax.runs.sweeps import workers
from mtra_jax.runs.sweeps.workers import Work
from mtra_jax.runs.training import same_inputs
from mtra_jax.runs.trials import found_toml, spaces, tuned_rows, validation_run
from mtra_jax.runs.trials.found_toml import Chosen
from mtra_jax.runs.trials.run_specs import Trial
from mtra_jax.runs.trials.spaces import Point
from mtra_jax.runs.trials.validation_run import Record


class _Turn(NamedTuple):
    """The trial with `number` among those of a space, and what lines call it."""

    number: int
    point: Point
    trial: Trial
    directory: Path
    label: str


def run_all(
    planned: Search,
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
      loop.Stopped: `should_stop`, as in `interfaces.Watch`; the same call continues.
    """
    # Again: another process may have searched since `search.make`.
    search.check(planned)
    files.write_json(planned.workdir / search.SETTINGS, search.settings(planned))
    ended: dict[str, list[Try]] = {}
    current = same_inputs.Current()
    with bars.sweep_bar(
        len(planned.spaces) * planned.num_trials, initial=0, name="search"
    ) as bar:
        new = {}
        if num_workers > 1:
            new = _at_a_time(
                planned, num_workers, current, say, should_stop, bar.update
            )
        for name in planned.spaces:
            source = _source(planned, name)
            ended[name] = []
            for number in range(planned.num_trials):
                turn = _turn(planned, name, number, source)
                record = new.get(turn.directory)
                if record is None:
                    record = _ended(turn, source, current, say, should_stop)
                    bar.update()
                ended[name].append(Try(number, turn.point, record))
            _write(planned, name, ended[name])
    return ended


def _turn(planned: Search, name: str, number: int, source: Source) -> _Turn:
    point = source.point(number)
    shown = search_results.shown(point)
    return _Turn(
        number,
        point,
        planned.trial(name, point),
        planned.directory(name, number),
        f"{name} [{number + 1}/{planned.num_trials}] {shown}",
    )


def _source(planned: Search, name: str) -> Source:
    space, base = planned.spaces[name], planned.base(name)
    if planned.kind == "grid":
        return Grid(spaces.ordered(space, base, planned.seed))
    first = spaces.centre(space, base)
    journal = planned.workdir / optuna_points.FILE
    return optuna_points.Tree(journal, name, space, first, planned.seed)


def _ended(
    turn: _Turn,
    source: Source,
    current: same_inputs.Current,
    say: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
) -> Record:
    """How a trial ended; trains it unless it has."""
    validation_run.check(turn.trial, turn.directory, current)
    record = validation_run.read(turn.directory)
    if record is None:
        has_begun = (turn.directory / layout.CONFIG).exists()
        say(f"{turn.label}: {'continues' if has_begun else 'starts'}")
        record = validation_run.run(
            turn.trial, turn.directory, source.is_hopeless, say, should_stop
        )
        say(f"{turn.label}: {_ending(record)}")
    else:
        say(f"{turn.label}: {search_results.ending(record)} before")
        validation_run.remove_checkpoints(turn.directory)
    source.end(turn.number, record)
    return record


def _at_a_time(
    planned: Search,
    num_workers: int,
    current: same_inputs.Current,
    say: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
    update: Callable[[], Any],
) -> dict[Path, Record]:
    """Trains the trials of a grid that have not ended; their records by directory."""
    works = []
    for name in planned.spaces:
        source = _source(planned, name)
        for number in range(planned.num_trials):
            turn = _turn(planned, name, number, source)
            validation_run.check(turn.trial, turn.directory, current)
            if validation_run.read(turn.directory) is None:
                works.append(Work("trial", turn.label, turn.trial, (), turn.directory))
    records: dict[Path, Record] = {}
    for index, ending in workers.run_all(works, num_workers, say, should_stop):
        directory = works[index].directory
        if ending.record is not None:
            record = Record(**ending.record)
        else:  # a process may be killed after it has written the record
            record = validation_run.read(directory) or Record(
                "failed", math.inf, None, 0, ending.seconds, ending.reason
            )
        records[directory] = record
        say(f"{works[index].label}: {_ending(record)}")
        update()
        _write_whole(planned, works[index].trial.name, records)
    return records


def _ending(record: Record) -> str:
    return f"{search_results.ending(record)}, {record.seconds:.0f} s"


def _write_whole(planned: Search, name: str, records: Mapping[Path, Record]) -> None:
    """Writes the files of a search for the space `name` if all its trials have ended."""
    source, tries = _source(planned, name), []
    for number in range(planned.num_trials):
        directory = planned.directory(name, number)
        record = records.get(directory) or validation_run.read(directory)
        if record is None:
            return
        tries.append(Try(number, source.point(number), record))
    _write(planned, name, tries)


def _write(planned: Search, name: str, tries: Sequence[Try]) -> None:
    """Writes `trials.jsonl`, and the best trial of a space, or none, into `found.toml`."""
    search_results.store(planned.workdir, name, planned.selection(name), tries)
    path = planned.workdir / found_toml.FILE
    rows = found_toml.read(str(path)).rows if path.exists() else {}
    rows.pop(name, None)
    chosen = search_results.best(tries)
    if chosen is not None:
        rows[name] = _chosen(planned, name, tries, chosen)
    elif not rows:
        path.unlink(missing_ok=True)
        return
    shown = {k: v for k, v in planned.overrides if k in tuned_rows.SHOWN}
    shown.setdefault(tuned_rows.ENCODER, planned.base(name)[tuned_rows.ENCODER])
    head = {
        "space": planned.kind,
        "seed": planned.seed,
        "command": planned.command,
        "overrides": search.settings(planned)["overrides"] | shown,
    }
    found_toml.write(path, head, rows.values(), planned.preset)


def _chosen(planned: Search, name: str, tries: Sequence[Try], chosen: Try) -> Chosen:
    directory = planned.directory(name, chosen.number)
    own = next(p.parent for p in sorted(directory.glob(f"**/{layout.ENVIRONMENT}")))
    environment = files.read_json(own / layout.ENVIRONMENT)
    figure = chosen.record.figure
    return Chosen(
        name,
        planned.spaces[name].method,
        len(tries),
        (*planned.spaces[name].fixed, *chosen.point),
        selection=planned.selection(name),
        validation=math.nan if figure is None else round(figure, 6),
        best_trial=chosen.number,
        lost_trials=sum(not math.isfinite(t.record.score) for t in tries),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=environment.get("git_revision") or "",
    )
