"""A configuration -> its run; a run for each task where the method trains them apart.

Single-task learning leaves a whole run in `WORKDIR/TASK` for each task, and in `WORKDIR`
what all runs leave: configuration, results and predictions of all tasks.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import metrics
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.methods import registry
from mtra_jax.runs import (
    build,
    loop,
    metrics_log,
    processes,
    scoring,
    training,
    workdir,
)
from mtra_jax.tasks import Benchmark


def separate_tasks(config: ConfigDict) -> tuple[str, ...]:
    """The tasks that are trained in runs of their own; none where one run has them all."""
    names = build.benchmark_of(config).task_names
    is_separate = registry.METHODS[config.method.name].is_separate
    return names if is_separate and len(names) > 1 else ()


def train(
    config: ConfigDict,
    directory: Path,
    watch_of: Callable[[build.Prepared, loop.Progress], loop.Watch],
) -> training.Outcome:
    """`run.train`, or one for each task with the results put together.

    Raises:
      InputError: the configuration cannot be run; `directory` holds another one.
      loop.TrainingError: training broke down.
      loop.Stopped: it was asked to stop; the same call continues.
    """
    names = separate_tasks(config)
    if not names:
        return training.train(config, directory, watch_of)
    workdir.check(config, directory)
    with training.writing(directory):
        if processes.is_writer():
            workdir.write_config(config, directory)
        outcomes = {
            name: training.train(_of_task(config, name), directory / name, watch_of)
            for name in names
        }
        benchmark = build.benchmark_of(config)
        results = assemble(
            benchmark, {name: outcome.results for name, outcome in outcomes.items()}
        )
        if processes.is_writer():
            _gather_predictions(directory, names)
            environment = directory / names[-1] / workdir.ENVIRONMENT
            shutil.copyfile(environment, directory / workdir.ENVIRONMENT)
            metrics_log.write_json(directory / workdir.RESULTS, results)
    return training.Outcome(benchmark, results)


def check_sources(
    config: ConfigDict, directory: Path, sources: training.Sources
) -> None:
    """Raises InputError where data or encoder are not those of the run in `directory`.

    Only runs that have begun are compared, where one is trained for each task.
    """
    names = separate_tasks(config)
    places = {directory / name: _of_task(config, name) for name in names}
    for place, own in (places or {directory: config}).items():
        if workdir.has_begun(place):
            sources.check(own, place)


def assemble(
    benchmark: Benchmark, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """One `results.json` from that of each task's run.

    Figures, examples and best epochs are by task; parameters, steps and times are sums.
    """
    runs = [results[name] for name in benchmark.task_names]
    parts = runs[0]["parameters"]
    return {
        **{
            split: metrics.summarize(
                {name: results[name][split][name] for name in benchmark.task_names},
                benchmark.tasks,
            )
            for split in ("validation", "test", "majority")
        },
        "best_epoch": {n: results[n]["best_epoch"] for n in benchmark.task_names},
        "best_validation_loss": sum(r["best_validation_loss"] for r in runs)
        / len(runs),
        "epochs": {n: results[n]["epochs"] for n in benchmark.task_names},
        "steps": sum(run["steps"] for run in runs),
        "skipped_steps": sum(run["skipped_steps"] for run in runs),
        "examples": {n: results[n]["examples"][n] for n in benchmark.task_names},
        "parameters": {p: sum(run["parameters"][p] for run in runs) for p in parts},
        "train_seconds": round(sum(run["train_seconds"] for run in runs), 1),
    }


def evaluate(directory: Path, split: str, **options: Any) -> scoring.Score:
    """Scores the best model, or each task's: `scoring.evaluate_run` with its options."""
    config = workdir.read_config(directory)
    names = separate_tasks(config)
    if not names:
        return scoring.evaluate_run(directory, split, **options)
    parts = [scoring.evaluate_run(directory / name, split, **options) for name in names]
    scores = {n: part.summary[n] for n, part in zip(names, parts, strict=True)}
    benchmark = build.benchmark_of(config)
    differences = [part.difference for part in parts if part.difference is not None]
    return scoring.Score(
        benchmark,
        metrics.summarize(scores, benchmark.tasks),
        differences[0] if differences else None,
    )


def load(directory: Path, task: str, cache_dir: str | None = None) -> scoring.Saved:
    """The best model of the run that trained `task`.

    Raises:
      InputError: there is no run, it has no such task, or no checkpoint.
    """
    config = workdir.read_config(directory)
    names = build.benchmark_of(config).task_names
    if task not in names:
        hint = did_you_mean(task, names)
        raise InputError(f"unknown task {task!r} of this run; {hint}")
    place = directory / task if separate_tasks(config) else directory
    return scoring.load(place, cache_dir)


def _of_task(config: ConfigDict, name: str) -> ConfigDict:
    return configs.from_dict({**configs.to_dict(config), "tasks": [name]})


def _gather_predictions(directory: Path, names: tuple[str, ...]) -> None:
    temporary = directory / f".{workdir.PREDICTIONS}"
    shutil.rmtree(temporary, ignore_errors=True)
    for name in names:
        source = directory / name / workdir.PREDICTIONS
        shutil.copytree(source, temporary, dirs_exist_ok=True)
    target = directory / workdir.PREDICTIONS
    shutil.rmtree(target, ignore_errors=True)
    os.rename(temporary, target)
