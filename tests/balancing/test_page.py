"""The page of the balancers: its table is that of the code, and its examples run."""

import inspect
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtra_jax import balancing
from mtra_jax.balancing import Balancer, Inputs, Reads

PAGE = Path(balancing.__file__).with_name("README.md").read_text(encoding="utf-8")
ARGUMENTS = {"tw": ([3, 2, 1],), "dwa": (10,)}
PARAMS = {"w": jnp.ones(2)}
PASSES = {
    Reads.LOSSES: "losses",
    Reads.GRAMIAN: "Gramian",
    Reads.GRADIENTS: "gradients",
}
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FIRST, GIVEN, SAMO, SECOND, THIRD = BLOCKS


def balancers():
    """The factories by their names, those of `Reads.LOSSES` first."""
    made = {}
    for name in balancing.__all__:
        factory = getattr(balancing, name)
        is_step = "value_and_grad" in name or name == "combine_gradients"
        if inspect.isfunction(factory) and not is_step:
            made[name] = factory, factory(*ARGUMENTS.get(name, ()))
    assert all(isinstance(own, Balancer) for _, own in made.values())
    places = {reads: place for place, reads in enumerate(PASSES)}
    return dict(sorted(made.items(), key=lambda item: places[item[1][1].reads]))


def start(balancer):
    extra = (PARAMS,) if balancer.reads is Reads.GRADIENTS else ()
    return balancer.init(3, *extra)


def draws(balancer):
    inputs = Inputs(
        losses=jnp.ones(3),
        present=jnp.ones(3, bool),
        gramian=jnp.eye(3),
        gradients={"w": jnp.ones((3, 2))},
    )
    try:
        balancer.combine(inputs, start(balancer))
    except ValueError as error:
        return "`rng` must be a key" in str(error)
    return False


def row(factory, balancer):
    options = ", ".join(
        own.name if own.default is own.empty else f"{own.name}={own.default!r}"
        for own in inspect.signature(factory).parameters.values()
    )
    state = start(balancer)
    needs = [
        "learned" if jax.tree.leaves(state.learned) else "",
        "memory" if jax.tree.leaves(state.memory) else "",
        "`rng`" if draws(balancer) else "",
    ]
    about = inspect.getdoc(factory).split("\n")[0]
    cells = [
        f"`{factory.__name__}({options})`",
        about,
        PASSES[balancer.reads],
        ", ".join(filter(None, needs)),
    ]
    return f"| {' | '.join(cells)} |"


def test_the_table_is_that_of_the_code():
    rows = [row(*own) for own in balancers().values()]
    head = "| call | balancer | reads | needs |\n| --- | --- | --- | --- |\n"
    assert f"\n{head}{chr(10).join(rows)}\n" in PAGE


@pytest.fixture
def problem():
    """Two tasks whose losses are 0 at different points."""
    goals = jnp.array([[0.0, 2.0], [2.0, 0.0]])
    return {
        "params": {"shared": jnp.array([3.0, 3.0]), "heads": jnp.zeros(2)},
        "losses_fn": lambda params, batch: (
            jnp.sum((params["shared"] - goals) ** 2, axis=1) * batch + 0.5
        ),
        "optimiser": optax.sgd(0.05),
        "batches": [jnp.ones(())] * 200,
    }


@pytest.mark.parametrize("name", ["uw", "pcgrad", "gradnorm", "ew"])
def test_the_loop_of_the_page_trains_parameters_and_weights(problem, name):
    names = {**problem, "balancer": getattr(balancing, name)()}
    exec(FIRST, names)
    np.testing.assert_allclose(names["params"]["shared"], [1.0, 1.0], atol=0.05)
    learned = names["state"].learned
    if name == "uw":
        # At the minimum ℓ = 2.5 and exp(−s) ℓ = 1/2.
        np.testing.assert_allclose(learned, [math.log(5)] * 2, atol=0.05)
    assert bool(jax.tree.leaves(learned)) == (name in ("uw", "gradnorm"))


