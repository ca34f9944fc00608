"""Puts the modules of `scripts/benchmarking` within reach, as they find each other."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts" / "benchmarking"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the tests of this directory, before the marks select."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("benchmark")
