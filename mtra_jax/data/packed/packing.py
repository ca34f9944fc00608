"""Lengths of texts -> places in rows of fixed length.

A tweet has about 30 tokens. Padded to the longest text of a batch, half of all tokens
are padding. Packed end to end into rows, about 19 of 20 tokens are real.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ROW_LENGTHS = (64, 128, 256, 512)
ATTENTION_LENGTH = 1024
"""Row length at which attention doubles the time of a token.

Measured with MiniLM on a CPU: a step in rows of 512 tokens takes 1.36 times as long as
one in rows of 64.
"""


class Places(NamedTuple):
    """The row of each text, and the column of its first token: int64 [N]."""

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

    @property
    def cost(self) -> float:
        """The time of a batch, in tokens of rows so short that attention is free."""
        return self.num_tokens * (1 + self.row_length / ATTENTION_LENGTH)


def first_fit_decreasing(lengths: np.ndarray, row_length: int) -> Places:
    """Packs texts of `lengths` [N] into rows of `row_length`, longest first.

    Raises:
      ValueError: a text is longer than a row.

    Source: Johnson 1973, first-fit decreasing: at most 11/9 of the optimum plus a row.
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
    # Bit i stands for row i. `fitting`: rows with room for the current text. `closed[n]`:
    # rows with room for n tokens only. Lengths decrease, so closed rows reopen later.
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


def row_length_for(longest: int) -> int:
    """The shortest row length for texts of at most `longest` tokens."""
    return next((n for n in ROW_LENGTHS if n >= longest), longest)


def _longest(shares: Sequence[np.ndarray]) -> int:
    return max((int(share.max(initial=1)) for share in shares), default=1)


def needed_shape(shares: Sequence[np.ndarray]) -> Shape:
    """The smallest shape that holds every device's share, given as lengths of texts.

    Rows are as short as the longest text allows: the cost of attention grows with them.
    """
    row_length = row_length_for(_longest(shares))
    num_rows = max(first_fit_decreasing(s, row_length).num_rows for s in shares)
    return Shape(max(num_rows, 1), row_length)


def needed_shapes(shares: Sequence[np.ndarray], longest_row: int) -> tuple[Shape, ...]:
    """`needed_shape`, and the shapes of all longer rows up to `longest_row`."""
    first = needed_shape(shares)
    longer = {*ROW_LENGTHS, longest_row}
    return first, *(
        Shape(max(first_fit_decreasing(s, n).num_rows for s in shares), n)
        for n in sorted(longer)
        if first.row_length < n <= longest_row
    )


def fit(shares: Sequence[np.ndarray], shapes: Sequence[Shape]) -> Shape:
    """The first of `shapes` that holds every share, given as lengths of texts.

    If no shape holds the batch, the needed rows are rounded up to three binary digits. This
    adds less than a quarter, and leads to few additional programs.
    """
    longest = _longest(shares)
    most = max(int(share.sum()) for share in shares)

    @functools.cache
    def num_rows(row_length: int) -> int:
        return max(first_fit_decreasing(s, row_length).num_rows for s in shares)

    for shape in shapes:
        is_large = shape.row_length >= longest and shape.num_tokens >= most
        if is_large and num_rows(shape.row_length) <= shape.num_rows:
            return shape
    needed = needed_shape(shares)
    unit = 1 << max(needed.num_rows.bit_length() - 3, 0)
    return Shape(-(-needed.num_rows // unit) * unit, needed.row_length)