def test_the_owners_of_the_page_select_the_parameters_that_the_balancer_compares():
    """At a small ρ the gradients are those of `select`, the heads' of one task."""
    weights = jnp.array([[1.0, 2.0], [3.0, -1.0]])

    def losses_fn(params):
        scores = jnp.tanh(weights @ params["encoder"]["w"])
        return (scores * jnp.stack(params["heads"]) - 1) ** 2

    balancer = balancing.mgda()
    names = {"jax": jax, "balancing": balancing}
    exec(SAMO, {**names, "losses_fn": losses_fn, "balancer": balancer}, names)
    heads = [jnp.array(1.0), jnp.array(2.0)]
    params = {"encoder": {"w": jnp.array([0.1, 0.2])}, "heads": heads}
    state, rng = balancer.init(2), jax.random.key(0)
    (_, aux), gradient, _ = names["step"](params, state, rng=rng)
    selected = balancing.value_and_grad(
        losses_fn, balancer, select=lambda _: {"encoder": True, "heads": False}
    )
    (_, expected_aux), expected, _ = selected(params, state)
    np.testing.assert_allclose(aux.weights, expected_aux.weights, atol=0.02)
    assert jax.tree.structure(gradient) == jax.tree.structure(expected)
    for own, other in zip(*map(jax.tree.leaves, (gradient, expected)), strict=True):
        np.testing.assert_allclose(own, other, atol=0.02)
    whole = balancing.samo_value_and_grad(losses_fn, balancer)
    _, shared, _ = whole(params, state, rng=rng)
    assert abs(shared["heads"][1] - gradient["heads"][1]) > 0.1


def test_gradients_of_single_batches_are_combined_as_on_the_page():
    """Each task's loss is that of a batch of its texts alone."""
    batches = [jnp.array([1.0, 2.0]), jnp.array([3.0, -1.0])]
    params, balancer = {"w": jnp.array([0.5, 1.0])}, balancing.mgda()
    names = {
        "jax": jax,
        "jnp": jnp,
        "balancing": balancing,
        "task_losses": [
            lambda params, x: jnp.sum((params["w"] - x) ** 2),
            lambda params, x: jnp.sum((params["w"] + x) ** 2),
        ],
        "task_batches": batches,
        "params": params,
        "balancer": balancer,
        "state": balancing.State(),
        "rng": None,
    }
    exec(GIVEN, names)
    g, h = 2 * (params["w"] - batches[0]), 2 * (params["w"] + batches[1])
    share = np.clip(np.dot(h - g, h) / np.dot(h - g, h - g), 0, 1)
    np.testing.assert_allclose(
        names["gradient"]["w"], share * g + (1 - share) * h, rtol=1e-5
    )


def test_all_arguments_of_the_transformations_are_on_the_page():
    for transformation in (
        balancing.value_and_grad,
        balancing.samo_value_and_grad,
        balancing.combine_gradients,
    ):
        for own in inspect.signature(transformation).parameters.values():
            if own.kind is own.KEYWORD_ONLY:
                assert re.search(rf"`[^`]*\b{own.name}\b[^`]*`", PAGE), own.name


def test_the_balancer_of_the_page_weighs_by_inverse_lengths():
    names = {}
    exec(SECOND, names)
    exec(THIRD, names)
    balancer = names["inverse_norms"](decay=0.5)
    step = balancing.value_and_grad(lambda p, scale: scale * p, balancer)
    state = balancer.init(2)
    scale = jnp.array([2.0, 8.0])
    for mean in ([1.5, 4.5], [1.75, 6.25]):
        (_, aux), _, state = step(jnp.array(1.0), state, scale)
        np.testing.assert_allclose(aux.weights, 1 / np.array(mean), rtol=1e-6)
    present = jnp.array([True, False])
    (_, aux), gradient, state = step(jnp.array(1.0), state, scale, present=present)
    np.testing.assert_allclose(state.memory, [1.875, 6.25], rtol=1e-6)
    np.testing.assert_allclose(gradient, 2 / 1.875, rtol=1e-6)


def test_the_balancer_of_the_page_weighs_by_inverse_losses():
    names = {}
    exec(SECOND, names)
    balancer = names["inverse_losses"]()
    step = balancing.value_and_grad(lambda p, scale: scale * p, balancer)
    one, state = jnp.array(1.0), balancer.init(2)
    (value, aux), gradient, _ = step(one, state, jnp.array([2.0, 8.0]))
    np.testing.assert_allclose(aux.weights, [0.25, 0.0625], rtol=1e-6)
    np.testing.assert_allclose([value, gradient], 1.0, rtol=1e-6)
    present = jnp.array([True, False])
    (value, aux), gradient, _ = step(one, state, jnp.array([2.0, 0.0]), present=present)
    np.testing.assert_allclose(aux.weights, [0.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose([value, gradient], 1.0, rtol=1e-6)
