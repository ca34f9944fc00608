"""Disks, files and processes that fail under real runs: one line, and nothing lost."""

import contextlib
import json
import os
import shutil
import signal
import subprocess

import pytest
from messages import assert_mentions
from tiers import nightly_only, rest_nightly

pytest.importorskip("orbax.checkpoint")
pytestmark = [pytest.mark.processes, pytest.mark.hostile]
START = "mtra_jax.runs.directory.inputs_json:write"
STEP = "mtra_jax.runs.directory.metrics_log:MetricsLog.add"
# Once the previous checkpoint is complete.
RETAIN = "mtra_jax.runs.directory.checkpoints:_LatestAndBest.should_preserve"
SCORING = "mtra_jax.runs.training.results:finish"
EPOCH = "mtra_jax.data.packed.batches:Batcher.batches"


@pytest.fixture(scope="module")
def stopped(script, tmp_path_factory):
    """A run that was stopped at step 7; the checkpoint of step 4 is the best."""
    workdir = tmp_path_factory.mktemp("runs") / "stopped"
    script.train(workdir, code=143, faults=[(STEP, 6, "signal", signal.SIGTERM)])
    assert steps_kept(workdir) == [4, 7]
    return workdir


@pytest.fixture
def copied(stopped, tmp_path):
    """A copy of that run, to be damaged."""
    return shutil.copytree(stopped, tmp_path / "run")


def steps_kept(workdir):
    names = [path.name for path in workdir.glob("checkpoints/*")]
    return sorted(int(name) for name in names if name.isdigit())


def files_of(workdir):
    """The bytes of every file by its path."""
    paths = [path for path in sorted(workdir.rglob("*")) if path.is_file()]
    return {path.relative_to(workdir): path.read_bytes() for path in paths}


# ---- the disk


