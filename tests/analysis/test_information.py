"""Trained critics against the information of discrete tables and of Gaussians."""

import jax
import numpy as np
import pytest
from tiers import NIGHTLY_ONLY

from mtra_jax import objectives
from mtra_jax.analysis import information, information_plane
from mtra_jax.analysis.information import Budget

MINE = information.BOUNDS["mine"]


def gaussians(rng, count, width, nats):
    """x and y [count, width] with I(x; y) = −½ Σ log(1 − ρ²) = `nats`."""
    rho = np.sqrt(1 - np.exp(-2 * nats / width))
    x, noise = rng.normal(size=(2, count, width))
    return x, rho * x + np.sqrt(1 - rho**2) * noise


COUNTS = np.array([[30, 2, 8], [3, 25, 2], [5, 5, 20], [10, 10, 0]])


def test_a_critic_reaches_the_information_of_a_discrete_table():
    """The best critic gives KL of the pairs (i, i) from the pairs (i, j), i ≠ j."""
    cells = [(z, y) for z in range(4) for y in range(3) for _ in range(COUNTS[z, y])]
    rows, columns = np.array(cells).T
    data = np.eye(4)[rows], np.eye(3)[columns]
    n = COUNTS.sum()
    joint = COUNTS / n
    product = np.outer(COUNTS.sum(1), COUNTS.sum(0)) / n**2
    others = (n**2 * product - n * joint) / (n**2 - n)
    pairs = COUNTS > 0
    expected = np.sum(joint[pairs] * np.log(joint[pairs] / others[pairs]))
    # Every row in every batch, with every other y.
    budget = Budget(
        (16,), steps=200, batch_size=n, pairs=n, rate=0.02, held_out=0, checks=1
    )
    actual = information.estimate(MINE, data, data, seed=0, budget=budget)
    # The measure has 64 of the 119 shifts: the same pairs in expectation.
    assert actual.training == pytest.approx(expected, abs=0.02)
    assert actual.training < information.entropy(columns)
    assert actual.step == 200


def test_entropy_is_that_of_the_shares():
    shares = np.array([0.5, 0.25, 0.25])
    expected = -np.sum(shares * np.log(shares))
    assert information.entropy([3, 3, 1, 0]) == pytest.approx(expected, rel=1e-12)
    sets = [[0, 1], [0, 1], [1, 1], [1, 0]]
    assert information.entropy(sets) == pytest.approx(expected, rel=1e-12)
    assert information.entropy([7, 7]) == 0


def test_scores_pair_each_row_with_others_alone():
    rng = np.random.default_rng(0)
    data = information._Data(rng.normal(size=(5, 2)), rng.normal(size=(5, 3)))
    params = information._start(jax.random.key(0), data, (4, 6)).params
    joint, marginals = information._scores(params, *data, 4, jax.lax.map)
    w_z, w_y, w_1, w_2 = map(np.asarray, params["kernels"])
    b_0, b_1 = map(np.asarray, params["biases"])

    def score(z, y):
        hidden = np.maximum(z @ w_z + y @ w_y + b_0, 0)
        return np.maximum(hidden @ w_1 + b_1, 0) @ w_2

    expected = [[score(z, y)[0] for y in data.y] for z in data.z]
    np.testing.assert_allclose(joint, np.diag(expected), rtol=1e-5, atol=1e-6)
    for i in range(5):
        row = [expected[i][(i + k) % 5] for k in range(1, 5)]
        np.testing.assert_allclose(marginals[i], row, rtol=1e-5, atol=1e-6)


def test_info_nce_is_the_share_of_the_true_pair():
    joint, marginals = np.array([1.0, 3.0]), np.array([[0.5, 2.0], [1.0, -1.0]])
    scores = np.concatenate([joint[:, None], marginals], axis=1)
    shares = np.exp(joint) / np.exp(scores).sum(axis=1)
    actual = information.BOUNDS["info_nce"](joint, marginals)
    assert actual == pytest.approx(np.mean(np.log(3 * shares)), rel=1e-6)


def test_a_bound_on_pairs_has_every_pair():
    joint, marginals = np.array([1.0, 3.0]), np.array([[0.5, 2.0], [1.0, -1.0]])
    expected = 2.0 - np.log(np.mean(np.exp(marginals)))
    actual = information.of_pairs(objectives.dv_bound)(joint, marginals)
    assert actual == pytest.approx(expected, rel=1e-6)


QUICK = Budget((32,), steps=200, pairs=16, rate=1e-2, held_out=0, checks=1)


