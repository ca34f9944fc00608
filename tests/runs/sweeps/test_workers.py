"""Several runs at a time: the same figures, and all processes save and end together."""

import functools
import io
import json
import signal
import subprocess
import sys
import time
import warnings

import jax
import pytest
import xla_flags
from tiers import nightly_only, rest_nightly

from mtra_jax import cli
from mtra_jax.commands import search as search_command
from mtra_jax.commands import sweep as sweep_command
from mtra_jax.errors import InputError
from mtra_jax.runs.directory import locks
from mtra_jax.runs.search import plan as search
from mtra_jax.runs.search import run as searching
from mtra_jax.runs.sweeps import shares, sweep, worker, workers
from mtra_jax.runs.training import loop
from mtra_jax.runs.trials import run_specs

pytest.importorskip("orbax.checkpoint")
processes = pytest.mark.processes
TINY = (
    ("tasks", "irony,intensity"),
    ("data.fraction", "0.1"),
    ("epochs", "2"),
    ("batch_size", "64"),
    ("data.max_shapes", "1"),
    ("backbone.hidden_size", "16"),
    ("backbone.intermediate_size", "32"),
    ("backbone.num_hidden_layers", "1"),
    ("loggers", ""),
    ("devices", "1"),
)


def answer(call, *arguments, **options):
    """The InputError of a call, one line."""
    with pytest.raises(InputError) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def make_plan(workdir, names=("ew", "si"), cache="", changes=()):
    chosen = run_specs.Sweep(run_specs.grid(names, "new_synthetic", (0,)))
    overrides = (*TINY, ("data.cache_dir", str(cache)), *changes)
    return sweep.make_plan(chosen, workdir, overrides, "the command")


def run_all(plan, num_workers=2):
    lines = []
    failed = sweep.run_all(plan, lines.append, num_workers=num_workers)
    return [job.trial.name for job in failed], lines


def scores(workdir):
    lines = (workdir / "results.jsonl").read_text().splitlines()
    return {v["name"]: v["results"]["test"] for v in map(json.loads, lines)}


def test_what_cannot_be_divided_is_refused(tmp_path, monkeypatch):
    flags = [f"--workdir={tmp_path}/x", "--jobs=0"]
    expected = "--jobs 0: expected a whole number, at least 1"
    sweep_flags = ["--config=configs/sweep.py:synthetic"]
    assert answer(sweep_command.main, [*sweep_flags, *flags]) == expected
    search_flags = ["ew", "--preset=tiny_synthetic", flags[0]]
    assert answer(search_command.main, [*search_flags, "--jobs=0"]) == expected
    assert answer(
        search_command.main, [*search_flags, "--jobs=2", "--space=optuna"]
    ) == (
        "--jobs 2: a trial of --space optuna depends on those before; expected --space "
        "grid, or --jobs 1"
    )
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    assert answer(shares.start_devices, 2) == (
        "--jobs 2: 4 processes run this command together; expected --jobs 1"
    )
    assert not (tmp_path / "x").exists()


# ---- processes that misbehave, in place of Python


def make_works(tmp_path, number):
    trial = run_specs.Trial("ew", "ew", "new_synthetic", 0)
    return [
        workers.Work("run", f"run {i}", trial, (), tmp_path / f"{i}")
        for i in range(number)
    ]


def trained_by(script, tmp_path, monkeypatch):
    """The endings and lines of `run_all` if each worker is a shell script."""
    monkeypatch.setattr(workers, "_START", ["sh", "-c", script])
    lines = []
    works = make_works(tmp_path, 2)
    ends = workers.run_all(works, 2, lines.append, lambda step: False)
    return {i: e._replace(seconds=0.0) for i, e in ends}, lines


END = '{"state": "finished"}'


def test_other_lines_on_standard_output_are_passed_over(tmp_path, monkeypatch):
    script = f"""echo Module cuda/12 loaded; echo 5; printf '\\377\\n'
        echo '{{"say": "a problem"}}'; echo '{END}'"""
    ends, lines = trained_by(script, tmp_path, monkeypatch)
    assert ends == {i: workers.Ending("finished", 0.0) for i in range(2)}
    assert sorted(lines) == [
        *("run 0: a problem", "run 0: starts", "run 1: a problem", "run 1: starts"),
    ]


def test_problems_of_workers_are_told_apart_from_their_starts(tmp_path, monkeypatch):
    script = f"""echo '{{"say": "a problem"}}'; echo '{END}'"""
    monkeypatch.setattr(workers, "_START", ["sh", "-c", script])
    said, warned = [], []
    works = make_works(tmp_path, 1)
    [*workers.run_all(works, 1, said.append, lambda step: False, warn=warned.append)]
    assert (said, warned) == (["run 0: starts"], ["run 0: a problem"])


