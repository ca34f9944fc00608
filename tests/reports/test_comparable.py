"""Reasons why the runs of one table cannot be compared."""

import pytest

from mtra_jax.reports.comparisons import comparable, comparison
from mtra_jax.tasks import BENCHMARKS

TASKS = BENCHMARKS["synthetic"].select(["irony"]).tasks
SAME = {"test": {"irony": "1f"}}


def run(name, seed, contents=None, number=9, method="ew", settings=None, **overrides):
    results = {"examples": {"irony": {"test": number}}}
    values = {
        "method": method,
        "preset": "tiny_synthetic",
        "overrides": {key.replace("__", "."): text for key, text in overrides.items()},
    }
    if contents is not None:
        values["contents"] = contents
    if settings is not None:
        values["settings"] = settings
    return comparison.Entry(name, seed, TASKS, results, values)


def note(*runs, split="test"):
    baselines = {run.name: "ew" for run in runs}
    return "; ".join(comparable.notes(runs, split, baselines))


def test_equal_settings_and_examples_need_no_word():
    rate, same = {"learning_rate": "3e-4"}, {"learning_rate": "0.0003"}
    runs = [run("ew", 0, SAME, **rate), run("ew", 1, SAME, **same)]
    assert note(*runs, run("mtra", 0, SAME, epochs="9")) == ""
    assert note() == ""


def test_keys_that_leave_the_figures_as_they_are_may_differ():
    assert note(run("ew", 0, data__dir="a"), run("ew", 1, devices="2")) == ""
    assert "sampling" in note(run("ew", 0), run("ew", 1, sampling="joint"))


def test_settings_that_differ_within_a_row_are_named():
    runs = [
        run(name, seed, epochs=epochs, **rest)
        for name in ("ew", "si")
        for seed, epochs, rest in ((3, "2", {"batch_size": "16"}), (4, "1", {}))
    ]
    assert note(*runs, run("tw", 0), run("tw", 1)) == (
        "not comparable, seeds of ew, si differ in epochs (2, 1), batch_size (16, the "
        "preset's)"
    )
    assert "method (ew, mtra)" in note(run("ew", 0), run("ew", 1, method="mtra"))


def test_spellings_of_one_value_do_not_differ():
    spelled = ("true", "emotion,irony"), ("True", "irony, emotion"), (True, "")
    runs = [
        run("ew", seed, data__standardize=value, tasks=tasks)
        for seed, (value, tasks) in enumerate(spelled)
    ]
    assert note(*runs) == ""
    assert "x (a, b)" in note(run("ew", 0, x="a"), run("ew", 1, x="b"))


FIVE = {"epochs": 5, "learning_rate": 1e-3, "encoder": "1f"}
NINE = {**FIVE, "epochs": 9, "learning_rate": 2e-3}


def test_rows_under_other_conditions_than_their_baseline_are_named():
    other = {**FIVE, "encoder": "2e", "learning_rate": 2e-3}
    runs = [
        run("ew", 0, settings=FIVE),
        run("same", 0, settings={**FIVE, "learning_rate": 2e-3}),
        run("a", 0, settings=NINE),
        run("b", 0, settings=NINE),
        run("c", 0, settings=other),
        run("old", 0, epochs="9"),  # a line of an older version, without settings
    ]
    assert note(*runs) == (
        "trained under other conditions than ew: a, b (epochs 9, ew's 5), c (another "
        "encoder)"
    )
    apart = {"ew": "ew", "same": "ew", "a": "b", "b": "b", "c": "c"}
    assert comparable.notes(runs[:5], "test", apart) == []


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("training data", "3d", "other training data"),
        ("backbone.intermediate_size", 64, "backbone.intermediate_size 64, ew's 32"),
        ("class_weights", "balanced", "class_weights balanced, ew's none"),
        ("data.limit", 10**6, ""),  # what it does is part of the training data
        ("method.beta", 2.0, ""),
    ],
)
def test_what_counts_as_another_condition(key, value, told):
    base = {
        "encoder": "new",
        "training data": "2e",
        "backbone.intermediate_size": 32,
        "class_weights": "none",
        "data.limit": 0,
        "method.beta": 1.0,
    }
    rows = {"ew": base, "si": base | {key: value}}
    note = comparable.conditions_note(rows, dict.fromkeys(rows, "ew"))
    start = "trained under other conditions than ew: si"
    assert note == (told and f"{start} ({told})")
    unknown = {"ew": base, "si": {k: v for k, v in base.items() if k != key}}
    assert comparable.conditions_note(unknown, dict.fromkeys(unknown, "ew")) == ""


def test_a_value_of_the_preset_does_not_differ_from_the_same_value_set():
    """With all settings of both; lines of older versions have only those that were set."""
    assert (
        note(run("ew", 0, settings=FIVE), run("ew", 1, settings=FIVE, epochs="5")) == ""
    )
    assert note(run("ew", 0, settings=FIVE), run("ew", 1, settings=NINE)) == (
        "not comparable, seeds of ew differ in epochs (5, 9), learning_rate (0.001, 0.002)"
    )
    assert "ew differ in encoder" in note(
        run("ew", 0, settings=FIVE), run("ew", 1, settings={**FIVE, "encoder": "2e"})
    )
    # A key of a later version, at its default.
    later = {**FIVE, "method.weights": ""}
    assert note(run("ew", 0, settings=FIVE), run("ew", 1, settings=later)) == ""
    assert "epochs (the preset's, 5)" in note(
        run("ew", 0), run("ew", 1, settings=FIVE, epochs="5")
    )


def test_settings_are_those_that_can_change_the_figures():
    config = {
        "epochs": 5,
        "seed": 3,
        "devices": 2,
        "sampling": "joint",
        "data.dir": "a",
        "data.limit": 7,
        "backbone.path": "b",
        "backbone.hidden_size": 128,
        "method.name": "mtra",
    }
    own = {"epochs": 5, "sampling": "joint", "data.limit": 7, "method.name": "mtra"}
    hashes = {"encoder": "1f", "training data": "2e"}
    assert comparable.resolved(config, *hashes.values()) == own | hashes
    new = {**own, "backbone.hidden_size": 128, "encoder": "new"}
    assert comparable.resolved(config, "new", None) == new
    assert comparable.resolved(config, None, None) == own  # unknown, so not compared


def test_odd_lines_are_not_compared():
    huge = run("ew", 0, {"test": {"irony": ["a"]}}, x=10**400)
    assert note(huge, run("ew", 1, {"test": {"irony": None}}, x=10**400)) == ""


def test_other_examples_are_named_by_number_or_else_by_content():
    other = {"test": {"irony": "2e"}, "validation": {"irony": "3d"}}
    assert note(run("ew", 0, SAME), run("ew", 1, other)) == (
        "not comparable, other test examples: irony (ew seed 0, ew seed 1)"
    )
    assert note(run("a", 0, SAME), run("b", 1, other), split="validation") == ""
    # Lines of older versions have no hashes.
    assert note(run("ew", 0, SAME), run("ew", 1)) == ""
    assert note(run("a", 0, SAME), run("b", 1, other, number=8)) == (
        "not comparable, the numbers of test examples differ: irony 9 (a), 8 (b)"
    )
