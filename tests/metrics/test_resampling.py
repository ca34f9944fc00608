"""Figures of resamples against those of the resampled examples, and known intervals."""

import dataclasses

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


def paired(task, own, base, labels, **options):
    """The figures of two rows on the same resamples."""
    rows = {"own": {task.name: own}, "base": {task.name: base}}
    drawn = resampling.joint([task], rows, {task.name: labels}, **options)
    return tuple(drawn[row][task.name] for row in rows)


def assert_equal_scores(task, predictions, labels, counts, figures, tolerance=1e-12):
    for row, times in enumerate(counts.astype(int)):
        drawn = (np.repeat(values, times, axis=0) for values in (predictions, labels))
        for name, figure in metrics.score(task, *drawn).items():
            # The smallest scale has errors of 1e-8, which `abs` must not hide.
            expected = pytest.approx(figure, abs=1e-4 * tolerance, rel=tolerance)
            if metrics.find(name, task).is_share:
                expected = pytest.approx(figure, abs=100 * tolerance, rel=tolerance)
            assert figures[name][row] == expected


@pytest.mark.parametrize("size", [1, 3, 60])
@pytest.mark.parametrize("kind", TASKS)
def test_figures_are_those_of_the_resampled_examples(kind, size):
    """Most resamples of a few examples lack a class, or are constant."""
    task, rng = TASKS[kind], np.random.default_rng(size)
    predictions, _, labels = made(task, size, rng)
    counts = rng.multinomial(size, np.full(size, 1 / size), 50).astype(float)
    figures = resampling.of_counts(task, predictions, labels)(counts)
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
    figures = resampling.of_counts(task, predictions, labels)(counts)
    for name in ("pearson", "spearman", "r2"):
        assert figures[name][0] == figures[name][2] == 0
    assert figures["pearson:a"][1] > 90
    assert_equal_scores(task, predictions, labels, counts, figures)


@pytest.mark.parametrize(
    ("offset", "scale"), [(0.0, 1e-8), (1.0, 1e-8), (1e8, 1.0), (1e9, 1.0), (1e9, 1e4)]
)
@pytest.mark.parametrize("size", [3, 60])
def test_figures_of_large_and_small_values(offset, scale, size):
    """The mean of values near 1e9 is rounded to 1e-7, which is not a deviation."""
    task, rng = TASKS["regression"], np.random.default_rng(size)
    predictions, _, labels = scale * made(task, size, rng) + offset
    counts = rng.multinomial(size, np.full(size, 1 / size), 50).astype(float)
    figures = resampling.of_counts(task, predictions, labels)(counts)
    # The expected figures are of values less a rounded mean.
    assert_equal_scores(task, predictions, labels, counts, figures, 1e-9)


def test_labels_that_are_constant_in_a_resample_have_no_spread():
    """All of them are 1700000000.1, whose mean is not."""
    task = Task("own", "Own", "regression", ("a",), ("r2", "pearson"))
    labels = np.full((40, 1), 1700000000.1)
    labels[-1] += 1.0
    predictions = labels + np.random.default_rng(0).normal(size=labels.shape)
    counts = np.ones((2, 40))
    counts[0, -1], counts[0, 0] = 0, 2
    figures = resampling.of_counts(task, predictions, labels)(counts)
    assert [values[0] for values in figures.values()] == [0, 0]
    assert_equal_scores(task, predictions, labels, counts, figures, 1e-10)


def test_tasks_of_the_same_examples_are_drawn_jointly():
    """One resample of every task and row, whatever their kinds."""
    tasks = [
        dataclasses.replace(task, name=kind, metrics=task.metrics[:1])
        for kind, task in TASKS.items()
    ]
    rng = np.random.default_rng(0)
    values = {task.name: made(task, 50, rng) for task in tasks}
    rows = {
        row: {name: own[place] for name, own in values.items()}
        for place, row in enumerate(["base", "own"])
    }
    labels = {name: own[2] for name, own in values.items()}
    drawn = resampling.joint(tasks, rows, labels, resamples=20, seed=3)
    seed = [3, *tasks[0].name.encode()]
    examples = np.random.default_rng(seed).integers(50, size=(20, 50))
    for number, chosen in enumerate(examples):
        for row, parts in rows.items():
            for task in tasks:
                of = parts[task.name][chosen], labels[task.name][chosen]
                for name, figure in metrics.score(task, *of).items():
                    assert drawn[row][task.name][name][number] == pytest.approx(figure)


def test_figures_of_a_row_do_not_depend_on_other_rows():
    task, rng = TASKS["classification"], np.random.default_rng(0)
    own, base, labels = made(task, 80, rng)
    alone, _ = paired(task, own, labels, labels, resamples=9)
    among, _ = paired(task, own, base, labels, resamples=9)
    for name in task.metrics:
        np.testing.assert_array_equal(alone[name], among[name])


def test_pairs_are_the_same_examples_drawn_one_by_one():
    task = TASKS["regression"]
    own, base, labels = made(task, 40, np.random.default_rng(0), digits=9)
    figures = paired(task, own, base, labels, resamples=30, seed=3)
    rng = np.random.default_rng([3, *task.name.encode()])
    for row, drawn in enumerate(rng.integers(40, size=(30, 40))):
        for part, values in zip(figures, (own, base), strict=True):
            for name, figure in metrics.score(
                task, values[drawn], labels[drawn]
            ).items():
                assert part[name][row] == pytest.approx(figure, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_interval_of_a_known_share_of_errors_is_binomial(kind):
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
    own, base = paired(task, predictions, labels, labels, resamples=20_000)
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
    own, base = paired(task, first, second, labels, resamples=200)
    np.testing.assert_array_equal(own["accuracy"], base["accuracy"])
    assert np.ptp(own["accuracy"]) > 0


def test_pieces_of_the_resamples_are_in_order(monkeypatch):
    """The figures of a seed are those of its draws, in however many pieces."""
    task = TASKS["classification"]
    values = made(task, 500, np.random.default_rng(0))
    whole = paired(task, *values, resamples=40)
    monkeypatch.setattr(resampling, "_CELLS", 700)
    pieces = paired(task, *values, resamples=40)
    for part, other in zip(whole, pieces, strict=True):
        assert part.keys() == other.keys()
        for name in part:
            np.testing.assert_array_equal(part[name], other[name])


def test_predictions_of_other_lengths_are_refused():
    task = TASKS["classification"]
    zeros = np.zeros(4, int)
    with pytest.raises(ValueError, match="3 predictions for 4 labels"):
        paired(task, zeros, zeros[:3], zeros, resamples=1)
