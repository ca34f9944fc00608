"""Objectives and weights of each weighting of losses against float64 by hand.

PCGrad, which combines gradients, has a separate module.
"""

import dataclasses
import math

import jax
import numpy as np
import pytest
from messages import assert_mentions
from scipy import stats
from toys import NAMES, first_memory, objective_of

from mtra_jax.errors import InputError
from mtra_jax.methods import registry

pytestmark = pytest.mark.usefixtures("float64")

RTOL = 1e-12
# For weights in float32: half a unit in the last place, and a few roundings in softmax.
RTOL_32 = 5e-7
PRESENT = np.array([True, False, True, True, True])
LOSSES = np.array([0.7, 0.0, 0.004, 12.0, 1.0])


def own(task, key, params):
    return params["tasks"][task][key]


def weigh(method, losses, present, params=None, state=None, rng=None):
    """Returns the objective, its derivatives by losses [T] and parameters, the state."""
    objective = jax.value_and_grad(objective_of(method, NAMES), (1, 0), has_aux=True)
    state = first_memory(method) if state is None else state
    (value, state), (weights, by_params) = objective(
        {} if params is None else params, losses, present, state, rng
    )
    return value, weights, by_params, state


# ---- the definitions, on the losses of the tasks present: objective, weights, and the
# derivative by the learned numbers


def ew_by_hand(losses, is_classification, counts, learned):
    return losses.sum() / 5, np.full(len(losses), 1 / 5), None


def si_by_hand(losses, is_classification, counts, learned):
    # Below 0.01 the tangent at 0.01, whose slope is 100.
    below = np.log(0.01) + (losses - 0.01) / 0.01
    is_above = losses >= 0.01
    value = np.where(is_above, np.log(losses), below).sum()
    return value, np.where(is_above, 1 / losses, 100.0), None


def tw_by_hand(losses, is_classification, counts, learned):
    weights = counts / 150
    return (weights * losses).sum(), weights, None


def uw_by_hand(losses, is_classification, counts, learned):
    """ℓ/σ² + log σ for cross-entropy, ℓ/(2 σ²) + log σ for squared error; σ² = eˢ."""
    variance = np.exp(learned)
    factors = np.where(is_classification, 1.0, 0.5)
    terms = factors * losses / variance + np.log(np.sqrt(variance))
    by_learned = 0.5 - factors * losses / variance
    return terms.sum(), factors / variance, by_learned


def gls_by_hand(losses, is_classification, counts, learned):
    size = len(losses)
    value = math.prod(losses.tolist()) ** (1 / size)
    return value, value / (size * losses), None


def dwa_by_hand(losses, is_classification, counts, learned):
    """The weights of the first epoch."""
    return losses.sum(), np.ones(len(losses)), None


def imtl_l_by_hand(losses, is_classification, counts, learned):
    scales = np.exp(learned)
    return (scales * losses - learned).sum(), scales, scales * losses - 1


BY_HAND = {
    "ew": (ew_by_hand, RTOL),
    "si": (si_by_hand, RTOL),
    "tw": (tw_by_hand, RTOL_32),
    "uw": (uw_by_hand, RTOL),
    "gls": (gls_by_hand, RTOL),
    "dwa": (dwa_by_hand, RTOL_32),
    "imtl_l": (imtl_l_by_hand, RTOL),
}
LEARNED = {"uw": "log_variance", "imtl_l": "log_scale"}


def expected_of(toy, name, losses, present, params):
    """Like `weigh`, with derivatives [T] by learned numbers; 0 for absent tasks."""
    by_hand, _ = BY_HAND[name]
    space = toy.model.space
    key = LEARNED.get(name)
    learned = key and np.array([own(task, key, params) for task in toy.names])[present]
    value, present_weights, present_by_learned = by_hand(
        losses[present],
        space.is_classification[present],
        np.array(space.num_examples)[present],
        learned,
    )
    weights, by_learned = np.zeros(5), np.zeros(5)
    weights[present] = present_weights
    if key:
        by_learned[present] = present_by_learned
    return value, weights, by_learned


