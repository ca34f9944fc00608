"""A configuration -> method, model, optimiser, sampling and the numbers of the programs."""

import numpy as np
import optax
from ml_collections import ConfigDict

from mtra_jax import paths
from mtra_jax.methods.model import Model
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.tasks import Benchmark
from mtra_jax.train import batching, build, schedules


def method_of(config: ConfigDict) -> build.MethodChoice:
    """The method and its options."""
    options = {k: v for k, v in config.method.items() if k != "name"}
    return build.MethodChoice(config.method.name, options)


def optimiser_of(config: ConfigDict) -> build.OptimiserChoice:
    """The optimiser and the schedule of its rate."""
    return build.OptimiserChoice(config.optimiser, config.schedule)


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


def use_compilation_cache(config: ConfigDict) -> None:
    """Caches compiled programs on disk, so that the next start is quick."""
    build.use_compilation_cache(paths.cache_directory(config.data.cache_dir))


def sampling_of(config: ConfigDict) -> batching.Sampling:
    """How the batches of a run are drawn."""
    return batching.Sampling(
        config.sampling,
        config.batch_size,
        config.micro_batches,
        config.seed,
        config.sampling_temperature,
        config.sampling_cap,
    )


def schedule_of(
    config: ConfigDict, sampling: batching.Sampling, sizes: tuple[int, ...]
) -> batching.Schedule:
    """The steps of a run on `sizes` training examples, one number for each task."""
    return batching.make_schedule(
        sampling,
        sizes,
        epochs=config.epochs,
        patience=config.patience,
        checkpoint_every=config.checkpoint_every,
        max_bad_steps=config.max_bad_steps,
    )


def settings_of(
    config: ConfigDict, schedule: batching.Schedule, method: build.MethodChoice
) -> build.Settings:
    """The numbers that the programs of a run take as arguments."""
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


def rate_of(config: ConfigDict, settings: build.Settings) -> optax.Schedule:
    """The schedule of the learning rate, in double precision as in the configuration."""
    exact = settings._replace(learning_rate=config.learning_rate)
    return build.make_rate(exact, optimiser_of(config))
