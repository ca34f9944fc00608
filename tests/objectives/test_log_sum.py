"""The logarithm that continues as its tangent, and the sum over the tasks present."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import objectives

# Compiled: operation by operation would take ten times as long.
floored_log = jax.jit(objectives.floored_log, static_argnames="floor")
slope = jax.jit(jax.vmap(jax.grad(objectives.floored_log), (0, None)))
log_sum = jax.jit(objectives.log_sum, static_argnames="floor")
log_sum_value_and_grad = jax.jit(jax.value_and_grad(objectives.log_sum))


class TestFlooredLog:
    @pytest.mark.parametrize("floor", [1e-2, 0.5, 3.0])
    def test_is_the_logarithm_above_the_floor(self, floor, x64):
        x = floor * np.array([1.0, 1.0001, 2.0, 50.0, 1e8])
        np.testing.assert_allclose(floored_log(x, floor=floor), np.log(x), rtol=1e-14)

    @pytest.mark.parametrize("floor", [1e-2, 0.5, 3.0])
    def test_is_the_tangent_below_the_floor(self, floor, x64):
        x = floor * np.array([0.999, 0.5, 0.0, -1.0, -1e8])
        np.testing.assert_allclose(
            floored_log(x, floor=floor), np.log(floor) + x / floor - 1, rtol=1e-14
        )

    def test_default_floor_is_a_hundredth(self, x64):
        value = objectives.floored_log(np.array([0.01, 0.0, -0.01]))
        expected = np.log(0.01) - np.array([0, 1, 2])
        np.testing.assert_allclose(value, expected, rtol=1e-14)

    def test_minus_a_hundred_million(self):
        value, gradient = jax.value_and_grad(objectives.floored_log)(-1e8)
        np.testing.assert_allclose(value, -1e10, rtol=1e-6)
        np.testing.assert_allclose(gradient, 100, rtol=1e-6)

    def test_gradient(self, x64):
        x = np.array([-1e8, -1.0, 0.0, 0.005, 0.01, 0.02, 4.0])
        gradient = slope(x, 0.01)
        expected = 1 / np.maximum(x, 0.01)
        np.testing.assert_allclose(gradient, expected, rtol=1e-14)

    @pytest.mark.parametrize("floor", [1e-2, 0.5, 3.0])
    def test_value_and_slope_are_continuous_at_the_floor(self, floor, x64):
        """Both sides come within the distance times the slope, times the curvature."""
        distance = 1e-9 * floor
        x = floor + np.array([-distance, 0, distance])
        values = floored_log(x, floor=floor)
        slopes = slope(x, floor)
        np.testing.assert_allclose(np.diff(values), 1e-9, rtol=1e-5)
        np.testing.assert_allclose(slopes, 1 / floor, rtol=2e-9)

    def test_gradient_equals_finite_differences(self, central_difference):
        x = np.array([-0.03, 0.0, 0.008, 0.02, 1.0, 4.0])
        expected = central_difference(
            jax.jit(lambda x: objectives.floored_log(x).sum()), x, step=1e-6
        )
        gradient = slope(x, 0.01)
        np.testing.assert_allclose(gradient, expected, rtol=1e-7)

    def test_gradient_below_the_floor_is_finite_under_jit(self):
        """log(0) in the branch not taken would make 0 times infinity."""
        gradient = jax.jit(jax.grad(objectives.floored_log))
        for x in (0.0, -0.0, -1.0, -1e30):
            np.testing.assert_allclose(gradient(x), 100, rtol=1e-6)

    def test_second_derivative_is_finite(self, x64):
        second = jax.jit(jax.vmap(jax.grad(jax.grad(objectives.floored_log))))
        x = np.array([-1.0, 0.0, 0.005, 0.02, 2.0])
        expected = np.where(x > 0.01, -1 / np.maximum(x, 0.01) ** 2, 0)
        np.testing.assert_allclose(second(x), expected, rtol=1e-13)

    def test_nan_stays_nan(self):
        """A NaN loss must stay visible, so that the step is skipped."""
        assert np.isnan(objectives.floored_log(jnp.nan))

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_reduced_precision_is_computed_in_float32(self, dtype):
        x = jnp.array([-2.0, 0.003, 0.7, 100.0], dtype)
        value = floored_log(x)
        assert value.dtype == jnp.float32
        exact = np.asarray(x, np.float64)
        expected = np.log(np.maximum(exact, 0.01)) + np.minimum(exact / 0.01 - 1, 0)
        np.testing.assert_allclose(value, expected, rtol=1e-6)

    def test_keeps_the_shape(self):
        assert objectives.floored_log(jnp.ones((2, 3))).shape == (2, 3)

    def test_traced_floor(self, x64):
        value = jax.jit(objectives.floored_log)(0.1, 0.5)
        np.testing.assert_allclose(value, np.log(0.5) + 0.2 - 1, rtol=1e-14)

    @pytest.mark.parametrize("floor", [0, 0.0, -0.25])
    @pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
    def test_floor_must_be_positive(self, floor, jitted):
        def log(x):
            return objectives.floored_log(x, floor)

        with pytest.raises(ValueError, match=str(floor)):
            (jax.jit(log) if jitted else log)(jnp.ones(2))


class TestLogSum:
    def test_sums_the_logarithms(self, x64):
        value = objectives.log_sum(np.array([2.0, 5.0, 0.1]))
        assert value.shape == ()
        np.testing.assert_allclose(value, np.log(1.0), atol=1e-15)

    def test_continues_below_the_floor(self, x64):
        value, gradient = log_sum_value_and_grad(np.array([2.0, 0.0, -1.0]), 0.5)
        expected = np.log(2) + np.log(0.5) - 1 + np.log(0.5) - 3
        np.testing.assert_allclose(value, expected, rtol=1e-14)
        np.testing.assert_allclose(gradient, [0.5, 2, 2], rtol=1e-14)

    def test_default_floor_is_a_hundredth(self, x64):
        value = log_sum(np.zeros(2))
        np.testing.assert_allclose(value, 2 * (np.log(0.01) - 1), rtol=1e-14)

    @pytest.mark.parametrize("absent", [7.0, 0.0, -1e8, np.nan, np.inf, -np.inf])
    def test_absent_tasks_count_nothing(self, absent):
        value, gradient = log_sum_value_and_grad(
            jnp.array([2.0, absent, 4.0]), where=jnp.array([True, False, True])
        )
        np.testing.assert_allclose(value, np.log(8), rtol=1e-6)
        np.testing.assert_allclose(gradient, [0.5, 0, 0.25], rtol=1e-6)
        assert gradient[1] == 0

    def test_without_a_task_the_sum_is_zero(self):
        value, gradient = log_sum_value_and_grad(
            jnp.array([jnp.nan, -3.0]), where=jnp.zeros(2, bool)
        )
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)

    def test_where_none_equals_all_true(self):
        losses = jnp.array([0.3, 0.0, 2.0])
        whole = log_sum(losses, where=jnp.ones(3, bool))
        np.testing.assert_allclose(log_sum(losses), whole, rtol=1e-6)

    def test_gradient_equals_finite_differences(self, central_difference):
        losses = np.array([0.3, -0.2, 2.0, 9.0])
        where = np.array([True, True, False, True])

        expected = central_difference(
            lambda x: log_sum(x, floor=0.1, where=where), losses, step=1e-6
        )
        _, gradient = log_sum_value_and_grad(losses, 0.1, where)
        np.testing.assert_allclose(gradient, expected, rtol=1e-8)

    def test_vmap_over_where(self, x64):
        losses = np.array([2.0, 3.0, 5.0])
        where = np.array([[True, False, True], [False, False, False]])
        values = jax.vmap(lambda w: objectives.log_sum(losses, where=w))(where)
        np.testing.assert_allclose(values, [np.log(10), 0], rtol=1e-14)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_reduced_precision_is_computed_in_float32(self, dtype):
        losses = jnp.array([0.7, 1.3, 2.9], dtype)
        value = log_sum(losses)
        assert value.dtype == jnp.float32
        expected = np.log(np.asarray(losses, np.float64)).sum()
        np.testing.assert_allclose(value, expected, rtol=1e-6)

    @pytest.mark.parametrize("floor", [0, -0.25])
    def test_floor_must_be_positive(self, floor):
        with pytest.raises(ValueError, match=str(floor)):
            objectives.log_sum(jnp.ones(2), floor)

    @pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
    def test_where_of_wrong_shape_names_both(self, jitted):
        total = jax.jit(objectives.log_sum) if jitted else objectives.log_sum
        with pytest.raises((ValueError, TypeError)) as error:
            total(jnp.ones(3), where=jnp.ones(2, bool))
        assert "(3,)" in str(error.value)
        assert "(2,)" in str(error.value)

    def test_where_of_wrong_dtype(self):
        with pytest.raises((ValueError, TypeError), match="float32"):
            objectives.log_sum(jnp.ones(3), where=jnp.ones(3))

    def test_losses_must_be_a_vector(self):
        with pytest.raises((ValueError, TypeError), match=r"\(3, 1\)"):
            objectives.log_sum(jnp.ones((3, 1)))
