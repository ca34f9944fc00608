"""Attacks on models whose worst noise is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.analysis import robustness

SIZES = [0.0, 0.5, 1.0, 2.0, 4.0]
RNG = np.random.default_rng(0)
W = RNG.normal(size=6)
X = RNG.normal(size=(40, 6))
Y = np.sign(X @ W + RNG.normal(size=40))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def logistic(outputs, batch):
    return jnp.sum(jax.nn.softplus(-batch["y"] * outputs))


def accuracy(outputs):
    return np.mean(np.sign(np.concatenate(outputs)) == Y)


def of_inputs(attack, sizes=SIZES, metric=accuracy):
    """The curve of x ↦ w·(x + noise), the noise of each row on the sphere of its size."""
    params = {"noise": np.zeros((20, 6)), "w": W}
    batches = [{"x": X[part], "y": Y[part]} for part in (slice(20), slice(20, 40))]
    return robustness.curve(
        lambda params, batch: (batch["x"] + params["noise"]) @ params["w"],
        params,
        batches,
        sizes,
        loss=logistic,
        metric=metric,
        attack=attack,
        select=lambda params: {"noise": True, "w": False},
    )


ADVERSARIES = [robustness.fgm(per_row=True), robustness.pgd(per_row=True)]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("attack", ADVERSARIES, ids=["fgm", "pgd"])
def test_an_adversary_lowers_each_margin_of_a_linear_model_by_its_size(attack):
    """The worst noise of norm ε is −ε y w/‖w‖: a margin m becomes m − ε‖w‖."""
    margins = Y * (X @ W)
    expected = [np.mean(margins > size * np.linalg.norm(W)) for size in SIZES]
    assert len(set(expected)) > 3
    assert of_inputs(attack) == expected

    def margin(outputs):
        return np.min(np.concatenate(outputs) * Y)

    lowest = [margins.min() - size * np.linalg.norm(W) for size in SIZES]
    np.testing.assert_allclose(of_inputs(attack, metric=margin), lowest, rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_noise_of_all_rows_together_has_the_size_of_one_step():
    """For a linear loss −Σ y x·(w + δ) the worst δ of norm ε is along −Σ y x."""
    direction = -(Y[:, None] * X).sum(axis=0)
    for attack in (robustness.fgm(), robustness.pgd()):
        actual = robustness.curve(
            lambda w, x: x @ w,
            W,
            [X],
            SIZES,
            loss=lambda outputs, _: -jnp.sum(Y * outputs),
            metric=lambda outputs: np.sum(Y * outputs[0]),
            attack=attack,
            select=lambda _: True,
        )
        start = np.sum(Y * (X @ W))
        expected = [start - size * np.linalg.norm(direction) for size in SIZES]
        np.testing.assert_allclose(actual, expected, rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_pgd_finds_the_worst_point_of_a_ball_where_one_step_does_not():
    """max ½ pᵀAp + bᵀp over ‖p‖ ≤ 1: (λI − A) p = b with λ above A's eigenvalues."""
    a, b = np.diag([4.0, 1.0]), np.array([0.1, 0.5])
    low, high = 4.0 + 1e-9, 100.0
    for _ in range(200):  # ‖p‖ falls as λ grows
        middle = (low + high) / 2
        is_long = np.linalg.norm(b / (middle - np.diag(a))) > 1
        low, high = (middle, high) if is_long else (low, middle)
    worst = b / (high - np.diag(a))

    def gradient(p):
        return a @ p + b

    size = jnp.asarray(1.0)
    moved = robustness.pgd(steps=200)(gradient, jnp.zeros(2), size, None)
    np.testing.assert_allclose(moved, worst, rtol=1e-6)
    once = robustness.fgm()(gradient, jnp.zeros(2), size, None)
    assert np.linalg.norm(once - worst) > 0.5


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_random_noise_has_the_norm_and_no_direction():
    size, keys = jnp.asarray(3.0), jax.random.split(jax.random.key(0), 2000)
    point = {"a": jnp.ones((2, 2)), "b": jnp.ones(5)}

    def moved(key, per_row=False):
        attack = robustness.noise(per_row)
        result = attack(None, point, size, key)
        return jnp.concatenate([jnp.ravel(result[k] - point[k]) for k in "ab"])

    steps = jax.vmap(moved)(keys)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 3.0, rtol=1e-12)
    # A coordinate has variance 9 / 9; five standard errors of nine means.
    assert np.abs(steps.mean(axis=0)).max() < 5 / np.sqrt(2000)
    rows = robustness.noise(per_row=True)(None, jnp.ones((4, 3)), size, keys[0])
    np.testing.assert_allclose(np.linalg.norm(rows - 1, axis=1), 3.0, rtol=1e-12)


def test_random_noise_hurts_less_than_an_adversary_and_is_drawn_by_seed():
    sizes = [0.0, 1.0]
    clean, noisy = of_inputs(robustness.noise(per_row=True), sizes)
    assert clean == np.mean(Y * (X @ W) > 0)
    assert of_inputs(ADVERSARIES[0], sizes)[1] < noisy <= 1
    assert of_inputs(robustness.noise(per_row=True), sizes) == [clean, noisy]


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match=r"`sizes` must not be negative; found \[-1\]"):
        of_inputs(ADVERSARIES[0], [-1])
    with pytest.raises(ValueError, match="found 0 and 1"):
        robustness.pgd(steps=0, rate=1)
    with pytest.raises(ValueError, match="at least one leaf"):
        robustness.curve(
            lambda w, x: x,
            W,
            [X],
            [1.0],
            loss=logistic,
            metric=accuracy,
            attack=ADVERSARIES[0],
            select=lambda _: False,
        )
