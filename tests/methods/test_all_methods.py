"""Properties of the papers' methods; `test_balancers` has those of the other rows."""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import rest_nightly
from toys import first_memory, objective_of

from mtra_jax.balancing import Inputs, State
from mtra_jax.methods import registry, task_losses
from mtra_jax.runs.directory import checkpoints
from mtra_jax.train.devices import to_host
from mtra_jax.train.step import TrainState

pytestmark = pytest.mark.usefixtures("float64")


class Traits(NamedTuple):
    """Properties of a method that decide which tests apply.

    A weighting is a method that weighs the losses of hard parameter sharing.
    """

    reads: str
    is_weighting: bool
    has_params: bool
    has_state: bool


def traits_of(name):
    method = registry.example(name)
    return Traits(
        method.reads,
        getattr(method.losses, "func", None) is task_losses.plain_losses,
        bool(jax.eval_shape(method.init, jax.random.key(0))),
        bool(jax.tree.leaves(first_memory(method))),
    )


# Methods that train each task in a separate run never get a batch of several tasks.
METHODS = {
    name: traits_of(name)
    for name, entry in registry.METHODS.items()
    if entry.in_papers and not entry.is_separate
}
WEIGHTINGS = [name for name, traits in METHODS.items() if traits.is_weighting]
HAS_MEMORY = [name for name, t in METHODS.items() if t.has_params or t.has_state]
OF_LOSSES = [name for name, t in METHODS.items() if t.reads == "losses"]
OF_GRAMIANS = [name for name, t in METHODS.items() if t.reads == "Gramian"]
# One for each kind of state and of what is read; the others nightly.
KINDS = {"uw", "dwa", "pcgrad", "vmtl", "mtra"}
# Methods whose weights are float32 in every precision.
FLOAT32_WEIGHTS = {"rlw", "dwa", "tw"}


@pytest.fixture
def trained(toy):
    return functools.partial(train, toy)


def flatten(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def assert_trees_close(actual, expected, **tolerances):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    flat, _ = jax.tree_util.tree_flatten_with_path(expected)
    for (path, want), got in zip(flat, jax.tree.leaves(actual), strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(got, want, err_msg=name, **tolerances)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ew", Traits("losses", True, False, False)),
        ("uw", Traits("losses", True, True, False)),
        ("dwa", Traits("losses", True, False, True)),
        ("vmtl", Traits("losses", False, True, False)),
        ("pcgrad", Traits("Gramian", True, False, False)),
        ("mtra", Traits("aligned passes", False, True, False)),
    ],
)
def test_traits_are_read_from_the_method(name, expected):
    assert METHODS[name] == expected


# ---- finite


LOSSES = {
    "random": np.random.default_rng(0).uniform(0.1, 3, size=5),
    "equal": np.full(5, 1.3),
    "small": np.full(5, 1e-8),
    "large": np.full(5, 1e8),
    "far_apart": np.array([1e-8, 1e8, 1.0, 1e-4, 1e4]),
}
PRESENCES = {
    "all": np.full(5, True),
    "some": np.array([True, False, True, True, False]),
}


@pytest.mark.parametrize("name", OF_LOSSES)
def test_values_and_derivatives_of_extreme_losses_are_finite(toy, name):
    """Several steps in a row, so that DWA's ratios of losses are extreme too."""
    with jax.enable_x64(False):
        method = toy.make(name)
        params = jax.tree.map(np.float32, toy.params(name)["method"])
        differentiate = jax.jit(
            jax.value_and_grad(objective_of(method, toy.names), (0, 1), has_aux=True)
        )
        for present in PRESENCES.values():
            state = first_memory(method)
            for at, key in enumerate(itertools.chain(LOSSES, reversed(LOSSES))):
                losses = np.where(present, LOSSES[key], 0).astype(np.float32)
                (value, state), (by_params, weights) = differentiate(
                    params, losses, present, state, jax.random.key(at)
                )
                assert value.dtype == np.float32
                for leaf in jax.tree.leaves((value, state, by_params, weights)):
                    assert np.isfinite(leaf).all(), key
                # No loss may grow, and absent tasks have no weight.
                assert np.all(weights >= 0), key
                assert np.any(weights > 0), key
                assert not np.any(weights[~present]), key


def gram_of(vectors, scales=1.0):
    vectors = np.asarray(vectors, np.float32) * np.float32(scales)
    return vectors @ vectors.T


RANDOM = np.random.default_rng(1).normal(size=(5, 8))
SCALES = np.array([[1e-8], [1e8], [1.0], [1e-4], [1e4]])
GRAMS = {
    "full_rank": gram_of(RANDOM),
    "low_rank": gram_of(RANDOM[:, :2]),
    "rank_one": gram_of(RANDOM[:, :1]),
    "zero": gram_of(0 * RANDOM),
    "one_gradient": gram_of(np.eye(5)[:, :1] * RANDOM),
    "equal": gram_of(np.tile(RANDOM[:1], (5, 1))),
    # Two pairs of opposite gradients of different norms, and one between them.
    "conflicts": gram_of([[1, 0], [-3, 0], [0, 1], [0, -1e-3], [1, 1]]),
    "small": gram_of(RANDOM, 1e-8),
    "large": gram_of(RANDOM, 1e8),
    "far_apart": gram_of(RANDOM, SCALES),
    "low_rank_far_apart": gram_of(RANDOM[:, :2], SCALES),
}


