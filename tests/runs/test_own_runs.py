"""Own tasks in sweeps and on several processes, and odd files that train all the same."""

import csv
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import own_files
import pytest
import xla_flags
from messages import assert_mentions
from tiers import nightly_only

from mtra_jax import config, errors
from mtra_jax.commands import search as search_command
from mtra_jax.commands import sweep as sweep_command
from mtra_jax.methods import registry
from mtra_jax.reports.predicted import answered_rows
from mtra_jax.runs.directory import checkpoints, checksums, tasks_json
from mtra_jax.runs.search import run as searching
from mtra_jax.runs.sweeps import sweep
from mtra_jax.runs.training import interfaces
from mtra_jax.runs.training import run as training
from mtra_jax.runs.trials import run_specs
from mtra_jax.tasks import Task

ROOT = Path(__file__).resolve().parents[2]
SWEEP = f"{ROOT / 'configs/sweep.py'}:own"
# Short runs: one epoch of one or two steps of each task.
SHORT = (
    *own_files.FLAGS,
    "--config.epochs=1",
    "--config.batch_size=24",
    "--config.data.cache_dir=",
)


def pairs(flags):
    """Flags --config.KEY=VALUE as overrides."""
    return [tuple(flag.removeprefix("--config.").split("=", 1)) for flag in flags]


@pytest.fixture
def toml(tmp_path):
    return own_files.write(tmp_path / "my")


def load(toml, *flags):
    return config.load(
        f"{ROOT / 'configs/own.py'}:tasks={toml}", pairs([*SHORT, *flags])
    )


def train(toml, workdir, *flags):
    """The results of a run of EW."""
    chosen = load(toml, "--config.method.name=ew", *flags)
    return training.train(
        chosen, workdir, lambda prepared, progress: interfaces.Watch()
    ).results


# ---- presets and sweeps


@pytest.mark.parametrize("method", registry.METHODS)
def test_every_method_has_a_preset_of_own_tasks(method, toml):
    preset = config.apply(config.preset("own", method), [("data.tasks", str(toml))])
    assert preset.method.name == method
    assert preset.sampling == registry.sampling(method)
    assert (preset.data.standardize, preset.heads.start) == (True, "base_rate")
    assert preset.tasks == own_files.TASKS
    if method == "mtra":
        same = config.load(f"{ROOT / 'configs/own.py'}:tasks={toml}")
        assert preset.to_dict() == same.to_dict()


def test_an_unknown_preset_is_one_line_that_names_own():
    with pytest.raises(errors.InputError) as error:
        config.preset("owm", "ew")
    assert_mentions(error.value, "unknown preset 'owm'", "own")


def test_a_sweep_of_own_tasks_has_the_papers_methods_with_three_seeds(toml):
    chosen = run_specs.load(SWEEP)
    expected = {(name, seed) for name in registry.of_papers() for seed in (0, 1, 2)}
    assert {(t.method, t.seed) for t in chosen.trials} == expected
    assert chosen.baseline == "ew"
    with pytest.raises(errors.InputError) as error:
        run_specs.config_of(chosen.trials[0])
    assert_mentions(error.value, "ew", "--config.data.tasks=FILE")
    other = run_specs.config_of(chosen.trials[0], [("data.tasks", str(toml))])
    assert other.benchmark == "own"


def planned_by(monkeypatch, main, module, function, *flags):
    """The first argument of the function that trains, by one command."""
    calls = []

    def train(planned, *rest, **options):
        calls.append(planned)
        return {}

    with monkeypatch.context() as patched:
        patched.setattr(module, function, train)
        main(list(flags))
    return calls[0]


