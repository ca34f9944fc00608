"""Lengths of tokenised texts -> a line about texts that were cut."""

from collections.abc import Sequence

import numpy as np


def line(
    names: Sequence[str], sizes: Sequence[int], lengths: np.ndarray, max_length: int
) -> str:
    """How many texts of each task have `max_length` tokens or more; "" if none has.

    `sizes`: texts of each task, whose `lengths` [sum of sizes] lie end to end, after longer
    ones were cut.

    >>> line(["reviews", "stars"], [2, 3], np.array([64, 9, 64, 64, 5]), 64)
    'texts of 64 tokens or more, cut there (data.max_length): reviews 1 of 2, stars 2 of 3'
    """
    ends = np.cumsum(sizes)
    counts = [int((part == max_length).sum()) for part in np.split(lengths, ends[:-1])]
    listed = ", ".join(
        f"{name} {count} of {size}"
        for name, count, size in zip(names, counts, sizes, strict=True)
        if count
    )
    return listed and (
        f"texts of {max_length} tokens or more, cut there (data.max_length): {listed}"
    )
