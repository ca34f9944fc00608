"""PCGrad against examples worked by hand, loops over vectors in NumPy, and TorchJD."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mtra_jax import balancing
from mtra_jax.balancing import Inputs, projections

pytestmark = pytest.mark.usefixtures("float64")

# Compiled once for each number of tasks.
project = jax.jit(projections.project)
COMBINE = jax.jit(balancing.pcgrad().combine)


def combine(gram, present=None, rng=None):
    """The weights [T] of the tasks' gradients."""
    present = np.full(len(gram), True) if present is None else np.array(present)
    rng = jax.random.key(0) if rng is None else rng
    inputs = Inputs(np.ones(len(gram)), present, rng, gram)
    result = COMBINE(inputs, balancing.State())
    assert result.own_weights is None  # a head takes the gradient of its task's loss
    assert result.memory == ()
    return result.value


def by_hand(vectors, orders):
    """Algorithm 1 on the vectors themselves: returns g_i' of all tasks [T, D]."""
    result = []
    for task, order in enumerate(orders):
        projected = vectors[task].copy()
        for other in order:
            dot = projected @ vectors[other]
            if other != task and dot < 0:
                projected -= dot / (vectors[other] @ vectors[other]) * vectors[other]
        result.append(projected)
    return np.array(result)


TWO = {
    # g_1 · g_2 = −1 and |g_2|² = 2: g_1' = g_1 + g_2/2; |g_1|² = 1: g_2' = g_2 + g_1.
    "conflict": ([[1, 0], [-1, 1]], [[1, 0.5], [1, 1]], [[0.5, 0.5], [0, 1]]),
    "agreement": ([[1, 0], [1, 1]], [[1, 0], [0, 1]], [[1, 0], [1, 1]]),
    "right_angle": ([[2, 0], [0, 3]], [[1, 0], [0, 1]], [[2, 0], [0, 3]]),
    # g_1 · g_2 = −2, |g_2|² = 4, |g_1|² = 1: nothing is left of either.
    "opposite": ([[1, 0], [-2, 0]], [[1, 0.5], [2, 1]], [[0, 0], [0, 0]]),
    "absent": ([[1, 0], [0, 0]], [[1, 0], [0, 1]], [[1, 0], [0, 0]]),
}


@pytest.mark.parametrize("case", TWO)
@pytest.mark.parametrize("orders", [[[0, 1], [0, 1]], [[1, 0], [1, 0]]], ids=str)
def test_two_vectors_by_hand(case, orders):
    """The task itself is skipped, wherever it occurs in the order."""
    vectors, coefficients, projected = map(np.float64, TWO[case])
    actual = project(vectors @ vectors.T, np.array(orders))
    np.testing.assert_array_equal(actual, coefficients)
    np.testing.assert_array_equal(actual @ vectors, projected)


# All numbers are exact in binary. Keys are the task, then the others in their order.
THREE = {
    # g_1 with g_2: (½, ½), whose product with g_3 is −½ though that of g_1 was 0.
    "a_conflict_arises": (
        [[1, 0], [-1, 1], [0, -1]],
        {
            (0, 1, 2): ([1, 0.5, 0.5], [0.5, 0]),
            (0, 2, 1): ([1, 0.5, 0], [0.5, 0.5]),
            (1, 0, 2): ([1, 1, 1], [0, 0]),
            (1, 2, 0): ([1, 1, 1], [0, 0]),
            (2, 0, 1): ([0, 0.5, 1], [-0.5, -0.5]),
            (2, 1, 0): ([0.5, 0.5, 1], [0, -0.5]),
        },
    ),
    # g_1 less g_3 is 0, which g_2 cannot change; less g_2 first it is (½, ½), then (0, ½).
    "a_conflict_goes": (
        [[1, 0], [-1, 1], [-1, 0]],
        {
            (0, 1, 2): ([1, 0.5, 0.5], [0, 0.5]),
            (0, 2, 1): ([1, 0, 1], [0, 0]),
            # g_2 and g_3 agree; both lose (-1, 0) to g_1.
            (1, 0, 2): ([1, 1, 0], [0, 1]),
            (1, 2, 0): ([1, 1, 0], [0, 1]),
            (2, 0, 1): ([1, 0, 1], [0, 0]),
            (2, 1, 0): ([1, 0, 1], [0, 0]),
        },
    ),
}


