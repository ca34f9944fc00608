"""A sweep -> a finished run and a line of `results.jsonl` for each trial."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mtra_jax import config as configs
from mtra_jax import files
from mtra_jax.errors import InputError, RunError, did_you_mean
from mtra_jax.methods import registry
from mtra_jax.reports.comparisons import comparable, comparison, run_tasks
from mtra_jax.reports.progress import bars
from mtra_jax.runs.directory import conditions, layout, tasks_json
from mtra_jax.runs.sweeps import workers
from mtra_jax.runs.sweeps.workers import Ending, Work
from mtra_jax.runs.training import display, same_inputs
from mtra_jax.runs.training import run as training
from mtra_jax.runs.trials import run_specs, tuned_rows
from mtra_jax.tasks import OWN

RESULTS = "results.jsonl"
State = Literal["finished", "begun", "new"]


class Job(NamedTuple):
    """A trial, its work directory and its state."""

    trial: run_specs.Trial
    directory: Path
    state: State


class Plan(NamedTuple):
    """A sweep in a work directory, as requested by one command.

    `overrides`: the user's. `command`: stored in `results.jsonl`. `jobs`: ordered by seed,
    so that every row of the table soon has a figure.
    """

    sweep: run_specs.Sweep
    workdir: Path
    overrides: Sequence[tuple[str, str]]
    command: str
    jobs: list[Job]

    def count(self, state: State) -> int:
        """The number of jobs in `state`."""
        return sum(job.state == state for job in self.jobs)

    def without_baseline(self) -> str:
        """A line about rows to train whose baseline has no run, or ""."""
        rows = {job.trial.name: job.trial for job in self.jobs}
        present = {*rows, *(entry.name for entry in read(self.workdir))}
        lacking: dict[str, list[str]] = {}
        for name, trial in rows.items():
            if (baseline := self.sweep.baseline_of(trial)) not in present:
                lacking.setdefault(baseline, []).append(name)
        listed = "; ".join(
            f"{', '.join(x)} against {row}" for row, x in lacking.items()
        )
        return listed and (
            f"no Δp of {listed}, which is not among the rows of --only; add it there, or "
            "compare with another row: mtra-jax report --baseline ROW"
        )


def make_plan(
    sweep: run_specs.Sweep,
    workdir: Path,
    overrides: Sequence[tuple[str, str]] = (),
    command: str = "",
    only: Sequence[str] = (),
) -> Plan:
    """Plans the jobs of the sweep, or of the rows in `only`; writes nothing.

    Raises:
      InputError: `only` has an unknown row; a trial has no valid configuration, or other
        tasks than the first; its directory holds another run; `results.jsonl` is damaged.
    """
    tuned_rows.check_overrides(sweep.tuning, overrides)
    _check_rows(sweep, only)
    jobs, current, ended = [], same_inputs.Current(), read(workdir)
    tasks = {_tasks_of(entry): f"{workdir / RESULTS}" for entry in ended[:1]}
    own_runs = {(trial.name, trial.seed) for trial in sweep.trials}
    others = [entry for entry in ended if (entry.name, entry.seed) not in own_runs]
    for trial in sorted(sweep.trials, key=lambda trial: trial.seed):
        if only and trial.name not in only:
            continue
        config = run_specs.config_of(trial, overrides)
        own = config.benchmark, configs.task_names(config)
        first = tasks.setdefault(own, trial.name)
        if len(tasks) > 1:
            raise InputError(
                f"{first}: tasks {', '.join(own[1])} of {own[0]}; expected those of "
                f"{next(iter(tasks.values()))}, to stand in one table"
            )
        directory = workdir / trial.directory
        layout.check(config, directory)
        _check_other_seeds(trial, workdir, overrides, others)
        same_inputs.check(config, directory, current)
        jobs.append(Job(trial, directory, state_of(directory)))
    return Plan(sweep, workdir, overrides, command, jobs)


def _check_rows(sweep: run_specs.Sweep, only: Sequence[str]) -> None:
    """Raises InputError if `sweep` lacks one of the rows `only`."""
    rows = sorted({trial.name for trial in sweep.trials})
    for name in only:
        if name in rows:
            continue
        if name in registry.METHODS:
            raise InputError(
                f"--only {name}: a method without a row in this sweep; expected one of "
                f"{', '.join(rows)}, or --config FILE:NAME of a sweep that has it"
            )
        others = {trial.name for trial in sweep.optional}
        raise InputError(f"--only {name}: {did_you_mean(name, [*rows, *others])}")


def _check_other_seeds(
    trial: run_specs.Trial,
    workdir: Path,
    overrides: Sequence[tuple[str, str]],
    others: Sequence[comparison.Entry],
) -> None:
    """Raises InputError if a run of the row in `others` has another configuration."""
    for entry in others:
        if entry.name == trial.name:
            other = trial._replace(seed=entry.seed)
            config = run_specs.config_of(other, overrides)
            layout.check(config, workdir / other.directory)


def _tasks_of(entry: comparison.Entry) -> tuple[str, tuple[str, ...]]:
    """The benchmark and the names of the tasks of a run record."""
    names = tuple(task.name for task in entry.tasks)
    is_own = "tasks" in entry.values
    return OWN if is_own else comparison.benchmark_name(entry.values), names


def state_of(directory: Path) -> State:
    """The state of the run in `directory`."""
    if (directory / layout.RESULTS).exists():
        return "finished"
    return "begun" if (directory / layout.CONFIG).exists() else "new"


def run_all(
    plan: Plan,
    say: Callable[[str], None],
    should_stop: Callable[[int | None], bool] = lambda step: False,
    num_workers: int = 1,
    *,
    warn: Callable[[str], None] | None = None,
    quiet: bool = False,
) -> list[Job]:
    """Trains the jobs that are not finished; returns those that failed.

    `say` receives a line as each run starts and ends, `warn` one about each problem
    (default: `say`). Bars go to standard error. With `quiet` only `warn` is called.
    `num_workers`: how many jobs at a time, see `workers`; one is trained in this process.

    Raises:
      InputError: a run lacks data or weights, or does not fit the devices.
      loop.Stopped: `should_stop`, as in `interfaces.Watch`.
    """
    warn = warn or say
    if quiet:
        say = _ignore
    failed = []
    finished = plan.count("finished")
    with bars.sweep_bar(len(plan.jobs), finished, is_shown=not quiet) as bar:
        ends = (
            _one_by_one(plan, say, warn, should_stop, quiet=quiet)
            if num_workers == 1
            else _at_a_time(plan, say, warn, should_stop, num_workers)
        )
        for label, job, ending in ends:
            # A process may be killed after the last file was written.
            if ending.state == "failed" and state_of(job.directory) != "finished":
                failed.append(job)
                warn(f"{label}: failed: {ending.reason}")
            else:
                average = update_results(plan, job)
                say(f"{label}: Avg. {average:.2f}, {ending.seconds:.0f} s")
            bar.update()
    return failed


def _ignore(line: str) -> None:
    """Receives lines that are not shown."""


Ends = Iterator[tuple[str, Job, Ending]]
"""The beginning of a line, a job, and how it has ended."""


def _open_jobs(plan: Plan, say: Callable[[str], None]) -> Iterator[tuple[str, Job]]:
    """The jobs that have not finished, with the beginnings of their lines."""
    for number, job in enumerate(plan.jobs, start=1):
        label = f"[{number}/{len(plan.jobs)}] {job.trial.name}, seed {job.trial.seed}"
        if job.state == "finished":
            say(f"{label}: finished before, Avg. {update_results(plan, job):.2f}")
        else:
            yield label, job


def _one_by_one(
    plan: Plan,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
    *,
    quiet: bool,
) -> Ends:
    for label, job in _open_jobs(plan, say):
        say(f"{label}: {'continues' if job.state == 'begun' else 'starts'}")
        started = time.monotonic()
        ending = Ending("finished", 0.0)
        try:
            _train(plan, job, label, warn, should_stop, quiet=quiet)
        except RunError as error:
            ending = Ending("failed", 0.0, str(error))
        yield label, job, ending._replace(seconds=time.monotonic() - started)


def _at_a_time(
    plan: Plan,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
    num_workers: int,
) -> Ends:
    jobs = [*_open_jobs(plan, say)]
    works = [
        Work("run", label, job.trial, tuple(plan.overrides), job.directory)
        for label, job in jobs
    ]
    for index, ending in workers.run_all(
        works, num_workers, say, should_stop, warn=warn
    ):
        yield *jobs[index], ending


def _train(
    plan: Plan,
    job: Job,
    label: str,
    warn: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
    *,
    quiet: bool,
) -> None:
    config = run_specs.config_of(job.trial, plan.overrides)
    # No lines of the runs themselves: they would hide those of the sweep.
    with display.Display(
        say=_ignore,
        position=1,
        warn=lambda line: warn(f"{label}: {line}"),
        should_stop=should_stop,
        quiet=quiet,
    ) as shown:
        training.train(config, job.directory, shown.watch)


def update_results(plan: Plan, job: Job) -> float:
    """Puts the line of a finished run into `results.jsonl`; returns its test average.

    A line with the same results and all settings stays as it is; another line with the
    same name and seed is replaced. Lines are in the order of the sweep's rows and seeds;
    other seeds of a row follow its own, other rows come last.
    """
    results = layout.read_results(job.directory)
    assert results is not None, job.directory
    lines = {(entry.name, entry.seed): entry.values for entry in read(plan.workdir)}
    key = (job.trial.name, job.trial.seed)
    line = {"results": results, "baseline": plan.sweep.baseline_of(job.trial)}
    line |= _tuned(plan, job.trial)
    old = lines.get(key, {})
    if not (line.items() <= old.items() and comparable.is_resolved(old)):
        lines[key] = _line(plan, job, results)
        order = sorted(lines, key=place_of(plan.sweep))
        files.write_text(
            plan.workdir / RESULTS,
            "".join(f"{json.dumps(lines[key])}\n" for key in order),
        )
    average = results["test"]["avg"]
    return math.nan if average is None else average


def place_of(sweep: run_specs.Sweep) -> Callable[[tuple[str, int]], tuple[int, int]]:
    """A key that sorts (name, seed) as `update_results` says."""
    trials = [(trial.name, trial.seed) for trial in sweep.trials]
    rows = list(dict.fromkeys(name for name, _ in trials))
    row_of = {name: place for place, name in enumerate(rows)}
    seed_of = {key: place for place, key in enumerate(trials)}
    last = len(trials)
    return lambda key: (row_of.get(key[0], last), seed_of.get(key, last))


def _line(plan: Plan, job: Job, results: dict[str, Any]) -> dict[str, Any]:
    trial = job.trial
    ended = (job.directory / layout.RESULTS).stat().st_mtime
    environment = files.read_json(job.directory / layout.ENVIRONMENT)
    tasks = run_tasks.described(tasks_json.read(job.directory))
    return {
        "name": trial.name,
        "method": trial.method,
        "seed": trial.seed,
        "baseline": plan.sweep.baseline_of(trial),
        "preset": trial.preset,
        "overrides": dict([*trial.overrides, *plan.overrides]),
        "command": plan.command,
        "environment": environment,
        "date": datetime.fromtimestamp(ended, UTC).isoformat(timespec="seconds"),
        **({} if tasks is None else {"tasks": tasks}),
        **conditions.of(job.directory, results),
        **_tuned(plan, trial),
        "results": results,
    }


def _tuned(plan: Plan, trial: run_specs.Trial) -> dict[str, Any]:
    values = tuned_rows.described(plan.sweep.tuning, trial)
    return {} if values is None else {"tuned": values}


def read(workdir: Path) -> list[comparison.Entry]:
    """The runs in `results.jsonl` of `workdir`; [] without that file.

    Raises:
      InputError: the file is damaged.
    """
    path = workdir / RESULTS
    if not path.exists():
        return []
    return comparison.read(path)
