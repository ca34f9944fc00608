"""First-fit decreasing and choice of shapes, against plain code and exhaustive search."""

import functools
import itertools
import math
from collections import Counter

import numpy as np
import pytest

from mtra_jax.data import packing
from mtra_jax.data.packing import Shape


def plain_first_fit_decreasing(lengths, row_length):
    """(row, start) of each text, from lists only."""
    used, places = [], {}
    for text in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fitting = (i for i, n in enumerate(used) if n + lengths[text] <= row_length)
        row = next(fitting, len(used))
        if row == len(used):
            used.append(0)
        places[text] = (row, used[row])
        used[row] += lengths[text]
    return [places[i] for i in range(len(lengths))], len(used)


def fewest_rows(lengths, row_length):
    """The optimum, by trying every assignment."""

    @functools.cache
    def fits(remaining, spaces):
        if not remaining:
            return True
        return any(
            fits(
                remaining[1:],
                tuple(sorted((*spaces[:i], s - remaining[0], *spaces[i + 1 :]))),
            )
            for i, s in enumerate(spaces)
            if s >= remaining[0]
        )

    ordered = tuple(sorted(map(int, lengths), reverse=True))
    return next(n for n in itertools.count(1) if fits(ordered, (row_length,) * n))


def tweets(rng, size=128):
    """Lengths like those of a batch of tweets."""
    return np.clip(rng.normal(30, 14, size).round(), 3, 120).astype(np.int64)


def test_places_of_a_small_batch():
    places = packing.first_fit_decreasing(np.array([3, 9, 4, 6, 6, 1, 2]), 10)
    # 9, 6 and 6 open a row each, 4 and 3 join the sixes, 2 opens a row, 1 joins the 9.
    assert places.rows.tolist() == [2, 0, 1, 1, 2, 0, 3]
    assert places.starts.tolist() == [6, 0, 6, 0, 0, 9, 0]
    assert places.num_rows == 4


@pytest.mark.parametrize("row_length", [64, 128, 256])
def test_places_equal_plain_code(row_length):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        lengths = np.minimum(tweets(rng, rng.integers(1, 200)), row_length)
        places = packing.first_fit_decreasing(lengths, row_length)
        expected, num_rows = plain_first_fit_decreasing(lengths.tolist(), row_length)
        found = zip(places.rows.tolist(), places.starts.tolist(), strict=True)
        assert list(found) == expected
        assert places.num_rows == num_rows


def test_texts_neither_overlap_nor_leave_their_row():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 65, rng.integers(1, 100))
        rows, starts, num_rows = packing.first_fit_decreasing(lengths, 64)
        covered = np.zeros((num_rows, 64), int)
        for row, start, length in zip(rows, starts, lengths, strict=True):
            assert start >= 0
            assert start + length <= 64
            covered[row, start : start + length] += 1
        assert covered.max() == 1
        assert covered[:, 0].all(), "a row is empty"
        assert covered.sum() == lengths.sum()


def test_number_of_rows_is_near_the_optimum():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 21, rng.integers(1, 9))
        found = packing.first_fit_decreasing(lengths, 20).num_rows
        optimum = fewest_rows(lengths, 20)
        # Dósa 2007: the tight bound of first-fit decreasing.
        assert optimum <= found <= 11 / 9 * optimum + 6 / 9


def test_rows_cut_into_pieces_are_put_together_again():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        num_rows = int(rng.integers(1, 40))
        cuts = [
            np.sort(rng.choice(63, rng.integers(0, 6), False)) + 1
            for _ in range(num_rows)
        ]
        pieces = [np.diff([0, *cut, 64]) for cut in cuts]
        lengths = rng.permutation(np.concatenate(pieces))
        found = packing.first_fit_decreasing(lengths, 64).num_rows
        assert num_rows <= found <= 11 / 9 * num_rows + 6 / 9


