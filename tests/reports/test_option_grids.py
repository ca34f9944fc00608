"""Runs with two options -> the mean of each pair, from entries made by hand."""

import numpy as np
import pytest

from mtra_jax.errors import InputError
from mtra_jax.reports.comparisons import option_grids
from mtra_jax.reports.comparisons.comparison import Entry


def entry(average, seed=0, method="mtra", **overrides):
    results = {"test": {"avg": average}, "validation": {"avg": average + 1}}
    values = {"method": method, "preset": "tiny_synthetic", "overrides": overrides}
    return Entry(f"{method} {overrides}", seed, (), results, values)


def pair(beta, epsilon):
    return {"method.beta": beta, "method.epsilon": epsilon}


RUNS = [
    entry(50.0, method="ew"),
    entry(60.0, **pair("1", "10")),
    entry(63.0, 1, **pair("1.0", "1e1")),
    entry(70.0, **pair("0.5", "2")),
    entry(80.0, **{"learning_rate": "1e-3", "method.beta": "7"}),
]


@pytest.mark.parametrize("odd", [None, 3, [1], "absent"])
def test_lines_without_settings_are_not_part_of_a_grid(odd):
    other = entry(99.0)
    if odd == "absent":
        del other.values["overrides"]
    else:
        other.values["overrides"] = odd
    values = entry(70.0, **pair(None, [2]))
    grid = option_grids.of([other, values, RUNS[3]], ("beta", "epsilon"))
    assert sorted(grid.means[~np.isnan(grid.means)]) == [70, 70]


def test_values_stand_in_their_order_and_seeds_are_averaged():
    grid = option_grids.of(RUNS, ("beta", "method.epsilon"))
    assert grid.rows == ("beta", ("0.5", "1"))
    assert grid.columns == ("epsilon", ("2", "10"))
    np.testing.assert_array_equal(grid.means, [[70, np.nan], [np.nan, 61.5]])
    validation = option_grids.of(RUNS, ("beta", "epsilon"), "validation")
    assert validation.means[1, 1] == 62.5
    assert option_grids.table(grid, markdown=True).splitlines()[-1] == (
        "| beta 1 | - | 61.50 |"
    )


@pytest.mark.parametrize(
    ("runs", "options", "fault"),
    [
        (RUNS, ("beta", "epsilom"), "no run sets epsilom; did you mean"),
        (RUNS, ("learning_rate", "epsilon"), "no run sets both learning_rate and"),
        (RUNS, ("beta", "method.beta"), "method.beta twice"),
        (RUNS[:1], ("beta", "epsilon"), "no run sets beta; no run sets any"),
        (
            [*RUNS, entry(1.0, **pair("1", "2"), clip_norm="5")],
            ("beta", "epsilon"),
            "mtra of tiny_synthetic and mtra of tiny_synthetic, clip_norm=5 set",
        ),
        (
            [*RUNS, entry(1.0, method="infomtl", **pair("1", "2"))],
            ("beta", "epsilon"),
            "infomtl of tiny_synthetic and mtra of tiny_synthetic set",
        ),
    ],
)
def test_runs_that_make_no_grid_are_refused(runs, options, fault):
    with pytest.raises(InputError, match=fault):
        option_grids.of(runs, options)
