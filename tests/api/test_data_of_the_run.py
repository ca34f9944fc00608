"""`Model.evaluate()` without tasks: the data that the run was trained with."""

import json
import shutil

import ml_collections
import pytest
import trained_models
from messages import assert_mentions

import mtra_jax
from mtra_jax import config as configs
from mtra_jax.api import inputs
from mtra_jax.commands import evaluate, predict
from mtra_jax.runs.directory import continuation
from mtra_jax.tasks import BENCHMARKS, OWN, Benchmark

TOML = """
[mood]
files = "mood.tsv"
text = "text"
label = "mood"
shares = { validation = 0.3, test = 0.4 }
"""


@pytest.fixture(scope="module")
def of_file(tmp_path_factory):
    """A model of one task of a file, and that file."""
    folder = tmp_path_factory.mktemp("data_of_the_run")
    _, parts = trained_models.own_tasks()[0]
    rows = [
        f"{text} {index}\t{label}" for index, (text, label) in enumerate(parts["train"])
    ]
    (folder / "mood.tsv").write_text("\n".join(["text\tmood", *rows, ""]))
    path = folder / "tasks.toml"
    path.write_text(TOML)
    changes = {"epochs": 1, "data": trained_models.SETTINGS["data"] | {"limit": 9}}
    model = trained_models.train(folder / "run", str(path), **changes)
    return model, folder


@pytest.mark.slow
@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_figures_are_those_of_the_run(of_file, split, recwarn):
    """Those of nine examples, the run's `data.limit`, out of twelve and sixteen."""
    model, folder = of_file
    whole = model.evaluate(folder / "tasks.toml", split)
    assert whole["mood"] != model.results[split]["mood"]
    for one in (model, mtra_jax.load(folder / "run", cache_dir="")):
        figures = one.evaluate(split=split)
        assert figures["mood"] == pytest.approx(model.results[split]["mood"], abs=1e-3)
    assert not recwarn.list


@pytest.fixture
def data_and_toml(of_file):
    """The two files, which are put back."""
    files = [of_file[1] / name for name in ("mood.tsv", "tasks.toml")]
    texts = [file.read_text() for file in files]
    yield files
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)


@pytest.mark.slow
def test_other_data_are_named(of_file, data_and_toml):
    data, _ = data_and_toml
    data.write_text(data.read_text().replace("0\t", "00\t"))
    with pytest.warns(UserWarning, match=r"not the data of the run: .*mood"):
        of_file[0].evaluate()


@pytest.mark.slow
def test_a_file_that_has_gone_is_named(of_file, data_and_toml):
    _, toml = data_and_toml
    toml.unlink()
    with pytest.raises(mtra_jax.InputError, match=r"tasks.toml' is not here"):
        of_file[0].evaluate()


@pytest.mark.slow
def test_a_file_without_a_task_of_the_run_is_refused(of_file, data_and_toml):
    """Otherwise Avg. would be that of fewer tasks."""
    _, toml = data_and_toml
    toml.write_text(TOML.replace("[mood]", "[moot]"))
    with pytest.raises(mtra_jax.InputError, match=r"tasks.toml: no task 'mood' of the"):
        of_file[0].evaluate()


@pytest.mark.slow
def test_more_epochs_on_a_file_that_has_gone_name_the_key(of_file, data_and_toml):
    _, toml = data_and_toml
    text = toml.read_text()
    toml.unlink()
    values = {"continue_from": of_file[1] / "run", "epochs": 2}
    with pytest.raises(mtra_jax.InputError) as error:
        mtra_jax.train(workdir=of_file[1] / "longer", **values)
    assert_mentions(str(error.value), toml, "data.tasks=FILE")
    assert "--" not in str(error.value)
    moved = toml.with_name("moved.toml")
    moved.write_text(text)
    chosen = continuation.configuration(
        of_file[1] / "run", [("epochs", "2"), ("data.tasks", str(moved))]
    )
    assert chosen.data.tasks == str(moved)


