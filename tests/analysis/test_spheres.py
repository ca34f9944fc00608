"""Alignment and uniformity against closed forms on the circle and the sphere."""

import numpy as np
import pytest
from scipy import special

from mtra_jax.analysis import alignment, uniformity


def circle(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_alignment_of_rotated_points_is_that_of_the_angle():
    angles = np.linspace(0, 6, 50)
    lengths = np.random.default_rng(0).uniform(0.1, 9, size=(2, 50, 1))
    one, other = lengths[0] * circle(angles), lengths[1] * circle(angles + 0.7)
    # ‖u − v‖² = 2 − 2 cos, and ‖u − v‖ = 2 sin of half the angle.
    squared = alignment.alignment(one, other)
    assert squared == pytest.approx(2 - 2 * np.cos(0.7), rel=1e-12)
    plain = alignment.alignment(one, other, alpha=1.0)
    assert plain == pytest.approx(2 * np.sin(0.35), rel=1e-12)


def test_alignment_of_independent_points_is_two():
    """E ‖u − v‖² = 2 for independent uniform points, in any dimension."""
    one, other = np.random.default_rng(1).normal(size=(2, 20_000, 5))
    # The variance of 2 u·v is 4 / 5: four standard errors.
    error = 4 * np.sqrt(0.8 / 20_000)
    assert alignment.alignment(one, other) == pytest.approx(2, abs=error)


def test_uniformity_is_that_of_all_pairs_whatever_the_chunk():
    z = np.random.default_rng(2).normal(size=(37, 4))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    kernels = [
        np.exp(-2 * np.sum((unit[i] - unit[j]) ** 2))
        for i in range(37)
        for j in range(i)
    ]
    for chunk in (1, 5, 37, 512):
        actual = uniformity.uniformity(z, chunk=chunk)
        assert actual == pytest.approx(np.log(np.mean(kernels)), rel=1e-12)


@pytest.mark.parametrize("t", [0.5, 2.0, 4.0])
def test_uniformity_of_a_regular_polygon_is_a_bessel_function(t):
    """The mean over all N² pairs is the trapezoid rule of exp(−2t) I₀(2t)."""
    count = 200
    z = circle(2 * np.pi * np.arange(count) / count)
    whole = count * np.exp(-2 * t) * special.i0(2 * t)
    expected = np.log(
        (whole - 1) / (count - 1)
    )  # without the pair of each point itself
    assert uniformity.uniformity(z, t) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("width", [3, 64])
def test_uniformity_of_uniform_points_is_that_of_the_distribution(width):
    z = np.random.default_rng(3).normal(size=(3000, width))
    kernel = np.exp(-4) * special.hyp0f1(width / 2, 4.0)
    assert width != 3 or kernel == pytest.approx(np.exp(-4) * np.sinh(4) / 4, rel=1e-12)
    square = np.exp(-8) * special.hyp0f1(width / 2, 16.0)
    # Kernels of pairs of uniform points are independent: four standard errors of the mean.
    error = 4 * np.sqrt((square - kernel**2) / (3000 * 2999 / 2)) / kernel
    actual = uniformity.uniformity(z)
    assert actual == pytest.approx(np.log(kernel), abs=error)


def test_equal_points_have_uniformity_zero():
    assert uniformity.uniformity(np.full((5, 3), 7.0)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        ([[1.0, 0.0], [0.0, 0.0]], r"no row of zeros; found one at 1\."),
        ([[1.0, np.nan]], "must be finite"),
        ([1.0, 2.0], r"found \(2,\)"),
        ([[1.0, 2.0]], "at least 2 rows; found 1"),
    ],
)
def test_points_without_a_direction_are_refused(z, message):
    with pytest.raises(ValueError, match=message):
        uniformity.uniformity(z)


def test_views_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"found \(2, 3\) and \(1, 3\)"):
        alignment.alignment(np.ones((2, 3)), np.ones((1, 3)))
