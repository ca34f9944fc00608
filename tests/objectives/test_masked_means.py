"""Common properties of losses and bounds: masks, precision, gradients, transformations.

The oracles are plain NumPy float64 on the valid rows alone (conftest.py).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

WHERE = np.array([True, False, True, True, False, True, False])
GARBAGE = (np.nan, np.inf, -np.inf, 0.0, 1e38)


def draw(masked, rng):
    return masked.draw(rng, len(WHERE))


def draw_float32(masked, rng):
    a, b = draw(masked, rng)
    return a.astype(np.float32), b.astype(np.float32)


def filled(array, value, where=WHERE):
    """Copy whose padding rows hold `value`."""
    array = array.copy()
    array[~where] = value
    return array


def test_equals_numpy_float64(masked, rng, x64):
    a, b = draw(masked, rng)
    value = masked.compiled(a, b)
    assert value.shape == ()
    assert value.dtype == jnp.float64
    # A downcast anywhere would leave 1e-8.
    np.testing.assert_allclose(value, masked.oracle(a, b), rtol=1e-13)


def test_works_without_jit_on_numpy_arrays(masked, rng):
    a, b = draw_float32(masked, rng)
    value = masked.function(a, b, WHERE)
    np.testing.assert_allclose(value, masked.compiled(a, b, WHERE), rtol=1e-6)


def test_where_none_equals_all_true(masked, rng, x64):
    a, b = draw(masked, rng)
    whole = masked.compiled(a, b, np.ones_like(WHERE))
    np.testing.assert_allclose(masked.compiled(a, b), whole, rtol=1e-14)


@pytest.mark.parametrize(
    "where",
    [WHERE, ~WHERE, np.arange(len(WHERE)) == 1, np.arange(len(WHERE)) == 6],
    ids=["where", "its complement", "one row", "last row"],
)
def test_where_selects_rows(masked, rng, where, x64):
    a, b = draw(masked, rng)
    value = masked.compiled(a, b, where)
    np.testing.assert_allclose(
        value, masked.oracle(a[where], b[where]), rtol=1e-13, atol=1e-15
    )


@pytest.mark.parametrize("garbage", GARBAGE)
def test_padding_rows_change_neither_value_nor_gradient(masked, rng, garbage):
    a, b = draw_float32(masked, rng)
    clean, clean_gradients = masked.gradients(a, b, WHERE)
    value, gradients = masked.gradients(filled(a, garbage), filled(b, garbage), WHERE)
    assert value == clean
    for gradient, expected in zip(gradients, clean_gradients, strict=True):
        np.testing.assert_array_equal(gradient, expected)
        np.testing.assert_array_equal(gradient[~WHERE], 0)
        assert np.any(gradient[WHERE] != 0)


@pytest.mark.parametrize("garbage", [1.0, *GARBAGE])
def test_without_a_valid_row_value_and_gradient_are_zero(masked, rng, garbage):
    a, b = draw_float32(masked, rng)
    nothing = np.zeros_like(WHERE)
    a, b = filled(a, garbage, nothing), filled(b, garbage, nothing)
    value, gradients = masked.gradients(a, b, nothing)
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


def test_gradient_equals_finite_differences(masked, rng, central_difference):
    a, b = draw(masked, rng)
    _, gradients = masked.gradients(a, b, WHERE)
    expected = (
        central_difference(lambda x: masked.compiled(x, b, WHERE), a),
        central_difference(lambda x: masked.compiled(a, x, WHERE), b),
    )
    for gradient, slopes in zip(gradients, expected, strict=True):
        assert gradient.dtype == jnp.float64
        np.testing.assert_allclose(gradient, slopes, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_reduced_precision_is_computed_in_float32(masked, rng, dtype):
    a, b = (jnp.asarray(x, dtype) for x in draw(masked, rng))
    value, gradients = masked.gradients(a, b, WHERE)
    assert value.dtype == jnp.float32
    # Only the rounding of the inputs may remain, and the oracle gets it too.
    exact = masked.oracle(*(np.asarray(x, np.float64)[WHERE] for x in (a, b)))
    np.testing.assert_allclose(value, exact, rtol=2e-6, atol=1e-6)
    wide = (np.asarray(x, np.float32) for x in (a, b))
    _, in_float32 = masked.gradients(*wide, WHERE)
    for gradient, expected in zip(gradients, in_float32, strict=True):
        assert gradient.dtype == dtype
        # One rounding to the input's precision: 2^-9 of it for bfloat16, and the
        # smallest step of float16, 6e-8.
        np.testing.assert_allclose(
            np.asarray(gradient, np.float64), expected, rtol=2.0**-8, atol=6e-8
        )


def test_mixed_precision_is_computed_in_float32(masked, rng):
    a, b = draw_float32(masked, rng)
    a = jnp.asarray(a, jnp.bfloat16)
    value = masked.compiled(a, b)
    assert value.dtype == jnp.float32
    exact = masked.oracle(np.asarray(a, np.float64), b.astype(np.float64))
    np.testing.assert_allclose(value, exact, rtol=2e-6, atol=1e-6)


def test_float32_stays_float32_in_float64_mode(masked, rng, x64):
    a, b = draw_float32(masked, rng)
    for where in (None, WHERE):
        value, gradients = jax.eval_shape(masked.gradients, a, b, where)
        assert value.dtype == jnp.float32
        assert gradients[0].dtype == jnp.float32


def test_many_float16_rows_do_not_overflow(masked, rng):
    """Sums over rows in float16 would pass its largest number, 65504."""
    a, b = (x * 40 for x in masked.draw(rng, 700))
    if masked.name == "gaussian_kl":
        b = b / 40  # exp(40) is beyond float16
    a, b = jnp.asarray(a, jnp.float16), jnp.asarray(b, jnp.float16)
    exact = masked.oracle(np.asarray(a, np.float64), np.asarray(b, np.float64))
    np.testing.assert_allclose(masked.compiled(a, b), exact, rtol=5e-6)


def test_vmap_over_leading_axis(masked, rng, x64):
    pairs = [draw(masked, rng) for _ in range(3)]
    a, b = (np.stack(x) for x in zip(*pairs, strict=True))
    where = np.stack([WHERE, ~WHERE, np.ones_like(WHERE)])
    values = jax.jit(jax.vmap(masked.function))(a, b, where)
    assert values.shape == (3,)
    expected = [masked.oracle(x[w], y[w]) for x, y, w in zip(a, b, where, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_vmap_over_where_alone(masked, rng, x64):
    a, b = draw(masked, rng)
    where = np.stack([WHERE, ~WHERE, np.zeros_like(WHERE)])
    batched = jax.vmap(
        jax.value_and_grad(masked.function, (0, 1)), in_axes=(None, None, 0)
    )
    values, gradients = jax.jit(batched)(a, b, where)
    for i, one in enumerate(where):
        expected, expected_gradients = masked.gradients(a, b, one)
        np.testing.assert_allclose(values[i], expected, rtol=1e-12)
        for gradient, single in zip(gradients, expected_gradients, strict=True):
            np.testing.assert_allclose(gradient[i], single, rtol=1e-12, atol=1e-15)


def test_row_order_does_not_matter(masked, rng, x64):
    a, b = draw(masked, rng)
    order = rng.permutation(len(WHERE))
    np.testing.assert_allclose(
        masked.compiled(a[order], b[order], WHERE[order]),
        masked.compiled(a, b, WHERE),
        rtol=1e-12,
    )


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
class TestErrors:
    """Shapes are known at trace time, so jit raises the same."""

    @staticmethod
    def call(masked, jitted, *args, **kwargs):
        function = jax.jit(masked.function) if jitted else masked.function
        function(*args, **kwargs)

    def test_unequal_numbers_of_rows(self, masked, rng, jitted):
        a, b = draw_float32(masked, rng)
        with pytest.raises((ValueError, TypeError)) as error:
            self.call(masked, jitted, a, b[:5])
        assert str(a.shape) in str(error.value)
        assert str(b[:5].shape) in str(error.value)

    def test_one_row_is_not_broadcast(self, masked, rng, jitted):
        a, b = draw_float32(masked, rng)
        with pytest.raises((ValueError, TypeError)) as error:
            self.call(masked, jitted, a, b[:1])
        assert str(b[:1].shape) in str(error.value)

    @pytest.mark.parametrize("argument", [0, 1])
    def test_wrong_rank(self, masked, rng, jitted, argument):
        inputs = list(draw_float32(masked, rng))
        inputs[argument] = inputs[argument][..., None]
        with pytest.raises((ValueError, TypeError)) as error:
            self.call(masked, jitted, *inputs)
        assert str(inputs[argument].shape) in str(error.value)

    def test_both_of_wrong_rank(self, masked, rng, jitted):
        """Scores of shape [B, 1] are a common mistake."""
        a, b = (x[..., None] for x in draw_float32(masked, rng))
        with pytest.raises((ValueError, TypeError)) as error:
            self.call(masked, jitted, a, b)
        assert str(a.shape) in str(error.value)

    @pytest.mark.parametrize(
        "where",
        [WHERE[:5], WHERE[:, None], WHERE[None], np.array(True)],
        ids=["short", "column", "row", "scalar"],
    )
    def test_where_of_wrong_shape(self, masked, rng, jitted, where):
        a, b = draw_float32(masked, rng)
        with pytest.raises((ValueError, TypeError)) as error:
            self.call(masked, jitted, a, b, where=where)
        assert str(where.shape) in str(error.value)

    @pytest.mark.parametrize("dtype", ["float32", "int32"])
    def test_where_of_wrong_dtype(self, masked, rng, jitted, dtype):
        a, b = draw_float32(masked, rng)
        with pytest.raises((ValueError, TypeError), match=dtype):
            self.call(masked, jitted, a, b, where=WHERE.astype(dtype))

    def test_complex_input(self, masked, rng, jitted):
        a, b = draw_float32(masked, rng)
        with pytest.raises((ValueError, TypeError), match="complex"):
            self.call(masked, jitted, a.astype(np.complex64), b)
