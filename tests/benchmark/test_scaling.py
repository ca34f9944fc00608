"""The work is the same for every number of tasks and every kind of loop."""

import dataclasses

import jax
import numpy as np
import program_costs
import pytest
import scaling
from tiers import nightly_only

from mtra_jax.models import pretrained

TINY = dataclasses.replace(
    scaling.SMALL,
    vocab_size=40,
    num_hidden_layers=1,
    hidden_size=8,
    intermediate_size=12,
)


def test_costs_of_tasks_from_their_seconds():
    first = np.array([9.0, 4.0])
    # The second round is slow for both, the third for one: medians of the rounds' ratios.
    later = np.array([[1.0, 1.5], [4.0, 6.0], [1.0, 5.0]])
    few, many = scaling.task_costs((2, 8), first, later, num_steps=3)
    assert few == (2, 9 - 3 * 1.0, 1.0, 1.0)
    assert many == (8, 0.0, 5.0, 1.5)


def test_the_ratio_is_to_the_quickest_of_all():
    later = np.array([[2.0, 1.0, 3.0]])
    costs = scaling.task_costs((2, 8, 32), np.array([2.0, 1.0, 3.0]), later)
    assert [cost.ratio for cost in costs] == [2.0, 1.0, 3.0]
    assert [cost.compile_seconds for cost in costs] == [0.0, 0.0, 0.0]


def test_costs_of_layers_from_their_seconds():
    kinds = [(6, 6), (6, 1)]
    first, later = np.array([11.0, 5.0]), np.array([[1.0, 2.0], [1.0, 3.0], [5.0, 2.0]])
    unrolled, scanned = scaling.layer_costs(kinds, first, later, 12, 100)
    assert unrolled == (6, 6, 10.0, 1.0, 12 * 10.0 + 100 * 1.0)
    assert scanned == (6, 1, 3.0, 2.0, 12 * 3.0 + 100 * 2.0)


def test_tasks_are_named_and_sized_in_turn():
    benchmark = scaling.benchmark_of(5)
    assert len(set(benchmark.task_names)) == 5
    assert [task.num_outputs for task in benchmark.tasks] == [2, 3, 4, 2, 3]
    assert all(task.is_classification for task in benchmark.tasks)


def test_batches_are_the_same_work_for_any_number_of_tasks():
    packed = scaling.batches_of((2, 8, 16), TINY, 512, 16, seed=0)
    assert list(packed) == [2, 8, 16]
    assert {len(items) for items in packed.values()} == {scaling.NUM_BATCHES}
    shapes = {items.tokens.shape for each in packed.values() for items in each}
    assert len(shapes) == 1
    assert shapes.pop()[-1] == 64
    for count, items in packed.items():
        for batch in items:
            # Joint: an equal share of each task in every batch.
            assert np.bincount(batch.tasks.ravel()).tolist() == [16 // count] * count
            assert batch.where.all()
            assert batch.tokens.max() < TINY.vocab_size
            sums = batch.targets.sum(axis=-1)
            np.testing.assert_array_equal(sums, 1)


def test_steps_of_a_run_are_timed():
    (costs,) = scaling.tasks(
        (2,), config=TINY, num_texts=64, batch_size=8, num_rounds=2, num_steps=2
    )
    assert costs.num_tasks == 2
    assert costs.compile_seconds > costs.step_seconds > 0
    assert costs.ratio == 1
    assert all(type(value) in (int, float) for value in costs)


def test_more_tasks_than_places_are_refused():
    with pytest.raises(
        ValueError, match=r"`counts` must be in \[1, 8\]; found \(4, 9\)"
    ):
        scaling.tasks((4, 9), batch_size=8)


def test_depths_are_timed_with_and_without_a_loop():
    costs = scaling.layers(
        (3,), config=TINY, num_texts=8, num_rounds=2, num_programs=3, num_steps=10
    )
    kinds = [(cost.num_layers, cost.unroll) for cost in costs]
    assert kinds == [(3, 1), (3, 3)]
    for cost in costs:
        total = 3 * cost.compile_seconds + 10 * cost.step_seconds
        assert cost.total_seconds == pytest.approx(total)
        assert cost.step_seconds > 0


@nightly_only
def test_a_loop_makes_the_step_smaller():
    config = dataclasses.replace(TINY, num_hidden_layers=6)
    one, two, all_layers = program_costs.programs((1, 2, 6), config=config, num_texts=8)
    assert [one.unroll, two.unroll, all_layers.unroll] == [1, 2, 6]
    assert one.num_instructions < two.num_instructions < all_layers.num_instructions
    assert min(one.compile_seconds, one.trace_seconds) > 0
    # The state is the same: parameters and two moments of them, and counters.
    assert one.memory.state == all_layers.memory.state > 0


def test_the_programs_have_the_shape_of_roberta_base():
    shapes = jax.eval_shape(
        lambda: pretrained.init_encoder(program_costs.ROBERTA_BASE, jax.random.key(0))
    )
    # Without the pooler's 590,592.
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 124_055_040
    assert len(jax.tree.leaves(shapes)) == 21
