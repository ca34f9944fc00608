"""The finished runs of single tasks -> results, predictions and environment of all tasks.

Single-task learning leaves a whole run in `WORKDIR/TASK` for each task. `WORKDIR` gets
the files that every run has, without checkpoints.
"""

import shutil
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtra_jax import files, metrics
from mtra_jax.runs.directory import layout
from mtra_jax.tasks import Benchmark


def results_of_all(
    benchmark: Benchmark, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Combines the `results.json` of the tasks' runs into one.

    Figures, examples and best epochs are listed by task; parameters, steps and times are
    summed.
    """
    names = benchmark.task_names
    runs = [results[name] for name in names]
    parts = runs[0]["parameters"]
    return {
        **{
            split: metrics.summarize(
                {name: results[name][split][name] for name in names}, benchmark.tasks
            )
            for split in ("validation", "test", "majority")
        },
        "constant": [task for run in runs for task in run.get("constant", [])],
        "thresholds": dict(ChainMap(*(run["thresholds"] for run in runs))),
        "best_epoch": {name: results[name]["best_epoch"] for name in names},
        "best_validation_loss": sum(run["best_validation_loss"] for run in runs)
        / len(runs),
        "selection": runs[0]["selection"],
        "selection_value": {name: results[name]["selection_value"] for name in names},
        "epochs": {name: results[name]["epochs"] for name in names},
        "steps": sum(run["steps"] for run in runs),
        "skipped_steps": sum(run["skipped_steps"] for run in runs),
        "examples": {name: results[name]["examples"][name] for name in names},
        "parameters": {p: sum(run["parameters"][p] for run in runs) for p in parts},
        **{
            key: round(sum(run[key] for run in runs), 1)
            for key in ("train_seconds", "scoring_seconds")
        },
    }


def write(directory: Path, names: tuple[str, ...], results: dict[str, Any]) -> None:
    """Writes the files of all tasks into `directory`, which contains their runs.

    `results.json` comes last: once it exists, the others are complete.
    """
    _gather_predictions(directory, names)
    environment = directory / names[-1] / layout.ENVIRONMENT
    shutil.copyfile(environment, directory / layout.ENVIRONMENT)
    files.write_json(directory / layout.RESULTS, results)


def _gather_predictions(directory: Path, names: tuple[str, ...]) -> None:
    with files.replacing_directory(directory / layout.PREDICTIONS) as temporary:
        for name in names:
            source = directory / name / layout.PREDICTIONS
            if source.is_dir():  # absent if the task's test outputs are not finite
                shutil.copytree(source, temporary, dirs_exist_ok=True)
