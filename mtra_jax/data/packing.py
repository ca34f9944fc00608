"""Lengths of texts -> places in rows of fixed length, and a small set of row counts.

A tweet has about 30 tokens; padded to the longest of its batch, half of what is
processed is padding. Laid end to end into rows, about 19 of 20 tokens are real.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ROW_LENGTHS = (64, 128, 256, 512)


class Places(NamedTuple):
    """Where each text lies: its row and the column of its first token, int64 [N]."""

    rows: np.ndarray
    starts: np.ndarray
    num_rows: int


class Shape(NamedTuple):
    """Rows per device and tokens per row of a packed batch."""

    num_rows: int
    row_length: int

    @property
    def num_tokens(self) -> int:
        return self.num_rows * self.row_length


def first_fit_decreasing(lengths: np.ndarray, row_length: int) -> Places:
    """Packs texts of `lengths` [N] into rows of `row_length`, longest first.

    Raises:
      ValueError: a text is longer than a row.

    Source: Johnson 1973, first-fit decreasing: at most 11/9 of the optimum and a row.
    """
    lengths = np.asarray(lengths)
    if lengths.size and lengths.max() > row_length:
        raise ValueError(
            f"`lengths` must be at most {row_length}; found {lengths.max()}."
        )
    order = np.argsort(-lengths, kind="stable")
    chosen: list[int] = []
    columns: list[int] = []
    used: list[int] = []
    # Bit i stands for row i. `fitting`: those with room for the text at hand; `closed[n]`:
    # those that have too little, n tokens. Lengths fall, so a closed row opens again once.
    fitting, closed, previous = 0, [0] * row_length, row_length
    for length in lengths[order].tolist():
        for space in range(length, previous):
            fitting |= closed[space]
        previous = length
        if not fitting:
            fitting = 1 << len(used)
            used.append(0)
        first = fitting & -fitting
        row = first.bit_length() - 1
        chosen.append(row)
        columns.append(used[row])
        used[row] += length
        space = row_length - used[row]
        if space < length:
            fitting ^= first
            closed[space] |= first
    rows, starts = np.empty((2, len(lengths)), np.int64)
    rows[order], starts[order] = chosen, columns
    return Places(rows, starts, len(used))


def needed_shape(shares: Sequence[np.ndarray]) -> Shape:
    """The smallest shape that holds every device's share, given as lengths of texts.

    Rows are as short as the longest text allows: attention costs grow with them.
    """
    longest = max((int(share.max(initial=1)) for share in shares), default=1)
    row_length = next((n for n in ROW_LENGTHS if n >= longest), longest)
    num_rows = max(first_fit_decreasing(s, row_length).num_rows for s in shares)
    return Shape(max(num_rows, 1), row_length)


def choose_shapes(
    needed: Sequence[Shape],
    groups: Sequence[int] | np.ndarray | None = None,
    *,
    max_shapes: int = 12,
    rounding: float = 0.03,
) -> tuple[Shape, ...]:
    """Few shapes that hold all `needed` ones with little rounding.

    Starts from all distinct shapes and merges, again and again, two neighbours of equal
    row length: those that leave the smallest share of added tokens to the group that has
    most of them. Stops where that would be more than `rounding`, yet not while there are
    more than `max_shapes`. `groups` gives a number for each of `needed`, its task: so a
    small task does not pay for the rounding of large ones.

    A shape costs one compilation, rounding costs time at every step.
    """
    groups = np.zeros(len(needed), int) if groups is None else np.asarray(groups)
    counts: dict[Shape, np.ndarray] = {}
    for shape, group in zip(needed, groups, strict=True):
        empty = np.zeros(groups.max() + 1, int)
        counts.setdefault(shape, empty)[group] += 1
    totals = sum(s.num_tokens * n for s, n in counts.items())
    spent = np.zeros_like(totals)
    while True:
        merges = _merges(counts, spent, totals)
        if not merges:
            break
        share, _, small, large = merges[0]
        if share > rounding and len(counts) <= max_shapes:
            break
        spent += counts[small] * (large.num_tokens - small.num_tokens)
        counts[large] += counts.pop(small)
    return tuple(sorted(counts, key=lambda shape: shape.num_tokens))


def _merges(
    counts: dict[Shape, np.ndarray], spent: np.ndarray, totals: np.ndarray
) -> list[tuple[float, float, Shape, Shape]]:
    """(largest share added, sum of shares, smaller shape, larger shape), cheapest first."""
    ordered = sorted(counts, key=lambda shape: (shape.row_length, shape.num_rows))
    found = []
    for small, large in itertools.pairwise(ordered):
        if small.row_length == large.row_length:
            added = counts[small] * (large.num_tokens - small.num_tokens)
            shares = (spent + added) / np.maximum(totals, 1)
            found.append((float(shares.max()), float(shares.sum()), small, large))
    return sorted(found)


def fit(needed: Shape, shapes: Sequence[Shape]) -> Shape:
    """The cheapest of `shapes` that holds a batch which needs `needed`.

    For a batch that none of them holds the rows are rounded up to three binary digits:
    by less than a quarter, and to few more programs however many such batches there are.
    """
    for shape in shapes:
        if shape.num_rows >= needed.num_rows and shape.row_length == needed.row_length:
            return shape
    unit = 1 << max(needed.num_rows.bit_length() - 3, 0)
    return Shape(-(-needed.num_rows // unit) * unit, needed.row_length)