@pytest.mark.parametrize("case", THREE)
def test_three_vectors_by_hand_in_every_order(case):
    vectors, expected = THREE[case]
    vectors = np.float64(vectors)
    gram = vectors @ vectors.T
    for (task, *others), (coefficients, projected) in expected.items():
        for place in range(3):
            order = others.copy()
            order.insert(place, task)
            actual = project(gram, np.array([order] * 3))[task]
            np.testing.assert_array_equal(actual, coefficients, str(order))
            np.testing.assert_array_equal(actual @ vectors, projected, str(order))


@pytest.mark.parametrize("num_tasks", [2, 3, 6])
@pytest.mark.parametrize("num_features", [3, 50])
def test_random_vectors_equal_a_loop_over_vectors(num_tasks, num_features):
    """With fewer and with more vectors than dimensions."""
    rng = np.random.default_rng(num_tasks + num_features)
    for _ in range(20):
        # A common part, of either sign, makes some pairs agree and others conflict.
        common = rng.normal(size=(num_tasks, 1)) * rng.normal(size=num_features)
        vectors = common + rng.normal(size=(num_tasks, num_features))
        orders = np.array([rng.permutation(num_tasks) for _ in range(num_tasks)])
        expected = by_hand(vectors, orders)
        actual = project(vectors @ vectors.T, orders) @ vectors
        scale = np.abs(vectors).max()
        # A projection may leave little of a vector, so the tolerance is absolute.
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11 * scale)


def test_two_projected_gradients_do_not_conflict():
    """With two tasks no g_i' points against the other's gradient (Theorem 1's premise)."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        vectors = rng.normal(size=(2, 3))
        actual = project(vectors @ vectors.T, np.array([[0, 1], [0, 1]])) @ vectors
        products = [actual[0] @ vectors[1], actual[1] @ vectors[0]]
        assert min(products) > -1e-14 * np.abs(vectors).max() ** 2


def test_weights_are_the_sum_over_the_tasks_present():
    """(1, ½) + (1, 1) with both; an absent task adds nothing, and its gradient is 0."""
    vectors = np.array([[1.0, 0], [-1, 1]])
    np.testing.assert_array_equal(combine(vectors @ vectors.T), [2, 1.5])
    for there in ([True, False], [False, True]):
        masked = vectors * np.array(there)[:, None]
        actual = combine(masked @ masked.T, there)
        np.testing.assert_array_equal(actual, there)


def test_orders_of_different_tasks_are_independent():
    """The four possible outcomes of "a conflict arises" are equally frequent."""
    vectors, expected = THREE["a_conflict_arises"]
    vectors = np.float64(vectors)
    gram = jnp.array(vectors @ vectors.T)
    outcomes = [
        np.add(np.add(first, [1, 1, 1]), third)
        for first in (expected[0, 1, 2][0], expected[0, 2, 1][0])
        for third in (expected[2, 0, 1][0], expected[2, 1, 0][0])
    ]
    keys = jax.random.split(jax.random.key(3), 2000)
    present = np.full(3, True)
    weights = jax.vmap(lambda key: combine(gram, present, key))(keys)
    counts = [np.sum(np.all(weights == outcome, axis=1)) for outcome in outcomes]
    assert sum(counts) == 2000
    assert stats.chisquare(counts).pvalue > 0.01


def orders_of(rng, num_tasks):
    """The method's orders: a key for each task, a permutation from each key."""
    keys = jax.random.split(rng, num_tasks)
    return np.array([jax.random.permutation(key, num_tasks) for key in keys])


def table_of(tree):
    return tree["encoder"]["embeddings"]["word_embeddings"]["embedding"]


