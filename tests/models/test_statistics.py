"""The critic of the MINE bound against NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

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
def test_scores_are_in_float32_at_any_precision_of_z(dtype):
    params, z, y = draw()
    z = jnp.asarray(z, dtype)
    actual = apply(jax.tree.map(jnp.float32, params), z, jnp.float32(y))
    assert actual.dtype == jnp.float32
    exact = np.asarray(z, np.float64)
    expected = [score(params, *pair) for pair in zip(exact, y, strict=True)]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_parameters():
    """Only the hidden layer has a bias: the bound does not depend on one of the output."""
    network = statistics.StatisticsNetwork()
    z, y = jnp.zeros((1, HIDDEN)), jnp.zeros((1, SLOTS))
    params = jax.eval_shape(network.init, jax.random.key(0), z, y)["params"]
    assert jax.tree.map(lambda leaf: leaf.shape, params) == {
        "from_z": {"kernel": (HIDDEN, 128), "bias": (128,)},
        "from_y": {"kernel": (SLOTS, 128)},
        "score": {"kernel": (128, 1)},
    }


def start(hidden, slots, width):
    """The first parameters, by the fan-in of their layer."""
    network = statistics.StatisticsNetwork(width)
    z, y = jnp.zeros((1, hidden)), jnp.zeros((1, slots))
    params = network.init(jax.random.key(3), z, y)["params"]
    return {
        "from_z kernel": (params["from_z"]["kernel"], hidden),
        "from_z bias": (params["from_z"]["bias"], hidden),
        "from_y kernel": (params["from_y"]["kernel"], slots),
        "score kernel": (params["score"]["kernel"], width),
    }


@pytest.mark.parametrize("name", start(2, 2, 2))
def test_weights_and_biases_start_uniform_within_one_over_the_root_of_fan_in(name):
    values, fan_in = start(hidden=300, slots=20, width=2000)[name]
    values = np.ravel(np.float64(values)) * np.sqrt(fan_in)
    assert np.abs(values).max() <= 1 + 1e-6
    assert stats.kstest(values, stats.uniform(-1, 2).cdf).pvalue > 1e-3


@pytest.mark.torch
@pytest.mark.parametrize("name", start(2, 2, 2))
def test_the_start_has_the_distribution_of_pytorch(name):
    torch = pytest.importorskip("torch")
    values, fan_in = start(hidden=300, slots=20, width=2000)[name]
    torch.manual_seed(0)
    layer = torch.nn.Linear(fan_in, max(values.shape))
    theirs = (layer.bias if "bias" in name else layer.weight).detach().numpy()
    assert stats.ks_2samp(np.ravel(values), np.ravel(theirs)).pvalue > 1e-3