@pytest.mark.slow
def test_scale_and_place_of_the_inputs_do_not_count():
    rng = np.random.default_rng(1)
    (z, y), other = (gaussians(rng, 600, 2, 1.0) for _ in range(2))
    first = information.estimate(MINE, (z, y), other, seed=0, budget=QUICK)
    parts = [(1e3 * z + 7, 1e-3 * y) for z, y in ((z, y), other)]
    moved = information.estimate(MINE, *parts, seed=0, budget=QUICK)
    assert moved.validation == pytest.approx(first.validation, rel=1e-3)
    # One nat; 200 steps come within a third of it.
    assert 0.67 < first.validation < 1.1


# (bound, width, nats) -> the least that a critic shows of them; MINE finds less than half
# of 8 nats in 20 dimensions, and InfoNCE is at most log 65 = 4.17 with 64 other y.
LEAST = {
    ("mine", 2, 2.0): 1.8,
    ("mine", 2, 8.0): 6.0,
    ("mine", 20, 2.0): 1.4,
    ("mine", 20, 8.0): 2.5,
    # SMILE is not a bound: at 8 nats it may pass the truth.
    ("smile", 2, 2.0): 1.7,
    ("smile", 20, 2.0): 1.3,
    ("info_nce", 2, 2.0): 1.7,
    ("info_nce", 2, 8.0): 4.0,
    ("info_nce", 20, 2.0): 1.3,
    ("info_nce", 20, 8.0): 3.5,
}


IN_EVERY_RUN = (("mine", 2, 2.0),)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [c if c in IN_EVERY_RUN else pytest.param(c, marks=NIGHTLY_ONLY) for c in LEAST],
    ids=str,
)
def test_information_of_gaussians_is_bounded_from_below(case):
    name, width, nats = case
    bound = information.BOUNDS[name]
    rng = np.random.default_rng(0)
    parts = [gaussians(rng, 8000, width, nats) for _ in range(2)]
    steps = 500 if case in IN_EVERY_RUN else 1500
    budget = Budget((64, 64), steps=steps, batch_size=64, pairs=63, checks=10)
    actual = information.estimate(bound, *parts, seed=0, budget=budget)
    # The information density of 8000 pairs has a standard error below 0.05.
    assert LEAST[case] < actual.validation < nats + 0.2
    assert name != "info_nce" or actual.validation < np.log(65)


@pytest.mark.slow
def test_independent_variables_have_no_information_to_show():
    rng = np.random.default_rng(2)
    z, y = rng.normal(size=(2, 2, 300, 3))
    data = [(z[i], y[i]) for i in range(2)]
    budget = QUICK._replace(steps=400)
    overfitted = information.estimate(MINE, *data, seed=0, budget=budget)
    assert overfitted.training > 0.2
    assert overfitted.validation < 0
    chosen = budget._replace(held_out=0.3, checks=20)
    stopped = information.estimate(MINE, *data, seed=0, budget=chosen)
    assert stopped.step < 400
    assert overfitted.validation < stopped.validation < 0.05


def test_parts_that_do_not_fit_are_refused():
    z, y = np.ones((4, 2)), np.ones((4, 3))
    with pytest.raises(
        ValueError, match="`training` must hold z and y of the same two"
    ):
        information.estimate(MINE, (z, y[:3]), (z, y), seed=0)
    with pytest.raises(ValueError, match="same widths"):
        information.estimate(MINE, (z, y), (z, y[:, :2]), seed=0)
    with pytest.raises(ValueError, match="must not be empty"):
        information.entropy([])


# ---- the information plane


@pytest.mark.slow
def test_a_point_has_the_information_of_views_and_outputs():
    """Views and outputs of a Gaussian z, with one nat and a quarter of one."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(1200, 1))

    def seen_through(nats):
        rho = np.sqrt(1 - np.exp(-2 * nats))
        return rho * z + np.sqrt(1 - rho**2) * rng.normal(size=z.shape)

    point = information_plane.point(
        MINE, z, seen_through(1.0), seen_through(0.25), seed=0, budget=QUICK
    )
    assert point.input_and_shared == pytest.approx(1.0, abs=0.2)
    assert point.shared_and_output == pytest.approx(0.25, abs=0.15)


def test_the_bound_of_two_views_is_log_n_less_the_loss():
    rng = np.random.default_rng(4)
    z = rng.normal(size=(9, 4))
    again = z + 0.1 * rng.normal(size=z.shape)
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (z, again))
    scores = one @ other.T / 0.5
    loss = np.mean(np.logaddexp.reduce(scores, axis=1) - np.diag(scores))
    actual = information_plane.view_bound(z, again, 0.5)
    assert actual == pytest.approx(np.log(9) - loss, rel=1e-5)
    assert actual < np.log(9)


def test_texts_of_other_numbers_are_refused():
    z = np.ones((4, 2))
    with pytest.raises(ValueError, match="the same rows; found 4, 4 and 3"):
        information_plane.point(MINE, z, z, z[:3], seed=0)
