"""The plans of a study or a sweep -> what they train and compute, and how long it takes."""

import collections
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mtra_jax.data.splits.examples import Data
from mtra_jax.errors import InputError
from mtra_jax.reports.formatting import tables, times
from mtra_jax.runs.directory import layout
from mtra_jax.runs.studies.experiments import Study
from mtra_jax.runs.sweeps import estimates, sweep
from mtra_jax.runs.trained import analyses
from mtra_jax.runs.training import same_inputs
from mtra_jax.runs.trials import run_specs
from mtra_jax.tasks import OWN

STATES: tuple[sweep.State, ...] = ("finished", "begun", "new")
Jobs = Sequence[tuple[sweep.Plan, sweep.Job]]


def listing(
    study: Study,
    plans: Sequence[sweep.Plan],
    num_workers: int = 1,
    *,
    is_dry: bool = False,
) -> str:
    """The runs by their states, and the most time of what is missing.

    `num_workers`: runs at a time. `is_dry`: nothing is trained afterwards.

    Raises:
      InputError: a run lacks data or weights. If `is_dry`, a line says so instead.
    """
    jobs = [(plan, job) for plan in plans for job in plan.jobs]
    seeds = ", ".join(map(str, study.seeds))
    lines = [
        f"{study.name}: {study.experiment.about} ({study.experiment.papers})",
        f"{study.backbone} on {study.benchmark}, scale {study.scale}, seeds {seeds}: "
        f"{counted(plans)}",
    ]
    new = [(plan, job) for plan, job in jobs if job.state != "finished"]
    unread = _without_analysis(study, jobs)
    above = plans[0].workdir.parent
    try:
        current = same_inputs.Current()
        clock = _Clock(jobs, new or unread, current) if new or unread else None
        if clock and new:
            lines += _training(new, clock, above, num_workers)
        if clock and unread:
            lines.append(_analysing(study, unread, clock))
    except InputError as error:
        if not is_dry:
            raise
        lines += _without_times(new, above, error)
    return "\n".join(lines)


def of_sweep(plan: sweep.Plan, num_workers: int = 1) -> str:
    """The runs of a sweep by their states, and the most time of what is missing.

    `num_workers`: runs at a time. Without the data or weights of a run there is no time.

    Raises:
      InputError: own tasks cannot be read.
    """
    jobs = [(plan, job) for job in plan.jobs]
    new = [(own, job) for own, job in jobs if job.state != "finished"]
    lines, above = [counted([plan])], plan.workdir.parent
    current = same_inputs.Current()
    for own, job in new[:1]:
        config = run_specs.config_of(job.trial, own.overrides)
        if config.benchmark == OWN:  # the user's files, whose mistakes end the command
            current.data(config)
    try:
        if new:
            clock = _Clock(jobs, new, current)
            lines += _training(new, clock, above, num_workers)
    except InputError as error:
        lines += _without_times(new, above, error)
    return "\n".join(lines)


def counted(plans: Sequence[sweep.Plan]) -> str:
    """The number of runs of each state."""
    counts = {state: sum(plan.count(state) for plan in plans) for state in STATES}
    shown = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{sum(counts.values())} runs: {shown}"


def _without_analysis(study: Study, jobs: Jobs) -> Jobs:
    """The jobs whose runs the study has still to analyse."""
    if study.name not in analyses.ANALYSES:
        return []
    return [
        (plan, job)
        for plan, job in jobs
        if not analyses.path_of(job.directory, study.name, study.most_texts).exists()
    ]


class _Clock:
    """The rates of this machine, and the number of examples of each run.

    Those of the finished runs of `jobs`, or of a step of the first of `missing`.
    """

    def __init__(self, jobs: Jobs, missing: Jobs, current: same_inputs.Current) -> None:
        self._inputs = current
        finished = []
        for plan, job in jobs:
            results = layout.read_results(job.directory)
            if results is not None:
                config = run_specs.config_of(job.trial, plan.overrides)
                finished.append((job.trial.method, results, estimates.passes(config)))
        plan, job = missing[0]
        config = run_specs.config_of(job.trial, plan.overrides)
        self.rates = estimates.from_results(finished) or estimates.from_step(config)

    def training(self, plan: sweep.Plan, job: sweep.Job) -> tuple[int, float]:
        """The epochs of a job, and the seconds of all of them."""
        config, data = self._read(plan, job)
        return config.epochs, estimates.seconds(config, data, self.rates)

    def analysing(self, plan: sweep.Plan, job: sweep.Job, study: Study) -> float:
        """The seconds of the analysis of a job, without the training of critics."""
        config, data = self._read(plan, job)
        analysis = analyses.ANALYSES[study.name]
        work = estimates.analysed(config, data, analysis, study.most_texts)
        return work * self.rates.of(job.trial.method)

    def _read(self, plan: sweep.Plan, job: sweep.Job) -> tuple[Any, Data]:
        """The configuration of a job, and its data."""
        config = run_specs.config_of(job.trial, plan.overrides)
        return config, self._inputs.data(config)[0]


def _training(new: Jobs, clock: _Clock, above: Path, num_workers: int) -> list[str]:
    """A table of the runs in each directory, and a line with their time."""
    rows: dict[str, list[tuple[int, float]]] = {}
    batches: dict[Path, list[float]] = {}  # the plans are trained one after the other
    for plan, job in new:
        name = str(job.directory.parent.relative_to(above))
        epochs, seconds = clock.training(plan, job)
        rows.setdefault(name, []).append((epochs, seconds))
        batches.setdefault(plan.workdir, []).append(seconds)
    body = [("runs in", "runs", "epochs", "about")]
    for name, runs in rows.items():
        most = max(epochs for epochs, _ in runs)
        body.append((name, str(len(runs)), str(most), _duration(s for _, s in runs)))
    about = estimates.of_jobs([*batches.values()], num_workers, "run")
    return [
        tables.align(body),
        f"all epochs take about {about} ({clock.rates.origin}, if this machine does nothing else); the start of each run "
        "comes on top",
    ]


def _without_times(new: Jobs, above: Path, error: InputError) -> list[str]:
    """A table of the runs in each directory, and why their time is unknown."""
    counts = collections.Counter(
        str(job.directory.parent.relative_to(above)) for _, job in new
    )
    body = [("runs in", "runs"), *((name, str(n)) for name, n in counts.items())]
    return [tables.align(body), f"no estimate of the time: {error}"]


def _analysing(study: Study, unread: Jobs, clock: _Clock) -> str:
    analysis = analyses.ANALYSES[study.name]
    seconds = [clock.analysing(plan, job, study) for plan, job in unread]
    critics = " besides the training of critics" if analysis.trains_critics else ""
    again = ", which trains each once more" if analysis.is_of_epochs else ""
    return f"the analysis of {len(unread)} runs{again}: about {_duration(seconds)}{critics}"


def _duration(seconds: Iterable[float]) -> str:
    return times.duration(sum(seconds))