def test_a_warning_of_several_workers_is_shown_once(tmp_path, monkeypatch, capsys):
    """As if the runs were trained in the process of the command."""
    show = functools.partial(cli._show_warning, set())
    monkeypatch.setattr(warnings, "showwarning", show)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("of the data", stacklevel=1)  # the command has read them, too
        script = f"""echo '{{"warning": "of the data"}}'
            echo '{{"warning": "another"}}'; echo '{END}'"""
        ends, lines = trained_by(script, tmp_path, monkeypatch)
    assert ends == {i: workers.Ending("finished", 0.0) for i in range(2)}
    assert lines == ["run 0: starts", "run 1: starts"]
    assert capsys.readouterr().err == "warning: of the data\nwarning: another\n"


def test_warnings_of_a_worker_are_messages_and_in_its_log(monkeypatch, capsys):
    channel = io.StringIO()
    with warnings.catch_warnings():
        # Pytest's own hook writes nothing.
        monkeypatch.setattr(warnings, "showwarning", _to_standard_error)
        worker._pass_warnings_on(channel)
        warnings.simplefilter("always")
        warnings.warn("of the data", stacklevel=1)
    assert json.loads(channel.getvalue()) == {"warning": "of the data"}
    assert capsys.readouterr().err == "UserWarning: of the data\n"


def _to_standard_error(message, category, *_, **__):
    sys.stderr.write(f"{category.__name__}: {message}\n")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("kill -9 $$", "its process ended with signal 9; see {log}"),
        ("exit 3", "its process ended with exit code 3; see {log}"),
        ('printf \'{"say": "half\'; kill -9 $$', "its process ended with signal 9"),
        (
            'echo \'{"state": "stopped", "reason": "stopped, and saved"}\'',
            "stopped, and saved",
        ),
    ],
)
def test_a_process_without_a_result_is_a_failed_run(
    script, expected, tmp_path, monkeypatch
):
    ends, _ = trained_by(script, tmp_path, monkeypatch)
    for i in range(2):
        assert ends[i].state == "failed"
        log = tmp_path / f"{i}" / "log.txt"
        assert ends[i].reason.startswith(expected.format(log=log))


def test_a_run_whose_log_cannot_be_written_is_a_failed_one(tmp_path, monkeypatch):
    (tmp_path / "0" / "log.txt").mkdir(parents=True)
    ends, _ = trained_by(f"echo '{END}'", tmp_path, monkeypatch)
    assert ends[0].state == "failed"
    assert str(tmp_path / "0" / "log.txt") in ends[0].reason
    assert ends[1].state == "finished"


def test_a_stop_waits_for_all_and_counts_those_that_were_saved(tmp_path, monkeypatch):
    monkeypatch.setenv("STOPPED", '{"state": "stopped", "reason": "saved"}')
    script = """trap 'echo "$STOPPED"; exit' TERM
        read line; echo '{"say": "ready"}'; while true; do sleep 0.05; done"""
    ready = []

    def should_stop(step):
        return len(ready) == 2

    monkeypatch.setattr(workers, "_START", ["sh", "-c", script])
    works = make_works(tmp_path, 3)

    def say(line):
        if line.endswith("ready"):
            ready.append(line)

    with pytest.raises(loop.Stopped, match="stopped 2 runs"):
        list(workers.run_all(works, 2, say, should_stop))
    assert not (tmp_path / "2").exists()


# ---- real processes


@processes
def test_the_figures_are_those_of_one_run_after_the_other(tmp_path):
    failed, lines = run_all(make_plan(tmp_path / "a", cache=tmp_path / "cache"))
    assert failed == []
    assert sorted(line.partition(",")[0] for line in lines) == [
        *["[1/2] ew"] * 2,
        *["[2/2] si"] * 2,
    ]
    failed, _ = run_all(make_plan(tmp_path / "b", cache=tmp_path / "cache"), 1)
    expected = scores(tmp_path / "b")
    assert failed == []
    assert scores(tmp_path / "a").keys() == expected.keys() == {"ew", "si"}
    # Sums in another order: other cores.
    for name, own in scores(tmp_path / "a").items():
        for task in ("irony", "intensity"):
            assert own[task] == pytest.approx(expected[name][task], abs=0.5)
    assert "epoch 2" in (tmp_path / "a/ew/seed0/log.txt").read_text()
    again, lines = run_all(make_plan(tmp_path / "a", cache=tmp_path / "cache"))
    assert [line.partition(",")[2] for line in lines] == [
        f" seed 0: finished before, Avg. {expected_line:.2f}"
        for expected_line in (own["avg"] for own in scores(tmp_path / "a").values())
    ]
    assert again == []