@pytest.mark.parametrize("present", [PRESENT, LOSSES > 0.5], ids=["four", "three"])
@pytest.mark.parametrize("name", BY_HAND)
def test_value_and_derivatives_are_those_of_the_definition(toy, name, present):
    """One of the losses is below the floor of SI, one far above the others."""
    rtol = BY_HAND[name][1]
    params = toy.params(name)["method"]
    losses = np.where(present, LOSSES, 0)
    value, weights, by_params, _ = weigh(toy.make(name), losses, present, params)
    expected, expected_weights, by_learned = expected_of(
        toy, name, losses, present, params
    )
    np.testing.assert_allclose(value, expected, rtol=rtol)
    np.testing.assert_allclose(weights, expected_weights, rtol=rtol)
    assert not np.any(weights[~present])
    if name in LEARNED:
        actual = [own(task, LEARNED[name], by_params) for task in toy.names]
        np.testing.assert_allclose(actual, by_learned, rtol=rtol, atol=1e-15)
        assert not np.any(np.array(actual)[~present])
    else:
        assert by_params == {}


@pytest.mark.parametrize("name", BY_HAND)
def test_gradient_and_logged_weights_of_a_step_follow_the_definition(
    toy, name, mixture
):
    """On the whole model: the gradient is Σ w_t ∇ℓ_t, and w is in the metrics."""
    rtol = 10 * BY_HAND[name][1]
    params, batch = toy.params(name), toy.batch(mixture)
    result = toy.differentiate(name, mixture)
    losses, grads = toy.losses_and_gradients(params, batch)
    present = np.isin(np.arange(5), mixture)
    value, weights, by_learned = expected_of(
        toy, name, losses, present, params["method"]
    )
    np.testing.assert_array_equal(result.metrics["present"], present)
    np.testing.assert_allclose(result.metrics["losses"], losses, rtol=rtol)
    np.testing.assert_allclose(result.metrics["terms"]["task"], losses, rtol=rtol)
    np.testing.assert_allclose(result.metrics["objective"], value, rtol=rtol)
    np.testing.assert_allclose(result.metrics["weights"], weights, rtol=rtol)
    weighted = jax.tree.map(
        lambda *leaves: sum(w * g for w, g in zip(weights, leaves, strict=True)), *grads
    )
    for part in ("encoder", "heads"):
        jax.tree.map(
            lambda actual, wanted: np.testing.assert_allclose(
                actual, wanted, rtol=rtol, atol=rtol * np.abs(wanted).max()
            ),
            result.grads[part],
            weighted[part],
        )
    if name in LEARNED:
        actual = [
            own(task, LEARNED[name], result.grads["method"]) for task in toy.names
        ]
        np.testing.assert_allclose(actual, by_learned, rtol=rtol, atol=1e-15)
    else:
        assert result.grads["method"] == {}


# ---- initial values, stationary points, options


@pytest.mark.parametrize(("name", "key"), LEARNED.items())
def test_learned_numbers_start_at_zero_one_for_each_task(toy, name, key):
    params = toy.make(name).init(jax.random.key(0))
    assert params == {"tasks": {task: {key: 0.0} for task in toy.names}}


def test_uncertainties_are_stationary_if_the_variance_is_the_loss(toy):
    """At s = log 2cℓ, c = 1 for cross-entropy and 1/2 for squared error."""
    losses = np.array([0.7, 3.0, 0.01, 12.0, 1.0])
    factors = np.array([2.0, 1.0, 2.0, 1.0, 2.0])
    params = {
        "tasks": {
            task: {"log_variance": s}
            for task, s in zip(toy.names, np.log(factors * losses), strict=True)
        }
    }
    _, _, by_params, _ = weigh(
        registry.make("uw", toy.model), losses, np.full(5, True), params
    )
    actual = [own(task, "log_variance", by_params) for task in toy.names]
    np.testing.assert_allclose(actual, np.zeros(5), atol=1e-15)


def test_impartial_scales_are_stationary_if_all_scaled_losses_are_one(toy):
    losses = np.array([0.7, 3.0, 0.01, 12.0, 1.0])
    params = {
        "tasks": {
            task: {"log_scale": -s}
            for task, s in zip(toy.names, np.log(losses), strict=True)
        }
    }
    value, weights, by_params, _ = weigh(
        registry.make("imtl_l", toy.model), losses, np.full(5, True), params
    )
    np.testing.assert_allclose(weights * losses, np.ones(5), rtol=RTOL)
    np.testing.assert_allclose(value, 5 + np.log(losses).sum(), rtol=RTOL)
    actual = [own(task, "log_scale", by_params) for task in toy.names]
    np.testing.assert_allclose(actual, np.zeros(5), atol=1e-15)


