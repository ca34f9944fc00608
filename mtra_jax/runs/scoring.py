"""The best model of a finished run -> figures of a split, or predictions of new texts."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import metrics
from mtra_jax.data import batches, benchmarks, fingerprints, packing, shapes, tokens
from mtra_jax.data.texts import normalize
from mtra_jax.errors import InputError
from mtra_jax.models import pretrained
from mtra_jax.runs import build, checkpoints, inputs, loop, metrics_log, workdir
from mtra_jax.tasks import Benchmark
from mtra_jax.train import evaluate
from mtra_jax.train.devices import choose_devices, local_places, replicate
from mtra_jax.types import Params


class Saved(NamedTuple):
    """A model read back from the directory of a run."""

    config: ConfigDict
    benchmark: Benchmark
    backbone: build.Backbone
    params: Params
    inputs: inputs.Inputs


class Score(NamedTuple):
    """`summary` as one split of `results.json`. `difference` from the data of the run."""

    benchmark: Benchmark
    summary: dict[str, Any]
    difference: str | None


def load(directory: Path, cache_dir: str | None = None) -> Saved:
    """The best model of the run in `directory`.

    The run is untrusted: the cache path that its configuration names is not used, but
    `cache_dir`, or else the default.

    Raises:
      InputError: there is no run, it has no checkpoint, or the
        tokenizer or configuration of its encoder was changed.
    """
    config = workdir.read_config(directory)
    own = configs.default_config().data.cache_dir if cache_dir is None else cache_dir
    config.data.cache_dir = own
    build.use_compilation_cache(config)
    encoder_dir = directory / workdir.ENCODER
    encoder_config = pretrained.read_config(encoder_dir)
    tokenizer = tokens.load_tokenizer(encoder_dir, encoder_config.vocab_size)
    made_from = inputs.read(directory)
    for name, value in (
        ("tokenizer", fingerprints.of_tokenizer(tokenizer)),
        ("configuration", inputs.of_configuration(encoder_config)),
    ):
        if made_from.encoder[name] != value:
            raise InputError(
                f"{encoder_dir}: the {name} is not the one that the run was trained with"
            )
    params = load_best_params(directory)
    backbone = build.Backbone(encoder_config, params["encoder"], tokenizer)
    return Saved(config, build.benchmark_of(config), backbone, params, made_from)


def load_best_params(directory: Path) -> Params:
    """The parameters of the best epoch.

    Raises:
      InputError: there is no checkpoint, or not that of the best epoch.
    """
    place = directory / workdir.CHECKPOINTS
    if not place.is_dir():
        raise InputError(f"{place}: no such directory; the run has no checkpoint")
    finished = workdir.read_results(directory)
    store = checkpoints.Checkpoints(place, read_only=True)
    with contextlib.closing(store):
        best = store.best_step()
        if best is None:
            raise InputError(f"{place}: no checkpoint")
        if finished is not None:
            loop.check_best(store.read_record(best), finished["best_epoch"])
        return store.restore_params(best)


def evaluate_run(
    directory: Path,
    split: str,
    *,
    data_dir: str | None = None,
    cache_dir: str | None = None,
    num_devices: int = 0,
    batch_size: int | None = None,
    bar: evaluate.Bar = evaluate.no_bar,
) -> Score:
    """Scores the best model of the run in `directory` on one split.

    Only the files of that split are read. `num_devices` 0 means all; `batch_size` None
    is that of training, rounded up to a multiple of the devices.

    Raises:
      InputError: as `load`; or the run's data are the hub's, and `data_dir` is not "hub".
    """
    if data_dir is None:
        data_dir = workdir.read_config(directory).data.dir
        if data_dir == benchmarks.HUB:
            raise InputError(
                f"{directory / workdir.CONFIG}: data.dir is {benchmarks.HUB!r} there; "
                "expected --data_dir hub, to go online, or --data_dir DIR"
            )
    saved = load(directory, cache_dir)
    config = saved.config
    devices = choose_devices(num_devices)
    examples = benchmarks.read_examples(saved.benchmark, data_dir, [split])
    corpora = benchmarks.build_corpora(
        saved.benchmark,
        examples,
        saved.backbone.tokenizer,
        max_length=config.data.max_length,
        cache_dir=build.cache_dir_of(config),
        splits=(split,),
    )
    size = batch_size or config.batch_size
    size += -size % len(devices)
    known = ()
    if size == config.batch_size:
        # The same programs as in training give the same figures, to the bit.
        known = _shapes_of_training(directory, len(devices))
    chosen = _split(corpora[split], size, devices, known)
    outputs = _outputs_of(saved, chosen, devices, bar)
    _, scores, _ = evaluate.score_outputs(outputs, corpora[split], saved.benchmark)
    return Score(
        saved.benchmark,
        metrics.summarize(scores, saved.benchmark.tasks),
        inputs.data_difference(saved.inputs, fingerprints.of_splits(examples)),
    )


def _shapes_of_training(directory: Path, num_devices: int) -> tuple[packing.Shape, ...]:
    """The shapes of evaluation that `environment.json` records; none without them."""
    try:
        values = metrics_log.read_json(directory / workdir.ENVIRONMENT)
        if len(values["devices"]) != num_devices:
            return ()
        known = tuple(packing.Shape(*map(int, s)) for s in values["evaluation_shapes"])
    except (OSError, KeyError, TypeError, ValueError):
        return ()
    return known if all(min(shape) > 0 for shape in known) else ()


def _outputs_of(
    saved: Saved, split: evaluate.Split, devices: list[jax.Device], bar: evaluate.Bar
) -> np.ndarray:
    """The outputs [N, L] of the model for all examples of a split, in their order."""
    # The numbers of training examples matter to losses alone.
    sizes = (1,) * len(saved.benchmark.tasks)
    model, _ = build.make_model(
        saved.config, saved.benchmark, saved.backbone.config, sizes
    )
    forward = build.make_forward(saved.config, model, devices)
    params = replicate(saved.params, devices)
    outputs, _ = evaluate.predict_outputs(forward, params, split, bar)
    return outputs


def _split(
    corpus: batches.Corpus,
    batch_size: int,
    devices: list[jax.Device],
    known: tuple[packing.Shape, ...] = (),
) -> evaluate.Split:
    """Batches of one split in order, in shapes chosen for it unless some are `known`."""
    plan = batches.plan_evaluation(corpus.sizes, batch_size)
    chosen = known or _few(shapes.needed(corpus, plan, len(devices)))
    places = local_places(devices)
    batcher = batches.Batcher(
        corpus, chosen, num_devices=len(devices), local_devices=places
    )
    return evaluate.Split(batcher, plan)


def make_predictor(saved: Saved, task_name: str) -> Callable[[list[str]], np.ndarray]:
    """Returns `predict(raw texts) -> outputs [N, d]`: probabilities, or values."""
    config, benchmark = saved.config, saved.benchmark
    own = benchmark.slots(task_name)
    task = next(task for task in benchmark.tasks if task.name == task_name)
    sizes = (1,) * len(benchmark.tasks)
    model, _ = build.make_model(config, benchmark, saved.backbone.config, sizes)
    devices = choose_devices(1)
    forward = build.make_forward(config, model, devices)
    params = replicate(saved.params, devices)

    def predict(texts: list[str]) -> np.ndarray:
        split = _unlabelled(config, benchmark, saved.backbone, texts)
        outputs, _ = evaluate.predict_outputs(forward, params, split)
        values = outputs[:, own].astype(np.float64)
        if task.is_classification:
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        return values

    return predict


def _unlabelled(
    config: ConfigDict, benchmark: Benchmark, backbone: build.Backbone, texts: list[str]
) -> evaluate.Split:
    """Batches of raw `texts` without labels, in order, for one device."""
    texts = [normalize(text) for text in texts]
    found = tokens.encode(backbone.tokenizer, texts, config.data.max_length)
    corpus = batches.Corpus(
        found,
        np.zeros(len(texts), np.int32),
        np.zeros((len(texts), benchmark.num_slots), np.float32),
        (len(texts),),
    )
    plan = batches.plan_evaluation(corpus.sizes, config.batch_size)
    chosen = _few(shapes.needed(corpus, plan, num_shares=1))
    return evaluate.Split(batches.Batcher(corpus, chosen), plan)


def _few(needs: Sequence[packing.Shape]) -> tuple[packing.Shape, ...]:
    # Each shape is compiled, for few batches.
    return shapes.choose(needs, program_cost=0.0, max_shapes=2)
