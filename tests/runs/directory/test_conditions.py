"""The record of the settings of a run's figures in its directory."""

import pytest

from mtra_jax import config as configs
from mtra_jax.runs.directory import conditions, inputs_json, layout

PRESET = "configs/baselines.py:ew_tiny_synthetic"


@pytest.fixture
def make_run(tmp_path):
    def make(
        name,
        part="",
        weights="b",
        tokenizer="c",
        examples="d",
        training="e",
        **overrides,
    ):
        directory = tmp_path / name
        (directory / part).mkdir(parents=True)
        changes = [(key.replace("__", "."), text) for key, text in overrides.items()]
        layout.write_config(configs.load(PRESET, changes), directory)
        parts = {"tokenizer": tokenizer, "configuration": "a", "weights": weights}
        data = {
            "train": {"examples": 9, "sha256": training * 64},
            "test": {"examples": 3, "sha256": examples * 64},
        }
        inputs = inputs_json.Fingerprints(
            {"irony": data}, {key: text * 64 for key, text in parts.items()}
        )
        inputs_json.write(directory / part, inputs)
        return directory

    return make


def results(used=9):
    return {
        "test": {"irony": {"f1": 1.0}, "avg": 1.0},
        "examples": {"irony": {"train": used}},
    }


def settings(directory, used=9):
    return conditions.settings(directory, results(used))


def test_the_values_of_the_preset_stand_among_the_settings(make_run):
    plain, same = make_run("a"), make_run("b", epochs="5", devices="1", seed="7")
    other = make_run("c", epochs="9")
    assert settings(plain)["epochs"] == 5
    assert settings(plain) == settings(same)
    assert settings(other) == settings(plain) | {"epochs": 9}
    assert "seed" not in settings(plain)


def test_the_encoder_counts_by_its_weights_not_by_its_name(make_run):
    plain = settings(make_run("a"))
    # A tokenizer may be made of training texts that another seed draws.
    assert settings(make_run("b", tokenizer="e")) == plain
    assert settings(make_run("c", backbone__path="/moved")) == plain
    assert settings(make_run("d", weights="e"))["encoder"] != plain["encoder"]
    assert settings(make_run("e", part="irony")) == plain  # a model for each task


def test_a_new_encoder_counts_by_its_sizes(make_run):
    """Its vocabulary depends on the training texts, which a seed may draw."""
    new = {"backbone__path": "", "backbone__hidden_size": "64"}
    plain = settings(make_run("a", **new))
    assert plain["encoder"] == "new"
    assert settings(make_run("b", weights="e", **new)) == plain
    wider = settings(make_run("c", backbone__path="", backbone__hidden_size="128"))
    assert wider == plain | {"backbone.hidden_size": 128}


def test_the_training_data_count_by_content_and_by_how_many_are_used(make_run):
    plain = settings(make_run("a"))
    assert settings(make_run("b", examples="f")) == plain  # of the test set
    # A limit that cuts nothing leaves the data as they are, but for its own key.
    limited = settings(make_run("c", data__limit="100"))
    assert limited == plain | {"data.limit": 100}
    others = [settings(make_run("d", training="f")), settings(make_run("e"), used=8)]
    hashes = {own["training data"] for own in (plain, *others)}
    assert len(hashes) == 3


def test_hashes_that_are_not_known_are_left_out(make_run):
    directory = make_run("a")
    before = settings(directory)
    (directory / inputs_json.FILE).unlink()
    after = settings(directory)
    assert before.keys() - after.keys() == {"encoder", "training data"}
    assert after.items() <= before.items()


def test_a_line_has_the_hashes_of_the_examples_of_each_split(make_run):
    line = conditions.of(make_run("a"), results())
    assert line["contents"] == {"test": {"irony": "d" * conditions.HASH_DIGITS}}
    assert line["settings"] == settings(make_run("b"))


def test_a_prompted_model_has_no_settings(tmp_path):
    assert conditions.of(tmp_path, {"test": {}}) == {"settings": {}}
