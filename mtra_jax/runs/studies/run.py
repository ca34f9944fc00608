"""A study and a work directory -> its plans, its trained runs, its tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from mtra_jax import files
from mtra_jax.errors import InputError, refusing
from mtra_jax.reports.comparisons import comparison, tuning
from mtra_jax.reports.formatting import grids
from mtra_jax.reports.papers import experiment_tables, published, published_analyses
from mtra_jax.runs.directory import layout
from mtra_jax.runs.studies import analysed_runs, experiments, prompted_studies
from mtra_jax.runs.studies.experiments import Study, Table
from mtra_jax.runs.sweeps import sweep
from mtra_jax.runs.trained import analyses
from mtra_jax.runs.training import step_cost
from mtra_jax.runs.trials import run_specs, tuned_rows
from mtra_jax.runs.trials.run_specs import Overrides

TABLES = "tables"
STEP = "step.json"


def make_plans(
    study: Study, workdir: Path, overrides: Overrides, command: str
) -> list[sweep.Plan]:
    """The jobs of each table; writes nothing.

    Raises:
      InputError: see `sweep.make_plan`; or an override that the rows of the study set.
    """
    experiments.check_overrides(study, overrides)
    return [
        sweep.make_plan(
            table.sweep, experiments.directory_of(workdir, table), overrides, command
        )
        for table in study.tables
    ]


def run_all(
    plans: Iterable[sweep.Plan],
    say: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
    num_workers: int,
) -> list[sweep.Job]:
    """Trains what has not finished, see `sweep.run_all`; returns the jobs that failed."""
    failed: list[sweep.Job] = []
    plans = [*plans]
    for plan in plans:
        if len(plans) > 1:
            say(f"{plan.workdir.name}:")
        failed += sweep.run_all(plan, say, should_stop, num_workers)
    return failed


def measure(
    study: Study, plans: Sequence[sweep.Plan], say: Callable[[str], None]
) -> None:
    """Writes what the study's tables need besides results beside the runs."""
    if study.experiment.columns == "cost":
        _measure_steps(plans)
    if study.experiment.columns != "analysis":
        return
    for plan in plans:
        for job in plan.jobs:
            if sweep.state_of(job.directory) == "finished":
                say(f"{study.name} of {job.trial.name}, seed {job.trial.seed}")
                analyses.figures(job.directory, study.name, study.most_texts)
                jax.clear_caches()


def _measure_steps(plans: Sequence[sweep.Plan]) -> None:
    """Writes the cost of a training step beside the first seed's run of each row."""
    for plan in plans:
        for name in dict.fromkeys(job.trial.name for job in plan.jobs):
            job = next(job for job in plan.jobs if job.trial.name == name)
            path = job.directory / layout.ANALYSES / STEP
            if path.exists() or sweep.state_of(job.directory) != "finished":
                continue
            cost = step_cost.of(run_specs.config_of(job.trial, plan.overrides))
            path.parent.mkdir(exist_ok=True)
            files.write_json(path, cost._asdict())


def make_grids(
    study: Study, workdir: Path, overrides: Overrides
) -> dict[str, grids.Grid]:
    """The study's tables of the finished runs, by the directory of each.

    Raises:
      InputError: no run of a table's baseline has finished.
    """
    return {
        table.directory: _grid(study, table, workdir, overrides)
        for table in study.tables
    }


def _grid(
    study: Study, table: Table, workdir: Path, overrides: Overrides
) -> grids.Grid:
    is_papers = (
        study.scale == "paper"
        and not study.most_texts
        and table.sweep.tuning is None
        and all(key in layout.FREE_KEYS for key, _ in overrides)
    )
    directory = experiments.directory_of(workdir, table)
    own = {(trial.name, trial.seed): trial for trial in table.sweep.trials}
    stored = sweep.read(directory)
    prompted = prompted_studies.rows(study, stored)
    entries = [e for e in stored if (e.name, e.seed) in own or e.name in prompted]
    title = ", ".join(filter(None, (study.title, table.title)))
    if study.experiment.columns == "cost":
        results: dict[str, list[Mapping[str, Any]]] = {}
        for entry in entries:
            results.setdefault(entry.name, []).append(entry.results)
        is_printed = is_papers and study.preset == "roberta_tweeteval"
        printed = published.COSTS if is_printed else {}
        steps = _steps_of(table, directory)
        beside = [e.name for e in entries if _is_beside_others(e.values)]
        grid = experiment_tables.of_costs(
            title, table.rows, results, steps, printed, [*dict.fromkeys(beside)]
        )
        return _with_note(grid, table)
    if study.experiment.columns == "analysis":
        grid = _of_analysis(study, table, directory, is_papers=is_papers)
        return _with_note(grid, table)
    baselines = {
        trial.name: table.sweep.baseline_of(trial) for trial in table.sweep.trials
    } | dict.fromkeys(prompted, table.sweep.baseline)
    done = {entry.name for entry in entries}
    if done.isdisjoint(baselines.values()):
        raise InputError(f"{directory}: no table without a finished run of a baseline")
    compared = comparison.compare(entries, baseline=baselines)
    if any(row.plain for row in study.experiment.rows):
        # Not methods, but values of one.
        compared = compared._replace(ranking=None)
    printed_rows = (
        published.rows_of(study.name, study.backbone, study.benchmark, table.tasks)
        if is_papers
        else {}
    )
    return experiment_tables.of_scores(
        title,
        [*table.rows, *((name, name) for name in prompted)],
        compared,
        printed_rows,
        shows_tasks=study.experiment.columns == "tasks",
    )


def _is_beside_others(line: Mapping[str, Any]) -> bool:
    """Whether a run was one of several at a time; False for lines of older versions."""
    own = line.get("environment")
    return isinstance(own, Mapping) and own.get("jobs", 1) != 1


def _with_note(grid: grids.Grid, table: Table) -> grids.Grid:
    """The table with a line about how its rows were tuned, if any was.

    Tables of scores have it from the runs that are in them.
    """
    note = tuning.note(
        (trial.name, trial.method, tuned_rows.described(table.sweep.tuning, trial))
        for trial in table.sweep.trials
    )
    return grid._replace(notes=[*grid.notes, note]) if note else grid


def _of_analysis(
    study: Study, table: Table, directory: Path, *, is_papers: bool
) -> grids.Grid:
    analysis = analyses.ANALYSES[study.name]
    most = study.most_texts
    values = analysed_runs.by_row(table.sweep.trials, directory, study.name, most)
    is_printed = is_papers and study.preset == "roberta_tweeteval"
    printed = published_analyses.TABLES.get(study.name, {}) if is_printed else {}
    return experiment_tables.of_values(
        study.title,
        table.rows,
        values,
        analysis.forms,
        printed,
        analysis.note + (f"; of at most {most} texts of each task" if most else ""),
    )


def _steps_of(table: Table, directory: Path) -> dict[str, tuple[int, float]]:
    """The bytes and seconds of a step of each row, from the file beside its run.

    Raises:
      InputError: a file is damaged.
    """
    steps: dict[str, tuple[int, float]] = {}
    for trial in table.sweep.trials:
        path = directory / trial.directory / layout.ANALYSES / STEP
        if path.exists():
            stored = files.read_json(path, "; remove it to measure again")
            with refusing(f"{path}: damaged"):
                own = int(stored["num_bytes"]), float(stored["seconds"])
            steps.setdefault(trial.name, own)
    return steps
