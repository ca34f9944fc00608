"""Marks of the tests that `make nightly` alone runs, which sets `KILLS`."""

import os

import pytest

NIGHTLY_ONLY = (
    pytest.mark.nightly,
    pytest.mark.skipif("KILLS" not in os.environ, reason="part of `make nightly`"),
)


def nightly_only(test):
    """Decorates a test that takes minutes."""
    for mark in NIGHTLY_ONLY:
        test = mark(test)
    return test


def rest_nightly(values, first):
    """The parameters `values`; `make nightly` alone runs those that are not in `first`."""
    values = list(values)
    assert set(first) < set(values)
    return [
        value if value in first else pytest.param(*_tuple(value), marks=NIGHTLY_ONLY)
        for value in values
    ]


def _tuple(value):
    return value if isinstance(value, tuple) else (value,)
