"""Shapes of batches: their choice against exhaustive search, the reserve against draws."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from mtra_jax.data import batches, packing, shapes
from mtra_jax.data.packing import Shape
from mtra_jax.data.tokens import Tokens


def make_corpus(sizes, mean=30, deviation=12, longest=200, seed=0):
    """Tasks of random texts, those of each task about 5 tokens longer than the last's."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    lengths = rng.normal(mean + 5 * tasks, deviation).round().clip(2, longest)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.ones(offsets[-1], np.int32)
    targets = np.zeros((len(tasks), len(sizes)), np.float32)
    return batches.Corpus(Tokens(ids, offsets), tasks, targets, tuple(sizes))


def plan_of(corpus, batch_size=16, seed=0, epoch=0, sampling="per_task"):
    return batches.plan_epoch(
        corpus.sizes, batch_size, seed=seed, epoch=epoch, sampling=sampling
    )


# ---- choice


def holds(shape, need):
    """Rows of the longer shape take whole rows of the need, side by side."""
    side_by_side = shape.row_length // need.row_length
    return side_by_side > 0 and shape.num_rows * side_by_side >= need.num_rows


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
        Shape(centres[n] + int(rng.integers(-2, 10)), n)
        for n in rng.choice(list(centres), rng.integers(1, 200)).tolist()
    ]


NEEDS = [random_needs(np.random.default_rng(seed)) for seed in range(40)]


def test_shapes_of_a_small_epoch():
    needs = [Shape(10, 64)] * 6 + [Shape(11, 64), Shape(20, 64), Shape(3, 128)]
    ten, eleven, twenty, long = (10, 64), (11, 64), (20, 64), (3, 128)
    cover = (10, 128)  # twenty rows of 64 tokens, two by two

    def choose(**options):
        return shapes.choose(needs, **options)

    # Cheapest first: a token costs 1.125 in rows of 64 and 1.25 in rows of 128.
    assert choose(program_cost=0) == (long, ten, eleven, twenty, cover)
    # Six batches save a row of 72 each over (11, 64); the one of (20, 64) saves 160.
    assert choose(program_cost=200) == (long, ten, eleven, cover)
    assert choose(program_cost=500) == (long, eleven, cover)
    assert choose(program_cost=2000) == (eleven, cover)
    assert choose(program_cost=1e9) == (cover,)
    assert choose(program_cost=0, max_shapes=2) == (eleven, cover)
    assert choose(program_cost=0, max_shapes=1) == (cover,)
    assert shapes.choose([], program_cost=0) == ()


@pytest.mark.parametrize("max_shapes", [0, 1, 3, 8])
@pytest.mark.parametrize("program_cost", [0, 100, 5000, 1e9])
def test_one_shape_holds_all_and_no_drop_would_save(max_shapes, program_cost):
    for needs in NEEDS:
        chosen = shapes.choose(needs, program_cost=program_cost, max_shapes=max_shapes)
        assert len(set(chosen)) == len(chosen) <= (max_shapes or len(needs) + 1)
        assert [s.cost for s in chosen] == sorted(s.cost for s in chosen)
        covers = [s for s in chosen if all(holds(s, need) for need in needs)]
        assert covers
        assert set(chosen) <= {*needs, covers[0]}
        whole = total_cost(chosen, needs, program_cost)
        for shape in chosen:
            fewer = [s for s in chosen if s != shape]
            if shape != covers[0] and fewer:
                assert total_cost(fewer, needs, program_cost) > whole - 1e-6


def test_the_choice_is_near_the_cheapest_of_all_sets():
    spent = cheapest = 0
    for needs in NEEDS:
        distinct = [shape for shape, _ in Counter(needs).most_common(9)]
        needs = [need for need in needs if need in distinct]
        cover = shapes.covering(needs)
        for program_cost in (500, 3000):
            chosen = shapes.choose(needs, program_cost=program_cost)
            cost = total_cost(chosen, needs, program_cost)
            options = sorted({*distinct} - {cover})
            optimum = min(
                total_cost([cover, *some], needs, program_cost)
                for count in range(len(options) + 1)
                for some in itertools.combinations(options, count)
            )
            assert cost >= optimum - 1e-6
            spent, cheapest = spent + cost, cheapest + optimum
    assert spent <= 1.01 * cheapest


def test_a_dearer_program_never_means_more_shapes():
    for needs in NEEDS:
        counts = [
            len(shapes.choose(needs, program_cost=cost))
            for cost in (0, 10, 100, 1000, 10_000, 1e9)
        ]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == 1


def test_candidates_are_the_only_shapes_besides_one_that_holds_all():
    candidates = [Shape(12, 64), Shape(30, 64), Shape(8, 128), Shape(9, 256)]
    needs = [Shape(10, 64)] * 50 + [Shape(29, 64)] * 50
    chosen = shapes.choose(needs, program_cost=0, candidates=candidates)
    assert chosen == ((12, 64), (30, 64))
    needs = [*needs, Shape(20, 128)]
    chosen = shapes.choose(needs, program_cost=0, candidates=candidates)
    assert chosen == ((12, 64), (30, 64), (20, 128))


# ---- what a plan needs


@pytest.mark.parametrize("num_shares", [1, 2])
def test_needed_shapes_are_those_of_the_batches(num_shares):
    corpus = make_corpus((70, 30, 25))
    plan = plan_of(corpus)
    batcher = batches.Batcher(
        corpus, num_devices=num_shares, local_devices=range(num_shares)
    )
    expected = [batch.tokens.shape[1:] for batch in batcher.batches(plan)]
    assert shapes.needed(corpus, plan, num_shares) == expected


def test_of_a_long_plan_evenly_spread_batches_are_looked_at(monkeypatch):
    corpus = make_corpus((70, 30, 25))
    plan = plan_of(corpus, batch_size=4)
    every = shapes.needed(corpus, plan, 1)
    assert len(every) == 33
    monkeypatch.setattr(shapes, "PLANNED_BATCHES", 12)
    assert shapes.needed(corpus, plan, 1) == every[::3]


def test_the_smallest_cover():
    needs = [Shape(3, 64), Shape(7, 64), Shape(2, 128)]
    assert shapes.covering(needs) == (4, 128)
    assert shapes.covering([Shape(5, 128), *needs]) == (5, 128)
    assert shapes.covering(needs, row_length=256) == (2, 256)
    assert shapes.covering([Shape(3, 64)]) == (3, 64)


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
    assert shapes.reserve(corpus, plan, needs, 1) == needs[0]


def test_the_reserve_has_rows_for_the_longest_text_in_any_batch():
    corpus = make_corpus((40,), longest=60)
    lengths = corpus.tokens.lengths.copy()
    lengths[3] = 250
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    corpus = corpus._replace(tokens=Tokens(np.ones(offsets[-1], np.int32), offsets))
    plan = np.arange(8, 40).reshape(2, 16)  # without it
    reserve = shapes.reserve(corpus, plan, shapes.needed(corpus, plan, 1), 1)
    assert reserve.row_length == 256
