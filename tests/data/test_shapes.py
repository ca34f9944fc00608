"""Shapes of batches: their choice against exhaustive search, the reserve against draws."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from mtra_jax.data.packed import batches, packing, plans, shapes
from mtra_jax.data.packed.packing import Shape
from mtra_jax.data.tokenizing.tokens import Tokens


def make_corpus(sizes, mean=30, deviation=12, longest=200, seed=0):
    """Tasks of random texts, each about 5 tokens longer than those of the task before."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    lengths = rng.normal(mean + 5 * tasks, deviation).round().clip(2, longest)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.ones(offsets[-1], np.int32)
    targets = np.zeros((len(tasks), len(sizes)), np.float32)
    return batches.Corpus(Tokens(ids, offsets), tasks, targets, tuple(sizes))


def plan_of(corpus, batch_size=16, seed=0, epoch=0, sampling="per_task"):
    return plans.plan_epoch(
        corpus.sizes, batch_size, seed=seed, epoch=epoch, sampling=sampling
    )


# ---- choice


def need_of(num_rows, row_length):
    """The need of a batch that fills longer rows equally, up to 256 tokens."""
    lengths = [n for n in (64, 128, 256) if n >= row_length]
    return tuple(Shape(-(-num_rows * row_length // n), n) for n in lengths)


def holds(shape, need):
    rows = {length: num_rows for num_rows, length in need}
    return shape.num_rows >= rows.get(shape.row_length, math.inf)


def total_cost(chosen, needs, program_cost):
    """Compilation and time of all `needs`, from the definition; inf if one has no shape."""
    total = program_cost * len(chosen)
    for need in needs:
        fitting = [
            rows * length * (1 + length / packing.ATTENTION_LENGTH)
            for rows, length in chosen
            if holds(Shape(rows, length), need)
        ]
        total += min(fitting, default=math.inf)
    return total


def random_needs(rng):
    row_lengths = rng.choice([64, 128, 256], rng.integers(1, 4), replace=False)
    centres = {int(n): int(rng.integers(3, 60)) for n in row_lengths}
    return [
        need_of(centres[n] + int(rng.integers(-2, 10)), n)
        for n in rng.choice(list(centres), rng.integers(1, 200)).tolist()
    ]


NEEDS = [random_needs(np.random.default_rng(seed)) for seed in range(40)]


def test_shapes_of_a_small_epoch():
    few, more = (Shape(10, 64), Shape(5, 128)), (Shape(12, 64), Shape(6, 128))
    needs = [few] * 6 + [more, (Shape(8, 128),)]

    def choose(**options):
        return shapes.choose(needs, **options)

    # Cheapest first: a token costs 17/16 in rows of 64 tokens and 18/16 in rows of 128.
    assert choose(program_cost=0) == ((10, 64), (12, 64), (8, 128))
    # (12, 64) saves 8 * 128 * 18/16 - 12 * 64 * 17/16 = 336 for its one batch.
    assert choose(program_cost=335) == ((10, 64), (12, 64), (8, 128))
    assert choose(program_cost=337) == ((10, 64), (8, 128))
    # (10, 64) saves 1152 - 680 = 472 for six batches.
    assert choose(program_cost=6 * 472 - 1) == ((10, 64), (8, 128))
    assert choose(program_cost=6 * 472 + 1) == ((8, 128),)
    assert choose(program_cost=0, max_shapes=2) == ((10, 64), (8, 128))
    assert choose(program_cost=0, max_shapes=1) == ((8, 128),)
    assert shapes.choose([], program_cost=0) == ()


@pytest.mark.slow
@pytest.mark.parametrize("max_shapes", [0, 1, 3, 8])
@pytest.mark.parametrize("program_cost", [0, 100, 5000, 1e9])
def test_one_shape_holds_all_and_dropping_any_shape_costs_more(
    max_shapes, program_cost
):
    for needs in NEEDS:
        chosen = shapes.choose(needs, program_cost=program_cost, max_shapes=max_shapes)
        assert len(set(chosen)) == len(chosen) <= (max_shapes or len(needs) + 1)
        assert [s.cost for s in chosen] == sorted(s.cost for s in chosen)
        covers = [s for s in chosen if all(holds(s, need) for need in needs)]
        assert covers
        assert set(chosen) <= {*itertools.chain(*needs), covers[0]}
        whole = total_cost(chosen, needs, program_cost)
        for shape in chosen:
            fewer = [s for s in chosen if s != shape]
            if shape != covers[0] and fewer:
                assert total_cost(fewer, needs, program_cost) > whole - 1e-6


def test_the_choice_is_near_the_cheapest_of_all_sets():
    spent = cheapest = 0
    for needs in NEEDS:
        distinct = [need for need, _ in Counter(needs).most_common(4)]
        needs = [need for need in needs if need in distinct]
        cover = shapes.covering(needs)
        options = sorted(set(itertools.chain(*distinct)) - {cover})
        for program_cost in (500, 3000):
            chosen = shapes.choose(needs, program_cost=program_cost)
            cost = total_cost(chosen, needs, program_cost)
            optimum = min(
                total_cost([cover, *some], needs, program_cost)
                for count in range(4)
                for some in itertools.combinations(options, count)
            )
            spent, cheapest = spent + cost, cheapest + optimum
    assert spent <= 1.01 * cheapest


def test_a_higher_program_cost_never_means_more_shapes():
    for needs in NEEDS:
        counts = [
            len(shapes.choose(needs, program_cost=cost))
            for cost in (0, 10, 100, 1000, 10_000, 1e9)
        ]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == 1


def test_candidates_are_the_only_shapes_besides_one_that_holds_all():
    candidates = [Shape(12, 64), Shape(30, 64), Shape(8, 128), Shape(9, 256)]
    needs = [need_of(10, 64)] * 50 + [need_of(29, 64)] * 50
    chosen = shapes.choose(needs, program_cost=0, candidates=candidates)
    assert chosen == ((12, 64), (30, 64))
    chosen = shapes.choose(
        [*needs, need_of(20, 128)], program_cost=0, candidates=candidates
    )
    assert chosen == ((12, 64), (30, 64), (10, 256))


# ---- the needs of a plan


@pytest.mark.parametrize("num_shares", [1, 2])
def test_needed_shapes_are_those_of_the_batches(num_shares):
    corpus = make_corpus((70, 30, 25), mean=45)
    plan = plan_of(corpus)
    batcher = batches.Batcher(
        corpus, num_devices=num_shares, local_devices=range(num_shares)
    )
    expected = [batch.tokens.shape[-2:] for batch in batcher.batches(plan)]
    needs = shapes.needed(corpus, plan, num_shares)
    assert [need[0] for need in needs] == expected
    # The corpus has texts of more than 64 tokens.
    assert {need[-1].row_length for need in needs} == {128}
    for examples, need in zip(plan, needs, strict=True):
        shares = batches.device_shares(corpus.tokens.lengths, examples, num_shares)
        for shape in need:
            assert packing.fit(shares, [shape]) == shape
            fewer = shape._replace(num_rows=shape.num_rows - 1)
            assert packing.fit(shares, [fewer]) != fewer
    longer = shapes.needed(corpus, plan, num_shares, longest_row=256)
    assert [need[:-1] for need in longer] == needs
    assert {need[-1].row_length for need in longer} == {256}


def test_evenly_spread_batches_of_a_long_plan_are_measured(monkeypatch):
    corpus = make_corpus((70, 30, 25))
    plan = plan_of(corpus, batch_size=4)
    every = shapes.needed(corpus, plan, 1)
    assert len(every) == 33
    monkeypatch.setattr(shapes, "PLANNED_BATCHES", 12)
    assert shapes.needed(corpus, plan, 1) == every[::3]


def test_the_smallest_cover():
    needs = [need_of(3, 64), need_of(17, 64), need_of(2, 128)]
    assert shapes.covering(needs) == (5, 256)
    assert shapes.covering([(Shape(3, 64),), (Shape(2, 64),)]) == (3, 64)


RESERVES = {
    "one task a batch": ("per_task", 1, False),
    "all tasks in a batch": ("joint", 1, False),
    "on four devices": ("per_task", 4, False),
    "tasks apart": ("joint", 1, True),
}


@pytest.mark.parametrize(
    ("sampling", "num_shares", "is_apart"), RESERVES.values(), ids=RESERVES
)
def test_batches_of_other_seeds_and_epochs_fit_the_reserve(
    sampling, num_shares, is_apart
):
    corpus = make_corpus((900, 400, 300, 20))
    part_size = {"per_task": 64, "joint": 16}[sampling] if is_apart else None
    first = plan_of(corpus, 64, sampling=sampling)
    needs = shapes.needed(corpus, first, num_shares, part_size)
    reserve = shapes.reserve(corpus, first, needs, num_shares, part_size)
    lengths = corpus.tokens.lengths

    def rows_of(plan):
        """The most rows that a share of a batch takes."""
        shares = [
            share
            for examples in plan
            for part in batches.parts(corpus, examples, part_size)
            for share in batches.device_shares(lengths, part, num_shares)
        ]
        pack = packing.first_fit_decreasing
        return max(pack(share, reserve.row_length).num_rows for share in shares)

    others = [
        rows_of(plan_of(corpus, 64, seed, epoch, sampling))
        for seed, epoch in itertools.product(range(1, 6), range(20))
    ]
    assert max(others) <= reserve.num_rows <= 1.2 * max(others) + 1


def test_the_reserve_of_a_task_whose_texts_are_all_in_one_batch_is_that_batch():
    corpus = make_corpus((16,))
    plan = plan_of(corpus)
    needs = shapes.needed(corpus, plan, 1)
    assert shapes.reserve(corpus, plan, needs, 1) == needs[0][-1]


def test_the_reserve_has_rows_for_the_longest_text_in_any_batch():
    corpus = make_corpus((40,), longest=60)
    lengths = corpus.tokens.lengths.copy()
    lengths[3] = 250
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    corpus = corpus._replace(tokens=Tokens(np.ones(offsets[-1], np.int32), offsets))
    plan = np.arange(8, 40).reshape(2, 16)  # without it
    reserve = shapes.reserve(corpus, plan, shapes.needed(corpus, plan, 1), 1)
    assert reserve.row_length == 256
