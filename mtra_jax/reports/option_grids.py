"""Runs of a sweep that differ in two options -> the mean Avg. for each pair of values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.reports import tables
from mtra_jax.reports.comparison import Entry
from mtra_jax.reports.seeds import AVG, figure


class Axis(NamedTuple):
    """An option and the texts of its values, from the least to the largest."""

    name: str
    values: tuple[str, ...]


class Grid(NamedTuple):
    """`means` [R, C]: Avg. in percent, means over the seeds; NaN for a pair without a run."""

    rows: Axis
    columns: Axis
    means: np.ndarray


def of(entries: Sequence[Entry], options: Sequence[str], split: str = "test") -> Grid:
    """The grid of two `options`, such as beta and epsilon, over the runs that set both.

    Raises:
      InputError: no run sets both; or runs of other methods or presets do so too, which one
        grid cannot show.
    """
    keys = [_key(entries, option) for option in options]
    chosen = [
        (entry, tuple(str(entry.values["overrides"][key]) for key in keys))
        for entry in entries
        if all(key in _overrides(entry) for key in keys)
    ]
    if not chosen:
        raise InputError(f"no run sets both {keys[0]} and {keys[1]}")
    kinds = {(e.values.get("method"), e.values.get("preset")) for e, _ in chosen}
    if len(kinds) > 1:
        shown = ", ".join(sorted(f"{method} of {preset}" for method, preset in kinds))
        raise InputError(
            f"runs of {shown} set {keys[0]} and {keys[1]}; expected one kind"
        )
    axes = [
        Axis(key.removeprefix("method."), tuple(sorted(set(values), key=_order)))
        for key, values in zip(
            keys, zip(*(pair for _, pair in chosen), strict=True), strict=True
        )
    ]
    averages: dict[tuple[str, ...], list[float]] = {}
    for entry, pair in chosen:
        average = figure(entry.results[split], AVG)
        averages.setdefault(pair, []).append(np.nan if average is None else average)
    means = [
        [
            float(np.mean(averages.get((row, column), [np.nan])))
            for column in axes[1].values
        ]
        for row in axes[0].values
    ]
    return Grid(axes[0], axes[1], np.array(means))


def table(grid: Grid, *, markdown: bool = False) -> str:
    """The means as a table, a row for each value of the first option.

    >>> print(table(Grid(Axis("beta", ("0.1", "1")), Axis("epsilon", ("5",)),
    ...                  np.array([[61.5], [np.nan]]))))
              epsilon
                    5
    beta 0.1    61.50
    beta 1          -
    """
    heads = [(grid.columns.name, value) for value in grid.columns.values]
    body = [
        [f"{grid.rows.name} {value}", *map(_cell, means)]
        for value, means in zip(grid.rows.values, grid.means, strict=True)
    ]
    return tables.markdown(heads, body) if markdown else tables.grouped(heads, body)


def _cell(mean: float) -> str:
    return tables.MISSING if np.isnan(mean) else f"{mean:.2f}"


def _key(entries: Sequence[Entry], option: str) -> str:
    """The key of `option`, which may be without "method."."""
    keys = sorted({key for entry in entries for key in _overrides(entry)})
    for key in (option, f"method.{option}"):
        if key in keys:
            return key
    names = [key.removeprefix("method.") for key in keys]
    raise InputError(f"no run sets {option}; {did_you_mean(option, names)}")


def _overrides(entry: Entry) -> dict[str, Any]:
    overrides = entry.values.get("overrides")
    return overrides if isinstance(overrides, dict) else {}


def _order(value: str) -> tuple[bool, float, str]:
    """Numbers by size, then other texts."""
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value