def test_the_geometric_mean_is_finite_where_the_product_is_not(toy):
    """(1e-12)⁵ is below the range of float32, (1e12)⁵ above."""
    for size in (1e-12, 1e12):
        with jax.enable_x64(False):
            losses = np.full(5, size, np.float32)
            value, weights, _, _ = weigh(
                registry.make("gls", toy.model), losses, np.full(5, True)
            )
        assert value.dtype == np.float32
        # The logarithm is about 28; its absolute rounding is a relative one of the mean.
        np.testing.assert_allclose(value, size, rtol=28 * 2**-22)
        np.testing.assert_allclose(weights, np.full(5, 0.2), rtol=28 * 2**-22)


def test_tasks_without_examples_have_no_weight_and_a_model_without_any_is_made(toy):
    def weights_of(counts):
        model = toy.model._replace(space=toy.model.space._replace(num_examples=counts))
        return weigh(registry.make("tw", model), LOSSES, np.full(5, True))[1]

    np.testing.assert_allclose(weights_of((3, 0, 1, 0, 0)), [0.75, 0, 0.25, 0, 0])
    np.testing.assert_allclose(weights_of((0,) * 5), [0.2] * 5)  # read, not trained


def test_the_floor_of_si_can_be_set(toy):
    losses, present = np.array([0.5, 1.0, 2.0, 4.0, 8.0]), np.full(5, True)
    value, weights, _, _ = weigh(
        registry.make("si", toy.model, floor=2.0), losses, present
    )
    # log 2 + (ℓ − 2)/2 below 2, which adds −3/4 and −1/2 to the logarithms.
    np.testing.assert_allclose(value, 8 * np.log(2) - 1.25, rtol=RTOL)
    np.testing.assert_allclose(weights, [0.5, 0.5, 0.5, 0.25, 0.125], rtol=RTOL)


# ---- DWA


def dwa_weights_by_hand(losses, present, steps_per_epoch, temperature):
    """Returns λ of all steps [steps, T] from `losses` and `present` [steps, T]."""
    num_steps, num_tasks = losses.shape
    weights = np.ones((num_steps, num_tasks))
    for at in range(num_steps):
        epoch = at // steps_per_epoch
        if epoch < 2:
            continue
        means = []
        for earlier in (epoch - 1, epoch - 2):
            rows = slice(earlier * steps_per_epoch, (earlier + 1) * steps_per_epoch)
            means.append(
                [
                    losses[rows, task][present[rows, task]].mean()
                    for task in range(num_tasks)
                ]
            )
        powers = np.exp(np.divide(*means) / temperature)
        weights[at] = num_tasks * powers / powers.sum()
    return weights


def run_dwa(toy, losses, present, **options):
    """Returns objectives and weights of consecutive steps, and the last state."""
    method = registry.make("dwa", toy.model, **options)
    objective = jax.jit(
        jax.value_and_grad(objective_of(method, NAMES), 1, has_aux=True)
    )
    state, values, weights = first_memory(method), [], []
    for row, there in zip(losses, present, strict=True):
        (value, state), by_losses = objective({}, row, there, state, None)
        values.append(value)
        weights.append(by_losses)
    return np.array(values), np.array(weights), state


@pytest.mark.parametrize(
    ("steps_per_epoch", "num_epochs", "options"),
    [(4, 5, {}), (3, 4, {"temperature": 0.5}), (1, 6, {})],
    ids=["four_steps", "temperature", "one_step"],
)
def test_dwa_weighs_by_the_losses_of_the_two_epochs_before(
    toy, steps_per_epoch, num_epochs, options
):
    toy = dataclasses.replace(toy, steps_per_epoch=steps_per_epoch)
    rng = np.random.default_rng(0)
    losses = rng.uniform(0.1, 3.0, size=(num_epochs * steps_per_epoch, 5))
    present = rng.uniform(size=losses.shape) < 0.6
    # Each epoch has each task at least once; an epoch of one step has all of them.
    present[::steps_per_epoch] |= ~present.reshape(num_epochs, -1, 5).any(axis=1)
    assert present.all() == (steps_per_epoch == 1)
    losses = np.where(present, losses, 0)

    values, by_losses, state = run_dwa(toy, losses, present, **options)
    temperature = options.get("temperature", 2.0)
    weights = dwa_weights_by_hand(losses, present, steps_per_epoch, temperature)
    expected = np.where(present, weights, 0)
    # The averages are float32 too, and the exponential propagates their error.
    np.testing.assert_allclose(by_losses, expected, rtol=2e-6)
    np.testing.assert_allclose(values, (expected * losses).sum(1), rtol=2e-6)
    assert state.steps == len(losses)
    assert np.ptp(weights[2 * steps_per_epoch :]) > 0.3


