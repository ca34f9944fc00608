"""Classes and labels that no example has, and the metrics in which they count as 0."""

import dataclasses

import numpy as np
import pytest

from mtra_jax import metrics
from mtra_jax.reports.progress import label_counts
from mtra_jax.tasks import Task

MOOD = Task("mood", "Mood", "classification", ("a", "b", "c"), ("accuracy",))
TAGS = Task("tags", "Tags", "multi_label", ("x", "y"), ("micro_f1", "f1:x", "macro_f1"))
STARS = Task("stars", "Stars", "regression", ("n",), ("pearson",))


def zeros(labels, *names):
    return metrics.zeros(dataclasses.replace(MOOD, metrics=names), np.array(labels))


def test_a_class_without_examples_counts_in_means_over_the_classes():
    names = (
        "macro_f1",
        "accuracy",
        "f1:b",
        "f1:c",
        "macro_recall",
        "balanced_accuracy",
    )
    affected = ["macro_f1", "f1:b", "macro_recall"]
    assert zeros([0, 2, 2], *names) == (["b"], affected)
    # A model that is always right: the figures of these alone are not 100.
    labels = np.array([0, 2, 2])
    task = dataclasses.replace(MOOD, metrics=names)
    scores = metrics.score(task, labels, labels)
    assert [name for name in names if scores[name] < 99] == affected
    assert zeros([0, 1, 2], *names) == ([], [])


@pytest.mark.parametrize("name", ["accuracy", "weighted_f1", "f1:c", "mcc"])
def test_other_metrics_have_no_zeros(name):
    assert zeros([0, 2, 2], name) == ([], [])


def test_labels_and_values():
    assert metrics.zeros(TAGS, np.array([[0, 1], [0, 0]])) == (
        ["x"],
        ["f1:x", "macro_f1"],
    )
    assert metrics.zeros(TAGS, np.array([[0, 1], [1, 0]])) == ([], [])
    assert metrics.zeros(STARS, np.array([[0.0], [0.0]])) == ([], [])


def test_a_line_for_each_task_with_such_labels():
    mood = dataclasses.replace(MOOD, metrics=("macro_f1",))
    labels = {
        "mood": np.array([0, 0]),
        "tags": np.array([[1, 1]]),
        "stars": np.array([[1.0]]),
    }
    (line,) = label_counts.absent([mood, TAGS, STARS], labels, "test")
    assert line.startswith("mood: no test example of b, c,")
    assert line.endswith("macro_f1")


def test_of_many_such_labels_five_are_named():
    many = dataclasses.replace(
        MOOD, labels=tuple(f"c{n}" for n in range(20)), metrics=("macro_f1",)
    )
    (line,) = label_counts.absent([many], {"mood": np.array([0, 0])}, "test")
    assert line.startswith("mood: no test example of c1, c2, c3, c4, c5 and 14 more ")
