"""Values and derivatives where a norm, a probability or a share is 0 or very small."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import objectives
from mtra_jax.objectives import perturbation


@pytest.mark.parametrize("size", [1e-25, 1e-20, 1.0])
def test_a_device_without_rows_changes_no_share(size):
    task = size * jnp.ones((2, 2, 3)).at[1].set(0)
    where = jnp.array([[True, True], [False, False]])
    share = functools.partial(objectives.pull_share, axis_name="devices")
    shares = jax.vmap(share, axis_name="devices")(task, 4 * task, where)
    np.testing.assert_allclose(shares, [0.25, 0.25], rtol=1e-6)
    # Each device has a row: √(1² + 7²) / √(8² + 9²).
    task, bound = (size * jnp.array(x)[:, None, None] for x in ([1.0, 7], [8.0, 9]))
    shares = jax.vmap(share, axis_name="devices")(task, bound)
    np.testing.assert_allclose(shares, [(50 / 145) ** 0.5] * 2, rtol=1e-6)


def test_sums_of_narrow_gradients_do_not_overflow():
    """The gradients of both passes are 40,000, half precision ends at 65,504."""
    step = objectives.aligned_value_and_grad(
        lambda p: jnp.sum(p.astype(jnp.float32)) * 4e4,
        epsilon=0.1,
        select=lambda _: True,
    )
    (_, aligned), gradient = step(jnp.ones(2, jnp.float16))
    total = aligned.loss + aligned.perturbed_loss
    assert gradient.dtype == jnp.float16
    np.testing.assert_allclose(gradient, [8e4 / total] * 2, rtol=1e-3)


def test_a_norm_of_zero_has_the_derivative_zero():
    def length(g):
        return perturbation.global_norm({"a": g})

    np.testing.assert_array_equal(jax.grad(length)(jnp.zeros(3)), 0)
    expected = np.array([3.0, 0, 4.0]) / 5
    actual = jax.grad(length)(jnp.array([3.0, 0, 4.0]))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def first(g):
        return objectives.fgm_perturbation(g, 1.0)[0]

    np.testing.assert_array_equal(jax.grad(first)(jnp.zeros(2)), 0)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_outputs_and_targets_of_other_tasks_reach_neither_value_nor_gradient(odd):
    columns = jnp.array([[True, True, False]])
    values, targets = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[1.0, 0.0, 0.0]])
    for terms in (
        objectives.cross_entropy_terms,
        objectives.binary_cross_entropy_terms,
        objectives.squared_error_terms,
    ):

        def total(values, targets, terms=terms):
            return jnp.sum(terms(values, targets, columns))

        expected = jax.value_and_grad(total)(values, targets)
        assert np.isfinite(expected[0])
        for own, other in (
            (values, targets.at[0, 2].set(odd)),
            (values.at[0, 2].set(odd), targets),
        ):
            actual = jax.value_and_grad(total)(own, other)
            jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("prior", [-180.0, -400.0, 400.0])
def test_equal_means_have_no_divergence_whatever_the_prior(prior):
    kl = objectives.gaussian_kl_terms
    value, slopes = jax.value_and_grad(kl, (0, 1, 2, 3))(1.0, prior, 1.0, prior)
    assert value == 0
    np.testing.assert_array_equal(slopes, 0)


def test_a_prior_of_tiny_variance_has_the_divergence_of_its_deviations():
    """exp(100) overflows float32, the deviation of exp(-50) does not underflow."""
    kl = objectives.gaussian_kl_terms
    np.testing.assert_array_equal(kl(jnp.ones(1), -100.0, jnp.ones(1), -100.0), 0)
    mean = jnp.array([1.0 + 1e-6])  # rounded to a multiple of 2^-23
    difference = float(mean[0]) - 1
    expected = 0.5 * (np.exp(100.0) * difference**2)
    actual = kl(mean, -100.0, 1.0, -100.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    slope = jax.grad(lambda m: kl(m, -100.0, 1.0, -100.0))(jnp.float32(1))
    assert slope == 0


def test_the_mean_of_exponentials_of_minus_infinity_has_the_derivative_zero():
    values = jnp.array([-jnp.inf, -jnp.inf])
    assert objectives.log_mean_exp(values) == -jnp.inf
    np.testing.assert_array_equal(jax.grad(objectives.log_mean_exp)(values), 0)
    assert jnp.isnan(objectives.log_mean_exp(jnp.array([jnp.nan, 0.0])))


@pytest.mark.parametrize("number", [1.5, np.float32(1.5), np.float64(-0.1)])
def test_numbers_of_numpy_are_checked_too(number):
    with pytest.raises(ValueError, match="`smoothing` must be in"):
        objectives.cross_entropy(jnp.zeros((1, 3)), jnp.eye(3)[:1], smoothing=number)


def test_the_tasks_that_are_present_may_be_a_list_of_booleans():
    step = objectives.aligned_tasks_value_and_grad(
        lambda p: p**2, epsilon=0.1, select=lambda _: True
    )
    params = jnp.array([2.0, 5.0])
    results = [step(params, p) for p in ([True, False], jnp.array([True, False]))]
    jax.tree.map(np.testing.assert_array_equal, *results)
    with pytest.raises(TypeError, match="`present` must be boolean; found int32"):
        step(params, jnp.array([1, 0]))
    with pytest.raises(ValueError, match=r"`present` must have shape \(2,\)"):
        step(params, [True])
