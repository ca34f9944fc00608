"""`pmap` and `shard_map` give the same numbers to the bit."""

from typing import NamedTuple

import compilations
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtra_jax.train.devices import Program, compiling, to_host
from mtra_jax.train.mappings import AXIS, MAPPINGS


class State(NamedTuple):
    """A matrix to fit, its optimiser's state and the key of the noise."""

    params: jax.Array
    momentum: optax.OptState
    rng: jax.Array


OPTIMISER = optax.sgd(0.1, momentum=0.9)


def update(state, batch, settings):
    """A step of noisy least squares with the mean gradient of all devices."""
    inputs, targets = batch
    rng, own = jax.random.split(state.rng)
    noise = jax.random.normal(
        jax.random.fold_in(own, jax.lax.axis_index(AXIS)), targets.shape
    )

    def loss_of(params):
        errors = inputs @ params - targets - settings["noise"] * noise
        return jax.lax.pmean(jnp.mean(errors**2), AXIS)

    loss, gradient = jax.value_and_grad(loss_of)(state.params)
    gradient = jax.lax.pmean(gradient, AXIS)
    step, momentum = OPTIMISER.update(gradient, state.momentum)
    params = optax.apply_updates(state.params, step)
    return State(params, momentum, rng), {"loss": loss, "norm": optax.tree.norm(step)}


def batches(num_devices):
    generator = np.random.default_rng(1)
    for _ in range(4):
        inputs = generator.normal(size=(num_devices, 5, 3)).astype(np.float32)
        yield inputs, generator.normal(size=(num_devices, 5, 2)).astype(np.float32)


def run(mapping, num_devices, *, is_ahead=False):
    """Returns the states and metrics of four steps, on the host."""
    params = np.ones((3, 2), np.float32)
    state = to_host(State(params, OPTIMISER.init(params), jax.random.PRNGKey(0)))
    program = Program(
        update,
        jax.devices()[:num_devices],
        donate_first=True,
        settings=({"noise": np.float32(0.5)},),
        mapping=mapping,
    )
    states = []
    with compiling() as pool:
        if is_ahead:
            program.compile_ahead(pool, state, [next(batches(num_devices))])
        for batch in batches(num_devices):
            state, metrics = program(state, batch)
            states.append(to_host((state, metrics)))
    return states


@pytest.mark.parametrize("num_devices", [1, 2, 8])
def test_both_mappings_compute_the_same_bits(num_devices):
    first, second = (run(mapping, num_devices) for mapping in MAPPINGS)
    assert first[0][1]["loss"] != first[1][1]["loss"]
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_program_compiled_ahead_is_not_compiled_again(mapping):
    expected = run(mapping, 4)
    with compilations.counted() as compiled:
        run(mapping, 4)
        ordinary = len(compiled)
        ahead = run(mapping, 4, is_ahead=True)
    assert len(compiled) == 2 * ordinary
    jax.tree.map(np.testing.assert_array_equal, expected, ahead)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_both_mappings_donate_the_state(mapping):
    program = Program(
        lambda state, shard: state + jax.lax.psum(jnp.sum(shard), AXIS),
        jax.devices()[:2],
        donate_first=True,
        mapping=mapping,
    )
    shard = np.ones((2, 3), np.float32)
    state = program(np.zeros(2, np.float32), shard)
    np.testing.assert_array_equal(to_host(program(state, shard)), [12, 12])
    assert state.is_deleted()
