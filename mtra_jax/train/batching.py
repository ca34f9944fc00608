"""Corpora -> the plan of every epoch, and packed batches of all splits."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from mtra_jax.data import batches, shapes
from mtra_jax.data.packing import Shape
from mtra_jax.errors import InputError
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.train import evaluate
from mtra_jax.train.devices import local_places

SHAPE_SEED = 0
"""Shapes are chosen by the plan of this seed, so that runs of all seeds share programs."""
NUM_EPOCHS = 10
"""Epochs that a program is expected to serve, with early stopping and a second run.

Not the configured number: runs of other lengths would have other shapes to compile.
"""
MOST_SHAPES = 12
"""The largest number of shapes of training batches unless the caller sets one."""


class Speed(NamedTuple):
    """Rough speed of a kind of device. Measured times would differ from run to run."""

    compile_seconds: float
    """To compile one program, for each forward and backward pass through a layer."""
    flops: float
    """Floating-point operations per second in training."""


# Seconds of one core: MiniLM's program of two passes through six layers is compiled in
# 20, and takes 4,096 tokens through a step in 8.
CPU = Speed(1.7, 6.5e10)
# An estimate for one GPU. Programs are compiled side by side, so that one more adds less
# than it takes alone; a tenth of the peak rate in bfloat16 is what small models reach.
ACCELERATOR = Speed(0.5, 1e14)


class Sampling(NamedTuple):
    """How training batches are drawn from the examples.

    `kind`: "per_task" (a batch holds one task) or "joint", see `batches.plan_epoch`.
    `batch_size`: of all devices together. `seed`: of the order, and of the packing.
    """

    kind: str
    batch_size: int
    micro_batches: int
    seed: int

    def plan(self, sizes: tuple[int, ...], epoch: int) -> np.ndarray:
        """The examples of each batch of `epoch`: int [num_batches, batch_size]."""
        return batches.plan_epoch(
            sizes, self.batch_size, seed=self.seed, epoch=epoch, sampling=self.kind
        )


class Schedule(NamedTuple):
    """Which examples each epoch visits, and when training ends.

    After `max_bad_steps` skipped steps in a row training ends.
    """

    epochs: int
    patience: int
    checkpoint_every: int
    max_bad_steps: int
    plan: Callable[[int], np.ndarray]
    """epoch -> [num_batches, batch_size]; the same number of batches each epoch."""
    steps_per_epoch: int


def check_batch_size(batch_size: int, num_devices: int, micro_batches: int) -> None:
    """Raises InputError unless devices and micro-batches get equal shares of a batch."""
    num_shares = num_devices * micro_batches
    if batch_size % num_shares:
        factors = f"the {num_shares} devices"
        if micro_batches > 1:
            factors = f"{num_shares}, devices times micro_batches"
        raise InputError(
            f"batch_size is {batch_size}; expected a multiple of {factors}"
        )


def make_schedule(
    sampling: Sampling,
    sizes: tuple[int, ...],
    *,
    epochs: int,
    patience: int,
    checkpoint_every: int,
    max_bad_steps: int,
) -> Schedule:
    """The schedule for tasks of `sizes` training examples.

    Raises:
      InputError: a joint batch is too small for an example of each task.
    """
    if sampling.kind == "joint" and len(sizes) > sampling.batch_size:
        raise InputError(
            f"batch_size is {sampling.batch_size}; expected at least {len(sizes)}, one "
            "example per task, with sampling joint"
        )
    plan = functools.partial(sampling.plan, sizes)
    steps_per_epoch = len(plan(0))
    return Schedule(
        epochs, patience, checkpoint_every, max_bad_steps, plan, steps_per_epoch
    )


def make_batchers(
    sampling: Sampling,
    corpora: Mapping[str, batches.Corpus],
    devices: list[jax.Device],
    *,
    program_cost: float,
    max_shapes: int = 0,
    is_apart: bool,
) -> tuple[batches.Batcher, dict[str, evaluate.Split]]:
    """Packed batches of the training split, and of the others in their order.

    `program_cost`: see the function of that name. `max_shapes`: the largest number of
    shapes of training batches; 0 for `MOST_SHAPES`. With `is_apart` the tasks of a
    training batch are packed in parts of one task each.
    """
    corpus = corpora["train"]
    num_devices, micro_batches = len(devices), sampling.micro_batches
    num_shares = num_devices * micro_batches
    part_size = (
        _part_size(sampling, len(corpus.sizes), num_shares) if is_apart else None
    )
    make = functools.partial(
        batches.Batcher,
        num_devices=num_devices,
        local_devices=local_places(devices),
        seed=sampling.seed,
    )
    most = max_shapes or MOST_SHAPES
    plan = sampling._replace(seed=SHAPE_SEED).plan(corpus.sizes, epoch=0)
    chosen = _training_shapes(corpus, plan, num_shares, part_size, program_cost, most)
    train = make(corpus, chosen, micro_batches=micro_batches, part_size=part_size)
    plans = {
        split: batches.plan_evaluation(corpora[split].sizes, sampling.batch_size)
        for split in corpora
        if split != "train"
    }
    longest_row = max(map(shapes.longest_row_of, corpora.values()))
    needs = [
        need
        for split, plan in plans.items()
        for need in shapes.needed(
            corpora[split], plan, num_devices, longest_row=longest_row
        )
    ]
    # Evaluation holds no activations for a backward pass: whole batches fit. In training's
    # shapes most of its products have sizes that have been tuned.
    whole = [Shape(micro_batches * rows, length) for rows, length in chosen]
    chosen = shapes.choose(
        needs,
        program_cost=program_cost / NUM_EPOCHS,
        max_shapes=max(1, most // 2),
        candidates=None if is_apart else whole,
    )
    splits = {
        split: evaluate.Split(make(corpora[split], chosen), plan)
        for split, plan in plans.items()
    }
    return train, splits


def _part_size(sampling: Sampling, num_tasks: int, num_shares: int) -> int:
    """Places for the examples of one task in a batch, a multiple of the shares."""
    most = sampling.batch_size
    if sampling.kind == "joint":
        most = -(-most // num_tasks)
    return -(-most // num_shares) * num_shares


def _training_shapes(
    corpus: batches.Corpus,
    plan: np.ndarray,
    num_shares: int,
    part_size: int | None,
    cost: float,
    most: int,
) -> tuple[Shape, ...]:
    """The shapes of training batches, at most `most` of them."""
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
