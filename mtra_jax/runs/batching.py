"""A configuration and corpora -> the plan of every epoch, and packed batches of all splits."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mtra_jax.data import batches, shapes
from mtra_jax.data.packing import Shape
from mtra_jax.errors import InputError
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.runs import loop
from mtra_jax.train import evaluate
from mtra_jax.train.devices import local_places

SHAPE_SEED = 0
"""Shapes are chosen by the plan of this seed, so that runs of all seeds share programs."""
NUM_EPOCHS = 10
"""Epochs that a program is expected to serve, with early stopping and a second run.

Not the configured number: runs of other lengths would have other shapes to compile.
"""
MOST_SHAPES = 12
"""Most shapes of training batches where `data.max_shapes` is 0."""


class Speed(NamedTuple):
    """Rough speed of a kind of device. Measured times would differ from run to run."""

    compile_seconds: float
    """What one more program adds, for each pass, forward and backward, through a layer."""
    flops: float
    """Floating-point operations per second in training."""


# Seconds of one core: MiniLM's program of two passes through six layers is compiled in
# 20, and takes 4,096 tokens through a step in 8.
CPU = Speed(1.7, 6.5e10)
# An estimate for one GPU. Programs are compiled side by side, so that one more adds less
# than it takes alone; a tenth of the peak rate in bfloat16 is what small models reach.
ACCELERATOR = Speed(0.5, 1e14)


def make_schedule(config: ConfigDict, sizes: tuple[int, ...]) -> loop.Schedule:
    """The plan of every epoch, from the seed."""
    if config.sampling == "joint" and len(sizes) > config.batch_size:
        raise InputError(
            f"batch_size is {config.batch_size}; expected at least {len(sizes)}, one "
            "example per task, with sampling joint"
        )
    plan = functools.partial(_plan, config, sizes, config.seed)
    return loop.Schedule(
        config.epochs,
        config.patience,
        config.checkpoint_every,
        config.max_bad_steps,
        plan,
        len(plan(0)),
    )


def _plan(
    config: ConfigDict, sizes: tuple[int, ...], seed: int, epoch: int
) -> np.ndarray:
    return batches.plan_epoch(
        sizes, config.batch_size, seed=seed, epoch=epoch, sampling=config.sampling
    )


def make_batchers(
    config: ConfigDict,
    corpora: Mapping[str, batches.Corpus],
    encoder_config: EncoderConfig,
    devices: list[jax.Device],
    *,
    is_apart: bool,
) -> tuple[batches.Batcher, dict[str, evaluate.Split]]:
    """Packed batches of the training split, and of the others in their order.

    With `is_apart` the tasks of a training batch are packed apart.
    """
    corpus = corpora["train"]
    num_shares = len(devices) * config.micro_batches
    part_size = None
    if is_apart:
        most = config.batch_size
        if config.sampling == "joint":
            most = -(-most // len(corpus.sizes))
        part_size = -(-most // num_shares) * num_shares
    make = functools.partial(
        batches.Batcher,
        num_devices=len(devices),
        local_devices=local_places(devices),
        seed=config.seed,
    )
    most = config.data.max_shapes or MOST_SHAPES
    cost = program_cost(encoder_config, devices[0].platform)
    plan = _plan(config, corpus.sizes, SHAPE_SEED, epoch=0)
    chosen = _training_shapes(corpus, plan, num_shares, part_size, cost, most)
    train = make(
        corpus, chosen, micro_batches=config.micro_batches, part_size=part_size
    )
    plans = {
        split: batches.plan_evaluation(corpora[split].sizes, config.batch_size)
        for split in corpora
        if split != "train"
    }
    longest_row = max(map(shapes.longest_row_of, corpora.values()))
    needs = [
        need
        for split, plan in plans.items()
        for need in shapes.needed(
            corpora[split], plan, len(devices), longest_row=longest_row
        )
    ]
    # Evaluation holds no activations for a backward pass: whole batches fit. In training's
    # shapes most of its products have sizes that have been tuned.
    whole = [Shape(config.micro_batches * rows, length) for rows, length in chosen]
    chosen = shapes.choose(
        needs,
        program_cost=cost / NUM_EPOCHS,
        max_shapes=max(1, most // 2),
        candidates=None if is_apart else whole,
    )
    splits = {
        split: evaluate.Split(make(corpora[split], chosen), plan)
        for split, plan in plans.items()
    }
    return train, splits


def _training_shapes(
    corpus: batches.Corpus,
    plan: np.ndarray,
    num_shares: int,
    part_size: int | None,
    cost: float,
    most: int,
) -> tuple[Shape, ...]:
    needs = shapes.needed(corpus, plan, num_shares, part_size)
    reserve = shapes.reserve(corpus, plan, needs, num_shares, part_size)
    # `needs` are a sample of the batches of all epochs.
    share = len(needs) / (NUM_EPOCHS * len(plan))
    return shapes.choose(
        [*needs, (reserve,)], program_cost=share * cost, max_shapes=most
    )


def program_cost(config: EncoderConfig, platform: str) -> float:
    """The time to compile a program, in tokens (see `Shape.cost`) that it would process.

    It is the same number for every program, in training and evaluation: time to compile
    and time to run both grow with the layers and the passes.
    """
    speed = CPU if platform == "cpu" else ACCELERATOR
    width = config.hidden_size
    # A layer's products with weights, forward and twice as many backward.
    flops = 3 * 2 * (4 * width**2 + 2 * width * config.intermediate_size)
    return speed.compile_seconds / (flops / speed.flops)
