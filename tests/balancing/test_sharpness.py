"""`samo_value_and_grad` against the formula in NumPy, with gradients by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_apply import data, losses_fn, make_params

from mtra_jax import balancing
from mtra_jax.balancing import sharpness

pytestmark = pytest.mark.usefixtures("float64")
NAMES = "abc"
NUMBERS = {"rho": 0.2, "alpha": 0.3, "mu": 0.05}
KEY = jax.random.key(4)


def owners_of(params):
    heads = {name: place for place, name in enumerate(NAMES)}
    return {"encoder": sharpness.SHARED, "heads": heads}


def losses_by_hand(encoder, heads, x, y):
    """Losses [T] and, for each task, the gradients by encoder and by its head."""
    z = np.tanh(x @ encoder)
    errors = z @ heads.T - y
    by_outputs = 2 * errors / len(x)
    by_heads = by_outputs.T @ z
    by_z = by_outputs.T[:, :, None] * heads[:, None, :]
    by_encoder = np.einsum("nd,tnh->tdh", x, by_z * (1 - z**2))
    return np.mean(errors**2, axis=0), by_encoder, by_heads


def samo_by_hand(params, x, y, *, moves_heads, rho, alpha, mu, present=(1, 1, 1)):
    """The losses, and the gradients [T, ...] at the perturbed parameters."""
    encoder = np.asarray(params["encoder"])
    heads = np.stack([params["heads"][name] for name in NAMES])
    losses, by_encoder, by_heads = losses_by_hand(encoder, heads, x, y)
    shares = np.array(present) / sum(present)
    mean, own = np.tensordot(shares, by_encoder, 1), by_heads / 3
    rows, head_rows = [], []
    for task, key in enumerate(sharpness.task_keys(KEY, 3)):
        # The encoder is the first leaf.
        z = np.asarray(jax.random.normal(jax.random.split(key, 4)[0], encoder.shape))
        ahead, behind = (
            losses_by_hand(encoder + s * z, heads, x, y)[0][task] for s in (mu, -mu)
        )
        estimate = (ahead - behind) / (2 * mu) * z
        local = np.linalg.norm(mean) * estimate / np.linalg.norm(estimate)
        joint = alpha * mean + (1 - alpha) * local
        moved = encoder + rho * joint / np.linalg.norm(joint)
        moved_heads = heads.copy()
        if moves_heads:
            moved_heads[task] += rho * own[task] / np.linalg.norm(own[task])
        _, by_encoder, by_heads = losses_by_hand(moved, moved_heads, x, y)
        rows.append(by_encoder[task])
        head_rows.append(by_heads[task])
    return losses, np.array(rows), np.array(head_rows)


@pytest.mark.parametrize("name", ["ew", "mgda", "graddrop"])
def test_the_gradient_is_the_balancers_of_perturbed_gradients(name):
    params, (x, y) = make_params(), data()
    balancer = getattr(balancing, name)()
    state = balancer.init(3)
    step = jax.jit(
        balancing.samo_value_and_grad(losses_fn, balancer, owners=owners_of, **NUMBERS)
    )
    (_, aux), gradient, _ = step(params, state, x, y, rng=KEY)
    losses, rows, heads = samo_by_hand(params, x, y, moves_heads=True, **NUMBERS)
    np.testing.assert_allclose(aux.losses, losses, rtol=1e-9)
    inputs = balancing.Inputs(
        jnp.asarray(losses),
        jnp.full(3, True),
        KEY,
        jnp.asarray(np.einsum("tdh,udh->tu", rows, rows)),
        {"encoder": jnp.asarray(rows)},
    )
    shares = np.ones(3)
    if name == "ew":
        shares = np.full(3, 1 / 3)
        expected = rows.mean(axis=0)
    elif name == "mgda":
        np.testing.assert_allclose(aux.gramian, inputs.gramian, rtol=1e-9)
        expected = np.tensordot(balancer.combine(inputs, state).value, rows, 1)
    else:  # the heads' rows are draws of the whole tree, too
        own = {n: np.zeros((3, *heads[0].shape)) for n in NAMES}
        for place, head in enumerate(NAMES):
            own[head][place] = heads[place]
        whole = {"encoder": jnp.asarray(rows), "heads": own}
        inputs = inputs._replace(gradients=whole)
        expected = balancer.combine(inputs, state).value["encoder"]
    for place, head in enumerate(NAMES):
        np.testing.assert_allclose(
            gradient["heads"][head], shares[place] * heads[place], rtol=1e-8
        )
    np.testing.assert_allclose(gradient["encoder"], expected, rtol=1e-7, atol=1e-12)
    # Else the test shows nothing.
    _, plain, _ = balancing.value_and_grad(losses_fn, balancer)(
        params, state, x, y, rng=KEY
    )
    assert np.abs(plain["encoder"] - gradient["encoder"]).max() > 1e-3


def test_without_owners_all_parameters_are_perturbed_together():
    """The length of each task's perturbation is ρ, and heads have draws too."""
    params, (x, y) = make_params(), data()
    flat = jax.tree.leaves(params)
    leaves = sharpness.Leaves([sharpness.SHARED] * 4, [False] * 4)
    gradient = jax.tree.leaves(jax.grad(lambda p: losses_fn(p, x, y).mean())(params))
    for task, key in enumerate(sharpness.task_keys(KEY, 3)):
        z = sharpness.directions(key, flat, leaves)
        moved = sharpness.perturbed(
            flat, gradient, z, jnp.array(-1.0), task, leaves, sharpness.Sharpness(0.7)
        )
        moves = [np.asarray(a - b) for a, b in zip(moved, flat, strict=True)]
        np.testing.assert_allclose(sum(np.sum(m**2) for m in moves), 0.49, rtol=1e-9)
        assert all(np.any(move != 0) for move in moves)


