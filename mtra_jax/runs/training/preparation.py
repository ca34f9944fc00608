"""A configuration -> data, encoder, batches and programs."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import metrics, paths
from mtra_jax.data import benchmarks
from mtra_jax.data.packed.batches import Corpus
from mtra_jax.data.splits import fingerprints, targets
from mtra_jax.data.splits.examples import Data, Examples, Splits
from mtra_jax.methods.model import Model
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.reports.progress import text_lengths
from mtra_jax.runs.directory import inputs_json
from mtra_jax.runs.training import bound_ceilings, diagnostics, loop, selection
from mtra_jax.tasks import Benchmark
from mtra_jax.train import backbone as backbones
from mtra_jax.train import batching, build, evaluate, schedules, starting
from mtra_jax.train.backbone import Backbone
from mtra_jax.train.devices import choose_devices, to_host
from mtra_jax.train.step import TrainState


class Prepared(NamedTuple):
    """A run before its first step, with its data, encoder and devices."""

    run: loop.Run
    test: evaluate.Split
    examples: Splits
    backbone: Backbone
    devices: list[jax.Device]
    inputs: inputs_json.Inputs
    mapping: str = "pmap"
    """The mapping of the run's programs, see `devices.Program`."""
    origin: str = ""
    """A line about parameters that are those of another run, see `starting.start`."""
    cut: str = ""
    """A line about training texts that were cut, see `text_lengths.line`."""


def prepare(
    config: ConfigDict,
    backbone: Backbone | None = None,
    unroll: int | None = None,
    data: Data | None = None,
    given: starting.Start | None = None,
) -> Prepared:
    """Reads the data and builds the run; `backbone` replaces the configured one.

    `unroll`: see `encoder.Encoder`. `data` replaces the configured tasks and examples.
    `given`: the run at `config.warm_start`.

    Raises:
      InputError: data, weights or devices are missing, or values do not fit together.
    """
    devices = choose_devices(config.devices)
    sampling = _sampling(config)
    batching.check_batch_size(sampling.batch_size, len(devices), sampling.micro_batches)
    benchmark, splits = data or load_data(config)
    chosen = selection.make(config.selection, benchmark)
    examples = examples_of(config, Data(benchmark, splits))
    train_examples = _training(examples)
    benchmark = _resolved(config, benchmark, train_examples)
    if backbone is None:
        texts = benchmarks.train_texts(benchmark, examples)
        backbone = load_backbone(config, texts, given)
    backbones.check_pairs(backbone, benchmark, config.backbone.path)
    made_from = inputs_json.Inputs(
        fingerprints.of_splits(splits), fingerprints_of(config, backbone, given)
    )
    corpora = benchmarks.build_corpora(
        benchmark,
        examples,
        backbone.tokenizer,
        max_length=config.data.max_length,
        cache_dir=paths.cache_directory(config.data.cache_dir),
    )
    sizes = corpora["train"].sizes
    schedule = _schedule(config, sampling, sizes)
    entropies = bound_ceilings.label_entropies(benchmark, corpora["train"])
    steps = schedule.steps_per_epoch
    model = make_model(
        config, benchmark, backbone.config, sizes, steps, unroll, entropies
    )
    method, optimiser = choice_of(config), optimiser_of(config)
    settings = _settings(config, schedule, method)
    train, parts = batching.make_batchers(
        sampling,
        corpora,
        devices,
        program_cost=batching.program_cost(backbone.config, devices[0].platform),
        max_shapes=config.data.max_shapes,
        is_apart=build.packs_tasks_apart(model, method),
    )
    update = build.make_update(
        model,
        method,
        settings,
        devices,
        one_task=sampling.is_one_task,
        mapping=config.mapping,
        chosen=optimiser,
    )
    forward = build.make_forward(model, method, devices, mapping=config.mapping)
    biases = _biases(config, benchmark, train_examples)
    state = _first_state(config, model, settings, backbone, biases)
    state, origin = _warm(state, given, benchmark, method)
    rate = _rate(config, settings)
    validation, test, mapping = parts["validation"], parts["test"], config.mapping
    run = loop.Run(
        benchmark, schedule, update, forward, train, validation, state, rate, chosen
    )
    run = run._replace(probe=_probe(config, model, corpora["train"], devices))
    made = Prepared(run, test, examples, backbone, devices, made_from, mapping)
    return made._replace(origin=origin, cut=_cut(config, benchmark, corpora["train"]))


def _cut(config: ConfigDict, benchmark: Benchmark, corpus: Corpus) -> str:
    names, lengths = benchmark.task_names, corpus.tokens.lengths
    return text_lengths.line(names, corpus.sizes, lengths, config.data.max_length)


def _rate(config: ConfigDict, settings: build.Settings) -> optax.Schedule:
    """The schedule of the learning rate, in double precision as in the configuration."""
    exact = settings._replace(learning_rate=config.learning_rate)
    return build.make_rate(exact, optimiser_of(config))


def _probe(
    config: ConfigDict, model: Model, corpus: Corpus, devices: list[jax.Device]
) -> diagnostics.Diagnostics | None:
    """What `diagnostics.every` measures; None where it is 0."""
    return diagnostics.make(
        config.diagnostics.every,
        model,
        choice_of(config),
        corpus,
        devices,
        batch_size=config.batch_size,
        micro_batches=config.micro_batches,
        mapping=config.mapping,
    )


def _first_state(
    config: ConfigDict,
    model: Model,
    settings: build.Settings,
    backbone: Backbone,
    biases: np.ndarray | None,
) -> TrainState:
    """The state before the first step of a run that starts from no other, on the host."""
    method, chosen = choice_of(config), optimiser_of(config)
    return to_host(
        build.init_state(
            model, method, settings, backbone.params, config.seed, biases, chosen
        )
    )


