"""The written backward pass of layer normalisation against derivatives in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.models.norm import Norm, normalise

EPSILON = 1e-5


def textbook(x, scale, bias):
    """Ba et al. 2016, Eq. 3-4, as it stands."""
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + EPSILON) * scale + bias


def arrays(dtype=np.float64):
    rng = np.random.default_rng(0)
    x = (3 * rng.standard_normal((4, 5, 16)) + 2).astype(dtype)
    x[0, 0] = 1.5  # no variance: only epsilon is left under the root
    scale, bias = 1 + 0.3 * rng.standard_normal((2, 16))
    return x, scale, bias, rng.standard_normal(x.shape)


def gradients(function, x, scale, bias, cotangent):
    out, backward = jax.vjp(function, x, scale, bias)
    return out, *backward(cotangent.astype(out.dtype))


def test_values_and_gradients_equal_those_of_the_formula_in_float64():
    with jax.enable_x64(True):
        given = tuple(map(jnp.asarray, arrays()))
        actual = jax.jit(
            functools.partial(gradients, lambda *a: normalise(*a, EPSILON, jnp.float64))
        )(*given)
        expected = gradients(textbook, *given)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("stores_input", [False, True])
def test_bfloat16_states_have_gradients_near_those_of_float64(stores_input):
    x, scale, bias, cotangent = arrays()
    x = jnp.asarray(x, jnp.bfloat16)
    cotangent = jnp.asarray(cotangent, jnp.bfloat16)
    params = {"scale": jnp.float32(scale), "bias": jnp.float32(bias)}

    def apply(x, scale, bias):
        variables = {"params": {"scale": scale, "bias": bias}}
        return Norm(EPSILON, jnp.bfloat16, stores_input).apply(variables, x)

    actual = gradients(apply, x, params["scale"], params["bias"], cotangent)
    assert [a.dtype for a in actual] == ["bfloat16", "bfloat16", "float32", "float32"]
    with jax.enable_x64(True):
        wide = (np.float64(a) for a in (x, params["scale"], params["bias"], cotangent))
        expected = gradients(textbook, *map(jnp.asarray, wide))
    out, to_x, to_scale, to_bias = zip(actual, expected, strict=True)
    for narrow, exact in (out, to_x):
        # One rounding to 8 bits; the row without variance has entries near 1 / sqrt(eps).
        np.testing.assert_allclose(np.float64(narrow), exact, rtol=2**-8, atol=2**-8)
    for narrow, exact in (to_scale, to_bias):
        np.testing.assert_allclose(narrow, exact, rtol=1e-5, atol=1e-5)