@pytest.mark.parametrize(("alpha", "slope"), [(1.0, 1.0), (0.5, 0.0)])
def test_the_global_part_alone_is_sharpness_aware_minimisation(alpha, slope):
    """With α = 1, or where the two losses of the estimate are equal."""
    rng = np.random.default_rng(0)
    params, gradient, z = (
        [jnp.asarray(rng.normal(size=(3, 4))), jnp.asarray(rng.normal(size=5))]
        for _ in range(3)
    )
    leaves = sharpness.Leaves([sharpness.SHARED] * 2, [True, False])
    moved = sharpness.perturbed(
        params,
        gradient,
        z,
        jnp.array(slope),
        0,
        leaves,
        sharpness.Sharpness(2.0, alpha),
    )
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradient))
    for new, old, g in zip(moved, params, gradient, strict=True):
        np.testing.assert_allclose(new, old + 2 * g / norm, rtol=1e-9)


def test_stacked_layers_are_normalised_apart():
    rng = np.random.default_rng(1)
    gradient = rng.normal(size=(2, 4, 3)) * np.array([1, 100]).reshape(2, 1, 1)
    z = rng.normal(size=(2, 4, 3))
    leaves = sharpness.Leaves([sharpness.SHARED], [True])
    (moved,) = sharpness.perturbed(
        [jnp.zeros((2, 4, 3))],
        [jnp.asarray(gradient)],
        [jnp.asarray(z)],
        jnp.array(-3.0),
        0,
        leaves,
        sharpness.Sharpness(1.0, 0.0),
    )
    expected = np.stack(
        [
            -np.linalg.norm(g) * part / np.linalg.norm(part)
            for g, part in zip(gradient, z, strict=True)
        ]
    )
    np.testing.assert_allclose(moved, expected / np.linalg.norm(expected), rtol=1e-9)


