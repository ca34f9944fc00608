"""The FGM step: its length over the whole pytree, its direction, and when it is zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import objectives

# Compiled: operation by operation would take ten times as long.
step = jax.jit(objectives.fgm_perturbation)


def global_norm(tree):
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)]
    # A scale first: squares of 1e-200 are 0 in float64, too.
    flat = np.concatenate(leaves)
    scale = np.abs(flat).max(initial=0.0)
    return scale * np.linalg.norm(flat / scale) if scale else 0.0


def gradient_tree(rng):
    return {
        "words": rng.normal(size=(7, 3)),
        "rest": [rng.normal(size=4), np.float64(rng.normal())],
    }


def is_zero(tree):
    return all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("epsilon", [1e-3, 1.0, 25.0])
def test_global_norm_is_epsilon(rng, x64, epsilon):
    delta = step(gradient_tree(rng), epsilon)
    np.testing.assert_allclose(global_norm(delta), epsilon, rtol=1e-12)


def test_points_along_the_gradient(rng, x64):
    """Ascent: one positive multiple for all leaves, not a norm for each."""
    gradient = gradient_tree(rng)
    delta = step(gradient, 0.5)
    assert jax.tree.structure(delta) == jax.tree.structure(gradient)
    factor = 0.5 / global_norm(gradient)
    for moved, leaf in zip(
        jax.tree.leaves(delta), jax.tree.leaves(gradient), strict=True
    ):
        assert moved.shape == np.shape(leaf)
        assert moved.dtype == jnp.float64
        np.testing.assert_allclose(moved, factor * leaf, rtol=1e-13)


def test_three_four_five(x64):
    delta = step({"a": np.array([3.0]), "b": np.array(-4.0)}, 10)
    np.testing.assert_allclose(delta["a"], [6], rtol=1e-15)
    np.testing.assert_allclose(delta["b"], -8, rtol=1e-15)


def test_epsilon_zero_gives_zeros(rng, x64):
    delta = step(gradient_tree(rng), 0.0)
    assert is_zero(delta)


@pytest.mark.parametrize("spoiled", [0.0, np.nan, np.inf, -np.inf])
def test_zero_where_the_norm_is_zero_or_not_finite(spoiled):
    """One spoiled entry makes all leaves zero; an all-zero gradient has no direction."""
    rest = jnp.ones(3) if spoiled else jnp.zeros(3)
    gradient = {"a": rest, "b": jnp.array([[0.0, spoiled]])}
    delta = step(gradient, 0.1)
    assert jax.tree.map(jnp.shape, delta) == jax.tree.map(jnp.shape, gradient)
    assert is_zero(delta)


@pytest.mark.parametrize("size", [1e-36, 1e-30, 1e-20, 1e-10, 1e10, 1e18, 1e30, 1e36])
def test_sizes_whose_squares_leave_float32(size):
    """The norm itself is a float32 number, neither 0 nor infinite: length epsilon."""
    gradient = {"a": jnp.array([3 * size, 0.0]), "b": jnp.array(-4 * size)}
    delta = step(gradient, 0.5)
    np.testing.assert_allclose(delta["a"], [0.3, 0], rtol=1e-5)
    np.testing.assert_allclose(delta["b"], -0.4, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norm_is_computed_in_float32(dtype):
    """600 squared, and the sum of many squares, are beyond float16."""
    gradient = {"a": jnp.full((2000,), 600, dtype)}
    delta = step(gradient, 2.0)
    np.testing.assert_allclose(
        np.asarray(delta["a"], np.float64), 2 / np.sqrt(2000), rtol=2.0**-8
    )


def test_none_leaves_stay_none():
    gradient = {"a": None, "b": jnp.array([3.0, 4.0]), "c": {"d": None}}
    delta = objectives.fgm_perturbation(gradient, 1.0)
    assert delta["a"] is None
    assert delta["c"] == {"d": None}
    np.testing.assert_allclose(delta["b"], [0.6, 0.8], rtol=1e-6)


def test_a_bare_array_is_a_pytree():
    delta = step(jnp.array([3.0, 4.0]), 5.0)
    np.testing.assert_allclose(delta, [3, 4], rtol=1e-6)


def test_traced_epsilon(rng, x64):
    gradient = gradient_tree(rng)
    for epsilon in (0.0, 0.1, 3.0):
        delta = step(gradient, jnp.asarray(epsilon))
        np.testing.assert_allclose(global_norm(delta), epsilon, rtol=1e-12)


def test_vmap_takes_one_norm_for_each(rng, x64):
    gradients = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=3)}
    gradients["a"][1] = gradients["b"][1] = 0
    deltas = jax.jit(jax.vmap(objectives.fgm_perturbation, (0, None)))(gradients, 0.1)
    for i, expected in enumerate((0.1, 0.0, 0.1)):
        norm = global_norm(jax.tree.map(lambda leaf, i=i: leaf[i], deltas))
        np.testing.assert_allclose(norm, expected, rtol=1e-12)


@pytest.mark.parametrize("epsilon", [-1, -1e-9])
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_epsilon_must_not_be_negative(epsilon, jitted):
    def perturb(gradient):
        return objectives.fgm_perturbation(gradient, epsilon)

    with pytest.raises(ValueError, match=str(epsilon)):
        (jax.jit(perturb) if jitted else perturb)({"a": jnp.ones(2)})
