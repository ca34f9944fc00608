"""`combine_gradients` against `value_and_grad`, which takes the gradients itself."""

import compilations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import assert_mentions
from test_apply import ALL, KINDS, data, is_shared, losses_fn, make_params, start
from tiers import rest_nightly

from mtra_jax import balancing


def gradients_of(params, *batch):
    """The losses [T], and the gradients [T, ...] one by one."""
    pairs = [
        jax.value_and_grad(lambda p, t=t: losses_fn(p, *batch)[t])(params)
        for t in range(3)
    ]
    losses, gradients = zip(*pairs, strict=True)
    return jnp.stack(losses), jax.tree.map(lambda *rows: jnp.stack(rows), *gradients)


def assert_same(actual, expected):
    """The results of two steps, as far as rounding allows."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10),
        actual,
        expected,
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", rest_nightly(ALL, KINDS))
@pytest.mark.parametrize("select", [None, is_shared], ids=["all", "select"])
def test_a_step_is_that_of_value_and_grad(name, select):
    params, batch, rng = make_params(), data(), jax.random.key(2)
    balancer, state = start(name, params)
    given = gradients_of(params, *batch)

    # One program each for all mixtures of tasks.
    @jax.jit
    def steps(params, state, batch, given, present):
        step = balancing.value_and_grad(losses_fn, balancer, select=select)
        options = {"rng": rng, "present": present}
        own = balancing.combine_gradients(
            balancer, state, *given, select=select, **options
        )
        return own, step(params, state, *batch, **options)

    for present in ([True, True, True], [True, False, True]):
        actual, expected = steps(params, state, batch, given, jnp.array(present))
        if balancer.reads is balancing.Reads.LOSSES:
            assert actual[0][1].gramian is None
        assert_same(actual, expected)


@pytest.mark.parametrize(
    "name",
    ["pcgrad", "gradvac", "upgrad", "mgda", "cagrad", "nash_mtl", "fairgrad"],
)
def test_a_second_call_outside_of_jit_compiles_nothing(name):
    """The loops of a solver would be compiled in every call, for seconds."""
    params, batch = make_params(), data()
    balancer, state = start(name, params)
    given = gradients_of(params, *batch)

    def call(seed):
        rng = jax.random.key(seed)
        balancing.combine_gradients(balancer, state, *given, rng=rng)

    call(0)
    with compilations.counted() as compiled:
        call(1)
    assert not compiled


@pytest.mark.usefixtures("float64")
def test_gradients_of_an_absent_task_may_be_anything():
    params, batch = make_params(), data()
    losses, gradients = gradients_of(params, *batch)
    present = jnp.array([True, False, True])
    wild = jax.tree.map(lambda g: g.at[1].set(jnp.nan), gradients)
    args = balancing.pcgrad(), balancing.State()
    results = [
        balancing.combine_gradients(
            *args, losses.at[1].set(one), own, rng=jax.random.key(0), present=present
        )
        for one, own in ((0.0, gradients), (jnp.nan, wild))
    ]
    assert_same(*results)
    assert np.isfinite(results[1][1]["encoder"]).all()


def test_arrays_of_numpy_and_lists_are_taken():
    gradients = {"w": np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)}
    arguments = balancing.mgda(), balancing.State()
    expected = balancing.combine_gradients(
        *arguments, jnp.array([1.0, 3.0]), jax.tree.map(jnp.asarray, gradients)
    )
    for losses in ([1.0, 3.0], np.array([1, 3], np.float32)):
        assert_same(
            balancing.combine_gradients(*arguments, losses, gradients), expected
        )


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"losses": jnp.ones((3, 1))}, ["`losses` must be [T]", "(3, 1)"]),
        ({"gradients": {"w": jnp.ones((2, 4))}}, ["gradients", "3 losses", "'w'"]),
        ({"gradients": {"w": jnp.ones(())}}, ["gradients", "3 losses", "()"]),
        ({"gradients": {"w": jnp.ones((3, 4), int)}}, ["gradients", "int32"]),
        ({"gradients": {}}, ["gradients", "none"]),
        ({"select": lambda g: {"v": True}}, ["select", "'w'"]),
        ({"present": jnp.ones(2, bool)}, ["present", "(3,)"]),
        ({"state": balancing.uw().init(3)}, ["state", "init"]),
    ],
)
def test_what_does_not_fit_is_refused(change, parts):
    arguments = {
        "balancer": balancing.mgda(),
        "state": balancing.State(),
        "losses": jnp.ones(3),
        "gradients": {"w": jnp.ones((3, 4))},
        **change,
    }
    with pytest.raises(ValueError, match="`") as error:
        balancing.combine_gradients(**arguments)
    assert_mentions(str(error.value), *parts)
