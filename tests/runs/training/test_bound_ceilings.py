"""Ceilings of the bounds, worked by hand, and what a run says about them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from mtra_jax.reports.progress.bounds import Bound
from mtra_jax.runs.training import bound_ceilings
from mtra_jax.tasks import Benchmark, Task

BENCHMARK = Benchmark(
    "own",
    (
        Task("mood", "Mood", "classification", ("a", "b", "c"), ("macro_f1",)),
        Task("only", "Only", "classification", ("a", "b"), ("macro_f1",)),
        Task("stars", "Stars", "regression", ("stars",), ("rmse",)),
        Task("tags", "Tags", "multi_label", ("x", "y"), ("macro_f1",)),
    ),
)
LABELS = (
    np.array([0, 0, 1, 2]),
    np.array([1, 1, 1]),
    np.array([[0.5], [1.0]]),
    np.array([[0, 1], [1, 0], [0, 1], [1, 1]]),
)
CORPUS = SimpleNamespace(labels=LABELS)
# Moods of equal shares, where training has shares of 1/2, 1/4 and 1/4.
VALIDATION = SimpleNamespace(labels=(np.array([0, 1, 2]), *LABELS[1:]))


def test_the_ceiling_is_the_entropy_of_the_training_labels():
    """Shares 1/2, 1/4, 1/4: of classes, and of sets of labels."""
    measured = bound_ceilings.ceilings(BENCHMARK, CORPUS)
    half = 1.5 * math.log(2)
    assert measured == {
        "mood": pytest.approx(half, rel=1e-15),
        "only": 0.0,
        "tags": pytest.approx(half, rel=1e-15),
    }
    assert math.copysign(1, measured["only"]) == 1
    first = bound_ceilings.Steps(BENCHMARK, CORPUS, VALIDATION).first_line()
    assert first == {f"ceiling/{task}": value for task, value in measured.items()}


def test_an_epoch_has_the_means_of_its_steps():
    steps = bound_ceilings.Steps(BENCHMARK, CORPUS, VALIDATION)
    steps.add({"mi/mood": 0.25, "floored/mood": 0.0, "loss/mood": 9.0})
    steps.add({"mi/mood": 1.0, "floored/mood": 1.0, "mi/stars": 3.0})
    steps.add({"mi/mood": 0.25, "floored/mood": 0.0})
    steps.add({"mi/mood": math.nan, "floored/mood": 1.0, "bad_steps": 1.0})  # skipped
    bounds, shares = steps.end({"mood": 0.5, "only": 0.125, "stars": 2.0})
    assert bounds == {
        "mood": (0.5, 0.5, *map(pytest.approx, (1.5 * math.log(2), math.log(3)))),
        "only": (None, 0.125, 0.0, 0.0),
        "stars": (3.0, 2.0, None, None),
    }
    assert shares == {"mood": pytest.approx(1 / 3)}
    assert steps.end({}) == ({}, {})


BELOW = {"mood": Bound(0.5, 0.4, 1.0, 1.0), "stars": Bound(9.0, 9.0, None, None)}
REMEDY = "a smaller method.beta or learning_rate, method.balance=pull or bound=jsd"


@pytest.mark.parametrize(
    ("bounds", "shares", "expected"),
    [
        (BELOW, {"mood": 0.0}, ""),
        (
            {"mood": Bound(math.nan, 1.0, 1.0, 1.0)},
            {"mood": math.nan},
            "",
        ),  # at the ceiling
        (
            {"mood": Bound(1.25, 0.4, 1.0, 1.0)},
            {},
            "a bound on I(Z; Y) passes its ceiling H(Y): mood 1.250 of 1.000 nats in "
            f"training; {REMEDY} may help",
        ),
        (
            {"mood": Bound(1.25, 1.5, 1.0, 1.0), "only": Bound(None, 0.125, 0.0, 0.0)},
            {"mood": 0.25, "only": 0.0},
            "a bound on I(Z; Y) passes its ceiling H(Y): mood 1.250 of 1.000 nats in "
            "training, mood 1.500 of 1.000 nats in validation, only 0.125 of 0.000 nats in "
            "validation; losses at the floor of the logarithm (harmless if learned): mood in 25.0 % of the "
            f"steps; {REMEDY} may help",
        ),
        (
            {},
            {"mood": 1.0},
            "losses at the floor of the logarithm (harmless if learned): mood in 100.0 % of the steps; a smaller "
            "method.floor or fewer epochs may help",
        ),
    ],
    ids=["below", "at the ceiling", "training", "both", "no bound"],
)
def test_a_line_has_the_tasks_and_the_remedy(bounds, shares, expected):
    line, _ = bound_ceilings.findings(3, bounds, shares, ())
    assert line == (f"epoch 3: {expected}" if expected else "")


def test_each_kind_of_line_is_said_once():
    past = {"mood": Bound(1.25, 0.4, 1.0, 1.0)}
    line, said = bound_ceilings.findings(1, past, {"mood": 0.0}, [])
    assert (line != "", said) == (True, ["ceiling"])
    line, said = bound_ceilings.findings(2, past, {"mood": 0.5}, said)
    assert line.startswith("epoch 2: losses at the floor")
    assert "ceiling" not in line
    assert said == ["ceiling", "floor"]
    assert bound_ceilings.findings(3, past, {"mood": 0.5}, said) == ("", said)
