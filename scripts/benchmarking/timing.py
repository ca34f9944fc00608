"""Functions and items, in turns -> seconds, their spread and ratios."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

DRAWS = 10_000
PAUSE = 0.01
"""Seconds."""


class Spread(NamedTuple):
    """Quartiles of measured values."""

    lower: float
    median: float
    upper: float


class Ratio(NamedTuple):
    """Total time of one over that of another on the same items.

    `low` and `high` bound 95 % of the ratios of totals over items drawn with replacement.
    """

    total: float
    low: float
    high: float
    pairs: list[float]
    """The ratio of each item."""


def spread(values: Iterable[float]) -> Spread:
    """The quartiles of `values`.

    >>> spread([4.0, 1.0, 2.0, 3.0, 5.0])
    Spread(lower=2.0, median=3.0, upper=4.0)
    """
    return Spread(*np.quantile(list(values), (0.25, 0.5, 0.75)).tolist())


def in_turns(
    functions: Mapping[str, Callable[[Any], Any]], items: Iterable[Any]
) -> dict[str, np.ndarray]:
    """Seconds of each function on each item: A B, B A, ...; a call must wait for its work.

    A slow phase of the machine then affects all functions, and ratios stay right. Each call
    begins after a pause of `PAUSE`: threads of the last one may spin for a while.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    order = list(functions.items())
    for item in items:
        for name, function in order:
            time.sleep(PAUSE)
            started = time.perf_counter()
            function(item)
            seconds[name].append(time.perf_counter() - started)
        order.reverse()
    return {name: np.array(values) for name, values in seconds.items()}


def ratio(numerator: np.ndarray, denominator: np.ndarray, seed: int = 0) -> Ratio:
    """How many times as long `numerator` took as `denominator`: seconds [n] by item.

    Source of the interval: Efron 1979, the percentile bootstrap.

    >>> times = ratio(np.array([4.0, 2.0]), np.array([1.0, 1.0]))
    >>> times.total, times.low, times.high, times.pairs
    (3.0, 2.0, 4.0, [4.0, 2.0])
    """
    drawn = np.random.default_rng(seed).integers(
        0, len(numerator), (DRAWS, len(numerator))
    )
    totals = numerator[drawn].sum(axis=1) / denominator[drawn].sum(axis=1)
    low, high = np.quantile(totals, (0.025, 0.975)).tolist()
    pairs = (numerator / denominator).tolist()
    return Ratio(float(numerator.sum() / denominator.sum()), low, high, pairs)
