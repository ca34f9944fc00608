"""Own tasks of five kinds, from the command line to predictions, exports and tables."""

import contextlib
import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import own_files
import pytest
import xla_flags
from messages import assert_mentions, without_progress
from tiers import nightly_only

import mtra_jax
from mtra_jax import cli, config, errors
from mtra_jax.commands import evaluate, verbs
from mtra_jax.runs.directory import checkpoints, checksums
from mtra_jax.runs.training import interfaces
from mtra_jax.runs.training import run as training

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.processes
# Epochs have 30 steps; checkpoints after 20, 40, ... steps, besides those of their ends.
FLAGS = (*own_files.FLAGS, "--config.checkpoint_every=20")
STEP = "mtra_jax.runs.directory.metrics_log:MetricsLog.add"
KILL = signal.SIGKILL.value
TIMES = ("train_seconds", "scoring_seconds")


class Command:
    """Starts `python -m mtra_jax`, with planted faults (see `runs/fault.py`)."""

    def __init__(self, cache):
        self.cache = cache

    def __call__(self, *arguments, code=0, faults=(), text=None, where=ROOT):
        """Standard output, and standard error without progress lines."""
        program = ["-m", "mtra_jax"]
        if faults:
            fault = str(ROOT / "tests/runs/fault.py")
            program = [fault, json.dumps(faults), str(ROOT / "mtra_jax/__main__.py")]
        done = subprocess.run(
            [sys.executable, *program, *map(str, arguments)],
            cwd=where,
            env=xla_flags.environment() | {"TQDM_DISABLE": "1"},
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == code, done.stderr[-3000:]
        return done.stdout, without_progress(done.stderr)

    def train(self, toml, workdir, *flags, method="mtra", **options):
        """Trains the tasks of `toml`; returns standard error."""
        cache = f"--config.data.cache_dir={self.cache}"
        chosen = ("train", "--tasks", toml, "--workdir", workdir, "--method", method)
        return self(*chosen, *FLAGS, cache, *flags, **options)[1]

    def inside(self, verb, *arguments, code=0):
        """The same as a call, in this process, which need not import and compile anew."""
        output, errors, codes = io.StringIO(), io.StringIO(), []
        argv = [verb, *map(str, arguments)]
        with (
            mock.patch.object(sys, "argv", argv),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            warnings.catch_warnings(),
        ):
            cli.run(verbs.VERBS[verb].module.main, codes.append)
        assert codes == [code] * bool(code), errors.getvalue()[-3000:]
        return output.getvalue(), without_progress(errors.getvalue())

    def with_cache(self, verb, workdir, *arguments, **options):
        """Runs a verb on a run with the cache of the tests."""
        # The figures of a process with other devices differ in their last bits.
        is_exact = verb == "evaluate" or options.keys() - {"code"}
        call = self if is_exact else self.inside
        flags = ("--workdir", workdir, "--cache_dir", self.cache)
        return call(verb, *flags, *arguments, **options)


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    return Command(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def toml(tmp_path_factory):
    return own_files.write(tmp_path_factory.mktemp("own") / "my")


@pytest.fixture(scope="module")
def run(command, toml, tmp_path_factory):
    """The work directory of an undisturbed run."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    assert command.train(toml, workdir) == ""
    return workdir


def results_of(workdir):
    values = json.loads((workdir / "results.json").read_text())
    return {key: value for key, value in values.items() if key not in TIMES}


def params_of(workdir):
    """The parameters of the last step by name."""
    store = checkpoints.Checkpoints(workdir / "checkpoints", read_only=True)
    params = store.restore_params(store.latest_step())
    store.close()
    return checksums.by_name(params)


def end_of(workdir):
    """The figures, parameters, predictions and tasks of a finished run."""
    files = {
        path.relative_to(workdir).as_posix(): path.read_text()
        for pattern in ("predictions/**/*.txt", "tasks.json", "metrics.jsonl")
        for path in workdir.glob(pattern)
    }
    return results_of(workdir), params_of(workdir), files


def edited(toml, directory, name, old, new):
    """A copy of the data in `directory` with one text replaced; its TOML file."""
    shutil.copytree(toml.parent, directory)
    path = directory / name
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
    return directory / toml.name


# ---- the run


def test_tasks_learn_and_predict_in_their_unit(run):
    results = results_of(run)
    for name in ("mood", "topics", "stars"):
        for metric, value in results["test"][name].items():
            constant = results["majority"][name][metric]
            assert value < constant if metric == "rmse" else value > constant, name
    lines = (run / "predictions" / "stars.txt").read_text().splitlines()
    stars = np.array([float(line) for line in lines])
    assert len(stars) == own_files.SIZES["_test"]
    assert 40 < stars.mean() < 76


def test_thresholds_are_those_of_results_and_tasks(run):
    tasks = json.loads((run / "tasks.json").read_text())["tasks"]
    thresholds = {t["name"]: t["thresholds"] for t in tasks if t["thresholds"]}
    assert list(thresholds) == ["topics"]
    assert len(thresholds["topics"]) == 4
    assert results_of(run)["thresholds"] == thresholds
    (stars,) = (t for t in tasks if t["name"] == "stars")
    train = [own_files.example(n)["stars"] for n in range(own_files.SIZES[""])]
    assert stars["means"] == pytest.approx([np.mean(train)])
    assert stars["deviations"] == pytest.approx([np.std(train)])


@nightly_only
def test_a_killed_run_ends_as_an_undisturbed_one(command, toml, run, tmp_path):
    """Killed twice; the files lie elsewhere when it continues."""
    workdir = tmp_path / "killed"
    command.train(toml, workdir, code=-KILL, faults=[(STEP, 24, "signal", KILL)])
    assert not (workdir / "results.json").exists()
    moved = tmp_path / "moved"
    shutil.copytree(toml.parent, moved)
    elsewhere = f"--config.data.tasks={moved / toml.name}"
    fault = [(STEP, 40, "signal", KILL)]
    command.train(toml, workdir, elsewhere, code=-KILL, faults=fault)
    assert command.train(toml, workdir, elsewhere) == ""
    np.testing.assert_equal(end_of(workdir), end_of(run))


@pytest.mark.parametrize(
    ("name", "old", "new", "parts"),
    [
        ("mood.csv", ",bad", ",good", ["mood, train", "other texts or labels"]),
        ("stars_dev.jsonl", '"stars": 4', '"stars": 5', ["stars, validation"]),
        ("agrees_test.csv", "they found", "we found", ["agrees, test"]),
        (
            "tasks.toml",
            '"mood"\n',
            '"mood"\nlabels = ["good", "bad"]\n',
            ["labels of mood", "('bad', 'good')", "('good', 'bad')"],
        ),
        (
            "tasks.toml",
            '"mood"\n',
            '"mood"\nlabel_smoothing = 0.25\n',
            ["label_smoothing of mood", "0.0", "0.25"],
        ),
        (
            "tasks.toml",
            '"mood"\n',
            '"mood"\nclass_weights = { good = 3 }\n',
            ["class_weights of mood", "(1.0, 3.0)"],
        ),
        ("tasks.toml", '["pearson", "rmse"]', '["rmse"]', ["metrics of stars"]),
    ],
)
def test_changed_tasks_are_refused(toml, run, tmp_path, name, old, new, parts):
    """In one line, by a finished run and by one with a checkpoint."""
    other = edited(toml, tmp_path / "my", name, old, new)
    flags = [f.removeprefix("--config.").split("=", 1) for f in FLAGS]
    chosen = config.load(
        f"{ROOT / 'configs/own.py'}:tasks={other}", [(key, text) for key, text in flags]
    )
    begun = tmp_path / "begun"
    shutil.copytree(run, begun)
    (begun / "results.json").unlink()
    for directory in (run, begun):
        with pytest.raises(errors.InputError) as error:
            training.train(
                chosen, directory, lambda prepared, progress: interfaces.Watch()
            )
        assert_mentions(error.value, directory, *parts, "new --workdir")


# ---- figures


def test_evaluate_gives_the_figures_of_the_run(command, toml, run, tmp_path):
    expected = results_of(run)
    output, lines = command.with_cache("evaluate", run)
    assert json.loads(output) == expected["test"]
    counts, *table = lines.splitlines()
    assert counts == (
        "mood 16, noun 16, topics 16, agrees 16, stars 16 examples of the test split"
    )
    assert len(table) == 3
    output, _ = command.with_cache("evaluate", run, "--split=validation")
    assert json.loads(output) == expected["validation"]
    output, _ = command.inside(
        "evaluate", "--predictions", run / "predictions", "--tasks", toml
    )
    assert json.loads(output) == expected["test"]
    # A file with the test examples alone.
    only = tmp_path / "only"
    shutil.copytree(toml.parent, only)
    for path in only.iterdir():
        if "_test" not in path.name and path.name != toml.name:
            path.unlink()
    output, lines = command.with_cache("evaluate", run, "--tasks", only / toml.name)
    assert json.loads(output) == expected["test"]
    assert "not the data" not in lines


def test_evaluate_on_other_files_needs_the_labels_of_the_run(
    command, toml, run, tmp_path
):
    other = edited(toml, tmp_path / "a", "mood_test.csv", ",bad", ",good")
    output, lines = command.with_cache("evaluate", run, "--tasks", other)
    expected = results_of(run)["test"]
    actual = json.loads(output)
    assert actual["mood"] != expected["mood"]
    assert actual["stars"] == expected["stars"]
    assert_mentions(lines.splitlines()[0], "other data than the run's: mood, test")
    wrong = edited(toml, tmp_path / "b", "mood_test.csv", ",bad", ",sad")
    _, lines = command.with_cache("evaluate", run, "--tasks", wrong, code=2)
    assert_mentions(lines, f"{wrong.parent / 'mood_test.csv'}:2", "'sad'", "bad")


def test_a_run_with_a_relative_path_is_scored_elsewhere_with_tasks(
    command, toml, run, tmp_path
):
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    stored = moved / "config.json"
    stored.write_text(stored.read_text().replace(str(toml), toml.name))
    output, _ = command.with_cache("evaluate", moved, where=toml.parent)
    assert json.loads(output) == results_of(run)["test"]
    _, lines = command.with_cache("evaluate", moved, code=2)
    assert_mentions(lines, stored, f"'{toml.name}'", "--tasks FILE.toml")
    output, _ = command.with_cache("evaluate", moved, "--tasks", toml)
    assert json.loads(output) == results_of(run)["test"]


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--workdir", "{run}", "--tasks=mood"], ["--tasks mood", "FILE.toml"]),
        (["--workdir", "{run}", "--benchmark=own"], ["--benchmark own"]),
        (["--workdir", "{run}", "--data_dir=x"], ["--data_dir x", "--tasks FILE.toml"]),
        (
            ["--predictions", "{run}", "--tasks=x.toml", "--data_dir=x"],
            ["--data_dir x"],
        ),
        (["--predictions", "{run}", "--tasks=./x"], ["x: cannot be read"]),
        (["--predictions", "{run}", "--tasks=mood"], ["unknown task 'mood'"]),
    ],
)
def test_flags_of_evaluate_that_do_not_fit_are_one_line(
    run, flags, parts, monkeypatch, capsys
):
    given = [flag.format(run=run) for flag in flags]
    monkeypatch.setattr(sys, "argv", ["evaluate", *given])
    with pytest.raises(SystemExit) as stop:
        cli.run(evaluate.main)
    assert stop.value.code == 2
    assert_mentions(capsys.readouterr().err, *parts)


# ---- predictions


def labels_in(run, name):
    """The stored predictions of a task: the names of its labels, or numbers."""
    lines = (run / "predictions" / f"{name}.txt").read_text().splitlines()
    (task,) = (
        task
        for task in json.loads((run / "tasks.json").read_text())["tasks"]
        if task["name"] == name
    )
    if task["kind"] == "regression":
        return [float(line) for line in lines]
    ids = [[int(x) for x in line.split(",") if x] for line in lines]
    names = [[task["labels"][i] for i in row] for row in ids]
    return [row[0] for row in names] if task["kind"] == "classification" else names


def test_predict_labels_tables_as_the_run_did(command, toml, run):
    """All tasks of a JSONL file, of a CSV file, and the pairs of another."""
    jsonl = toml.parent / "noun_test.jsonl"
    output, _ = command.with_cache("predict", run, "--input", jsonl)
    records = [json.loads(line) for line in output.splitlines()]
    assert [r["predicted_noun"]["label"] for r in records] == labels_in(run, "noun")
    assert [r["mood"]["label"] for r in records] == labels_in(run, "mood")
    assert [r["topics"]["labels"] for r in records] == labels_in(run, "topics")
    stars = [r["stars"]["values"]["stars"] for r in records]
    np.testing.assert_allclose(stars, labels_in(run, "stars"), atol=2e-4)

    table = toml.parent / "mood_test.csv"
    output, _ = command.with_cache("predict", run, "--input", table, "--text", "review")
    rows = list(csv.DictReader(output.splitlines()))
    assert [row["predicted_mood"] for row in rows] == labels_in(run, "mood")
    assert [row["topics"].split(",") if row["topics"] else [] for row in rows] == (
        labels_in(run, "topics")
    )
    assert "agrees" not in rows[0]

    pairs = ("--input", toml.parent / "agrees_test.csv", "--text", "first", "second")
    output, _ = command.with_cache("predict", run, *pairs)
    rows = list(csv.DictReader(output.splitlines()))
    assert list(rows[0])[:3] == ["first", "second", "agrees"]
    assert [row["predicted_agrees"] for row in rows] == labels_in(run, "agrees")


def test_predict_labels_lines_of_text(command, toml, run):
    lines = (toml.parent / "noun_test.jsonl").read_text().splitlines()
    texts = "".join(f"{json.loads(line)['text']}\n" for line in lines)
    output, _ = command.with_cache("predict", run, "--task=topics", text=texts)
    predicted = [json.loads(line)["labels"] for line in output.splitlines()]
    assert predicted == labels_in(run, "topics")


# ---- the model leaves


def test_the_exported_model_has_the_figures_of_the_run(command, toml, run, tmp_path):
    command.inside("export", run, "--to", tmp_path / "out")
    for directory in (run, tmp_path / "out"):
        model = mtra_jax.load(directory, cache_dir="")
        figures = model.evaluate(str(toml))
        for name, expected in results_of(run)["test"].items():
            assert figures[name] == pytest.approx(expected, rel=1e-4)


def test_tables_and_separate_runs_have_the_same_columns(command, toml, run, tmp_path):
    """`stl` trains a model for each task."""
    workdir = tmp_path / "stl"
    chosen = ("--config.epochs=1",)
    assert command.train(toml, workdir, *chosen, method="stl") == ""
    expected = results_of(workdir)["test"]
    assert list(expected) == [*own_files.TASKS, "avg"]
    output, _ = command.with_cache("evaluate", workdir, "--tasks", toml)
    assert json.loads(output) == expected
    output, _ = command.inside("table", f"MTRA={run}", f"STL={workdir}", "--markdown")
    head, _, *rows = output.splitlines()
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert "stars RMSE" in columns
    last = next(row for row in rows if row.startswith("Δp: mean relative improvement"))
    assert last.startswith("Δp: mean relative improvement over MTRA in percent, ")
    assert "not comparable" not in output
    assert "trained under other conditions than MTRA: STL (epochs 1, MTRA's 8)" in rows
    changes = [row for row in rows if row.startswith(f"| {columns[1]} |")]
    assert [row.count("[") for row in changes] == [1]
    assert "no interval" not in output
    named, _ = command.inside("table", f"_a_={run}", f"[x](y)={workdir}", "--markdown")
    assert [line.split(" | ")[0] for line in named.splitlines()[2:4]] == [
        r"| \_a\_",
        r"| \[x](y)",
    ]
    assert last.split(" MTRA ")[0] + r" \_a\_ in" in named
    inputs = workdir / "stars" / "inputs.json"
    whole = json.loads(inputs.read_text())
    whole["data"]["stars"]["test"]["sha256"] = "0" * 64
    inputs.write_text(json.dumps(whole))
    told, _ = command.inside("table", f"MTRA={run}", f"STL={workdir}")
    assert "not comparable, other test examples: stars (MTRA, STL)" in told
    assert "no interval for stars and Avg. of STL: " in told
    for row, results in zip(rows, (results_of(run)["test"], expected), strict=False):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        shown = dict(zip(columns, cells, strict=True))
        # Errors in a unit have four digits.
        assert shown["stars RMSE"] == f"{results['stars']['rmse']:#.4g}"
        assert shown["topics Mic-F1"] == f"{results['topics']['micro_f1']:.2f}"
    values = ("--text", "review", "--input", toml.parent / "mood_test.csv")
    output, _ = command.with_cache("predict", workdir, *values)
    rows = list(csv.DictReader(output.splitlines()))
    assert [row["predicted_mood"] for row in rows] == labels_in(workdir, "mood")
