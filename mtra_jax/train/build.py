"""A configuration -> data, model, method and programs. Only here is the config read."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from mtra_jax.data import batches, packing, prepare, tokens
from mtra_jax.errors import InputError
from mtra_jax.methods import base, registry
from mtra_jax.models import encoder, heads, pretrained
from mtra_jax.tasks import BENCHMARKS, Benchmark
from mtra_jax.train import evaluate, loop, optimiser, parallel, step
from mtra_jax.types import Params


class Backbone(NamedTuple):
    """An encoder's configuration and weights, and its tokenizer."""

    config: encoder.EncoderConfig
    params: Params
    tokenizer: Tokenizer


class Prepared(NamedTuple):
    """A run and what belongs to its data: kept apart, since `fit` needs the run only."""

    run: loop.Run
    test: evaluate.Split
    examples: prepare.Splits
    backbone: Backbone
    devices: list[jax.Device]


def benchmark_of(config: ConfigDict) -> Benchmark:
    """The benchmark, with the chosen tasks only."""
    benchmark = BENCHMARKS[config.benchmark]
    return benchmark.select(config.tasks or benchmark.task_names)


def cache_dir_of(config: ConfigDict) -> Path | None:
    """Where tokens and compiled programs are kept; None for nowhere."""
    text = config.data.cache_dir
    return Path(text).expanduser() if text else None


def use_compilation_cache(config: ConfigDict) -> None:
    """Keeps compiled programs on disk, so that the next start is quick."""
    directory = cache_dir_of(config)
    if directory is not None:
        jax.config.update("jax_compilation_cache_dir", str(directory / "programs"))


def compute_dtype(config: ConfigDict) -> Any:
    """The precision of the encoder; parameters and losses stay in float32."""
    if config.compute_dtype == "auto":
        return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    return jnp.dtype(config.compute_dtype)


def load_examples(config: ConfigDict, benchmark: Benchmark) -> prepare.Splits:
    """The examples of every split, thinned and noised as configured."""
    return prepare.load_examples(
        benchmark,
        config.data.dir,
        fraction=config.data.fraction,
        label_noise=config.data.label_noise,
        seed=config.seed,
    )


def load_backbone(config: ConfigDict, train_texts: list[str]) -> Backbone:
    """A pretrained encoder, or a new one with a tokenizer trained on `train_texts`.

    Raises:
      InputError: weights or tokenizer cannot be had, or `data.max_length` is too long.
    """
    options = config.backbone
    if options.path:
        directory = pretrained.resolve(options.path)
        encoder_config, params = pretrained.load_encoder(directory)
        tokenizer = tokens.load_tokenizer(directory)
        largest = tokenizer.get_vocab_size(with_added_tokens=True)
        if largest > encoder_config.vocab_size:
            raise InputError(
                f"{directory}: the tokenizer has {largest} tokens, the encoder rows for "
                f"{encoder_config.vocab_size}"
            )
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
    return Backbone(encoder_config, params, tokenizer)


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
    options = {k: v for k, v in config.method.items() if k != "name"}
    return model, registry.METHODS[config.method.name].make(model, **options)


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
    devices = parallel.choose_devices(config.devices)
    num_shares = len(devices) * config.micro_batches
    if config.batch_size % num_shares:
        factors = f"the {num_shares} devices"
        if config.micro_batches > 1:
            factors = f"{num_shares}, devices times micro_batches"
        raise InputError(
            f"batch_size is {config.batch_size}; expected a multiple of {factors}"
        )
    benchmark = benchmark_of(config)
    examples = load_examples(config, benchmark)
    if backbone is None:
        backbone = load_backbone(config, prepare.train_texts(benchmark, examples))
    corpora = prepare.build_corpora(
        benchmark,
        examples,
        backbone.tokenizer,
        max_length=config.data.max_length,
        cache_dir=cache_dir_of(config),
    )
    sizes = corpora["train"].sizes
    schedule = make_schedule(config, sizes)
    model, method = make_model(
        config, benchmark, backbone.config, sizes, schedule.steps_per_epoch, unroll
    )
    optimise = optimiser.make(
        optimiser.warm_up(
            config.learning_rate,
            round(config.warm_up * schedule.epochs * schedule.steps_per_epoch),
        ),
        benchmark.task_names,
        config.clip_norm,
    )
    root = jax.random.key(config.seed)
    # The keys of the steps are folded with their numbers; none has this one.
    init_rng = jax.random.fold_in(root, 2**32 - 1)
    params = init_params(model, method, backbone.params, init_rng)
    update = step.make_update(
        model,
        method,
        optimise,
        one_task=config.sampling == "per_task",
        axis_name=parallel.AXIS,
    )
    is_apart = isinstance(method.gradient, base.Combined)
    train, splits = make_batchers(config, corpora, schedule, devices, is_apart=is_apart)
    run = loop.Run(
        benchmark,
        schedule,
        parallel.Program(update, devices, donate_first=True),
        make_forward(model, method, devices),
        train,
        splits["validation"],
        parallel.to_host(step.init_state(method, optimise, params, root)),
    )
    return Prepared(run, splits["test"], examples, backbone, devices)


