"""Marks the tests of this directory, which need the modules of `scripts/benchmarking`."""

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Runs before the marks select."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("benchmark")
