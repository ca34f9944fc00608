"""Properties that all balancers share, from one table: extremes, permutations, one task."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from matrices import GRADIENTS, combine, direction, inputs_of
from tiers import rest_nightly

from mtra_jax import balancing
from mtra_jax.balancing import rows

pytestmark = pytest.mark.slow

READ_LOSSES = {
    "ew": balancing.ew(),
    "tw": balancing.tw([1, 2, 3]),
    "rlw": balancing.rlw(),
    "uw": balancing.uw(),
    "imtl_l": balancing.imtl_l(),
    "uw_so": balancing.uw_so(),
    "gls": balancing.gls(),
    "si": balancing.si(),
    "stch": balancing.stch(),
    "dwa": balancing.dwa(2),
    "famo": balancing.famo(),
    "go4align": balancing.go4align(),
}
READ_GRADIENTS = {
    "pcgrad": balancing.pcgrad(),
    "gradvac": balancing.gradvac(),
    "upgrad": balancing.upgrad(),
    "aligned_mtl": balancing.aligned_mtl(),
    "config": balancing.config(),
    "imtl_g": balancing.imtl_g(),
    "mgda": balancing.mgda(),
    "mgda_frank_wolfe": balancing.mgda("frank_wolfe"),
    "cagrad": balancing.cagrad(),
    "nash_mtl": balancing.nash_mtl(),
    "fairgrad": balancing.fairgrad(),
    "db_mtl": balancing.db_mtl(),
    "gradnorm": balancing.gradnorm(),
    "graddrop": balancing.graddrop(),
    "excess_mtl": balancing.excess_mtl(),
}
DRAWN = ("rlw", "pcgrad", "gradvac", "graddrop")
# Public functions that are not balancers.
OTHERS = {"combine_gradients", "samo_value_and_grad", "value_and_grad"}
HARD = {
    "zero": np.zeros((3, 4)),
    "one_zero": np.array([[1.0, 2.0], [0.0, 0.0], [0.5, -1.0]]),
    "ew": np.ones((3, 4)),
    "opposite": np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]),
    "cancel": np.array([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]]),
    "tiny": 1e-8 * GRADIENTS["independent"],
    "huge": 1e8 * GRADIENTS["independent"],
    **{name: GRADIENTS[name] for name in ("dependent", "uneven", "parallel")},
}


def test_the_tables_hold_every_balancer():
    functions = {name for name in balancing.__all__ if name.islower()} - OTHERS
    assert READ_LOSSES.keys() | READ_GRADIENTS.keys() == functions | {
        "mgda_frank_wolfe"
    }
    for table, is_of_losses in ((READ_LOSSES, True), (READ_GRADIENTS, False)):
        for name, balancer in table.items():
            assert (balancer.reads is balancing.Reads.LOSSES) == is_of_losses, name


@pytest.mark.parametrize("name", READ_LOSSES | READ_GRADIENTS)
def test_a_compiled_step_can_take_over_the_memory_of_the_first_state(name):
    """No array stands in two places, which JAX refuses to donate."""
    balancer = (READ_LOSSES | READ_GRADIENTS)[name]
    like = (jnp.ones((3, 4)),) if "excess" in name else ()
    for count in (1, 3):
        state = balancer.init(count, *like)
        before = jax.tree.map(np.array, state)
        after = jax.jit(lambda state: state, donate_argnums=0)(state)
        jax.tree.map(np.testing.assert_array_equal, after, before)


def precisions_of_products(jaxpr):
    """The precision of each matrix product in a jaxpr and in those that it calls."""
    precisions = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            precisions.append(equation.params["precision"])
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            precisions += precisions_of_products(inner)
    return precisions


def assert_in_full_precision(function, *args):
    """Other devices than CPUs round the inputs of products to 8 or 11 bits by default."""
    full = jax.lax.Precision.HIGHEST
    precisions = precisions_of_products(jax.make_jaxpr(function)(*args).jaxpr)
    assert set(precisions) <= {(full, full)}
    return len(precisions)


@pytest.mark.parametrize("name", READ_LOSSES | READ_GRADIENTS)
@pytest.mark.parametrize(
    "transform", [balancing.value_and_grad, balancing.samo_value_and_grad]
)
def test_a_balancers_products_are_in_full_precision(transform, name):
    balancer = (READ_LOSSES | READ_GRADIENTS)[name]

    def losses(params):
        return jnp.sum(jnp.sin(params), axis=1)

    keys = jax.random.split(jax.random.key(0))
    step = transform(losses, balancer)
    params = jnp.ones((3, 4))
    state = balancer.init(3, params) if "excess" in name else balancer.init(3)
    number = assert_in_full_precision(
        lambda params, state: step(params, state, rng=keys[0]), params, state
    )
    # At least the Gramian and the weighted sum, or what stands in their place.
    assert number >= 1 or balancer.reads is not balancing.Reads.GRAMIAN


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, balancer in READ_GRADIENTS.items()
        if balancer.reads is balancing.Reads.GRAMIAN
    ],
)
def test_the_products_of_a_combination_are_in_full_precision(name):
    """That of a step of the trainer, too."""
    balancer = READ_GRADIENTS[name]

    def weigh(gram):
        key, present = jax.random.key(0), jnp.ones(3, bool)
        inputs = balancing.Inputs(jnp.ones(3), present, key, gram)
        return rows.combined(balancer, inputs, balancer.init(3)).value

    assert_in_full_precision(weigh, jnp.eye(3))


@pytest.mark.parametrize("dtype", rest_nightly([np.float32, np.float64], [np.float32]))
@pytest.mark.parametrize("name", READ_GRADIENTS)
def test_directions_are_finite(float64, name, dtype):
    for kind, gradients in HARD.items():
        result = direction(READ_GRADIENTS[name], gradients, dtype=dtype)
        assert np.isfinite(result).all(), kind
        if kind == "zero":
            np.testing.assert_array_equal(result, 0)


@pytest.mark.parametrize("name", READ_LOSSES | READ_GRADIENTS)
def test_a_task_learned_by_heart_leaves_steps_of_a_usable_size(name):
    """Its loss rounds to 0 in float32, its gradient does not."""

    def losses(params):
        logits = params + jnp.array([[20.0, 0.0], [0.0, 0.0]])
        return -jax.nn.log_softmax(logits)[:, 0]

    params = jnp.zeros((2, 2))
    gradients = jax.jacobian(losses)(params)
    assert params.dtype == jnp.float32
    assert losses(params)[0] == 0 < jnp.abs(gradients[0]).max() < 1e-8
    balancer = (READ_LOSSES | READ_GRADIENTS)[name]
    if name == "tw":
        balancer = balancing.tw([1, 2])
    extra = (params,) if balancer.reads is balancing.Reads.GRADIENTS else ()
    state = balancer.init(2, *extra)
    step = jax.jit(balancing.value_and_grad(losses, balancer))
    for _ in range(3):
        (_, aux), gradient, state = step(params, state, rng=jax.random.key(0))
        # FairGrad's is ‖g‖^(−1/3) = 786 by its definition, all others below 3.
        assert jnp.linalg.norm(gradient) < (1000 if name == "fairgrad" else 3)
        assert aux.weights is None or not np.any(aux.weights > 1e12)


@pytest.mark.parametrize("name", READ_LOSSES)
def test_values_and_weights_are_finite_for_losses_of_any_size(name):
    balancer = READ_LOSSES[name]
    state = balancer.init(3)

    def value(losses, learned):
        inputs = inputs_of(np.eye(3), losses, dtype=np.float32)
        return balancer.combine(inputs, state._replace(learned=learned)).value

    step = jax.jit(jax.value_and_grad(value, (0, 1)))
    for losses in ([0, 0, 0], [1e-8, 1, 1e8], [1e8, 1e8, 1e8], [1e-8, 1e-8, 1e-8]):
        for leaf in jax.tree.leaves(step(np.float32(losses), state.learned)):
            assert np.isfinite(leaf).all(), losses


@pytest.mark.parametrize("name", [*READ_LOSSES, *READ_GRADIENTS])
def test_without_a_task_the_value_is_zero_and_nothing_moves(name):
    balancer = (READ_LOSSES | READ_GRADIENTS)[name]
    params = jnp.array([1.0, -2.0, 3.0])
    like = [params] if balancer.reads is balancing.Reads.GRADIENTS else []
    step = jax.jit(balancing.value_and_grad(lambda p: p**2, balancer))
    state = balancer.init(3, *like)
    rng = jax.random.key(0)
    (value, _), gradient, _ = step(params, state, present=np.zeros(3, bool), rng=rng)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    "name", [n for n in READ_GRADIENTS if n not in (*DRAWN, "excess_mtl")]
)
def test_the_order_of_the_tasks_does_not_matter(float64, name):
    gradients, order = GRADIENTS["independent"], [2, 0, 1]
    losses = np.array([0.5, 1.0, 2.0])
    expected = direction(READ_GRADIENTS[name], gradients, losses=losses)
    actual = direction(READ_GRADIENTS[name], gradients[order], losses=losses[order])
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("name", [*READ_LOSSES, *READ_GRADIENTS])
def test_the_loss_of_an_absent_task_is_ignored(float64, name):
    balancer = (READ_LOSSES | READ_GRADIENTS)[name]
    params, present = jnp.array([1.0, -2.0, 3.0]), np.array([True, False, True])
    like = [params] if balancer.reads is balancing.Reads.GRADIENTS else []
    state, rng = balancer.init(3, *like), jax.random.key(0)
    results = []
    for losses_fn in (lambda p: p**2, lambda p: jnp.where(present, p**2, 0)):
        step = jax.jit(balancing.value_and_grad(losses_fn, balancer))
        (value, _), gradient, after = step(params, state, present=present, rng=rng)
        results.append((value, gradient, after))
    jax.tree.map(np.testing.assert_array_equal, *results)
    assert results[0][1][1] == 0


@pytest.mark.parametrize("ratio", [1e3, 1e5, 1e8])
def test_imtl_g_of_gradients_of_very_different_sizes(ratio):
    gradients = np.array([[1.0, 0.2], [0.0, 1 / ratio]])
    norms = np.linalg.norm(gradients, axis=1)
    solution = np.linalg.solve(gradients @ gradients.T, norms)
    inputs = inputs_of(gradients, dtype=np.float32)
    actual = combine(balancing.imtl_g(), inputs, balancing.State()).value
    np.testing.assert_allclose(actual, solution / solution.sum(), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 300.0])
def test_excess_mtl_squares_narrow_gradients_in_float32(scale):
    """Squares of 300 overflow in float16, those of 1e-4 are 0 there."""
    rows = scale * np.random.default_rng(0).normal(size=(2, 50)) * [[1], [5]]
    rows = rows.astype(np.float16)
    wide = direction(balancing.excess_mtl(), rows, dtype=np.float32)
    narrow = direction(balancing.excess_mtl(), rows, dtype=np.float16)
    largest = np.abs(rows.astype(np.float32)).max()
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=2**-9 * largest)


@pytest.mark.parametrize("name", READ_GRADIENTS)
def test_one_task_moves_along_its_gradient(float64, name):
    gradients = GRADIENTS["single"]
    result = direction(READ_GRADIENTS[name], gradients)
    cosine = result @ gradients[0] / np.linalg.norm(result) / np.linalg.norm(gradients)
    np.testing.assert_allclose(cosine, 1, rtol=1e-9)


@pytest.mark.parametrize(
    "name",
    ["pcgrad", "upgrad", "mgda", "cagrad", "nash_mtl", "fairgrad", "config", "imtl_g"],
)
def test_orthogonal_gradients_do_not_conflict(float64, name):
    result = direction(READ_GRADIENTS[name], np.diag([1.0, 2.0, 0.5]))
    assert result.min() > 0


@pytest.mark.parametrize("name", ["upgrad", "mgda", "nash_mtl", "fairgrad"])
def test_no_loss_rises_along_the_direction(float64, name):
    for kind in ("independent", "eight", "conflicting"):
        gradients = GRADIENTS[kind]
        products = gradients @ direction(READ_GRADIENTS[name], gradients)
        # UPGrad's regularisation moves the direction by about 1e-4 of the Gramian's trace.
        assert products.min() >= -1e-4 * np.sum(gradients**2), kind


@pytest.mark.parametrize("name", ["nash_mtl", "imtl_g", "config"])
def test_directions_that_do_not_depend_on_the_size_of_a_gradient(float64, name):
    gradients = GRADIENTS["independent"]
    first = direction(READ_GRADIENTS[name], gradients)
    second = direction(READ_GRADIENTS[name], gradients * np.array([[1], [10], [0.1]]))
    np.testing.assert_allclose(
        first / np.linalg.norm(first), second / np.linalg.norm(second), rtol=1e-9
    )


def test_methods_differ_on_a_fixed_batch(float64):
    gradients, losses = GRADIENTS["eight"], np.linspace(0.1, 2, 8)
    results = {
        name: direction(balancer, gradients, losses=losses)
        for name, balancer in READ_GRADIENTS.items()
    }
    units = {name: d / np.linalg.norm(d) for name, d in results.items()}
    # The two solvers of MGDA agree. GradVac starts as PCGrad, with averages of 0, ExcessMTL
    # and GradNorm with equal weights. ConFIG and IMTL-G have one direction and different
    # lengths.
    pairs = ("mgda", "mgda_frank_wolfe"), ("gradvac", "pcgrad"), ("config", "imtl_g")
    same = {*map(frozenset, pairs), frozenset(("excess_mtl", "gradnorm"))}
    for first, u in units.items():
        for second, v in units.items():
            if first < second and frozenset((first, second)) not in same:
                assert np.linalg.norm(u - v) > 1e-3, (first, second)


def test_states_survive_a_round_trip_through_their_leaves():
    for balancer in (*READ_LOSSES.values(), *READ_GRADIENTS.values()):
        extra = (
            ({"w": jnp.zeros(7)},)
            if balancer.reads is balancing.Reads.GRADIENTS
            and balancer is READ_GRADIENTS["excess_mtl"]
            else ()
        )
        state = balancer.init(3, *extra)
        leaves, structure = jax.tree.flatten(state)
        again = jax.tree.unflatten(structure, [np.asarray(leaf) for leaf in leaves])
        inputs = inputs_of(GRADIENTS["independent"], dtype=np.float32)
        first = combine(balancer, inputs, state)
        second = combine(balancer, inputs, again)
        jax.tree.map(np.testing.assert_array_equal, first, second)
        assert jax.tree.structure(first.memory) == jax.tree.structure(state.memory)
