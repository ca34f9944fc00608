"""Scores of attention and their gradients against sums in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.models.attention import attention_scores

ROWS, HEADS, ASKING, TOKENS, SIZE = 2, 3, 4, 5, 6


def arrays():
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((ROWS, HEADS, ASKING, SIZE)),
        rng.standard_normal((ROWS, HEADS, TOKENS, SIZE)),
        rng.standard_normal((ROWS, HEADS, ASKING, TOKENS)),
    )


@pytest.fixture(params=[False, True], ids=["tokens first", "heads first"])
def scores_and_gradients(request):
    """Takes and returns arrays with heads before tokens."""

    def swap(array):
        return array if request.param else array.swapaxes(1, 2)

    def calculate(queries, keys, cotangent):
        scores, backward = jax.vjp(
            lambda q, k: attention_scores(q, k, request.param),
            swap(queries),
            swap(keys),
        )
        return scores, *map(swap, backward(cotangent))

    return calculate


def sums(queries, keys, cotangent):
    """The same by NumPy's matrix products."""
    transposed = cotangent.swapaxes(-1, -2)
    return queries @ keys.swapaxes(-1, -2), cotangent @ keys, transposed @ queries


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 2e-6), ("float64", 1e-14)]
)
def test_scores_and_gradients_are_the_matrix_products(
    scores_and_gradients, precision, tolerance
):
    with jax.enable_x64(precision == "float64"):
        given = [a.astype(precision) for a in arrays()]
        actual = jax.jit(scores_and_gradients)(*given)
    expected = sums(*map(np.float64, given))
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == precision
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


def test_bfloat16_scores_are_exact_sums_and_gradients_products_of_rounded_numbers(
    scores_and_gradients,
):
    queries, keys, cotangent = map(jnp.asarray, arrays())
    queries, keys = queries.astype(jnp.bfloat16), keys.astype(jnp.bfloat16)
    cotangent = cotangent.astype(jnp.float32)
    scores, *gradients = jax.jit(scores_and_gradients)(queries, keys, cotangent)
    program = jax.make_jaxpr(scores_and_gradients)(queries, keys, cotangent)
    products = [e for e in program.jaxpr.eqns if e.primitive.name == "dot_general"]
    assert [v.aval.dtype for e in products[-2:] for v in e.invars] == ["bfloat16"] * 4
    rounded = cotangent.astype(jnp.bfloat16)
    assert np.abs(np.float64(rounded) - np.float64(cotangent)).max() > 1e-3
    expected = sums(*map(np.float64, (queries, keys, rounded)))
    assert scores.dtype == jnp.float32
    np.testing.assert_allclose(scores, expected[0], rtol=0, atol=2e-6)
    for actual, exact in zip(gradients, expected[1:], strict=True):
        assert actual.dtype == jnp.bfloat16
        # One rounding of a sum to 8 bits.
        np.testing.assert_allclose(np.float64(actual), exact, rtol=2**-8, atol=1e-6)
