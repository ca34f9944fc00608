"""Runs of a sweep that differ in two options -> the mean Avg. for each pair of values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.reports.comparisons.comparison import Entry
from mtra_jax.reports.formatting import tables
from mtra_jax.reports.statistics.seeds import AVG, figure


class Axis(NamedTuple):
    """An option and the texts of its values, from the least to the largest."""

    name: str
    values: tuple[str, ...]


class PairMeans(NamedTuple):
    """`means` [R, C]: Avg. in percent, means over the seeds; NaN without a run."""

    rows: Axis
    columns: Axis
    means: np.ndarray


def of(
    entries: Sequence[Entry], options: Sequence[str], split: str = "test"
) -> PairMeans:
    """The grid of two `options`, such as beta and epsilon, over the runs that set both.

    A seed without a finite Avg. leaves its pair without a figure.

    Raises:
      InputError: no run sets both, the options are one, or these runs differ in something
        else, which one grid cannot show.
    """
    keys = [_key(entries, option) for option in options]
    if keys[0] == keys[1]:
        raise InputError(f"{keys[0]} twice; expected two options")
    chosen = [e for e in entries if all(key in _set_in(e) for key in keys)]
    if not chosen:
        raise InputError(f"no run sets both {keys[0]} and {keys[1]}")
    kinds = sorted({_kind(entry, keys) for entry in chosen})
    if len(kinds) > 1:
        raise InputError(
            f"{' and '.join(kinds[:2])} set {keys[0]} and {keys[1]}; expected runs that "
            "differ in these alone"
        )
    averages: dict[tuple[str, ...], list[float]] = {}
    for entry in chosen:
        pair = tuple(_text(_set_in(entry)[key]) for key in keys)
        average = figure(entry.results[split], AVG)
        averages.setdefault(pair, []).append(np.nan if average is None else average)
    rows, columns = (
        Axis(key.removeprefix("method."), tuple(sorted(set(values), key=_order)))
        for key, values in zip(keys, zip(*averages, strict=True), strict=True)
    )
    means = [
        [
            float(np.mean(averages.get((row, column), [np.nan])))
            for column in columns.values
        ]
        for row in rows.values
    ]
    return PairMeans(rows, columns, np.array(means))


def table(grid: PairMeans, *, markdown: bool = False) -> str:
    """The means as a table, a row for each value of the first option.

    >>> print(table(PairMeans(Axis("beta", ("0.1", "1")), Axis("epsilon", ("5",)),
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


def _kind(entry: Entry, keys: Sequence[str]) -> str:
    """Method, preset and the other overrides of a run, for a message."""
    others = {k: v for k, v in _set_in(entry).items() if k not in keys}
    settings = "".join(f", {key}={value}" for key, value in sorted(others.items()))
    return f"{entry.values.get('method')} of {entry.values.get('preset')}{settings}"


def _set_in(entry: Entry) -> dict[str, Any]:
    """The keys that a run has set; {} in lines that do not say."""
    own = entry.values.get("overrides")
    return own if isinstance(own, dict) else {}


def _key(entries: Sequence[Entry], option: str) -> str:
    """The key of `option`, which may be without "method."."""
    keys = sorted({key for entry in entries for key in _set_in(entry)})
    for key in (option, f"method.{option}"):
        if key in keys:
            return key
    names = [key.removeprefix("method.") for key in keys]
    hint = did_you_mean(option, names) if names else "no run sets any"
    raise InputError(f"no run sets {option}; {hint}")


def _text(value: Any) -> str:
    """One text for all spellings of a number."""
    text = str(value)
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def _order(value: str) -> tuple[bool, float, str]:
    """Numbers by size, then other texts."""
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value
