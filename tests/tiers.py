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
