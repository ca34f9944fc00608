"""Numbers of batches by temperature and cap, and plans of epochs in rounds."""

from collections import Counter

import numpy as np
import pytest

from mtra_jax.data.packed import mixing, plans

SIZES = (50, 7, 128, 33)
TASK_OF = np.repeat(np.arange(4), SIZES)
BATCH = 8


def plan(epoch, seed=3, temperature=2.0, cap=0, sizes=SIZES, batch_size=BATCH):
    return mixing.plan_epoch(
        sizes, batch_size, seed=seed, epoch=epoch, cap=cap, temperature=temperature
    )


def by_task(planned):
    """The batches of each task, without empty places; each batch has one task."""
    result = {task: [] for task in range(len(SIZES))}
    for row in planned:
        own = row[row >= 0]
        (task,) = set(TASK_OF[own])
        result[task].append(own)
    return result


@pytest.mark.parametrize(
    ("sizes", "temperature", "cap", "expected"),
    [
        # 100 batches of ten, in all cases with these sizes and no cap.
        ((100, 300, 600), 1.0, 0, (10, 30, 60)),
        # √1 : √4 : √9 of 14 + 1 batches.
        ((10, 40, 90), 2.0, 0, (2, 5, 7)),
        ((10, 40, 90), 1.0, 0, (1, 4, 9)),
        # Larger temperatures come to equal numbers.
        ((100, 300, 600), 1e9, 0, (33, 33, 34)),
        # A cap of 200: 10 + 20 + 20 batches.
        ((100, 300, 600), 1.0, 200, (10, 20, 20)),
        ((100, 300, 600), None, 200, (10, 20, 20)),
        # √100 : √200 : √200 of 50 batches: 13.06, 18.47, 18.47.
        ((100, 300, 600), 2.0, 200, (13, 19, 18)),
        # Without temperature and cap: the batches that each task fills.
        ((101, 9, 20), None, 0, (11, 1, 2)),
        # 0.01 batches become one, and the others share the rest.
        ((1, 5000, 5000), 1.0, 0, (1, 500, 500)),
        ((10**12, 10), 1.0, 10**6, (100000, 1)),
    ],
)
def test_numbers_of_batches(sizes, temperature, cap, expected):
    assert mixing.num_batches(sizes, 10, cap=cap, temperature=temperature) == expected


def test_shares_are_whole_quotas_within_one_and_the_total_is_that_of_the_tasks():
    rng = np.random.default_rng(0)
    for _ in range(300):
        sizes = rng.integers(1, 10 ** rng.integers(1, 5), rng.integers(1, 9))
        temperature, cap = rng.uniform(1, 6), int(rng.choice([0, 500]))
        counts = mixing.num_batches(sizes, 16, cap=cap, temperature=temperature)
        capped = np.minimum(sizes, cap) if cap else sizes
        assert sum(counts) == np.sum(np.ceil(capped / 16))
        assert min(counts) >= 1
        quotas = capped ** (1 / temperature)
        quotas *= sum(counts) / quotas.sum()
        if quotas.min() >= 1:
            assert np.all(np.abs(counts - quotas) < 1)


def test_small_weights_get_one_and_the_others_share_the_rest():
    # Quotas of 10: 0.1, 3.3, 6.6; of the other 9, after one for the first: 3 and 6.
    assert mixing.apportion(np.array([1.0, 33.0, 66.0]), 10) == (1, 3, 6)
    # After the first, the second is below 1 too: 3 · 1.02 / 3.22.
    assert mixing.apportion(np.array([0.1, 1.02, 2.2]), 4) == (1, 1, 2)
    assert mixing.apportion(np.array([1.0, 1.0, 1.0]), 5) == (2, 2, 1)
    with pytest.raises(ValueError, match="at least 3; found 2"):
        mixing.apportion(np.ones(3), 2)


def test_the_plan_has_those_numbers_of_batches_of_one_task_in_random_order():
    counts = mixing.num_batches(SIZES, BATCH, temperature=2.0)
    assert counts == (8, 3, 12, 6)  # 29 batches
    for epoch in range(3):
        planned = plan(epoch)
        assert planned.shape == (sum(counts), BATCH)
        rows = by_task(planned)
        assert tuple(len(rows[task]) for task in rows) == counts
        order = [TASK_OF[row[0]] for row in planned]
        assert order != sorted(order)
        for own in (batch for task in rows.values() for batch in task):
            assert len(own) == len(set(own))


def test_the_plan_is_a_function_of_seed_and_epoch():
    np.testing.assert_array_equal(plan(4), plan(4))
    for other in (plan(5), plan(4, seed=4)):
        assert other.shape == plan(4).shape
        assert not np.array_equal(other, plan(4))


@pytest.mark.parametrize(
    ("temperature", "cap"), [(2.0, 0), (1.0, 16), (None, 16), (100.0, 40)]
)
def test_rounds_go_through_all_examples_and_continue_in_the_next_epoch(
    temperature, cap
):
    """After any number of epochs, examples of a task are visited equally often, or once
    more in the round that has begun."""
    visits = Counter()
    for epoch in range(12):
        planned = plan(epoch, temperature=temperature, cap=cap)
        visits.update(planned[planned >= 0].tolist())
        for task in range(len(SIZES)):
            own = [visits[example] for example in np.flatnonzero(task == TASK_OF)]
            assert max(own) - min(own) <= 1
    assert min(visits[example] for example in range(sum(SIZES))) >= 1


def test_a_new_round_is_in_another_order():
    """The task of seven has three batches, so three rounds, in an epoch."""
    rounds = by_task(plan(0))[1]
    assert [set(own) for own in rounds] == [set(range(50, 57))] * 3
    assert len({tuple(own) for own in rounds}) > 1


def test_without_temperature_and_cap_an_epoch_is_one_of_per_task():
    planned = plan(2, temperature=None)
    assert sorted(planned[planned >= 0]) == [*range(sum(SIZES))]
    usual = plans.plan_epoch(SIZES, BATCH, seed=3, epoch=2)
    assert planned.shape == usual.shape
