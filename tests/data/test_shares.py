"""Splits that are cut from the training data."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import assert_mentions

from mtra_jax.data.splits import shares
from mtra_jax.data.splits.examples import Examples
from mtra_jax.errors import InputError
from mtra_jax.tasks import Task

CLASSES = Task("c", "C", "classification", tuple("pqrs"), ("accuracy",))
LABELS = dataclasses.replace(CLASSES, kind="multi_label")
VALUES = dataclasses.replace(CLASSES, kind="regression", labels=("v",))
BOTH = {"validation": 0.1, "test": 0.2}


def examples_of(labels, texts=None) -> Examples:
    texts = texts or [f"text {n}" for n in range(len(labels))]
    return Examples(texts, np.asarray(labels, np.int32))


def cut(task, examples, parts=BOTH, seed=0):
    return shares.cut(task, examples, parts, seed, "t.toml:1: c")


def test_every_class_gives_its_share_and_keeps_the_order():
    labels = np.repeat([0, 1, 2, 3], [500, 300, 20, 10])
    labels = np.random.default_rng(0).permutation(labels)
    examples = examples_of(labels)
    parts = cut(CLASSES, examples)
    assert np.bincount(parts["test"].labels).tolist() == [100, 60, 4, 2]
    assert np.bincount(parts["validation"].labels).tolist() == [50, 30, 2, 1]
    assert np.bincount(parts["train"].labels).tolist() == [350, 210, 14, 7]
    texts = [text for part in parts.values() for text in part.texts]
    assert sorted(texts) == sorted(examples.texts)
    by_text = dict(zip(examples.texts, labels, strict=True))
    for part in parts.values():
        numbers = [int(text.split()[1]) for text in part.texts]
        assert numbers == sorted(numbers)
        assert [by_text[text] for text in part.texts] == part.labels.tolist()


def test_the_seed_alone_changes_the_choice():
    examples = examples_of([0, 1] * 200)
    first = cut(CLASSES, examples)
    assert cut(CLASSES, examples)["test"].texts == first["test"].texts
    other = cut(CLASSES, examples, seed=1)["test"].texts
    # Two random fifths of 400 share 16 on average; 40 are 7 deviations away.
    assert len(set(other) & set(first["test"].texts)) < 40
    # Neither the order of the rows nor the name of the task does.
    order = np.random.default_rng(0).permutation(400)
    moved = Examples([examples.texts[i] for i in order], examples.labels[order])
    again = cut(dataclasses.replace(CLASSES, name="d"), moved)
    assert {s: set(p.texts) for s, p in again.items()} == {
        s: set(p.texts) for s, p in first.items()
    }


def test_the_choice_is_the_same_in_every_version():
    """Written down once: a later version must not move test texts into training."""
    parts = cut(CLASSES, examples_of([0, 1] * 10), {"test": 0.25}, seed=3)
    assert parts["test"].texts == WRITTEN_DOWN


WRITTEN_DOWN = ["text 6", "text 9", "text 12", "text 14", "text 15"]


def test_tasks_of_the_same_texts_have_mostly_the_same_test_texts():
    rng = np.random.default_rng(0)
    one = cut(CLASSES, examples_of(rng.integers(4, size=2000)))
    two = cut(
        VALUES, Examples(examples_of([0] * 2000).texts, rng.normal(size=(2000, 1)))
    )
    test = set(one["test"].texts)
    # Independent choices would put a fifth of the test texts of a task in test of another.
    assert len(test & set(two["test"].texts)) > 0.9 * len(test)


def test_examples_with_the_same_texts_stay_together():
    texts = [f"text {n // 3}" for n in range(300)]
    parts = cut(CLASSES, examples_of([0] * 300, texts))
    sets = [set(part.texts) for part in parts.values()]
    assert sum(map(len, sets)) == len(set().union(*sets)) == 100
    assert {s: len(p.texts) for s, p in parts.items()} == {
        "train": 210,
        "test": 60,
        "validation": 30,
    }
    pairs = Examples(
        ["a"] * 10, np.zeros(10, np.int32), (), [str(n) for n in range(10)]
    )
    parts = cut(dataclasses.replace(CLASSES, is_pair=True), pairs)
    assert {s: len(p.second_texts) for s, p in parts.items()} == {
        "train": 7,
        "test": 2,
        "validation": 1,
    }
    assert set(parts["test"].second_texts).isdisjoint(parts["train"].second_texts)


def test_rare_classes_together_fill_their_share():
    """Twenty classes of four: a fifth of 80 is 16, though a fifth of each is under one."""
    task = dataclasses.replace(CLASSES, labels=tuple(map(str, range(20))))
    parts = cut(task, examples_of(list(range(20)) * 4))
    counts = {split: np.bincount(part.labels) for split, part in parts.items()}
    assert {split: int(count.sum()) for split, count in counts.items()} == {
        "train": 56,
        "test": 16,
        "validation": 8,
    }
    assert counts["train"].min() >= 1
    assert counts["test"].max() == 1


def test_every_label_of_a_multi_label_task_gives_its_share():
    rng = np.random.default_rng(0)
    labels = (rng.random((1000, 4)) < [0.5, 0.3, 0.02, 0.0]).astype(np.float32)
    labels[-1, 3] = 1  # the only one
    parts = cut(LABELS, Examples(examples_of([0] * 1000).texts, labels))
    assert [len(parts[s].texts) for s in ("train", "validation", "test")] == [
        700,
        100,
        200,
    ]
    rare = {split: part.labels[:, 2].sum() for split, part in parts.items()}
    total = sum(rare.values())
    assert abs(rare["test"] - 0.2 * total) < 1
    assert abs(rare["validation"] - 0.1 * total) < 1
    assert parts["train"].labels[:, 3].sum() == 1


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    texts=st.data(),
    validation=st.floats(0.01, 0.45),
    test=st.floats(0.01, 0.45),
)
def test_no_class_leaves_training_and_no_example_is_lost(
    labels, texts, validation, test
):
    drawn = texts.draw(
        st.lists(st.sampled_from("abc") | st.text(max_size=2), min_size=len(labels))
    )
    examples = examples_of(labels, drawn[: len(labels)])
    try:
        parts = cut(CLASSES, examples, {"validation": validation, "test": test})
    except InputError:
        # All but one example of each class may leave training, and test chooses first.
        spare = len(labels) - len(set(labels))
        distinct = set(zip(examples.texts, labels, strict=True))
        assert spare <= max(1, test * len(labels) + 0.5) or len(distinct) < len(labels)
        return
    rows = Counter(
        row
        for part in parts.values()
        for row in zip(part.texts, part.labels.tolist(), strict=True)
    )
    assert rows == Counter(zip(examples.texts, labels, strict=True))
    assert set(parts["train"].labels.tolist()) == set(labels)
    for split, share in (("validation", validation), ("test", test)):
        assert 1 <= len(parts[split].texts) <= max(1, share * len(labels) + 0.5)


def test_few_distinct_texts_and_numbers_as_classes_are_named():
    with pytest.raises(InputError) as error:
        cut(CLASSES, examples_of([0, 1] * 4, ["a", "b"] * 4))
    assert_mentions(error.value, "8 examples", "2 of them different", "2 classes")
    numbers = dataclasses.replace(CLASSES, labels=("0.5", "1", "2"))
    with pytest.raises(InputError) as error:
        cut(numbers, examples_of([0, 1, 2]))
    assert_mentions(error.value, "3 examples", "3 classes", '"regression"')


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 1, 2, 3], [0, 0]])
def test_too_few_examples_are_refused(labels):
    with pytest.raises(InputError) as error:
        cut(CLASSES, examples_of(labels))
    number = f"{len(labels)} examples in {len(set(labels))} classes"
    assert_mentions(error.value, "t.toml:1: c", number, "expected more examples")
