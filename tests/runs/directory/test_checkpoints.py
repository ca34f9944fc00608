"""Preservation, restoring to the bit, and refusal of other shapes and damage."""

import errno
import math
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from mtra_jax.errors import InputError
from mtra_jax.runs.directory import checkpoints
from mtra_jax.train import optimiser, resting, schedules
from mtra_jax.train.devices import to_host

pytest.importorskip("orbax.checkpoint")
INF = math.inf
TASKS = ("alpha", "ei-reg")


def make_params(width=3, tasks=TASKS):
    rng = np.random.default_rng(0)
    return {
        "encoder": {
            "embeddings": {
                "word_embeddings": {"embedding": rng.normal(size=(5, width))}
            }
        },
        "heads": {
            task: {"kernel": rng.normal(size=(width, 2)), "bias": rng.normal(size=2)}
            for task in tasks
        },
        "method": {},
    }


def make_state(params=None):
    """A tree like a training state: NamedTuples of Optax, empty trees, scalars."""
    params = jax.tree.map(np.float32, make_params() if params is None else params)
    schedule = schedules.warm_up(1e-3, 10)
    moments = optimiser.make(schedule, tuple(params["heads"])).init(params)
    return {
        "params": params,
        "optimiser": to_host(moments),
        "method": (),
        "step": np.array(7, np.int32),
    }


SMALL = {"params": {"w": np.arange(3.0)}, "method": ()}


@pytest.mark.parametrize(
    ("scores", "remaining", "best"),
    [
        ([3.0], [1], 1),
        ([3.0, 2.0, 1.0], [3], 3),
        ([1.0, 2.0, 3.0], [1, 3], 1),
        ([2.0, 1.0, 3.0, 4.0], [2, 4], 2),
        # Within an epoch the score is not available yet.
        ([INF], [1], 1),
        ([INF, INF], [2], 2),
        ([INF, 5.0, INF, 6.0, INF], [2, 5], 2),
        ([INF, 5.0, INF, 4.0, INF], [4, 5], 4),
        ([5.0, INF, 4.0], [3], 3),
        # Early stopping counts the first of equal losses.
        ([1.0, 1.0, 1.0], [1, 3], 1),
        ([2.0, 1.0, INF, 1.0, 2.0], [2, 5], 2),
        ([-1.0, 0.0, -2.0, 1.0], [3, 4], 3),
        ([2.0, math.nan, 3.0], [1, 3], 1),
        ([math.nan, 2.0, math.nan], [2, 3], 2),
    ],
    ids=str,
)
def test_the_latest_and_the_best_are_kept(tmp_path, scores, remaining, best):
    store = checkpoints.Checkpoints(tmp_path / "checkpoints")
    assert (store.latest_step(), store.best_step()) == (None, None)
    for step, score in enumerate(scores, start=1):
        state = {"params": {"w": np.full(2, step)}, "method": ()}
        store.save(step, state, {"step": step}, score)
    assert (store.latest_step(), store.best_step()) == (len(scores), best)
    store.close()

    result = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert result == remaining
    again = checkpoints.Checkpoints(tmp_path / "checkpoints")
    assert (again.latest_step(), again.best_step()) == (len(scores), best)
    for step in remaining:
        np.testing.assert_array_equal(again.restore_params(step)["w"], [step, step])
    again.close()


@pytest.mark.parametrize("scores", [[3.0, 1.0, 1.0, 2.0], [math.nan, 2.0, INF, 3.0]])
def test_a_store_that_is_opened_again_continues(tmp_path, scores):
    for step, score in enumerate(scores, start=1):
        store = checkpoints.Checkpoints(tmp_path)
        assert store.latest_step() == (step - 1 or None)
        store.save(step, SMALL, {}, score)
        store.close()
    store = checkpoints.Checkpoints(tmp_path)
    assert (store.latest_step(), store.best_step()) == (4, 2)
    store.close()


