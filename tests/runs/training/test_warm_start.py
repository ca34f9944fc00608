"""Runs that start from another run, and finished runs that continue for more epochs."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from messages import assert_mentions

from mtra_jax import config as configs
from mtra_jax.errors import InputError
from mtra_jax.runs.directory import best_model, continuation, layout
from mtra_jax.runs.training import interfaces, preparation, warm_start
from mtra_jax.runs.training import run as training
from mtra_jax.train import schedules

ROOT = Path(__file__).resolve().parents[3]
SMALL = [
    ("tasks", "irony,intensity"),
    ("data.fraction", "0.1"),
    ("batch_size", "64"),
    ("backbone.hidden_size", "16"),
    ("backbone.intermediate_size", "32"),
    ("backbone.num_hidden_layers", "1"),
    ("devices", "1"),
    ("epochs", "2"),
    ("warm_up", "0.5"),
    ("checkpoint_every", "3"),
]


def make_config(*overrides, method="mtra"):
    preset = f"{ROOT}/configs/baselines.py:{method}_new_synthetic"
    return configs.load(preset, [*SMALL, ("data.cache_dir", ""), *overrides])


def train(config, directory):
    return training.train(config, directory, lambda *_: interfaces.Watch())


def message(call):
    with pytest.raises(InputError) as error:
        call()
    return error.value


# ---- refusals, on directories with the files that are read


@pytest.fixture
def finished(tmp_path):
    """The configuration and the results of a finished run."""
    directory = tmp_path / "old"
    directory.mkdir()
    layout.write_config(make_config(), directory)
    results = {"epochs": 2, "best_epoch": 1}
    (directory / layout.RESULTS).write_text(json.dumps(results))
    return directory


def start_from(directory, *overrides):
    return lambda: warm_start.read(
        make_config(("warm_start", str(directory)), *overrides)
    )


def test_a_warm_start_needs_a_finished_run(finished, tmp_path):
    none = tmp_path / "none"
    assert_mentions(message(start_from(none)), "warm_start", none, "no such directory")
    assert_mentions(message(start_from(tmp_path)), tmp_path / "config.json")
    (finished / layout.RESULTS).unlink()
    assert_mentions(message(start_from(finished)), finished, "not finished")
    assert warm_start.read(make_config()) is None


def test_a_warm_start_needs_one_encoder_for_the_tasks(finished):
    layout.write_config(make_config(method="stl"), finished)
    refusal = message(start_from(finished))
    assert_mentions(refusal, finished, "separate encoder", finished / "irony")
    own = finished / "irony"
    assert_mentions(message(start_from(finished, ("tasks", "irony"))), own)


def more(directory, *overrides):
    return lambda: continuation.configuration(directory, overrides)


def test_only_a_finished_run_continues(finished, tmp_path):
    epochs = ("epochs", "4")
    none = tmp_path / "none"
    assert_mentions(message(more(none, epochs)), "--continue_from", none)
    (finished / layout.RESULTS).unlink()
    assert_mentions(message(more(finished, epochs)), finished, "not finished")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        (("epochs", "2"), ["epochs is 2", "more than 2"]),
        (("tasks", "irony"), ["tasks", "('irony',)", "('irony', 'intensity')"]),
        (("backbone.hidden_size", "32"), ["backbone.hidden_size is 32", 16]),
        (("optimiser", "sgd"), ["optimiser is 'sgd'", "'adamax'"]),
        (("method.name", "uw"), ["method"]),
        (("warm_up", "0.1"), ["warm_up is 0.1", 0.5]),
        (("patience", "1"), ["patience is 1", "more than 1"]),
        (("epoch", "9"), ["--config.epoch", "epochs"]),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_continued_run_is_the_same_but_for_its_epochs(finished, override, parts):
    epochs = [("epochs", "4")] if override[0] != "epochs" else []
    assert_mentions(message(more(finished, *epochs, override)), *parts)


def test_the_warm_up_of_a_continued_run_keeps_its_length(finished):
    new = more(finished, ("epochs", "8"), ("patience", "5"))()
    assert (new.epochs, new.patience, new.warm_up) == (8, 5, 0.125)
    assert new.backbone == make_config().backbone


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.35])
def test_the_warm_up_of_a_continued_run_has_the_same_steps(share):
    """Also where the share of the steps ends in a half, as 0.05 of 2 × 145."""
    for per_epoch in range(1, 200):
        for old in (1, 2, 3, 7):
            expected = schedules.warm_up_steps(share, old * per_epoch)
            for new in (old + 1, 10, 15):
                quotient = share * old / new
                actual = schedules.warm_up_steps(quotient, new * per_epoch)
                assert actual == expected, (per_epoch, old, new)


def test_a_continued_run_needs_a_new_directory(finished, tmp_path):
    new = more(finished, ("epochs", "4"))()
    place = tmp_path / "new"
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    begin = lambda: continuation.begin(finished, place, new)  # noqa: E731
    assert_mentions(message(begin), place, "not empty")
    assert (place / "notes.txt").read_text() == "mine"
    assert [path.name for path in place.iterdir()] == ["notes.txt"]


def test_what_was_made_from_the_model_is_not_copied(finished, tmp_path):
    """Figures of the old model beside the new one would be taken for its own."""
    for name in ("analysis", "figures"):
        (finished / name).mkdir()
        (finished / name / "x.json").write_text("{}")
    (finished / "log.txt").write_text("epoch 1")
    (finished / "notes.txt").write_text("mine")
    new = continuation.configuration(finished, [("epochs", "4")])
    continuation.begin(finished, tmp_path / "copy", new)
    copied = {path.name for path in (tmp_path / "copy").iterdir()}
    assert copied.isdisjoint({"analysis", "figures", "log.txt"})
    assert "notes.txt" in copied


# ---- whole runs


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "two"
    train(make_config(), directory)
    return directory


@pytest.mark.slow
def test_two_epochs_continued_to_four_equal_four_epochs(
    two_epochs, tmp_path, contents_of
):
    """To the bit: parameters, optimiser, best epoch, figures, predictions."""
    train(make_config(("epochs", "4"), ("warm_up", "0.25")), tmp_path / "four")
    source, place = tmp_path / "two", tmp_path / "more"
    shutil.copytree(two_epochs, source)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    config = continuation.configuration(source, [("epochs", "4")])
    continuation.begin(source, place, config)
    assert not (place / layout.RESULTS).exists()
    after = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    assert after == before
    # The source is not needed again, and a second call changes nothing.
    shutil.rmtree(source)
    continuation.begin(source, place, config)
    assert train(config, place).results["epochs"] == 4
    np.testing.assert_equal(contents_of(place), contents_of(tmp_path / "four"))


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.slow
def test_a_warm_start_has_the_encoder_and_heads_of_the_best_epoch(two_epochs, tmp_path):
    best = best_model.load_best(two_epochs)[0]
    config = make_config(
        ("warm_start", str(two_epochs)), ("tasks", "irony,stance"), ("seed", "5")
    )
    given = warm_start.read(config)
    prepared = preparation.prepare(config, given=given)
    params = prepared.run.state.params
    np.testing.assert_equal(leaves(params["encoder"]), leaves(best["encoder"]))
    np.testing.assert_equal(
        leaves(params["heads"]["irony"]), leaves(best["heads"]["irony"])
    )
    assert prepared.origin.endswith("heads of irony. New heads: stance")
    tokenizer = best_model.load_one(two_epochs, "").backbone.tokenizer
    assert prepared.inputs.backbone.tokenizer.to_str() == tokenizer.to_str()
    new = preparation.prepare(config.copy_and_resolve_references(), given=None)
    assert not np.array_equal(leaves(new.run.state.params)[0], leaves(params)[0])

    # The run continues from the same weights only.
    place = tmp_path / "warm"
    train(config, place)
    assert layout.read_config(place).warm_start == str(two_epochs)
    assert train(config, place).results["epochs"] == 2
    other = make_config(("tasks", "irony,stance"), ("seed", "5"))
    (place / layout.RESULTS).unlink()
    assert_mentions(message(lambda: train(other, place)), place, "warm_start")
    with pytest.raises(InputError, match=r"backbone.hidden_size is 32; expected 16"):
        start_from(two_epochs, ("backbone.hidden_size", "32"))()


@pytest.mark.slow
def test_the_same_tasks_and_method_take_the_parameters_of_the_method(two_epochs):
    config = make_config(("warm_start", str(two_epochs)), ("seed", "5"))
    prepared = preparation.prepare(config, given=warm_start.read(config))
    best = best_model.load_best(two_epochs)[0]
    np.testing.assert_equal(leaves(prepared.run.state.params), leaves(best))
    assert prepared.origin.endswith("parameters of mtra")