def test_dwa_gives_slow_tasks_more_weight(toy):
    """Losses that halve, stay the same or double: r = 1/2, 1, 2; e^(r/2) by hand."""
    toy = dataclasses.replace(toy, steps_per_epoch=1)
    losses = np.array([[4.0, 1, 1, 1, 1], [2, 1, 2, 1, 1], [1, 1, 4, 1, 1]])
    _, weights, _ = run_dwa(toy, losses, np.full(losses.shape, True))
    powers = np.exp([0.25, 0.5, 1.0, 0.5, 0.5])
    np.testing.assert_array_equal(weights[:2], np.ones((2, 5)))
    np.testing.assert_allclose(weights[2], 5 * powers / powers.sum(), rtol=RTOL_32)


def test_dwa_has_no_ratio_for_a_task_that_is_absent_from_an_epoch(toy):
    """The ratio is 1, as in the first two epochs, until two more epochs have the task."""
    toy = dataclasses.replace(toy, steps_per_epoch=2)
    losses = np.tile(np.repeat([[2.0], [1.0]], 6, axis=0), (1, 5))
    present = np.full(losses.shape, True)
    # The third of six epochs does not have the last task.
    present[4:6, 4] = False
    _, weights, _ = run_dwa(toy, np.where(present, losses, 0), present)
    # The loss halves from the third epoch to the fourth: r = 1/2 in the fifth.
    half, one = np.exp(0.25), np.exp(0.5)
    for epoch, powers in {
        2: np.full(5, one),
        3: np.full(5, one),
        4: np.array([half, half, half, half, one]),
        5: np.full(5, one),
    }.items():
        for at in (2 * epoch, 2 * epoch + 1):
            expected = np.where(present[at], 5 * powers / powers.sum(), 0)
            np.testing.assert_allclose(
                weights[at], expected, rtol=RTOL_32, err_msg=f"epoch {epoch}"
            )


def test_dwa_counts_epochs_in_the_steps_of_training(toy):
    """With two steps per epoch the fifth step is the first with unequal weights."""
    state = toy.state("dwa")
    batch = toy.batch(toy.mixtures["all"], 1)
    weights, losses = [], []
    for _ in range(6):
        state, metrics = toy.program("dwa")(state, batch)
        weights.append(np.asarray(metrics["weights"]))
        losses.append(np.asarray(metrics["losses"]))
    np.testing.assert_array_equal(weights[:4], np.ones((4, 5)))
    losses = np.array(losses)
    expected = dwa_weights_by_hand(losses, losses > 0, 2, 2.0)
    np.testing.assert_allclose(weights, expected, rtol=2e-6)
    assert np.abs(expected[4] - 1).max() > 1e-3


# ---- RLW


# Enough to distinguish differences of normal draws from those of uniform draws.
NUM_DRAWS = 40_000


@pytest.fixture
def random_weights(toy):
    """Returns weights [draws, T] and objectives for many keys."""
    method = registry.make("rlw", toy.model)
    objective = jax.value_and_grad(objective_of(method, NAMES), 1, has_aux=True)
    keys = jax.random.split(jax.random.key(7), NUM_DRAWS)
    (values, _), weights = jax.jit(jax.vmap(objective, (None, None, None, None, 0)))(
        {}, LOSSES + 1, np.full(5, True), (), keys
    )
    return np.asarray(weights, np.float64), np.asarray(values)


def test_random_weights_are_a_softmax_of_standard_normal_draws(random_weights):
    weights, values = random_weights
    np.testing.assert_allclose(weights.sum(axis=1), np.ones(NUM_DRAWS), rtol=RTOL_32)
    np.testing.assert_allclose(values, weights @ (LOSSES + 1), rtol=RTOL_32)
    logs = np.log(weights)
    # log λ is ξ less a number common to all tasks, so differences are N(0, 2).
    for task, other in [(0, 1), (1, 4), (3, 2)]:
        actual = (logs[:, task] - logs[:, other]) / np.sqrt(2)
        assert stats.kstest(actual, "norm").pvalue > 0.01
    # ξ less its mean over the tasks has the covariance I − 1/T.
    centred = logs - logs.mean(axis=1, keepdims=True)
    actual = centred.T @ centred / NUM_DRAWS
    # Five standard errors of a variance of at most 1.
    expected = np.eye(5) - 1 / 5
    np.testing.assert_allclose(actual, expected, atol=5 * np.sqrt(2 / NUM_DRAWS))
    # No task is preferred: the mean weight is 1/T.
    error = weights.std(axis=0) / np.sqrt(NUM_DRAWS)
    assert np.all(np.abs(weights.mean(axis=0) - 1 / 5) < 4 * error)


