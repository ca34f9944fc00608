"""Every metric of every kind of task against scikit-learn, SciPy and figures by hand."""

import math
import warnings

import numpy as np
import pytest
import sklearn.metrics as oracle
from scipy import stats

from mtra_jax import metrics
from mtra_jax.metrics import thresholds
from mtra_jax.tasks import Task

N = 240


def task_of(kind, num_outputs, *names):
    labels = tuple("abcdefgh"[:num_outputs])
    return Task("own", "Own", kind, labels, names)


def figure(task, predictions, labels, probabilities=None):
    """The figure of the only metric of `task`; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = metrics.score(task, predictions, labels, probabilities)
    (name,) = task.metrics
    assert list(scores) == [name]
    return scores[name]


def f1(average):
    return lambda y, x, n: oracle.f1_score(
        y, x, labels=range(n), average=average, zero_division=0
    )


CLASSIFICATION = {
    "accuracy": lambda y, x, n: oracle.accuracy_score(y, x),
    "balanced_accuracy": lambda y, x, n: oracle.balanced_accuracy_score(y, x),
    "macro_f1": f1("macro"),
    "micro_f1": f1("micro"),
    "weighted_f1": f1("weighted"),
    "f1:b": lambda y, x, n: oracle.f1_score(
        y, x, labels=[1], average="macro", zero_division=0
    ),
    "macro_recall": lambda y, x, n: oracle.recall_score(
        y, x, labels=range(n), average="macro", zero_division=0
    ),
    "mcc": lambda y, x, n: oracle.matthews_corrcoef(y, x),
    "kappa": lambda y, x, n: oracle.cohen_kappa_score(y, x),
}


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_metrics_of_classes_equal_scikit_learn(name, num_classes, absent):
    """With `absent`, the last class occurs in the predictions only."""
    rng = np.random.default_rng(num_classes)
    labels, others = rng.integers(0, num_classes, (2, N))
    if absent:
        labels %= num_classes - 1
    predictions = np.where(rng.random(N) < 0.6, labels, others)
    with warnings.catch_warnings():  # about the absent class
        warnings.simplefilter("ignore")
        expected = 100 * CLASSIFICATION[name](labels, predictions, num_classes)
    task = task_of("classification", num_classes, name)
    actual = figure(task, predictions, labels)
    assert actual == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert absent or actual > 10


MULTI_LABEL = {
    "accuracy": oracle.accuracy_score,  # of whole label sets
    "macro_f1": lambda y, x: oracle.f1_score(y, x, average="macro", zero_division=0),
    "micro_f1": lambda y, x: oracle.f1_score(y, x, average="micro", zero_division=0),
    "weighted_f1": lambda y, x: oracle.f1_score(
        y, x, average="weighted", zero_division=0
    ),
    "f1:c": lambda y, x: oracle.f1_score(y[:, 2], x[:, 2]),
    "macro_recall": lambda y, x: oracle.recall_score(
        y, x, average="macro", zero_division=0
    ),
}


@pytest.mark.parametrize("name", MULTI_LABEL)
def test_metrics_of_several_labels_equal_scikit_learn(name):
    """The last label is never there and never predicted."""
    rng = np.random.default_rng(3)
    labels = (rng.random((N, 4)) < [0.5, 0.1, 0.3, 0]).astype(np.float32)
    flips = (rng.random((N, 4)) < 0.15) & [True, True, True, False]
    predictions = np.where(flips, 1 - labels, labels).astype(int)
    expected = 100 * MULTI_LABEL[name](labels.astype(int), predictions)
    actual = figure(task_of("multi_label", 4, name), predictions, labels)
    assert actual == pytest.approx(expected, rel=1e-12)
    assert 10 < actual < 100


def test_a_single_label_is_not_read_as_two_classes():
    labels, predictions = np.array([[1], [1], [0], [0]]), np.array([[1], [0], [0], [0]])
    task = task_of("multi_label", 1, "macro_f1")
    assert figure(task, predictions, labels) == pytest.approx(200 / 3)


def roc(labels, probabilities):
    """The share of pairs in the right order, counted one by one; ties are halves."""
    above = probabilities[labels][:, None] - probabilities[~labels][None, :]
    return np.mean((np.sign(above) + 1) / 2)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_auroc_of_classes_equals_scikit_learn_and_the_pairs(num_classes):
    rng = np.random.default_rng(num_classes)
    labels = rng.integers(0, num_classes, N)
    raw = rng.integers(1, 9, (N, num_classes)) + 4 * np.eye(num_classes)[labels]
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    positive = range(1, 2) if num_classes == 2 else range(num_classes)
    counted = np.mean([roc(labels == c, probabilities[:, c]) for c in positive])
    sklearn = (
        oracle.roc_auc_score(labels, probabilities[:, 1])
        if num_classes == 2
        else oracle.roc_auc_score(labels, probabilities, multi_class="ovr")
    )
    task = task_of("classification", num_classes, "auroc")
    actual = figure(task, probabilities.argmax(axis=1), labels, probabilities)
    assert actual == pytest.approx(100 * counted, rel=1e-12)
    assert actual == pytest.approx(100 * sklearn, rel=1e-12)


def test_auroc_of_labels_counts_an_undefined_one_as_chance():
    """Label b is in no example, c in all of them."""
    rng = np.random.default_rng(0)
    labels = np.column_stack([rng.random(N) < 0.3, np.zeros(N), np.ones(N)]).astype(int)
    probabilities = np.round(rng.random((N, 3)), 1)
    task = task_of("multi_label", 3, "auroc")
    expected = oracle.roc_auc_score(labels[:, 0], probabilities[:, 0])
    actual = figure(task, labels, labels, probabilities)
    assert actual == pytest.approx(100 * (expected + 0.5 + 0.5) / 3, rel=1e-12)


def test_auroc_without_probabilities_is_missing():
    task = task_of("classification", 2, "auroc")
    assert math.isnan(figure(task, np.array([0, 1]), np.array([0, 1])))


REGRESSION = {
    "pearson": lambda y, x: stats.pearsonr(x, y).statistic,
    "spearman": lambda y, x: stats.spearmanr(x, y).statistic,
    "rmse": oracle.root_mean_squared_error,
    "mae": oracle.mean_absolute_error,
    "r2": oracle.r2_score,
}


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize("name", REGRESSION)
def test_metrics_of_values_are_means_over_the_dimensions(name, num_outputs):
    rng = np.random.default_rng(1)
    labels = rng.normal(50, [[20.0, 5.0, 1.0]], (N, 3))[:, :num_outputs]
    predictions = (labels + rng.normal(size=labels.shape)).astype(np.float32)
    each = [
        REGRESSION[name](labels[:, i], predictions[:, i].astype(float))
        for i in range(num_outputs)
    ]
    scale = 1 if name in ("rmse", "mae") else 100
    task = task_of("regression", num_outputs, name)
    assert figure(task, predictions, labels) == pytest.approx(
        scale * np.mean(each), rel=1e-9
    )
    for label, expected in zip(task.labels, each, strict=True):
        one = task_of("regression", num_outputs, f"{name}:{label}")
        assert figure(one, predictions, labels) == pytest.approx(
            scale * expected, rel=1e-9
        )


def test_errors_and_determination_by_hand():
    labels, predictions = np.array([[0.0], [10.0]]), np.array([[3.0], [14.0]])
    task = task_of("regression", 1, "rmse", "mae", "r2")
    assert metrics.score(task, predictions, labels) == {
        "rmse": math.sqrt((9 + 16) / 2),
        "mae": 3.5,
        "r2": pytest.approx(100 * (1 - 25 / 50)),
    }


def test_undefined_figures_are_those_of_uninformed_predictions():
    same = np.zeros(5, int)
    for name in ("mcc", "kappa"):
        assert figure(task_of("classification", 3, name), same, same) == 0.0
    none = np.zeros((5, 2))
    for name in ("macro_f1", "micro_f1", "weighted_f1", "macro_recall", "f1:a"):
        assert figure(task_of("multi_label", 2, name), none, none) == 0.0
    values = np.ones((5, 1))
    for name in ("pearson", "spearman", "r2"):
        assert figure(task_of("regression", 1, name), values, values) == 0.0


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (np.array([[0, 2]]), "`predictions` must be 0 or 1; found 2 at index 0"),
        (np.array([[0, np.nan]]), "must be 0 or 1; found nan"),
        (np.array([0, 1]), r"must be numbers \[N, 2\] with N > 0; found int64 \[2\]"),
    ],
)
def test_labels_other_than_0_and_1_are_refused(predictions, message):
    with pytest.raises(ValueError, match=message):
        metrics.score(
            task_of("multi_label", 2, "macro_f1"), predictions, np.array([[0, 1]])
        )


def test_probabilities_of_another_shape_are_refused():
    task = task_of("classification", 3, "auroc")
    with pytest.raises(ValueError, match=r"finite numbers \[2, 3\]; found \[2, 2\]"):
        metrics.score(task, np.array([0, 1]), np.array([0, 1]), np.ones((2, 2)))


def test_the_baseline_of_several_labels_is_all_that_occur():
    train = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0]])  # c never does
    labels = np.array([[1, 1, 1], [0, 0, 0], [1, 1, 0]])
    task = task_of("multi_label", 3, "accuracy", "f1:a", "f1:c", "auroc")
    assert metrics.majority_baseline(task, train, labels) == {
        "accuracy": pytest.approx(100 / 3),
        "f1:a": pytest.approx(80.0),  # 2p / (1 + p), p = 2/3
        "f1:c": 0.0,
        "auroc": 50.0,
    }


def test_outputs_without_information_do_not_beat_the_baseline_of_several_labels():
    """Random probabilities, with the thresholds that are chosen for every model."""
    rng = np.random.default_rng(0)
    task = task_of("multi_label", 3, "macro_f1", "micro_f1")
    splits = [(rng.random((4000, 3)) < [0.4, 0.25, 0.15]).astype(int) for _ in range(3)]
    train, validation, test = splits
    best = thresholds.best_thresholds(rng.random(validation.shape), validation)
    predictions = (rng.random(test.shape) >= best).astype(int)
    figures = metrics.score(task, predictions, test)
    floor = metrics.majority_baseline(task, train, test)
    for name, figure in figures.items():
        assert floor[name] > 35
        assert figure < floor[name] + 2


def test_the_baseline_of_errors_is_the_mean_in_the_users_unit():
    train, labels = np.array([[20.0], [40.0]]), np.array([[33.0], [26.0]])
    task = task_of("regression", 1, "mae", "rmse", "r2")
    assert metrics.majority_baseline(task, train, labels) == {
        "mae": 3.5,
        "rmse": pytest.approx(math.sqrt((9 + 16) / 2)),
        "r2": pytest.approx(100 * (1 - 25 / 24.5)),
    }
