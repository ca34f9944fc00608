"""The two passes of the aligned gradient: traces, products, keys, devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import objectives

EPSILON = 0.3


def words_only(params):
    return {name: name == "words" for name in params}


def everything(params):
    return True


def uncompiled(loss_fn, *, select=everything, **options):
    return objectives.aligned_value_and_grad(
        loss_fn, epsilon=EPSILON, select=select, **options
    )


@functools.cache
def aligned(loss_fn, **options):
    return jax.jit(uncompiled(loss_fn, **options))


class TestWhatTheLossFunctionGets:
    def test_the_loss_is_traced_exactly_twice(self):
        calls = []

        def loss_fn(params):
            calls.append(1)
            return jnp.sum(params**2), None

        aligned(loss_fn)(jnp.ones(3))
        assert len(calls) == 2

    def test_other_arguments_are_the_same_in_both_passes(self):
        args = (
            jnp.arange(6).reshape(2, 3),
            {"words": jnp.array([7, 9, 8], jnp.uint32), "none": None, "rate": 0.25},
            (jnp.array([True, False]), 3),
        )
        (_, passes), _ = uncompiled(lambda params, *args: (jnp.sum(params**2), args))(
            jnp.ones(2), *args
        )
        for got in (passes.aux, passes.perturbed_aux):
            assert jax.tree.structure(got) == jax.tree.structure(args)
            jax.tree.map(np.testing.assert_array_equal, got, args)

    def test_auxiliaries_come_from_both_passes(self, x64):
        (_, passes), _ = aligned(
            lambda x: (x**2, {"twice": 2 * x, "thrice": (3 * x,)})
        )(4.0)
        np.testing.assert_allclose(
            jax.tree.leaves([passes.aux, passes.perturbed_aux]), [12, 8, 12.9, 8.6]
        )

    def test_selection_may_be_a_prefix(self, x64):
        params = {"words": {"a": np.array([3.0]), "b": np.array([4.0])}, "rest": 1.0}

        def loss_fn(params):
            leaves = jax.tree.leaves(params)
            return sum(jnp.sum(x**2) for x in leaves), params

        (_, passes), _ = aligned(
            loss_fn, select=lambda _: {"words": True, "rest": False}
        )(params)
        moved = passes.perturbed_aux
        np.testing.assert_allclose(moved["words"]["a"], [3.18], rtol=1e-14)
        np.testing.assert_allclose(moved["words"]["b"], [4.24], rtol=1e-14)
        assert moved["rest"] == 1


class TestKeys:
    """Typed keys anywhere in the arguments differ in the second pass."""

    @staticmethod
    def draw(params, batch, keys):
        drawn = jax.tree.map(
            lambda key: jnp.ravel(jax.vmap(jax.random.normal)(jnp.atleast_1d(key))),
            keys,
        )
        return jnp.sum(params**2), (drawn, batch)

    @pytest.fixture
    def keys(self):
        one, two, three = jax.random.split(jax.random.key(3), 3)
        return {"dropout": one, "noise": (two, jax.random.split(three, 4))}

    def passes(self, keys, *, jitted=True):
        make = aligned if jitted else uncompiled
        function = make(self.draw)
        batch = {"tokens": jnp.arange(4), "where": jnp.array([True, False])}
        (_, passes), _ = function(jnp.ones(2), batch, keys)
        for _, got in (passes.aux, passes.perturbed_aux):
            jax.tree.map(np.testing.assert_array_equal, got, batch)
        flat = (
            np.concatenate(jax.tree.leaves(drawn))
            for drawn, _ in (passes.aux, passes.perturbed_aux)
        )
        return tuple(flat)

    @pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
    def test_every_number_of_both_passes_differs(self, keys, jitted):
        first, second = self.passes(keys, jitted=jitted)
        assert len(first) == len(second) == 6
        assert len(np.unique(np.concatenate([first, second]))) == 12

    def test_first_pass_uses_the_keys_as_they_are(self, keys):
        (expected, _) = self.draw(jnp.ones(2), None, keys)[1]
        first, _ = self.passes(keys)
        np.testing.assert_array_equal(first, np.concatenate(jax.tree.leaves(expected)))

    def test_same_keys_same_numbers(self, keys):
        np.testing.assert_array_equal(self.passes(keys), self.passes(keys))

    def test_keys_by_name_differ_too_and_other_names_are_passed_on(self, keys):
        def loss_fn(params, *, key, train):
            return jnp.sum(params), (jax.random.uniform(key), train)

        aligned = objectives.aligned_value_and_grad(
            loss_fn, epsilon=0.1, select=lambda params: True
        )
        key = jax.random.key(4)
        (_, passes), _ = aligned(jnp.ones(2), key=key, train=True)
        assert passes.aux[0] == jax.random.uniform(key)
        assert passes.perturbed_aux[0] != passes.aux[0]
        assert passes.aux[1] is passes.perturbed_aux[1] is True

    @pytest.mark.parametrize("jitted", [False, True])
    def test_a_raw_key_is_refused(self, jitted):
        aligned = objectives.aligned_value_and_grad(
            lambda params, key: jnp.sum(params) + jax.random.uniform(key),
            epsilon=0.1,
            select=lambda params: True,
        )
        with pytest.raises(TypeError, match=r"a raw key.*jax\.random\.wrap_key_data"):
            (jax.jit(aligned) if jitted else aligned)(
                jnp.ones(2), jax.random.PRNGKey(0)
            )

    def test_keys_keep_their_implementation(self):
        first, second = self.passes({"dropout": jax.random.key(0, impl="rbg")})
        assert first != second

    def test_perturbation_comes_from_the_first_pass(self, x64):
        """Dropout: δ follows the gradient under the first mask, ℓ(θ + δ) the second."""

        def loss_fn(w, key):
            mask = jax.random.bernoulli(key, 0.5, w.shape)
            return jnp.sum(jnp.where(mask, w**2, 0)), (w, mask)

        w = np.linspace(0.5, 2, 16)
        (value, passes), grads = aligned(loss_fn)(w, jax.random.key(1))
        (_, mask), (moved, second) = passes.aux, passes.perturbed_aux
        assert np.any(mask != second)
        g = 2 * w * mask
        np.testing.assert_allclose(moved, w + EPSILON * g / np.linalg.norm(g))
        total = np.sum(w**2 * mask) + np.sum(moved**2 * second)
        np.testing.assert_allclose(value, np.log(total), rtol=1e-13)
        np.testing.assert_allclose(grads, (g + 2 * moved * second) / total, rtol=1e-12)


def count_products(jaxpr):
    """Matrix products in a jaxpr and in all that it calls."""
    count = 0
    for equation in jaxpr.eqns:
        count += equation.primitive.name == "dot_general"
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            count += count_products(inner) if hasattr(inner, "eqns") else 0
    return count


def perceptron(params, x, y):
    hidden = jax.nn.gelu(x @ params["words"])
    return jnp.mean((hidden @ params["rest"] - y) ** 2), hidden


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize(
    "select", [words_only, everything], ids=["words", "everything"]
)
def test_two_forward_and_two_backward_passes(jitted, select):
    """Each pass has two products forward and three backward (not that of the inputs)."""
    params = {"words": jnp.ones((3, 4)), "rest": jnp.ones((4, 2))}
    args = (params, jnp.ones((5, 3)), jnp.ones((5, 2)))
    once = jax.make_jaxpr(jax.value_and_grad(perceptron, has_aux=True))(*args)
    assert count_products(once.jaxpr) == 5
    make = aligned if jitted else uncompiled
    twice = jax.make_jaxpr(make(perceptron, select=select))(*args)
    assert count_products(twice.jaxpr) == 10


def test_perceptron_equals_the_definition(rng, x64):
    params = {"words": rng.normal(size=(3, 4)), "rest": rng.normal(size=(4, 2))}
    args = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    (value, _), grads = aligned(perceptron, select=words_only)(params, *args)
    gradient = jax.jit(jax.grad(lambda p: perceptron(p, *args)[0]))(params)["words"]
    delta = {
        "words": EPSILON * gradient / jnp.linalg.norm(gradient),
        "rest": np.zeros((4, 2)),
    }

    def definition(params):
        moved = jax.tree.map(jnp.add, params, delta)
        return jnp.log(perceptron(params, *args)[0] + perceptron(moved, *args)[0])

    expected, expected_grads = jax.jit(jax.value_and_grad(definition))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    for name in params:
        assert grads[name].shape == params[name].shape
        np.testing.assert_allclose(grads[name], expected_grads[name], rtol=1e-12)


def test_reduced_precision_gives_a_float32_value():
    params = {"words": jnp.ones((3, 4), jnp.bfloat16), "rest": jnp.ones((4, 2))}
    (value, passes), grads = aligned(perceptron, select=words_only)(
        params, jnp.ones((5, 3)), jnp.ones(2)
    )
    for scalar in (value, passes.loss, passes.perturbed_loss, passes.perturbation_norm):
        assert scalar.dtype == jnp.float32
    assert grads["words"].dtype == jnp.bfloat16
    np.testing.assert_allclose(passes.perturbation_norm, EPSILON, rtol=2.0**-7)


def test_four_devices_equal_one(rng):
    """Unequal shares of the rows; the norm of the gradient is the global one."""
    where = np.arange(5) < np.array([[5], [1], [0], [3]])
    params = {"words": rng.normal(size=(3, 4)), "rest": rng.normal(size=(4, 2))}
    params = jax.tree.map(jnp.float32, params)
    x, y = (rng.normal(size=(4, 5, n)).astype(np.float32) for n in (3, 2))

    def loss_fn(params, x, y, where, axis_name=None):
        outputs = jax.nn.gelu(x @ params["words"]) @ params["rest"]
        loss = objectives.mean_squared_error(outputs, y, where, axis_name=axis_name)
        return loss, None

    devices = jax.devices()[:4]
    on_devices = jax.pmap(
        uncompiled(
            lambda *args: loss_fn(*args, axis_name="data"),
            select=words_only,
            axis_name="data",
        ),
        axis_name="data",
        in_axes=(None, 0, 0, 0),
        devices=devices,
    )(params, x, y, where)
    on_one = aligned(loss_fn, select=words_only)(
        params, x[where], y[where], np.ones(where.sum(), bool)
    )
    jax.tree.map(
        lambda many, one: np.testing.assert_allclose(
            many, np.broadcast_to(one, many.shape), rtol=1e-5, atol=1e-6
        ),
        on_devices,
        on_one,
    )
