"""Tasks and benchmarks: names, labels and the joint label space, as published."""

import numpy as np
import pytest

from mtra_jax import metrics, tasks
from mtra_jax.errors import InputError
from mtra_jax.tasks import AFFECTEVAL, BENCHMARKS, SYNTHETIC, TWEETEVAL

ALL = [
    pytest.param(benchmark, task, id=f"{benchmark.name}-{task.name}")
    for benchmark in BENCHMARKS.values()
    for task in benchmark.tasks
]

# The label names of TweetEval's mapping.txt files.
TWEETEVAL_LABELS = {
    "emotion": ["anger", "joy", "optimism", "sadness"],
    "hate": ["not-hate", "hate"],
    "irony": ["non_irony", "irony"],
    "offensive": ["not-offensive", "offensive"],
    "sentiment": ["negative", "neutral", "positive"],
    "stance": ["none", "against", "favor"],
}


def test_benchmarks_by_name():
    assert {
        "tweeteval": TWEETEVAL,
        "affecteval": AFFECTEVAL,
        "synthetic": SYNTHETIC,
    } == (BENCHMARKS)
    assert all(name == actual.name for name, actual in BENCHMARKS.items())


def test_labels_of_tweeteval():
    actual = {task.name: list(task.labels) for task in TWEETEVAL.tasks}
    assert actual == TWEETEVAL_LABELS


def test_labels_of_affecteval():
    outputs = {task.name: task.num_outputs for task in AFFECTEVAL.tasks}
    assert outputs == {"goemotions": 28, "emotion": 4, "emobank": 3, "ei-reg": 1}
    kinds = {task.name: task.is_classification for task in AFFECTEVAL.tasks}
    assert kinds == {
        "goemotions": True,
        "emotion": True,
        "emobank": False,
        "ei-reg": False,
    }
    # The first, the last and those in the middle of the published list of 28.
    labels = AFFECTEVAL.tasks[0].labels
    places = {0: "admiration", 9: "disappointment", 15: "gratitude", 27: "neutral"}
    assert {i: labels[i] for i in places} == places
    assert list(labels[:-1]) == sorted(labels[:-1])


@pytest.mark.parametrize(("benchmark", "task"), ALL)
def test_tasks_are_well_formed(benchmark, task):
    assert len(set(task.labels)) == task.num_outputs == len(task.labels) > 0
    assert task.kind in ("classification", "regression")
    assert task.is_classification == (task.kind == "classification")
    assert task.metrics
    # Every metric of a task can be computed.
    generator = np.random.default_rng(0)
    shape = () if task.is_classification else (task.num_outputs,)
    targets = generator.integers(task.num_outputs, size=(20, *shape))
    targets = targets if task.is_classification else generator.normal(size=(20, *shape))
    assert set(metrics.score(task, targets, targets)) == set(task.metrics)


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda b: b.name)
def test_slots_tile_the_joint_space(benchmark):
    assert len(set(benchmark.task_names)) == len(benchmark.tasks)
    owners = []
    for index, task in enumerate(benchmark.tasks):
        slots = benchmark.slots(task.name)
        assert slots.start == len(owners)
        assert slots.stop - slots.start == task.num_outputs
        owners += [index] * task.num_outputs
    assert benchmark.num_slots == len(owners)
    assert benchmark.slot_tasks().dtype == np.int32
    assert benchmark.slot_tasks().tolist() == owners


def test_joint_spaces_have_the_published_sizes():
    sizes = {name: benchmark.num_slots for name, benchmark in BENCHMARKS.items()}
    assert sizes == {"tweeteval": 16, "affecteval": 36, "synthetic": 13}
    assert TWEETEVAL.slots("irony") == slice(6, 8)
    assert AFFECTEVAL.slots("emobank") == slice(32, 35)


def test_select_keeps_the_order_of_the_benchmark():
    actual = TWEETEVAL.select(["stance", "hate", "stance"])
    assert actual.name == "tweeteval"
    assert actual.task_names == ("hate", "stance")
    assert actual.num_slots == 5
    assert actual.slots("stance") == slice(2, 5)
    assert actual.slot_tasks().tolist() == [0, 0, 1, 1, 1]
    assert TWEETEVAL.task_names == tuple(TWEETEVAL_LABELS)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: TWEETEVAL.select(["irony", "sentimnet"]),
            "unknown task 'sentimnet' of tweeteval; did you mean sentiment?",
        ),
        (
            lambda: SYNTHETIC.select(["emotion"]),
            "unknown task 'emotion' of synthetic; known: polarity, target, irony, "
            "stance, intensity",
        ),
        (
            lambda: AFFECTEVAL.slots("hate"),
            "unknown task 'hate'; known: goemotions, emotion, emobank, ei-reg",
        ),
    ],
)
def test_unknown_tasks_are_answered_with_known_ones(ask, message):
    with pytest.raises(InputError) as caught:
        ask()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kind": "regresion"},
            "task s: kind is 'regresion'; did you mean regression?",
        ),
        ({"kind": None}, "task s: kind is None; known: classification, regression, "),
        ({"labels": "ab"}, "task s: labels is 'ab'; expected a tuple of texts"),
        ({"metrics": "mae"}, "task s: metrics is 'mae'; expected a tuple of texts"),
    ],
)
def test_a_wrong_task_is_one_line(changes, message):
    values = {"kind": "regression", "labels": ("s",), "metrics": ("mae",), **changes}
    with pytest.raises(InputError) as caught:
        tasks.Task("s", "S", **values)
    assert str(caught.value).startswith(message)


def test_records_cannot_be_changed():
    with pytest.raises(AttributeError):
        tasks.EMOTION.name = "other"
    with pytest.raises(AttributeError):
        TWEETEVAL.tasks = ()
