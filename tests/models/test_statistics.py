"""The critic of the MINE bound beside NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.models import statistics

HIDDEN, SLOTS, WIDTH = 5, 4, 6


def draw(batch=7):
    rng = np.random.default_rng(0)
    params = {
        "from_z": {
            "kernel": rng.normal(size=(HIDDEN, WIDTH)),
            "bias": rng.normal(size=WIDTH),
        },
        "from_y": {"kernel": rng.normal(size=(SLOTS, WIDTH))},
        "score": {"kernel": rng.normal(size=(WIDTH, 1))},
    }
    return params, rng.normal(size=(batch, HIDDEN)), rng.normal(size=(batch, SLOTS))


def score(params, z, y):
    """V(y|z) = w₃ᵀ relu(W₁ z + W₂ y + b) of one pair."""
    w1, b = params["from_z"]["kernel"].T, params["from_z"]["bias"]
    w2, w3 = params["from_y"]["kernel"].T, params["score"]["kernel"][:, 0]
    return w3 @ np.maximum(w1 @ z + w2 @ y + b, 0)


def apply(params, z, y):
    return statistics.StatisticsNetwork(WIDTH).apply({"params": params}, z, y)


def test_scores_of_pairs():
    params, z, y = draw()
    with jax.enable_x64(True):
        actual = apply(params, z, y)
    expected = [score(params, *pair) for pair in zip(z, y, strict=True)]
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_scores_of_all_pairs_by_broadcasting():
    params, z, y = draw()
    with jax.enable_x64(True):
        actual = apply(params, z[:, None], y[None])
    expected = [[score(params, one_z, one_y) for one_y in y] for one_z in z]
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_scores_are_in_float32_whatever_the_encoder_gives(dtype):
    params, z, y = draw()
    z = jnp.asarray(z, dtype)
    actual = apply(jax.tree.map(jnp.float32, params), z, jnp.float32(y))
    assert actual.dtype == jnp.float32
    exact = np.asarray(z, np.float64)
    expected = [score(params, *pair) for pair in zip(exact, y, strict=True)]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_parameters():
    """One bias, of the hidden layer: the bound does not depend on one of the output."""
    network = statistics.StatisticsNetwork()
    z, y = jnp.zeros((1, HIDDEN)), jnp.zeros((1, SLOTS))
    params = jax.eval_shape(network.init, jax.random.key(0), z, y)["params"]
    assert jax.tree.map(lambda leaf: leaf.shape, params) == {
        "from_z": {"kernel": (HIDDEN, 128), "bias": (128,)},
        "from_y": {"kernel": (SLOTS, 128)},
        "score": {"kernel": (128, 1)},
    }
