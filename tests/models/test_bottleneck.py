"""The Gaussian of each representation beside NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.models import bottleneck

HIDDEN, WIDTH = 5, 3
NETWORK = bottleneck.Bottleneck(WIDTH)
apply = jax.jit(NETWORK.apply)


def draw(batch=7):
    rng = np.random.default_rng(0)
    layers = {
        name: {"kernel": rng.normal(size=(HIDDEN, WIDTH)), "bias": rng.normal(size=3)}
        for name in ("mean", "log_variance")
    }
    return layers, rng.normal(size=(batch, HIDDEN))


def test_mean_and_log_variance_are_linear_in_z():
    layers, z = draw()
    with jax.enable_x64(True):
        actual = apply({"params": layers}, z)
    for name, values in zip(("mean", "log_variance"), actual, strict=True):
        assert values.dtype == np.float64
        expected = z @ layers[name]["kernel"] + layers[name]["bias"]
        np.testing.assert_allclose(values, expected, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_layers_compute_in_float32_whatever_the_encoder_gives(dtype):
    layers, z = draw()
    z = jnp.asarray(z, dtype)
    actual = apply({"params": jax.tree.map(jnp.float32, layers)}, z)
    exact = np.asarray(z, np.float64)
    for name, values in zip(("mean", "log_variance"), actual, strict=True):
        assert values.dtype == np.float32
        expected = exact @ layers[name]["kernel"] + layers[name]["bias"]
        # Five products and a sum, and rounded parameters: no trace of bfloat16's 4e-3.
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_the_noise_is_small_to_begin_with():
    """A standard deviation of 0.08 at z = 0, whose mean is 0."""
    z = jnp.zeros((1, 256))
    params = jax.jit(bottleneck.Bottleneck(64).init)(jax.random.key(0), z)["params"]
    shapes = jax.tree.map(jnp.shape, params)
    layer = {"kernel": (256, 64), "bias": (64,)}
    assert shapes == {"mean": layer, "log_variance": layer}
    np.testing.assert_array_equal(params["mean"]["bias"], np.zeros(64))
    np.testing.assert_array_equal(params["log_variance"]["bias"], np.full(64, -5.0))
    kernels = [params[name]["kernel"] for name in params]
    for kernel in kernels:
        # 16384 draws: four standard errors of their mean and of their spread.
        assert abs(np.mean(kernel)) < 4 / 16 / 128
        np.testing.assert_allclose(np.std(kernel), 1 / 16, rtol=4 / 128 / np.sqrt(2))
    assert not np.allclose(*kernels)
