"""Balancers against their definitions in NumPy: weights, learned numbers, heads' gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matrices import GRADIENTS, inputs_of
from tiers import rest_nightly

from mtra_jax import balancing

pytestmark = pytest.mark.usefixtures("float64")
LOSSES = np.array([0.3, 2.0, 0.7])
FIRST = np.array([0.6, 1.0, 2.1])
"""The losses of an earlier step."""
GRADS = GRADIENTS["independent"] * np.array([[1.0], [0.2], [5.0]])
NORMS = np.linalg.norm(GRADS, axis=1)


def softmax(x):
    weights = np.exp(x - np.max(x))
    return weights / weights.sum()


def combined(balancer, state=None, losses=LOSSES, present=None):
    present = np.ones(3, bool) if present is None else np.array(present)
    gradients = np.where(present[:, None], GRADS, 0)
    inputs = inputs_of(gradients, np.where(present, losses, 0), present=present)
    return balancer.combine(inputs, balancer.init(3) if state is None else state)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_uw_so_weighs_by_a_softmax_of_the_inverse_losses(temperature):
    balancer = balancing.uw_so(temperature)
    weights = jax.grad(
        lambda losses: (
            balancer.combine(
                inputs_of(GRADS)._replace(losses=losses), balancing.State()
            ).value
        )
    )(jnp.asarray(LOSSES))
    np.testing.assert_allclose(weights, softmax(1 / LOSSES / temperature), rtol=1e-12)
    value = combined(balancer).value
    np.testing.assert_allclose(value, weights @ LOSSES, rtol=1e-12)
    some = combined(balancer, present=[True, False, True]).value
    pair = LOSSES[[0, 2]]
    np.testing.assert_allclose(some, softmax(1 / pair / temperature) @ pair, rtol=1e-12)


def test_db_mtl_brings_the_gradients_of_the_logarithms_to_the_length_of_the_longest():
    result = combined(balancing.db_mtl())
    of_logarithms = GRADS / LOSSES[:, None]
    lengths = np.linalg.norm(of_logarithms, axis=1)
    expected = np.sum(lengths.max() / lengths[:, None] * of_logarithms, axis=0)
    np.testing.assert_allclose(result.value @ GRADS, expected, rtol=1e-12)
    np.testing.assert_allclose(result.own_weights, 1 / LOSSES, rtol=1e-12)
    some = combined(balancing.db_mtl(), present=[True, True, False])
    factor = lengths[:2].max() / lengths[:2] / LOSSES[:2]
    np.testing.assert_allclose(some.value, [*factor, 0], rtol=1e-12)
    np.testing.assert_allclose(some.own_weights, [*(1 / LOSSES[:2]), 0], rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_gradnorm_moves_the_norms_to_the_rates_of_the_tasks(alpha):
    balancer = balancing.gradnorm(alpha)
    memory = combined(balancer, losses=FIRST).memory
    np.testing.assert_array_equal(memory, FIRST)
    logits = np.array([0.3, -0.5, 0.1])

    def result_of(learned):
        return combined(balancer, balancing.State(learned, memory))

    result = result_of(jnp.asarray(logits))
    weights = 3 * softmax(logits)
    np.testing.assert_allclose(result.value, weights, rtol=1e-12)
    np.testing.assert_allclose(result.own_weights, weights, rtol=1e-12)
    np.testing.assert_array_equal(result.memory, FIRST)

    ratios = LOSSES / FIRST
    rates = ratios / ratios.mean()
    goals = (weights * NORMS).mean() * rates**alpha  # Eq. 1, a constant in Eq. 2

    def penalty(s):
        return np.sum(np.abs(3 * softmax(s) * NORMS - goals))

    np.testing.assert_allclose(result.penalty, penalty(logits), rtol=1e-12)
    actual = jax.grad(lambda s: result_of(s).penalty)(jnp.asarray(logits))
    steps = 1e-6 * np.eye(3)
    slopes = [(penalty(logits + h) - penalty(logits - h)) / 2e-6 for h in steps]
    np.testing.assert_allclose(actual, slopes, rtol=1e-6, atol=1e-8)


def test_excess_mtl_weighs_by_risks_relative_to_the_first():
    """The released code's steps, with weights that sum to 1; tasks that are not there."""
    rate, squares, first = 0.7, np.zeros((3, 5)), np.zeros(3)
    weights, latest, counts = np.full(3, 1 / 3), np.ones(3), np.zeros(3)
    balancer = balancing.excess_mtl(rate)
    state = balancer.init(3, {"w": np.zeros(5)})
    for step, present in enumerate([[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 0, 1]]):
        here = np.array(present, bool)
        rows = np.random.default_rng(step).normal(size=(3, 5)) * here[:, None]
        squares += rows**2
        risks = (rows**2 / np.sqrt(squares + 1e-7)).sum(axis=1)
        ratios = np.divide(risks, first, out=np.ones(3), where=first > 0)
        first = np.where((first == 0) & here, risks, first)
        latest, counts = np.where(here, ratios, latest), counts + here
        excess = latest * np.sqrt(np.maximum(counts, 1) / (step + 1))
        weights = weights * np.exp(rate * excess)
        weights /= weights.sum()
        inputs = balancing.Inputs(
            jnp.asarray(LOSSES), jnp.asarray(here), gradients={"w": jnp.asarray(rows)}
        )
        result = balancer.combine(inputs, state)
        state = state._replace(memory=result.memory)
        # The divisor has 1e-7 added.
        np.testing.assert_allclose(result.own_weights, weights * here, rtol=1e-6)
        np.testing.assert_allclose(result.value["w"], weights @ rows, rtol=1e-5)
        if step == 0:
            assert weights[0] == pytest.approx(weights[1], rel=1e-12)
    assert np.ptp(weights) > 0.1


