"""A configuration and a work directory -> a finished run with all its files."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import metrics
from mtra_jax.data import prepare, tokens
from mtra_jax.errors import InputError
from mtra_jax.models import pretrained
from mtra_jax.reports import predictions
from mtra_jax.tasks import Benchmark
from mtra_jax.train import (
    build,
    checkpoints,
    evaluate,
    locks,
    loop,
    parallel,
    records,
)
from mtra_jax.types import Params

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
RESULTS = "results.json"
ENCODER = "encoder"
CHECKPOINTS = "checkpoints"
# What may differ when a run is continued: it changes where and how often, not what.
FREE_KEYS = ("data.cache_dir", "data.dir", "devices", "checkpoint_every")


class Outcome(NamedTuple):
    """What a run found: results as in `results.json`."""

    benchmark: Benchmark
    results: dict[str, Any]


class Saved(NamedTuple):
    """A model read back from a work directory."""

    config: ConfigDict
    benchmark: Benchmark
    backbone: build.Backbone
    params: Params


def train(
    config: ConfigDict,
    workdir: Path,
    watch_of: Callable[[build.Prepared, loop.Progress], loop.Watch],
) -> Outcome:
    """Trains, or goes on where `workdir` stands, and leaves the files of a run there.

    `watch_of(prepared, progress)` gives what sees it go by. A finished run is read back.

    Raises:
      InputError: the configuration cannot be run; `workdir` holds another one, or
        another process trains there.
      loop.TrainingError: training broke down, or its files cannot be written.
      loop.Stopped: `watch.should_stop()`; the same call continues.
    """
    check_workdir(config, workdir)
    finished = read_results(workdir)
    if finished is not None:
        return Outcome(build.benchmark_of(config), finished)
    build.use_compilation_cache(config)
    prepared = build.prepare_run(config)
    try:
        with locks.held(workdir) if parallel.is_writer() else contextlib.nullcontext():
            # Again: another process may have begun here meanwhile.
            check_workdir(config, workdir)
            return _train(config, workdir, prepared, watch_of)
    except checkpoints.WriteError as error:
        raise loop.TrainingError(str(error)) from error
    except OSError as error:
        place = error.filename or workdir
        raise loop.TrainingError(f"{place}: {error.strerror or error}") from error


def _train(
    config: ConfigDict,
    workdir: Path,
    prepared: build.Prepared,
    watch_of: Callable[[build.Prepared, loop.Progress], loop.Watch],
) -> Outcome:
    if parallel.is_writer():
        _write_start(config, workdir, prepared)
    passed_over: list[str] = []
    with contextlib.ExitStack() as opened:
        store = checkpoints.open_store(workdir / CHECKPOINTS)
        opened.callback(store.close)
        run, progress = loop.resume(prepared.run, store, passed_over.append)
        record = records.Records(
            workdir, step=progress.step, active=parallel.is_writer()
        )
        opened.callback(record.close)
        watch = watch_of(prepared, progress)
        for line in passed_over:
            watch.say(line)
        params, progress = loop.fit(run, store, record, progress, watch)
    bar = loop.stoppable(watch, progress.step)
    return _finish(config, workdir, prepared, params, progress, bar)


def check_workdir(config: ConfigDict, workdir: Path) -> None:
    """Raises InputError where `workdir` is the run of another configuration."""
    path = workdir / CONFIG
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"{workdir}: not a directory")
    if not path.exists():
        return
    old, new = flat(read_config(workdir)), flat(config)
    for key in sorted(old.keys() | new.keys()):
        if key not in FREE_KEYS and old.get(key) != new.get(key):
            raise InputError(
                f"{path}: {key} is {old.get(key)!r} there and {new.get(key)!r} here; "
                "expected the same configuration, or a new --workdir"
            )


def flat(config: ConfigDict) -> dict[str, Any]:
    """The values by their dotted keys."""
    found = {}
    for key in configs.keys(config):
        value: Any = config
        for part in key.split("."):
            value = value[part]
        found[key] = value
    return found


def read_config(workdir: Path) -> ConfigDict:
    """The configuration of the run in `workdir`.

    Raises:
      InputError: there is none, or it is damaged.
    """
    path = workdir / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return configs.from_dict(values)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a run's directory") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged: {error}") from error


def read_results(workdir: Path) -> dict[str, Any] | None:
    """The results of the run in `workdir`, None where it has not finished.

    Raises:
      InputError: the file is damaged.
    """
    path = workdir / RESULTS
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(
            f"{path}: damaged: {error}; remove it to score again"
        ) from error


def read_benchmark(workdir: Path) -> Benchmark:
    """The benchmark and tasks of the run in `workdir`."""
    return build.benchmark_of(read_config(workdir))


def load(workdir: Path) -> Saved:
    """The best model of the run in `workdir`.

    Raises:
      InputError: there is no run, or it has no checkpoint.
    """
    config = read_config(workdir)
    build.use_compilation_cache(config)
    directory = workdir / ENCODER
    encoder_config = pretrained.read_config(directory)
    params = load_best_params(workdir)
    backbone = build.Backbone(
        encoder_config, params["encoder"], tokens.load_tokenizer(directory)
    )
    return Saved(config, build.benchmark_of(config), backbone, params)


def load_best_params(workdir: Path) -> Params:
    """The parameters of the best epoch."""
    directory = workdir / CHECKPOINTS
    if not checkpoints.is_available():
        raise InputError(f"{directory}: reading checkpoints needs orbax-checkpoint")
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory; the run has no checkpoint")
    store = checkpoints.Checkpoints(directory)
    best = store.best_step()
    if best is None:
        raise InputError(f"{directory}: no checkpoint")
    params = store.restore_params(best)
    store.close()
    return params


def evaluate_workdir(
    workdir: Path,
    split: str,
    data_dir: str | None = None,
    bar: evaluate.Bar = evaluate.no_bar,
) -> tuple[Benchmark, dict[str, Any]]:
    """Scores the best model of `workdir` on a split: its part of `results.json`."""
    saved = load(workdir)
    if data_dir is not None:
        saved.config.data.dir = data_dir
    prepared = build.prepare_run(saved.config, saved.backbone)
    chosen = {"validation": prepared.run.validation, "test": prepared.test}[split]
    params = parallel.replicate(saved.params, prepared.devices)
    found = evaluate.evaluate(
        prepared.run.forward, params, chosen, saved.benchmark, bar
    )
    return saved.benchmark, metrics.summarize(found.scores, saved.benchmark.tasks)


def _write_start(config: ConfigDict, workdir: Path, prepared: build.Prepared) -> None:
    """What must be there to read the run's checkpoints, before the first of them."""
    workdir.mkdir(parents=True, exist_ok=True)
    directory = workdir / ENCODER
    if not (directory / "config.json").exists():
        backbone = prepared.backbone
        temporary = workdir / f".{ENCODER}"
        shutil.rmtree(temporary, ignore_errors=True)
        length = backbone.config.max_length
        tokens.save_tokenizer(backbone.tokenizer, temporary, length)
        pretrained.save_config(temporary, backbone.config)
        temporary.rename(directory)
    records.write_json(workdir / ENVIRONMENT, records.environment(prepared.devices))
    records.write_json(workdir / CONFIG, configs.to_dict(config))


