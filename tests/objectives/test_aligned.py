"""The aligned gradient: two passes, one constant perturbation, worked by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import objectives

EPSILON, FLOOR = 0.3, 1e-2
A = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 3.0]])
C, D = np.array([1.0, -2.0, 0.5]), np.array([0.7, 0.2])
PARAMS = {"words": np.array([0.4, -1.0, 0.8]), "rest": np.array([1.5, -0.6])}


def words_only(params):
    return {name: name == "words" for name in params}


def everything(params):
    return True


def quadratic(params, offset=5.0):
    """w'Aw/2 + (c'w)(d'r) + r'r/2 + offset; the auxiliary is its arguments."""
    w, r = params["words"], params["rest"]
    loss = w @ A @ w / 2 + (C @ w) * (D @ r) + r @ r / 2 + offset
    return loss, {"params": params, "offset": offset}


def by_hand(w, r, offset=5.0):
    """The loss and its two gradients in NumPy."""
    loss = w @ A @ w / 2 + (C @ w) * (D @ r) + r @ r / 2 + offset
    return loss, A @ w + C * (D @ r), D * (C @ w) + r


def uncompiled(loss_fn=quadratic, *, epsilon=EPSILON, select=words_only, **options):
    return objectives.aligned_value_and_grad(
        loss_fn, epsilon=epsilon, select=select, **options
    )


@functools.cache
def aligned(loss_fn=quadratic, **options):
    return jax.jit(uncompiled(loss_fn, **options))


def direct(params, delta, *args, loss_fn=quadratic, floor=FLOOR):
    """The objective by its definition, with a given perturbation."""
    moved = jax.tree.map(jnp.add, params, jax.lax.stop_gradient(delta))
    total = loss_fn(params, *args)[0] + loss_fn(moved, *args)[0]
    return objectives.floored_log(total, floor)


class TestQuadratic:
    def test_everything_by_hand(self, x64):
        w, r = PARAMS["words"], PARAMS["rest"]
        loss, g_w, g_r = by_hand(w, r)
        delta = EPSILON * g_w / np.linalg.norm(g_w)
        perturbed, h_w, h_r = by_hand(w + delta, r)
        (value, passes), grads = aligned()(PARAMS)
        close = {"rtol": 1e-13}
        np.testing.assert_allclose(passes.loss, loss, **close)
        np.testing.assert_allclose(passes.perturbed_loss, perturbed, **close)
        np.testing.assert_allclose(passes.gradient_norm, np.linalg.norm(g_w), **close)
        np.testing.assert_allclose(passes.perturbation_norm, EPSILON, **close)
        np.testing.assert_allclose(value, np.log(loss + perturbed), **close)
        np.testing.assert_allclose(
            grads["words"], (g_w + h_w) / (loss + perturbed), **close
        )
        np.testing.assert_allclose(
            grads["rest"], (g_r + h_r) / (loss + perturbed), **close
        )
        assert value.dtype == jnp.float64
        assert perturbed > loss  # an ascent step

    def test_only_selected_parameters_are_perturbed(self, x64):
        (_, passes), _ = aligned()(PARAMS)
        before, after = passes.aux["params"], passes.perturbed_aux["params"]
        np.testing.assert_array_equal(before["words"], PARAMS["words"])
        np.testing.assert_array_equal(before["rest"], PARAMS["rest"])
        np.testing.assert_array_equal(after["rest"], PARAMS["rest"])
        _, g_w, _ = by_hand(PARAMS["words"], PARAMS["rest"])
        np.testing.assert_allclose(
            after["words"] - before["words"],
            EPSILON * g_w / np.linalg.norm(g_w),
            rtol=1e-12,
        )

    def test_gradient_equals_that_of_the_definition(self, x64):
        """The perturbation is constant for differentiation."""
        (value, _), grads = aligned()(PARAMS)

        def perturbation(params):
            gradient = jax.grad(lambda p: quadratic(p)[0])(params)["words"]
            return {
                "words": EPSILON * gradient / jnp.linalg.norm(gradient),
                "rest": jnp.zeros(2),
            }

        expected = jax.jit(jax.value_and_grad(direct))(PARAMS, perturbation(PARAMS))
        np.testing.assert_allclose(value, expected[0], rtol=1e-14)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-13),
            grads,
            expected[1],
        )

        def differentiated(params):
            moved = jax.tree.map(jnp.add, params, perturbation(params))
            return jnp.log(quadratic(params)[0] + quadratic(moved)[0])

        other = jax.jit(jax.grad(differentiated))(PARAMS)
        assert np.abs(other["rest"] - grads["rest"]).max() > 1e-4

    def test_gradient_equals_finite_differences(self, central_difference):
        (_, passes), grads = aligned()(PARAMS)
        delta = jax.tree.map(
            jnp.subtract, passes.perturbed_aux["params"], passes.aux["params"]
        )
        objective = jax.jit(direct)
        for name, at in PARAMS.items():
            expected = central_difference(
                lambda x, name=name: objective({**PARAMS, name: x}, delta), at
            )
            np.testing.assert_allclose(grads[name], expected, rtol=1e-7)

    def test_one_norm_for_all_selected_parameters(self, x64):
        (_, passes), _ = aligned(select=lambda p: dict.fromkeys(p, True))(PARAMS)
        _, *gradient = by_hand(PARAMS["words"], PARAMS["rest"])
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient))
        np.testing.assert_allclose(passes.gradient_norm, norm, rtol=1e-13)
        np.testing.assert_allclose(passes.perturbation_norm, EPSILON, rtol=1e-13)
        for name, g in zip(("words", "rest"), gradient, strict=True):
            moved = passes.perturbed_aux["params"][name] - PARAMS[name]
            np.testing.assert_allclose(moved, EPSILON * g / norm, rtol=1e-12)

    @pytest.mark.parametrize(
        "options",
        [{"epsilon": 0.0}, {"select": lambda p: dict.fromkeys(p, False)}],
        ids=["epsilon 0", "none selected"],
    )
    def test_without_perturbation_both_losses_are_equal(self, options, x64):
        (value, passes), grads = aligned(**options)(PARAMS)
        loss, g_w, g_r = by_hand(PARAMS["words"], PARAMS["rest"])
        assert passes.perturbation_norm == 0
        np.testing.assert_allclose(passes.loss, loss, rtol=1e-14)
        np.testing.assert_allclose(passes.perturbed_loss, loss, rtol=1e-14)
        np.testing.assert_allclose(value, np.log(2 * loss), rtol=1e-14)
        np.testing.assert_allclose(grads["words"], g_w / loss, rtol=1e-13)
        np.testing.assert_allclose(grads["rest"], g_r / loss, rtol=1e-13)

    @pytest.mark.parametrize("floor", [1e-2, 0.5])
    @pytest.mark.parametrize("offset", [-8.0, -500.0])
    def test_below_the_floor(self, floor, offset, x64):
        w, r = PARAMS["words"], PARAMS["rest"]
        loss, g_w, g_r = by_hand(w, r, offset)
        delta = EPSILON * g_w / np.linalg.norm(g_w)
        perturbed, h_w, h_r = by_hand(w + delta, r, offset)
        assert loss + perturbed < 0
        (value, _), grads = aligned(floor=floor)(PARAMS, offset)
        expected = np.log(floor) + (loss + perturbed) / floor - 1
        np.testing.assert_allclose(value, expected, rtol=1e-13)
        np.testing.assert_allclose(grads["words"], (g_w + h_w) / floor, rtol=1e-12)
        np.testing.assert_allclose(grads["rest"], (g_r + h_r) / floor, rtol=1e-12)

    def test_default_floor_is_a_hundredth(self, x64):
        default, given = (
            f(PARAMS, -8.0)[0][0] for f in (aligned(), aligned(floor=0.01))
        )
        assert default == given

    def test_at_the_minimum_of_the_selected_parameters(self, x64):
        """Gradient 0: no direction, no perturbation, no NaN."""
        params = {"words": np.zeros(3), "rest": np.zeros(2)}
        (value, passes), grads = aligned()(params)
        assert passes.perturbation_norm == 0
        np.testing.assert_allclose(value, np.log(10), rtol=1e-14)
        jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0), grads)

    def test_without_the_logarithm_it_is_the_sum(self, x64):
        (value, passes), grads = aligned(logarithm=False)(PARAMS)
        (_, expected), log_grads = aligned()(PARAMS)
        total = expected.loss + expected.perturbed_loss
        np.testing.assert_allclose(value, total, rtol=1e-14)
        assert passes.perturbed_loss == expected.perturbed_loss
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y * total, rtol=1e-13),
            grads,
            log_grads,
        )

    def test_jit_equals_eager(self, x64):
        eager, jitted = uncompiled()(PARAMS), aligned()(PARAMS)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-13), eager, jitted
        )

    def test_vmap_perturbs_each_example_alone(self, x64):
        offsets = np.array([5.0, 1.0, -400.0])
        batched = jax.jit(jax.vmap(uncompiled(), in_axes=(None, 0)))(PARAMS, offsets)
        for i, offset in enumerate(offsets):
            single = aligned()(PARAMS, offset)
            jax.tree.map(
                lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-13),
                batched,
                single,
            )


def test_gradient_that_is_not_finite_leaves_the_parameters_alone(x64):
    """No perturbation; the loss shows the fault, so that the step can be skipped."""

    def loss_fn(w):
        return jnp.sum(jnp.sqrt(w)), w  # slope infinite at 0

    (_, passes), _ = aligned(loss_fn, select=everything)(jnp.array([0.0, 1.0]))
    assert passes.perturbation_norm == 0
    np.testing.assert_array_equal(passes.perturbed_aux, [0, 1])
    (value, passes), _ = aligned(select=words_only)(PARAMS, jnp.nan)
    assert np.isnan(value)
    assert np.isnan(passes.loss)


class TestErrors:
    @pytest.mark.parametrize(
        "options", [{"epsilon": -0.5}, {"floor": 0}, {"floor": -0.5}], ids=str
    )
    @pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
    def test_options_out_of_range(self, options, jitted, x64):
        def whole(params):
            return uncompiled(**options)(params)

        (value,) = options.values()
        with pytest.raises(ValueError, match=str(value)):
            (jax.jit(whole) if jitted else whole)(PARAMS)

    @pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
    def test_loss_must_be_a_scalar(self, jitted):
        make = aligned if jitted else uncompiled
        function = make(lambda w: (w**2, None), select=everything)
        with pytest.raises((ValueError, TypeError), match=r"\(3,\)"):
            function(jnp.ones(3))

    @pytest.mark.parametrize(
        ("selection", "described"),
        [
            ({"words": True}, "no boolean at ['rest']"),
            ({"words": True, "rest": None}, "no boolean at ['rest']"),
            (
                {"words": True, "rest": False, "more": True},
                "one at ['more'], where the parameters have no entry",
            ),
            ({"words": True, "rest": [False]}, "no boolean at ['rest']"),
            ({"words": True, "rest": "yes"}, "'yes' at ['rest']"),
            ({"words": 1, "rest": False}, "1 at ['words']"),
            ("words", "'words' at the top"),
            (PARAMS, "an array of shape (2,) at ['rest']"),
        ],
        ids=str,
    )
    def test_a_wrong_selection_is_one_line_with_its_place(
        self, selection, described, x64
    ):
        for function, args in (
            (uncompiled(select=lambda _: selection), ()),
            (
                objectives.aligned_tasks_value_and_grad(
                    lambda p: p["rest"], epsilon=0.1, select=lambda _: selection
                ),
                (np.array([True, True]),),
            ),
        ):
            with pytest.raises(ValueError, match=r"^`select` must return ") as error:
                function(PARAMS, *args)
            assert described in str(error.value)
            assert "\n" not in str(error.value)

    def test_a_selection_that_is_traced_is_refused(self, x64):
        function = aligned(select=lambda p: {"words": p["rest"][0] > 0, "rest": False})
        with pytest.raises(ValueError, match=r"found a traced value at \['words'\]"):
            function(PARAMS)

    @pytest.mark.parametrize("count", [1, 3])
    def test_a_tuple_that_is_not_a_pair_is_refused(self, count):
        for make in (
            objectives.aligned_value_and_grad,
            objectives.aligned_tasks_value_and_grad,
        ):
            function = make(
                lambda p, *_: (p,) * count, epsilon=0.1, select=lambda _: True
            )
            with pytest.raises(
                ValueError, match=f"a pair .*; found a tuple of {count}"
            ):
                function(jnp.ones(2), jnp.ones(2, bool))


class TestWithoutAux:
    """A loss alone gives what the same loss with auxiliary outputs does."""

    def test_one_task(self, x64):
        (value, passes), grads = aligned(lambda p: quadratic(p)[0])(PARAMS)
        (expected, with_aux), expected_grads = aligned()(PARAMS)
        assert value == expected
        assert passes.perturbed_loss == with_aux.perturbed_loss
        assert passes.aux is None
        assert passes.perturbed_aux is None
        jax.tree.map(np.testing.assert_array_equal, grads, expected_grads)

    def test_several_tasks(self, x64):
        def losses(params):
            return jnp.stack([jnp.sum(leaf**2) for leaf in params.values()])

        present = np.array([True, True])
        (value, passes), grads = objectives.aligned_tasks_value_and_grad(
            losses, epsilon=EPSILON, select=words_only
        )(PARAMS, present)
        (expected, _), expected_grads = objectives.aligned_tasks_value_and_grad(
            lambda p: (losses(p), "text"), epsilon=EPSILON, select=words_only
        )(PARAMS, present)
        assert value == expected
        assert passes.aux is None
        jax.tree.map(np.testing.assert_array_equal, grads, expected_grads)


class TestSeveralTasks:
    """One perturbation from the sum of the losses, a weight for each task."""

    @staticmethod
    def losses(params, offsets):
        w, r = params["words"], params["rest"]
        first = w @ A @ w / 2 + r[0] ** 2
        second = (C @ w) ** 2 / 2 + r[1] ** 2
        third = w[0]
        return jnp.stack([first, second, third]) + offsets, params

    @pytest.mark.parametrize(
        "offsets",
        [[1.0, 2.0, np.nan], [1.0, -30.0, np.nan]],
        ids=["above the floor", "one below the floor"],
    )
    def test_equals_the_definition(self, offsets, x64):
        offsets = np.array(offsets)
        present = np.array([True, True, False])
        function = objectives.aligned_tasks_value_and_grad(
            self.losses, epsilon=EPSILON, select=words_only
        )
        (value, passes), grads = jax.jit(function)(PARAMS, present, offsets)

        def present_losses(params):
            w, r = params["words"], params["rest"]
            pair = w @ A @ w / 2 + r[0] ** 2, (C @ w) ** 2 / 2 + r[1] ** 2
            return jnp.stack(pair) + offsets[:2]

        g = jax.jit(jax.grad(lambda p: present_losses(p).sum()))(PARAMS)["words"]
        delta = EPSILON * g / jnp.linalg.norm(g)

        def objective(params):
            moved = {**params, "words": params["words"] + delta}
            total = present_losses(params) + present_losses(moved)
            return objectives.log_sum(total, FLOOR)

        expected, expected_grads = jax.jit(jax.value_and_grad(objective))(PARAMS)
        np.testing.assert_allclose(value, expected, rtol=1e-13)
        np.testing.assert_allclose(passes.loss[:2], present_losses(PARAMS), rtol=1e-13)
        np.testing.assert_allclose(passes.perturbation_norm, EPSILON, rtol=1e-13)
        for name in PARAMS:
            np.testing.assert_allclose(grads[name], expected_grads[name], rtol=1e-12)

    def test_one_task_equals_the_scalar_form(self, x64):
        function = objectives.aligned_tasks_value_and_grad(
            lambda params, offset: (quadratic(params, offset)[0][None], None),
            epsilon=EPSILON,
            select=words_only,
        )
        (value, _), grads = function(PARAMS, np.array([True]), 5.0)
        (expected, _), expected_grads = aligned()(PARAMS, 5.0)
        np.testing.assert_allclose(value, expected, rtol=1e-14)
        for name in PARAMS:
            np.testing.assert_allclose(grads[name], expected_grads[name], rtol=1e-13)


class TestFloored:
    """Whether the logarithm is its tangent: 2ℓ against the floor, without a perturbation."""

    @pytest.mark.parametrize(
        ("loss", "options", "expected"),
        [
            (0.26, {}, False),
            (0.25, {}, True),  # at the floor
            (-3.0, {}, True),
            (-3.0, {"logarithm": False}, False),
            (np.nan, {}, False),
        ],
    )
    def test_one_task(self, loss, options, expected, x64):
        function = objectives.aligned_value_and_grad(
            lambda params: (params, None),
            epsilon=0.0,
            select=everything,
            floor=0.5,
            **options,
        )
        (_, passes), _ = function(jnp.array(loss))
        assert passes.is_floored.dtype == bool
        assert passes.is_floored.shape == ()
        assert bool(passes.is_floored) is expected

    @pytest.mark.parametrize("logarithm", [True, False])
    def test_several_tasks(self, logarithm, x64):
        """The last task is absent; the perturbation lifts the third above the floor."""
        function = objectives.aligned_tasks_value_and_grad(
            lambda params: (params, None),
            epsilon=1.0,
            select=lambda params: True,
            floor=0.5,
            logarithm=logarithm,
        )
        losses = jnp.array([0.3, -0.5, 0.1, 0.2])
        present = jnp.array([True, True, True, False])
        (_, passes), _ = function(losses, present)
        moved = losses + jnp.array([1, 1, 1, 0]) / np.sqrt(3)
        np.testing.assert_allclose(passes.perturbed_loss, moved, rtol=1e-13)
        expected = [False, logarithm, False, False]
        np.testing.assert_array_equal(passes.is_floored, expected)
