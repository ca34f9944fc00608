"""Training and loading in Python: configuration, interrupted runs, wrong calls."""

import functools
import gc
import inspect
import io
import json
import signal
import subprocess
import sys
import threading
from concurrent import futures

import jax.extend
import numpy as np
import pytest
import tqdm.notebook
import trained_models
from messages import assert_mentions
from tiers import NIGHTLY_ONLY, nightly_only

import mtra_jax
from mtra_jax import config as configs
from mtra_jax import errors
from mtra_jax.api import inputs, training
from mtra_jax.reports.progress import bars, end_of_run
from mtra_jax.runs.directory import layout
from mtra_jax.runs.processes import signals
from mtra_jax.runs.training import loop, preparation
from mtra_jax.tasks import OWN, Benchmark


def test_the_module_of_the_name_can_be_called():
    """`mtra_jax.train` is a package too."""
    import mtra_jax.train.devices

    assert inspect.signature(mtra_jax.train) == inspect.signature(training.train)
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


def test_the_sizes_of_a_new_encoder_are_those_of_its_keys():
    def of(config, backbone, **overrides):
        config, _ = training.configuration(
            config, "synthetic", backbone, None, overrides
        )
        return config.backbone

    sizes = {"hidden_size": 64, "dropout": 0.2}
    chosen = of(None, sizes)
    assert (chosen.path, chosen.hidden_size, chosen.dropout) == ("", 64, 0.2)
    assert chosen == of(None, "", **{f"backbone.{k}": v for k, v in sizes.items()})
    assert of("mtra:tiny_synthetic", {"dropout": 0.2}).path == ""
    pretrained = of("mtra:tiny_synthetic", {"path": "builtin:tiny"})
    assert pretrained.path == of("mtra:tiny_synthetic", None).path == "builtin:tiny"
    assert of(None, {"path": "bert"}).path == of(None, "bert").path == "bert"


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (
            5,
            "backbone is 5; expected a directory, a name on the hub, or sizes of a new ",
        ),
        ({"hiden_size": 3}, "unknown key backbone.hiden_size; did you mean"),
        ({"hidden_size": "x"}, "backbone.hidden_size is 'x'; expected a whole number"),
    ],
)
def test_a_wrong_backbone_is_named(backbone, message):
    refused = {"hidden_size": 32}
    with pytest.raises(mtra_jax.InputError, match=r"hidden_size.* with warm_start='r'"):
        training.configuration(None, "synthetic", refused, None, {"warm_start": "r"})
    with pytest.raises(mtra_jax.InputError) as error:
        training.configuration(None, "synthetic", backbone, None, {})
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "options", [{"name": "mtra", "beta": 0.5}, {"beta": 0.5, "name": "mtra"}]
)
def test_a_method_may_have_its_options(options):
    def of(method, **overrides):
        return training.configuration(None, "synthetic", "", method, overrides)[0]

    assert of(options).method.beta == 0.5
    assert of(options) == of("mtra", **{"method.beta": 0.5})
    assert of({"name": "ew", "weights": "irony=2"}).method.weights == "irony=2"
    for wrong, fault in (
        ({"name": "mtar"}, "unknown method 'mtar'; did you mean mtra"),
        ({"name": "mtra", "bete": 1}, "unknown key method.bete; did you mean"),
        (3, "method"),
    ):
        with pytest.raises(mtra_jax.InputError, match=fault):
            of(wrong)


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


def test_a_warm_start_needs_no_backbone():
    values = {"warm_start": "runs/a"}
    config, _ = training.configuration(None, "synthetic", None, None, values)
    assert config.warm_start == "runs/a"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"tasks": None}, "no tasks; expected tasks="),
        ({"backbone": None}, "no backbone; expected backbone="),
        (
            {"backbone": "enc", "warm_start": "runs/a"},
            "^backbone='enc' with warm_start='runs/a': the encoder is that of the run; "
            "expected one of the two$",
        ),
        (
            {"backbone": None, "warm_start": "runs/a", "backbone.path": "enc"},
            "backbone='enc' with warm_start='runs/a'",
        ),
        ({"data": {"limit": 1}, "data.limit": 2}, "data.limit is there twice"),
        ({"config": {"epochs": 3}}, "config is {'epochs': 3}; expected a config"),
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


def test_a_wrong_callback_is_refused(tmp_path):
    with pytest.raises(
        mtra_jax.InputError, match="on_epoch is 3; expected a function of epoch"
    ):
        trained_models.train(tmp_path / "run", on_epoch=3)


