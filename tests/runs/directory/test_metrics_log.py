"""Lines of `metrics.jsonl`, also after an interruption; JSON files."""

import json
import math
import subprocess

import jax
import numpy as np
import pytest

from mtra_jax import files
from mtra_jax.errors import InputError
from mtra_jax.runs.directory import metrics_log
from mtra_jax.runs.loggers import tensorboard
from mtra_jax.runs.loggers.contract import RunDescription
from mtra_jax.runs.sweeps import shares


def read_lines(directory):
    text = (directory / "metrics.jsonl").read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def write(directory, *, step, lines, active=True):
    record = metrics_log.MetricsLog(directory, step=step, active=active)
    for number, values in lines:
        record.add(number, values)
    record.close()


def test_the_environment_has_the_number_of_runs_at_a_time(monkeypatch):
    assert metrics_log.environment([])["jobs"] == 1
    variables = shares.environment(0, 3)
    monkeypatch.setenv(metrics_log.JOBS, variables[metrics_log.JOBS])
    assert metrics_log.environment([])["jobs"] == 3


def test_one_line_a_step(tmp_path):
    write(tmp_path, step=0, lines=[(1, {"epoch": 1, "loss/a": 0.5}), (2, {"epoch": 1})])
    assert read_lines(tmp_path) == [
        {"step": 1, "epoch": 1, "loss/a": 0.5},
        {"step": 2, "epoch": 1},
    ]


def test_nonfinite_values_become_null(tmp_path):
    """Many readers of JSON stop at NaN."""
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1e300, "e": 3}
    write(tmp_path, step=0, lines=[(1, {**values, "f": float(np.float64("nan"))})])
    expected = {"a": None, "b": None, "c": None, "d": 1e300, "e": 3, "f": None}
    assert read_lines(tmp_path) == [{"step": 1, **expected}]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_lines_are_on_disk_after_a_flush(tmp_path):
    record = metrics_log.MetricsLog(tmp_path, step=0)
    record.add(1, {"loss/a": 0.5})
    record.flush()
    assert read_lines(tmp_path) == [{"step": 1, "loss/a": 0.5}]
    record.close()


def test_a_continued_run_drops_the_steps_it_repeats(tmp_path):
    # A step can have two lines: one of training, and one of the validation after it.
    first = [(1, {"x": 1}), (2, {"x": 2}), (2, {"validation": 2}), (3, {"x": 3})]
    write(tmp_path, step=0, lines=first)
    write(tmp_path, step=2, lines=[(3, {"x": 30}), (4, {"x": 40})])
    assert read_lines(tmp_path) == [
        {"step": 1, "x": 1},
        {"step": 2, "x": 2},
        {"step": 2, "validation": 2},
        {"step": 3, "x": 30},
        {"step": 4, "x": 40},
    ]


def test_a_run_that_is_scored_again_has_its_test_figures_once(tmp_path):
    figures = metrics_log.of_test({"a": {"f1": 50.0}, "avg": 50.0})
    write(tmp_path, step=0, lines=[(1, {"x": 1}), (1, figures)])
    write(tmp_path, step=1, lines=[(1, figures)])
    expected = {"step": 1, "test/a/f1": 50.0, "test/avg": 50.0}
    assert read_lines(tmp_path) == [{"step": 1, "x": 1}, expected]


def test_a_restarted_run_drops_all_lines(tmp_path):
    write(tmp_path, step=0, lines=[(1, {"x": 1}), (2, {"x": 2})])
    write(tmp_path, step=0, lines=[(1, {"x": 5})])
    assert read_lines(tmp_path) == [{"step": 1, "x": 5}]


@pytest.mark.parametrize(
    "tail", ['{"step": 3, "lo', "{", '{"step": 3, "x": 3', "\n", "\x00\x00\x00"]
)
def test_a_line_that_was_cut_off_is_dropped(tmp_path, tail):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "x": 1}\n{"step": 2, "x": 2}\n' + tail)
    write(tmp_path, step=5, lines=[(6, {"x": 6})])
    assert read_lines(tmp_path) == [
        {"step": 1, "x": 1},
        {"step": 2, "x": 2},
        {"step": 6, "x": 6},
    ]


@pytest.mark.parametrize(
    "line", ['{"step": 2, "x"; 2}', '{"stop": 2}', "2", '{"step": "2"}', "\udcff", ""]
)
def test_a_damaged_line_before_another_one_is_refused(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    text = f'{{"step": 1}}\n{line}\n{{"step": 3}}\n'
    path.write_bytes(text.encode(errors="surrogateescape"))
    before = path.read_bytes()
    with pytest.raises(InputError) as error:
        metrics_log.MetricsLog(tmp_path, step=3)
    assert str(error.value) == (
        f"{path}:2: damaged; expected a line of figures with their step, or no such "
        "file, to continue without the earlier figures"
    )
    assert path.read_bytes() == before


def test_a_last_line_without_a_newline_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "x": 1}\n{"step": 2, "x": 2}')
    write(tmp_path, step=2, lines=[(3, {"x": 3})])
    assert [line["step"] for line in read_lines(tmp_path)] == [1, 2, 3]


