"""The critic as pure functions against NumPy, and against the trainer's module."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import objectives
from mtra_jax.models import statistics

Z, Y, WIDTH = 5, 3, 400


@pytest.fixture(scope="module")
def params():
    return objectives.init_critic(jax.random.key(0), Z, Y, WIDTH)


@pytest.fixture(scope="module")
def pairs():
    draws = np.random.default_rng(0)
    return draws.normal(size=(7, Z)), draws.normal(size=(7, Y))


def test_scores_are_those_of_numpy(params, pairs, x64):
    z, y = pairs
    wide = jax.tree.map(np.float64, params)
    hidden = z @ wide["from_z"]["kernel"] + wide["from_z"]["bias"]
    hidden = hidden[:, None] + (y @ wide["from_y"]["kernel"])[None]
    expected = (np.maximum(hidden, 0) @ wide["score"]["kernel"])[..., 0]
    actual = objectives.critic_scores(wide, z[:, None], y[None])
    assert actual.dtype == jnp.float64
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)
    paired = objectives.critic_scores(wide, z, y)
    np.testing.assert_allclose(paired, np.diag(expected), rtol=1e-12, atol=1e-14)


def test_the_trainers_network_has_the_same_parameters_and_scores(params, pairs):
    z, y = map(jnp.float32, pairs)
    network = statistics.StatisticsNetwork(WIDTH)
    shapes = jax.eval_shape(network.init, jax.random.key(0), z, y)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda x: x.shape, shapes)
    expected = network.apply({"params": params}, z, y)
    actual = objectives.critic_scores(params, z, y)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_first_parameters_are_uniform_by_the_fan_in_of_their_layer(params):
    """The extremes and the variance of U(±1/√n) in each array."""
    for layer, name, fan_in in (
        ("from_z", "kernel", Z),
        ("from_z", "bias", Z),
        ("from_y", "kernel", Y),
        ("score", "kernel", WIDTH),
    ):
        values = np.asarray(params[layer][name]) * fan_in**0.5
        assert 0.98 < np.abs(values).max() <= 1
        assert abs(np.var(values) - 1 / 3) < 0.05, (layer, name)
    other = objectives.init_critic(jax.random.key(0), Z, Y)
    assert other["score"]["kernel"].shape == (128, 1)


def test_scores_are_wide_for_narrow_representations(params, pairs):
    z, y = (jnp.asarray(part, jnp.bfloat16) for part in pairs)
    assert objectives.critic_scores(params, z, y).dtype == jnp.float32


def test_wrong_widths_are_named(params, pairs):
    z, y = pairs
    with pytest.raises(ValueError, match=r"`z` must have 5 .*\(7, 3\)"):
        objectives.critic_scores(params, y, y)
    with pytest.raises(ValueError, match=r"`y` must have 3 .*\(\)"):
        objectives.critic_scores(params, z, jnp.float32(1))
    with pytest.raises(ValueError, match="`y_width` must be at least 1; found 0"):
        objectives.init_critic(jax.random.key(0), 3, 0)
