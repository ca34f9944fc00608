"""Heads of all tasks beside NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors

from mtra_jax.models import heads

# In an order that is not alphabetic: Flax keeps parameters by name.
TASKS = (("stance", 3), ("emobank", 2), ("irony", 1))
HIDDEN = 5


def draw(batch=7, seed=0):
    rng = np.random.default_rng(seed)
    params = {
        name: {"kernel": rng.normal(size=(HIDDEN, d)), "bias": rng.normal(size=d)}
        for name, d in TASKS
    }
    return params, rng.normal(size=(batch, HIDDEN))


def expected_outputs(params, z):
    """Task after task in the order of the joint space."""
    columns = [
        np.maximum(z, 0) @ params[name]["kernel"] + params[name]["bias"]
        for name, _ in TASKS
    ]
    return np.concatenate(columns, axis=1)


def apply(params, z, dropout=0.0, rng=None):
    return heads.Heads(TASKS, dropout).apply(
        {"params": params},
        z,
        deterministic=rng is None,
        rngs={} if rng is None else {"dropout": rng},
    )


def test_outputs_lie_side_by_side_in_the_order_of_the_tasks():
    params, z = draw()
    assert (z < 0).any(axis=0).all()
    with jax.enable_x64(True):
        result = apply(params, z)
    np.testing.assert_allclose(result, expected_outputs(params, z), rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_outputs_are_in_float32_whatever_the_encoder_gives(dtype):
    params, z = draw()
    z = jnp.asarray(z, dtype)
    actual = apply(jax.tree.map(jnp.float32, params), z)
    assert actual.dtype == jnp.float32
    expected = expected_outputs(params, np.asarray(z, np.float64))
    # Five products and a sum, and rounded parameters: no trace of bfloat16's 4e-3.
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_dropout_keeps_and_scales_what_relu_lets_through():
    """With kernels that copy z, each output is 0 or relu(z) / (1 - p)."""
    eye = np.eye(6, dtype=np.float32)
    params, start = {}, 0
    for name, size in TASKS:
        kernel = eye[:, start : start + size]
        params[name] = {"kernel": kernel, "bias": np.zeros(size, np.float32)}
        start += size
    z = np.random.default_rng(1).normal(size=(2000, 6)).astype(np.float32)
    result = np.asarray(apply(params, z, dropout=0.2, rng=jax.random.key(0)))
    positive = np.maximum(z, 0)
    is_kept = result != 0
    np.testing.assert_allclose(result[is_kept], positive[is_kept] / 0.8, rtol=1e-6)
    assert not result[z <= 0].any()
    # About 6000 draws: the share of the kept has a deviation of 0.005.
    assert abs(is_kept[z > 0].mean() - 0.8) < 0.025


def test_dropout_follows_its_key_and_rests_in_evaluation():
    params, z = jax.tree.map(np.float32, draw(batch=50))
    first = apply(params, z, dropout=0.5, rng=jax.random.key(0))
    again = apply(params, z, dropout=0.5, rng=jax.random.key(0))
    other = apply(params, z, dropout=0.5, rng=jax.random.key(1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    expected = expected_outputs(params, z)
    actual = apply(params, z, dropout=0.5)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_dropout_needs_a_key_in_training():
    params, z = draw()
    with pytest.raises(errors.InvalidRngError):
        heads.Heads(TASKS, 0.5).apply({"params": params}, z, deterministic=False)


def test_new_heads_are_separate_and_small():
    width = 400
    z = jnp.zeros((1, width))
    init = jax.jit(lambda rng: heads.Heads(TASKS).init(rng, z, deterministic=True))
    params = init(jax.random.key(0))["params"]
    shapes = {
        name: (layer["kernel"].shape, layer["bias"].shape)
        for name, layer in params.items()
    }
    assert shapes == {name: ((width, d), (d,)) for name, d in TASKS}
    for layer in params.values():
        assert not np.any(layer["bias"])
        # At least 400 draws: their standard deviation has a standard error of 3.5 %.
        np.testing.assert_allclose(np.std(layer["kernel"]), 0.02, rtol=0.15)
    columns = np.concatenate([params[name]["kernel"] for name, _ in TASKS], axis=1)
    assert len(np.unique(columns[0])) == 6