@pytest.mark.parametrize("scale", [300.0, 1e-4])
@pytest.mark.parametrize("owner", [sharpness.SHARED, 1])
def test_norms_of_float16_are_those_of_float32(scale, owner):
    """Squares of 300 overflow in float16, those of 1e-4 are 0 there."""
    rng = np.random.default_rng(2)
    draws = [rng.normal(size=(2, 3, 4)) for _ in range(3)]
    gradient, z = scale * draws[1], draws[2] / 1e4
    leaves = sharpness.Leaves([owner], [True])

    def moved(dtype):
        params, g, direction = (
            [jnp.asarray(array, jnp.float16).astype(dtype)]
            for array in (draws[0], gradient, z)
        )
        numbers = sharpness.Sharpness(rho=3.0)
        (new,) = sharpness.perturbed(
            params, g, direction, jnp.ones((), dtype), 1, leaves, numbers
        )
        assert new.dtype == dtype
        return np.asarray(new, np.float64), np.asarray(params[0], np.float64)

    narrow, _ = moved(jnp.float16)
    wide, start = moved(jnp.float32)
    np.testing.assert_allclose(np.linalg.norm(wide - start), 3, rtol=1e-5)
    np.testing.assert_allclose(narrow, wide, atol=5e-3)


def test_large_gradients_of_float16_stay_finite():
    params = jnp.ones(64, jnp.float16)

    def losses(p):
        return jnp.stack([jnp.sum(p) * 300, jnp.sum((p - 1.5) ** 2) * 100])

    step = balancing.samo_value_and_grad(losses, balancing.ew())
    _, gradient, _ = step(params, balancing.State(), rng=KEY)
    np.testing.assert_allclose(np.asarray(gradient, float), 100, atol=1)


def test_gradients_of_zero_stay_finite():
    params = {"w": jnp.zeros(3)}
    step = balancing.samo_value_and_grad(
        lambda p: jnp.stack([jnp.sum(p["w"]) * 0, jnp.sum(p["w"] ** 2)]),
        balancing.fairgrad(),
    )
    _, gradient, _ = step(params, balancing.State(), rng=KEY)
    assert np.isfinite(gradient["w"]).all()


@pytest.mark.parametrize("name", ["mgda", "uw"])
def test_an_absent_task_moves_neither_shared_parameters_nor_its_head(name):
    """Its labels change nothing: its gradient and its row of the Gramian are 0."""
    params, (x, y) = make_params(), data(8)
    balancer = getattr(balancing, name)()
    step = jax.jit(balancing.samo_value_and_grad(losses_fn, balancer, owners=owners_of))
    present = jnp.array([True, False, True])
    results = [
        step(params, balancer.init(3), x, own, rng=KEY, present=present)
        for own in (y, y + np.array([0, 5, 0]))
    ]
    jax.tree.map(np.testing.assert_array_equal, *results)
    (_, aux), gradient, _ = results[0]
    assert aux.weights[1] == 0
    owned = zip(
        jax.tree.leaves(owners_of(params)), jax.tree.leaves(gradient), strict=True
    )
    for owner, leaf in owned:
        assert np.any(leaf != 0) == (owner != 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uw", "fairgrad"])
def test_four_devices_equal_one(name):
    params, (x, y) = make_params(), data(8)
    balancer = getattr(balancing, name)()
    make = functools.partial(
        balancing.samo_value_and_grad, losses_fn, balancer, owners=owners_of
    )
    state = balancer.init(3)
    (value, aux), gradient, _ = make()(params, state, x, y, rng=KEY)
    mapped = jax.pmap(
        functools.partial(make(axis_name="data"), rng=KEY),
        "data",
        in_axes=(None, None, 0, 0),
        out_axes=None,
    )
    shards = [array.reshape(4, 2, -1) for array in (x, y)]
    (value4, aux4), gradient4, _ = mapped(params, state, *shards)
    np.testing.assert_allclose(value4, value, rtol=1e-9)
    np.testing.assert_allclose(aux4.weights, aux.weights, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9),
        gradient4,
        gradient,
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rho": 0.0}, "`rho` must be more than 0"),
        ({"alpha": 1.5}, "`alpha` must be at least 0 and at most 1"),
        ({"mu": -1.0}, "`mu` must be more than 0"),
    ],
)
def test_wrong_numbers_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        balancing.samo_value_and_grad(losses_fn, balancing.ew(), **options)


