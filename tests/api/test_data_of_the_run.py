"""`Model.evaluate()` without tasks: the data that the run was trained with."""

import ml_collections
import pytest
import trained_models

import mtra_jax
from mtra_jax import config as configs
from mtra_jax.api import inputs
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


def test_other_data_are_named(of_file, data_and_toml):
    data, _ = data_and_toml
    data.write_text(data.read_text().replace("0\t", "00\t"))
    with pytest.warns(UserWarning, match=r"not the data of the run: .*mood"):
        of_file[0].evaluate()


def test_a_file_that_has_gone_is_named(of_file, data_and_toml):
    _, toml = data_and_toml
    toml.unlink()
    with pytest.raises(mtra_jax.InputError, match=r"tasks.toml' is not here"):
        of_file[0].evaluate()


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


def test_a_hub_is_asked_only_on_request():
    with pytest.raises(mtra_jax.InputError, match="expected data_dir='hub'"):
        of_run("", dir="hub")
    assert of_run("hub", dir="hub") == ("tweeteval", "hub")


def test_own_tasks_need_a_file():
    config = configs.default_config()
    with pytest.raises(mtra_jax.InputError, match="does not name its data"):
        inputs.of_run(config, Benchmark(OWN, ()))
