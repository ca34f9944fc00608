"""`value_and_grad` on models: against gradients by hand, on devices, and with learned state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import rest_nightly

from mtra_jax import balancing
from mtra_jax.balancing import rows as balancing_rows

LOSSES = ("ew", "gls", "uw_so", "uw", "famo")
GRAMIAN = ("pcgrad", "mgda", "cagrad", "nash_mtl", "upgrad", "aligned_mtl", "gradnorm")
ALL = (*LOSSES, *GRAMIAN, "graddrop", "excess_mtl")
# One for each kind of state and of what is read; the others nightly.
KINDS = ("uw", "famo", "pcgrad", "gradnorm", "graddrop", "excess_mtl")


def make_params(seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    heads = {
        name: 0.5 * jax.random.normal(key, (6,))
        for name, key in zip("abc", keys, strict=True)
    }
    return {"encoder": 0.5 * jax.random.normal(keys[0], (4, 6)), "heads": heads}


def represent(params, x, y):
    return jnp.tanh(x @ params["encoder"])


def losses_of_z(params, z, x, y):
    heads = params["heads"]
    outputs = jnp.stack([z @ heads[name] for name in "abc"], axis=1)
    return jnp.mean((outputs - y) ** 2, axis=0)


def losses_fn(params, x, y):
    return losses_of_z(params, represent(params, x, y), x, y)


def is_shared(params):
    return jax.tree_util.tree_map_with_path(lambda p, _: p[0].key == "encoder", params)


def data(size=8, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, 4)), rng.normal(size=(size, 3))


def start(name, params):
    balancer = getattr(balancing, name)()
    extra = (params,) if name == "excess_mtl" else ()
    return balancer, balancer.init(3, *extra)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", rest_nightly(ALL, KINDS))
def test_the_gradient_is_the_weighted_sum_of_the_tasks_gradients(name):
    params, (x, y) = make_params(), data()
    balancer, state = start(name, params)
    step = jax.jit(balancing.value_and_grad(losses_fn, balancer))
    (_, aux), gradient, _ = step(params, state, x, y, rng=jax.random.key(2))
    np.testing.assert_allclose(aux.losses, losses_fn(params, x, y), rtol=1e-12)
    if name == "graddrop":
        assert np.isnan(aux.weights).all()
        return
    rows = [jax.grad(lambda p, t=t: losses_fn(p, x, y)[t])(params) for t in range(3)]
    expected = jax.tree.map(
        lambda *g: sum(w * part for w, part in zip(aux.weights, g, strict=True)), *rows
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
        gradient,
        expected,
    )


@pytest.mark.usefixtures("float64")
def test_parameters_of_one_task_take_its_own_gradient():
    params, (x, y) = make_params(), data()
    balancer, state = start("mgda", params)
    step = balancing.value_and_grad(losses_fn, balancer, select=is_shared)
    (_, aux), gradient, _ = step(params, state, x, y)
    plain = jax.grad(lambda p: jnp.sum(losses_fn(p, x, y)))(params)
    for name in "abc":
        np.testing.assert_allclose(
            gradient["heads"][name], plain["heads"][name], rtol=1e-9
        )
    rows = np.stack(
        [
            jax.grad(lambda p, t=t: losses_fn(p, x, y)[t])(params)["encoder"].ravel()
            for t in range(3)
        ]
    )
    np.testing.assert_allclose(aux.gramian, rows @ rows.T, rtol=1e-9)
    np.testing.assert_allclose(
        gradient["encoder"].ravel(), aux.weights @ rows, rtol=1e-9
    )


@pytest.mark.usefixtures("float64")
def test_a_prefix_selects_whole_branches_as_it_does_in_the_aligned_gradient():
    params, (x, y) = make_params(), data()
    balancer, state = start("upgrad", params)
    results = [
        jax.jit(balancing.value_and_grad(losses_fn, balancer, select=select))(
            params, state, x, y
        )
        for select in (is_shared, lambda _: {"encoder": True, "heads": False})
    ]
    jax.tree.map(np.testing.assert_array_equal, *results)


@pytest.mark.usefixtures("float64")
def test_excess_mtl_compares_the_shared_parameters_alone():
    """Its weights are those of a model whose heads are constants."""
    params, (x, y) = make_params(), data()
    balancer, state = start("excess_mtl", params)
    step = balancing.value_and_grad(losses_fn, balancer, select=is_shared)
    alone = balancing.value_and_grad(
        lambda encoder: losses_fn({**params, "encoder": encoder}, x, y), balancer
    )
    own_state = balancer.init(3, params["encoder"])
    for _ in range(3):
        (_, _), gradient, state = step(params, state, x, y)
        (_, _), expected, own_state = alone(params["encoder"], own_state)
        np.testing.assert_allclose(gradient["encoder"], expected, rtol=1e-9)
        np.testing.assert_allclose(state.memory[1], own_state.memory[1], rtol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", rest_nightly(ALL, KINDS))
def test_with_a_representation_the_gramian_is_that_of_its_gradients(name):
    params, (x, y) = make_params(), data()
    balancer = getattr(balancing, name)()
    z = represent(params, x, y)
    state = balancer.init(3, z[0]) if name == "excess_mtl" else balancer.init(3)
    step = balancing.value_and_grad(losses_of_z, balancer, represent=represent)
    (_, aux), gradient, _ = step(params, state, x, y, rng=jax.random.key(2))
    rows = np.stack(
        [jax.grad(lambda z, t=t: losses_of_z(params, z, x, y)[t])(z) for t in range(3)]
    )
    if name in LOSSES:
        whole = balancing.value_and_grad(losses_fn, balancer)
        _, expected, _ = whole(params, state, x, y, rng=jax.random.key(2))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), gradient, expected
        )
        return
    flat = rows.reshape(3, -1)
    np.testing.assert_allclose(aux.gramian, flat @ flat.T, rtol=1e-9)
    if name == "graddrop":
        return
    by_z = np.tensordot(aux.weights, rows, 1)
    _, back = jax.vjp(lambda p: represent(p, x, y), params)
    np.testing.assert_allclose(gradient["encoder"], back(by_z)[0]["encoder"], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("with_z", [False, True], ids=["whole", "representation"])
@pytest.mark.parametrize("name", rest_nightly(ALL, KINDS))
def test_four_devices_equal_one(name, with_z):
    params, (x, y) = make_params(), data(8)
    balancer = getattr(balancing, name)()
    function = losses_of_z if with_z else losses_fn
    options = {"represent": represent} if with_z else {}
    like = represent(params, x, y)[0] if with_z else params
    extra = (like,) if name == "excess_mtl" else ()
    state = balancer.init(3, *extra)
    rng = jax.random.key(2)
    one = balancing.value_and_grad(function, balancer, **options)
    (value, aux), gradient, state1 = one(params, state, x, y, rng=rng)
    many = balancing.value_and_grad(function, balancer, axis_name="data", **options)
    shards = [array.reshape(4, 2, -1) for array in (x, y)]
    mapped = jax.pmap(
        functools.partial(many, rng=rng),
        "data",
        in_axes=(None, None, 0, 0),
        out_axes=None,
    )
    (value4, aux4), gradient4, state4 = mapped(params, state, *shards)
    np.testing.assert_allclose(value4, value, rtol=1e-9)
    np.testing.assert_allclose(aux4.weights, aux.weights, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9),
        (gradient4, state4),
        (gradient, state1),
    )


def test_learned_weights_are_moved_by_the_users_optimiser():
    params, (x, y) = make_params(), data()
    balancer, state = start("uw", params)
    optimiser = optax.adam(0.05)
    step = jax.jit(balancing.value_and_grad(losses_fn, balancer))
    moments = optimiser.init(state.learned)
    for _ in range(500):
        (_, aux), _, state = step(params, state, x, y)
        updates, moments = optimiser.update(aux.learned, moments)
        state = state._replace(learned=optax.apply_updates(state.learned, updates))
    # At the optimum of s, exp(−s) ℓ = 1/2.
    np.testing.assert_allclose(np.exp(-state.learned) * aux.losses, 0.5, rtol=1e-3)


@pytest.mark.slow
def test_a_step_compiles_once():
    params, (x, y) = make_params(), data()
    for name in ALL:
        balancer, state = start(name, params)
        step = jax.jit(balancing.value_and_grad(losses_fn, balancer))
        for seed in range(3):
            _, _, state = step(params, state, x, y, rng=jax.random.key(seed))
        assert step._cache_size() == 1, name


def test_wrong_calls_are_refused():
    params, (x, y) = make_params(), data()
    with pytest.raises(ValueError, match="exclude each other"):
        balancing.value_and_grad(
            losses_fn, balancing.ew(), select=is_shared, represent=represent
        )
    step = balancing.value_and_grad(
        lambda p, x, y: losses_fn(p, x, y)[0], balancing.ew()
    )
    with pytest.raises(ValueError, match=r"losses \[T\]; found shape \(\)"):
        step(params, balancing.State(), x, y)
    step = balancing.value_and_grad(losses_fn, balancing.pcgrad())
    with pytest.raises(ValueError, match="`rng` must be a key"):
        step(params, balancing.State(), x, y)


def test_the_gramian_is_summed_over_parts_of_the_columns(monkeypatch, float64):
    """Four parts of ten columns and a rest of seven; a narrow leaf; one that is not shared."""
    monkeypatch.setattr(balancing_rows, "ELEMENTS", 30)
    draws = np.random.default_rng(0)
    leaves = {"wide": (3, 47), "narrow": (3, 4), "square": (3, 5, 8), "own": (3, 40)}
    gradients = {name: draws.normal(size=shape) for name, shape in leaves.items()}
    is_shared = {name: name != "own" for name in leaves}
    flat = np.concatenate(
        [gradients[name].reshape(3, -1) for name in leaves if is_shared[name]], axis=1
    )

    def trace(gradients):
        gram = balancing_rows.gramian(gradients, is_shared)
        return jnp.trace(gram), gram

    (_, gram), slope = jax.jit(jax.value_and_grad(trace, has_aux=True))(gradients)
    np.testing.assert_allclose(gram, flat @ flat.T, rtol=1e-12)
    for name in leaves:
        expected = 2 * gradients[name] * is_shared[name]
        np.testing.assert_allclose(slope[name], expected, rtol=1e-12)
