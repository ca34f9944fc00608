"""Metrics against hand-made confusion matrices, NumPy, and the paper's own tables."""

import math
import warnings

import numpy as np
import pytest

from mtra_jax import config, metrics
from mtra_jax.data import benchmarks
from mtra_jax.data.own_tasks import task_file
from mtra_jax.errors import InputError
from mtra_jax.reports.formatting import tables
from mtra_jax.runs.training import preparation
from mtra_jax.tasks import AFFECTEVAL, BENCHMARKS, TWEETEVAL, Benchmark, Task

TASKS = {task.name: task for task in (*TWEETEVAL.tasks, *AFFECTEVAL.tasks)}


def from_confusion(matrix):
    """Labels and predictions with `matrix[i][j]` examples of class i predicted as j."""
    matrix = np.array(matrix)
    label, prediction = np.indices(matrix.shape).reshape(2, -1)
    return np.repeat(label, matrix.ravel()), np.repeat(prediction, matrix.ravel())


# F1 = 2 TP / (2 TP + FP + FN), recall = TP / (TP + FN), counted off the matrix.
CONFUSIONS = {
    "emotion": (
        [[5, 1, 0, 2], [0, 4, 0, 0], [1, 1, 2, 0], [0, 3, 0, 6]],
        "macro_f1",
        (10 / 14 + 8 / 13 + 4 / 6 + 12 / 17) / 4,
    ),
    "hate": ([[6, 4], [1, 9]], "macro_f1", (12 / 17 + 18 / 23) / 2),
    "offensive": ([[8, 0], [5, 0]], "macro_f1", (16 / 21 + 0) / 2),
    "irony": ([[7, 3], [2, 4]], "irony_f1", 8 / 13),
    "sentiment": (
        [[3, 1, 0], [2, 6, 2], [1, 0, 4]],
        "macro_recall",
        (3 / 4 + 6 / 10 + 4 / 5) / 3,
    ),
    "stance": (
        [[9, 2, 1], [3, 7, 0], [1, 2, 4]],
        "favor_against_f1",
        (14 / 21 + 8 / 12) / 2,
    ),
}


@pytest.mark.parametrize("name", CONFUSIONS)
def test_classification_metric_counted_by_hand(name):
    matrix, metric, fraction = CONFUSIONS[name]
    labels, predictions = from_confusion(matrix)
    actual = metrics.score(TASKS[name], predictions, labels)
    assert actual == {metric: pytest.approx(100 * fraction, rel=1e-14)}


@pytest.mark.parametrize("name", CONFUSIONS)
def test_perfect_predictions_give_100_and_never_the_right_class_gives_0(name):
    task = TASKS[name]
    labels = np.arange(60) % task.num_outputs
    assert set(metrics.score(task, labels, labels).values()) == {100.0}
    wrong = (labels + 1) % task.num_outputs
    assert set(metrics.score(task, wrong, labels).values()) == {0.0}


def test_a_class_absent_from_labels_and_predictions_counts_as_zero():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = np.array([0, 1, 2, 0])
        actual = metrics.score(TASKS["emotion"], labels, labels)
        none_at_all = metrics.score(TASKS["irony"], labels * 0, labels * 0)
    assert actual == {"macro_f1": 75.0}
    assert none_at_all == {"irony_f1": 0.0}


def pearson(x, y):
    """The formula in float64."""
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())


def ranks(x):
    """Ranks from 1; tied values share the mean of theirs."""
    below = (x[:, None] > x[None, :]).sum(1)
    return below + ((x[:, None] == x[None, :]).sum(1) + 1) / 2


