"""Thresholds against a search over every cut, one label at a time."""

import itertools

import numpy as np
import pytest

from mtra_jax import metrics


def f1(probabilities, labels, threshold):
    predicted = probabilities >= threshold
    hits = sum(predicted & labels)
    return 2 * int(hits) / int(sum(predicted) + sum(labels)) if hits else 0.0


def searched(probabilities, labels):
    """The best of 0.5 and the middles between distinct probabilities (and 0)."""
    if not labels.any():
        return 0.5
    cuts = sorted({0.0, *probabilities})
    tried = [(a + b) / 2 for a, b in itertools.pairwise(cuts)]
    if 0 in probabilities:
        tried.append(0.0)
    # 0.5 stands for all thresholds of its interval.
    tried = [0.5, *(t for t in tried if f1_set(probabilities, t, 0.5))]
    scores = {t: f1(probabilities, labels, t) for t in tried}
    best = [t for t, score in scores.items() if score == max(scores.values())]
    return min(best, key=lambda t: (abs(t - 0.5), t))


def f1_set(probabilities, one, other):
    """Whether the two thresholds predict different examples."""
    return ((probabilities >= one) != (probabilities >= other)).any()


@pytest.mark.parametrize("seed", range(40))
def test_thresholds_are_those_of_a_search(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 30))
    labels = rng.random((size, 6)) < rng.random(6) * [1, 1, 1, 1, 0, 9]
    probabilities = np.clip(rng.random((size, 6)) * 0.7 + 0.3 * labels, 0, 1)
    if seed % 2:
        probabilities = np.round(probabilities, 1)  # ties, also at 0, 0.5 and 1
    actual = metrics.best_thresholds(probabilities, labels.astype(np.float32))
    assert actual.dtype == np.float64
    for column, threshold in enumerate(actual):
        p, y = probabilities[:, column], labels[:, column]
        expected = searched(p, y)
        assert f1(p, y, threshold) == f1(p, y, expected)
        assert threshold == expected


def test_ties_take_the_threshold_nearest_to_a_half_and_then_the_lower_one():
    """Cuts at 0.25 and 0.75 both have the F1 2/3, the one between them less."""
    probabilities = np.array([[0.9], [0.6], [0.55], [0.4], [0.1]])
    labels = np.array([[1], [0], [0], [1], [0]])
    # 0.9 alone: 2/3. The four largest: 2 * 2 / (2 + 4) = 2/3. Distances 0.25 and 0.25.
    assert metrics.best_thresholds(probabilities, labels) == [0.25]
    # 0.95 alone, at 0.775; the four largest at 0.25 as before.
    probabilities[0] = 0.95
    assert metrics.best_thresholds(probabilities, labels) == [0.25]
    probabilities[3:] = [[0.35], [0.1]]  # the cut at 0.225
    probabilities[0] = 0.85  # the cut at 0.725
    assert metrics.best_thresholds(probabilities, labels) == pytest.approx([0.725])


def test_a_label_without_positives_keeps_a_half():
    probabilities = np.array([[0.9, 0.2], [0.8, 0.1]])
    labels = np.array([[0, 1], [0, 0]])
    actual = metrics.best_thresholds(probabilities, labels)
    assert actual == pytest.approx([0.5, 0.15])


def test_neighbouring_floats_are_told_apart():
    low = 0.3
    high = np.nextafter(low, 1)
    (threshold,) = metrics.best_thresholds(
        np.array([[low], [high]]), np.array([[0], [1]])
    )
    assert low < threshold <= high


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.ones((2, 2)), np.ones((2, 1)), r"found \[2, 2\] and \[2, 1\]"),
        (np.ones((0, 2)), np.ones((0, 2)), "N > 0"),
        (np.array([[np.nan]]), np.ones((1, 1)), "from 0 to 1"),
        (np.array([[1.5]]), np.ones((1, 1)), "from 0 to 1"),
    ],
)
def test_other_values_are_refused(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.best_thresholds(probabilities, labels)
