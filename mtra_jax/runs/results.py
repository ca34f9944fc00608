"""The best parameters -> the results of a run, its predictions and its encoder on disk."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtra_jax import metrics
from mtra_jax.data.sources import Splits
from mtra_jax.models import pretrained
from mtra_jax.reports import predictions
from mtra_jax.runs import build, loop, metrics_log, processes, workdir
from mtra_jax.tasks import Benchmark
from mtra_jax.train import evaluate
from mtra_jax.train.devices import replicate
from mtra_jax.types import Params


def finish(
    directory: Path,
    prepared: build.Prepared,
    params: Params,
    progress: loop.Progress,
    bar: evaluate.Bar,
) -> dict[str, Any]:
    """Scores the best parameters on the test set; returns what `results.json` gets.

    That file comes last: where it is, the others are whole.
    """
    run = prepared.run
    tasks = run.benchmark.tasks
    placed = replicate(params, prepared.devices)
    found = evaluate.evaluate(run.forward, placed, prepared.test, run.benchmark, bar)
    results = {
        "validation": progress.best_summary,
        "test": metrics.summarize(found.scores, tasks),
        "majority": majority(prepared.examples, run.benchmark),
        "best_epoch": progress.best_epoch,
        "best_validation_loss": progress.best_loss,
        "epochs": progress.step // run.schedule.steps_per_epoch,
        "steps": progress.step,
        "skipped_steps": progress.skipped_steps,
        "examples": {
            task: {split: len(part.texts) for split, part in parts.items()}
            for task, parts in prepared.examples.items()
        },
        "parameters": _count_parameters(params),
        "train_seconds": round(progress.seconds, 1),
    }
    if processes.is_writer():
        for task in tasks:
            if task.name in found.faults:  # no file instead of one without meaning
                continue
            predictions.write_predictions(
                directory / workdir.PREDICTIONS,
                task,
                found.predictions[task.name],
                dict(prepared.examples[task.name]["test"].targets),
            )
        encoder_config = prepared.backbone.config
        encoder_dir = directory / workdir.ENCODER
        pretrained.save_encoder(encoder_dir, encoder_config, params["encoder"])
        metrics_log.write_json(directory / workdir.RESULTS, results)
    return results


def _count_parameters(params: Params) -> dict[str, int]:
    return {
        part: sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))
        for part, tree in params.items()
    }


def majority(examples: Splits, benchmark: Benchmark) -> dict[str, Any]:
    """The test scores of always predicting the most frequent class, or the mean."""
    scores = {
        task.name: metrics.majority_baseline(
            task,
            examples[task.name]["train"].labels,
            examples[task.name]["test"].labels,
        )
        for task in benchmark.tasks
    }
    return metrics.summarize(scores, benchmark.tasks)