def test_excess_mtl_weighs_equal_tasks_equally_however_often_they_come():
    balancer = balancing.excess_mtl()
    state = balancer.init(3, {"w": np.zeros(4)})
    rng = np.random.default_rng(0)
    for step in range(60):
        here = rng.random(3) < [1, 0.5, 0.1]
        if step == 30:
            here[:] = False  # a batch without any task moves nothing
        rows = np.sign(rng.normal(size=(3, 4))) * here[:, None]
        inputs = balancing.Inputs(
            jnp.ones(3), jnp.asarray(here), gradients={"w": jnp.asarray(rows)}
        )
        state = state._replace(memory=balancer.combine(inputs, state).memory)
        weights = np.exp(state.memory.logits)
        np.testing.assert_allclose(weights, np.full(3, 1 / 3), rtol=1e-5)
    assert state.memory.steps == 59


def units(seed=5, num_rows=6, num_units=4):
    """A representation, gradients [T, B, H] by it, and what one step needs of them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(num_rows, num_units))
    factors = rng.normal(size=(3, num_rows, num_units))
    step = balancing.value_and_grad  # losses that are linear in z have these gradients

    def made(balancer):
        return step(
            lambda p, z: (
                jnp.sum(jnp.asarray(factors) * z, axis=(1, 2)) + 0 * p["z"].sum()
            ),
            balancer,
            represent=lambda p: p["z"],
        )

    return {"z": jnp.asarray(z)}, z, factors, made


def test_excess_mtl_sums_the_gradients_of_a_representation_over_its_rows():
    """As the released code with `rep_grad`."""
    params, z, factors, made = units()
    balancer = balancing.excess_mtl()
    state = balancer.init(3, z[0])
    _, _, after = made(balancer)(params, state)
    squares = factors.sum(axis=1) ** 2
    np.testing.assert_allclose(after.memory.squares, squares, rtol=1e-9)
    with pytest.raises(ValueError, match=r"`state` must be .*\(3, 4\)"):
        made(balancer)(params, balancer.init(3, z))


def test_graddrop_draws_one_sign_for_a_unit_of_a_representation():
    """Lines 8 to 15 of Algorithm 1: the tasks' Σ sgn(z) g, one draw for all rows."""
    params, z, factors, made = units(seed=19)
    sums = (np.sign(z) * factors).sum(axis=1)
    purity = (1 + sums.sum(axis=0) / np.abs(sums).sum(axis=0)) / 2
    assert np.all((purity > 0.1) & (purity < 0.9))
    step = jax.jit(made(balancing.graddrop()))
    counts, number = np.zeros(4), 200
    for key in jax.random.split(jax.random.key(0), number):
        _, gradient, _ = step(params, balancing.State(), rng=key)
        options = [
            np.sum(np.where((sums * sign > 0)[:, None], factors, 0), axis=0)
            for sign in (1, -1)
        ]
        is_positive = np.isclose(gradient["z"], options[0]).all(axis=0)
        is_negative = np.isclose(gradient["z"], options[1]).all(axis=0)
        np.testing.assert_array_equal(is_positive, ~is_negative)
        counts += is_positive
    error = np.sqrt(purity * (1 - purity) / number)
    assert np.all(np.abs(counts / number - purity) < 4 * error)


