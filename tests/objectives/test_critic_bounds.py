"""SMILE, InfoNCE, Jensen-Shannon, the cap and the pull against NumPy and known information.

The Gaussians have d independent pairs of correlation ρ, so that I = −d/2 log(1 − ρ²).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import rest_nightly

from mtra_jax import objectives

NUM_DEVICES, ROWS = 4, 5
WHERE = np.array([True, False, True, True, False])

dv_bound = jax.jit(objectives.dv_bound)
jsd_bound = jax.jit(objectives.jsd_bound)
smile_bound = jax.jit(objectives.smile_bound)
info_nce_bound = jax.jit(objectives.info_nce_bound)


def gradients(function, *arguments):
    """By the first two arguments."""
    return jax.jit(jax.grad(function, (0, 1)))(*arguments)


def draw(rng, *shapes):
    return [2 * rng.normal(size=shape) for shape in shapes]


class TestSmile:
    @pytest.mark.parametrize("clip", [0.5, 2.0, 100.0])
    def test_ratios_of_marginal_pairs_are_clipped(self, clip, x64, rng):
        joint, marginal = draw(rng, 40, 40)
        ratios = np.clip(np.exp(marginal), np.exp(-clip), np.exp(clip))
        expected = joint.mean() - np.log(ratios.mean())
        np.testing.assert_allclose(
            smile_bound(joint, marginal, clip), expected, rtol=1e-13
        )

    def test_without_a_clipped_score_it_is_the_bound_of_donsker_and_varadhan(
        self, x64, rng
    ):
        joint, marginal = draw(rng, 40, 40)
        np.testing.assert_allclose(
            smile_bound(joint, marginal, 50.0), dv_bound(joint, marginal), rtol=1e-13
        )

    def test_the_gradient_is_that_of_the_jensen_shannon_bound(self, x64, rng):
        joint, marginal = draw(rng, 5, 5)
        actual = gradients(objectives.smile_bound, joint, marginal, 1.0, WHERE)
        expected = gradients(objectives.jsd_bound, joint, marginal, WHERE)
        for got, want in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(got, want)
            assert np.all(want[WHERE] != 0)

    @pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
    def test_padding_changes_neither_value_nor_gradient(self, garbage, x64, rng):
        joint, marginal = draw(rng, 5, 5)
        spoilt = [np.where(WHERE, x, garbage) for x in (joint, marginal)]
        expected = smile_bound(joint[WHERE], marginal[WHERE], 1.0)
        value = smile_bound(*spoilt, 1.0, WHERE)
        np.testing.assert_allclose(value, expected, rtol=1e-14)
        for slope in gradients(objectives.smile_bound, *spoilt, 1.0, WHERE):
            assert np.isfinite(slope).all()
            assert not np.any(slope[~WHERE])

    @pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
    def test_clip_must_be_positive(self, clip):
        with pytest.raises(ValueError, match="`clip` must be positive; found"):
            objectives.smile_bound(jnp.ones(2), jnp.ones(2), clip)


@pytest.mark.parametrize(
    "bound",
    [
        objectives.dv_bound,
        objectives.jsd_bound,
        lambda a, b, *masks: objectives.smile_bound(a, b, 1.0, *masks),
    ],
    ids=["dv", "jsd", "smile"],
)
def test_another_number_of_marginal_pairs(bound, x64, rng):
    joint, marginal = draw(rng, 5, 12)
    valid = np.arange(12) % 3 > 0
    value = bound(joint, marginal, WHERE, None, valid)
    # Means do not depend on repetitions: 3 pairs four times, 8 pairs ... of 24 in all.
    joint, marginal = np.tile(joint[WHERE], 8), np.tile(marginal[valid], 3)
    np.testing.assert_allclose(value, bound(joint, marginal), rtol=1e-13)
    with pytest.raises(ValueError, match="same shape"):
        bound(joint, marginal[:5])
    with pytest.raises((ValueError, TypeError), match="must have shape"):
        bound(joint, marginal, None, None, valid)


class TestInfoNCE:
    def test_mean_over_the_columns_of_each_row(self, x64, rng):
        joint, pairs = draw(rng, 5, (5, 7))
        columns = np.arange(7) != 2
        value = info_nce_bound(joint, pairs, WHERE, None, columns)
        log_means = np.log(np.exp(pairs[:, columns]).mean(1))
        expected = (joint - log_means)[WHERE].mean()
        np.testing.assert_allclose(value, expected, rtol=1e-13)

    def test_the_rows_are_the_columns_by_default(self, x64, rng):
        (pairs,) = draw(rng, (5, 5))
        joint = np.diag(pairs)
        value = info_nce_bound(joint, pairs, WHERE)
        inner = pairs[np.ix_(WHERE, WHERE)]
        np.testing.assert_allclose(
            value, info_nce_bound(np.diag(inner), inner), rtol=1e-13
        )

    @pytest.mark.parametrize("size", [1.0, 50.0, 1e4])
    def test_it_never_passes_the_logarithm_of_the_columns(self, size):
        pairs = size * jnp.eye(8)
        value = info_nce_bound(jnp.diag(pairs), pairs)
        expected = np.log(8) - np.log1p(7 * np.exp(-np.float64(size)))
        np.testing.assert_allclose(value, expected, rtol=1e-6)

    def test_a_score_of_z_alone_cancels_out(self, x64, rng):
        joint, pairs, shift = draw(rng, 5, (5, 5), 5)
        moved = info_nce_bound(joint + shift, pairs + shift[:, None])
        np.testing.assert_allclose(moved, info_nce_bound(joint, pairs), rtol=1e-12)

    @pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
    def test_padding_changes_neither_value_nor_gradient(self, garbage, x64, rng):
        joint, pairs = draw(rng, 5, (5, 5))
        both = WHERE[:, None] & WHERE
        spoilt = np.where(WHERE, joint, garbage), np.where(both, pairs, garbage)
        np.testing.assert_array_equal(
            info_nce_bound(*spoilt, WHERE), info_nce_bound(joint, pairs, WHERE)
        )
        by_joint, by_pairs = gradients(objectives.info_nce_bound, *spoilt, WHERE)
        np.testing.assert_allclose(by_joint, WHERE / 3, rtol=1e-14)
        assert np.isfinite(by_pairs).all()
        assert not np.any(by_pairs[~both])
        np.testing.assert_allclose(by_pairs.sum(1), WHERE / -3, rtol=1e-13)

    def test_without_a_valid_row_it_is_zero(self):
        value = info_nce_bound(jnp.ones(3), jnp.ones((3, 3)), np.zeros(3, bool))
        assert value == 0

    def test_wrong_shapes_are_named(self):
        with pytest.raises(ValueError, match=r"shape \(3, 3\); found \(3, 4\)"):
            objectives.info_nce_bound(jnp.ones(3), jnp.ones((3, 4)))

    def test_columns_of_all_devices(self, rng):
        size = NUM_DEVICES * ROWS
        (pairs,) = (x.astype(np.float32) for x in draw(rng, (size, size)))
        where = rng.random(size) < 0.6
        shards = [
            x.reshape(NUM_DEVICES, ROWS, *x.shape[1:])
            for x in (np.diag(pairs), pairs, where)
        ]
        values = jax.pmap(
            functools.partial(objectives.info_nce_bound, axis_name="data"),
            axis_name="data",
            devices=jax.devices()[:NUM_DEVICES],
        )(*shards)
        expected = info_nce_bound(np.diag(pairs), pairs, where)
        np.testing.assert_allclose(values, np.full(NUM_DEVICES, expected), rtol=1e-5)


def test_a_bound_is_capped_and_has_no_gradient_above():
    ceiling = np.array([0.5, 0.5, np.inf, 0.5, 0.0], np.float32)
    bound = np.array([0.25, 0.75, 9.0, 0.5, -1.0], np.float32)
    capped = objectives.capped_bound(bound, ceiling)
    np.testing.assert_array_equal(capped, [0.25, 0.5, 9.0, 0.5, -1.0])
    slope = jax.grad(lambda x: objectives.capped_bound(x, ceiling).sum())(bound)
    np.testing.assert_array_equal(slope, [1, 0, 1, 0, 1])
    assert np.isnan(objectives.capped_bound(np.nan, 0.5))


class TestPull:
    def test_the_share_is_the_ratio_of_the_norms_of_valid_rows(self, x64, rng):
        task, bound = rng.normal(size=(2, 5, 3))
        spoilt = [np.where(WHERE[:, None], x, np.nan) for x in (task, bound)]
        norms = [np.linalg.norm(x[WHERE]) for x in (task, bound)]
        for strength in (0.1, 1.0, 10.0):
            share = objectives.pull_share(spoilt[0], strength * spoilt[1], WHERE)
            expected = min(1, norms[0] / (strength * norms[1]))
            np.testing.assert_allclose(share, expected, rtol=1e-14)

    @pytest.mark.parametrize(
        ("task", "bound", "expected"), [(0.0, 0.0, 1), (2.0, 0.0, 1), (0.0, 2.0, 0)]
    )
    def test_gradients_of_zero(self, task, bound, expected):
        share = objectives.pull_share(jnp.full((2, 3), task), jnp.full((2, 3), bound))
        assert share == expected

    @pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e36])
    def test_squares_may_leave_the_range_of_float32(self, size, rng):
        task, bound = rng.normal(size=(2, 5, 3)).astype(np.float32)
        share = objectives.pull_share(task * np.float32(size), 9 * bound * size)
        expected = np.linalg.norm(task) / np.linalg.norm(9 * bound)
        np.testing.assert_allclose(share, expected, rtol=1e-6)

    @pytest.mark.parametrize("size", [1e-20, 1e20])
    def test_constants_of_a_program_have_their_share(self, size):
        task = jnp.full((2, 3), size, jnp.float32)
        share = jax.jit(lambda: objectives.pull_share(task, 4 * task))()
        np.testing.assert_allclose(share, 0.25, rtol=1e-6)

    def test_without_rows_the_share_is_one(self):
        assert objectives.pull_share(jnp.ones((0, 4)), jnp.ones((0, 4))) == 1

    def test_it_is_a_constant(self, rng):
        task, bound = rng.normal(size=(2, 5, 3)).astype(np.float32)
        for slope in gradients(objectives.pull_share, task, 9 * bound):
            assert not np.any(slope)

    def test_norms_of_all_devices(self, rng):
        task, bound = rng.normal(size=(2, NUM_DEVICES, ROWS, 3)).astype(np.float32)
        where = rng.random((NUM_DEVICES, ROWS)) < 0.6
        shares = jax.pmap(
            functools.partial(objectives.pull_share, axis_name="data"),
            axis_name="data",
            devices=jax.devices()[:NUM_DEVICES],
        )(task, 3 * bound, where)
        norms = [np.linalg.norm(x[where]) for x in (task, 3 * bound)]
        np.testing.assert_allclose(shares, norms[0] / norms[1], rtol=1e-6)


# ---- correlated Gaussians


class Gaussians:
    """n true and n independent pairs of d dimensions with `information` in nats."""

    def __init__(self, d, information, n, seed=0):
        rng = np.random.default_rng(seed)
        self.d, self.rho = d, np.sqrt(-np.expm1(-2 * information / d))
        noise = np.sqrt(1 - self.rho**2)
        self.x, other, self.independent = rng.normal(size=(3, n, d))
        self.y = self.rho * self.x + noise * other
        self.joint = self.log_ratio(self.x, self.y).sum(-1)
        self.marginal = self.log_ratio(self.x, self.independent).sum(-1)

    def log_ratio(self, x, y):
        """log p(y|x)/p(y) of each dimension."""
        squares = (y - self.rho * x) ** 2 / (1 - self.rho**2)
        return (y**2 - squares - np.log1p(-(self.rho**2))) / 2

    def expectation(self, function):
        """E of `function(log ratio)` under independence, by quadrature, where d is 1."""
        points = np.linspace(-9, 9, 3001)
        weights = (
            np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi) * (points[1] - points[0])
        )
        ratios = self.log_ratio(points[:, None], points)
        return float(weights @ function(ratios) @ weights)


def standard_error(*samples):
    return np.sqrt(sum(np.var(x) / len(x) for x in samples))


@pytest.mark.parametrize("information", [0.5, 2.0])
def test_true_critics_attain_the_integrals_in_one_dimension(information, x64):
    """E_joint[f] is E_marginal[f · ratio]; 4 standard errors."""
    sample, tau = Gaussians(1, information, 200_000), 1.0

    def softplus(v):
        return np.logaddexp(0, v)

    exact = sample.expectation(lambda v: v * np.exp(v))
    assert exact == pytest.approx(information, rel=1e-6)
    jsd = np.log(4) - sample.expectation(
        lambda v: softplus(-v) * np.exp(v) + softplus(v)
    )
    assert 0 < jsd < min(information, np.log(4))
    error = standard_error(softplus(-sample.joint), softplus(sample.marginal))
    value = jsd_bound(sample.joint, sample.marginal)
    np.testing.assert_allclose(value, jsd, rtol=0, atol=4 * error)

    clipped = sample.expectation(lambda v: np.exp(np.clip(v, -tau, tau)))
    ratios = np.exp(np.clip(sample.marginal, -tau, tau)) / clipped
    value = smile_bound(sample.joint, sample.marginal, tau)
    error = standard_error(sample.joint, ratios)
    np.testing.assert_allclose(
        value, information - np.log(clipped), rtol=0, atol=4 * error
    )
    # The bias of clipping is not within the error.
    assert abs(np.log(clipped)) > 10 * error


@pytest.mark.parametrize("d", [2, 20])
@pytest.mark.parametrize("information", [2.0, 4.0, 8.0])
def test_true_critics_on_known_information(d, information, x64):
    """The ratios have the variance e^(2I) − 1: from 4 nats on their mean is unknown."""
    sample = Gaussians(d, information, 200_000)
    error = standard_error(sample.joint)
    mine = dv_bound(sample.joint, sample.marginal)
    assert mine > information - 4 * error
    if information == 2:
        spread = np.sqrt(np.expm1(2 * information) / 200_000)
        np.testing.assert_allclose(mine, information, rtol=0, atol=4 * (error + spread))
    unclipped = smile_bound(sample.joint, sample.marginal, 100.0)
    np.testing.assert_allclose(unclipped, mine, rtol=1e-12)
    # At most e^τ: the mean of clipped ratios is at most that of the ratios, 1, plus e^−τ.
    tau = 5.0
    smile = smile_bound(sample.joint, sample.marginal, tau)
    ratios = np.exp(np.clip(sample.marginal, -tau, tau))
    atol = 4 * standard_error(sample.joint, ratios) + np.exp(-tau)
    assert smile > information - atol
    assert smile_bound(sample.joint, sample.marginal, 1.0) != smile
    jsd = jsd_bound(sample.joint, sample.marginal)
    assert 0 < jsd < min(information, np.log(4))


@pytest.mark.parametrize("d", [2, 20])
def test_info_nce_with_the_true_critic_is_below_the_information_and_log_n(d, x64):
    n, values = 256, []
    for information in (2.0, 4.0, 8.0):
        sample = Gaussians(d, information, n)
        pairs = sample.log_ratio(sample.x[:, None], sample.y[None]).sum(-1)
        np.testing.assert_allclose(np.diag(pairs), sample.joint, rtol=1e-9)
        value = float(info_nce_bound(sample.joint, pairs))
        assert value < np.log(n)
        assert value < information + 4 * standard_error(sample.joint)
        values.append(value)
    # Near I while I is well below log N = 5.5, and near log N beyond it.
    assert values[0] == pytest.approx(
        2, abs=4 * standard_error(Gaussians(d, 2, n).joint)
    )
    assert 0.85 * np.log(n) < values[2]


# ---- trained critics


def features(x, y):
    """The log ratio of Gaussians is linear in these."""
    return jnp.stack([jnp.ones_like(x * y), x**2 + y**2, x * y], axis=-1)


def trained(bound_of, n, information=1.0):
    """The weights and the bound of a critic that is linear in `features`."""
    sample = Gaussians(1, information, n)
    x, y, other = sample.x[:, 0], sample.y[:, 0], sample.independent[:, 0]

    def loss(weights):
        return -bound_of(lambda x, y: features(x, y) @ weights, x, y, other)

    optimise = optax.adam(0.1)

    def step(carry, _):
        weights, state = carry
        value, slope = jax.value_and_grad(loss)(weights)
        updates, state = optimise.update(slope, state)
        return (optax.apply_updates(weights, updates), state), -value

    first = jnp.zeros(3)
    (weights, _), values = jax.jit(
        lambda: jax.lax.scan(step, (first, optimise.init(first)), length=1500)
    )()
    rho = sample.rho
    scale = 1 - rho**2
    best = np.array([-np.log(scale) / 2, -(rho**2) / scale / 2, rho / scale])
    return np.asarray(weights), float(values[-1]), best, -loss(best), sample


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", rest_nightly(["mine", "smile", "jsd", "info_nce"], ["mine", "jsd"])
)
def test_a_trained_critic_finds_the_log_ratio_and_the_information(name, x64):
    def of_shuffled(bound):
        return lambda v, x, y, other: bound(v(x, y), v(x, other))

    bound_of = {
        "mine": of_shuffled(objectives.dv_bound),
        "smile": of_shuffled(lambda a, b: objectives.smile_bound(a, b, 8.0)),
        "jsd": of_shuffled(objectives.jsd_bound),
        "info_nce": lambda v, x, y, _: objectives.info_nce_bound(
            v(x, y), v(x[:, None], y[None])
        ),
    }[name]
    n = {"info_nce": 256, "jsd": 5_000}.get(name, 20_000)
    weights, value, best, at_best, sample = trained(bound_of, n)
    error = standard_error(sample.joint)
    free = [2] if name == "info_nce" else [1, 2] if name == "mine" else [0, 1, 2]
    np.testing.assert_allclose(weights[free], best[free], rtol=4.5 / np.sqrt(n))
    expected = 1.0
    if name == "jsd":
        expected = np.log(4) - sample.expectation(
            lambda v: np.logaddexp(0, -v) * np.exp(v) + np.logaddexp(0, v)
        )
    assert abs(value - expected) < 4 * error + 0.01
    if name != "smile":  # its value is not what the critic is trained on
        assert at_best - 1e-9 <= value < at_best + 0.02


@pytest.mark.parametrize("place", [0, 1])
def test_a_gradient_that_is_not_a_number_has_no_share(place):
    gradients = [jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 4.0]])]
    gradients[place] = gradients[place].at[0, 1].set(jnp.nan)
    assert jnp.isnan(objectives.pull_share(*gradients))