def _finish(
    config: ConfigDict,
    workdir: Path,
    prepared: build.Prepared,
    params: Params,
    progress: loop.Progress,
    bar: evaluate.Bar,
) -> Outcome:
    """Scores the best parameters and writes results, predictions and the encoder."""
    run = prepared.run
    tasks = run.benchmark.tasks
    placed = parallel.replicate(params, prepared.devices)
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
    if parallel.is_writer():
        sizes = prepare.target_sizes(run.benchmark, config.data.dir, "test")
        for task in tasks:
            predictions.write_predictions(
                workdir / "predictions",
                task,
                found.predictions[task.name],
                sizes,
            )
        encoder_dir = workdir / ENCODER
        pretrained.save_encoder(
            encoder_dir, prepared.backbone.config, params["encoder"]
        )
        records.write_json(workdir / RESULTS, results)
    return Outcome(run.benchmark, results)


def _count_parameters(params: Params) -> dict[str, int]:
    return {
        part: sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))
        for part, tree in params.items()
    }


def majority(examples: prepare.Splits, benchmark: Benchmark) -> dict[str, Any]:
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


def make_predictor(saved: Saved, task_name: str) -> Callable[[list[str]], np.ndarray]:
    """Returns `predict(texts) -> outputs [N, d]`: probabilities, or values."""
    config, benchmark = saved.config, saved.benchmark
    own = benchmark.slots(task_name)
    task = next(task for task in benchmark.tasks if task.name == task_name)
    sizes = (0,) * len(benchmark.tasks)
    model, method = build.make_model(config, benchmark, saved.backbone.config, sizes)
    devices = parallel.choose_devices(1)
    forward = build.make_forward(model, method, devices)
    params = parallel.replicate(saved.params, devices)

    def predict(texts: list[str]) -> np.ndarray:
        split = build.unlabelled_split(config, benchmark, saved.backbone, texts)
        outputs, _ = evaluate.predict_outputs(forward, params, split)
        found = outputs[:, own].astype(np.float64)
        if task.is_classification:
            found = np.exp(found - found.max(axis=1, keepdims=True))
            found /= found.sum(axis=1, keepdims=True)
        return found

    return predict