def _warm(
    state: TrainState,
    given: starting.Start | None,
    benchmark: Benchmark,
    method: build.MethodChoice,
) -> tuple[TrainState, str]:
    """The state with the parameters of the `given` run, and `Prepared.origin`."""
    if given is None:
        return state, ""
    params, line = starting.start(state.params, given, benchmark.tasks, method.name)
    return state._replace(params=params), line


def load_data(config: ConfigDict) -> Data:
    """The configured tasks with their examples, see `benchmarks.load`."""
    data = benchmarks.load(
        config.benchmark,
        configs.task_names(config),
        data_dir=config.data.dir,
        task_path=config.data.tasks,
    )
    metrics.check_metrics(data.benchmark.tasks)
    return data


def resolved_tasks(config: ConfigDict, data: Data) -> Benchmark:
    """The tasks of a run of `config`, with the fields that depend on the data."""
    examples = examples_of(config, data)
    return _resolved(config, data.benchmark, _training(examples))


def examples_of(config: ConfigDict, data: Data) -> Splits:
    """The examples that a run of `config` uses."""
    return benchmarks.thin(
        data.benchmark,
        data.splits,
        fraction=config.data.fraction,
        label_noise=config.data.label_noise,
        limit=config.data.limit,
        seed=config.seed,
    )


def _training(examples: Splits) -> dict[str, Examples]:
    return {task: parts["train"] for task, parts in examples.items()}


def _resolved(
    config: ConfigDict, benchmark: Benchmark, train_examples: Mapping[str, Examples]
) -> Benchmark:
    """The benchmark with the fields that depend on the data, see `targets.resolved`."""
    return targets.resolved(
        benchmark,
        train_examples,
        standardize=config.data.standardize,
        class_weights=config.class_weights,
        label_smoothing=config.label_smoothing,
    )


def _biases(
    config: ConfigDict, benchmark: Benchmark, train_examples: Mapping[str, Examples]
) -> np.ndarray | None:
    """The biases that the heads start with, see `build.init_params`."""
    if config.heads.start == "zero":
        return None
    return targets.base_rates(train_examples, benchmark)


def load_backbone(
    config: ConfigDict, train_texts: list[str], given: starting.Start | None = None
) -> Backbone:
    """The configured encoder, see `backbone.load`, or that of the `given` run."""
    if given is not None:
        backbones.check(
            given.backbone, train_texts, config.data.max_length, given.source
        )
        return given.backbone
    values = config.backbone
    sizes = backbones.Sizes(**{name: values[name] for name in backbones.Sizes._fields})
    return backbones.load(
        values.path,
        sizes,
        train_texts,
        max_length=config.data.max_length,
        seed=config.seed,
    )


def fingerprints_of(
    config: ConfigDict, backbone: Backbone, given: starting.Start | None = None
) -> dict[str, str]:
    """`Inputs.encoder` of the first weights, without those of a new encoder.

    A `given` run counts with all of its parameters.
    """
    weights = backbone.params if config.backbone.path else {}
    return inputs_json.of_encoder(
        backbone.config,
        backbone.tokenizer,
        weights if given is None else given.params,
    )


def make_model(
    config: ConfigDict,
    benchmark: Benchmark,
    encoder_config: EncoderConfig,
    sizes: tuple[int, ...] | None = None,
    steps_per_epoch: int = 1,
    unroll: int | None = None,
    label_entropies: np.ndarray | None = None,
) -> Model:
    """The network, see `build.make_model`."""
    return build.make_model(
        benchmark,
        encoder_config,
        dtype=build.compute_dtype(config.compute_dtype),
        head_dropout=config.head_dropout,
        sizes=sizes,
        steps_per_epoch=steps_per_epoch,
        unroll=unroll,
        in_pieces=config.gradient_pieces,
        merged=config.merged_kernels,
        label_entropies=label_entropies,
    )


def choice_of(config: ConfigDict) -> build.MethodChoice:
    """The method and its options."""
    options = {k: v for k, v in config.method.items() if k != "name"}
    return build.MethodChoice(config.method.name, options)


def optimiser_of(config: ConfigDict) -> build.OptimiserChoice:
    """The optimiser and the schedule of its rate."""
    return build.OptimiserChoice(config.optimiser, config.schedule)


def use_compilation_cache(config: ConfigDict) -> None:
    """Caches compiled programs on disk, so that the next start is quick."""
    build.use_compilation_cache(paths.cache_directory(config.data.cache_dir))


def _sampling(config: ConfigDict) -> batching.Sampling:
    return batching.Sampling(
        config.sampling,
        config.batch_size,
        config.micro_batches,
        config.seed,
        config.sampling_temperature,
        config.sampling_cap,
    )


def _schedule(
    config: ConfigDict, sampling: batching.Sampling, sizes: tuple[int, ...]
) -> batching.Schedule:
    return batching.make_schedule(
        sampling,
        sizes,
        epochs=config.epochs,
        patience=config.patience,
        checkpoint_every=config.checkpoint_every,
        max_bad_steps=config.max_bad_steps,
    )


def _settings(
    config: ConfigDict, schedule: batching.Schedule, method: build.MethodChoice
) -> build.Settings:
    num_steps = schedule.epochs * schedule.steps_per_epoch
    decays = config.schedule != "constant"
    return build.Settings(
        np.float32(config.learning_rate),
        np.int32(schedules.warm_up_steps(config.warm_up, num_steps)),
        np.float32(config.clip_norm),
        method.numbers(),
        np.int32(num_steps) if decays else None,
        np.float32(config.weight_decay) if config.weight_decay else None,
        np.float32(config.layer_decay) if config.layer_decay != 1 else None,
        method.critic_rate(),
    )