@pytest.mark.parametrize("gram", GRAMS.values(), ids=GRAMS)
@pytest.mark.parametrize("name", OF_GRAMIANS)
def test_weights_of_any_gradients_are_finite(toy, name, gram):
    with jax.enable_x64(False):
        method = toy.make(name)
        combine = jax.jit(method.rule.combine)
        for present in PRESENCES.values():
            given = jnp.asarray(np.where(np.outer(present, present), gram, 0))
            for at in range(5):
                key = jax.random.key(at)
                result = combine(Inputs(jnp.ones(5), present, key, given), State())
                weights = result.value
                assert weights.shape == (5,)
                assert weights.dtype == np.float32
                assert np.isfinite(weights).all()
                assert not np.any(weights[~present])
                assert result.own_weights is None
                assert result.memory == ()


# ---- permutation

ORDER = (3, 0, 4, 1, 2)


def state_of(toy, name):
    """A state during training; its arrays [T] are in the order of `toy`."""
    rng = np.random.default_rng(5)

    def draw(leaf):
        if leaf.shape != (5,):
            return leaf.dtype.type(5)
        return rng.uniform(0.2, 2, size=5).astype(leaf.dtype)[list(toy.order)]

    return jax.tree.map(draw, first_memory(toy.make(name)))


def of_tasks(tree, toy):
    """Reorders arrays over tasks or slots to the order of `toy`."""
    places = {
        "z_logits": np.array(toy.order),
        "w_logits": np.array(toy.order),
        "from_y": toy.slots,
    }

    def place(path, leaf):
        orders = [places[entry.key] for entry in path if entry.key in places]
        return leaf[orders[0]] if orders else leaf

    return jax.tree_util.tree_map_with_path(place, tree)


def move_draws(monkeypatch, toy):
    """Patches `jax.random` so that draws for a task or a slot are reordered with it.

    These are draws [T], [T, T] and [L], and PCGrad's orders, each from its task's key.
    """
    order = np.array(toy.order)
    num_tasks, num_slots = len(order), len(toy.slots)
    normal, gumbel = jax.random.normal, jax.random.gumbel
    split, permutation = jax.random.split, jax.random.permutation

    def moved_normal(key, shape=(), *args, **options):
        drawn = normal(key, shape, *args, **options)
        places = {(num_tasks,): order, (num_slots,): toy.slots}
        return drawn[places[shape]] if shape in places else drawn

    def moved_gumbel(key, shape, *args):
        assert shape == (num_tasks, num_tasks)
        return gumbel(key, shape, *args)[np.ix_(order, order)]

    def moved_split(key, num=2):
        return split(key, num)[order] if num == num_tasks else split(key, num)

    def moved_permutation(key, num):
        assert num == num_tasks
        return jnp.argsort(order)[permutation(key, num)]

    monkeypatch.setattr(jax.random, "normal", moved_normal)
    monkeypatch.setattr(jax.random, "gumbel", moved_gumbel)
    monkeypatch.setattr(jax.random, "split", moved_split)
    monkeypatch.setattr(jax.random, "permutation", moved_permutation)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_permuting_the_tasks_permutes_the_result(toy, monkeypatch, name):
    tasks = toy.mixtures["all"]
    expected = toy.differentiate(name, tasks, method=state_of(toy, name))
    other = dataclasses.replace(toy, order=ORDER)
    params, state = of_tasks(toy.params(name), other), state_of(other, name)
    rngs = toy.rngs(0)
    move_draws(monkeypatch, other)
    differentiate = functools.partial(other.gradient, other.make(name))
    actual = jax.jit(differentiate)(params, other.batch(tasks), rngs, state)

    # The sums have another order.
    rtol = 1e-6 if name in FLOAT32_WEIGHTS else 1e-10
    close = functools.partial(assert_trees_close, rtol=rtol, atol=1e-12)
    close(actual.grads, of_tasks(expected.grads, other))
    close(actual.objective, expected.metrics["objective"])
    for key in ("losses", "weights", "terms"):
        close(getattr(actual, key), move(expected.metrics[key], ORDER))
    close(actual.memory, move(expected.state, ORDER))


def move(tree, order):
    """Arrays [T] in another order; numbers stay."""
    return jax.tree.map(lambda x: np.asarray(x)[list(order)] if x.ndim else x, tree)


# ---- directions