def test_wrong_calls_are_refused():
    params, (x, y) = make_params(), data()
    step = balancing.samo_value_and_grad(losses_fn, balancing.ew())
    with pytest.raises(ValueError, match="`rng` must be a key"):
        step(params, balancing.State(), x, y)
    step = balancing.samo_value_and_grad(
        losses_fn, balancing.ew(), owners=lambda p: {"encoder": -1}
    )
    with pytest.raises(ValueError, match="`owners` must return a tree like `params`"):
        step(params, balancing.State(), x, y, rng=KEY)
    for wrong in (True, 3, -2):
        step = balancing.samo_value_and_grad(
            losses_fn,
            balancing.ew(),
            owners=lambda p, wrong=wrong: jax.tree.map(lambda _: wrong, p),
        )
        with pytest.raises(ValueError, match=f"task numbers below 3.* found {wrong}"):
            step(params, balancing.State(), x, y, rng=KEY)


def test_parameters_may_be_numbers_of_python():
    def losses(params):
        return jnp.stack([params["a"] ** 2, (params["a"] - 1) ** 2])

    balancer = balancing.ew()
    step = balancing.samo_value_and_grad(losses, balancer)
    state, key = balancer.init(2), jax.random.key(0)
    expected, actual = (
        step({"a": a}, state, rng=key)[1]["a"] for a in (jnp.array(0.2), 0.2)
    )
    np.testing.assert_array_equal(actual, expected)


def test_without_owners_all_parameters_are_shared():
    params, (x, y) = make_params(), data()
    steps = [
        balancing.samo_value_and_grad(losses_fn, balancing.mgda(), owners=owners)
        for owners in (None, lambda p: jax.tree.map(lambda _: sharpness.SHARED, p))
    ]
    results = [step(params, balancing.State(), x, y, rng=KEY)[1] for step in steps]
    jax.tree.map(np.testing.assert_array_equal, *results)
    _, by_task, _ = balancing.samo_value_and_grad(
        losses_fn, balancing.mgda(), owners=owners_of
    )(params, balancing.State(), x, y, rng=KEY)
    assert np.abs(by_task["encoder"] - results[0]["encoder"]).max() > 1e-6


def test_an_absent_task_and_outputs():
    """The mean gradient that perturbs the tasks is that of the two that are there."""
    params, (x, y) = make_params(), data()
    present, balancer = jnp.array([True, False, True]), balancing.mgda()
    step = balancing.samo_value_and_grad(
        lambda *args: (losses_fn(*args) * present, "outputs"),
        balancer,
        owners=owners_of,
        has_aux=True,
        **NUMBERS,
    )
    state = balancing.State()
    (_, aux), gradient, _ = step(params, state, x, y, rng=KEY, present=present)
    assert aux.outputs == "outputs"
    losses, rows, heads = samo_by_hand(
        params, x, y, moves_heads=True, present=(1, 0, 1), **NUMBERS
    )
    rows[1] = 0
    gramian = jnp.asarray(np.einsum("tdh,udh->tu", rows, rows))
    inputs = balancing.Inputs(losses * present, present, KEY, gramian)
    expected = np.tensordot(balancer.combine(inputs, state).value, rows, 1)
    np.testing.assert_allclose(gradient["encoder"], expected, rtol=1e-7, atol=1e-12)
    for place, head in enumerate(NAMES):
        own = heads[place] * present[place]
        np.testing.assert_allclose(gradient["heads"][head], own, rtol=1e-8)