@contextlib.contextmanager
def mounted(directory, *options):
    """Mounts a file system at `directory`, if this user may."""
    directory.mkdir()
    done = subprocess.run(
        ["mount", *options, directory], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"nothing can be mounted: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@contextlib.contextmanager
def full_disk(tmp_path):
    """A work directory, `fault(room)` that leaves `room` bytes there, and the reason.

    A user can limit the size of the process's files. Only root can mount a small disk.
    """
    if os.geteuid() != 0:
        yield tmp_path / "run", lambda room: ("largest file", room), "File too large"
        return
    small = ("-t", "tmpfs", "-o", "size=4m", "tmpfs")
    with mounted(tmp_path / "disk", *small) as disk:
        filler = disk / "filler"

        def fault(room):
            filler.unlink(missing_ok=True)
            return "fill", (str(filler), room)

        yield disk / "run", fault, "No space left on device"


def test_a_full_disk_is_reported_and_the_run_continues_once_there_is_room(
    script, same_end, tmp_path
):
    """The disk is full at the start, at and during a checkpoint, and when scoring."""
    with full_disk(tmp_path) as (workdir, fault, reason):
        checkpoint = (
            f"/checkpoints: a checkpoint cannot be written: {reason}; those before it "
            "are kept"
        )
        for place, call, room, steps, message in (
            (START, 1, 0, [[]], f"/inputs.json: {reason}"),
            (RETAIN, 4, 0, [[4]], checkpoint),
            # An older one may be gone by then, and leave room for one more.
            (RETAIN, 4, 1 << 16, [[8], [8, 10]], checkpoint),
            (SCORING, 1, 0, [[12]], f"/predictions/irony.txt: {reason}"),
        ):
            faults = [(place, call, *fault(room))]
            errors = script.train(workdir, code=1, faults=faults)
            expected = [message]
            if message == checkpoint:
                # Written in the background: the next lines of the log may fail before.
                expected.append(f"/metrics.jsonl: {reason}")
            assert errors in [f"error: {workdir}{text}\n" for text in expected]
            assert steps_kept(workdir) in steps
            assert not (workdir / "results.json").exists()
        fault(0)
        assert script.train(workdir) == ""
        same_end(workdir)


@contextlib.contextmanager
def read_only(directory, tmp_path):
    """Yields the directory, read-only, and the reason of a failed write."""
    if os.geteuid() == 0:
        # Root can write in spite of the mode.
        with mounted(tmp_path / "run", "--bind", "-o", "ro", directory) as result:
            yield result, "Read-only file system"
        return
    result = shutil.copytree(directory, tmp_path / "run")
    paths = [result, *result.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield result, "Permission denied"
    for path in paths:
        path.chmod(0o755)


def test_a_read_only_work_directory_is_reported(script, stopped, tmp_path):
    before = files_of(stopped)
    with read_only(stopped, tmp_path) as (workdir, reason):
        errors = script.train(workdir, code=2)
    assert_mentions(errors, f"error: {workdir}/.lock", reason, "the name of a new one")
    assert files_of(stopped) == before


def test_the_results_of_a_read_only_work_directory_are_shown(
    script, undisturbed, tmp_path
):
    with read_only(undisturbed, tmp_path) as (workdir, _):
        output, errors = script.run("train.py", f"--workdir={workdir}")
    assert errors == ""
    average = json.loads((undisturbed / "results.json").read_text())["test"]["avg"]
    assert f"{average:.2f}" in output


def test_a_removed_work_directory_ends_the_run_and_is_not_created_again(script, copied):
    errors = script.train(copied, code=1, faults=[(STEP, 1, "remove", str(copied))])
    assert errors == (
        f"error: {copied}/checkpoints: a checkpoint cannot be written: no such "
        "directory any more\n"
    )
    assert not copied.exists()


# ---- damaged checkpoints


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def damage(workdir, step, how):
    """Damages the largest file of the state."""
    files = (workdir / "checkpoints" / str(step) / "state").rglob("d/*")
    how(max(files, key=lambda path: path.stat().st_size))


@pytest.mark.parametrize("how", rest_nightly([truncate, flip], [flip]))
def test_a_damaged_checkpoint_is_reported_and_the_run_continues_from_the_one_before(
    how, script, same_end, copied
):
    damage(copied, 7, how)
    output, errors = script.run("train.py", f"--workdir={copied}")
    assert errors == ""
    (line,) = [line for line in output.splitlines() if "continuing from" in line]
    assert line.startswith(f"{copied}/checkpoints: step 7 ")
    assert line.endswith("; continuing from step 4")
    assert "continuing at step 4" in output.splitlines()
    same_end(copied)


def test_if_all_checkpoints_are_damaged_the_message_tells_how_to_start_anew(
    script, same_end, copied
):
    damage(copied, 4, flip)
    damage(copied, 7, truncate)
    before = files_of(copied / "checkpoints")
    errors = script.train(copied, code=2)
    place = copied / "checkpoints"
    assert errors.startswith(f"error: {place}: step 7 ")
    advice = f"; no other checkpoint is whole: remove {place} to start anew\n"
    assert errors.endswith(advice)
    assert errors.count("\n") == 1
    assert files_of(place) == before
    shutil.rmtree(place)
    assert script.train(copied) == ""
    same_end(copied)


# ---- the owner of a work directory


def test_a_second_process_is_refused_and_the_first_finishes(script, same_end, tmp_path):
    """The first waits in its seventh step while the second starts."""
    faults = [(STEP, 6, "signal", signal.SIGSTOP)]
    first = script.start("train.py", f"--workdir={tmp_path}", faults=faults)
    os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    errors = script.train(tmp_path, code=2)
    assert errors == (
        f"error: {tmp_path}: another process trains there; expected to be alone, or a "
        "new --workdir\n"
    )
    first.send_signal(signal.SIGCONT)
    assert script.finish(first)[1] == ""
    same_end(tmp_path)


def test_the_work_directory_of_another_run_is_refused_and_unchanged(
    script, same_end, copied
):
    file = copied / "config.json"
    values = json.loads(file.read_text())
    advice = "expected the same configuration, or a new --workdir"
    for changes, message in (
        ({"seed": 1}, f"seed is 1 there and 0 here; {advice}"),
        (
            {"tasks": ["irony"]},
            f"tasks is ('irony',) there and ('irony', 'intensity') here; {advice}",
        ),
        (
            {"format": 2},
            "format 2, written by a newer mtra_jax; expected at most 1",
        ),
    ):
        file.write_text(json.dumps(values | changes))
        before = files_of(copied)
        assert script.train(copied, code=2) == f"error: {file}: {message}\n"
        assert files_of(copied) == before
    file.write_text(json.dumps(values))
    assert script.train(copied) == ""
    same_end(copied)


# ---- numbers


@nightly_only
def test_nonfinite_steps_are_skipped_and_too_many_end_the_run(script, tmp_path):
    """Steps 2 to 4, before an epoch is over; the same command continues from the third."""
    flags = (f"--workdir={tmp_path}", "--config.max_bad_steps=3")
    faults = [(EPOCH, 1, "not finite", [1, 2, 3])]
    output, errors = script.run("train.py", *flags, code=1, faults=faults)
    reports = [line for line in output.splitlines() if "not finite" in line]
    assert [line.partition(" on ")[0] for line in reports] == ["step 2", "step 3"]
    counts = [line.rpartition("; skipped, ")[2] for line in reports]
    assert counts == ["1 in a row", "2 in a row"]
    assert errors.startswith("error: step 4 on ")
    assert "; 3 such steps in a row, the last good checkpoint is kept; " in errors
    assert errors.count("\n") == 1
    for line in (*reports, errors):
        task = line.partition(" on ")[2].partition(":")[0]
        assert task in ("irony", "intensity")
        assert f" on {task}: not finite: objective, loss/{task}, " in line
    assert steps_kept(tmp_path) == [2]

    output, errors = script.run("train.py", *flags)
    assert errors == ""
    assert "continuing at step 2" in output.splitlines()
    text = (tmp_path / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    taken = [(x["step"], x["bad_steps"]) for x in lines if "objective" in x]
    assert taken == [(step, float(step == 2)) for step in range(1, 13)]
    assert json.loads((tmp_path / "results.json").read_text())["skipped_steps"] == 1


@nightly_only
def test_too_many_after_a_finite_epoch_end_the_run_with_its_results(script, tmp_path):
    """Steps 6 to 8, of which the third would be the last of the second epoch."""
    flags = (f"--workdir={tmp_path}", "--config.max_bad_steps=3")
    faults = [(EPOCH, 3, "not finite", [1, 2, 3])]
    output, errors = script.run("train.py", *flags, faults=faults)
    assert errors == ""
    (line,) = [line for line in output.splitlines() if "3 such steps in a row" in line]
    assert line.startswith("step 8 on ")
    assert line.endswith("; training ends: epoch 1 is the best")
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["best_epoch"], results["steps"]) == (1, 8)
    # The same figures again, from the checkpoint.
    output, errors = script.run("evaluate.py", f"--workdir={tmp_path}", "--cache_dir=")
    assert json.loads(output) == results["test"]


# ---- streams and devices


def test_a_run_survives_the_end_of_its_reader(script, same_end, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    process = script.start("train.py", f"--workdir={tmp_path}", stdout=writer)
    os.close(writer)
    assert script.finish(process) == (None, "")
    same_end(tmp_path)


def test_missing_devices_are_named(script, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    errors = script.train(tmp_path / "run", code=2)
    assert errors.startswith("error: JAX_PLATFORMS=nonsense: cannot be used here: ")
    assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()