def make_forward(
    model: base.Model, method: base.Method, devices: list[jax.Device]
) -> Any:
    """The program of evaluation: (params, batch) -> (outputs, losses)."""
    forward = step.make_forward(model, method, axis_name=parallel.AXIS)
    return parallel.Program(forward, devices, donate_first=False)


def make_schedule(config: ConfigDict, sizes: tuple[int, ...]) -> loop.Schedule:
    """The plan of every epoch, from the seed."""

    def plan(epoch: int) -> np.ndarray:
        return batches.plan_epoch(
            sizes,
            config.batch_size,
            seed=config.seed,
            epoch=epoch,
            sampling=config.sampling,
        )

    if config.sampling == "joint" and len(sizes) > config.batch_size:
        raise InputError(
            f"batch_size is {config.batch_size}; expected at least {len(sizes)}, one "
            "example per task, with sampling joint"
        )
    return loop.Schedule(
        config.epochs,
        config.patience,
        config.checkpoint_every,
        config.max_bad_steps,
        plan,
        len(plan(0)),
    )


def make_batchers(
    config: ConfigDict,
    corpora: Mapping[str, batches.Corpus],
    schedule: loop.Schedule,
    devices: list[jax.Device],
    *,
    is_apart: bool,
) -> tuple[batches.Batcher, dict[str, evaluate.Split]]:
    """Packed batches of the training split, and of the others in their order.

    With `is_apart` the tasks of a training batch are packed apart.
    """
    num_shares = len(devices) * config.micro_batches
    part_size = None
    if is_apart:
        most = config.batch_size
        if config.sampling == "joint":
            most = -(-most // len(corpora["train"].sizes))
        part_size = -(-most // num_shares) * num_shares
    make = functools.partial(
        batches.Batcher,
        num_devices=len(devices),
        local_devices=parallel.local_places(devices),
        seed=config.seed,
    )
    needed, tasks = batches.needed_shapes(
        corpora["train"], schedule.plan(0), num_shares, part_size
    )
    # In a joint plan every batch is of all tasks.
    groups = tasks if config.sampling == "per_task" else None
    shapes = packing.choose_shapes(needed, groups, max_shapes=config.data.max_shapes)
    # Evaluation holds no activations for a backward pass: whole batches fit.
    train = make(
        corpora["train"],
        shapes,
        micro_batches=config.micro_batches,
        part_size=part_size,
    )
    plans = {
        split: batches.plan_evaluation(corpora[split].sizes, config.batch_size)
        for split in corpora
        if split != "train"
    }
    needed = [
        shape
        for split, plan in plans.items()
        for shape in batches.needed_shapes(corpora[split], plan, len(devices))[0]
    ]
    # A split is seen once an epoch: fewer programs, a little more rounding.
    max_shapes = max(1, config.data.max_shapes // 2)
    shapes = packing.choose_shapes(needed, max_shapes=max_shapes, rounding=0.05)
    splits = {
        split: evaluate.Split(make(corpora[split], shapes), plan)
        for split, plan in plans.items()
    }
    return train, splits


def unlabelled_split(
    config: ConfigDict, benchmark: Benchmark, backbone: Backbone, texts: list[str]
) -> evaluate.Split:
    """Batches of `texts` without labels, in order, for one device."""
    found = tokens.encode(backbone.tokenizer, texts, config.data.max_length)
    corpus = batches.Corpus(
        found,
        np.zeros(len(texts), np.int32),
        np.zeros((len(texts), benchmark.num_slots), np.float32),
        (len(texts),),
    )
    plan = batches.plan_evaluation(corpus.sizes, config.batch_size)
    needed, _ = batches.needed_shapes(corpus, plan, num_shares=1)
    shapes = packing.choose_shapes(needed, max_shapes=2)
    return evaluate.Split(batches.Batcher(corpus, shapes), plan)