def test_names_that_differ_in_case_alone_are_refused(tmp_path):
    parts = {
        split: [("a", "x"), ("b", "y")] for split in ("train", "validation", "test")
    }
    tasks = [
        (mtra_jax.Task(name, name, "classification", ("x", "y"), ("accuracy",)), parts)
        for name in ("mood", "Mood")
    ]
    with pytest.raises(mtra_jax.InputError, match=r"^tasks: the names mood and Mood "):
        mtra_jax.train(tasks=tasks, backbone="", workdir=tmp_path / "run")


@pytest.mark.parametrize("workdir", [None, "", True])
def test_a_wrong_workdir_is_refused(workdir):
    with pytest.raises(mtra_jax.InputError, match=r"^workdir is .*; expected the path"):
        mtra_jax.train(tasks="synthetic", backbone="", workdir=workdir)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("workdir", "a" * 300),
        ("workdir", "a" * 300 + "/below"),
        ("warm_start", "a" * 300),
        ("tasks", "a" * 300 + ".toml"),
        ("backbone", "./" + "a" * 300),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(key, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backbone = None if key == "warm_start" else ""
    given = {"tasks": "synthetic", "backbone": backbone, "workdir": "w", key: name}
    with pytest.raises(mtra_jax.InputError) as error:
        mtra_jax.train(**given)
    assert "\n" not in str(error.value)
    with pytest.raises(mtra_jax.InputError, match="no such directory"):
        mtra_jax.load(name)
    assert not list(tmp_path.iterdir())


class Pruned(Exception):
    """A search ends a trial by raising it."""


@pytest.mark.slow
def test_a_function_of_the_caller_sees_each_epoch_and_may_end_the_run(tmp_path):
    calls = []

    def on_epoch(epoch, loss, figures):
        calls.append((epoch, loss, figures["mood"]["macro_f1"]))
        figures.clear()  # a copy
        if len(calls) == 2:
            raise Pruned

    call = functools.partial(trained_models.train, tmp_path / "run", epochs=4)
    with pytest.raises(Pruned):
        call(on_epoch=on_epoch)
    model = call(on_epoch=on_epoch)
    assert [epoch for epoch, *_ in calls] == [1, 2, 3, 4]
    assert mtra_jax.load(tmp_path / "run", cache_dir="").results == model.results
    lines = [
        json.loads(line)
        for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    ]
    logged = [x for x in lines if "validation/loss" in x]
    key = "validation/mood/macro_f1"
    assert calls == [(x["epoch"], x["validation/loss"], x[key]) for x in logged]
    call(on_epoch=on_epoch)  # it has finished
    assert len(calls) == 4
    whole = trained_models.train(tmp_path / "whole", epochs=4)
    assert whole.results["test"] == model.results["test"]


def test_an_override_of_none_leaves_the_default():
    values = {"warm_start": None, "epochs": None}
    config, _ = training.configuration(None, "synthetic", "", None, values)
    assert (config.warm_start, config.epochs) == ("", 20)


def training_data(**changes):
    values = {"labels": ("0", "1"), "metrics": ("macro_f1",), **changes}
    task = mtra_jax.Task(
        **{"name": "a", "title": "A", "kind": "classification", **values}
    )
    pairs = [(f"text {n}", task.labels[n % len(task.labels)]) for n in range(40)]
    return inputs.training_data([(task, {"train": pairs})])


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        *(
            ({"name": name}, ["tasks[0]", repr(name)])
            for name in ("avg", "../x", "a,b")
        ),
        *(({"name": name}, ["tasks[0]", repr(name)]) for name in ("", None)),
        ({"labels": (0, 1)}, ["task a", "label 0", "'0'"]),
        ({"labels": ("0.0", "1.0")}, ["task a", "'0.0'", "'0'"]),
        ({"labels": ("0", "1", "1")}, ["task a", "'1'", "twice"]),
        ({"labels": ()}, ["task a", "no labels"]),
        ({"title": 3}, ["task a", "title 3"]),
        ({"title": "A\nB"}, ["task a", "title", "line breaks"]),
        ({"metrics": (3,)}, ["task a", "metric '3'", "unknown"]),
    ],
)
def test_a_task_is_checked_as_that_of_a_file(changes, parts):
    if changes.get("labels") == ():
        task = mtra_jax.Task("a", "A", "classification", (), ("macro_f1",))
        call = lambda: inputs.training_data([(task, {"train": []})])  # noqa: E731
    else:
        call = lambda: training_data(**changes)  # noqa: E731
    with pytest.raises(mtra_jax.InputError) as error:
        call()
    assert_mentions(error.value, *parts)


