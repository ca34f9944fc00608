"""Training and loading in Python: configuration, interrupted runs, wrong calls."""

import json
import subprocess
import sys

import pytest
import trained_models

import mtra_jax
from mtra_jax.api import training
from mtra_jax.reports import bars
from mtra_jax.runs import workdir


def test_the_module_of_the_name_can_be_called():
    """`mtra_jax.train` is a package too."""
    import mtra_jax.train.devices

    with pytest.raises(mtra_jax.InputError, match="no tasks"):
        mtra_jax.train(workdir="w")


def test_overrides_are_nested_or_dotted():
    config, data = training.configuration(
        None,
        "synthetic",
        "",
        "uw",
        {
            "epochs": 3,
            "data": {"limit": 100},
            "data.max_length": 64,
            "tasks": ["irony"],
        },
    )
    assert data is None
    assert (config.benchmark, config.method.name, config.tasks) == (
        "synthetic",
        "uw",
        ("irony",),
    )
    assert (config.epochs, config.data.limit, config.data.max_length) == (3, 100, 64)
    assert config.sampling == "joint"


def test_lists_of_tasks_start_from_the_values_of_own_tasks():
    config, data = training.configuration(
        None, trained_models.own_tasks(), "", None, {}
    )
    assert (config.benchmark, config.method.name) == ("own", "mtra")
    assert config.data.standardize is True
    assert config.heads.start == "base_rate"
    assert (
        config.tasks
        == data.benchmark.task_names
        == ("mood", "topics", "stars", "agree")
    )


def test_a_list_without_test_examples_gives_a_share_of_the_training_ones():
    (task, parts), *_ = trained_models.own_tasks()
    _, data = training.configuration(
        None, [(task, {"train": parts["train"]})], "", None, {}
    )
    sizes = {split: len(part.texts) for split, part in data.splits["mood"].items()}
    assert sizes == {"train": 32, "validation": 4, "test": 4}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"tasks": None}, "no tasks; expected tasks="),
        ({"backbone": None}, "no backbone; expected backbone="),
        ({"tasks": "tweetevel"}, "did you mean tweeteval"),
        ({"tasks": "none.toml"}, "no such file"),
        ({"method": "mtr"}, "unknown method 'mtr'; did you mean mtra"),
        ({"epoch": 3}, "^unknown key epoch; did you mean epochs"),
        ({"epochs": "many"}, "^epochs is 'many'; expected a whole number"),
        ({"epochs": 0}, "epochs is 0; expected at least 1"),
        ({"tasks": [("mood", {})]}, r"tasks\[0\] is"),
        (
            {
                "tasks": [
                    (
                        mtra_jax.Task("a", "A", "regression", ("a",), ("pearsn",)),
                        {"train": [(str(n), n) for n in range(20)]},
                    )
                ]
            },
            "task a, a regression with 1 outputs: metric 'pearsn' is unknown; did you",
        ),
        (
            {"tasks": [(mtra_jax.Task("a", "A", "regression", ("a",), ()), {})]},
            "no examples for 'train'",
        ),
        (
            {
                "tasks": [
                    (mtra_jax.Task("a", "A", "regression", ("a",), ()), {"dev": []})
                ]
            },
            "split 'dev'",
        ),
    ],
)
def test_a_wrong_call_is_one_line_and_makes_no_directory(options, fault, tmp_path):
    settings = {"tasks": "synthetic", "backbone": "", **options}
    with pytest.raises(mtra_jax.InputError, match=fault) as error:
        mtra_jax.train(workdir=tmp_path / "run", **settings)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_interrupted_run_continues_to_the_same_figures(run, tmp_path, monkeypatch):
    steps = []

    def interrupt(self, step, epoch, flat, examples):
        steps.append(step)
        if len(steps) == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bars.TrainingLines, "step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            trained_models.train(tmp_path / "run", quiet=False)
    assert not (tmp_path / "run" / workdir.RESULTS).exists()
    again = trained_models.train(tmp_path / "run")
    expected = json.loads((run / workdir.RESULTS).read_text())
    for key in ("test", "validation", "best_epoch", "steps"):
        assert again.results[key] == expected[key]


@pytest.mark.slow
def test_nothing_is_printed_if_quiet(tmp_path, capfd):
    tasks = trained_models.own_tasks()[:1]
    trained_models.train(tmp_path / "run", tasks, epochs=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_models_of_single_tasks_are_loaded_together(tmp_path):
    tasks = trained_models.own_tasks()[:3:2]
    model = trained_models.train(tmp_path / "run", tasks, method="stl", epochs=1)
    (one,) = model.predict(["the room was good"])
    assert [*one] == ["mood", "stars"]
    with pytest.raises(mtra_jax.InputError, match="expected task=, one of mood, stars"):
        model.encode(["a"])
    z = [model.encode(["a"], task=name) for name in one]
    assert z[0].shape == (1, 16)
    assert (z[0] != z[1]).any()


@pytest.mark.parametrize("name", ["nowhere", ""])
def test_a_directory_that_holds_no_model_is_refused(name, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent" / name):
        with pytest.raises(mtra_jax.InputError) as error:
            mtra_jax.load(path)
        assert "\n" not in str(error.value)


def test_bars_are_drawn_in_a_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert not bars.has_terminal()
    monkeypatch.setitem(sys.modules, "ipykernel", bars)
    assert bars.has_terminal()


@pytest.mark.processes
def test_an_import_is_quick_and_every_name_is_there():
    code = (
        "import sys, mtra_jax; mtra_jax.Task, mtra_jax.InputError; "
        "assert not {'jax', 'flax', 'transformers'} & sys.modules.keys(); "
        "[getattr(mtra_jax, name) for name in mtra_jax.__all__]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