@nightly_only
@processes
def test_trials_of_a_search_have_the_records_of_one_after_the_other(tmp_path):
    def searched(workdir, num_workers):
        overrides = (*TINY, ("data.cache_dir", str(tmp_path / "cache")))
        planned = search.make(
            ("ew", "ew_sum"), "new_synthetic", workdir, 1, "grid", 0, overrides
        )
        lines = []
        ended = searching.run_all(planned, lines.append, num_workers=num_workers)
        return ended, lines

    expected, _ = searched(tmp_path / "b", 1)
    ended, lines = searched(tmp_path / "a", 2)
    assert len(lines) == 4
    for name in expected:
        (own,), (other,) = ended[name], expected[name]
        assert (own.number, own.point) == (other.number, other.point)
        assert own.record.figure == pytest.approx(other.record.figure, abs=1e-3)
        assert (own.record.state, own.record.epochs) == ("finished", 2)
    for file in ("found.toml", "trials.jsonl"):
        assert (tmp_path / "a" / file).exists()
    again, lines = searched(tmp_path / "a", 2)
    assert again == ended
    assert all(line.endswith(" before") for line in lines)


@processes
def test_a_run_that_fails_is_a_line_and_one_with_wrong_input_ends_all(tmp_path):
    # A file where the first run's checkpoints would be.
    plan = make_plan(tmp_path / "a", cache=tmp_path / "cache")
    blocked = tmp_path / "a/ew/seed0/checkpoints"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("")
    failed, lines = run_all(plan)
    assert failed == ["ew"]
    (line,) = [line for line in lines if "failed" in line]
    assert line.startswith(f"[1/2] ew, seed 0: failed: {blocked}: ")
    assert [*scores(tmp_path / "a")] == ["si"]
    wrong = make_plan(tmp_path / "b", changes=[("devices", "64")])
    message = answer(run_all, wrong)
    assert message.startswith("devices is 64; expected 1 to ")


def command(workdir, spec, cache):
    return [
        *(sys.executable, "-m", "mtra_jax", "sweep"),
        *(f"--config={spec}:x", f"--workdir={workdir}", "--jobs=2"),
        *(f"--config.{key}={text}" for key, text in TINY if key != "epochs"),
        *("--config.epochs=60", "--config.patience=60"),
        *(f"--config.data.cache_dir={cache}", "--config.checkpoint_every=1"),
    ]


def alive(workdir):
    """The rows of `workdir` whose runs a process holds."""
    held = []
    for path in workdir.glob("*/seed0/.lock"):
        try:
            locks.check_free(path.parent)
        except InputError:
            held.append(path.parent.parent.name)
    return sorted(held)


def wait_until(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@processes
@pytest.mark.parametrize("name", rest_nightly(["SIGTERM", "SIGKILL"], ["SIGTERM"]))
def test_a_signal_to_the_command_saves_all_runs_and_the_same_command_continues(
    name, tmp_path
):
    spec = tmp_path / "sweeps.py"
    spec.write_text(
        "from mtra_jax.runs.trials import run_specs\n"
        "def get_sweep(name):\n"
        "    rows = run_specs.grid(['ew', 'si'], 'new_synthetic', [0])\n"
        "    return run_specs.Sweep(rows)\n"
    )
    workdir, cache = tmp_path / "runs", tmp_path / "cache"
    number = signal.Signals[name]
    with subprocess.Popen(
        command(workdir, spec, cache),
        env=xla_flags.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            logs = [workdir / f"{row}/seed0/metrics.jsonl" for row in ("ew", "si")]
            wait_until(
                lambda: all(p.exists() and p.stat().st_size > 1000 for p in logs)
            )
            assert alive(workdir) == ["ew", "si"]
        finally:
            process.send_signal(number)
        _, errors = process.communicate(timeout=240)
    if name == "SIGTERM":
        assert process.returncode == 128 + number
        assert errors.endswith("stopped 2 runs, saved; the same command continues\n")
    else:
        wait_until(lambda: not alive(workdir))
    assert alive(workdir) == []
    for row in ("ew", "si"):
        log = (workdir / f"{row}/seed0/log.txt").read_text()
        assert "stopping after the current step" in log
        assert not (workdir / f"{row}/seed0/results.json").exists()
    plan = make_plan(
        workdir,
        cache=cache,
        changes=[("epochs", "60"), ("patience", "60"), ("checkpoint_every", "1")],
    )
    assert [job.state for job in plan.jobs] == ["begun", "begun"]
    steps = [
        int(path.name)
        for path in workdir.glob("*/seed0/checkpoints/*")
        if path.name.isdigit()
    ]
    assert steps
    assert min(steps) > 0
