"""Cosines and conflicts of gradients against NumPy on the gradients themselves."""

import numpy as np
import pytest
from matrices import GRADIENTS
from scipy.spatial import distance

from mtra_jax.analysis import conflicts


@pytest.mark.parametrize("name", GRADIENTS)
def test_cosines_are_those_of_the_gradients(name):
    rows = GRADIENTS[name]
    expected = 1 - distance.cdist(rows, rows, "cosine")
    actual = conflicts.cosines(rows @ rows.T)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_the_gramian_is_that_of_the_flattened_gradients():
    rows = GRADIENTS["independent"]
    tree = {"a": rows[:, :1], "b": rows[:, 1:].reshape(3, 2, 3)}
    actual = conflicts.gramian(tree)
    np.testing.assert_allclose(actual, rows @ rows.T, rtol=1e-5)


def test_the_share_counts_pairs_with_a_negative_product():
    rows = GRADIENTS["eight"]
    negative = [rows[i] @ rows[j] < 0 for i in range(8) for j in range(i)]
    assert 0 < sum(negative) < 28
    assert conflicts.conflict_share(rows @ rows.T) == sum(negative) / 28


def test_steps_are_counted_each():
    steps = np.stack([np.eye(2), [[1, -1], [-1, 4]], [[1, -1], [-1, 1]]])
    assert conflicts.conflict_share(steps).tolist() == [0, 1, 1]
    assert conflicts.cosines(steps)[:, 0, 1].tolist() == [0, -0.5, -1]


def test_an_absent_task_has_no_cosine_and_is_not_counted():
    products = np.array([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 2.0]])
    assert np.isnan(conflicts.cosines(products)[1]).all()
    assert conflicts.conflict_share(products) == 1.0
    assert np.isnan(conflicts.conflict_share(np.zeros((2, 2))))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[\.\.\., T, T\]; found \(2, 3\)"):
        conflicts.cosines(np.ones((2, 3)))
    with pytest.raises(ValueError, match="of one T; found shapes"):
        conflicts.gramian([np.ones((2, 3)), np.ones((3, 3))])