def test_lists_and_arrays_of_labels_are_tuples():
    labels, metrics = np.unique(["0", "1"]), ["macro_f1"]
    data = training_data(labels=labels, metrics=metrics)
    task = data.benchmark.tasks[0]
    assert (task.labels, task.metrics) == (("0", "1"), ("macro_f1",))
    assert all(type(name) is str for name in task.labels)
    assert task == training_data().benchmark.tasks[0]


def test_a_second_thread_is_refused_while_one_trains(tmp_path, monkeypatch):
    has_begun, may_end = threading.Event(), threading.Event()

    def train(config, directory, *_):
        has_begun.set()
        assert may_end.wait(60)
        raise loop.TrainingError(f"the end of {directory.name}")

    monkeypatch.setattr(training.training, "train", train)

    def call(name):
        mtra_jax.train(tasks="synthetic", backbone="", workdir=tmp_path / name)

    with futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(call, "one")
        assert has_begun.wait(60)
        try:
            with pytest.raises(
                mtra_jax.InputError, match="another run trains"
            ) as error:
                call("two")
        finally:
            may_end.set()
        assert str(error.value).startswith(f"{tmp_path / 'two'}: ")
        with pytest.raises(mtra_jax.RunError, match="the end of one"):
            first.result()
    with pytest.raises(mtra_jax.RunError, match="the end of three"):
        call("three")


@pytest.fixture
def own_handler():
    """Python's handler of SIGINT, which processes of pytest-xdist may lack."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "message"),
    [
        (1, "stopped at step 13, saved; the same call continues"),
        pytest.param(2, "interrupted; the same call continues", marks=NIGHTLY_ONLY),
    ],
)
def test_an_interrupted_run_continues_to_the_same_figures(
    count, message, run, tmp_path, monkeypatch, own_handler
):
    steps = []

    def interrupt(self, step, epoch, flat, examples):
        steps.append(step)
        if (
            len(steps) == 10
        ):  # its figures are read when step 12 has started; step 13 ends
            for _ in range(count):
                signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(bars.TrainingLines, "step", interrupt)
        with pytest.raises(KeyboardInterrupt) as stop:
            trained_models.train(tmp_path / "run", quiet=False)
    assert str(stop.value) == message
    assert signal.getsignal(signal.SIGINT) is own_handler
    assert not (tmp_path / "run" / layout.RESULTS).exists()
    again = trained_models.train(tmp_path / "run")
    expected = json.loads((run / layout.RESULTS).read_text())
    for key in ("test", "validation", "best_epoch", "steps"):
        assert again.results[key] == expected[key]


def test_an_interrupt_during_the_preparation_stops_at_once(
    tmp_path, monkeypatch, own_handler
):
    def interrupt(*_, **__):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("still running")

    monkeypatch.setattr(preparation, "prepare", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted; the same call"):
        trained_models.train(tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is own_handler


def test_a_handler_of_the_caller_is_left_alone(own_handler):
    taken = []
    signal.signal(signal.SIGINT, lambda *call: taken.append(call[0]))
    with signals.interrupts(lambda: True) as requests:
        signal.raise_signal(signal.SIGINT)
    assert taken == [signal.SIGINT]
    assert not requests.should_stop()


@pytest.mark.slow
def test_a_finished_run_of_a_list_of_tasks_is_trained_for_more_epochs(run, tmp_path):
    """To the figures of a run of as many epochs from the start."""
    call = {"continue_from": run, "epochs": 3, "quiet": True}
    with pytest.raises(mtra_jax.InputError, match=r"a list in Python.*tasks=…"):
        mtra_jax.train(workdir=tmp_path / "longer", **call)
    assert not (tmp_path / "longer").exists()
    tasks = trained_models.own_tasks()
    for _ in range(2):  # the same call continues
        longer = mtra_jax.train(tasks=tasks, workdir=tmp_path / "longer", **call)
    # The warm-up keeps its number of steps.
    whole = trained_models.train(tmp_path / "whole", epochs=3, warm_up=0.1 * 2 / 3)
    for key in ("test", "validation", "best_epoch", "steps", "epochs"):
        assert longer.results[key] == whole.results[key]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"epochs": 2}, "epochs is 2; expected more than 2"),
        ({"epochs": 3, "learning_rate": 1.0}, "learning_rate is 1.0, and 0.01 in "),
        ({"epochs": 3, "method": "ew"}, "expected only keys such as epochs=20"),
        ({"epochs": 3, "patience": 0}, "patience"),
    ],
)
def test_what_a_longer_run_cannot_change_is_named(run, tmp_path, call, message):
    with pytest.raises(mtra_jax.InputError) as error:
        mtra_jax.train(
            tasks=trained_models.own_tasks(),
            workdir=tmp_path / "longer",
            continue_from=run,
            **call,
        )
    assert message in str(error.value)
    assert "--" not in str(error.value)
    assert not (tmp_path / "longer").exists()


@pytest.mark.slow
def test_nothing_is_printed_if_quiet(tmp_path, capfd):
    tasks = trained_models.own_tasks()[:1]
    trained_models.train(tmp_path / "run", tasks, epochs=8)  # learns its task
    assert capfd.readouterr() == ("", "")


def test_the_end_of_a_run_is_its_table_and_what_went_wrong(model, capsys):
    """In the words of Python: no flags. With `quiet` only the latter, as an error."""
    results = {**model.results, "test": model.results["majority"]}
    outcome = training.training.Outcome(Benchmark(OWN, model.tasks), results)
    names = ", ".join(task.name for task in model.tasks)
    line = f"{end_of_run.NOTHING}: {names}; more epochs or another learning_rate may help\n"
    config = configs.default_config("ew")
    training._show_end(outcome, config, quiet=True)
    assert capsys.readouterr() == ("", line)
    training._show_end(outcome, config, quiet=False)
    shown = capsys.readouterr().out
    assert shown.startswith("Test figures in percent")
    assert line in shown
    assert "majority: the most frequent class" in shown
    assert training.FLAG not in shown


class Full(io.StringIO):
    """A stream whose device is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("quiet", [True, False])
