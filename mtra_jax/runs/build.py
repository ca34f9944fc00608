"""A configuration -> data, model, method and programs. Only here is the config read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from mtra_jax import metrics, paths
from mtra_jax.data import benchmarks, fingerprints, tokens
from mtra_jax.data.sources import Splits
from mtra_jax.errors import InputError
from mtra_jax.methods import base, registry
from mtra_jax.models import encoder, heads, pretrained
from mtra_jax.runs import batching, inputs, loop
from mtra_jax.tasks import BENCHMARKS, Benchmark
from mtra_jax.train import evaluate, optimiser, step
from mtra_jax.train.devices import AXIS, Program, choose_devices, to_host
from mtra_jax.types import Batch, Params


class Backbone(NamedTuple):
    """An encoder's configuration and weights, and its tokenizer.

    `dropped`: names of the weights of its checkpoint that are not used, those of heads.
    """

    config: encoder.EncoderConfig
    params: Params
    tokenizer: Tokenizer
    dropped: tuple[str, ...] = ()


class Settings(NamedTuple):
    """Numbers that training programs take as arguments.

    Runs that differ in nothing else share their compiled programs.
    """

    learning_rate: Any
    warm_up_steps: Any
    clip_norm: Any
    method: dict[str, Any]
    """The method's options that are numbers."""


class Prepared(NamedTuple):
    """A run and what belongs to its data: kept apart, since `fit` needs the run only."""

    run: loop.Run
    test: evaluate.Split
    examples: Splits
    backbone: Backbone
    devices: list[jax.Device]
    inputs: inputs.Inputs


def benchmark_of(config: ConfigDict) -> Benchmark:
    """The benchmark, with the chosen tasks only."""
    benchmark = BENCHMARKS[config.benchmark]
    benchmark = benchmark.select(config.tasks or benchmark.task_names)
    metrics.check_metrics(benchmark.tasks)
    return benchmark


def cache_dir_of(config: ConfigDict) -> Path | None:
    """Where tokens and compiled programs are kept; None for nowhere."""
    return paths.cache_directory(config.data.cache_dir)


def use_compilation_cache(config: ConfigDict) -> None:
    """Keeps compiled programs on disk, so that the next start is quick."""
    directory = cache_dir_of(config)
    if directory is None:
        return
    jax.config.update("jax_compilation_cache_dir", str(directory / "programs"))
    # Small programs too: a start needs ten. By default JAX also keeps, in the same place,
    # which kernels a GPU was fastest with, for programs that share some of their parts.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def compute_dtype(config: ConfigDict) -> Any:
    """The precision of the encoder; parameters and losses stay in float32."""
    if config.compute_dtype == "auto":
        return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    return jnp.dtype(config.compute_dtype)


def thin(config: ConfigDict, benchmark: Benchmark, splits: Splits) -> Splits:
    """The examples with the training split thinned and noised as configured."""
    return benchmarks.thin(
        benchmark,
        splits,
        fraction=config.data.fraction,
        label_noise=config.data.label_noise,
        seed=config.seed,
    )


def load_backbone(config: ConfigDict, train_texts: list[str]) -> Backbone:
    """A pretrained encoder, or a new one with a tokenizer trained on `train_texts`.

    Raises:
      InputError: weights or tokenizer cannot be had, the tokenizer is not the encoder's,
        or `data.max_length` is too long.
    """
    options = config.backbone
    dropped: tuple[str, ...] = ()
    if options.path:
        directory = pretrained.resolve(options.path)
        encoder_config, params, dropped = pretrained.load_pretrained(directory)
        tokenizer = tokens.load_tokenizer(directory, encoder_config.vocab_size)
        tokens.check_fit(tokenizer, train_texts, directory)
    else:
        tokenizer = tokens.train_tokenizer(train_texts, options.vocab_size)
        encoder_config = new_encoder_config(config, tokenizer.get_vocab_size())
        rng = jax.random.key(config.seed)
        params = pretrained.init_encoder(encoder_config, rng)
    if config.data.max_length > encoder_config.max_length:
        raise InputError(
            f"data.max_length is {config.data.max_length}; expected at most "
            f"{encoder_config.max_length}, the positions of the encoder"
        )
    return Backbone(encoder_config, params, tokenizer, dropped)


def new_encoder_config(config: ConfigDict, vocab_size: int) -> encoder.EncoderConfig:
    """The configuration of an encoder that is not pretrained."""
    options = config.backbone
    return encoder.EncoderConfig(
        vocab_size=vocab_size,
        hidden_size=options.hidden_size,
        num_hidden_layers=options.num_hidden_layers,
        num_attention_heads=options.num_attention_heads,
        intermediate_size=options.intermediate_size,
        max_position_embeddings=config.data.max_length,
        hidden_dropout_prob=options.dropout,
        attention_probs_dropout_prob=options.dropout,
    )


def make_model(
    config: ConfigDict,
    benchmark: Benchmark,
    encoder_config: encoder.EncoderConfig,
    sizes: tuple[int, ...],
    steps_per_epoch: int = 1,
    unroll: int | None = None,
) -> tuple[base.Model, base.Method]:
    """The network and the method, without parameters.

    `sizes` are the numbers of training examples; they and `steps_per_epoch` matter to
    training alone. `unroll`: see `encoder.Encoder`.
    """
    space = base.Space(
        benchmark.task_names,
        benchmark.slot_tasks(),
        np.array([task.is_classification for task in benchmark.tasks]),
        sizes,
        steps_per_epoch,
    )
    outputs = tuple((task.name, task.num_outputs) for task in benchmark.tasks)
    model = base.Model(
        encoder.Encoder(encoder_config, compute_dtype(config), unroll),
        heads.Heads(outputs, config.head_dropout),
        space,
        encoder_config.hidden_size,
    )
    return model, make_method(config, model)


