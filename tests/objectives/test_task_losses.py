"""Cross-entropies, squared error and the Gaussian divergence at values worked by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import objectives

# Compiled: operation by operation would take ten times as long.
cross_entropy = jax.jit(objectives.cross_entropy)
mean_squared_error = jax.jit(objectives.mean_squared_error)
gaussian_kl = jax.jit(objectives.gaussian_kl)


@functools.cache
def value_and_grad(function, argnums=0):
    return jax.jit(jax.value_and_grad(function, argnums))


def test_cross_entropy_of_equal_logits_is_log_of_classes(x64):
    targets = np.eye(5)[[0, 3, 4]]
    value = cross_entropy(np.full((3, 5), 7.0), targets)
    np.testing.assert_allclose(value, np.log(5), rtol=1e-15)


def test_cross_entropy_of_two_classes(x64):
    """log(1 + e^-2) for the right class, and 2 more for the wrong one."""
    logits = np.array([[2.0, 0.0], [2.0, 0.0]])
    value = cross_entropy(logits, np.eye(2))
    np.testing.assert_allclose(value, np.log1p(np.exp(-2)) + 1, rtol=1e-15)


def test_cross_entropy_gradient_is_softmax_minus_target(x64):
    logits = np.log(np.array([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]]))
    targets = np.array([[1.0, 0, 0], [0, 0, 1.0]])
    _, gradient = value_and_grad(objectives.cross_entropy)(logits, targets)
    expected = np.array([[1 / 8 - 1, 2 / 8, 5 / 8], [3 / 8, 3 / 8, 2 / 8 - 1]]) / 2
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


def test_cross_entropy_ignores_a_shift_of_the_logits(x64):
    logits = np.array([[0.5, -1.0, 2.0]])
    targets = np.array([[0.0, 1.0, 0.0]])
    np.testing.assert_allclose(
        cross_entropy(logits + 1e4, targets),
        cross_entropy(logits, targets),
        rtol=1e-11,  # 1e4 carries 1e-12
    )


@pytest.mark.parametrize("size", [500.0, 1e4, 1e30])
def test_cross_entropy_of_extreme_logits_is_finite(size):
    logits = jnp.array([[size, -size], [size, -size]], jnp.float32)
    value, gradient = value_and_grad(objectives.cross_entropy)(logits, jnp.eye(2))
    np.testing.assert_allclose(value, size, rtol=1e-6)  # (0 + 2 size) / 2
    np.testing.assert_allclose(gradient, [[0, 0], [0.5, -0.5]], atol=1e-7)


def test_cross_entropy_of_one_class_is_zero():
    assert cross_entropy(jnp.array([[3.0], [-2.0]]), jnp.ones((2, 1))) == 0


def test_binary_cross_entropy_of_one_label(x64):
    """log(1 + e^-2) for the right answer, and 2 more for the wrong one."""
    value, gradient = value_and_grad(objectives.binary_cross_entropy)(
        np.array([[2.0, 2.0]]), np.array([[1.0, 0.0]])
    )
    np.testing.assert_allclose(value, np.log1p(np.exp(-2)) + 1, rtol=1e-15)
    share = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(gradient, [[(share - 1) / 2, share / 2]], rtol=1e-14)


@pytest.mark.parametrize("size", [500.0, 1e4, 1e30])
def test_binary_cross_entropy_of_extreme_logits_is_finite(size):
    logits = jnp.array([[size, -size], [size, -size]], jnp.float32)
    targets = jnp.array([[1.0, 0], [0, 1.0]])
    value, gradient = value_and_grad(objectives.binary_cross_entropy)(logits, targets)
    np.testing.assert_allclose(value, size / 2, rtol=1e-6)  # (0 + 0 + 2 size) / 4
    np.testing.assert_allclose(gradient, [[0, 0], [0.25, -0.25]], atol=1e-7)


def test_infinite_logits_of_certain_labels_cost_nothing():
    logits = jnp.array([[jnp.inf, -jnp.inf]])
    value, slope = jax.value_and_grad(objectives.binary_cross_entropy)(
        logits, jnp.array([[1.0, 0.0]])
    )
    assert value == 0
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_binary_cross_entropy_by_its_targets(x64, target):
    """The derivative of −t log σ(x) − (1 − t) log(1 − σ(x)) by t is −x, at its ends too."""
    slope = jax.grad(objectives.binary_cross_entropy, 1)(
        jnp.array([[2.0]]), jnp.array([[target]])
    )
    np.testing.assert_allclose(slope, -2, rtol=1e-12)


def test_masked_classes_have_no_share_beside_very_low_logits():
    columns = jnp.array([[True, True, False]])
    logits, targets = jnp.full((1, 3), -2e30), jnp.array([[1.0, 0.0, 0.0]])
    terms = objectives.cross_entropy_terms(logits, targets, columns)
    np.testing.assert_allclose(terms, np.log(2), rtol=1e-6)


def test_binary_cross_entropy_of_a_confident_right_answer_keeps_its_digits():
    """log(1 + e^-50) is far below the precision of 50."""
    value = objectives.binary_cross_entropy(jnp.array([[50.0]]), jnp.ones((1, 1)))
    np.testing.assert_allclose(value, np.exp(-50), rtol=1e-5)


@pytest.mark.parametrize(
    "function", [objectives.cross_entropy, objectives.cross_entropy_terms]
)
def test_ids_of_classes_are_refused_with_the_way_to_one_hot(function):
    logits, ids = jnp.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]), jnp.array([2, 1])
    with pytest.raises(ValueError, match=r"jax\.nn\.one_hot\(ids, C\).*\(2,\)"):
        function(logits, ids)
    expected = np.log([1 + np.exp(-1) + np.exp(-2), 2 + np.exp(3)])
    np.testing.assert_allclose(
        function(logits, jax.nn.one_hot(ids, 3)),
        expected.mean() if function is objectives.cross_entropy else expected,
        rtol=1e-6,
    )


def test_weights_of_another_number_of_classes_name_the_shapes():
    with pytest.raises(ValueError, match=r"`weights`.*\(4,\); found \(3,\)"):
        objectives.cross_entropy(jnp.zeros((3, 4)), jnp.eye(4)[:3], weights=jnp.ones(3))


def test_a_ratio_without_a_weight_is_zero():
    value, gradient = jax.value_and_grad(objectives.masked_ratio)(
        jnp.array([1.0, 2.0]), jnp.zeros(2)
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_mean_squared_error_averages_rows_and_dimensions(x64):
    outputs = np.array([[1.0, 2.0], [3.0, 4.0]])
    value, gradient = value_and_grad(objectives.mean_squared_error)(
        outputs, np.array([[0.0, 2.0], [3.0, 1.0]])
    )
    assert value == (1 + 9) / 4
    np.testing.assert_array_equal(gradient, np.array([[2, 0], [0, 6]]) / 4)


def test_mean_squared_error_counts_valid_rows_times_dimensions(x64):
    outputs = np.array([[1.0, 2.0, 2.0], [9.0, 9.0, 9.0]])
    value = mean_squared_error(outputs, np.zeros((2, 3)), where=np.array([True, False]))
    assert value == 3


def test_mean_squared_error_in_float16_does_not_overflow():
    """The square of 300 is beyond float16."""
    outputs = jnp.full((2, 1), 300, jnp.float16)
    assert mean_squared_error(outputs, jnp.zeros_like(outputs)) == 90000


def test_gaussian_kl_of_the_standard_normal_is_zero(x64):
    value, gradients = value_and_grad(objectives.gaussian_kl, (0, 1))(
        np.zeros((3, 2)), np.zeros((3, 2))
    )
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


def test_gaussian_kl_of_one_dimension(x64):
    """KL(N(3, 4) || N(0, 1)) = (4 + 9 - 1 - log 4) / 2."""
    value = gaussian_kl(np.array([[3.0]]), np.log(np.array([[4.0]])))
    np.testing.assert_allclose(value, (12 - np.log(4)) / 2, rtol=1e-15)


def test_gaussian_kl_equals_quadrature(x64):
    """The integral of p log(p / q) by the trapezium rule, exact for smooth tails."""
    mean, log_variance = 0.7, -0.9
    x = np.linspace(-12, 12, 4001)
    log_p = -((x - mean) ** 2) / np.exp(log_variance) / 2
    log_p -= (np.log(2 * np.pi) + log_variance) / 2
    log_q = -(x**2) / 2 - np.log(2 * np.pi) / 2
    expected = np.trapezoid(np.exp(log_p) * (log_p - log_q), x)
    value = gaussian_kl(np.array([[mean]]), np.array([[log_variance]]))
    np.testing.assert_allclose(value, expected, rtol=1e-10)


@pytest.mark.parametrize("log_variance", [-500.0, -1e4])
def test_gaussian_kl_of_vanishing_variance_is_finite(log_variance):
    value, gradient = value_and_grad(objectives.gaussian_kl, 1)(
        jnp.zeros((1, 1)), jnp.full((1, 1), log_variance)
    )
    np.testing.assert_allclose(value, (-log_variance - 1) / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.5]], rtol=1e-6)


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize(
    "function",
    [
        objectives.cross_entropy,
        objectives.mean_squared_error,
        objectives.gaussian_kl,
    ],
    ids=lambda function: function.__name__,
)
def test_unequal_widths_name_both_shapes(function, jitted):
    function = jax.jit(function) if jitted else function
    with pytest.raises((ValueError, TypeError)) as error:
        function(jnp.zeros((3, 4)), jnp.zeros((3, 2)))
    assert "(3, 4)" in str(error.value)
    assert "(3, 2)" in str(error.value)


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_cross_entropy_of_class_indices_names_the_shape(jitted):
    function = jax.jit(objectives.cross_entropy) if jitted else objectives.cross_entropy
    with pytest.raises((ValueError, TypeError), match=r"\(3,\)"):
        function(jnp.zeros((3, 4)), jnp.array([0, 1, 3]))