@pytest.mark.parametrize("task", [0, 1], ids=["classification", "regression"])
@pytest.mark.parametrize("name", rest_nightly(WEIGHTINGS, {"ew", "uw", "pcgrad"}))
def test_a_weighting_of_one_task_has_the_direction_of_plain_training(toy, name, task):
    tasks = [task, task, -1, task, task, *[-1] * 11]
    result = toy.differentiate(name, tasks, method=state_of(toy, name))
    _, grads = toy.losses_and_gradients(toy.params(name), toy.batch(tasks))
    actual = flatten([result.grads["encoder"], result.grads["heads"]])
    plain = flatten([grads[task]["encoder"], grads[task]["heads"]])
    scale = actual @ plain / (plain @ plain)
    assert scale > 1e-3
    np.testing.assert_allclose(actual, scale * plain, rtol=0, atol=1e-12 * scale)


@pytest.mark.slow
def test_any_two_methods_give_different_gradients(toy):
    """Compares norm and direction of the encoder's gradients on one batch.

    Updates would not differ: the first of Adamax does not depend on the gradient's scale,
    in which alone SI and GLS differ. Nor would gradients of the first step: DWA and IMTL-L
    start as the plain sum of the losses.
    """
    tasks = toy.mixtures["all"]
    actual = {
        name: flatten(
            toy.differentiate(name, tasks, method=state_of(toy, name)).grads["encoder"]
        )
        for name in METHODS
    }
    alike = [
        (one, other)
        for one, other in itertools.combinations(METHODS, 2)
        if np.linalg.norm(actual[one] - actual[other])
        < 1e-2 * max(np.linalg.norm(actual[one]), np.linalg.norm(actual[other]))
    ]
    assert not alike
    si, gls = actual["si"], actual["gls"]
    cosine = si @ gls / np.linalg.norm(si) / np.linalg.norm(gls)
    np.testing.assert_allclose(cosine, 1, rtol=1e-12)


# ---- steps


# On four devices position p is on device p % 4. In the third step two devices have no text
# of the only task; in the last step one device has no text at all.
PLAN = (
    (0, 3, 1, -1, 2, 0, 4, 1, -1, 3, 4, 2, 0, 1, 4, 2),
    (4, 1, 1, 4, -1, 3, 3, 1, 4, 1, -1, -1, 3, 4, -1, 1),
    (2, -1, -1, 2, 2, *[-1] * 11),
    (1, 1, 0, 4, 2, 3, -1, -1, 0, 3, 2, 1, -1, 4, 4, 4),
    (0, 4, 2, -1, 0, 2, 2, -1, 1, 0, 4, -1, 1, -1, 0, -1),
)


class Trained:
    """Five consecutive steps, with states and metrics on the host."""

    def __init__(self, toy, name, num_devices):
        self.program = toy.program(name, num_devices)
        self.batches = [toy.batch(tasks, num_devices) for tasks in PLAN]
        state, self.states, self.metrics = toy.state(name), [], []
        for batch in self.batches:
            state, metrics = self.program(state, batch)
            self.states.append(to_host(state))
            self.metrics.append(to_host(metrics))


@functools.cache
def train(toy, name, num_devices=1):
    return Trained(toy, name, num_devices)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_four_devices_equal_one(trained, name):
    """With noise, which depends on a text's place in the planned batch."""
    one, four = trained(name), trained(name, 4)
    for actual, expected in zip(four.metrics, one.metrics, strict=True):
        assert_trees_close(actual, expected, rtol=1e-9, atol=1e-13)
    for actual, expected in zip(four.states, one.states, strict=True):
        assert_trees_close(actual, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("num_devices", [1, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", rest_nightly(METHODS, KINDS))
def test_the_step_compiles_once(trained, name, num_devices):
    """For all mixtures of tasks, and across the tests that share the program."""
    actual = trained(name, num_devices)
    assert len({tuple(metrics["present"]) for metrics in actual.metrics}) == 4
    assert actual.program.num_compilations == 1


@pytest.mark.parametrize("name", ["ew", *HAS_MEMORY])
def test_training_resumes_from_a_checkpoint_to_the_bit(trained, tmp_path, name):
    pytest.importorskip("orbax.checkpoint")
    whole = trained(name)
    store = checkpoints.Checkpoints(tmp_path)
    store.save(3, whole.states[2]._asdict(), {}, 1.0)
    store.close()

    store = checkpoints.Checkpoints(tmp_path)
    target = jax.tree.map(np.zeros_like, whole.states[2]._asdict())
    arrays, _ = store.restore(3, target)
    store.close()
    state = TrainState(**arrays)
    for batch, expected in zip(whole.batches[3:], whole.states[3:], strict=True):
        state, _ = whole.program(state, batch)
        actual = to_host(state)
        assert jax.tree.structure(actual) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, actual, expected)
    # The method's parameters or state have changed; otherwise the test shows nothing.
    before, after = whole.states[2], whole.states[4]
    for has, pick in [
        (METHODS[name].has_params, lambda state: state.params["method"]),
        (METHODS[name].has_state, lambda state: state.method),
    ]:
        if has:
            assert np.any(flatten(pick(before)) != flatten(pick(after)))
