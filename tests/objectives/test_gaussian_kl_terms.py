"""The KL divergence of two Gaussians against its closed form and its integral."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from mtra_jax import objectives

# Compiled: operation by operation would take ten times as long.
kl_terms = jax.jit(objectives.gaussian_kl_terms)


@jax.jit
def gradients(*moments):
    """By mean, log-variance, prior mean and prior log-variance."""
    return jax.grad(lambda *args: jnp.sum(kl_terms(*args)), (0, 1, 2, 3))(*moments)


def closed_form(mean, log_variance, prior_mean=0.0, prior_log_variance=0.0):
    """log(σ_p/σ) + (σ² + (m − p)²) / (2 σ_p²) − 1/2, in standard deviations."""
    scale, prior_scale = np.exp(log_variance / 2), np.exp(prior_log_variance / 2)
    ratio = (scale**2 + (mean - prior_mean) ** 2) / (2 * prior_scale**2)
    return np.log(prior_scale / scale) + ratio - 0.5


def draw(rng, shape=(40,)):
    mean, prior_mean = 2 * rng.normal(size=(2, *shape))
    log_variance, prior_log_variance = rng.uniform(-4, 4, size=(2, *shape))
    return mean, log_variance, prior_mean, prior_log_variance


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_narrow_moments_are_widened(dtype):
    """exp(12) is beyond float16."""
    moments = [jnp.full(1, x, dtype) for x in (0.0, -12.0, 1.0, -12.0)]
    terms = kl_terms(*moments)
    assert terms.dtype == jnp.float32
    np.testing.assert_allclose(terms, np.exp(12) / 2, rtol=1e-6)


def test_terms_are_those_of_the_closed_form(x64, rng):
    moments = draw(rng)
    actual = kl_terms(*moments)
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, closed_form(*moments), rtol=1e-11)


def test_the_prior_is_standard_normal_unless_given(x64, rng):
    mean, log_variance, *_ = draw(rng)
    expected = closed_form(mean, log_variance)
    np.testing.assert_allclose(kl_terms(mean, log_variance), expected, rtol=1e-11)


@pytest.mark.parametrize(
    "moments",
    [(0.0, 0.0, 0.0, 0.0), (1.0, -2.0, -0.5, 1.0), (-3.0, 1.5, 0.0, -0.5)],
    ids=["equal", "narrower", "wider"],
)
def test_a_term_is_the_mean_of_the_log_ratio_of_the_densities(moments, x64):
    mean, log_variance, prior_mean, prior_log_variance = moments
    ours = stats.norm(mean, np.exp(log_variance / 2))
    prior = stats.norm(prior_mean, np.exp(prior_log_variance / 2))

    def integrand(x):
        return ours.pdf(x) * (ours.logpdf(x) - prior.logpdf(x))

    # Beyond twelve standard deviations lies less than 1e-30 of the density.
    ends = mean + 12 * np.exp(log_variance / 2) * np.array([-1, 1])
    expected, _ = integrate.quad(integrand, *ends, epsabs=1e-12, epsrel=1e-12)
    np.testing.assert_allclose(kl_terms(*moments), expected, rtol=1e-10, atol=1e-12)


def test_posterior_and_prior_are_not_exchanged(x64):
    """KL(N(1, 4) ‖ N(3, 9)) = log(3/2) + (4 + 4)/18 − 1/2, and not the other way."""
    actual = kl_terms(1.0, np.log(4.0), 3.0, np.log(9.0))
    np.testing.assert_allclose(actual, np.log(1.5) + 8 / 18 - 0.5, rtol=1e-14)
    other = kl_terms(3.0, np.log(9.0), 1.0, np.log(4.0))
    np.testing.assert_allclose(other, np.log(2 / 3) + 13 / 8 - 0.5, rtol=1e-14)


def test_gradients_are_the_derivatives_of_the_closed_form(x64, rng):
    moments = draw(rng)
    mean, log_variance, prior_mean, prior_log_variance = moments
    away = (mean - prior_mean) * np.exp(-prior_log_variance)
    ratio = np.exp(log_variance - prior_log_variance)
    expected = (
        away,
        (ratio - 1) / 2,
        -away,
        (1 - ratio - away * (mean - prior_mean)) / 2,
    )
    for actual, wanted in zip(gradients(*moments), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-11)


def test_equal_gaussians_are_zero_with_gradient_zero(x64, rng):
    mean, log_variance, *_ = draw(rng)
    moments = mean, log_variance, mean, log_variance
    assert not np.any(kl_terms(*moments))
    for gradient in gradients(*moments):
        assert not np.any(gradient)


def test_shapes_broadcast(x64, rng):
    """Texts [B, 1, D] against the priors of tasks [T, D], and a variance for all."""
    mean, prior_mean = rng.normal(size=(3, 1, 4)), rng.normal(size=(2, 4))
    log_variance, prior_log_variance = np.array(-1.0), rng.normal(size=(2, 1))
    moments = mean, log_variance, prior_mean, prior_log_variance
    actual = kl_terms(*moments)
    assert actual.shape == (3, 2, 4)
    for text, task, column in np.ndindex(3, 2, 4):
        expected = closed_form(
            mean[text, 0, column],
            -1.0,
            prior_mean[task, column],
            prior_log_variance[task, 0],
        )
        np.testing.assert_allclose(actual[text, task, column], expected, rtol=1e-11)
    # The gradient of a broadcast argument is a sum over its copies.
    ratio = np.exp(-1.0 - prior_log_variance)
    by_variance = np.broadcast_to((ratio - 1) / 2, (3, 2, 4)).sum()
    np.testing.assert_allclose(gradients(*moments)[1], by_variance, rtol=1e-11)


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ((0.0, -1e4), (1e4 - 1) / 2),
        ((0.0, 80.0), (np.exp(80.0) - 81) / 2),
        ((1e6, 0.0), 5e11),
        ((3.0, -40.0, 1.0, -40.0), 2 * np.exp(40.0)),
        ((3.0, 0.0, 1.0, 80.0), (80 - 1) / 2),
        ((0.0, 200.0, 0.0, 200.0), 0.0),
    ],
    ids=["no_noise", "noise", "far", "far_for_the_prior", "wide_prior", "both_wide"],
)
def test_extreme_moments_are_finite(moments, expected):
    """In float32; a log-variance of 200 is beyond its variances."""
    moments = tuple(map(np.float32, (*moments, 0.0, 0.0)[:4]))
    actual = kl_terms(*moments)
    assert actual.dtype == np.float32
    # One rounding of the exponential's argument is up to 80 roundings of its value.
    np.testing.assert_allclose(actual, expected, rtol=80 * 2**-23)
    for gradient in gradients(*moments):
        assert np.isfinite(gradient)


def test_small_differences_keep_their_digits():
    """About d²/4 for log-variances that differ by d: 1 − 1 must not take it away."""
    differences = np.float32([-1e-2, -1e-3, 1e-3, 1e-2])
    exact = differences.astype(np.float64)
    expected = (np.expm1(exact) - exact) / 2
    actual = kl_terms(np.zeros(4, np.float32), differences)
    # Two units in the last place of d, halved; exp(d) − 1 − d has those of 1.
    assert np.all(np.abs(actual - expected) < np.spacing(np.abs(differences)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_terms_are_in_float32_at_least(dtype):
    mean = jnp.asarray([0.5, -1.25], dtype)
    actual = kl_terms(mean, jnp.zeros(2, dtype))
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, [0.125, 0.78125], rtol=1e-6)
