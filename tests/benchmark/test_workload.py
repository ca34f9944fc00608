"""The choice of batches to time, and their counts."""

import json

import figure_lines
import numpy as np
import pytest
import speeds
import workload

from mtra_jax import config as configs
from mtra_jax.data.packed import plans
from mtra_jax.errors import InputError
from mtra_jax.runs.sweeps import estimates
from mtra_jax.types import Batch

SMALL = (
    ("tasks", "irony,intensity"),
    ("data.fraction", "0.3"),
    ("batch_size", "32"),
    ("backbone.hidden_size", "16"),
    ("backbone.intermediate_size", "32"),
    ("backbone.num_hidden_layers", "1"),
    ("data.cache_dir", ""),
)


def load(name, *overrides):
    return configs.load(f"configs/{name}", (*SMALL, *overrides))


def test_every_task_is_chosen_in_proportion_and_full():
    tasks = np.repeat([0, 1, 2], [640, 64, 40])
    plan = plans.plan_epoch((640, 64, 40), 32, seed=0, epoch=0)
    chosen = workload.choose(tasks, plan, 12)
    assert chosen == sorted(chosen)
    assert np.all(plan[chosen] >= 0)
    owners = tasks[plan[chosen, 0]]
    # The tasks have 20, 2 and 1 full batches.
    np.testing.assert_array_equal(np.bincount(owners), [10, 1, 1])


def test_without_a_full_batch_all_are_candidates():
    plan = np.array([[0, 1, -1], [2, -1, -1]])
    assert workload.choose(np.array([0, 0, 1]), plan, 5) == [0, 1]


def batch_of(segments, **fields):
    rows = np.array([[[segments]]])
    blank = dict.fromkeys(Batch._fields, np.zeros((1, 3), np.int32))
    return Batch(**{**blank, "tokens": rows, "segments": rows, **fields})


def test_texts_and_tokens_are_counted():
    batch = batch_of(
        [[1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 0, 0]],
        where=np.array([[True, True, True]]),
        tasks=np.array([[1, 1, 1]]),
    )
    item = workload.describe(batch)
    assert item[1:] == (1, 3, 9, 12)
    np.testing.assert_array_equal(speeds.lengths_of(item), [2, 3, 4])


def test_lengths_of_several_devices_stay_separate():
    batch = batch_of([[1, 1, 0], [1, 2, 2]])
    both = Batch(*(np.concatenate([array, array]) for array in batch))
    item = workload.describe(both)
    assert sorted(speeds.lengths_of(item)) == [1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("method", "expected"),
    [("ew", 1), ("mtra", 2), ("infomtl", 2), ("pcgrad", 1)],
)
def test_passes_of_a_method(method, expected):
    config = speeds.with_method(load("mtra.py:new_synthetic"), method)
    assert config.method.name == method
    assert estimates.passes(config) == pytest.approx(expected)


def test_without_self_alignment_mtra_has_one_pass():
    config = load("mtra.py:new_synthetic", ("method.self_alignment", "false"))
    assert estimates.passes(config) == 1


def test_methods_that_train_tasks_apart_are_not_timed():
    with pytest.raises(InputError, match="--method stl: trains each task"):
        speeds.with_method(load("mtra.py:new_synthetic"), "stl")


def test_steps_are_timed_on_real_batches_and_become_plain_json():
    loads = [
        workload.load(speeds.with_method(load("mtra.py:new_synthetic"), name), 3)
        for name in ("ew", "mtra")
    ]
    figures, _ = speeds.speeds(loads)
    ew, mtra = figures
    assert len(ew.seconds) == len(mtra.seconds) == len(loads[0].items)
    assert mtra.flops == 2 * ew.flops
    assert ew.fill == mtra.fill
    assert ew.fill.texts == 32 * len(ew.seconds)
    assert ew.num_compiled >= 1
    # MTRA adds the statistics network: (16 + 3 slots + 2) * 128 numbers.
    added = mtra.parameters["training"] - ew.parameters["training"]
    assert added == (16 + 3) * 128 + 2 * 128
    assert ew.parameters["testing"] == mtra.parameters["testing"]
    plain = json.loads(json.dumps(figure_lines.plain({"methods": figures})))
    assert plain["methods"][1]["share_of_rate"] == pytest.approx(mtra.share_of_rate)
    text = figure_lines.text({"methods": figures})
    assert f"{sum(mtra.seconds) / sum(ew.seconds):.2f}" in text


class Device:
    """Records launched batches and waits."""

    def __init__(self):
        self.log = []

    def launch(self, batch):
        self.log.append(batch)
        return batch.upper()


def test_steps_cycle_through_the_batches_and_wait_for_the_last():
    device = Device()
    steps = workload.Steps(device.launch, device.log.append, ["a", "b", "c"])
    assert steps.take(2) >= 0
    assert steps.launch_seconds(3) >= 0
    assert device.log == ["a", "b", "B", "c", "a", "b", "B"]


def test_a_step_replaces_the_state():
    def update(state, batch):
        return state + batch, {"batch": batch}

    stepper = workload.Stepper(update, 1)
    assert stepper.launch(2) == (3, {"batch": 2})
    assert stepper(workload.Item(4, 0, 0, 0, 0)) == {"batch": 4}
    assert stepper.state == 7
