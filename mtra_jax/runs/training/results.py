"""A prepared run and its best parameters -> encoder files, environment and results."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtra_jax import files, metrics
from mtra_jax.data.splits import targets
from mtra_jax.data.splits.examples import Splits
from mtra_jax.data.tokenizing import tokens
from mtra_jax.models import pretrained
from mtra_jax.reports.predicted import predictions
from mtra_jax.runs.directory import layout, metrics_log, tasks_json
from mtra_jax.runs.processes import group
from mtra_jax.runs.training import loop
from mtra_jax.runs.training.interfaces import Log
from mtra_jax.runs.training.preparation import Prepared
from mtra_jax.tasks import Benchmark
from mtra_jax.train import evaluate
from mtra_jax.train.backbone import Backbone
from mtra_jax.train.devices import replicate
from mtra_jax.types import Params


def write_encoder_files(directory: Path, backbone: Backbone) -> None:
    """Writes tokenizer and encoder configuration; loading a checkpoint needs both."""
    length = backbone.config.max_length
    with files.replacing_directory(directory / layout.ENCODER) as temporary:
        tokens.save_tokenizer(backbone.tokenizer, temporary, length)
        pretrained.save_config(temporary, backbone.config)


def write_environment(
    directory: Path, run: loop.Run, devices: list[jax.Device]
) -> None:
    """Writes versions, devices and the shapes of the batches in evaluation."""
    shapes = run.validation.batcher.shapes
    environment = metrics_log.environment(devices)
    environment["evaluation_shapes"] = [list(shape) for shape in shapes]
    files.write_json(directory / layout.ENVIRONMENT, environment)


def finish(
    directory: Path,
    prepared: Prepared,
    params: Params,
    progress: loop.Progress,
    bar: evaluate.Bar,
    log: Log,
) -> dict[str, Any]:
    """Scores the best parameters on the test set and writes the files of a finished run.

    `log` gets the test figures at the run's last step.

    Returns the content of `results.json`, which is written last: if it exists, the
    other files are complete.
    """
    run = prepared.run
    benchmark = targets.with_thresholds(run.benchmark, progress.best_thresholds)
    tasks = benchmark.tasks
    placed = replicate(params, prepared.devices, prepared.mapping)
    started = time.monotonic()
    evaluation = evaluate.evaluate(run.forward, placed, prepared.test, benchmark, bar)
    scoring_seconds = time.monotonic() - started
    results: dict[str, Any] = {
        "validation": progress.best_summary,
        "test": metrics.summarize(evaluation.scores, tasks),
        "majority": majority(prepared.inputs.examples, benchmark),
        "constant": [
            task.name
            for task in tasks
            if task.name not in evaluation.faults
            and _is_constant(evaluation.predictions[task.name])
            and not _is_constant(prepared.inputs.examples[task.name]["test"].labels)
        ],
        "thresholds": evaluation.thresholds,
        "best_epoch": progress.best_epoch,
        "best_validation_loss": progress.best_loss,
        "selection": run.selection.name,
        "selection_value": run.selection.figure_of(progress.best_score),
        "epochs": progress.step // run.schedule.steps_per_epoch,
        "steps": progress.step,
        "skipped_steps": progress.skipped_steps,
        "examples": {
            task: {split: len(part.texts) for split, part in parts.items()}
            for task, parts in prepared.inputs.examples.items()
        },
        "parameters": _count_parameters(params),
        "train_seconds": round(progress.seconds, 1),
        "scoring_seconds": round(scoring_seconds, 1),
    }
    log.add(progress.step, metrics_log.of_test(results["test"]))
    log.flush()
    if group.is_writer():
        for task in tasks:
            if task.name in evaluation.faults:  # its outputs are not finite
                continue
            predictions.write_predictions(
                directory / layout.PREDICTIONS,
                task,
                evaluation.predictions[task.name],
                dict(prepared.inputs.examples[task.name]["test"].targets),
            )
        encoder_config = prepared.inputs.backbone.config
        encoder_dir = directory / layout.ENCODER
        pretrained.save_encoder(encoder_dir, encoder_config, params["encoder"])
        tasks_json.write(directory, benchmark)  # with the thresholds
        files.write_json(directory / layout.RESULTS, results)
    return results


def _is_constant(values: np.ndarray) -> bool:
    """Whether predictions or labels [N, ...] are the same for all texts."""
    return bool((values == values[:1]).all())


def _count_parameters(params: Params) -> dict[str, int]:
    return {
        part: sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))
        for part, tree in params.items()
    }


def majority(examples: Splits, benchmark: Benchmark) -> dict[str, Any]:
    """The test figures of constant predictions, see `metrics.majority_baseline`."""
    scores = {
        task.name: metrics.majority_baseline(
            task,
            examples[task.name]["train"].labels,
            examples[task.name]["test"].labels,
        )
        for task in benchmark.tasks
    }
    return metrics.summarize(scores, benchmark.tasks)
