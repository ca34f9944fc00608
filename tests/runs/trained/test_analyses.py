"""Figures about the representations of a trained model."""

from types import SimpleNamespace

import numpy as np
import pytest

from mtra_jax.analysis import information
from mtra_jax.runs.trained import analyses
from mtra_jax.tasks import BENCHMARKS

IRONY, INTENSITY = BENCHMARKS["synthetic"].select(["irony", "intensity"]).tasks
LABELS = {
    ("irony", "train"): np.array([0, 0, 0, 1]),
    ("irony", "validation"): np.array([0, 1]),
    ("intensity", "train"): np.array([[0.5], [1.0], [2.0], [3.0]]),
    ("intensity", "validation"): np.array([[0.5], [1.0]]),
}


def informative(monkeypatch, *tasks):
    """With bounds of 1 and 2 nats where the targets are classes, and 10 times that."""

    def estimate(bound, train, validation, seed):
        del bound, validation, seed
        factor = 10 if train[1].shape[1] == 1 else 1
        return SimpleNamespace(training=1.0 * factor, validation=2.0 * factor)

    monkeypatch.setattr(information, "estimate", estimate)
    trained = SimpleNamespace(
        tasks=tasks,
        config=SimpleNamespace(seed=0),
        rows=lambda task, split: SimpleNamespace(
            z=np.zeros((len(LABELS[task.name, split]), 3))
        ),
        part=lambda task, split: SimpleNamespace(labels=LABELS[task.name, split]),
    )
    return analyses.informative(trained)


def test_the_entropy_is_that_of_the_tasks_whose_bounds_stand_beside_it(monkeypatch):
    values = informative(monkeypatch, IRONY, INTENSITY)
    bounds = dict.fromkeys(information.BOUNDS, 1.0)
    entropy = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert values["train"] == {**bounds, "entropy": pytest.approx(entropy)}
    bounds = dict.fromkeys(information.BOUNDS, 2.0)
    assert values["validation"] == {**bounds, "entropy": pytest.approx(np.log(2))}


def test_regression_alone_has_bounds_without_an_entropy(monkeypatch):
    values = informative(monkeypatch, INTENSITY)
    assert values["train"] == dict.fromkeys(information.BOUNDS, 10.0)
