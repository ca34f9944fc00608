"""The Donsker-Varadhan bound and InfoNCE against closed forms and enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import objectives

# Compiled: operation by operation would take ten times as long.
dv_bound = jax.jit(objectives.dv_bound)
dv_value_and_grad = jax.jit(jax.value_and_grad(objectives.dv_bound, (0, 1)))
info_nce = jax.jit(objectives.info_nce)
nce_value_and_grad = jax.jit(jax.value_and_grad(objectives.info_nce, (0, 1)))

# A joint distribution of 3 x 2 outcomes in counts of 20: every sample set below lists
# its outcomes exactly, so that means over samples are expectations.
COUNTS = np.array([[6, 1], [2, 5], [1, 5]])


def mutual_information():
    p = COUNTS / COUNTS.sum()
    independent = p.sum(1, keepdims=True) * p.sum(0)
    return float((p * np.log(p / independent)).sum())


def scores_of_all_pairs(critic):
    """Scores of the joint and of the product of the marginals, 400 each."""
    x, y = (np.repeat(i.ravel(), COUNTS.ravel()) for i in np.indices(COUNTS.shape))
    return np.repeat(critic[x, y], len(x)), critic[x[:, None], y].ravel()


def optimal_critic():
    p = COUNTS / COUNTS.sum()
    return np.log(p / (p.sum(1, keepdims=True) * p.sum(0)))


class TestDonskerVaradhan:
    @pytest.mark.parametrize("score", [0.0, 3.5, -200.0])
    def test_constant_scores_give_zero(self, score, x64):
        scores = np.full(4, score)
        value = dv_bound(scores, scores)
        np.testing.assert_allclose(value, 0, atol=1e-13)

    def test_constant_joint_and_marginal_give_their_difference(self, x64):
        value = dv_bound(np.full(4, 1.25), np.full(4, -0.5))
        np.testing.assert_allclose(value, 1.75, rtol=1e-14)

    def test_two_points(self, x64):
        """Mean of 1 and 2, and the logarithm of the mean of 1 and 3."""
        value = dv_bound(np.array([1.0, 2.0]), np.log(np.array([1.0, 3.0])))
        np.testing.assert_allclose(value, 1.5 - np.log(2), rtol=1e-15)

    def test_gradient_is_mean_minus_softmax(self, x64):
        marginal = np.log(np.array([1.0, 3.0, 4.0]))
        _, (joint, moved) = dv_value_and_grad(np.array([5.0, -2.0, 0.0]), marginal)
        np.testing.assert_allclose(joint, np.full(3, 1 / 3), rtol=1e-14)
        np.testing.assert_allclose(moved, [-1 / 8, -3 / 8, -4 / 8], rtol=1e-14)

    @pytest.mark.parametrize("shift", [0.0, 17.0, -300.0])
    def test_optimal_critic_attains_the_mutual_information(self, shift, x64):
        """Any constant may be added to a critic."""
        value = dv_bound(*scores_of_all_pairs(optimal_critic() + shift))
        np.testing.assert_allclose(value, mutual_information(), rtol=1e-11)

    @pytest.mark.parametrize("seed", range(5))
    def test_other_critics_stay_below_the_mutual_information(self, seed, x64):
        noise = np.random.default_rng(seed).normal(size=COUNTS.shape)
        for critic in (noise, 10 * noise, optimal_critic() + 0.1 * noise):
            value = dv_bound(*scores_of_all_pairs(critic))
            assert value < mutual_information()

    def test_optimal_critic_is_stationary(self, x64):
        def bound(critic):
            x, y = (
                np.repeat(i.ravel(), COUNTS.ravel()) for i in np.indices(COUNTS.shape)
            )
            joint = jnp.repeat(critic[x, y], len(x))
            return dv_bound(joint, critic[x[:, None], y].ravel())

        gradient = jax.jit(jax.grad(bound))(jnp.asarray(optimal_critic()))
        np.testing.assert_allclose(gradient, 0, atol=1e-14)

    def test_padding_is_left_out_of_both_counts(self, x64):
        value = dv_bound(
            np.array([1.0, 50.0, 2.0]),
            np.array([0.0, 50.0, np.log(3.0)]),
            where=np.array([True, False, True]),
        )
        np.testing.assert_allclose(value, 1.5 - np.log(2), rtol=1e-15)

    @pytest.mark.parametrize("size", [500.0, -500.0, 1e4, -1e4])
    def test_extreme_constant_scores(self, size):
        scores = jnp.full(4, size)
        value, gradients = dv_value_and_grad(scores, -scores)
        np.testing.assert_allclose(value, 2 * size, rtol=1e-6)
        np.testing.assert_allclose(gradients[0], np.full(4, 0.25), rtol=1e-6)
        np.testing.assert_allclose(gradients[1], np.full(4, -0.25), rtol=1e-6)

    @pytest.mark.parametrize("size", [500.0, 1e4])
    def test_extreme_mixed_scores(self, size):
        """Only the largest marginal score counts: size - log 4."""
        scores = jnp.array([size, -size, -size, 0.0])
        value, gradients = dv_value_and_grad(-scores, scores)
        expected = size / 4 - size + np.log(4)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        np.testing.assert_allclose(gradients[0], np.full(4, 0.25), rtol=1e-6)
        np.testing.assert_allclose(gradients[1], [-1, 0, 0, 0], atol=1e-6)

    def test_small_bounds_keep_their_digits(self):
        """Two terms near 1e-4, whose errors are those of a float32 logarithm near 4."""
        rng = np.random.default_rng(0)
        scores = (1e-3 * rng.normal(size=(2, 64))).astype(np.float32)
        joint, marginal = scores.astype(np.float64)
        expected = joint.mean() - np.log(np.exp(marginal).mean())
        np.testing.assert_allclose(dv_bound(*scores), expected, atol=1e-6)

    def test_a_noiseless_bit_is_log_two_nats(self, x64):
        """Two equal outcomes of x = y, with -40 as the score of every other pair."""
        critic = np.array([[0.0, -40.0], [-40.0, 0.0]])
        joint = np.zeros(4)
        marginal = critic.ravel()
        value = dv_bound(joint, marginal)
        np.testing.assert_allclose(value, np.log(2), rtol=1e-14)


class TestInfoNCE:
    def test_orthogonal_pairs(self, x64):
        """-log(e^(1/τ) / (e^(1/τ) + B - 1)) for B orthogonal directions."""
        directions = np.eye(4)
        value = info_nce(directions, directions, 0.5)
        np.testing.assert_allclose(value, np.log1p(3 * np.exp(-2)), rtol=1e-14)

    def test_equal_vectors_give_log_of_batch(self, x64):
        ones = np.ones((4, 4))
        value = info_nce(ones, ones, 0.1)
        np.testing.assert_allclose(value, np.log(4), rtol=1e-14)

    def test_one_row_gives_zero(self):
        value, gradient = nce_value_and_grad(
            jnp.array([[1.0, 2.0]]), jnp.array([[-3.0, 1.0]]), 0.1
        )
        np.testing.assert_allclose(value, 0, atol=1e-6)
        np.testing.assert_allclose(gradient, 0, atol=1e-6)

    def test_queries_and_keys_are_not_exchanged(self, x64):
        """The softmax is over the keys of each query: over rows, not columns."""
        queries = np.array([[1.0, 0.0], [1.0, 0.0]])
        keys = np.array([[1.0, 0.0], [0.0, 1.0]])
        one_way = (np.log1p(np.exp(-1)) + np.log1p(np.exp(1))) / 2
        np.testing.assert_allclose(info_nce(queries, keys, 1.0), one_way, rtol=1e-14)
        np.testing.assert_allclose(info_nce(keys, queries, 1.0), np.log(2), rtol=1e-14)

    def test_similarity_is_the_cosine(self, x64, rng):
        queries, keys = rng.normal(size=(2, 4, 4))
        scale = rng.uniform(0.1, 10, size=(2, 4, 1))
        np.testing.assert_allclose(
            info_nce(scale[0] * queries, scale[1] * keys, 0.2),
            info_nce(queries, keys, 0.2),
            rtol=1e-12,
        )

    @pytest.mark.parametrize("size", [1e-37, 1e-20, 1e-13, 1e20, 1e36])
    def test_rows_of_any_length_in_float32(self, size):
        directions = np.eye(3, dtype=np.float32)
        value, (gradient, _) = nce_value_and_grad(
            np.float32(size) * directions, directions, 0.5
        )
        np.testing.assert_allclose(value, np.log1p(2 * np.exp(-2)), rtol=1e-6)
        # By the cosine with another key the loss has this slope; by the length, none.
        share = np.exp(-2) / (1 + 2 * np.exp(-2)) / 0.5 / 3
        expected = share * (1 - directions)
        np.testing.assert_allclose(gradient * np.float32(size), expected, atol=1e-6)

    @pytest.mark.parametrize("size", [1e-20, 1e20])
    def test_constant_rows_of_any_length(self, size):
        """XLA computes with them when it compiles."""
        directions = np.eye(3, dtype=np.float32)
        keys = jnp.asarray(np.float32(size) * directions)
        step = jax.jit(jax.value_and_grad(lambda x: objectives.info_nce(x, keys, 0.5)))
        value, gradient = step(directions)
        np.testing.assert_allclose(value, np.log1p(2 * np.exp(-2)), rtol=1e-6)
        assert np.isfinite(gradient).all()

    def test_padding_keys_are_not_negatives(self, x64):
        directions = np.eye(4)
        value = info_nce(
            directions, directions, 0.5, where=np.array([True, True, False, False])
        )
        np.testing.assert_allclose(value, np.log1p(np.exp(-2)), rtol=1e-14)

    def test_traced_temperature_has_a_gradient(self, x64, central_difference, rng):
        queries, keys = rng.normal(size=(2, 5, 3))

        def loss(temperature):
            return info_nce(queries, keys, temperature)

        at = np.array(0.4)
        gradient = jax.jit(jax.grad(loss))(at)
        np.testing.assert_allclose(
            gradient, central_difference(jax.jit(loss), at), rtol=1e-7
        )

    @pytest.mark.parametrize("size", [1e-6, 1e-3, 1e4, 1e12])
    def test_lengths_of_any_size(self, size):
        """Their squares are float32 numbers, so the cosines must not change."""
        directions = jnp.eye(3) * size
        value, gradient = nce_value_and_grad(directions, directions, 0.5)
        np.testing.assert_allclose(value, np.log1p(2 * np.exp(-2)), rtol=1e-5)
        assert np.all(np.isfinite(gradient))

    def test_small_temperature_is_finite(self):
        queries = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        value, gradient = nce_value_and_grad(queries, queries[::-1], 1e-3)
        np.testing.assert_allclose(value, 1000, rtol=1e-6)
        assert np.all(np.isfinite(gradient))

    def test_zero_vector_is_finite(self):
        """A zero representation has no direction, and must not spoil the step."""
        queries = jnp.array([[0.0, 0.0], [0.0, 1.0]])
        value, gradients = nce_value_and_grad(queries, queries, 0.5)
        # Cosine 0 with everything: log 2 for the first row.
        expected = (np.log(2) + np.log1p(np.exp(-2))) / 2
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        for gradient in gradients:
            assert np.all(np.isfinite(gradient))

    @pytest.mark.parametrize("temperature", [0, 0.0, -1, -0.1])
    def test_temperature_must_be_positive(self, temperature):
        with pytest.raises(ValueError, match=str(temperature)):
            objectives.info_nce(jnp.eye(2), jnp.eye(2), temperature)

    def test_temperature_is_checked_under_jit(self):
        with pytest.raises(ValueError, match="temperature"):
            jax.jit(lambda x: objectives.info_nce(x, x, -0.5))(jnp.eye(2))

    def test_unequal_widths_name_both_shapes(self):
        with pytest.raises((ValueError, TypeError)) as error:
            objectives.info_nce(jnp.zeros((3, 4)), jnp.zeros((3, 2)), 0.1)
        assert "(3, 4)" in str(error.value)
        assert "(3, 2)" in str(error.value)