def test_a_kill_during_a_deletion_leaves_only_complete_checkpoints(
    tmp_path, monkeypatch
):
    """The deletion stops after the record, as it may after a kill."""
    removed = []

    def die_halfway(directory, ignore_errors):
        for record in directory.glob("*/record"):
            removed.append(record.parent.name)
            shutil.rmtree(record)

    rmtree = shutil.rmtree
    store = checkpoints.Checkpoints(tmp_path)
    for step, score in enumerate([3.0, 1.0], start=1):
        store.save(step, SMALL, {}, score)
    store._wait()
    # The first one is moved away before any of its files is deleted.
    assert (tmp_path / checkpoints.REMOVED / "1" / "record").is_dir()
    monkeypatch.setattr(
        checkpoints.shutil,
        "rmtree",
        lambda path, ignore_errors=False: (
            rmtree(path) if path.name == "record" else die_halfway(path, ignore_errors)
        ),
    )
    store.close()
    assert removed == ["1"]
    monkeypatch.undo()
    again = checkpoints.Checkpoints(tmp_path)
    assert (again.latest_step(), again.best_step()) == (2, 2)
    again.save(4, SMALL, {}, 5.0)
    again.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4"]


def test_a_restored_state_equals_the_saved_one_to_the_bit(tmp_path):
    state = make_state()
    odd = np.array([np.nan, np.inf, -0.0, 1e-45, 3e38], np.float32)
    state["params"]["encoder"]["odd"] = odd
    record = {"step": 7, "best_loss": INF, "loss": 0.1 + 0.2, "best_epoch": 0}
    store = checkpoints.Checkpoints(tmp_path)
    store.save(7, state, record, INF)
    store.close()

    store = checkpoints.Checkpoints(tmp_path)
    target = jax.tree.map(np.zeros_like, state)
    actual, found_record = store.restore(7, target)
    store.close()
    assert jax.tree.structure(actual) == jax.tree.structure(state)
    for leaf, expected in zip(
        jax.tree.leaves(actual), jax.tree.leaves(state), strict=True
    ):
        assert type(leaf) is np.ndarray
        assert leaf.dtype == expected.dtype
        assert leaf.shape == expected.shape
        assert leaf.tobytes() == expected.tobytes()
    assert found_record == record
    assert isinstance(actual["optimiser"][1], resting.RestingState)
    assert actual["params"]["method"] == {}
    assert actual["method"] == ()


