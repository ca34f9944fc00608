"""Runs whose data, tokenizer or weights change; runs that are moved or scored.

They run in this process, on two made-up tasks in TweetEval's file format.
"""

import itertools
import json
import random
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from tiers import NIGHTLY_ONLY

from mtra_jax import config as configs
from mtra_jax.data.built_in import sources
from mtra_jax.errors import InputError
from mtra_jax.models import pretrained
from mtra_jax.runs.directory import best_model, inputs_json, layout
from mtra_jax.runs.sweeps import sweep
from mtra_jax.runs.trained import prediction, scoring
from mtra_jax.runs.training import interfaces, loop
from mtra_jax.runs.training import run as training
from mtra_jax.runs.trials import run_specs
from mtra_jax.tasks import TWEETEVAL

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow
EW = f"{ROOT}/configs/baselines.py:ew_new_tweeteval"
TASKS = {"emotion": 4, "irony": 2}
SMALL = {
    "tasks": "emotion,irony",
    "epochs": "2",
    "batch_size": "8",
    "learning_rate": "0.01",
    "devices": "1",
    "data.cache_dir": "",
    "data.max_length": "24",
    "backbone.vocab_size": "200",
    "backbone.hidden_size": "16",
    "backbone.intermediate_size": "32",
    "backbone.num_hidden_layers": "1",
}


def write_data(root, num_train=16, words="abcdefgh", shift=0):
    """Writes texts of made-up words; `shift` changes only the labels."""
    rng = random.Random(0)
    for task, classes in TASKS.items():
        folder = root / "tweeteval/datasets" / task
        folder.mkdir(parents=True, exist_ok=True)
        for part, size in (("train", num_train), ("val", 8), ("test", 8)):
            labels = [(i + shift) % classes for i in range(size)]
            texts = [
                " ".join(rng.choice(words) * rng.randint(1, 3) for _ in range(5))
                + f" w{i % classes}"
                for i in range(size)
            ]
            (folder / f"{part}_text.txt").write_text("".join(f"{t} \n" for t in texts))
            lines = "".join(f"{label}\n" for label in labels)
            (folder / f"{part}_labels.txt").write_text(lines)
    return root


def make_config(data, preset=EW, **overrides):
    changes = {key.replace("__", "."): text for key, text in overrides.items()}
    values = {**SMALL, "data.dir": str(data), **changes}
    return configs.load(preset, list(values.items()))


def watch(stop_at=None):
    return lambda prepared, at: interfaces.Watch(
        lambda *_: None,
        lambda *_: None,
        should_stop=lambda step: stop_at is not None and step == stop_at,
    )


def train(data, place, stop_at=None, **overrides):
    return training.train(make_config(data, **overrides), place, watch(stop_at))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "finished"
    train(data, place)
    return place


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    """A run that was saved after the first of the four steps of an epoch."""
    place = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(loop.Stopped):
        train(data, place, stop_at=1)
    return place


@pytest.fixture
def copy(tmp_path):
    def make(place):
        return Path(shutil.copytree(place, tmp_path / "copy"))

    return make


def remove_last_line(root, task, part):
    for kind in ("text", "labels"):
        path = root / f"tweeteval/datasets/{task}/{part}_{kind}.txt"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def edit_text(root, task, part):
    path = root / f"tweeteval/datasets/{task}/{part}_text.txt"
    path.write_text("zz" + path.read_text())


def edit_label(root, task, part):
    path = root / f"tweeteval/datasets/{task}/{part}_labels.txt"
    path.write_text(("1" if path.read_text()[0] == "0" else "0") + path.read_text()[1:])


CHANGES = {
    "fewer": (remove_last_line, "examples here"),
    "text": (edit_text, "other texts or labels"),
    "label": (edit_label, "other texts or labels"),
}


PARTS = ("train", "val", "test")


def marks_of(state, part, change):
    """Parts and changes are compared by one function: a stopped run has three pairs."""
    is_other = state == "stopped" and (PARTS.index(part) + [*CHANGES].index(change)) % 3
    return NIGHTLY_ONLY if is_other else []


@pytest.mark.parametrize(
    ("state", "part", "change"),
    [
        pytest.param(*case, marks=marks_of(*case))
        for case in itertools.product(("stopped", "finished"), PARTS, CHANGES)
    ],
)
def test_a_changed_split_is_named(state, part, change, data, copy, request, tmp_path):
    place = copy(request.getfixturevalue(state))
    other = shutil.copytree(data, tmp_path / "other")
    edit, message = CHANGES[change]
    edit(other, "irony", part)
    split = {"val": "validation"}.get(part, part)
    with pytest.raises(InputError, match=f"irony, {split}: .*{message}"):
        train(other, place)


