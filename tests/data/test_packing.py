"""First-fit decreasing and the fit of batches to shapes, against plain code."""

import functools
import itertools
import math

import numpy as np
import pytest

from mtra_jax.data.packed import packing
from mtra_jax.data.packed.packing import Shape


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
        actual = zip(places.rows.tolist(), places.starts.tolist(), strict=True)
        assert list(actual) == expected
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
        actual = packing.first_fit_decreasing(lengths, 20).num_rows
        optimum = fewest_rows(lengths, 20)
        # Dósa 2007: the tight bound of first-fit decreasing.
        assert optimum <= actual <= 11 / 9 * optimum + 6 / 9


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
        actual = packing.first_fit_decreasing(lengths, 64).num_rows
        assert num_rows <= actual <= 11 / 9 * num_rows + 6 / 9


def test_tweets_need_hardly_more_rows_than_their_tokens_fill():
    for seed in range(20):
        lengths = tweets(np.random.default_rng(seed))
        actual = packing.first_fit_decreasing(lengths, 128).num_rows
        filled = math.ceil(lengths.sum() / 128)
        assert filled <= actual <= filled + 1


def test_without_texts_there_are_no_rows():
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


# ---- fit


def share_of(*rows):
    """One share of texts that fill the given rows completely."""
    return [np.array(rows)]


def test_the_first_shape_that_holds_a_batch_is_taken():
    shapes = (Shape(2, 64), Shape(3, 64), Shape(2, 128))
    assert packing.fit(share_of(40, 40), shapes) == (2, 64)
    assert packing.fit(share_of(40, 40, 40), shapes) == (3, 64)
    assert packing.fit([np.array([40]), np.array([40, 40, 40])], shapes) == (3, 64)
    # Three texts of 40 lie in a row of 128, and so do four of 32 in two rows of 64.
    assert packing.fit(share_of(*[40] * 4), shapes) == (2, 128)
    assert packing.fit(share_of(32, 32, 32, 32), shapes) == (2, 64)
    # A text of 65 tokens needs a longer row.
    assert packing.fit(share_of(65), shapes) == (2, 128)
    assert packing.fit([np.array([], int)], shapes) == (2, 64)


def test_a_batch_with_enough_tokens_for_a_shape_may_not_fit_its_rows():
    assert packing.fit(share_of(40, 40, 40), (Shape(2, 64), Shape(1, 128))) == (1, 128)


@pytest.mark.parametrize("seed", range(20))
def test_the_chosen_shape_is_the_first_that_holds_the_batch(seed):
    rng = np.random.default_rng(seed)
    sizes = [(rng.integers(30, 90), 64), (rng.integers(15, 45), 128), (40, 256)]
    shapes = [Shape(int(rows), length) for rows, length in sizes]
    shares = [tweets(rng, rng.integers(1, 129)) for _ in range(3)]
    fitted = packing.fit(shares, shapes)

    def holds(shape):
        return all(
            share.max() <= shape.row_length
            and plain_first_fit_decreasing(share, shape.row_length)[1] <= shape.num_rows
            for share in shares
        )

    assert holds(fitted)
    earlier = shapes[: shapes.index(fitted)] if fitted in shapes else shapes
    assert not any(map(holds, earlier))


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
def test_a_new_shape_is_rounded_to_three_binary_digits(needed, expected):
    shapes = (Shape(5, 64), Shape(2, 128))
    num_rows, row_length = needed
    assert packing.fit(share_of(*[row_length] * num_rows), shapes) == expected
