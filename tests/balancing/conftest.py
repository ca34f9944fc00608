"""Float64 for the tests that compare values to many digits."""

import jax
import pytest


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield
