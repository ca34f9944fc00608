"""GO4Align against NumPy in float64, with the groups found by trying every assignment."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matrices import inputs_of

from mtra_jax import balancing
from mtra_jax.balancing import grouping


def means_by_search(values, groups):
    """The mean of each value's group, in the assignment with the least squares."""
    best, result = np.inf, None
    for labels in itertools.product(range(groups), repeat=len(values)):
        labels = np.array(labels)
        means = np.array([values[labels == own].mean() for own in labels])
        cost = np.sum((values - means) ** 2)
        if cost < best - 1e-15:
            best, result = cost, means
    return result


def by_hand(steps, presences, groups, beta):
    """The weights [steps, T] by Eq. 5-7 and 3."""
    sums, rows = np.zeros(steps.shape[1]), []
    for losses, present in zip(steps, presences, strict=True):
        sums = sums + np.where(present, losses, 0)
        own = losses[present]
        powers = np.exp(-beta * sums[present])
        indicators = powers / powers.sum() * own.mean() / own
        weights = np.zeros(len(losses))
        weights[present] = means_by_search(indicators, groups)
        rows.append(weights)
    return np.array(rows)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("groups", [1, 2, 3, 7])
@pytest.mark.parametrize("beta", [1e-4, 0.3])
def test_weights_are_those_of_the_paper_over_steps(groups, beta):
    rng = np.random.default_rng(groups)
    steps = rng.uniform(0.1, 3, size=(5, 5))
    presences = np.full(steps.shape, True)
    presences[2, 1] = presences[3, :3] = False
    steps = np.where(presences, steps, 0)
    balancer = balancing.go4align(groups, beta)
    state = balancer.init(5)
    state = state._replace(memory=state.memory.astype(float))
    expected = by_hand(steps, presences, min(groups, 5), beta)
    for losses, present, weights in zip(steps, presences, expected, strict=True):
        inputs = inputs_of(np.eye(5), losses, present=present)

        def value(losses, inputs=inputs, state=state):
            result = balancer.combine(inputs._replace(losses=losses), state)
            return result.value, result.memory

        (actual, memory), by_losses = jax.value_and_grad(value, has_aux=True)(
            inputs.losses
        )
        np.testing.assert_allclose(by_losses, weights, rtol=1e-9)
        np.testing.assert_allclose(actual, weights @ losses, rtol=1e-9)
        state = state._replace(memory=memory)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_groups_are_the_best_of_all():
    """Also among equal values, and where two values differ by a millionth."""
    rng = np.random.default_rng(0)
    rows = [
        *rng.gamma(0.5, size=(12, 6)),
        [1, 1, 1, 2, 2, 9],
        [1, 1 + 1e-6, 1, 5, 5, 7],
    ]
    for values, groups in itertools.product(rows, (1, 2, 4)):
        values = np.asarray(values, float)
        actual = grouping.group_means(jnp.asarray(values), jnp.full(6, True), groups)
        cost = np.sum((values - means_by_search(values, groups)) ** 2)
        np.testing.assert_allclose(
            np.sum((values - actual) ** 2), cost, rtol=1e-9, atol=1e-12
        )


def test_tasks_that_are_alike_share_a_weight():
    inputs = inputs_of(np.eye(4), [1.0, 4.0, 1.1, 4.2], dtype=np.float32)
    balancer = balancing.go4align(2)
    weights = jax.grad(
        lambda x: balancer.combine(inputs._replace(losses=x), balancer.init(4)).value
    )(inputs.losses)
    assert weights[0] == weights[2] > weights[1] == weights[3]


@pytest.mark.parametrize(
    ("options", "word"),
    [({"groups": 0}, "groups"), ({"groups": 1.5}, "groups"), ({"beta": -1.0}, "beta")],
)
def test_wrong_options_are_refused(options, word):
    with pytest.raises(ValueError, match=f"`{word}` must be"):
        balancing.go4align(**options)
