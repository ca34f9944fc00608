"""The examples in the docstrings of `scripts/benchmarking`."""

import doctest
import importlib

import pytest

NAMES = (
    "kernel_events",
    "mean_costs",
    "step_costs",
    "step_trace",
    "supervisor",
    "timing",
)


@pytest.mark.parametrize("name", NAMES)
def test_examples_give_what_they_show(name):
    tried = doctest.testmod(importlib.import_module(name))
    assert tried.attempted > 0
    assert tried.failed == 0