def test_fairgrad_with_a_limit_is_scaled_down_to_it():
    gram = np.diag([1.0, 1e-4, 1e-8])
    inputs = balancing.Inputs(
        jnp.ones(3), jnp.full(3, fill_value=True), gramian=jnp.asarray(gram)
    )
    free, limited, loose = (
        balancing.fairgrad(2.0, limit).combine(inputs, balancing.State()).value
        for limit in (0.0, 1.0, 1e6)
    )
    norm = np.sqrt(free @ gram @ free)
    assert norm > 5
    np.testing.assert_allclose(limited, free / norm, rtol=1e-9)
    np.testing.assert_array_equal(loose, free)


def test_excess_mtl_gives_a_task_without_a_gradient_no_excess():
    """Its weight falls as those of the others rise, until it has a gradient."""
    balancer = balancing.excess_mtl(0.5)
    state = balancer.init(2, {"w": np.zeros(3)})
    rows = np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
    expected, squares, first = np.array([0.5, 0.5]), 0, None
    for _ in range(4):
        inputs = balancing.Inputs(
            jnp.ones(2), jnp.array([True, True]), gradients={"w": jnp.asarray(rows)}
        )
        result = balancer.combine(inputs, state)
        state = state._replace(memory=result.memory)
        squares = squares + rows[0] ** 2
        risk = np.sum(rows[0] ** 2 / np.sqrt(squares))
        first = risk if first is None else first
        expected = expected * np.exp(0.5 * np.array([risk / first, 0]))
        expected /= expected.sum()
        np.testing.assert_allclose(result.own_weights, expected, rtol=1e-5)


def test_a_task_that_comes_later_has_the_first_loss_that_it_had():
    balancer = balancing.gradnorm()
    memory = combined(balancer, losses=FIRST, present=[True, False, True]).memory
    np.testing.assert_array_equal(memory, [FIRST[0], 0, FIRST[2]])
    later = combined(balancer, balancing.State(jnp.zeros(3), memory)).memory
    np.testing.assert_array_equal(later, [FIRST[0], LOSSES[1], FIRST[2]])


def test_config_has_equal_cosines_and_the_length_of_all_projections():
    """g = (Σ g_tᵀ u) u with u along the pseudo-inverse of the unit gradients."""
    actual = combined(balancing.config()).value @ GRADS
    units = GRADS / NORMS[:, None]
    along = np.linalg.pinv(units) @ np.ones(3)
    along /= np.linalg.norm(along)
    np.testing.assert_allclose(actual, np.sum(GRADS @ along) * along, rtol=1e-9)


@pytest.mark.parametrize("scale", ["min", "rmse"])
def test_aligned_mtl_is_the_mean_of_gradients_with_equal_singular_values(scale):
    actual = combined(balancing.aligned_mtl(scale)).value @ GRADS
    left, singular, right = np.linalg.svd(GRADS, full_matrices=False)
    length = {
        "min": singular.min(),
        "rmse": np.sqrt(np.mean(singular**2)),
    }[scale]
    np.testing.assert_allclose(actual, length * np.mean(left @ right, 0), rtol=1e-9)


def test_imtl_g_has_equal_projections_on_the_unit_gradients():
    weights = np.asarray(combined(balancing.imtl_g()).value)
    projections = GRADS @ (weights @ GRADS) / NORMS
    np.testing.assert_allclose(projections, projections[0], rtol=1e-9)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)


# ---- parameters of a single task


def losses_fn(params, x, y):
    hidden = jnp.tanh(x @ params["encoder"])
    outputs = jnp.stack([hidden @ head for head in params["heads"]], axis=1)
    return jnp.mean((outputs - y) ** 2, axis=0)


def own_weights(name, losses, weights):
    """The weights of the sources for the gradients of the heads."""
    if name == "db_mtl":
        return 1 / losses
    return weights if name in ("gradnorm", "excess_mtl") else np.ones(3)