def test_tweets_need_hardly_more_rows_than_their_tokens_fill():
    for seed in range(20):
        lengths = tweets(np.random.default_rng(seed))
        found = packing.first_fit_decreasing(lengths, 128).num_rows
        filled = math.ceil(lengths.sum() / 128)
        assert filled <= found <= filled + 1


def test_no_text_needs_no_row():
    places = packing.first_fit_decreasing(np.array([], np.int64), 64)
    assert places.num_rows == 0
    assert places.rows.shape == places.starts.shape == (0,)


def test_text_longer_than_a_row_is_refused():
    assert packing.first_fit_decreasing(np.array([5, 10]), 10).num_rows == 2
    with pytest.raises(ValueError, match=r"`lengths` must be at most 10; found 11"):
        packing.first_fit_decreasing(np.array([5, 11]), 10)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([[64, 1]], (2, 64)),
        ([[65, 1]], (1, 128)),
        ([[129]], (1, 256)),
        ([[257, 255]], (1, 512)),
        ([[513, 2]], (2, 513)),
        ([[30, 34], [40, 40, 40], [1]], (3, 64)),
        ([[30, 34], [100], [60, 60, 60]], (2, 128)),
        ([[], [5]], (1, 64)),
        ([[], []], (1, 64)),
    ],
)
def test_needed_shape(shares, expected):
    assert packing.needed_shape([np.array(s, np.int64) for s in shares]) == expected


def added(needed, shapes):
    """Tokens that rounding up to `shapes` adds, from the definition."""
    return sum(
        min(
            s.num_tokens
            for s in shapes
            if s.row_length == n.row_length and s.num_rows >= n.num_rows
        )
        - n.num_tokens
        for n in needed
    )


def random_needed(rng):
    row_lengths = rng.choice([64, 128, 256], rng.integers(1, 4), replace=False)
    centres = {int(n): rng.integers(3, 60) for n in row_lengths}
    return [
        Shape(int(centres[n] + rng.integers(-2, 10)), n)
        for n in rng.choice(list(centres), rng.integers(1, 200)).tolist()
    ]


NEEDED = [random_needed(np.random.default_rng(seed)) for seed in range(40)]


def test_shapes_of_a_small_epoch():
    needed = [Shape(10, 64)] * 6 + [Shape(11, 64), Shape(20, 64), Shape(3, 128)]
    choose = functools.partial(packing.choose_shapes, needed)
    # 6 * 64 tokens to merge (10, 64) into (11, 64), of 5824; 9 * 64 then 7 * 9 * 64.
    ten, eleven, twenty, long = (10, 64), (11, 64), (20, 64), (3, 128)
    assert choose(rounding=0.0) == (long, ten, eleven, twenty)
    assert choose(rounding=0.07) == (long, eleven, twenty)
    assert choose(rounding=0.0, max_shapes=3) == (long, eleven, twenty)
    assert choose(rounding=0.0, max_shapes=2) == (long, twenty)
    assert choose(rounding=0.0, max_shapes=1) == (long, twenty)
    assert choose(rounding=1.0) == (long, twenty)
    assert packing.choose_shapes([]) == ()


def test_no_group_pays_for_the_rounding_of_another():
    # A row more is 9 % of the small group, 0.9 % of the large one, 0.1 % of both.
    small = [Shape(10, 64)] * 9 + [Shape(11, 64)]
    large = [Shape(110, 64)] * 999 + [Shape(111, 64)]
    needed, groups = small + large, [0] * 10 + [1] * 1000
    choose = functools.partial(packing.choose_shapes, max_shapes=4, rounding=0.02)
    assert choose(needed) == ((111, 64),)
    assert choose(needed, groups) == ((10, 64), (11, 64), (111, 64))
    # Both groups in one shape: it costs the one nothing and the other all.
    assert choose(needed, groups, max_shapes=1) == ((111, 64),)