def test_other_processes_write_nothing(tmp_path):
    record = metrics_log.MetricsLog(tmp_path, step=0, active=False)
    record.add(1, {"x": 1})
    record.flush()
    record.close()
    assert list(tmp_path.iterdir()) == []


def test_no_temporary_file_is_left(tmp_path):
    write(tmp_path, step=0, lines=[(1, {"x": 1})])
    write(tmp_path, step=1, lines=[])
    files.write_json(tmp_path / "config.json", {"a": 1})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["config.json", "metrics.jsonl"]


@pytest.mark.parametrize("step", [0, 7])
def test_events_hold_every_number(tmp_path, step):
    """Parses the file format: length, checksum, protocol buffer, checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    lines = [(8, {"epoch": 1, "loss/a": 0.5}), (9, {"loss/a": math.nan})]
    run = RunDescription(tmp_path, "a", {"seed": 3}, step)
    writer = tensorboard.TensorBoard()
    writer.start(run)
    for number, values in lines:
        writer.log(number, values)
    writer.close()
    (file,) = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    rest, result = file.read_bytes(), []
    while rest:
        size = int.from_bytes(rest[:8], "little")
        result.append(event_pb2.Event.FromString(rest[12 : 12 + size]))
        rest = rest[12 + size + 4 :]
    assert result[0].file_version == "brain.Event:2"
    # Readers drop the points of earlier files from this step on.
    assert result[1].session_log.status == event_pb2.SessionLog.START
    assert result[1].step == step + 1
    if step == 0:
        (text,) = result.pop(2).summary.value
        assert text.metadata.plugin_data.plugin_name == "text"
        assert b"| seed | 3 |" in text.tensor.string_val[0]
    points = [
        (event.step, point.tag, point.simple_value)
        for event in result[2:]
        for point in event.summary.value
    ]
    assert points[:2] == [(8, "epoch", 1.0), (8, "loss/a", 0.5)]
    assert points[2][:2] == (9, "loss/a")
    assert math.isnan(points[2][2])


def test_metrics_of_a_step_by_name():
    """Only the tasks of the batch, in the order of the tasks."""
    measured = {
        "objective": np.float32(1.5),
        "losses": np.array([0.5, 9.0, 0.25], np.float32),
        "weights": np.array([2.0, 9.0, 4.0], np.float32),
        "present": np.array([True, False, True]),
        "terms": {"mi": np.array([0.125, 9.0, 0.0625], np.float32)},
        "scalars": {"norm/grads": np.float32(3.0)},
    }
    result = metrics_log.flatten(measured, ("emotion", "hate", "ei-reg"))
    assert result == {
        "objective": 1.5,
        "loss/emotion": 0.5,
        "loss/ei-reg": 0.25,
        "weight/emotion": 2.0,
        "weight/ei-reg": 4.0,
        "mi/emotion": 0.125,
        "mi/ei-reg": 0.0625,
        "norm/grads": 3.0,
    }
    # JSON takes no NumPy numbers.
    assert {type(value) for value in result.values()} == {float}


def test_environment():
    result = metrics_log.environment(jax.devices()[:3])
    assert result["packages"]["jax"] == jax.__version__
    assert result["packages"]["numpy"] == np.__version__
    assert result["packages"].keys() == set(metrics_log.PACKAGES)
    assert result["devices"] == [jax.devices()[0].device_kind] * 3
    assert result["processes"] == 1
    revision = result["git_revision"]
    assert revision is None or len(revision.removesuffix("-dirty")) == 40
    json.dumps(result, allow_nan=False)


def test_a_commit_is_that_of_the_package(tmp_path, monkeypatch):
    """Not that of a project whose environment the package is installed in."""
    file = tmp_path / "environment" / "metrics_log.py"
    file.parent.mkdir()
    file.touch()
    monkeypatch.setattr(metrics_log, "__file__", str(file))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run([*git, *arguments], check=True)
    assert metrics_log.environment([])["git_revision"] is None
    for arguments in (["add", "."], ["commit", "-q", "-m", "b"]):
        subprocess.run([*git, *arguments], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    assert metrics_log.environment([])["git_revision"] == head.stdout.strip()
    file.write_text("changed")
    assert metrics_log.environment([])["git_revision"] == f"{head.stdout.strip()}-dirty"


def test_environment_without_git_or_packages(monkeypatch):
    def no_git(*args, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(metrics_log.subprocess, "run", no_git)
    monkeypatch.setattr(metrics_log, "PACKAGES", ("no-such-package",))
    result = metrics_log.environment([])
    assert result["git_revision"] is None
    assert result["packages"] == {"no-such-package": None}
