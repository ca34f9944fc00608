"""A sweep -> a finished run in each work directory, and a line of `results.jsonl` each."""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from mtra_jax.errors import InputError, RunError, did_you_mean, naming
from mtra_jax.reports import comparison, progress
from mtra_jax.runs import build, display, experiments, per_task, training
from mtra_jax.runs import workdir as files

RESULTS = "results.jsonl"
State = Literal["finished", "begun", "new"]


class Job(NamedTuple):
    """A run of a sweep, its work directory, and how far it is."""

    run: experiments.Run
    directory: Path
    state: State


class Plan(NamedTuple):
    """A sweep in a work directory, as one command asks for it.

    `overrides` are the user's, `command` is what goes into `results.jsonl`. `jobs` are
    ordered by seed, so that every row has a figure early.
    """

    sweep: experiments.Sweep
    workdir: Path
    overrides: Sequence[tuple[str, str]]
    command: str
    jobs: list[Job]

    def count(self, state: State) -> int:
        """The number of jobs in `state`."""
        return sum(job.state == state for job in self.jobs)


def make_plan(
    sweep: experiments.Sweep,
    workdir: Path,
    overrides: Sequence[tuple[str, str]] = (),
    command: str = "",
    only: Sequence[str] = (),
) -> Plan:
    """What is to be done; nothing is written yet. Of the runs named in `only`, if any.

    Raises:
      InputError: a run has no valid configuration, or other tasks than the first, or
        its directory holds another one; `results.jsonl` is damaged; no run is named so.
    """
    known = {run.name for run in sweep.runs}
    for name in only:
        if name not in known:
            raise InputError(f"--only {name}: {did_you_mean(name, sorted(known))}")
    jobs, sources = [], training.Sources()
    tasks = {entry.tasks: f"{workdir / RESULTS}" for entry in read(workdir)[:1]}
    for run in sorted(sweep.runs, key=lambda run: run.seed):
        if only and run.name not in only:
            continue
        config = experiments.config_of(run, overrides)
        benchmark = build.benchmark_of(config)
        first = tasks.setdefault(benchmark.tasks, run.name)
        if len(tasks) > 1:
            names = ", ".join(benchmark.task_names)
            raise InputError(
                f"{first}: tasks {names} of {benchmark.name}; expected those of "
                f"{next(iter(tasks.values()))}, to stand in one table"
            )
        directory = workdir / run.directory
        files.check(config, directory)
        per_task.check_sources(config, directory, sources)
        jobs.append(Job(run, directory, state_of(directory)))
    return Plan(sweep, workdir, overrides, command, jobs)


def state_of(directory: Path) -> State:
    """How far the run in `directory` is."""
    if (directory / files.RESULTS).exists():
        return "finished"
    return "begun" if (directory / files.CONFIG).exists() else "new"


def run_all(
    plan: Plan,
    say: Callable[[str], None],
    should_stop: Callable[[int | None], bool] = lambda step: False,
) -> list[Job]:
    """Trains what is not finished; returns the jobs that broke down.

    `say` takes a line as each run starts and ends. Bars go to standard error.

    Raises:
      InputError: a run lacks data or weights, or does not fit the devices.
      loop.Stopped: `should_stop`, as in `loop.Watch`.
    """
    failed = []
    finished = plan.count("finished")
    with progress.sweep_bar(len(plan.jobs), initial=finished) as bar:
        for number, job in enumerate(plan.jobs, start=1):
            label = f"[{number}/{len(plan.jobs)}] {job.run.name}, seed {job.run.seed}"
            if job.state == "finished":
                say(f"{label}: finished before, Avg. {record(plan, job):.2f}")
                continue
            say(f"{label}: {'goes on' if job.state == 'begun' else 'starts'}")
            started = time.monotonic()
            try:
                _train(plan, job, say, should_stop)
            except RunError as error:
                failed.append(job)
                say(f"{label}: broke down: {error}")
            else:
                seconds = time.monotonic() - started
                say(f"{label}: Avg. {record(plan, job):.2f}, {seconds:.0f} s")
            bar.update()
    return failed


def _train(
    plan: Plan,
    job: Job,
    warn: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
) -> None:
    config = experiments.config_of(job.run, plan.overrides)
    # Without lines of its own: those of many runs would bury the sweep's.
    shown = display.Terminal(
        say=lambda text: None, position=1, warn=warn, should_stop=should_stop
    )
    try:
        per_task.train(config, job.directory, shown.watch)
    finally:
        shown.close()
        # JAX keeps every compiled program of the process, and the next run needs none
        # of this one's: the memory would grow with each run.
        jax.clear_caches()


def record(plan: Plan, job: Job) -> float:
    """Sees to the line of a finished run in `results.jsonl`; returns its Avg. (test).

    A line with the same results stays as it is; one of an earlier run with the same name
    and seed is replaced. The lines are in the order of the sweep, then those of others.
    """
    results = files.read_results(job.directory)
    assert results is not None, job.directory
    found = {(entry.name, entry.seed): entry.values for entry in read(plan.workdir)}
    key = (job.run.name, job.run.seed)
    line = {"results": results, "baseline": plan.sweep.baseline}
    if not line.items() <= found.get(key, {}).items():
        found[key] = _line(plan, job, results)
        places = {(run.name, run.seed): i for i, run in enumerate(plan.sweep.runs)}
        order = sorted(found, key=lambda key: places.get(key, len(places)))
        _replace(
            plan.workdir / RESULTS,
            "".join(f"{json.dumps(found[key])}\n" for key in order),
        )
    average = results["test"]["avg"]
    return math.nan if average is None else average


def _line(plan: Plan, job: Job, results: dict[str, Any]) -> dict[str, Any]:
    run = job.run
    ended = (job.directory / files.RESULTS).stat().st_mtime
    environment = (job.directory / files.ENVIRONMENT).read_text(encoding="utf-8")
    return {
        "name": run.name,
        "method": run.method,
        "seed": run.seed,
        "baseline": plan.sweep.baseline,
        "preset": run.preset,
        "overrides": dict([*run.overrides, *plan.overrides]),
        "command": plan.command,
        "environment": json.loads(environment),
        "date": datetime.fromtimestamp(ended, UTC).isoformat(timespec="seconds"),
        "results": results,
    }


def read(workdir: Path) -> list[comparison.Entry]:
    """The runs of `results.jsonl` in `workdir`; none where there is no such file.

    Raises:
      InputError: the file is damaged.
    """
    path = workdir / RESULTS
    if not path.exists():
        return []
    return comparison.parse(path.read_text(encoding="utf-8"), str(path))


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with naming(path):
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