@pytest.mark.parametrize("at", [0, 1])
def test_a_step_projects_the_gradients_of_the_shared_parameters(toy, mixture, at):
    params, batch = toy.params("pcgrad"), toy.batch(mixture)
    losses, grads = toy.losses_and_gradients(params, batch)
    present = np.isin(np.arange(5), mixture)
    vectors = np.array([table_of(grad).ravel() for grad in grads])
    num_conflicts = np.sum(np.tril(vectors @ vectors.T) < -1e-2)
    assert num_conflicts >= (0 if mixture == toy.mixtures["one"] else 3)
    # Absent tasks have no gradient to project or to project on.
    orders = orders_of(toy.rngs(at)["method"], 5)
    there = [[other for other in order if present[other]] for order in orders]
    projected = by_hand(vectors, there)[present].sum(axis=0)

    result = toy.differentiate("pcgrad", mixture, step=np.int32(at))
    actual = table_of(result.grads)
    scale = np.abs(vectors).max()
    np.testing.assert_allclose(
        actual.ravel(), projected, rtol=1e-10, atol=1e-13 * scale
    )
    weights = result.metrics["weights"]
    np.testing.assert_allclose(
        weights @ vectors, projected, rtol=1e-10, atol=1e-13 * scale
    )
    assert not np.any(weights[~present])
    np.testing.assert_allclose(result.metrics["objective"], losses.sum(), rtol=1e-12)
    np.testing.assert_allclose(result.metrics["losses"], losses, rtol=1e-12)
    # Heads take the gradient of their task's loss, whatever the weights.
    for name, grad in zip(toy.names, grads, strict=True):
        for key, expected in grad["heads"][name].items():
            np.testing.assert_allclose(
                result.grads["heads"][name][key], expected, rtol=1e-10, atol=1e-14
            )


def test_the_order_is_drawn_anew_each_step(toy):
    def weights(at):
        result = toy.differentiate("pcgrad", toy.mixtures["all"], step=np.int32(at))
        return result.metrics["weights"]

    np.testing.assert_array_equal(weights(0), weights(0))
    assert len({tuple(weights(at)) for at in range(6)}) > 1


@pytest.mark.parametrize(
    "scales",
    [(1.0, 1e-25), (1e-25, 1e-25), (1.0, 1e-21)],
    ids=str,
)
def test_a_tiny_gradient_gives_finite_weights(scales):
    """Its square underflows float32 although its products with others do not.

    A task whose texts are all classified with certainty has such a gradient.
    """
    with jax.enable_x64(False):
        vectors = np.float32([[1, 0], [-1, 1]]) * np.float32(scales)[:, None]
        gram = np.matmul(vectors, vectors.T)
        actual = combine(gram) @ vectors
    # At most the projection on the tiny gradient is missing.
    assert np.isfinite(actual).all()
    expected = by_hand(np.float64(vectors), [[1], [0]]).sum(axis=0)
    assert np.abs(actual - expected).max() <= max(scales)


@pytest.mark.torch
def test_two_tasks_equal_torchjd():
    """TorchJD sums over the tasks too; with two tasks the order does not matter."""
    torch = pytest.importorskip("torch")
    aggregation = pytest.importorskip("torchjd.aggregation")
    aggregate = aggregation.PCGrad()
    rng = np.random.default_rng(1)
    num_conflicts = 0
    for _ in range(20):
        vectors = rng.normal(size=(2, 4))
        gram = vectors @ vectors.T
        num_conflicts += gram[0, 1] < 0
        expected = aggregate(torch.from_numpy(vectors)).numpy()
        actual = combine(gram) @ vectors
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13)
    assert 5 < num_conflicts < 15


@pytest.mark.torch
def test_three_tasks_give_the_results_of_torchjd():
    """Each random result of TorchJD is one of ours, and all of ours occur."""
    torch = pytest.importorskip("torch")
    aggregation = pytest.importorskip("torchjd.aggregation")
    aggregate = aggregation.PCGrad()
    vectors = np.float64([[1, 0.2], [-1, 1], [-0.3, -1]])
    gram = vectors @ vectors.T
    others = [[(1, 2), (2, 1)], [(0, 2), (2, 0)], [(0, 1), (1, 0)]]
    ours = []
    for choice in itertools.product(*others):
        orders = np.array([(task, *order) for task, order in enumerate(choice)])
        ours.append(project(gram, orders).sum(axis=0) @ vectors)
    ours = np.array(ours)
    hits = np.zeros(8, bool)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(60):
            theirs = aggregate(torch.from_numpy(vectors)).numpy()
            hit = np.abs(ours - theirs).max(axis=1) < 1e-13
            assert hit.any()
            hits |= hit
    assert hits.all()
    # Some orders may give the same result, but not all of them.
    assert len(np.unique(ours.round(10), axis=0)) > 2