def test_white_space_around_texts_does_not_count_as_a_change(data, finished, tmp_path):
    other = shutil.copytree(data, tmp_path / "other")
    path = other / "tweeteval/datasets/irony/test_text.txt"
    path.write_text(path.read_text().replace(" \n", "\n"))
    train(other, finished)


def test_a_moved_directory_with_the_same_content_is_accepted(
    data, stopped, finished, copy, tmp_path
):
    moved, place = shutil.copytree(data, tmp_path / "moved"), copy(stopped)
    continued = train(moved, place).results
    undisturbed = layout.read_results(finished)
    for results in (continued, undisturbed):
        results.pop("train_seconds")
        results.pop("scoring_seconds")
    assert continued == undisturbed
    assert train(moved, finished).results["test"] == undisturbed["test"]


def test_tasks_in_another_order_are_the_same_run(data, finished):
    results = train(data, finished, tasks="irony,emotion").results
    assert results == layout.read_results(finished)


def test_a_finished_run_without_its_data_is_refused(finished, tmp_path):
    with pytest.raises(InputError, match="nowhere: no such directory"):
        train(tmp_path / "nowhere", finished)


def test_without_a_checkpoint_all_files_are_written_again(
    data, tmp_path, monkeypatch, finished
):
    """A run is killed before its first checkpoint, and continues with other texts."""

    def killed(*_):
        raise KeyboardInterrupt

    place = tmp_path / "run"
    wrong = write_data(tmp_path / "wrong", words="stuvwxyz", num_train=12)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            train(wrong, place)
    assert not layout.has_begun(place)
    old = inputs_json.read(place)
    results = train(data, place).results
    assert inputs_json.read(place) == inputs_json.read(finished) != old
    expected = layout.read_results(finished)
    assert results["test"] == expected["test"]
    # The tokenizer beside the checkpoints is the second one.
    assert scoring.evaluate_run(place, "test").summary == results["test"]
    for name in ("tokenizer.json", "config.json"):
        written = (place / "encoder" / name).read_bytes()
        assert written == (finished / "encoder" / name).read_bytes()


def test_a_changed_tokenizer_beside_the_checkpoints_is_refused(finished, copy):
    place = copy(finished)
    path = place / "encoder/tokenizer.json"
    values = json.loads(path.read_text())
    vocabulary = values["model"]["vocab"]
    names = list(vocabulary)
    vocabulary[names[-1]], vocabulary[names[-2]] = (
        vocabulary[names[-2]],
        vocabulary[names[-1]],
    )
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="encoder: the tokenizer is not the one"):
        best_model.load_one(place)


def test_a_changed_configuration_beside_the_checkpoints_is_refused(finished, copy):
    place = copy(finished)
    path = place / "encoder/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_act": "relu"}))
    with pytest.raises(InputError, match="encoder: the configuration is not the one"):
        best_model.load_one(place)


def test_a_new_encoder_may_differ_in_its_last_bits(data, stopped, copy, monkeypatch):
    """Another processor computes other last bits; the checkpoint has the weights."""
    place, init = copy(stopped), pretrained.init_encoder
    monkeypatch.setattr(
        pretrained,
        "init_encoder",
        lambda *of: jax.tree.map(lambda x: np.nextafter(x, np.inf), init(*of)),
    )
    train(data, place)


def test_unknown_fingerprints_of_an_encoder_are_ignored(data, finished, copy):
    place = copy(finished)
    path = place / "inputs.json"
    values = json.loads(path.read_text())
    values["encoder"]["more"] = "a" * 64
    path.write_text(json.dumps(values))
    made_from = inputs_json.read(place)
    inputs_json.check_encoder(place, made_from, inputs_json.read(finished).encoder)


@pytest.mark.parametrize("state", ["stopped", "finished"])
def test_another_encoder_is_named(state, data, tmp_path, request, copy):
    """`backbone.path` may change, the content of the encoder may not."""
    base = request.getfixturevalue("finished")
    encoder = shutil.copytree(base / "encoder", tmp_path / "encoder")
    place = tmp_path / "run"
    overrides = {"backbone__path": str(encoder)}
    if state == "stopped":
        with pytest.raises(loop.Stopped):
            train(data, place, stop_at=1, **overrides)
    else:
        train(data, place, **overrides)
    moved = shutil.copytree(encoder, tmp_path / "moved")
    config, params = pretrained.load_encoder(moved)
    params["embeddings"]["word_embeddings"]["embedding"][5, 0] += 1
    pretrained.save_encoder(moved, config, params)
    with pytest.raises(InputError, match="the weights of the encoder changed"):
        train(data, place, backbone__path=str(moved))
    shutil.rmtree(moved)
    shutil.move(encoder, moved)
    train(data, place, backbone__path=str(moved))


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'{"data": {}, "encoder": {}}',
        b'{"data": {"irony": {"train": {"examples": "8", "sha256": ""}}}, "encoder": {}}',
    ],
)
def test_a_damaged_record_of_the_inputs_is_one_line(data, finished, copy, content):
    place = copy(finished)
    (place / "inputs.json").write_bytes(content)
    for use in (lambda: train(data, place), lambda: best_model.load_one(place)):
        with pytest.raises(InputError, match=r"inputs\.json: damaged") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_run_without_a_record_of_its_inputs_is_not_continued(data, stopped, copy):
    place = copy(stopped)
    (place / "inputs.json").unlink()
    with pytest.raises(InputError, match=r"inputs\.json: no such file"):
        train(data, place)


