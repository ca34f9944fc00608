"""The hashed dropout masks behave like independent coin throws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.models import dropout

SHAPE = (64, 12, 32, 32)


def mask(seed, rate=0.1, shape=SHAPE, impl=None):
    key = jax.random.key(seed, impl=impl)
    return np.asarray(dropout.dropout(jnp.ones(shape), key, rate) == 0)


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5])
def test_the_share_of_zeros_is_the_rate(rate):
    dropped = mask(0, rate)
    deviation = np.sqrt(rate * (1 - rate) / dropped.size)
    assert abs(dropped.mean() - rate) < 4 * deviation


def test_every_slice_has_the_share():
    dropped = mask(1)
    for axis in range(4):
        others = tuple(a for a in range(4) if a != axis)
        means = dropped.mean(axis=others)
        size = dropped.size / dropped.shape[axis]
        assert np.abs(means - 0.1).max() < 5 * np.sqrt(0.09 / size)


@pytest.mark.parametrize("lag", [1, 2, 3, 7, 32, 64, 384, 1024, 12288])
def test_entries_do_not_depend_on_their_neighbours(lag):
    flat = mask(2).reshape(-1) - 0.1
    correlation = np.mean(flat[lag:] * flat[:-lag]) / 0.09
    assert abs(correlation) < 5 / np.sqrt(flat.size)


@pytest.mark.parametrize("seed", range(1, 9))
def test_masks_of_different_keys_are_independent(seed):
    both = np.mean((mask(0) - 0.1) * (mask(seed) - 0.1)) / 0.09
    assert abs(both) < 5 / np.sqrt(np.prod(SHAPE))
    folded = jax.random.fold_in(jax.random.key(0), seed)
    other = np.asarray(dropout.dropout(jnp.ones(SHAPE), folded, 0.1) == 0)
    both = np.mean((mask(0) - 0.1) * (other - 0.1)) / 0.09
    assert abs(both) < 5 / np.sqrt(np.prod(SHAPE))


def test_pairs_of_bits_are_uniform_over_keys():
    """One position under many keys: as even as one key over many positions."""
    keys = jax.random.split(jax.random.key(3), 20000)
    one = jax.vmap(lambda key: dropout.dropout(jnp.ones(4), key, 0.5))(keys) == 0
    patterns = np.bincount(np.asarray(one) @ [8, 4, 2, 1], minlength=16)
    chi_square = np.sum((patterns - 1250) ** 2 / 1250)
    assert chi_square < 37.7  # 99.9 % of 15 degrees of freedom


def test_kept_entries_are_scaled_and_the_gradient_has_the_same_mask():
    x = jax.random.normal(jax.random.key(4), (100, 50))
    key = jax.random.key(5)
    out = np.asarray(dropout.dropout(x, key, 0.25))
    is_kept = out != 0
    np.testing.assert_allclose(out[is_kept], np.asarray(x)[is_kept] / 0.75, rtol=1e-6)
    slope = jax.grad(lambda x: jnp.sum(dropout.dropout(x, key, 0.25)))(x)
    np.testing.assert_allclose(slope, is_kept / 0.75, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_precision_is_kept(dtype):
    x = jnp.ones((8, 8), dtype)
    assert dropout.dropout(x, jax.random.key(0), 0.1).dtype == dtype


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_any_generator_gives_different_masks_for_different_keys(impl):
    assert (mask(0, impl=impl) != mask(1, impl=impl)).any()


def test_without_a_rate_or_a_key_nothing_changes():
    x = jnp.arange(6.0)
    np.testing.assert_array_equal(dropout.dropout(x, None, 0.5), x)
    np.testing.assert_array_equal(dropout.dropout(x, jax.random.key(0), 0.0), x)
