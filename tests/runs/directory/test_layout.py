"""Refusals of directories: no run, another configuration, no finished epoch."""

import json

import pytest
from messages import assert_mentions

import mtra_jax
from mtra_jax import config as configs
from mtra_jax.errors import InputError
from mtra_jax.runs.directory import best_model, layout
from mtra_jax.runs.training import warm_start

PRESET = "configs/mtra.py:new_synthetic"


def message(action):
    with pytest.raises(InputError) as error:
        action()
    return str(error.value)


def test_an_encoder_in_place_of_a_run_is_named(tmp_path):
    content = {"model_type": "bert", "hidden_size": 8}
    (tmp_path / layout.CONFIG).write_text(json.dumps(content))
    expected = f"{tmp_path}: an encoder, not a run or an exported model"
    assert message(lambda: mtra_jax.load(tmp_path)) == expected
    assert message(lambda: layout.read_config(tmp_path)) == expected
    config = configs.load(PRESET, [("warm_start", str(tmp_path))])
    assert message(lambda: warm_start.read(config)) == expected


@pytest.mark.parametrize("directory", ["absent", "empty"])
@pytest.mark.parametrize("has_finished", [True, False])
def test_a_run_without_a_checkpoint_is_refused(directory, has_finished, tmp_path):
    place = tmp_path / layout.CHECKPOINTS
    if directory == "empty":
        place.mkdir()
    if has_finished:
        (tmp_path / layout.RESULTS).write_text('{"best_epoch": 1}')
    fault = "no such directory" if directory == "absent" else "no checkpoint"
    hint = "" if has_finished else "; the run has not finished an epoch"
    text = message(lambda: best_model.load_best(tmp_path))
    assert text == f"{place}: {fault}{hint}"


def test_all_values_that_differ_are_named(tmp_path):
    layout.write_config(configs.load(PRESET), tmp_path)
    changes = [("seed", "4"), ("batch_size", "7"), ("epochs", "5")]
    text = message(lambda: layout.check(configs.load(PRESET, changes), tmp_path))
    there = configs.load(PRESET).batch_size
    assert_mentions(text, "batch_size", there, 7, "epochs", "seed", "--workdir")
    assert "--continue_from" not in text


@pytest.mark.parametrize(
    ("key", "there", "here", "has_hint"),
    [("epochs", 9, 4, True), ("patience", 3, 4, True), ("seed", 0, 4, False)],
)
def test_more_epochs_are_answered_with_the_flag_for_them(
    key, there, here, has_hint, tmp_path
):
    layout.write_config(configs.load(PRESET), tmp_path)
    changed = configs.load(PRESET, [(key, str(here))])
    expected = (
        f"{tmp_path / layout.CONFIG}: {key} is {there} there and {here} here; "
        "expected the same configuration, or a new --workdir"
    )
    hint = (
        f"; --continue_from {tmp_path} (in Python continue_from=) trains a finished run for "
        "more epochs, in a new directory"
    )
    text = message(lambda: layout.check(changed, tmp_path))
    assert text == expected + (hint if has_hint else "")
