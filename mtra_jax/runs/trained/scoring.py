"""The best model of a finished run -> figures of a split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mtra_jax import config as configs
from mtra_jax import files, metrics, paths
from mtra_jax.data import benchmarks
from mtra_jax.data.packed import batches, packing, plans, shapes
from mtra_jax.data.splits import fingerprints
from mtra_jax.data.splits.examples import Splits, none_of
from mtra_jax.errors import InputError
from mtra_jax.reports.progress import label_counts
from mtra_jax.runs.directory import best_model, inputs_json, layout, tasks_json
from mtra_jax.runs.directory.best_model import Saved
from mtra_jax.runs.trained import prediction, scored_data
from mtra_jax.runs.trained.scored_data import Options
from mtra_jax.runs.training import choices
from mtra_jax.tasks import Benchmark
from mtra_jax.train import build, evaluate
from mtra_jax.train.devices import (
    Program,
    choose_devices,
    local_device,
    local_places,
    replicate,
)


class Score(NamedTuple):
    """The score of a run on one split.

    `summary`: as one split of `results.json`. `difference`: how the data differ from those
    of the run. `limit`: the largest number of scored examples per task (`data.limit`);
    0 for all. `left_out`: the tasks of the run that `Options.task_path` lacks. `counts`:
    the scored examples of each task. `cut_off`: lines about data other than the run's of
    which only a share is scored, see `task_file.cut_off`. `absent`: lines about classes
    that no scored example has, see `label_counts.absent`.
    """

    benchmark: Benchmark
    summary: dict[str, Any]
    difference: str | None
    limit: int = 0
    left_out: tuple[str, ...] = ()
    counts: Mapping[str, int] = {}
    cut_off: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def evaluate_run(directory: Path, split: str, options: Options | None = None) -> Score:
    """Scores the best model of the run in `directory`, or each task's, on one split.

    Only the files of that split are read.

    Raises:
      InputError: as `best_model.load`; or the run has data of the hub, and
        `options.data_dir` is not "hub".
    """
    options = options or Options()
    config = layout.read_config(directory)
    names = configs.separate_tasks(config)
    if not names:
        return _evaluate_one(directory, split, options)
    benchmark, left_out = scored_data.choose(
        tasks_json.read(directory), options.task_path
    )
    names = benchmark.task_names
    parts = [_evaluate_one(directory / name, split, options) for name in names]
    scores = {n: part.summary[n] for n, part in zip(names, parts, strict=True)}
    counts = {n: count for part in parts for n, count in part.counts.items()}
    differences = [part.difference for part in parts if part.difference is not None]
    return Score(
        benchmark,
        metrics.summarize(scores, benchmark.tasks),
        differences[0] if differences else None,
        parts[0].limit,
        left_out,
        counts,
        tuple(line for part in parts for line in part.cut_off),
        tuple(line for part in parts for line in part.absent),
    )


class _Batch(NamedTuple):
    """A split, and how its examples are divided into batches; see `_split`."""

    split: str
    size: int
    shapes: tuple[packing.Shape, ...] = ()


def score_examples(
    saved: Saved,
    examples: Splits,
    split: str,
    bar: evaluate.Bar = evaluate.no_bar,
) -> dict[str, Any]:
    """Scores a model on one split of `examples`, as one split of `results.json`.

    `examples`: of some tasks of `saved.benchmark`, with its labels; only these are scored.
    """
    batch = _Batch(split, saved.config.batch_size)
    return _summary(saved, examples, batch, local_device(), bar)


def _summary(
    saved: Saved,
    examples: Splits,
    batch: _Batch,
    devices: list[jax.Device],
    bar: evaluate.Bar,
) -> dict[str, Any]:
    config, benchmark = saved.config, saved.benchmark
    # All tasks stay in the model: parameters of the method may have the size of all labels.
    parts = {
        task.name: examples.get(task.name, {batch.split: none_of(task)})
        for task in benchmark.tasks
    }
    corpora = benchmarks.build_corpora(
        benchmark,
        parts,
        saved.backbone.tokenizer,
        max_length=config.data.max_length,
        cache_dir=paths.cache_directory(config.data.cache_dir),
        splits=(batch.split,),
    )
    corpus = corpora[batch.split]
    packed = _split(corpus, batch.size, devices, batch.shapes)
    params = replicate(saved.params, devices, prediction.MAPPING)
    outputs, _ = evaluate.predict_outputs(_forward(saved, devices), params, packed, bar)
    _, scores, _ = evaluate.score_outputs(outputs, corpus, benchmark)
    return metrics.summarize(scores, benchmark.select([*scores]).tasks)


def _evaluate_one(directory: Path, split: str, options: Options) -> Score:
    # Before the model is loaded, which may make a cache directory.
    is_hub = layout.read_config(directory).data.dir == benchmarks.HUB
    if is_hub and options.data_dir is None:
        raise InputError(
            f"{directory / layout.CONFIG}: data.dir is {benchmarks.HUB!r} there; "
            "expected --data_dir hub, to go online, or --data_dir DIR"
        )
    saved = best_model.load_one(directory, options.cache_dir)
    return evaluate_saved(saved, directory, split, options)


def evaluate_saved(
    saved: Saved, directory: Path, split: str, options: Options
) -> Score:
    """As `evaluate_run`, for the model `saved` that was read from `directory`."""
    config = saved.config
    data_dir = config.data.dir if options.data_dir is None else options.data_dir
    devices = choose_devices(options.num_devices)
    path = scored_data.task_path(directory, saved.benchmark, config, options)
    benchmark, left_out = scored_data.choose(saved.benchmark, options.task_path)
    examples = benchmarks.read_examples(benchmark, data_dir, [split], path)
    # That of the run is for its data; another file is scored whole.
    limit = 0 if options.task_path else config.data.limit
    limited = benchmarks.limit_examples(benchmark, examples, limit)
    size = options.batch_size or config.batch_size
    size += -size % len(devices)
    trained: tuple[packing.Shape, ...] = ()
    if size == config.batch_size:
        # With the shapes of training, figures are the same to the bit.
        trained = _shapes_of_training(directory, len(devices))
    batch = _Batch(split, size, trained)
    now = fingerprints.of_splits(examples)
    return Score(
        benchmark,
        _summary(saved, limited, batch, devices, options.bar),
        inputs_json.data_difference(saved.inputs, now),
        limit,
        left_out,
        {name: len(parts[split].texts) for name, parts in limited.items()},
        tuple(scored_data.cut_off(saved.inputs, now, path, split)),
        tuple(
            label_counts.absent(
                benchmark.tasks,
                {name: parts[split].labels for name, parts in limited.items()},
                split,
            )
        ),
    )


def _forward(saved: Saved, devices: list[jax.Device]) -> Program:
    config = saved.config
    model = choices.make_model(config, saved.benchmark, saved.backbone.config)
    choice = choices.method_of(config)
    return build.make_forward(model, choice, devices, mapping=prediction.MAPPING)


def _shapes_of_training(directory: Path, num_devices: int) -> tuple[packing.Shape, ...]:
    """The evaluation shapes in `environment.json`; () without any for these devices."""
    try:
        values = files.read_json(directory / layout.ENVIRONMENT)
        if len(values["devices"]) != num_devices:
            return ()
        stored = values["evaluation_shapes"]
        trained = tuple(packing.Shape(*map(int, shape)) for shape in stored)
    except (OSError, KeyError, TypeError, ValueError, OverflowError):
        return ()
    return trained if all(min(shape) > 0 for shape in trained) else ()


def _split(
    corpus: batches.Corpus,
    batch_size: int,
    devices: list[jax.Device],
    chosen: tuple[packing.Shape, ...] = (),
) -> evaluate.Split:
    """Batches of one split in order, in the `chosen` shapes, or in a few that fit it."""
    plan = plans.plan_evaluation(corpus.sizes, batch_size)
    # Each shape costs a compilation, and there are few batches.
    chosen = chosen or shapes.choose(
        shapes.needed(corpus, plan, len(devices)), program_cost=0.0, max_shapes=2
    )
    places = local_places(devices)
    batcher = batches.Batcher(
        corpus, chosen, num_devices=len(devices), local_devices=places
    )
    return evaluate.Split(batcher, plan)
