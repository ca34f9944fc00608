"""p-values of several methods -> p-values corrected for their number; what seeds allow."""

import math
from collections.abc import Mapping, Sequence

FEWEST_SEEDS = 3
"""With fewer, a row's deviation rests on one difference or none: the table warns."""


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Returns Holm's corrected p for each of `ps`; None stays None and does not count.

    The i-th smallest of m is multiplied by m − i + 1, and is at least those before it and
    at most 1. Below 0.05, fewer than one family in twenty has any false finding.

    Source: Holm 1979.

    >>> holm([0.25, None, 0.0625, 0.5])
    [0.5, None, 0.1875, 0.5]
    """
    places = [place for place, p in enumerate(ps) if p is not None]
    places.sort(key=lambda place: ps[place] or 0.0)
    result: list[float | None] = [None] * len(ps)
    largest = 0.0
    for index, place in enumerate(places):
        p = ps[place] or 0.0
        largest = max(largest, min(1.0, (len(places) - index) * p))
        result[place] = largest
    return result


def smallest_p(num_seeds: int, num_others: int) -> float:
    """The smallest p of an exact two-sided permutation test of two rows' seeds.

    A t-test can go below it only because it assumes normal figures.

    >>> smallest_p(3, 3)
    0.1
    """
    splits = math.comb(num_seeds + num_others, num_seeds)
    # In rows of equal length the mirrored split is as extreme.
    return (2 if num_seeds == num_others else 1) / splits


def unequal_note(num_seeds: Mapping[str, int]) -> str | None:
    """A line if rows have different numbers of seeds, else None. By the row's name."""
    most = max(num_seeds.values(), default=0)
    fewer = [f"{name} {number}" for name, number in num_seeds.items() if number < most]
    if not fewer:
        return None
    return f"unequal numbers of seeds: {', '.join(fewer)}, the others {most}"


def seeds_note(num_seeds: Sequence[int]) -> str | None:
    """A line if any of the rows to compare has fewer than `FEWEST_SEEDS` seeds.

    `num_seeds`: of each row. None for fewer than two rows.
    """
    few = [number for number in num_seeds if number < FEWEST_SEEDS]
    if not few or len(num_seeds) < 2:
        return None
    rows = "all rows" if len(few) == len(num_seeds) else f"{len(few)} rows"
    most = max(few)
    return (
        "too few seeds to tell methods apart, and for an interval of Δp: fewer than "
        f"{FEWEST_SEEDS} in {rows}; a permutation test of {most} against {most} gives p = "
        f"{smallest_p(most, most):.3f} at best"
    )
