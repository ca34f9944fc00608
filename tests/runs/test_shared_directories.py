"""Directories that many runs write into: one process at a time, and refused at the start."""

import os

import own_files
import pytest

from mtra_jax import failures
from mtra_jax.commands import experiment, prompt, search, sweep
from mtra_jax.errors import InputError, RunError
from mtra_jax.runs.directory import locks
from mtra_jax.runs.sweeps import sweep as sweeps

SWEEP = """
from mtra_jax.runs.trials import run_specs

def get_sweep(name):
    return run_specs.Sweep(run_specs.grid(["ew"], "new_synthetic", (0,)))
"""
# Below /proc a directory cannot be made, not even by root.
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")


def refusal(main, arguments):
    """The line of a command that is refused with the exit code of wrong input."""
    with pytest.raises(InputError) as error:
        main(arguments)
    assert failures.explain(error.value).code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def commands(tmp_path):
    """`main` and the arguments without --workdir, by name; nothing is trained or asked."""
    file = tmp_path / "own.py"
    file.write_text(SWEEP)
    toml = own_files.write(tmp_path / "data")
    asked = (f"--tasks={toml}", "--model=toy", "--endpoint=http://127.0.0.1:9/v1")
    studied = ("cost", "--scale=smoke", "--backbone=new", "--seeds=0")
    return {
        "search": (search.main, ("ew", "--preset=new_synthetic", "--trials=1")),
        "optuna": (
            search.main,
            ("ew", "--preset=new_synthetic", "--trials=1", "--space=optuna"),
        ),
        "sweep": (sweep.main, (f"--config={file}:x",)),
        "experiment": (experiment.main, studied),
        "prompt": (prompt.main, asked),
        "dry experiment": (experiment.main, (*studied, "--dry_run")),
        "dry prompt": (prompt.main, (*asked, "--dry_run")),
    }


@pytest.mark.parametrize("name", ["search", "optuna", "sweep", "experiment", "prompt"])
def test_a_second_process_is_refused(name, commands, tmp_path, capsys):
    if name == "optuna":
        pytest.importorskip("optuna")
    main, arguments = commands[name]
    place = tmp_path / "shared"
    with locks.held(place):
        message = refusal(main, [*arguments, f"--workdir={place}"])
    assert message == (
        f"{place}: another process writes results there; expected to be alone, or another "
        "directory"
    )
    assert [path.name for path in place.iterdir()] == [locks.LOCK]
    assert capsys.readouterr().out == ""


def test_a_prompt_is_refused_while_a_process_writes_into_its_sweep(commands, tmp_path):
    main, arguments = commands["prompt"]
    place, own = tmp_path / "sweep", tmp_path / "own"
    with locks.held_together([place]):
        message = refusal(main, [*arguments, f"--workdir={own}", f"--sweep={place}"])
    assert message.startswith(f"{place}: another process writes results there; ")
    assert not (own / "prompt.json").exists()
    assert sweeps.read(place) == []


def test_one_directory_under_two_names_is_locked_once(tmp_path):
    other = tmp_path / "x" / ".." / "shared"
    with locks.held_together([tmp_path / "shared", other]):
        message = refusal(locks.check_free, tmp_path / "shared")
    assert message.startswith(f"{tmp_path / 'shared'}: another process trains there")
    locks.check_free(tmp_path / "shared")


def test_wrong_input_leaves_no_directory_and_another_failure_keeps_what_there_is(
    tmp_path,
):
    (tmp_path / "there").mkdir()
    places = [tmp_path / name for name in ("new/a", "new/a/b", "new/c", "there/d")]

    def work(error):
        assert all((place / locks.LOCK).exists() for place in places)
        (places[2] / "file").touch()
        raise error

    def fail(error):
        with pytest.raises(type(error)), locks.held_together(places):
            work(error)

    fail(InputError("no data"))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"there", "new", "new/c", "new/c/.lock", "new/c/file"}
    fail(RunError("no memory"))
    assert all((place / locks.LOCK).exists() for place in places)
    fail(InputError("no data"))
    assert all((place / locks.LOCK).exists() for place in places)


def test_the_lock_of_a_process_that_was_first_stays(tmp_path, monkeypatch):
    """The other process makes the directory after this one has looked for it."""
    place = tmp_path / "shared"
    monkeypatch.setattr(locks, "_missing", lambda _: [place])
    with locks.held(place):
        with pytest.raises(InputError), locks.held_together([place]):
            pass
        locks.check_usable(place)
        assert (place / locks.LOCK).exists()


@needs_proc
@pytest.mark.parametrize(
    "name", ["search", "sweep", "experiment", "prompt", "dry experiment", "dry prompt"]
)
def test_a_directory_that_cannot_be_made_is_refused_at_the_start(name, commands):
    main, arguments = commands[name]
    assert refusal(main, [*arguments, "--workdir=/proc/x/y"]) == (
        "/proc/x: cannot be written: No such file or directory; expected a directory, or "
        "the name of a new one"
    )


def test_a_check_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    for name in ("new/a/b", "there/c", "there"):
        locks.check_usable(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
    monkeypatch.setattr(os, "access", lambda *_: False)
    message = refusal(locks.check_usable, tmp_path / "there")
    assert message.startswith(f"{tmp_path / 'there'}: cannot be written: Permission")
