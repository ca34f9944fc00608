"""Which parameters of another run a new run starts from."""

import dataclasses

import numpy as np
import pytest

from mtra_jax.tasks import SYNTHETIC, Task
from mtra_jax.train import starting

IRONY, STANCE, INTENSITY = (
    next(task for task in SYNTHETIC.tasks if task.name == name)
    for name in ("irony", "stance", "intensity")
)
TOPIC = Task("topic", "Topic", "classification", ("a", "b"), ("macro_f1",))


def draw(tasks, seed, hidden=5, width=3):
    rng = np.random.default_rng(seed)

    def head(size):
        kernel, bias = rng.normal(size=(hidden, size)), rng.normal(size=size)
        return {"kernel": np.float32(kernel), "bias": np.float32(bias)}

    return {
        "encoder": {"w": rng.normal(size=4)},
        "heads": {task.name: head(task.num_outputs) for task in tasks},
        "method": {"statistics": {"kernel": rng.normal(size=(hidden, width))}},
    }


def start(old, new, method="mtra", **sizes):
    """The first parameters, those of the old run, the new ones, and the line."""
    there, here = draw(old, 0), draw(new, 1, **sizes)
    given = starting.Start("runs/old", None, there, tuple(old), "mtra")
    started = starting.start(here, given, tuple(new), method)
    return started.params, there, here, started.line


def test_the_same_tasks_and_method_start_from_all_parameters():
    tasks = [IRONY, INTENSITY]
    params, there, here, line = start(tasks, tasks)
    np.testing.assert_equal(params["heads"], there["heads"])
    np.testing.assert_equal(params["method"], there["method"])
    # The encoder is loaded before.
    np.testing.assert_equal(params["encoder"], here["encoder"])
    assert line == (
        "warm start from runs/old: encoder; heads of irony, intensity; parameters of mtra"
    )


def test_other_tasks_have_new_heads_and_the_method_new_parameters():
    params, there, here, line = start([IRONY, INTENSITY], [IRONY, STANCE])
    np.testing.assert_equal(params["heads"]["irony"], there["heads"]["irony"])
    np.testing.assert_equal(params["heads"]["stance"], here["heads"]["stance"])
    np.testing.assert_equal(params["method"], here["method"])
    assert (
        line == "warm start from runs/old: encoder; heads of irony. New heads: stance"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ("ironic", "sincere")},
        {"labels": ("sincere", "ironic", "both")},
        {"kind": "multi_label"},
        {"name": "sarcasm"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_head_is_new_if_the_task_has_another_name_kind_or_labels(changes):
    new = dataclasses.replace(IRONY, **changes)
    params, _, here, line = start([IRONY], [new])
    np.testing.assert_equal(params["heads"], here["heads"])
    np.testing.assert_equal(params["method"], here["method"])
    assert line.endswith(f"encoder. New heads: {new.name}")


def test_a_head_of_another_size_is_new():
    """That of STL with CNN reads the features of its filters."""
    params, _, here, line = start([IRONY], [IRONY], hidden=6)
    np.testing.assert_equal(params["heads"], here["heads"])
    assert line.endswith("New heads: irony")


@pytest.mark.parametrize(("method", "width"), [("ew", 3), ("mtra", 7)])
def test_parameters_of_another_method_or_size_are_new(method, width):
    params, there, here, line = start([IRONY], [IRONY], method, width=width)
    np.testing.assert_equal(params["heads"], there["heads"])
    np.testing.assert_equal(params["method"], here["method"])
    assert "parameters" not in line


def test_tasks_in_another_order_keep_their_heads_but_not_the_method():
    params, there, here, _ = start([IRONY, STANCE], [STANCE, IRONY])
    np.testing.assert_equal(params["heads"], there["heads"])
    np.testing.assert_equal(params["method"], here["method"])


def test_a_standardised_head_predicts_the_same_values_under_another_scale():
    before = Task("stars", "Stars", "regression", ("a", "b"), ("rmse",))
    old = dataclasses.replace(before, means=(50.0, 3.0), deviations=(10.0, 0.5))
    new = dataclasses.replace(before, means=(40.0, 4.0), deviations=(20.0, 0.25))
    z = np.random.default_rng(5).normal(size=(8, 5))

    def values(head, task):
        standard = z @ np.float64(head["kernel"]) + head["bias"]
        scale = task.deviations or (1.0, 1.0), task.means or (0.0, 0.0)
        return standard * scale[0] + scale[1]

    for there, here in [(old, new), (old, before), (before, new)]:
        params, first, _, line = start([there], [here])
        np.testing.assert_allclose(
            values(params["heads"]["stars"], here),
            values(first["heads"]["stars"], there),
            rtol=0,
            atol=50 * 2**-22,  # a mean of 50, and a few roundings to float32
        )
        assert "heads of stars" in line
    params, first, _, _ = start([old], [old])
    np.testing.assert_equal(params["heads"], first["heads"])