@pytest.mark.parametrize("groups", [2, 5])
def test_the_share_of_each_group_is_within_the_budget_or_the_number_is(groups):
    for seed, needed in enumerate(NEEDED):
        owners = np.random.default_rng(seed).integers(0, groups, len(needed))
        for rounding, most in ((0.0, 4), (0.05, 4), (0.05, 100)):
            shapes = packing.choose_shapes(
                needed, owners, max_shapes=most, rounding=rounding
            )
            assert len(shapes) <= max(most, len({s.row_length for s in needed}))
            for owner in range(groups) if len(shapes) < most else ():
                own = [s for s, g in zip(needed, owners, strict=True) if g == owner]
                total = sum(s.num_tokens for s in own)
                assert added(own, shapes) <= rounding * total + 1e-9


@pytest.mark.parametrize("max_shapes", [1, 3, 8])
@pytest.mark.parametrize("rounding", [0.0, 0.02, 0.2])
def test_chosen_shapes_hold_all_within_budget_and_number(max_shapes, rounding):
    for needed in NEEDED:
        shapes = packing.choose_shapes(needed, max_shapes=max_shapes, rounding=rounding)
        assert set(shapes) <= set(needed)
        assert [s.num_tokens for s in shapes] == sorted(s.num_tokens for s in shapes)
        assert len(shapes) <= max(max_shapes, len({s.row_length for s in needed}))
        cost = added(needed, shapes)
        budget = rounding * sum(s.num_tokens for s in needed)
        if len(shapes) < max_shapes:
            assert cost <= budget
        if len(shapes) <= max_shapes:
            for shape in shapes:
                fewer = [s for s in shapes if s != shape]
                if any(
                    s.row_length == shape.row_length and s.num_rows > shape.num_rows
                    for s in fewer
                ):
                    assert added(needed, fewer) > budget, "one more merge was free"


def test_chosen_shapes_are_near_the_cheapest_of_their_number():
    spent = cheapest = 0
    for needed in NEEDED:
        # Every row length needs its largest shape, so only the others are a choice.
        distinct = Counter(needed)
        largest = {max(g) for g in _by_row_length(distinct)}
        others = sorted(set(distinct) - largest)[:9]
        needed = [s for s in needed if s in largest or s in others]
        shapes = packing.choose_shapes(needed, max_shapes=5, rounding=0.0)
        optimum = min(
            added(needed, largest.union(chosen))
            for chosen in itertools.combinations(others, len(shapes) - len(largest))
        )
        assert added(needed, shapes) >= optimum
        spent, cheapest = spent + added(needed, shapes), cheapest + optimum
    assert cheapest > 0
    assert spent <= 1.1 * cheapest


def _by_row_length(shapes):
    return [
        [s for s in shapes if s.row_length == n] for n in {s.row_length for s in shapes}
    ]


def test_every_needed_shape_fits_one_of_the_chosen():
    for needed in NEEDED:
        shapes = packing.choose_shapes(needed, max_shapes=4)
        for shape in set(needed):
            found = packing.fit(shape, shapes)
            assert found in shapes
            assert found.row_length == shape.row_length
            assert found.num_rows >= shape.num_rows
            assert not any(
                s.row_length == shape.row_length
                and shape.num_rows <= s.num_rows < found.num_rows
                for s in shapes
            ), "a smaller one holds it"


def test_shape_of_another_row_length_is_never_taken():
    shapes = (Shape(2, 128), Shape(5, 64))
    assert packing.fit(Shape(2, 64), shapes) == (5, 64)
    assert packing.fit(Shape(1, 256), shapes) == (1, 256)


@pytest.mark.parametrize(
    ("needed", "expected"),
    [
        ((6, 64), (6, 64)),
        ((8, 64), (8, 64)),
        ((9, 64), (10, 64)),
        ((61, 64), (64, 64)),
        ((65, 64), (80, 64)),
        ((3, 128), (3, 128)),
        ((1, 256), (1, 256)),
        ((2, 512), (2, 512)),
    ],
)
def test_shape_that_none_holds_is_rounded_to_three_binary_digits(needed, expected):
    shapes = (Shape(2, 128), Shape(5, 64))
    assert packing.fit(Shape(*needed), shapes) == expected
