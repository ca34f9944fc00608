"""Shapes of packed batches: their number, independence of the seed, and coverage."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from messages import assert_mentions

from mtra_jax.data.packed import batches, mixing, plans
from mtra_jax.data.tokenizing.tokens import Tokens
from mtra_jax.errors import InputError
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.train import batching

BASE = EncoderConfig()  # 12 layers, 768 wide
MINILM = EncoderConfig(hidden_size=384, num_attention_heads=12, intermediate_size=1536)


class Device(NamedTuple):
    platform: str
    process_index: int = 0


def make_corpus(sizes, seed):
    """Texts with lengths like tweets, and a few long ones."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    lengths = rng.normal(28 + 4 * tasks, 10).round().clip(3, 60)
    lengths[rng.random(len(lengths)) < 0.002] = 110
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.ones(offsets[-1], np.int32)
    targets = np.zeros((len(tasks), len(sizes)), np.float32)
    return batches.Corpus(Tokens(ids, offsets), tasks, targets, tuple(sizes))


CORPORA = {
    "train": make_corpus((5000, 2000, 600), 0),
    "validation": make_corpus((500, 300, 200), 1),
    "test": make_corpus((900, 400, 300), 2),
}


SAMPLING = batching.Sampling("per_task", batch_size=128, micro_batches=1, seed=0)


def make(
    platform="cpu",
    encoder=BASE,
    num_devices=1,
    is_apart=False,
    max_shapes=0,
    **sampling,
):
    return batching.make_batchers(
        SAMPLING._replace(**sampling),
        CORPORA,
        [Device(platform)] * num_devices,
        program_cost=batching.program_cost(encoder, platform),
        max_shapes=max_shapes,
        is_apart=is_apart,
    )


def shapes_of(**changes):
    train, splits = make(**changes)
    assert splits["validation"].batcher.shapes == splits["test"].batcher.shapes
    return train.shapes, splits["test"].batcher.shapes


def test_the_cost_of_a_program():
    # Forward and backward pass of a token: 6 * 12 * 768^2 operations per layer.
    operations = 6 * 12 * 768**2
    cpu, gpu = batching.CPU, batching.ACCELERATOR
    for platform, speed in (("cpu", cpu), ("gpu", gpu), ("cuda", gpu), ("tpu", gpu)):
        seconds = operations / speed.flops
        expected = speed.compile_seconds / seconds
        np.testing.assert_allclose(batching.program_cost(BASE, platform), expected)
    assert batching.program_cost(MINILM, "cpu") == pytest.approx(
        4 * batching.program_cost(BASE, "cpu")
    )


def test_accelerators_have_fewer_shapes_than_cpus():
    on_cpu, on_gpu = shapes_of(), shapes_of(platform="gpu")
    assert 8 <= len(on_cpu[0]) <= 12
    assert 4 <= len(on_cpu[1]) <= 6
    assert 1 <= len(on_gpu[0]) <= 4
    assert 1 <= len(on_gpu[1]) <= 2
    assert len(shapes_of(platform="gpu", encoder=MINILM)[0]) <= len(on_gpu[0])


