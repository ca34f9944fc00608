"""The small problems against SciPy's SLSQP, optimality conditions and closed forms."""

import jax
import numpy as np
import pytest
from matrices import GRADIENTS, combine, direction, inputs_of
from scipy import optimize

from mtra_jax import balancing

pytestmark = [pytest.mark.usefixtures("float64"), pytest.mark.slow]
each = pytest.mark.parametrize("name", GRADIENTS)
# One object each, so that tests of gradients of one shape share a program.
BALANCERS = {
    name: getattr(balancing, name)()
    for name in (
        *("mgda", "cagrad", "upgrad", "nash_mtl", "fairgrad", "aligned_mtl"),
        *("config", "imtl_g", "db_mtl"),
    )
}
BARGAIN = balancing.nash_mtl(0)
FAIRGRAD = {alpha: balancing.fairgrad(alpha) for alpha in (0.5, 1.0, 2.0, 5.0)}


def gram_of(name):
    gradients = GRADIENTS[name]
    gram = gradients @ gradients.T
    return gram / np.trace(gram)


def weights_of(balancer, name, **options):
    inputs = inputs_of(GRADIENTS[name], **options)
    state = balancer.init(len(inputs.losses))
    return np.asarray(combine(balancer, inputs, state).value)


def slsqp(objective, count, *, on_simplex):
    """The best of several starts."""
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    ends = [
        optimize.minimize(
            objective,
            np.random.default_rng(seed).dirichlet(np.ones(count)),
            bounds=[(0, None)] * count,
            constraints=[constraint] if on_simplex else [],
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 2000},
        )
        for seed in range(5)
    ]
    return min(ends, key=lambda end: end.fun)


@each
def test_mgda_finds_the_shortest_vector_of_the_hull(name):
    gram, w = gram_of(name), weights_of(BALANCERS["mgda"], name)
    reference = slsqp(lambda w: w @ gram @ w / 2, len(gram), on_simplex=True)
    assert w @ gram @ w / 2 <= reference.fun + 1e-9
    assert w.min() >= 0
    np.testing.assert_allclose(w.sum(), 1, rtol=1e-12)
    # KKT: no gradient has a smaller inner product with the vector than its square.
    assert np.min(gram @ w) >= w @ gram @ w - 1e-9


@each
def test_cagrad_is_the_mean_moved_towards_the_worst_task(name):
    gram, count = gram_of(name), len(GRADIENTS[name])
    mean = np.full(count, 1 / count)
    radius = 0.5 * np.sqrt(mean @ gram @ mean)

    def worst(w):
        return mean @ gram @ w + radius * np.sqrt(w @ gram @ w)

    reference = slsqp(worst, count, on_simplex=True).x
    norm = np.sqrt(reference @ gram @ reference)
    expected = GRADIENTS[name].T @ (mean + radius / norm * reference)
    actual = direction(BALANCERS["cagrad"], GRADIENTS[name])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual / scale, expected / scale, atol=1e-6)


@each
def test_upgrad_projects_each_gradient_on_the_dual_cone(name):
    gram = gram_of(name) + 1e-4 * np.eye(len(GRADIENTS[name]))
    rows = []
    for unit in np.eye(len(gram)):
        end = slsqp(
            lambda x, unit=unit: (unit + x) @ gram @ (unit + x) / 2,
            len(gram),
            on_simplex=False,
        )
        rows.append(unit + end.x)
    actual = weights_of(BALANCERS["upgrad"], name)
    # SLSQP itself is this exact where the Gramian is uneven.
    gap = GRADIENTS[name].T @ (actual - np.mean(rows, axis=0))
    scale = np.linalg.norm(GRADIENTS[name].T @ np.mean(rows, axis=0))
    assert np.linalg.norm(gap) <= 1e-5 * scale


@pytest.mark.parametrize("alpha", FAIRGRAD)
@pytest.mark.parametrize("name", ["independent", "eight", "conflicting", "parallel"])
def test_fairgrad_solves_its_equations(name, alpha):
    gradients = GRADIENTS[name]
    w = weights_of(FAIRGRAD[alpha], name)
    assert w.min() > 0
    np.testing.assert_allclose(
        gradients @ (gradients.T @ w), w ** (-1 / alpha), rtol=1e-9
    )