@pytest.mark.parametrize("name", ["nash_mtl", "fairgrad", "gradnorm", "db_mtl"])
def test_heads_of_zeros_move(name):
    """Their tasks have no gradient of the shared parameters yet."""
    params = {"encoder": jnp.ones((4, 6)), "heads": [jnp.zeros(6)] * 3}
    balancer = getattr(balancing, name)()
    step = balancing.value_and_grad(
        losses_fn, balancer, select=lambda _: {"encoder": True, "heads": False}
    )
    _, gradient, _ = step(params, balancer.init(3), np.ones((8, 4)), np.ones((8, 3)))
    for head in gradient["heads"]:  # each loss is 1
        np.testing.assert_allclose(head, -2 * np.tanh(4.0) * np.ones(6), rtol=1e-12)


def test_db_mtl_takes_the_logarithm_for_heads_of_zeros_too():
    x, y = np.ones((8, 4)), np.full((8, 3), 0.5)
    params = {"encoder": jnp.ones((4, 6)), "heads": [jnp.zeros(6), jnp.ones(6)] * 2}
    params["heads"].pop()
    balancer = balancing.db_mtl()
    step = balancing.value_and_grad(
        losses_fn, balancer, select=lambda _: {"encoder": True, "heads": False}
    )
    _, gradient, _ = step(params, balancer.init(3), x, y)
    # The loss is 1/4, and its gradient −2 · 0.5 · z.
    np.testing.assert_allclose(gradient["heads"][0], -4 * np.tanh(4.0), rtol=1e-12)


@pytest.mark.parametrize("has_representation", [False, True])
@pytest.mark.parametrize(
    "name",
    rest_nightly(
        ["db_mtl", "nash_mtl", "fairgrad", "gradnorm", "pcgrad", "mgda", "excess_mtl"],
        ["db_mtl", "gradnorm", "mgda", "excess_mtl"],
    ),
)
def test_a_head_takes_the_weight_that_its_source_gives_it(name, has_representation):
    rng = np.random.default_rng(3)
    params = {
        "encoder": jnp.asarray(rng.normal(size=(4, 6))),
        "heads": [jnp.asarray(scale * rng.normal(size=6)) for scale in (0.1, 1, 2)],
    }
    x, y = rng.normal(size=(8, 4)), rng.normal(size=(8, 3))
    options = {"max_norm": 0} if name == "nash_mtl" else {}
    balancer = getattr(balancing, name)(**options)
    z = np.tanh(x @ np.asarray(params["encoder"]))
    like = (z[0] if has_representation else params,) if name == "excess_mtl" else ()
    state = balancer.init(3, *like)
    if name == "excess_mtl":  # its first weights are all 1/T
        memory = state.memory._replace(logits=jnp.array([0.5, -0.2, 0.1]))
        state = state._replace(memory=memory)
    if name == "gradnorm":
        state = state._replace(learned=jnp.array([0.5, -0.2, 0.1]))
    if has_representation:
        step = balancing.value_and_grad(
            lambda p, z, x, y: jnp.mean(
                (jnp.stack([z @ head for head in p["heads"]], axis=1) - y) ** 2, axis=0
            ),
            balancer,
            represent=lambda p, x, y: jnp.tanh(x @ p["encoder"]),
        )
    else:
        step = balancing.value_and_grad(
            losses_fn, balancer, select=lambda _: {"encoder": True, "heads": False}
        )
    (_, aux), gradient, _ = step(params, state, x, y, rng=jax.random.key(0))
    # A head of a linear layer with squared errors.
    for task, weight in enumerate(
        own_weights(name, *map(np.asarray, (aux.losses, aux.weights)))
    ):
        residual = z @ np.asarray(params["heads"][task]) - y[:, task]
        expected = weight * 2 * residual @ z / len(z)
        np.testing.assert_allclose(gradient["heads"][task], expected, rtol=1e-7)


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1 / 3), ("sum", 1.0)])
def test_ew_takes_weights_of_your_own(reduction, factor):
    weights = np.array([2.0, 0.0, 0.5])
    balancer = balancing.ew(reduction, weights=list(weights))
    present = [True, True, False]
    value = combined(balancer, present=present).value
    np.testing.assert_allclose(value, factor * (2.0 * 0.3), rtol=1e-12)
    step = balancing.value_and_grad(lambda x: x * jnp.asarray(LOSSES), balancer)
    (_, aux), gradient, _ = step(jnp.ones(3), balancing.State())
    np.testing.assert_allclose(aux.weights, factor * weights, rtol=1e-12)
    np.testing.assert_allclose(gradient, factor * weights * LOSSES, rtol=1e-12)
    with pytest.raises(ValueError, match="`weights` must be a finite number, or 3"):
        combined(balancing.ew(weights=[1.0, 2.0]))