@pytest.mark.slow
def test_predictions_of_a_run_that_has_not_finished_say_so(of_file, tmp_path, capsys):
    (tmp_path / "texts").write_text("the room was lovely\n")
    stopped = shutil.copytree(of_file[1] / "run", tmp_path / "run")
    (stopped / "results.json").unlink()
    said = []
    for workdir in (of_file[1] / "run", stopped):
        files = [f"--workdir={workdir}", f"--input={tmp_path / 'texts'}"]
        predict.main([*files, "--cache_dir="])
        said.append(capsys.readouterr().err)
    assert said == [
        "",
        f"{stopped}: not finished; these are predictions of the best epoch so far\n",
    ]
    with pytest.warns(UserWarning, match="not finished; this is the model of the best"):
        assert mtra_jax.load(stopped, cache_dir="").results is None


@pytest.mark.slow
def test_a_directory_of_benchmarks_is_not_for_own_tasks(of_file):
    model, folder = of_file
    for tasks in (None, folder / "tasks.toml", trained_models.own_tasks()[:1]):
        with pytest.raises(mtra_jax.InputError, match="data_dir is 'other'"):
            model.evaluate(tasks, data_dir="other")


@pytest.mark.slow
def test_another_file_is_scored_whole_by_the_command_too(of_file, tmp_path, capsys):
    model, folder = of_file
    whole = model.evaluate(folder / "tasks.toml")
    flags = ["--workdir", str(folder / "run"), "--cache_dir="]
    evaluate.main([*flags, "--tasks", str(folder / "tasks.toml")])
    output, errors = capsys.readouterr()
    assert json.loads(output)["mood"] == pytest.approx(whole["mood"], abs=1e-3)
    assert "mood 16 examples" in errors
    assert "data.limit" not in errors
    evaluate.main(flags)
    output, errors = capsys.readouterr()
    expected = model.results["test"]["mood"]
    assert json.loads(output)["mood"] == pytest.approx(expected, abs=1e-3)
    assert "data.limit of the run: at most 9 examples" in errors


@pytest.mark.slow
def test_an_export_does_not_name_its_data(of_file, tmp_path):
    """Nor the `data.limit` of the run."""
    exported = mtra_jax.export(of_file[1] / "run", tmp_path / "model")
    with pytest.raises(mtra_jax.InputError, match="an exported model does not name"):
        mtra_jax.load(exported, cache_dir="").evaluate()


@pytest.mark.slow
def test_a_list_in_python_is_not_stored(model):
    with pytest.raises(mtra_jax.InputError, match="does not name its data"):
        model.evaluate()


def of_run(data_dir, name="tweeteval", **data):
    values = ml_collections.ConfigDict(configs.to_dict(configs.default_config()))
    values.data.update(data)
    return inputs.of_run(values, BENCHMARKS[name], data_dir)


def test_a_benchmark_is_read_where_the_run_has_read_it():
    assert of_run("", dir="data") == ("tweeteval", "data")
    assert of_run("other", dir="data") == ("tweeteval", "other")
    assert of_run("", name="synthetic") == ("synthetic", "")


def test_a_benchmark_needs_a_directory():
    with pytest.raises(mtra_jax.InputError) as error:
        inputs.evaluation_data("tweeteval", BENCHMARKS["tweeteval"], "test")
    assert_mentions(str(error.value), "data_dir is empty", "tweeteval", "'hub'")


def test_a_hub_is_asked_only_on_request():
    with pytest.raises(mtra_jax.InputError, match="expected data_dir='hub'"):
        of_run("", dir="hub")
    assert of_run("hub", dir="hub") == ("tweeteval", "hub")


def test_own_tasks_need_a_file():
    config = configs.default_config()
    with pytest.raises(mtra_jax.InputError, match="does not name its data"):
        inputs.of_run(config, Benchmark(OWN, ()))