@pytest.mark.parametrize("name", ["results.json", "checkpoints"])
def test_parts_of_a_run_without_config_json_are_refused(name, data, finished, copy):
    place = copy(finished)
    for path in place.iterdir():
        if path.name != name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=r"of a run without its config\.json"):
        train(data, place)


def test_a_prepared_run_finishes_without_the_data_files(data, tmp_path, finished):
    moved = Path(shutil.copytree(data, tmp_path / "moved"))

    def remove(prepared, at):
        shutil.rmtree(moved)
        return interfaces.Watch(lambda *_: None, lambda *_: None)

    outcome = training.train(make_config(moved), tmp_path / "run", remove)
    assert outcome.results["test"] == layout.read_results(finished)["test"]
    assert (tmp_path / "run/predictions/irony.txt").exists()


def test_each_run_of_a_single_task_checks_its_data(data, tmp_path):
    preset = f"{ROOT}/configs/baselines.py:stl_new_tweeteval"
    place, options = tmp_path / "run", {"preset": preset, "epochs": "1"}
    train(data, place, **options)
    other = Path(shutil.copytree(data, tmp_path / "other"))
    edit_text(other, "irony", "train")
    with pytest.raises(InputError, match="run/irony: irony, train: "):
        train(other, place, **options)


def test_a_sweep_does_not_mix_runs_on_other_data(data, tmp_path):
    overrides = [(k, v) for k, v in SMALL.items() if k != "epochs"] + [("epochs", "1")]
    chosen = run_specs.Sweep(run_specs.grid(["ew"], "new_tweeteval", (0,)))

    def plan(root):
        values = [*overrides, ("data.dir", str(root))]
        return sweep.make_plan(chosen, tmp_path / "sweep", values)

    assert sweep.run_all(plan(data), lambda line: None) == []
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    assert plan(moved).count("finished") == 1
    edit_label(moved, "emotion", "val")
    with pytest.raises(InputError, match="emotion, validation: "):
        plan(moved)


# ---- scoring


@pytest.mark.parametrize("split", ["validation", "test"])
def test_scoring_reads_one_split_and_repeats_its_figures(
    data, finished, split, tmp_path
):
    alone = Path(shutil.copytree(data, tmp_path / "alone"))
    part = {"validation": "val"}.get(split, split)
    for path in alone.rglob("*.txt"):
        if not path.name.startswith(part):
            path.unlink()
    score = scoring.evaluate_run(finished, split, scoring.Options(data_dir=str(alone)))
    assert score.summary == layout.read_results(finished)[split]
    assert score.difference is None


def test_scoring_other_data_reports_the_difference(data, finished, tmp_path):
    other = Path(shutil.copytree(data, tmp_path / "other"))
    edit_text(other, "emotion", "test")
    score = scoring.evaluate_run(finished, "test", scoring.Options(data_dir=str(other)))
    assert "emotion, test: " in score.difference


@pytest.mark.parametrize(
    ("num_devices", "batch_size"), [(3, None), (0, None), (1, 5), (8, 1), (2, 1000)]
)
def test_scoring_takes_any_number_of_devices_and_texts(
    finished, num_devices, batch_size
):
    """The batch of training, 8, is not a multiple of three devices."""
    options = scoring.Options(num_devices=num_devices, batch_size=batch_size)
    score = scoring.evaluate_run(finished, "test", options)
    assert score.summary == layout.read_results(finished)["test"]


def test_prediction_reads_raw_texts_as_training_did(data, finished):
    """Published lines end with a blank; all white space around texts is ignored."""
    lines = (data / "tweeteval/datasets/emotion/test_text.txt").read_text().split("\n")
    published = lines[:-1]
    benchmark = TWEETEVAL.select(make_config(data).tasks)
    examples = sources.load_benchmark(benchmark, data, ["test"])
    predictor = prediction.Predictor([best_model.load_one(finished)])

    def predict(texts):
        return predictor(texts)["emotion"]

    expected = predict(examples["emotion"]["test"].texts)
    np.testing.assert_array_equal(predict(published), expected)
    np.testing.assert_array_equal(predict([f"\t {x}\r\n" for x in published]), expected)
    labels = (finished / "predictions/emotion.txt").read_text().split()
    assert expected.argmax(axis=1).tolist() == list(map(int, labels))