@pytest.mark.parametrize("later", [[], ["--config.backbone.path=other"]])
def test_flags_of_a_sweep_stand_for_the_sweep_of_own_tasks_and_two_keys(
    later, toml, tmp_path, monkeypatch
):
    """`--config.KEY=VALUE` takes precedence, as in `train`."""
    flags = [f"--workdir={tmp_path / 'w'}", "--only=ew, mtra", *later]
    keys = [f"--config={SWEEP}", f"--config.data.tasks={toml}"]
    keys.append("--config.backbone.path=enc")
    own = [f"--tasks={toml}", "--backbone=enc"]
    command = monkeypatch, sweep_command.main, sweep, "run_all"
    plans = [planned_by(*command, *given, *flags) for given in (keys, own)]
    configs = [
        [run_specs.config_of(job.trial, plan.overrides).to_dict() for job in plan.jobs]
        for plan in plans
    ]
    assert configs[0] == configs[1]
    assert [(c["method"]["name"], c["seed"]) for c in configs[1]] == [
        (name, seed) for seed in (0, 1, 2) for name in ("ew", "mtra")
    ]
    paths = {(c["data"]["tasks"], c["backbone"]["path"]) for c in configs[1]}
    assert paths == {(str(toml), "other" if later else "enc")}
    assert [job.directory for job in plans[0].jobs] == [
        job.directory for job in plans[1].jobs
    ]


@pytest.mark.parametrize("later", [[], ["--config.backbone.path=other"]])
def test_flags_of_a_search_stand_for_the_preset_of_own_tasks_and_two_keys(
    later, toml, tmp_path, monkeypatch
):
    flags = ["ew,mtra", f"--workdir={tmp_path / 'w'}", *later]
    keys = [f"--config.data.tasks={toml}", "--config.backbone.path=enc"]
    command = monkeypatch, search_command.main, searching, "run_all"
    searches = [
        planned_by(*command, *given, *flags)
        for given in (
            ["--preset=own", *keys],
            [f"--tasks={toml}", "--backbone=enc"],
        )
    ]
    bases = [{n: planned.base(n) for n in planned.spaces} for planned in searches]
    assert bases[0] == bases[1]
    assert [*bases[1]] == ["ew", "mtra"]
    for base in bases[1].values():
        assert (base["data.tasks"], base["benchmark"]) == (str(toml), "own")
        assert base["backbone.path"] == ("other" if later else "enc")
    assert searches[1].preset == "own"


@pytest.mark.parametrize("given", [[], ["--tasks=t.toml", "PRESET=x"]])
@pytest.mark.parametrize("name", ["sweep", "search"])
def test_a_sweep_and_a_search_take_either_tasks_or_a_preset(name, given, tmp_path):
    main, flag, first = {
        "sweep": (sweep_command.main, "--config", []),
        "search": (search_command.main, "--preset", ["ew"]),
    }[name]
    given = [text.replace("PRESET", flag) for text in given]
    with pytest.raises(errors.InputError) as error:
        main([*first, f"--workdir={tmp_path / 'w'}", *given])
    assert_mentions(error.value, "--tasks FILE", flag)
    assert not (tmp_path / "w").exists()


@nightly_only
@pytest.mark.slow
def test_a_sweep_of_own_tasks_ends_with_their_columns(
    toml, tmp_path, capsys, monkeypatch
):
    """Two methods with two seeds; the report and a second call do not train."""
    monkeypatch.setattr(sys, "argv", ["mtra-jax"])
    workdir = tmp_path / "sweep"
    flags = [
        f"--config={SWEEP}",
        f"--workdir={workdir}",
        "--only=ew,mtra",
        "--seeds=0,1",
    ]
    flags += [*SHORT, f"--config.data.tasks={toml}"]
    sweep_command.main(flags)
    output = capsys.readouterr().out
    table = output[output.index("\n\n") :]
    for title in (*own_files.TASKS, "RMSE", "Avg.", "ew ", "mtra "):
        assert title in table
    entries = sweep.read(workdir)
    assert [(e.name, e.seed) for e in entries] == [
        (name, seed) for name in ("ew", "mtra") for seed in (0, 1)
    ]
    for entry in entries:
        assert tuple(task.name for task in entry.tasks) == own_files.TASKS
        results = json.loads(
            (workdir / entry.name / f"seed{entry.seed}" / "results.json").read_text()
        )
        assert entry.values["results"] == results
    monkeypatch.setattr(training, "train", None)
    sweep_command.main(flags)
    again = capsys.readouterr().out
    assert "4 finished, 0 begun, 0 new" in again
    assert again[again.index("\n\n") :] == table
    changed = toml.parent / "mood.csv"
    changed.write_text(changed.read_text().replace(",bad", ",good", 1))
    with pytest.raises(errors.InputError) as error:
        sweep_command.main(flags)
    assert_mentions(error.value, "mood, train", "other texts or labels")