def test_a_stream_that_cannot_be_written_does_not_cost_the_model(
    run, quiet, monkeypatch
):
    """The run had ended before."""
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, Full()):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        model = trained_models.train(run, quiet=quiet)
        assert model.results["steps"]


def test_tasks_with_one_prediction_for_all_test_texts_are_counted(model, run):
    expected = []
    for task, parts in trained_models.own_tasks():
        texts = [text for text, _ in parts["test"]]
        labels = model.predict(texts, task=task.name)
        outcomes = {(p.label, p.labels, *p.values.values()) for p in labels}
        expected += [task.name] * (len(outcomes) == 1)
    assert model.results["constant"] == expected


def live_programs():
    """How many compiled programs the process holds."""
    gc.collect()
    return len(jax.extend.backend.get_backend().live_executables())


@nightly_only
@pytest.mark.slow
def test_a_run_that_has_ended_holds_no_program(tmp_path):
    numbers = []
    for seed in (0, 1):
        trained_models.train(tmp_path / str(seed), seed=seed, epochs=1)
        numbers.append(live_programs())
    assert numbers[0] == numbers[1]


@pytest.mark.slow
def test_a_model_that_is_dropped_holds_no_program(run):
    numbers = []
    for _ in range(2):
        model = mtra_jax.load(run, cache_dir="")
        model.predict(["nice"], task="mood")
        model.evaluate(trained_models.own_tasks())
        del model
        numbers.append(live_programs())
    assert numbers[0] == numbers[1]


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


def test_bars_are_drawn_in_a_notebook_that_has_widgets(monkeypatch):
    """`tqdm.auto` chooses its class when it is imported."""
    assert not bars.has_terminal()
    monkeypatch.setattr(bars.tqdm.auto, "tqdm", tqdm.notebook.tqdm)
    assert bars.has_terminal()


def test_a_notebook_shows_an_error_as_one_line(monkeypatch):
    monkeypatch.delenv(errors.DEBUG, raising=False)
    with pytest.raises(mtra_jax.InputError) as wrong:
        mtra_jax.train(tasks="tweetevel", backbone="", workdir="w")
    (line,) = wrong.value._render_traceback_()
    assert line == f"InputError: {wrong.value}"
    assert "did you mean tweeteval?" in line
    for kind in (mtra_jax.RunError, loop.TrainingError, errors.Interrupted):
        assert kind("why")._render_traceback_() == [f"{kind.__name__}: why"]
    monkeypatch.setenv(errors.DEBUG, "1")
    first, *_, last = wrong.value._render_traceback_()
    assert first == "Traceback (most recent call last):"
    assert last.endswith(line)


@pytest.mark.processes
def test_an_import_is_quick_and_every_name_is_there():
    code = (
        "import sys, mtra_jax; mtra_jax.Task, mtra_jax.InputError; "
        "assert not {'jax', 'flax', 'transformers'} & sys.modules.keys(); "
        "[getattr(mtra_jax, name) for name in mtra_jax.__all__]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