def test_parameters_are_restored_without_the_rest_of_the_state(tmp_path):
    state = make_state()
    store = checkpoints.Checkpoints(tmp_path)
    store.save(1, state, {}, 1.0)
    result = store.restore_params(1)
    store.close()
    assert jax.tree.structure(result) == jax.tree.structure(state["params"])
    jax.tree.map(np.testing.assert_array_equal, result, state["params"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoints")
    store = checkpoints.Checkpoints(directory)
    store.save(3, make_state(), {}, 1.0)
    yield store
    store.close()


def without(tree, key):
    return {name: value for name, value in tree.items() if name != key}


def with_method(state):
    state["params"]["method"]["statistics"] = {"kernel": np.zeros((4, 2))}
    return state


@pytest.mark.parametrize(
    ("make_target", "expected"),
    [
        (
            lambda: make_state(make_params(width=4)),
            "params/encoder/embeddings/word_embeddings/embedding has shape [5, 3] there "
            "and has shape [5, 4] here",
        ),
        (
            lambda: make_state(make_params(tasks=("alpha",))),
            "params/heads/ei-reg/bias has shape [2] there and is absent here",
        ),
        (
            lambda: make_state(make_params(tasks=("alpha", "beta", "ei-reg"))),
            "params/heads/beta/bias is absent there and has shape [2] here",
        ),
        (
            lambda: with_method(make_state()),
            "params/method/statistics/kernel is absent there and has shape [4, 2] here",
        ),
        (
            lambda: without(make_state(), "step"),
            "step has shape [] there and is absent here",
        ),
        (
            lambda: {**make_state(), "method": {"losses": np.zeros((2, 3))}},
            "method/losses is absent there and has shape [2, 3] here",
        ),
    ],
    ids=["width", "task_less", "task_more", "critic", "step", "state"],
)
def test_a_checkpoint_of_another_shape_is_refused(saved, make_target, expected):
    with pytest.raises(InputError) as error:
        saved.restore(3, make_target())
    actual = str(error.value)
    assert "\n" not in actual
    assert actual.endswith(f": step 3 does not fit this configuration: {expected}")


def test_a_damaged_checkpoint_is_named(tmp_path):
    store = checkpoints.Checkpoints(tmp_path)
    store.save(1, SMALL, {}, 1.0)
    store.close()
    shutil.rmtree(tmp_path / "1" / "state")
    store = checkpoints.Checkpoints(tmp_path)
    for read in (lambda: store.restore(1, SMALL), lambda: store.restore_params(1)):
        with pytest.raises(InputError) as error:
            read()
        assert str(error.value).startswith(f"{tmp_path}: step 1 cannot be read: ")
        assert "\n" not in str(error.value)
    store.close()


def test_the_first_checkpoint_is_read_back(tmp_path, monkeypatch):
    """Later ones are not: a faulty directory is detected at the first."""
    store = checkpoints.Checkpoints(tmp_path)
    read = []
    monkeypatch.setattr(store, "verify", read.append)
    for step in (1, 2):
        store.save(step, SMALL, {}, INF)
    store.close()
    assert read == [1]
    again = checkpoints.Checkpoints(tmp_path)
    monkeypatch.setattr(again, "verify", read.append)
    again.save(3, SMALL, {}, INF)
    again.close()
    assert read == [1]


def test_a_first_checkpoint_that_reads_back_differently_is_an_error(
    tmp_path, monkeypatch
):
    store = checkpoints.Checkpoints(tmp_path)
    restore = store._restore

    def other(step, **item):
        result = restore(step, **item)
        if "state" in item:
            result["params"]["w"][0] += 1
        return result

    monkeypatch.setattr(store, "_restore", other)
    with pytest.raises(checkpoints.WriteError, match="step 1 is damaged: params/w"):
        store.save(1, SMALL, {}, INF)
    store.close()


@pytest.mark.parametrize("place", ["save", "wait_until_finished"])
def test_a_checkpoint_that_a_full_disk_stops_is_reported_beside_the_one_before(
    place, tmp_path, monkeypatch
):
    """The disk is full as the write begins, and in the background."""
    store = checkpoints.Checkpoints(tmp_path)
    store.save(1, SMALL, {}, 1.0)

    def fails(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store._manager, place, fails)
    with pytest.raises(checkpoints.WriteError) as error:
        store.save(2, SMALL, {}, 0.0)
    assert str(error.value) == (
        f"{tmp_path}: a checkpoint cannot be written: No space left on device; those "
        "before it are kept"
    )
    monkeypatch.undo()
    store.close()
    again = checkpoints.Checkpoints(tmp_path)
    assert again.latest_step() == 1
    np.testing.assert_array_equal(again.restore_params(1)["w"], SMALL["params"]["w"])
    again.close()


NAMES = ("a b", "a\nb", "a?b*", "]", "{1}", "%2F", "#", "é😀", "'\"", "-x", "x" * 250)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_store_opens_below_every_name_that_is_not_refused(tmp_path, name):
    directory = tmp_path / name / "checkpoints"
    store = checkpoints.open_store(directory)
    store.save(1, SMALL, {}, INF)
    state, _ = store.restore(1, SMALL)
    store.close()
    np.testing.assert_array_equal(state["params"]["w"], SMALL["params"]["w"])
    # The trial leaves nothing behind.
    assert [path.name for path in directory.parent.iterdir()] == ["checkpoints"]


@pytest.mark.parametrize(
    "name", ["[x]", "a[", "**", "back\\slash", "gs:", "a\udcff"], ids=ascii
)
@pytest.mark.parametrize("read_only", [False, True])
def test_paths_that_orbax_cannot_read_back_are_refused(tmp_path, name, read_only):
    directory = tmp_path / name / "checkpoints"
    with pytest.raises(InputError, match="checkpoints"):
        checkpoints.Checkpoints(directory, read_only=read_only)
    assert not directory.parent.exists()


def test_a_relative_path_is_checked_as_an_absolute_one(tmp_path, monkeypatch):
    (tmp_path / "[1]").mkdir()
    monkeypatch.chdir(tmp_path / "[1]")
    with pytest.raises(InputError, match=r"with '\['"):
        checkpoints.open_store(Path("run/checkpoints"))