# ---- a changed loss of own tasks


@pytest.mark.slow
def test_class_weights_from_the_data_are_compared_when_a_run_continues(toml, tmp_path):
    """Balanced weights are those of the drawn examples, not of all."""
    balanced = ["--config.class_weights=balanced", "--config.data.fraction=0.4"]
    only = ["--config.tasks=mood,topics"]
    workdir = tmp_path / "run"
    results = train(toml, workdir, *balanced, *only)
    weights = tasks_json.read(workdir).tasks[0].class_weights
    assert len(set(weights)) == 2
    assert train(toml, workdir, *balanced, *only) == results
    toml.write_text(
        toml.read_text().replace('"mood"\n', '"mood"\nclass_weights="none"\n')
    )
    with pytest.raises(errors.InputError) as error:
        train(toml, workdir, *balanced, *only)
    assert_mentions(error.value, "class_weights of mood", "new --workdir")


# ---- odd data that train


def rows(path, edit):
    """Replaces the lines of a file by `edit(lines)`."""
    lines = edit(path.read_text().splitlines())
    path.write_text("".join(f"{line}\n" for line in lines))


def one_test_row(folder):
    for path in folder.glob("*_test.*sv"):
        rows(path, lambda lines: lines[:2])
    for path in folder.glob("*_test.jsonl"):
        rows(path, lambda lines: lines[:1])


def no_bad_mood(folder):
    rows(folder / "mood_dev.csv", lambda lines: [x for x in lines if ",bad" not in x])


def no_topics(folder):
    for split in ("dev", "test"):
        rows(
            folder / f"topics_{split}.tsv",
            lambda lines: [lines[0], *(x.split("\t")[0] + "\t" for x in lines[1:])],
        )


def odd_texts(folder):
    rows(
        folder / "mood_test.csv",
        lambda lines: [*lines, '"",good', "x" * 10**6 + ",bad"],
    )
    for name in ("agrees", "agrees_test"):
        rows(folder / f"{name}.csv", lambda lines: [*lines, "fine,,yes", ",,no"])


def numbers_and_texts(folder):
    """One class is 1 in one file, "1" in the second and 1.0 in the third."""
    for split, kind in (("", int), ("_dev", str), ("_test", float)):
        lines = [
            json.dumps({"text": f"text {n} {split}", "noun": kind(n % 2)})
            for n in range(8)
        ]
        (folder / f"noun{split}.jsonl").write_text("\n".join(lines))


@pytest.mark.slow
@pytest.mark.parametrize(
    "edits",
    [(one_test_row, no_bad_mood), (no_topics, odd_texts, numbers_and_texts)],
    ids=lambda edits: "+".join(edit.__name__ for edit in edits),
)
def test_odd_data_train_to_finite_figures(edits, toml, tmp_path):
    for edit in edits:
        edit(toml.parent)
    results = train(toml, tmp_path / "run")
    for split in ("validation", "test"):
        for name in own_files.TASKS:
            assert np.isfinite(list(results[split][name].values())).all()
    if numbers_and_texts in edits:
        assert tasks_json.read(tmp_path / "run").tasks[1].labels == ("0", "1")
    if no_topics in edits:
        assert results["test"]["topics"]["micro_f1"] == 0


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--config.tasks=mood,nuon"], ["no task 'nuon'", "noun"]),
        (["--config.selection=mood/mcc"], ["'mood/mcc'", "macro_f1, accuracy"]),
        (
            ["--config.sampling=joint", "--config.batch_size=4", "--config.devices=1"],
            ["batch_size is 4", "at least 5"],
        ),
        (
            ["--config.data.limit=1"],
            ["task stars", "all 1 training values", "--config.data.standardize=False"],
        ),
    ],
)
def test_flags_that_do_not_fit_the_tasks_are_one_line(flags, parts, toml, tmp_path):
    with pytest.raises(errors.InputError) as error:
        train(toml, tmp_path / "run", *flags)
    assert_mentions(error.value, *parts)


