"""Figures of resamples against those of the resampled examples, and known intervals."""

import numpy as np
import pytest
from scipy import stats

from mtra_jax import metrics
from mtra_jax.metrics import resampling
from mtra_jax.tasks import Task

CLASSES = (
    *("accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "weighted_f1", "f1:b"),
    *("macro_recall", "mcc", "kappa", "irony_f1", "favor_against_f1"),
)
LABELS = ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "f1:b", "macro_recall")
VALUES = (
    *("pearson", "spearman", "rmse", "mae", "r2", "pearson:a", "spearman:b", "r2:a"),
    *("rmse:a", "mae:b", "pearson_v", "pearson_a"),
)
TASKS = {
    "classification": Task("own", "Own", "classification", tuple("abcd"), CLASSES),
    "multi_label": Task("own", "Own", "multi_label", tuple("abc"), LABELS),
    "regression": Task("own", "Own", "regression", tuple("ab"), VALUES),
}


def made(task, size, rng, *, digits=1):
    """Predictions, others, and labels. Values of a regression have ties."""
    if task.is_classification:
        return rng.integers(task.num_outputs, size=(3, size))
    if task.kind == "multi_label":
        return rng.integers(2, size=(3, size, task.num_outputs))
    labels = rng.normal(size=(size, task.num_outputs))
    noise = rng.normal(size=(2, size, task.num_outputs))
    return np.round([*(labels + noise), labels], digits)


def assert_equal_scores(task, predictions, labels, counts, figures):
    for row, times in enumerate(counts.astype(int)):
        drawn = (np.repeat(values, times, axis=0) for values in (predictions, labels))
        for name, figure in metrics.score(task, *drawn).items():
            assert figures[name][row] == pytest.approx(figure, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("size", [1, 3, 60])
@pytest.mark.parametrize("kind", TASKS)
def test_figures_are_those_of_the_resampled_examples(kind, size):
    """Most resamples of a few examples lack a class, or are constant."""
    task, rng = TASKS[kind], np.random.default_rng(size)
    predictions, _, labels = made(task, size, rng)
    counts = rng.multinomial(size, np.full(size, 1 / size), 50).astype(float)
    figures = resampling.scores(task, predictions, labels, counts)
    assert list(figures) == list(task.metrics)
    assert_equal_scores(task, predictions, labels, counts, figures)


def test_a_metric_without_a_formula_is_measured_on_each_resample(monkeypatch):
    monkeypatch.setattr(resampling, "_OF_VALUES", {})
    test_figures_are_those_of_the_resampled_examples("regression", 20)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_constant_values_of_any_size_have_no_correlation(scale):
    """Three examples of one value, which a mean of them misses by a rounding error."""
    task = TASKS["regression"]
    labels = np.array([[0.1, 0.1]] * 3 + [[0.7, 0.3]]) * scale
    predictions = np.array([[0.1, 0.2], [0.3, 0.2], [0.2, 0.2], [0.9, 0.1]]) * scale
    counts = np.array([[1.0, 1, 1, 0], [0, 1, 2, 1], [0, 0, 0, 4]])
    figures = resampling.scores(task, predictions, labels, counts)
    for name in ("pearson", "spearman", "r2"):
        assert figures[name][0] == figures[name][2] == 0
    assert figures["pearson:a"][1] > 90
    assert_equal_scores(task, predictions, labels, counts, figures)


def test_pairs_are_the_same_examples_drawn_one_by_one():
    """Values that all differ are drawn by index, from the sorted examples."""
    task = TASKS["regression"]
    own, base, labels = made(task, 40, np.random.default_rng(0), digits=9)
    figures = resampling.paired(task, own, base, labels, resamples=30, seed=3)
    order = np.argsort(own[:, 0])
    rng = np.random.default_rng([3, *task.name.encode()])
    for row, drawn in enumerate(order[rng.integers(40, size=(30, 40))]):
        for part, values in zip(figures, (own, base), strict=True):
            for name, figure in metrics.score(
                task, values[drawn], labels[drawn]
            ).items():
                assert part[name][row] == pytest.approx(figure, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_interval_of_a_known_share_of_errors_is_binomial(kind):
    """Equal examples are counted, and those that differ are drawn by index."""
    size, wrong = 800, 200
    errors = np.arange(size) < wrong
    if kind == "classification":
        task = Task("own", "Own", kind, tuple("abcd"), ("accuracy",))
        labels, scale = np.zeros(size, int), -100
        predictions = errors.astype(int)
    else:
        task = Task("own", "Own", kind, ("a",), ("mae",))
        labels, scale = np.arange(size, dtype=float)[:, None], 1
        predictions = labels + errors[:, None]
    own, base = resampling.paired(task, predictions, labels, labels, resamples=20_000)
    changes = (own[task.metrics[0]] - base[task.metrics[0]]) / scale
    expected = (
        stats.binom.ppf([0.025, 0.25, 0.5, 0.75, 0.975], size, wrong / size) / size
    )
    quantiles = np.percentile(changes, [2.5, 25, 50, 75, 97.5])
    # A step of the binomial, and a few standard errors of the percentiles.
    np.testing.assert_allclose(quantiles, expected, atol=2 / size)


def test_errors_on_the_same_examples_never_differ():
    """Both rows are measured on the same resamples."""
    task = Task("own", "Own", "classification", tuple("abcd"), ("accuracy",))
    labels = np.random.default_rng(0).integers(2, size=300)
    wrong = np.random.default_rng(1).random(300) < 0.4
    first, second = (np.where(wrong, other, labels) for other in (2, 3))
    own, base = resampling.paired(task, first, second, labels, resamples=200)
    np.testing.assert_array_equal(own["accuracy"], base["accuracy"])
    assert np.ptp(own["accuracy"]) > 0


def test_pieces_of_the_resamples_are_in_order(monkeypatch):
    """The figures of a seed are those of its draws, in however many pieces."""
    task = TASKS["classification"]
    values = made(task, 500, np.random.default_rng(0))
    whole = resampling.paired(task, *values, resamples=40)
    monkeypatch.setattr(resampling, "_CELLS", 700)
    pieces = resampling.paired(task, *values, resamples=40)
    for part, other in zip(whole, pieces, strict=True):
        assert part.keys() == other.keys()
        for name in part:
            np.testing.assert_array_equal(part[name], other[name])


def test_predictions_of_other_lengths_are_refused():
    task = TASKS["classification"]
    zeros = np.zeros(4, int)
    with pytest.raises(ValueError, match="4 and 3 predictions for 4 labels"):
        resampling.paired(task, zeros, zeros[:3], zeros, resamples=1)
