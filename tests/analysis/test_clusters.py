"""k-means and the adjusted Rand index against scikit-learn."""

import numpy as np
import pytest
from sklearn import cluster, metrics

from mtra_jax.analysis import clusters


@pytest.fixture(scope="module")
def blobs():
    """Three groups of 40 points around far centres, in random order."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], 40))
    centres = np.array([[0, 0, 9], [9, 0, 0], [0, 9, 0]])
    return centres[labels] + rng.normal(size=(120, 3)), labels


@pytest.mark.parametrize("seed", range(6))
def test_the_index_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, [[2 + seed], [5]], size=(2, 60))
    expected = metrics.adjusted_rand_score(first, second)
    actual = clusters.adjusted_rand_index(first, second)
    assert actual == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([0, 0, 0], [5, 5, 5]),
        ([0, 1, 2], [2, 0, 1]),
        ([0, 1, 2], [0, 0, 0]),
        ([0, 0, 1, 1], [0, 1, 0, 1]),
        ([3], [4]),
    ],
    ids=["one group", "all apart", "apart, together", "crossed", "one row"],
)
def test_the_index_at_its_ends(first, second):
    expected = metrics.adjusted_rand_score(first, second)
    assert clusters.adjusted_rand_index(first, second) == pytest.approx(expected)


def test_lloyd_ends_where_that_of_scikit_learn_does():
    z = np.random.default_rng(1).normal(size=(300, 5))
    model = cluster.KMeans(7, init=z[:7], n_init=1, tol=0, algorithm="lloyd").fit(z)
    actual = clusters.lloyd(z, z[:7])
    assert np.array_equal(actual.labels, model.labels_)
    np.testing.assert_allclose(actual.centres, model.cluster_centers_, rtol=1e-10)
    assert actual.inertia == pytest.approx(model.inertia_, rel=1e-12)


def test_k_means_is_as_good_as_that_of_scikit_learn(blobs):
    z, _ = blobs
    best = cluster.KMeans(3, n_init=20, random_state=0).fit(z).inertia_
    assert clusters.k_means(z, 3, seed=0).inertia == pytest.approx(best, rel=1e-12)


def test_k_means_is_a_function_of_its_seed():
    z = np.random.default_rng(2).normal(size=(200, 4))
    one, again = (clusters.k_means(z, 9, seed=3, restarts=1) for _ in range(2))
    assert np.array_equal(one.centres, again.centres)
    other = clusters.k_means(z, 9, seed=4, restarts=1)
    assert not np.array_equal(one.centres, other.centres)
    more = clusters.k_means(z, 9, seed=3, restarts=5)
    assert more.inertia <= one.inertia


def test_clusters_of_far_groups_are_their_labels(blobs):
    z, labels = blobs
    names = np.array(["joy", "anger", "fear"])[labels]
    assert clusters.agreement(z, names, seed=0) == 1.0


def test_more_clusters_than_different_points_are_allowed():
    actual = clusters.k_means(np.ones((5, 2)), 3, seed=0)
    assert actual.inertia == 0
    assert np.array_equal(actual.labels, np.zeros(5))


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="between 1 and 2 rows; found 3"):
        clusters.k_means(np.eye(2), 3, seed=0)
    with pytest.raises(ValueError, match=r"found \(2,\) and \(3,\)"):
        clusters.adjusted_rand_index([0, 1], [0, 1, 2])
