"""Turns, spreads and ratios on given numbers."""

import itertools

import numpy as np
import pytest
import timing


def test_functions_take_turns_on_each_item(monkeypatch):
    clock = itertools.count(0)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    calls = []
    times = timing.in_turns(
        {
            "a": lambda item: calls.append(("a", item)),
            "b": lambda item: (calls.append(("b", item)), next(clock)),
        },
        [1, 2],
    )
    assert calls == [("a", 1), ("b", 1), ("b", 2), ("a", 2)]
    np.testing.assert_array_equal(times["a"], [1.0, 1.0])
    np.testing.assert_array_equal(times["b"], [2.0, 2.0])


def test_the_ratio_is_that_of_the_totals_not_of_the_pairs():
    times = timing.ratio(np.array([9.0, 1.0]), np.array([1.0, 1.0]))
    assert times.total == 5.0
    assert times.pairs == [9.0, 1.0]


def test_the_interval_holds_the_ratio_of_the_source_in_19_of_20_cases():
    """Coverage over many samples with a known ratio of means; binomial bounds at 4 sigma."""
    rng = np.random.default_rng(0)
    cases, inside = 200, 0
    for seed in range(cases):
        base = rng.gamma(20.0, size=60)
        other = 2.0 * base * rng.gamma(50.0, 1 / 50.0, size=60)
        times = timing.ratio(other, base, seed)
        assert times.low <= times.total <= times.high
        inside += times.low <= 2.0 <= times.high
    sigma = np.sqrt(cases * 0.95 * 0.05)
    assert inside == pytest.approx(0.95 * cases, abs=4 * sigma)


def test_the_spread_is_quartiles():
    values = np.random.default_rng(1).permutation(101.0 * np.arange(5))
    assert timing.spread(values) == (101.0, 202.0, 303.0)
