"""Holm, bootstrap, Friedman and Nemenyi against definitions written out, and SciPy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mtra_jax import metrics
from mtra_jax.reports.statistics import intervals, ranks, significance
from mtra_jax.tasks import Task


def closed_test(ps):
    """Holm by closed testing: the largest Bonferroni p of all sets with the method."""
    indices = range(len(ps))
    subsets = [
        subset
        for size in range(1, len(ps) + 1)
        for subset in itertools.combinations(indices, size)
    ]
    return [
        max(min(1, len(s) * min(ps[i] for i in s)) for s in subsets if place in s)
        for place in indices
    ]


def test_holm_is_that_of_the_closed_test():
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 7):
        ps = list(rng.uniform(size=count) ** 3)
        assert significance.holm(ps) == pytest.approx(closed_test(ps), rel=1e-12)
    tied = [0.02, 0.02, 0.5]
    assert significance.holm(tied) == pytest.approx(closed_test(tied), rel=1e-12)


def test_holm_of_a_worked_example():
    # Four tests at 0.01, 0.04, 0.03, 0.005: times 3, 1, 2, 4, then never decreasing.
    corrected = significance.holm([0.01, 0.04, None, 0.03, 0.005])
    assert corrected[2] is None
    assert [p for p in corrected if p is not None] == pytest.approx(
        [0.03, 0.06, 0.06, 0.02], rel=1e-12
    )


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 3), (2, 3), (4, 4)])
def test_the_smallest_p_is_that_of_an_exact_permutation_test(n, m):
    one, other = np.arange(n), 100.0 + np.arange(m)
    test = stats.permutation_test(
        (one, other), lambda x, y: abs(np.mean(x) - np.mean(y)), alternative="greater"
    )
    assert significance.smallest_p(n, m) == pytest.approx(test.pvalue, rel=1e-12)


def test_few_seeds_are_noted():
    assert significance.seeds_note([3, 5]) is None
    assert significance.seeds_note([1]) is None
    note = significance.seeds_note([3, 2, 1])
    assert "fewer than 3 in 2 rows; a permutation test of 2 against 2" in note
    assert "p = 1.000 at best" in significance.seeds_note([1, 1])


# ---- the interval of Δp

TASKS = (
    Task("a", "A", "classification", ("x", "y"), ("accuracy", "mcc")),
    Task("b", "B", "regression", ("x",), ("rmse",)),
)


def runs(rng, shift):
    return [
        {
            "a": {"accuracy": 50 + shift + rng.normal(), "mcc": 30 + 2 * rng.normal()},
            "b": {"rmse": 8 - shift / 4 + rng.normal() / 9},
        }
        for _ in range(3)
    ]


@pytest.fixture
def two_rows():
    rng = np.random.default_rng(1)
    return runs(rng, 3.0), runs(rng, 0.0)


def mean_of(chosen):
    return {
        task.name: {
            m: np.mean([run[task.name][m] for run in chosen]) for m in task.metrics
        }
        for task in TASKS
    }


def test_the_interval_holds_the_tails_of_every_possible_resample(two_rows):
    """All 27 × 27 resamples are as likely as each other."""
    own, base = (
        [mean_of(chosen) for chosen in itertools.product(row, repeat=3)]
        for row in two_rows
    )
    exact = np.array([metrics.delta_p(x, y, TASKS) for x in own for y in base])
    low, high = intervals.of_delta_p(*two_rows, TASKS)
    # Four standard errors of a share of 0.025 among the resamples that are drawn, and the
    # share of the resample at the end itself.
    error = 4 * math.sqrt(0.025 * 0.975 / intervals.RESAMPLES)
    for inner, outer in (
        (exact < low - 1e-9, exact <= low + 1e-9),
        (exact > high + 1e-9, exact >= high - 1e-9),
    ):
        assert inner.mean() - error <= 0.025 <= outer.mean() + error
    assert high - low > 1


def test_the_interval_is_a_function_of_the_seed():
    rng = np.random.default_rng(5)
    rows = [runs(rng, shift) + runs(rng, shift) for shift in (3.0, 0.0)]
    first = intervals.of_delta_p(*rows, TASKS)
    assert intervals.of_delta_p(*rows, TASKS) == first
    assert intervals.of_delta_p(*rows, TASKS, seed=1) != first


def test_equal_seeds_have_an_interval_of_one_point(two_rows):
    own, base = ([row[0]] * 3 for row in two_rows)
    expected = metrics.delta_p(own[0], base[0], TASKS)
    interval = intervals.of_delta_p(own, base, TASKS)
    assert interval == pytest.approx((expected, expected), rel=1e-12)


def test_there_is_no_interval_of_two_seeds_a_missing_figure_or_a_small_base(two_rows):
    own, base = two_rows
    assert intervals.of_delta_p(own[:2], base, TASKS) is None
    assert intervals.of_delta_p(own, [], TASKS) is None
    lost = [*own[:2], {**own[2], "b": {"rmse": None}}]
    assert intervals.of_delta_p(lost, base, TASKS) is None
    small = [*base[:2], {**base[2], "a": {"accuracy": 50.0, "mcc": 1.0}}]
    assert intervals.of_delta_p(own, small, TASKS) is None
    assert intervals.of_delta_p(small, base, TASKS) is not None


# ---- ranks over tasks


@pytest.mark.parametrize("decimals", [6, 0], ids=["no ties", "ties"])
def test_friedman_is_that_of_scipy(decimals):
    figures = np.random.default_rng(2).uniform(0, 4, size=(6, 4)).round(decimals)
    actual = ranks.compare("abcd", figures)
    expected = stats.friedmanchisquare(*figures.T)
    assert actual.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert actual.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert sum(actual.means) == pytest.approx(4 * 5 / 2, rel=1e-12)


# Table 5a of Demšar 2006: q at 0.05.
@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_the_published_table(k, q):
    figures = np.random.default_rng(3).uniform(size=(14, k))
    actual = ranks.compare([str(i) for i in range(k)], figures).critical_difference
    # The table has three decimals, some of them cut off.
    scale = math.sqrt(k * (k + 1) / (6 * 14))
    assert actual == pytest.approx(q * scale, abs=0.001 * scale)


def test_tasks_are_ranked_in_the_sense_of_their_metrics():
    tasks = (*TASKS, Task("c", "C", "classification", ("x", "y"), ("accuracy",)))
    figures = {
        "ew": (60, 40, 2.0, 70),
        "si": (50, 30, 1.0, 80),
        "uw": (40, 35, 3.0, 90),
    }
    rows = {
        name: {"a": {"accuracy": a, "mcc": m}, "b": {"rmse": r}, "c": {"accuracy": c}}
        for name, (a, m, r, c) in figures.items()
    }
    # a: accuracy 1, 2, 3 and mcc 1, 3, 2: again 1, 2.5, 2.5. b, lower is better: 2, 1, 3.
    # c: 3, 2, 1.
    expected = ((1 + 2 + 3) / 3, (2.5 + 1 + 2) / 3, (2.5 + 3 + 1) / 3)
    assert ranks.of_tasks(rows, tasks).means == pytest.approx(expected, rel=1e-12)
    rows["uw"]["c"]["accuracy"] = None
    assert ranks.of_tasks(rows, tasks) is None
    assert ranks.of_tasks(rows, tasks[:2]) is None


def test_equal_methods_are_not_ranked():
    assert ranks.compare("abc", np.ones((4, 3))) is None
