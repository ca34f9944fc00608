"""Avg. and Δp with errors in a task's unit, by hand."""

import math

import pytest

from mtra_jax import metrics
from mtra_jax.tasks import Task

SHARES = Task("a", "A", "classification", ("x", "y"), ("accuracy", "mcc"))
MIXED = Task("b", "B", "regression", ("x",), ("rmse", "pearson", "mae"))
ERRORS = Task("c", "C", "regression", ("x",), ("rmse",))
SCORES = {
    "a": {"accuracy": 80.0, "mcc": 60.0},
    "b": {"rmse": 12.0, "pearson": 50.0, "mae": 9.0},
    "c": {"rmse": 1000.0},
}
BASE = {
    "a": {"accuracy": 50.0, "mcc": 40.0},
    "b": {"rmse": 16.0, "pearson": 40.0, "mae": 6.0},
    "c": {"rmse": 2000.0},
}


def test_errors_are_not_in_the_average():
    # The mean of (80 + 60) / 2 and 50.
    assert metrics.average(SCORES, [SHARES, MIXED, ERRORS]) == 60.0
    assert metrics.summarize(SCORES, [MIXED, ERRORS])["avg"] == 50.0


def test_the_average_of_errors_alone_is_missing():
    assert math.isnan(metrics.average(SCORES, [ERRORS]))


def test_a_missing_error_leaves_the_average_as_it_is():
    scores = {**SCORES, "c": {"rmse": math.nan}}
    assert metrics.average(scores, [SHARES, MIXED, ERRORS]) == 60.0


def test_a_lower_error_is_an_improvement():
    # a: 60 % and 50 %. b: 4 of 16 less, 10 of 40 more, 3 of 6 more: 25, 25, -50. c: 50.
    expected = (55 + 0 + 50) / 3
    actual = metrics.delta_p(SCORES, BASE, [SHARES, MIXED, ERRORS])
    assert actual == pytest.approx(expected, rel=1e-14)
    assert metrics.delta_p(SCORES, SCORES, [SHARES, MIXED, ERRORS]) == 0.0


def test_an_error_of_zero_cannot_be_the_baseline():
    base = {"c": {"rmse": 0.0}}
    assert [(m, f) for _, m, f in metrics.unfit_bases(base, [ERRORS])] == [
        ("rmse", 0.0)
    ]
    with pytest.raises(ValueError, match=r"found 0\.0 for rmse of c"):
        metrics.delta_p(SCORES, base, [ERRORS])
