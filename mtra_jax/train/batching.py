"""Corpora -> the plan of each epoch, and packed batches of all splits."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from mtra_jax.data.packed import batches, mixing, plans, shapes
from mtra_jax.data.packed.packing import Shape
from mtra_jax.errors import InputError
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.train import evaluate
from mtra_jax.train.devices import local_places

MOST_STEPS = int(np.iinfo(np.int32).max)
"""The most steps of a run, whose programs count them in int32."""
SHAPE_SEED = 0
"""Seed of the plan that shapes are chosen for: runs of all seeds share programs."""
NUM_EPOCHS = 10
"""Expected number of epochs that use a program, with early stopping and a second run.

Not the configured number, because runs of other lengths would compile other shapes.
"""
MOST_SHAPES = 12
"""Default limit of the number of shapes of training batches."""


class Speed(NamedTuple):
    """Estimated speed of a kind of device; measured times would vary between runs."""

    compile_seconds: float
    """Time to compile a program, per forward and backward pass through a layer."""
    flops: float
    """Floating-point operations per second in training."""


# One core compiles MiniLM's program of two passes through six layers in 20 s, and runs its
# step of 4,096 tokens in 8 s.
CPU = Speed(1.7, 6.5e10)
# An estimate for one GPU. Programs compile in parallel, so another one adds less than its
# time alone. Small models reach a tenth of the peak rate in bfloat16.
ACCELERATOR = Speed(0.5, 1e14)


class Sampling(NamedTuple):
    """How training batches are drawn from the examples.

    `kind`: "per_task" (a batch holds one task), "joint" (all tasks), see
    `plans.plan_epoch`, or "temperature" (a batch holds one task, numbers of batches by
    `temperature`), see `mixing.plan_epoch`. `batch_size`: for all devices together. `seed`:
    of the order and of the packing. `cap`: examples per task that determine its number of
    batches, at most; 0 for all. "joint" has no cap.
    """

    kind: str
    batch_size: int
    micro_batches: int
    seed: int
    temperature: float = 1.0
    cap: int = 0

    @property
    def is_one_task(self) -> bool:
        """Whether each batch holds a single task."""
        return self.kind != "joint"

    def plan(self, sizes: tuple[int, ...], epoch: int) -> np.ndarray:
        """Returns the examples of each batch of `epoch`: int [num_batches, batch_size]."""
        if self.kind == "temperature" or self.cap:
            return mixing.plan_epoch(
                sizes,
                self.batch_size,
                seed=self.seed,
                epoch=epoch,
                cap=self.cap,
                temperature=self.temperature if self.kind == "temperature" else None,
            )
        return plans.plan_epoch(
            sizes, self.batch_size, seed=self.seed, epoch=epoch, sampling=self.kind
        )


class Schedule(NamedTuple):
    """The batches of each epoch, and the conditions for the end of training.

    Training stops after `max_bad_steps` skipped steps in a row.
    """

    epochs: int
    patience: int
    checkpoint_every: int
    max_bad_steps: int
    plan: Callable[[int], np.ndarray]
    """epoch -> [num_batches, batch_size]; `num_batches` is the same in all epochs."""
    steps_per_epoch: int


def check_batch_size(batch_size: int, num_devices: int, micro_batches: int) -> None:
    """Raises InputError unless a batch divides into equal micro-batches on all devices."""
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
    """Makes the schedule for tasks with `sizes` training examples.

    Raises:
      InputError: a joint batch is too small for an example of each task, or has a cap; or
        the epochs have more than `MOST_STEPS` steps.
    """
    if sampling.kind == "joint" and sampling.cap:
        raise InputError(
            f"sampling_cap is {sampling.cap}; expected 0 with sampling joint, where every "
            "task has an equal share of each batch"
        )
    if sampling.kind == "joint" and len(sizes) > sampling.batch_size:
        raise InputError(
            f"batch_size is {sampling.batch_size}; expected at least {len(sizes)}, one "
            "example per task, with sampling joint"
        )
    plan = functools.partial(sampling.plan, sizes)
    steps_per_epoch = len(plan(0))
    if epochs * steps_per_epoch > MOST_STEPS:
        raise InputError(
            f"epochs is {epochs}, with {steps_per_epoch} steps each; expected at most "
            f"{MOST_STEPS} steps"
        )
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
    """Makes the batcher of the training split, and the other splits for evaluation.

    `program_cost`: see the function of that name. `max_shapes`: limit of the number of
    shapes of training batches; 0 means `MOST_SHAPES`. With `is_apart` a training batch is
    packed in parts of one task each.
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
    planned = {
        split: plans.plan_evaluation(corpora[split].sizes, sampling.batch_size)
        for split in corpora
        if split != "train"
    }
    longest_row = max(map(shapes.longest_row_of, corpora.values()))
    needs = [
        need
        for split, plan in planned.items()
        for need in shapes.needed(
            corpora[split], plan, num_devices, longest_row=longest_row
        )
    ]
    # Evaluation stores no activations for a backward pass, so whole batches fit. Training
    # shapes are candidates because kernels for most of their products are tuned already.
    whole = [Shape(micro_batches * rows, length) for rows, length in chosen]
    chosen = shapes.choose(
        needs,
        program_cost=program_cost / NUM_EPOCHS,
        max_shapes=max(1, most // 2),
        candidates=None if is_apart else whole,
    )
    splits = {
        split: evaluate.Split(make(corpora[split], chosen), plan)
        for split, plan in planned.items()
    }
    return train, splits


def _part_size(sampling: Sampling, num_tasks: int, num_shares: int) -> int:
    """Returns the places per task in a batch, a multiple of `num_shares`."""
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
    """Chooses at most `most` shapes of training batches."""
    needs = shapes.needed(corpus, plan, num_shares, part_size)
    reserve = shapes.reserve(corpus, plan, needs, num_shares, part_size)
    # `needs` are a sample of the batches of all epochs.
    share = len(needs) / (NUM_EPOCHS * len(plan))
    return shapes.choose(
        [*needs, (reserve,)], program_cost=share * cost, max_shapes=most
    )


def program_cost(config: EncoderConfig, platform: str) -> float:
    """Returns the time to compile a program, as a number of tokens (see `Shape.cost`).

    In that time the program would process that many tokens. The number is the same for
    training and evaluation, because the times to compile and to run both grow with the
    numbers of layers and passes.
    """
    speed = CPU if platform == "cpu" else ACCELERATOR
    width = config.hidden_size
    # A layer's products with weights; the backward pass has twice as many.
    flops = 3 * 2 * (4 * width**2 + 2 * width * config.intermediate_size)
    return speed.compile_seconds / (flops / speed.flops)
