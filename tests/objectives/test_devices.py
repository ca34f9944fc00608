"""Unequal shares of a batch on four devices equal the whole batch on one.

The contract: differentiate on each device, then average the gradients over the axis.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import objectives

NUM_DEVICES, ROWS = 4, 4
# Numbers of valid rows that differ, with a device that has none.
WHERE = np.arange(ROWS) < np.array([[4], [1], [0], [2]])


@pytest.fixture(autouse=True)
def _needs_devices():
    if jax.device_count() < NUM_DEVICES:
        pytest.skip(f"{NUM_DEVICES} devices are needed; found {jax.device_count()}")


def pmap(function, in_axes=0):
    devices = jax.devices()[:NUM_DEVICES]
    return jax.pmap(function, axis_name="data", in_axes=in_axes, devices=devices)


def draw_shares(masked, rng, padding=np.nan):
    """Two arrays [D, B, ...] with `padding` in those rows, and one valid batch."""
    shares = [
        x.reshape(NUM_DEVICES, ROWS, *x.shape[1:]).astype(np.float32)
        for x in masked.draw(rng, NUM_DEVICES * ROWS)
    ]
    whole = [x[WHERE] for x in shares]
    for x in shares:
        x[~WHERE] = padding
    return shares, whole


@functools.cache
def gradients_on_devices(function):
    """Value and gradients by the rows, each device's own, compiled once for all tests."""
    return pmap(
        lambda a, b, where: jax.value_and_grad(function, (0, 1))(
            a, b, where, axis_name="data"
        )
    )


def test_value_equals_that_of_the_whole_batch(masked, rng):
    (a, b), whole = draw_shares(masked, rng)
    values, _ = gradients_on_devices(masked.function)(a, b, WHERE)
    expected = masked.oracle(*(x.astype(np.float64) for x in whole))
    np.testing.assert_allclose(values, np.full(NUM_DEVICES, expected), rtol=3e-6)


def test_value_without_where(masked, rng):
    a, b = (
        x.reshape(NUM_DEVICES, ROWS, *x.shape[1:])
        for x in masked.draw(rng, NUM_DEVICES * ROWS)
    )
    a, b = a.astype(np.float32), b.astype(np.float32)
    values = pmap(lambda a, b: masked.function(a, b, axis_name="data"))(a, b)
    expected = masked.oracle(
        *(x.reshape(-1, *x.shape[2:]).astype(np.float64) for x in (a, b))
    )
    np.testing.assert_allclose(values, np.full(NUM_DEVICES, expected), rtol=3e-6)


def test_without_a_valid_row_on_any_device_the_mean_is_zero(masked, rng):
    (a, b), _ = draw_shares(masked, rng)
    values, gradients = gradients_on_devices(masked.function)(
        a, b, np.zeros_like(WHERE)
    )
    np.testing.assert_array_equal(values, 0)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


def scores(masked, params, a, b):
    """The arguments as functions of shared parameters."""
    scale, bias = params["scale"], params["bias"]
    return masked.function, a * scale + bias, jnp.tanh(b * scale) - 2 * bias


@pytest.mark.slow
def test_mean_of_the_gradients_equals_that_of_the_whole_batch(masked, rng):
    # Finite: the chain rule of this test would turn 0 times NaN into NaN.
    shares, whole = draw_shares(masked, rng, padding=7.0)
    width = shares[0].shape[2:]
    params = {
        "scale": rng.uniform(0.5, 1.5, size=width).astype(np.float32),
        "bias": rng.normal(size=width).astype(np.float32),
    }

    def loss(params, a, b, where=None, axis_name=None):
        function, a, b = scores(masked, params, a, b)
        return function(a, b, where=where, axis_name=axis_name)

    def gradient(params, a, b, where):
        return jax.lax.pmean(jax.grad(loss)(params, a, b, where, "data"), "data")

    on_devices = pmap(gradient, in_axes=(None, 0, 0, 0))(params, *shares, WHERE)
    expected = jax.jit(jax.grad(loss))(params, *whole)
    for name in params:
        for device in range(NUM_DEVICES):
            np.testing.assert_allclose(
                on_devices[name][device], expected[name], rtol=1e-6, atol=1e-6
            )


def test_gradient_of_the_rows_equals_that_of_the_whole_batch(masked, rng):
    """A row lives on one device: its gradient there, over the number of devices."""
    (a, b), whole = draw_shares(masked, rng)
    _, gradients = gradients_on_devices(masked.function)(a, b, WHERE)
    _, expected = masked.gradients(*whole, np.ones(len(whole[0]), bool))
    for gradient, one in zip(gradients, expected, strict=True):
        gradient = np.asarray(gradient) / NUM_DEVICES
        np.testing.assert_allclose(gradient[WHERE], one, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(gradient[~WHERE], 0)


def test_dv_bound_with_maxima_far_apart():
    """Stable only if the devices share one maximum."""
    joint = np.zeros((NUM_DEVICES, 2), np.float32)
    marginal = np.array([[1e4, 1e4], [-1e4, 0], [0, 3], [-500, 500]], np.float32)
    values, (joint_gradient, gradient) = pmap(
        lambda a, b: jax.value_and_grad(objectives.dv_bound, (0, 1))(
            a, b, axis_name="data"
        )
    )(joint, marginal)
    expected = np.full(NUM_DEVICES, -1e4 + np.log(4))
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    rows = np.zeros((NUM_DEVICES, 2))
    rows[0] = -0.5
    np.testing.assert_allclose(np.asarray(gradient) / NUM_DEVICES, rows, atol=1e-6)
    np.testing.assert_allclose(np.asarray(joint_gradient) / NUM_DEVICES, 1 / 8)


def test_dv_bound_is_not_the_mean_of_the_devices_bounds(rng):
    joint, marginal = 3 * rng.normal(size=(2, NUM_DEVICES, ROWS)).astype(np.float32)
    together = pmap(lambda a, b: objectives.dv_bound(a, b, axis_name="data"))
    apart = np.mean([objectives.dv_bound(*pair) for pair in zip(joint, marginal)])  # noqa: B905
    assert abs(together(joint, marginal)[0] - apart) > 1e-2


def test_info_nce_takes_the_keys_of_all_devices():
    """Eight orthogonal directions, two a device: seven negatives, not one."""
    directions = np.eye(8, dtype=np.float32).reshape(NUM_DEVICES, 2, 8)
    values = pmap(lambda x: objectives.info_nce(x, x, 0.5, axis_name="data"))(
        directions
    )
    expected = np.full(NUM_DEVICES, np.log1p(7 * np.exp(-2)))
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_vmap_inside_pmap(masked, rng):
    """A leading axis of tasks on every device."""
    (a, b), whole = draw_shares(masked, rng)
    pairs = [np.stack([x, x], axis=1) for x in (a, b)]
    where = np.stack([WHERE, np.zeros_like(WHERE)], axis=1)
    one = functools.partial(masked.function, axis_name="data")
    values = pmap(jax.vmap(one))(*pairs, where)
    expected = masked.oracle(*(x.astype(np.float64) for x in whole))
    np.testing.assert_allclose(
        values, np.tile([expected, 0], (NUM_DEVICES, 1)), rtol=3e-6
    )