@pytest.mark.parametrize("name", [*GRADIENTS])
def test_nash_mtl_solves_its_equations_at_any_scale(name):
    gradients = GRADIENTS[name]
    a = weights_of(BARGAIN, name)
    np.testing.assert_allclose(gradients @ (gradients.T @ a) * a, 1, rtol=1e-9)
    d = direction(BALANCERS["nash_mtl"], gradients)
    np.testing.assert_allclose(np.linalg.norm(d), 1, rtol=1e-9)


def test_solutions_in_float32_are_near_those_in_float64():
    for name in ("independent", "conflicting", "parallel"):
        for balancer in map(BALANCERS.get, ("mgda", "cagrad", "upgrad")):
            wide = GRADIENTS[name].T @ weights_of(balancer, name)
            narrow = weights_of(balancer, name, dtype=np.float32)
            assert narrow.dtype == np.float32
            gap = np.linalg.norm(GRADIENTS[name].T @ narrow - wide)
            assert gap <= 1e-4 * np.linalg.norm(wide)


@pytest.mark.parametrize("case", ["all", "absent", "twice"])
@pytest.mark.parametrize("shift", [0.0, -0.2, 0.5])
@pytest.mark.parametrize(
    "name", ["mgda", "cagrad", "upgrad", "fairgrad", "nash_mtl", "imtl_g"]
)
def test_float32_resolves_the_conflicts_of_almost_orthogonal_gradients(
    name, shift, case
):
    """Cosines of a few hundredths, as of networks; the Gramian is rounded to float32."""
    draws = np.random.default_rng(int(10 * abs(shift)))
    gradients = draws.normal(size=(8, 1000)) * draws.uniform(0.3, 3, size=(8, 1))
    gradients += shift * draws.normal(size=1000)
    balancer, options = BALANCERS[name], {}
    if case == "absent":
        gradients[3] = 0
        options["present"] = np.arange(8) != 3
    if case == "twice":
        gradients[5] = gradients[np.linalg.norm(gradients, axis=1).argmin()]
    with jax.enable_x64(False):
        single = direction(balancer, gradients, dtype=np.float32, **options)
    double = direction(balancer, gradients, **options)
    error = np.linalg.norm(single - double) / np.linalg.norm(double)
    assert error < 1e-5


def test_worked_example_of_two_orthogonal_gradients():
    """MGDA weighs by the other's square; Nash-MTL by the inverse norm."""
    gradients = np.array([[2.0, 0.0], [0.0, 1.0]])
    inputs = inputs_of(gradients)
    w = np.asarray(combine(BALANCERS["mgda"], inputs, balancing.State()).value)
    np.testing.assert_allclose(w, [0.2, 0.8], rtol=1e-9)
    a = np.asarray(combine(BARGAIN, inputs, balancing.State()).value)
    np.testing.assert_allclose(a, [0.5, 1.0], rtol=1e-9)


def test_a_task_that_has_converged_stops_mgda_and_not_cagrad():
    """Its gradient is 0: MGDA has ended, CAGrad goes along the mean of the others."""
    gradients = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0], [0.0, 0.0, 0.0]])
    with jax.enable_x64(False):
        shortest = direction(BALANCERS["mgda"], gradients, dtype=np.float32)
        mean = direction(BALANCERS["cagrad"], gradients, dtype=np.float32)
    # The solver adds 8 eps to the diagonal of the Gramian over its trace, 7.
    moving = gradients[:2]
    w = 8 * np.finfo(np.float32).eps * 7 * np.linalg.solve(moving @ moving.T, [1, 1])
    np.testing.assert_allclose(shortest, moving.T @ w, rtol=1e-3)
    np.testing.assert_allclose(mean, gradients.mean(axis=0), rtol=1e-6)


def test_absent_tasks_have_no_weight():
    gradients = GRADIENTS["independent"].copy()
    gradients[1] = 0
    present = [True, False, True]
    others = gradients[[0, 2]]
    for name, balancer in BALANCERS.items():
        whole = direction(balancer, gradients, present=present)
        np.testing.assert_allclose(
            whole, direction(balancer, others), rtol=1e-6, atol=1e-9, err_msg=name
        )


def test_solvers_are_batched_by_vmap():
    grams = np.stack([gram_of("independent"), np.eye(3) / 3])

    def weights(gram):
        inputs = inputs_of(np.eye(3))._replace(gramian=gram)
        return BALANCERS["mgda"].combine(inputs, balancing.State()).value

    both = jax.jit(jax.vmap(weights))(grams)
    np.testing.assert_allclose(both[0], weights_of(BALANCERS["mgda"], "independent"))
    np.testing.assert_allclose(both[1], 1 / 3, rtol=1e-9)
