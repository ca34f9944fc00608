"""Exports of a trained model: the directory, its card, the command, the hub."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import trained_models
import yaml
from huggingface_hub import errors

import mtra_jax
from mtra_jax.commands import evaluate, export, predict
from mtra_jax.errors import RunError
from mtra_jax.exports import card, publishing, writing
from mtra_jax.runs.directory import layout
from mtra_jax.tasks import Task

TEXTS = ["the room was lovely", "the food was awful, day 3"]
FILES = {
    "README.md",
    "encoder/config.json",
    "encoder/model.safetensors",
    "encoder/tokenizer.json",
    "encoder/tokenizer_config.json",
    "heads.safetensors",
    "inputs.json",
    "mtra_jax.json",
    "results.json",
    "tasks.json",
}


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exports") / "model"
    assert mtra_jax.export(str(run), str(directory)) == directory
    return directory


@pytest.mark.slow
def test_all_files_are_there_and_readable_by_others(exported):
    paths = [path for path in exported.rglob("*") if path.is_file()]
    assert {str(path.relative_to(exported)) for path in paths} == FILES
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o644}
    assert [*exported.parent.iterdir()] == [exported]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("", "to"), "run is ''; expected the path of a directory"),
        (("run", None), "to is None; expected the path of a directory"),
        (
            ("absent", "to"),
            "absent/config.json: no such file; expected a run's directory",
        ),
    ],
)
def test_a_wrong_call_of_export_is_one_line(call, message):
    with pytest.raises(mtra_jax.InputError) as error:
        mtra_jax.export(*call)
    assert str(error.value) == message


def test_an_export_predicts_what_the_run_predicts(exported, model, tmp_path):
    moved = shutil.copytree(exported, tmp_path / "elsewhere")
    again = mtra_jax.load(moved, cache_dir="")
    assert again.predict(TEXTS) == model.predict(TEXTS)
    assert (again.encode(TEXTS) == model.encode(TEXTS)).all()
    assert again.results == model.results
    assert again.tasks == model.tasks
    assert again.evaluate(trained_models.own_tasks()) == model.evaluate(
        trained_models.own_tasks()
    )


@pytest.mark.parametrize("flags", [[], ["--task=stars"]])
def test_the_command_predicts_with_an_export(flags, exported, model, tmp_path, capsys):
    (tmp_path / "texts").write_text("".join(f"{text}\n" for text in TEXTS))
    files = [f"--workdir={exported}", f"--input={tmp_path / 'texts'}", "--cache_dir="]
    predict.main([*files, *flags])
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    stars = [one.values for one in model.predict(TEXTS, "stars")]
    assert [r.get("stars", r)["values"] for r in records] == [
        pytest.approx(values, abs=1e-5) for values in stars
    ]
    assert all(("mood" in record) == (not flags) for record in records)
    with pytest.raises(mtra_jax.InputError, match="unknown task 'moot' of this model"):
        predict.main([*files, "--task=moot"])


def write_tasks(folder, names=("mood", "topics", "stars", "agree")):
    """A TOML file of the tasks `names` with their test data alone."""
    toml = ""
    for task, parts in trained_models.own_tasks():
        if task.name not in names:
            continue
        rows = [{"text": text, task.name: label} for text, label in parts["test"]]
        if task.is_pair:
            rows = [
                {**row, **dict(zip("ab", row["text"], strict=True))} for row in rows
            ]
        path = folder / f"{task.name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        columns = '["a", "b"]' if task.is_pair else '"text"'
        toml += (
            f'[{task.name}]\nkind = "{task.kind}"\ntext = {columns}\nlabel = "{task.name}"\n'
            f'files = {{ train = "none.jsonl", test = "{path.name}" }}\n'
        )
    path = folder / "tasks.toml"
    path.write_text(toml)
    return str(path)


def test_the_command_evaluates_an_export(exported, model, tmp_path, capsys):
    flags = ["--workdir", str(exported), "--cache_dir="]
    evaluate.main([*flags, "--tasks", write_tasks(tmp_path)])
    output, errors = capsys.readouterr()
    for name, expected in model.results["test"].items():
        assert json.loads(output)[name] == pytest.approx(expected, abs=1e-3)
    assert "not the data" not in errors
    assert "not scored" not in errors
    with pytest.raises(mtra_jax.InputError, match="expected --tasks FILE"):
        evaluate.main(flags)


def test_a_file_of_some_tasks_is_scored_and_the_others_are_named(
    exported, model, tmp_path, capsys
):
    flags = ["--workdir", str(exported), "--cache_dir=", "--tasks"]
    path = write_tasks(tmp_path, ("stars", "topics"))
    evaluate.main([*flags, path])
    output, errors = capsys.readouterr()
    figures = json.loads(output)
    assert list(figures) == ["topics", "stars", "avg"]
    for name in ("topics", "stars"):
        assert figures[name] == pytest.approx(model.results["test"][name], abs=1e-3)
    assert f"not scored, as {path} lacks them: mood, agree\n" in errors
    other = tmp_path / "other.toml"
    other.write_text('[sun]\nfiles = { test = "sun.csv" }\n')
    with pytest.raises(mtra_jax.InputError, match=f"{other}: sun: the model has none"):
        evaluate.main([*flags, str(other)])


def test_a_single_labelled_file_is_scored_in_part_with_a_note(
    exported, model, tmp_path, capsys
):
    """Unless it is the data of the run."""
    write_tasks(tmp_path, ["mood"])
    path = tmp_path / "tasks.toml"
    path.write_text('[mood]\nfiles = "mood.jsonl"\nlabel = "mood"\n')
    evaluate.main([f"--workdir={exported}", "--cache_dir=", f"--tasks={path}"])
    errors = capsys.readouterr().err
    note = 'a share of 0.1 of "mood.jsonl" was split off for test; files = {'
    assert "mood 1 examples of the test split\n" in errors
    assert note in errors
    assert "\nmood: no test example of " in errors
    with pytest.warns(UserWarning, match=note):
        model.evaluate(str(path))
    path.write_text('[mood]\nfiles = { test = "mood.jsonl" }\nlabel = "mood"\n')
    evaluate.main([f"--workdir={exported}", "--cache_dir=", f"--tasks={path}"])
    errors = capsys.readouterr().err
    assert "mood 14 examples of the test split\n" in errors
    assert "no test example of" not in errors
    assert "split off" not in errors


def test_no_path_of_this_machine_is_in_an_export(exported, run):
    for path in exported.rglob("*.*"):
        assert str(run.parent).encode() not in path.read_bytes()


def test_the_encoder_is_not_a_classifier(exported):
    config = json.loads((exported / "encoder/config.json").read_text())
    assert config["architectures"] == ["BertModel"]
    assert not config.keys() & {"num_labels", "id2label", "problem_type"}


def test_the_lines_for_sentence_transformers_give_z(exported, model):
    """Texts beyond `data.max_length`, of 32 tokens, are cut alike."""
    card = (exported / "README.md").read_text()
    start = card.index("from sentence_transformers import")
    lines = card[start : card.index("```", start)]
    assert 'Transformer("DIRECTORY/encoder", max_seq_length=32)' in lines
    assert 'Pooling(16, pooling_mode="cls")' in lines
    pytest.importorskip("sentence_transformers", reason="the package is not installed")
    names = {}
    exec(lines.replace("DIRECTORY", str(exported)), names)
    texts = [*TEXTS, "the room was good " * 20]
    z = names["model"].encode(texts)
    np.testing.assert_allclose(z, model.encode(texts), atol=1e-5)


def test_the_card_has_data_figures_and_metadata(exported, model):
    card = (exported / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["license"] == "other"
    assert metadata["license_name"] == "not-stated"
    assert metadata["pipeline_tag"] == "text-classification"
    assert "macro_f1" in metadata["metrics"]
    for task in model.tasks:
        counts = model.results["examples"][task.name]
        row = next(line for line in body.splitlines() if f"`{task.name}`" in line)
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[2] == ", ".join(task.labels)
        assert cells[3:] == [str(n) for n in counts.values()] == ["40", "12", "14"]
    for row in ("majority", "test"):
        assert f"{model.results[row]['avg']:.2f}" in body
    for call in (
        'model.predict(["a text"], task="mood")',
        'model.predict([("first text", "second text")], task="agree")',
        "predicted from its threshold in `tasks.json`",
    ):
        assert call in body
    for expected in ("## Limits", "## Licence", "`epochs`", '`"ew"`', "jax 0."):
        assert expected in body


@pytest.mark.slow
@pytest.mark.torch
def test_the_card_has_weights_that_differ_from_those_of_the_run():
    """Only of classification, which alone has them."""

    def rows(run_weights, run_smoothing, *own):
        kinds = ["classification"] * len(own) + ["multi_label"]
        tasks = [
            Task(f"t{n}", "T", kind, ("a", "b"), (), class_weights=w, label_smoothing=s)
            for n, (kind, (w, s)) in enumerate(
                zip(kinds, [*own, ((), 0.0)], strict=True)
            )
        ]
        keys = {"class_weights": run_weights, "label_smoothing": run_smoothing}
        about = {"method": {"name": "ew"}, "hyper_parameters": keys, "versions": {}}
        facts = SimpleNamespace(
            about=about,
            benchmark=SimpleNamespace(tasks=tasks),
            results={"steps": 1, "train_seconds": 1.0},
        )
        return [x for x in card._training(facts).splitlines() if "` of `" in x]

    assert rows("none", 0.0, ((), 0.0)) == []
    assert rows("balanced", 0.1, ((2.0, 0.5), 0.1), ((), 0.0)) == [
        "| `class_weights` of `t0` | `[2.0, 0.5]` |",
        '| `class_weights` of `t1` | `"none"` |',
        "| `label_smoothing` of `t1` | `0.0` |",
    ]


def test_the_lines_in_the_card_predict_the_same(exported, model, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    blocks = re.findall(
        r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL
    )
    (lines,) = (block for block in blocks if "torch" in block)
    monkeypatch.chdir(exported)
    names = {}
    exec(lines, names)
    results = names["predict"](TEXTS)
    for task in model.tasks[:3]:
        for row, one in zip(
            results[task.name], model.predict(TEXTS, task.name), strict=True
        ):
            expected = one.values or one.probabilities
            assert row.tolist() == pytest.approx([*expected.values()], abs=1e-4)
    pairs = [(text, "it was good") for text in TEXTS]
    results = names["predict"](TEXTS, [second for _, second in pairs])
    for row, one in zip(results["agree"], model.predict(pairs, "agree"), strict=True):
        assert row.tolist() == pytest.approx([*one.probabilities.values()], abs=1e-4)


def test_a_directory_that_is_there_stays(exported, run, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(mtra_jax.InputError, match="expected the name of a new"):
            writing.export(run, taken, force=force)
    assert (taken / "notes.txt").read_text() == "mine"
    with pytest.raises(mtra_jax.InputError, match="--force replaces it"):
        writing.export(run, exported)


def test_force_replaces_an_export(exported, run, tmp_path):
    copy = shutil.copytree(exported, tmp_path / "copy")
    (copy / "encoder/old.txt").write_text("old")
    writing.export(run, copy, force=True, licence="mit")
    assert not (copy / "encoder/old.txt").exists()
    assert 'license: "mit"' in (copy / "README.md").read_text()
    assert [*tmp_path.iterdir()] == [copy]


def test_force_deletes_nothing_that_is_not_of_an_export(exported, run, tmp_path):
    copy = shutil.copytree(exported, tmp_path / "copy")
    (copy / ".git").mkdir()
    (copy / ".git/config").write_text("mine")
    with pytest.raises(mtra_jax.InputError, match=r"\.git: --force would delete it"):
        writing.export(run, copy, force=True)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mtra_jax.json").write_text("mine")
    with pytest.raises(mtra_jax.InputError, match="no such file; expected an exported"):
        writing.export(run, foreign, force=True)
    assert (copy / ".git/config").read_text() == "mine"
    assert (foreign / "mtra_jax.json").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"copy", "foreign"}


def test_the_empty_current_directory_can_be_the_target(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writing.export(run, Path())
    assert (tmp_path / "mtra_jax.json").is_file()


@pytest.mark.parametrize("content", [None, "[]", "{"])
def test_results_that_are_missing_or_damaged_are_named(exported, tmp_path, content):
    copy = shutil.copytree(exported, tmp_path / "copy")
    (copy / "results.json").unlink()
    if content is not None:
        (copy / "results.json").write_text(content)
    with pytest.raises(mtra_jax.InputError, match=r"results\.json: ") as error:
        mtra_jax.load(copy, cache_dir="")
    assert "\n" not in str(error.value)


def test_a_failed_export_leaves_nothing(run, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device", "README.md")

    monkeypatch.setattr(writing.card, "text", fail)
    with pytest.raises(OSError, match="No space"):
        writing.export(run, tmp_path / "model")
    assert [*tmp_path.iterdir()] == []


def test_an_unfinished_run_is_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / layout.RESULTS).unlink()
    with pytest.raises(mtra_jax.InputError, match="expected a finished run"):
        writing.export(copy, tmp_path / "model")


def test_runs_of_single_tasks_are_exported_one_by_one(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    config = json.loads((copy / layout.CONFIG).read_text())
    config["method"] = {"name": "stl"}
    (copy / layout.CONFIG).write_text(json.dumps(config))
    with pytest.raises(mtra_jax.InputError, match=r"one model per task; .*run/mood"):
        writing.export(copy, tmp_path / "model")


class Hub:
    """In place of `HfApi`: a local directory."""

    def __init__(self, root, fault=None):
        self.root, self.fault = root, fault

    def create_repo(self, repository, *, private, exist_ok):
        assert private
        assert exist_ok
        if self.fault is not None:
            raise self.fault

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, self.root / repo_id)


def test_the_command_exports_and_pushes(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(tmp_path / "hub"))
    to = tmp_path / "model"
    export.main([str(run), "--to", str(to), "--push_to_hub", "me/model"])
    assert capsys.readouterr().out.splitlines() == [
        str(to),
        "https://huggingface.co/me/model",
    ]
    pushed = tmp_path / "hub/me/model"
    assert {
        str(p.relative_to(pushed)) for p in pushed.rglob("*") if p.is_file()
    } == FILES


def test_nothing_is_pushed_unasked(run, tmp_path, monkeypatch):
    def fail(*_):
        raise AssertionError("the hub")

    monkeypatch.setattr(publishing, "push", fail)
    export.main([str(run), "--to", str(tmp_path / "model")])


class Refused(Exception):
    def __init__(self, status):
        super().__init__("refused\nby the server")
        self.response = type("Response", (), {"status_code": status})()


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (
            errors.LocalTokenNotFoundError("no"),
            mtra_jax.InputError,
            "not logged in",
        ),
        (
            errors.OfflineModeIsEnabled("no"),
            mtra_jax.InputError,
            "HF_HUB_OFFLINE",
        ),
        (Refused(403), mtra_jax.InputError, "status 403"),
        (Refused(500), RunError, "refused by the server; .* is complete"),
        (ConnectionError("no\nroute"), RunError, "no route; .* is complete"),
    ],
)
def test_a_failed_push_is_one_line(fault, kind, message, exported, tmp_path):
    with pytest.raises(kind, match=message) as error:
        publishing.push(exported, "me/model", Hub(tmp_path, fault))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model", "a/b/c", "../x", ""])
def test_an_impossible_repository_is_refused_before_anything_is_written(
    name, run, tmp_path
):
    with pytest.raises(mtra_jax.InputError, match="expected ORGANISATION/NAME"):
        export.main([str(run), "--to", str(tmp_path / "m"), "--push_to_hub", name])
    assert not (tmp_path / "m").exists()