@pytest.mark.slow
def test_relative_paths_links_and_a_subset(toml, tmp_path, monkeypatch):
    """The TOML file without a folder, and by a link; its files are links."""
    expected = train(toml, tmp_path / "plain", "--config.tasks=mood,stars")
    real = tmp_path / "real"
    shutil.copytree(toml.parent, real)
    for path in toml.parent.glob("mood*.csv"):
        path.unlink()
        path.symlink_to(real / path.name)
    (toml.parent / "link.toml").symlink_to(toml.name)
    monkeypatch.chdir(toml.parent)
    for name in ("tasks.toml", "link.toml"):
        actual = train(name, tmp_path / name, "--config.tasks=stars,mood")
        assert actual["test"] == expected["test"]
        assert list(actual["test"]) == ["mood", "stars", "avg"]


# ---- columns of predictions


def test_columns_of_two_tasks_with_the_same_name_both_stay(capsys):
    """mood has a column mood_probability, and so is a task called."""
    tasks = [
        Task(name, name, "classification", ("bad", "good"), ("accuracy",))
        for name in ("mood", "mood_probability")
    ]
    rows = answered_rows.Table(tasks, ",")
    outputs = {"mood": np.array([0.25, 0.75]), "mood_probability": np.array([1.0, 0.0])}
    rows.write({"text": "fine", "mood": "bad"}, outputs)
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert row == {
        "text": "fine",
        "mood": "bad",
        "predicted_mood": "good",
        "mood_probability": "0.75",
        "predicted_mood_probability": "bad",
        "mood_probability_probability": "1.0",
    }


# ---- two processes

RATE = 1e-5
"""Small: where a gradient is only rounding, Adamax moves by the rate either way."""


def start(toml, workdir, num_devices, *flags):
    """A process that trains for one epoch with small steps."""
    command = ["-m", "mtra_jax", "train", f"--tasks={toml}", f"--workdir={workdir}"]
    rate = f"--config.learning_rate={RATE}"
    return subprocess.Popen(
        [sys.executable, *command, *SHORT, rate, "--config.epochs=1", *flags],
        cwd=ROOT,
        env=xla_flags.environment(num_devices) | {"TQDM_DISABLE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    try:
        _, lines = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, lines[-3000:]


def losses_of(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [x["objective"] for x in map(json.loads, lines) if "objective" in x]


def params_of(workdir):
    """The parameters of the last step by name, in float64."""
    store = checkpoints.Checkpoints(workdir / "checkpoints", read_only=True)
    params = checksums.by_name(store.restore_params(store.latest_step()))
    store.close()
    return {name: np.float64(value) for name, value in params.items()}


@pytest.mark.processes
@nightly_only
def test_two_processes_train_own_tasks_as_one_does(toml, tmp_path):
    """Each has two devices, the one process four; up to rounding."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    one = start(toml, tmp_path / "one", 4)
    joined = (
        *("--distributed", f"--coordinator=127.0.0.1:{port}", "--num_processes=2"),
    )
    two = [
        start(toml, tmp_path / "two", 2, *joined, f"--process_id={number}")
        for number in range(2)
    ]
    for process in (one, *two):
        finish(process)
    losses = losses_of(tmp_path / "one")
    assert len(losses) == 10
    assert losses_of(tmp_path / "two") == pytest.approx(losses, rel=1e-3, abs=1e-4)
    expected, actual = params_of(tmp_path / "one"), params_of(tmp_path / "two")
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert np.abs(actual[name] - value).max() <= 2 * len(losses) * RATE, name
    stored = [
        json.loads((tmp_path / n / "tasks.json").read_text()) for n in ("one", "two")
    ]
    for task, other in zip(*(values["tasks"] for values in stored), strict=True):
        assert {**task, "thresholds": ()} == {**other, "thresholds": ()}
