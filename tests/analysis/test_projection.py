"""Principal components against scikit-learn."""

import numpy as np
import pytest
from sklearn import decomposition

from mtra_jax.analysis import projection


def test_components_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(50, 6)) @ np.diag([5, 3, 1, 1, 1, 1]) + 4
    model = decomposition.PCA(3)
    expected = model.fit_transform(z)
    actual = projection.principal_components(z, 3)
    np.testing.assert_allclose(np.abs(actual.points), np.abs(expected), rtol=1e-9)
    np.testing.assert_allclose(
        actual.shares, model.explained_variance_ratio_, rtol=1e-9
    )
    mirrored = projection.principal_components(-z, 3)
    np.testing.assert_allclose(mirrored.points, -actual.points, rtol=1e-9)


def test_equal_points_have_no_variance_to_share():
    actual = projection.principal_components(np.ones((3, 2)))
    assert np.array_equal(actual.points, np.zeros((3, 2)))
    assert np.array_equal(actual.shares, [0, 0])
    with pytest.raises(ValueError, match="between 1 and 2; found 3"):
        projection.principal_components(np.ones((3, 2)), 3)