def test_random_weights_depend_on_the_key_of_the_step(toy):
    actual = [
        toy.differentiate("rlw", toy.mixtures["all"], step=np.int32(at)).metrics[
            "weights"
        ]
        for at in (0, 0, 1, 2)
    ]
    np.testing.assert_array_equal(actual[0], actual[1])
    for first, second in [(0, 2), (0, 3), (2, 3)]:
        assert np.abs(actual[first] - actual[second]).max() > 0.01
    for at, weights in enumerate(actual[1:]):
        expected = weigh(
            registry.make("rlw", toy.model),
            LOSSES,
            np.full(5, True),
            rng=toy.rngs(at)["method"],
        )[1]
        np.testing.assert_allclose(weights, expected, rtol=RTOL_32)


def test_random_weights_of_absent_tasks_are_not_redistributed(toy, mixture):
    """The weights of tasks present do not depend on which tasks are absent."""
    params, batch = toy.params("rlw"), toy.batch(mixture)
    losses, grads = toy.losses_and_gradients(params, batch)
    present = np.isin(np.arange(5), mixture)
    result = toy.differentiate("rlw", mixture)
    weights = toy.differentiate("rlw", toy.mixtures["all"]).metrics["weights"] * present
    np.testing.assert_array_equal(result.metrics["weights"], weights)
    objective = result.metrics["objective"]
    np.testing.assert_allclose(objective, weights @ losses, rtol=RTOL)
    table = [
        grad["encoder"]["embeddings"]["word_embeddings"]["embedding"] for grad in grads
    ]
    actual = result.grads["encoder"]["embeddings"]["word_embeddings"]["embedding"]
    np.testing.assert_allclose(
        actual, np.tensordot(weights, table, 1), rtol=1e-10, atol=1e-14
    )


def test_ew_as_a_sum_has_weight_one_for_every_task_present(toy):
    method = registry.make("ew", toy.model, reduction="sum")
    losses = np.where(PRESENT, LOSSES, 0)
    value, weights, *_ = weigh(method, losses, PRESENT)
    np.testing.assert_allclose(value, 0.7 + 0.004 + 12.0 + 1.0, rtol=RTOL)
    np.testing.assert_array_equal(weights, PRESENT)
    with pytest.raises(InputError, match=r"'total'.*mean, sum"):
        registry.make("ew", toy.model, reduction="total")


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1 / 5), ("sum", 1)])
def test_ew_multiplies_the_losses_by_weights_of_your_own(toy, reduction, factor):
    first, second = toy.names[0], toy.names[3]
    method = registry.make(
        "ew", toy.model, reduction=reduction, weights=f" {first} = 2,{second}=0.25"
    )
    losses = np.where(PRESENT, LOSSES, 0)
    value, weights, *_ = weigh(method, losses, PRESENT)
    expected = 2 * 0.7 + 0.004 + 0.25 * 12.0 + 1.0
    np.testing.assert_allclose(value, factor * expected, rtol=RTOL)
    np.testing.assert_allclose(weights, factor * PRESENT * [2, 1, 1, 0.25, 1], RTOL)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("frist=2", ["method.weights", "'frist'"]),
        ("FIRST", ["method.weights", "'FIRST'", "0 or more"]),
        ("FIRST=much", ["'FIRST=much'", "0 or more"]),
        ("FIRST=-1", ["'FIRST=-1'", "0 or more"]),
        ("FIRST=nan", ["'FIRST=nan'", "0 or more"]),
        ("FIRST=inf", ["'FIRST=inf'", "0 or more"]),
        ("FIRST=1,FIRST=2", ["'FIRST=1,FIRST=2'", "once"]),
        ("FIRST=1,", ["task ''"]),
    ],
)
def test_weights_of_ew_that_do_not_fit_are_refused(toy, text, parts):
    first = toy.names[0]
    with pytest.raises(InputError) as error:
        registry.make("ew", toy.model, weights=text.replace("FIRST", first))
    assert_mentions(str(error.value), *(x.replace("FIRST", first) for x in parts))
