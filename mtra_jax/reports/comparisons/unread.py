"""Results of language models -> the replies without a label, which count as wrong."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mtra_jax.errors import InputError
from mtra_jax.reports.comparisons.json_members import member
from mtra_jax.reports.statistics.seeds import Cell

ANSWERS = "answers"
"""The member of results.json: by task, the numbers of replies of each of `KINDS`."""
KINDS = ("read", "refused", "unparsable")
HEAD = ("replies", "unread %")
"""The title and the name of the column with `percent`."""


def check(results: Mapping[str, Any]) -> None:
    """Raises InputError if the numbers of replies are damaged."""
    for counts in _of(results).values():
        numbers = [member(counts, kind, int) for kind in KINDS]
        if min(numbers) < 0 or not sum(numbers):
            raise InputError(f"{counts} replies; expected numbers from 0 on, not all 0")


def is_prompted(results: Mapping[str, Any]) -> bool:
    """Whether the results are those of a language model."""
    return ANSWERS in results


def percent(results: Mapping[str, Any]) -> float | None:
    """The share of replies without a label, of all tasks; None for a trained model."""
    if not is_prompted(results):
        return None
    read, *others = map(sum, zip(*_numbers(results), strict=True))
    return 100.0 * sum(others) / (read + sum(others))


def cell(results: Iterable[Mapping[str, Any]]) -> Cell:
    """`percent` over the seeds of a row."""
    shares = [percent(own) for own in results]
    present = [share for share in shares if share is not None]
    if not present or len(present) < len(shares):
        return Cell(None, None)
    std = float(np.std(present, ddof=1)) if len(present) > 1 else None
    return Cell(float(np.mean(present)), std)


def is_shown(cells: Iterable[Cell]) -> bool:
    """Whether any of the rows is a language model's, so that the table has the column."""
    return any(cell.mean is not None for cell in cells)


def note(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> str | None:
    """A line about the replies without a label; None without a language model.

    `rows`: names and results; those of several seeds are added.
    """
    totals: dict[str, list[int]] = {}
    for name, results in rows:
        if is_prompted(results):
            for numbers in _numbers(results):
                before = totals.get(name, [0] * len(KINDS))
                totals[name] = [a + b for a, b in zip(before, numbers, strict=True)]
    if not totals:
        return None
    parts = [
        f"{name} {numbers[1]} refused, {numbers[2]} unparsable of {sum(numbers)}"
        for name, numbers in totals.items()
    ]
    rule = "which count as wrong (a class: as the one after the right one)"
    return f"replies without a label, {rule}: {'; '.join(parts)}"


def _of(results: Mapping[str, Any]) -> dict[str, Any]:
    return member(dict(results), ANSWERS, dict) if is_prompted(results) else {}


def _numbers(results: Mapping[str, Any]) -> list[list[int]]:
    """The numbers of each task, in the order of `KINDS`."""
    return [[counts[k] for k in KINDS] for counts in results[ANSWERS].values()]