def make_method(
    config: ConfigDict, model: base.Model, numbers: Mapping[str, Any] | None = None
) -> base.Method:
    """The configured method; `numbers` replace those of its options, see `Settings`."""
    options = {k: v for k, v in config.method.items() if k != "name"}
    options.update(numbers or {})
    return registry.METHODS[config.method.name].make(model, **options)


def init_params(
    model: base.Model, method: base.Method, encoder_params: Params, rng: jax.Array
) -> Params:
    """The parameters before training: the encoder's, new heads, the method's."""

    # One program: each operation by itself would be compiled, or read, in every start.
    @jax.jit
    def new_params(rng: jax.Array) -> Params:
        heads_rng, method_rng = jax.random.split(rng)
        z = jnp.zeros((1, method.num_features or model.hidden_size))
        return {
            "heads": model.heads.init(heads_rng, z, deterministic=True)["params"],
            "method": method.init(method_rng),
        }

    return {"encoder": encoder_params, **new_params(rng)}


def prepare_run(
    config: ConfigDict, backbone: Backbone | None = None, unroll: int | None = None
) -> Prepared:
    """Everything that training needs; the configured backbone, or the one given.

    `unroll`: see `encoder.Encoder`.

    Raises:
      InputError: what the configuration names cannot be had or does not fit.
    """
    devices = choose_devices(config.devices)
    num_shares = len(devices) * config.micro_batches
    if config.batch_size % num_shares:
        factors = f"the {num_shares} devices"
        if config.micro_batches > 1:
            factors = f"{num_shares}, devices times micro_batches"
        raise InputError(
            f"batch_size is {config.batch_size}; expected a multiple of {factors}"
        )
    benchmark = benchmark_of(config)
    splits = benchmarks.read_examples(benchmark, config.data.dir)
    examples = thin(config, benchmark, splits)
    if backbone is None:
        backbone = load_backbone(config, benchmarks.train_texts(benchmark, examples))
    made_from = inputs.Inputs(
        fingerprints.of_splits(splits),
        inputs.of_encoder(
            backbone.config,
            backbone.tokenizer,
            backbone.params if config.backbone.path else {},
        ),
    )
    corpora = benchmarks.build_corpora(
        benchmark,
        examples,
        backbone.tokenizer,
        max_length=config.data.max_length,
        cache_dir=cache_dir_of(config),
    )
    sizes = corpora["train"].sizes
    schedule = batching.make_schedule(config, sizes)
    model, method = make_model(
        config, benchmark, backbone.config, sizes, schedule.steps_per_epoch, unroll
    )
    settings = Settings(
        np.float32(config.learning_rate),
        np.int32(round(config.warm_up * schedule.epochs * schedule.steps_per_epoch)),
        np.float32(config.clip_norm),
        method_numbers(config),
    )
    root = jax.random.key(config.seed)
    # The keys of the steps are folded with their numbers; none has this one.
    init_rng = jax.random.fold_in(root, 2**32 - 1)
    params = init_params(model, method, backbone.params, init_rng)
    optimise = make_optimiser(benchmark, settings)
    is_apart = isinstance(method.gradient, base.Combined)
    train, parts = batching.make_batchers(
        config, corpora, backbone.config, devices, is_apart=is_apart
    )
    run = loop.Run(
        benchmark,
        schedule,
        make_update(config, model, settings, devices),
        make_forward(config, model, devices),
        train,
        parts["validation"],
        to_host(step.init_state(method, optimise, params, root)),
    )
    return Prepared(run, parts["test"], examples, backbone, devices, made_from)


def method_numbers(config: ConfigDict) -> dict[str, np.float32]:
    """The method's options that are numbers, by name."""
    return {k: np.float32(v) for k, v in config.method.items() if type(v) is float}


def make_optimiser(
    benchmark: Benchmark, settings: Settings
) -> optax.GradientTransformationExtraArgs:
    """The optimiser with the rate, the warm-up and the clipping of `settings`."""
    rate = optimiser.warm_up(settings.learning_rate, settings.warm_up_steps)
    return optimiser.make(rate, benchmark.task_names, settings.clip_norm)


def make_update(
    config: ConfigDict, model: base.Model, settings: Settings, devices: list[jax.Device]
) -> Program:
    """The program of training: (state, batch) -> (state, metrics)."""
    benchmark = benchmark_of(config)

    def update(state: step.TrainState, batch: Batch, settings: Settings) -> tuple:
        return step.make_update(
            model,
            make_method(config, model, settings.method),
            make_optimiser(benchmark, settings),
            one_task=config.sampling == "per_task",
            axis_name=AXIS,
        )(state, batch)

    return Program(update, devices, donate_first=True, settings=(settings,))


def make_forward(
    config: ConfigDict, model: base.Model, devices: list[jax.Device]
) -> Program:
    """The program of evaluation: (params, batch) -> (outputs, losses)."""

    def forward(params: Params, batch: Batch, numbers: dict[str, Any]) -> tuple:
        method = make_method(config, model, numbers)
        return step.make_forward(model, method, axis_name=AXIS)(params, batch)

    numbers = method_numbers(config)
    return Program(forward, devices, donate_first=False, settings=(numbers,))