@pytest.mark.parametrize("most", [1, 2, 5])
def test_max_shapes_limits_the_number_of_shapes(most):
    trains, evaluates = shapes_of(max_shapes=most)
    assert len(trains) == most
    assert len(evaluates) == max(1, most // 2)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_evaluation_uses_shapes_of_training(micro_batches):
    trains, evaluates = shapes_of(micro_batches=micro_batches, num_devices=2)
    whole = {(micro_batches * rows, length) for rows, length in trains}
    assert set(evaluates) <= whole


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_the_seed_of_a_run_does_not_change_its_shapes(platform):
    assert shapes_of(seed=11, platform=platform) == shapes_of(platform=platform)


def schedule(kind="per_task", sizes=(5, 2, 1), batch_size=2):
    sampling = SAMPLING._replace(kind=kind, batch_size=batch_size)
    return batching.make_schedule(
        sampling, sizes, epochs=4, patience=2, checkpoint_every=0, max_bad_steps=3
    )


def test_a_schedule_has_the_plan_of_its_sampling():
    made = schedule()
    assert made.steps_per_epoch == 3 + 1 + 1
    for epoch in (0, 3):
        expected = plans.plan_epoch(
            (5, 2, 1), 2, seed=0, epoch=epoch, sampling="per_task"
        )
        np.testing.assert_array_equal(made.plan(epoch), expected)
    assert not np.array_equal(made.plan(0), made.plan(3))
    assert (made.epochs, made.patience, made.max_bad_steps) == (4, 2, 3)


def test_a_joint_batch_needs_an_example_of_each_task():
    assert schedule("joint", batch_size=3).plan(0).shape[1] == 3
    with pytest.raises(InputError, match="batch_size is 2; expected at least 3"):
        schedule("joint")


def test_more_steps_than_int32_counts_are_refused():
    sizes, most = (5, 2, 1), 2**31 - 1
    options = {"patience": 1, "checkpoint_every": 0, "max_bad_steps": 1}
    largest = most // 5
    assert batching.make_schedule(SAMPLING, sizes, epochs=1, **options)
    sampling = SAMPLING._replace(kind="per_task", batch_size=2)
    made = batching.make_schedule(sampling, sizes, epochs=largest, **options)
    assert made.steps_per_epoch == 5
    with pytest.raises(InputError) as error:
        batching.make_schedule(sampling, sizes, epochs=largest + 1, **options)
    assert_mentions(error.value, "epochs", largest + 1, 5, most)


def test_a_joint_batch_has_no_cap():
    sampling = SAMPLING._replace(kind="joint", cap=7)
    with pytest.raises(InputError, match="sampling_cap is 7; expected 0 with sampling"):
        batching.make_schedule(
            sampling, (5, 2), epochs=1, patience=1, checkpoint_every=0, max_bad_steps=1
        )


@pytest.mark.parametrize(
    ("changes", "is_one_task", "options"),
    [
        ({"kind": "temperature", "temperature": 3.0}, True, {"temperature": 3.0}),
        (
            {"kind": "temperature", "temperature": 3.0, "cap": 300},
            True,
            {"temperature": 3.0, "cap": 300},
        ),
        # The temperature is only that of sampling by temperature.
        ({"temperature": 3.0, "cap": 300}, True, {"cap": 300}),
    ],
)
def test_sampling_by_temperature_or_with_a_cap(changes, is_one_task, options):
    sampling = SAMPLING._replace(**changes)
    assert sampling.is_one_task == is_one_task
    for epoch in (0, 2):
        np.testing.assert_array_equal(
            sampling.plan((900, 400, 50), epoch),
            mixing.plan_epoch((900, 400, 50), 128, seed=0, epoch=epoch, **options),
        )
    # 3 + 3 + 1 batches under the cap, 8 + 4 + 1 without it.
    num_batches = 7 if sampling.cap else 13
    assert sampling.plan((900, 400, 50), 0).shape == (num_batches, 128)


def test_batches_of_one_task():
    kinds = [SAMPLING._replace(kind=kind) for kind in ("per_task", "joint")]
    assert [sampling.is_one_task for sampling in kinds] == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize(
    ("sampling", "is_apart"),
    [
        ("per_task", False),
        ("joint", False),
        ("joint", True),
        ("per_task", True),
        ("temperature", False),
    ],
)
def test_batches_of_all_seeds_and_epochs_have_a_training_shape(
    platform, sampling, is_apart
):
    """Except one in a thousand; and at most one shape besides the largest is unused."""
    used = Counter()
    for seed in (0, 5):
        train, splits = make(platform, is_apart=is_apart, kind=sampling, seed=seed)
        for epoch in range(4):
            drawn = SAMPLING._replace(kind=sampling, seed=seed)
            plan = drawn.plan(CORPORA["train"].sizes, epoch)
            items = train.batches(plan, epoch=epoch)
            used.update(batch.tokens.shape[-2:] for batch in items)
        for split in splits.values():
            items = split.batcher.batches(split.plan)
            own = {batch.tokens.shape[-2:] for batch in items}
            assert own <= set(split.batcher.shapes)
    without = sum(count for shape, count in used.items() if shape not in train.shapes)
    assert without <= used.total() / 1000 + 1
    assert len(set(train.shapes[:-1]) - set(used)) <= 1
