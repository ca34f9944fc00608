"""Fixtures of the toy tasks of `toys.py`."""

import jax
import pytest
import toys


@pytest.fixture(scope="session")
def toy():
    return toys.Toy()


@pytest.fixture(params=toys.MIXTURES.values(), ids=toys.MIXTURES)
def mixture(request):
    return request.param


@pytest.fixture
def float64():
    """Float64 for one test, so that only rounding errors remain."""
    with jax.enable_x64(True):
        yield