def regression_example(num_outputs, seed):
    """Values on a coarse grid, so that labels and predictions have ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 12, (80, num_outputs)) / 4
    noise = rng.integers(-6, 7, labels.shape) / 4
    return labels, (labels + noise).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_correlations_are_the_formula_with_ties(seed):
    labels, predictions = regression_example(3, seed)
    actual = metrics.score(TASKS["emobank"], predictions, labels)
    x = predictions.astype(np.float64)
    expected = {
        key: 100 * pearson(x[:, column], labels[:, column])
        for column, key in enumerate(("pearson_v", "pearson_a", "pearson_d"))
    }
    # 80 terms in float64: far below 1e-12.
    assert actual == pytest.approx(expected, rel=1e-12)

    actual = metrics.score(TASKS["ei-reg"], predictions[:, :1], labels[:, :1])
    rank_correlation = pearson(ranks(x[:, 0]), ranks(labels[:, 0]))
    expected = {"pearson": expected["pearson_v"], "spearman": 100 * rank_correlation}
    assert actual == pytest.approx(expected, rel=1e-12)
    assert list(actual) == ["pearson", "spearman"]


def test_spearman_depends_on_the_order_only():
    labels = np.linspace(-2, 2, 30)[:, None]
    actual = metrics.score(TASKS["ei-reg"], np.exp(3 * labels), labels)
    assert actual["spearman"] == pytest.approx(100, rel=1e-14)
    assert actual["pearson"] < 90
    falling = metrics.score(TASKS["ei-reg"], -labels, labels)
    assert falling == pytest.approx({"pearson": -100, "spearman": -100}, rel=1e-14)


@pytest.mark.parametrize("num_examples", [1, 2, 50])
def test_constant_predictions_or_labels_give_zero_without_a_warning(num_examples):
    varied = np.arange(num_examples, dtype=np.float32)[:, None]
    constant = np.full_like(varied, 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for predictions, labels in ((constant, varied), (varied, constant)):
            actual = metrics.score(TASKS["ei-reg"], predictions, labels)
            assert actual == {"pearson": 0.0, "spearman": 0.0}


@pytest.mark.parametrize("name", TASKS)
def test_permuting_the_examples_changes_nothing(name):
    task, rng = TASKS[name], np.random.default_rng(5)
    if task.is_classification:
        labels, predictions = rng.integers(0, task.num_outputs, (2, 150))
    else:
        labels, predictions = regression_example(task.num_outputs, seed=9)
    order = rng.permutation(len(labels))
    actual = metrics.score(task, predictions[order], labels[order])
    # Another order of the sums may change the last bits of a correlation.
    expected = metrics.score(task, predictions, labels)
    assert actual == pytest.approx(expected, rel=1e-13, abs=1e-13)


EW_TWEETEVAL = (74.37, 44.08, 65.32, 79.04, 70.64, 63.59)
EW_AFFECTEVAL = (47.13, 77.97, 75.62, 49.44, 36.47, 51.01, 52.23)
# Table 2: figures in the order of the columns, then Avg. and Δp.
PUBLISHED = {
    "EW-a": (TWEETEVAL, EW_TWEETEVAL, 66.17, 0.00),
    "SI-a": (TWEETEVAL, (75.81, 46.19, 66.17, 78.58, 71.00, 65.24), 67.16, 1.75),
    "UW-a": (TWEETEVAL, (74.76, 48.49, 65.41, 79.49, 71.56, 62.96), 67.11, 1.92),
    "MTRA-a": (TWEETEVAL, (76.97, 55.48, 68.11, 80.10, 72.05, 67.02), 69.96, 7.06),
    "EW-b": (AFFECTEVAL, EW_AFFECTEVAL, 57.64, 0.00),
    "InfoMTL-b": (
        AFFECTEVAL,
        (49.21, 78.17, 73.81, 48.21, 35.02, 51.72, 52.09),
        57.91,
        0.57,
    ),
    "MTRA-b": (
        AFFECTEVAL,
        (48.48, 78.90, 79.59, 55.40, 44.45, 57.38, 57.81),
        61.20,
        7.18,
    ),
}


def by_task(benchmark, figures):
    figures = iter(figures)
    return {t.name: {m: next(figures) for m in t.metrics} for t in benchmark.tasks}


@pytest.mark.parametrize("row", PUBLISHED)
def test_avg_and_delta_p_of_the_papers_table_2(row):
    benchmark, figures, avg, delta_p = PUBLISHED[row]
    base = EW_TWEETEVAL if benchmark is TWEETEVAL else EW_AFFECTEVAL
    scores, base = by_task(benchmark, figures), by_task(benchmark, base)
    # Printed to 0.01: half of it in each figure and half in the result.
    assert metrics.average(scores, benchmark.tasks) == pytest.approx(avg, abs=0.01)
    # A ratio to a figure near 40 makes at most 0.025 of the same halves.
    actual = metrics.delta_p(scores, base, benchmark.tasks)
    assert actual == pytest.approx(delta_p, abs=0.02)


def test_summary_has_the_shape_of_results_json():
    scores = by_task(AFFECTEVAL, EW_AFFECTEVAL)
    tasks = AFFECTEVAL.select(["ei-reg", "emotion"]).tasks
    summary = metrics.summarize(scores, tasks)
    assert summary == {
        "emotion": {"macro_f1": 77.97},
        "ei-reg": {"pearson": 51.01, "spearman": 52.23},
        "avg": pytest.approx((77.97 + 51.62) / 2, rel=1e-14),
    }
    assert metrics.average(summary, tasks) == summary["avg"]


@pytest.mark.parametrize("base", [0.0, -3.0, 4.99])
def test_delta_p_needs_shares_of_the_baseline_that_are_not_near_zero(base):
    tasks = AFFECTEVAL.select(["ei-reg"]).tasks
    scores = {"ei-reg": {"pearson": 5.0, "spearman": 5.0}}
    baseline = {"ei-reg": {"pearson": 5.0, "spearman": base}}
    with pytest.raises(ValueError, match=rf"found {base} for spearman of ei-reg"):
        metrics.delta_p(scores, baseline, tasks)
    baseline["ei-reg"]["spearman"] = metrics.LEAST_BASE
    assert metrics.delta_p(scores, baseline, tasks) == 0.0


def test_an_average_without_tasks_is_an_error():
    with pytest.raises(ValueError, match="at least one task"):
        metrics.average({}, ())


def test_majority_baseline_predicts_the_most_frequent_training_class():
    train = np.array([2, 2, 1, 1, 0])  # A tie: the first of them, class 1.
    labels = np.array([0, 1, 1, 2])
    actual = metrics.majority_baseline(TASKS["stance"], train, labels)
    assert actual == {"favor_against_f1": pytest.approx(100 * (4 / 6) / 2)}
    actual = metrics.majority_baseline(TASKS["sentiment"], train, labels)
    assert actual == {"macro_recall": pytest.approx(100 / 3)}


def test_majority_baseline_of_a_regression_is_zero():
    labels, train = regression_example(3, seed=1)
    actual = metrics.majority_baseline(TASKS["emobank"], train, labels)
    assert actual == {"pearson_v": 0.0, "pearson_a": 0.0, "pearson_d": 0.0}


IDS, VALUES = np.array([0, 1, 1]), np.ones((3, 3))
INVALID = {
    "lengths": ("irony", IDS[:2], IDS, "irony: 2 predictions for 3 labels"),
    "too large": (
        "irony",
        np.array([0, 2]),
        IDS[:2],
        "`predictions`.*found 2 at index 1",
    ),
    "negative": ("irony", IDS, np.array([0, 1, -1]), "`labels`.*found -1 at index 2"),
    "probabilities": ("irony", VALUES[:, 0], IDS, r"integers \[N\].*float64"),
    "logits": ("irony", VALUES.astype(int), IDS, r"integers \[N\].*\[3, 3\]"),
    "empty": ("irony", IDS[:0], IDS[:0], "N > 0"),
    "columns": ("emobank", VALUES[:, :2], VALUES, r"numbers \[N, 3\].*\[3, 2\]"),
    "flat": ("ei-reg", VALUES[:, 0], VALUES[:, :1], r"numbers \[N, 1\].*\[3\]"),
    "nan": ("ei-reg", VALUES[:, :1] * np.nan, VALUES[:, :1], "finite; found nan"),
    "infinite": (
        "ei-reg",
        VALUES[:, :1],
        VALUES[:, :1] * np.inf,
        "`labels`.*found inf",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_input_is_named(case):
    name, predictions, labels, message = INVALID[case]
    with pytest.raises(ValueError, match=message):
        metrics.score(TASKS[name], predictions, labels)


# ---- metrics of a task


def test_the_tasks_of_every_benchmark_have_metrics_that_fit():
    for benchmark in BENCHMARKS.values():
        metrics.check_metrics(benchmark.tasks)


CLASSES = "task new, a classification with 2 outputs: metric"
VALUES = "task new, a regression with 2 outputs: metric"


@pytest.mark.parametrize(
    ("kind", "names", "message"),
    [
        (
            "classification",
            ("macro_f1", "macro-f1"),
            f"{CLASSES} 'macro-f1' is unknown; did you mean macro_f1 or micro_f1?",
        ),
        (
            "classification",
            ("pearson",),
            f"{CLASSES} 'pearson' does not fit; known: accuracy, balanced_accuracy, "
            "macro_f1, micro_f1, weighted_f1, f1:LABEL, macro_recall, mcc, kappa, auroc",
        ),
        (
            "classification",
            ("favor_against_f1",),
            f"{CLASSES} 'favor_against_f1' does not fit; known: accuracy, ",
        ),
        (
            "regression",
            ("pearson_d",),
            f"{VALUES} 'pearson_d' does not fit; did you mean pearson or pearson:DIM?",
        ),
        ("regression", (), "task new: no metric; known: pearson, spearman, rmse, "),
        (
            "classification",
            ("f1:c",),
            f"{CLASSES} 'f1:c' has no output 'c'; known: a, b",
        ),
        (
            "regression",
            ("rmse:A",),
            f"{VALUES} 'rmse:A' has no output 'A'; known: a, b",
        ),
        (
            "regression",
            ("f1:a",),
            f"{VALUES} 'f1:a' is unknown; ",
        ),
        (
            "multi_label",
            ("mcc",),
            "task new, a multi-label task with 2 outputs: metric 'mcc' does not fit; "
            "known: accuracy, macro_f1, micro_f1, weighted_f1, f1:LABEL, macro_recall, "
            "auroc",
        ),
        (
            "classification",
            ("f1:a", "mcc", "f1:a"),
            "task new: metric 'f1:a' is there twice; expected each once",
        ),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(kind, names, message):
    task = Task("new", "New", kind, ("a", "b"), names)
    with pytest.raises(InputError) as error:
        metrics.check_metrics([task])
    assert str(error.value).startswith(message)


def test_a_metric_that_is_unknown_is_refused_before_a_run_begins(monkeypatch):
    task = Task("new", "New", "classification", ("a", "b"), ("acuracy",))
    data = task_file.Data(Benchmark("synthetic", (task,)), {})
    monkeypatch.setattr(benchmarks, "load", lambda *_, **__: data)
    chosen = config.preset("new_synthetic", "ew")
    with pytest.raises(
        InputError, match="metric 'acuracy' is unknown; did you mean accuracy"
    ):
        preparation.prepare(chosen)


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_figure_that_is_missing_is_missing_in_every_mean(missing):
    tasks = AFFECTEVAL.select(["emotion", "ei-reg"]).tasks
    scores = {
        "emotion": {"macro_f1": 80.0},
        "ei-reg": {"pearson": missing, "spearman": 60.0},
    }
    summary = metrics.summarize(scores, tasks)
    assert math.isnan(summary["avg"])
    assert math.isnan(summary["ei-reg"]["pearson"])
    good = {"emotion": {"macro_f1": 9.0}, "ei-reg": {"pearson": 9.0, "spearman": 9.0}}
    for pair in ((scores, good), (good, scores)):
        with pytest.raises(ValueError, match="pearson of ei-reg"):
            metrics.delta_p(*pair, tasks)
    table = tables.score_table({"test": summary}, tasks)
    assert table.splitlines()[-1].split() == ["test", "80.00", "-", "60.00", "-"]
