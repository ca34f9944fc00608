"""Values of TorchJD on the same gradients and losses, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matrices import GRADIENTS, direction, inputs_of

from mtra_jax import balancing
from mtra_jax.balancing import projections

torch = pytest.importorskip("torch")
aggregation = pytest.importorskip("torchjd.aggregation")
scalarization = pytest.importorskip("torchjd.scalarization")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("float64")]

PAIRS = {
    "aligned_mtl": (balancing.aligned_mtl(), lambda: aggregation.AlignedMTL()),
    "aligned_mtl_rmse": (
        balancing.aligned_mtl("rmse"),
        lambda: aggregation.AlignedMTL(scale_mode="rmse"),
    ),
    "config": (balancing.config(), lambda: aggregation.ConFIG()),
    "imtl_g": (balancing.imtl_g(), lambda: aggregation.IMTLG()),
    "mgda": (balancing.mgda("frank_wolfe"), lambda: aggregation.MGDA()),
}


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("method", PAIRS)
def test_the_direction_is_that_of_torchjd(method, name):
    ours, theirs = PAIRS[method]
    expected = theirs()(torch.tensor(GRADIENTS[name])).numpy()
    actual = direction(ours, GRADIENTS[name])
    np.testing.assert_allclose(
        actual, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max()
    )


def test_excess_risks_add_up_over_steps():
    """Without a first step, TorchJD does not divide the first risk."""
    theirs = aggregation.ExcessMTL(n_warmup_steps=1)
    balancer = balancing.excess_mtl()
    state = balancer.init(3, {"w": np.zeros(7)})
    for step in range(4):
        gradients = np.random.default_rng(step).normal(size=(3, 7))
        result = balancer.combine(inputs_of(gradients), state)
        state = state._replace(memory=result.memory)
        expected = theirs(torch.tensor(gradients)).numpy()
        np.testing.assert_allclose(result.value["w"], expected, rtol=1e-7)


@pytest.fixture
def one_order(monkeypatch):
    """TorchJD visits the other tasks in ascending order."""
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))


def test_pcgrad_projects_as_torchjd_does(one_order):
    for gradients in GRADIENTS.values():
        orders = np.tile(np.arange(len(gradients)), (len(gradients), 1))
        coefficients = projections.project(jnp.asarray(gradients @ gradients.T), orders)
        actual = gradients.T @ np.asarray(coefficients).sum(axis=0)
        expected = aggregation.PCGrad()(torch.tensor(gradients)).numpy()
        np.testing.assert_allclose(
            actual, expected, rtol=1e-8, atol=1e-8 * np.abs(gradients).max()
        )


def test_gradvac_moves_its_averages_as_torchjd_does(one_order):
    theirs = aggregation.GradVac(beta=0.3, eps=0.0)
    averages = jnp.zeros((3, 3))
    for step in range(4):
        gradients = np.random.default_rng(step).normal(size=(3, 5))
        orders = np.tile(np.arange(3), (3, 1))
        coefficients, averages = projections.vaccinate(
            jnp.asarray(gradients @ gradients.T),
            orders,
            averages,
            np.full(3, True),
            0.3,
        )
        actual = gradients.T @ np.asarray(coefficients).sum(axis=0)
        expected = theirs(torch.tensor(gradients)).numpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_graddrop_drops_the_signs_of_torchjd(monkeypatch):
    gradients = GRADIENTS["eight"]
    draws = jax.random.uniform(
        jax.random.split(jax.random.key(0), 1)[0], (20,), "float64"
    )
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(np.array(draws)))
    expected = aggregation.GradDrop()(torch.tensor(gradients)).numpy()
    np.testing.assert_allclose(direction(balancing.graddrop(), gradients), expected)


# ---- methods whose small problem TorchJD gives to a solver

GAP = 1e-8
"""Clarabel and ECOS end where the value of the problem is this close to the best."""


@functools.cache
def compiled(make, option):
    """Inputs -> the weights [T] of `make(option)`, compiled once for each T."""
    balancer = make(option)
    return jax.jit(lambda inputs: balancer.combine(inputs, balancing.State()).value)


def directions(make, option, make_theirs, name):
    """Our weights, our direction and TorchJD's; skips without TorchJD's solver."""
    try:
        theirs = make_theirs()
    except ImportError as error:
        pytest.skip(" ".join(str(error).split()))
    gradients = GRADIENTS[name]
    weights = np.asarray(compiled(make, option)(inputs_of(gradients)))
    return weights, gradients.T @ weights, theirs(torch.tensor(gradients)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("c", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", GRADIENTS)
def test_cagrad_has_the_direction_of_torchjd(name, c):
    _, actual, expected = directions(
        balancing.cagrad, c, lambda: aggregation.CAGrad(c=c), name
    )
    if not expected.any():
        # TorchJD takes 0 where ‖g_w‖ is below 1e-4; here it is g_0, as in the released code.
        np.testing.assert_allclose(actual, GRADIENTS[name].mean(axis=0), rtol=1e-12)
        return
    # The problem over w has a value of at least ‖g_w‖ ‖d − d*‖² / 2r above the best, in
    # units in which the gradients have the norm 1 together. TorchJD's direction is g_0 +
    # r g_w / ‖g_w‖; its weights 1/T + r/‖g_w‖ w sum to 1 + r/‖g_w‖.
    weights = np.linalg.lstsq(GRADIENTS[name].T, expected, rcond=None)[0]
    ratio = max(weights.sum() - 1, 0)
    error = np.linalg.norm(actual - expected) / np.linalg.norm(GRADIENTS[name])
    assert error <= np.sqrt(2 * GAP * ratio) + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADIENTS)
def test_upgrad_has_the_direction_of_torchjd(name):
    """Both add 1e-4 to the diagonal of the Gramian over its trace; quadprog is exact."""
    _, actual, expected = directions(balancing.upgrad, 1e-4, aggregation.UPGrad, name)
    scale = np.linalg.norm(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.5, 2.0])
@pytest.mark.parametrize("name", GRADIENTS)
def test_fairgrad_has_the_direction_of_torchjd(name, alpha):
    _, actual, expected = directions(
        balancing.fairgrad, alpha, lambda: aggregation.FairGrad(alpha=alpha), name
    )
    # SciPy's least squares end at a gradient of 1e-8, which is at most 1e-6 of the
    # direction with these matrices ("uneven", where it may be more, ends far below).
    assert np.linalg.norm(actual - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADIENTS)
def test_nash_mtl_is_fairgrad_of_torchjd_with_alpha_1(name):
    _, actual, expected = directions(
        balancing.nash_mtl, 0.0, lambda: aggregation.FairGrad(alpha=1.0), name
    )
    assert np.linalg.norm(actual - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem")
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
# TorchJD's adaptation of the released code does not solve the others. "conflicting": the
# sum of the gradients, its first guess, has a product of 0 with one of them; the guess
# stays. "uneven": ECOS's solutions are inaccurate and do not settle. "single": cvxpy
# raises an error.
@pytest.mark.parametrize("name", ["independent", "eight", "dependent", "parallel"])
def test_nash_mtl_has_the_direction_of_torchjd(name, max_norm):
    gradients = GRADIENTS[name]
    count = len(gradients)
    _, actual, expected = directions(
        balancing.nash_mtl,
        max_norm,
        lambda: aggregation.NashMTL(n_tasks=count, max_norm=max_norm),
        name,
    )
    # TorchJD divides the problem's value by ‖G‖, so that the gap leaves errors of up to
    # about GAP ‖G‖ in log α_t (G α)_t, which is 0 at the solution. An error vector of norm
    # e moves the direction, of norm √T, by at most e / 2.
    error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    assert error <= GAP * np.linalg.norm(gradients @ gradients.T) / 2


# ---- scalarisations: value, derivatives by losses and by learned numbers

LOSSES = np.array([0.7, 0.02, 12.0])
LEARNED = np.array([0.3, -0.2, 1.1])


def ours_of(balancer, learned=None):
    state = balancer.init(3)
    if learned is not None:
        state = state._replace(learned=jnp.asarray(learned))
    inputs = inputs_of(np.eye(3))

    def value(losses, learned):
        result = balancer.combine(
            inputs._replace(losses=losses), state._replace(learned=learned)
        )
        return result.value

    return jax.value_and_grad(value, (0, 1))(jnp.asarray(LOSSES), state.learned)


@pytest.mark.parametrize(
    ("balancer", "make", "key"),
    [
        (balancing.uw(0.5), lambda: scalarization.UW(3), "log_var"),
        (balancing.imtl_l(), lambda: scalarization.IMTLL(3), "log_scale"),
        (balancing.gls(), lambda: scalarization.GeometricMean(), None),
        (balancing.ew(), lambda: scalarization.Mean(), None),
        (balancing.ew("sum"), lambda: scalarization.Sum(), None),
        (
            balancing.stch(0.3, [0.2, 0.5, 0.3], [0.1, 0.0, 0.2]),
            lambda: scalarization.STCH(
                mu=0.3,
                weights=torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
                reference=torch.tensor([0.1, 0.0, 0.2], dtype=torch.float64),
            ),
            None,
        ),
        (balancing.famo(), lambda: scalarization.FAMO(3), None),
    ],
    ids=["uw", "imtl_l", "gls", "mean", "sum", "stch", "famo"],
)
def test_scalarisations_have_the_values_of_torchjd(balancer, make, key):
    theirs = make().double()
    learned = None
    if key is not None:
        learned = LEARNED
        with torch.no_grad():
            getattr(theirs, key).copy_(torch.tensor(LEARNED))
    losses = torch.tensor(LOSSES, requires_grad=True)
    expected = theirs(losses)
    expected.backward()
    value, (weights, by_learned) = ours_of(balancer, learned)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-7)
    np.testing.assert_allclose(weights, losses.grad.numpy(), rtol=1e-7)
    if key is not None:
        np.testing.assert_allclose(
            by_learned, getattr(theirs, key).grad.numpy(), rtol=1e-9
        )


def test_dynamic_averages_follow_torchjd_over_epochs():
    theirs, balancer = scalarization.DWA(), balancing.dwa(3)
    state = balancer.init(3)
    for step in range(12):
        losses = np.random.default_rng(step).uniform(0.1, 2, 3)
        if step and step % 3 == 0:
            theirs.step()
        expected = theirs(torch.tensor(losses)).item()
        inputs = inputs_of(np.eye(3), losses)
        result = balancer.combine(inputs, state)
        state = state._replace(memory=result.memory)
        np.testing.assert_allclose(result.value, expected, rtol=1e-9)


def test_famo_learns_from_the_change_of_the_losses():
    """With a batch that does not change, the next losses are those after the step."""
    theirs = scalarization.FAMO(3).double()
    balancer = balancing.famo()
    state = balancer.init(3)
    first, second = LOSSES, np.array([0.5, 0.03, 11.0])
    result = balancer.combine(inputs_of(np.eye(3), first), state)
    state = state._replace(memory=result.memory)

    def value(learned):
        inputs = inputs_of(np.eye(3), second)
        return balancer.combine(inputs, state._replace(learned=learned)).value

    actual = jax.grad(value)(state.learned)
    theirs(torch.tensor(first))
    theirs._optimizer = torch.optim.SGD([theirs._w], lr=1.0)
    before = theirs._w.detach().clone()
    theirs.update(torch.tensor(second))
    captured = (before - theirs._w.detach()).numpy()
    np.testing.assert_allclose(actual, captured, rtol=1e-6, atol=1e-12)
