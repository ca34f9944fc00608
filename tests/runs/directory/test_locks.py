"""The lock of a work directory, also on file systems without locks."""

import errno
import fcntl
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from messages import assert_mentions

from mtra_jax.errors import InputError
from mtra_jax.runs.directory import locks


@pytest.mark.parametrize(
    "name",
    ["ENOSYS", "EOPNOTSUPP", "ENOLCK", "EPERM", "EIO", "EINVAL", "ESTALE"],
)
def test_a_file_system_without_locks_is_a_warning_with_its_consequence(
    name, tmp_path, monkeypatch
):
    number = getattr(errno, name)

    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.warns(UserWarning, match=r"^.+") as raised,
        locks.held(tmp_path / "run"),
    ):
        assert (tmp_path / "run" / locks.LOCK).exists()
    (warning,) = raised
    assert str(warning.message) == (
        f"{tmp_path / 'run'}: no lock can be had on this file system "
        f"({os.strerror(number)}): a second process that trains there would not be noticed"
    )


def test_a_run_warns_once(tmp_path, monkeypatch, recwarn):
    """A run checks that the directory is free, and locks it later."""

    def flock(file, operation):
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / locks.LOCK).touch()
    warnings.simplefilter("default")
    locks.check_free(tmp_path)
    with locks.held(tmp_path):
        pass
    assert len(recwarn) == 1


@pytest.mark.processes
def test_a_lock_that_another_process_holds_is_refused_until_it_ends(tmp_path):
    code = (
        "import sys, pathlib; from mtra_jax.runs.directory import locks\n"
        "with locks.held(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError) as error:
            locks.check_free(tmp_path)
        assert_mentions(error.value, tmp_path, "another process", "--workdir")
        with pytest.raises(InputError) as error, locks.held(tmp_path):
            pass
        assert_mentions(error.value, tmp_path, "another process", "--workdir")
        other.kill()  # the system frees the lock
    locks.check_free(tmp_path)
    with locks.held(tmp_path):
        pass


@pytest.mark.parametrize("name", ["EACCES", "EAGAIN"])
def test_a_lock_that_the_system_denies_is_refused(name, tmp_path, monkeypatch):
    """filelock takes both for a lock of another process."""
    number = getattr(errno, name)

    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(InputError, match="another process trains there"),
        locks.held(tmp_path),
    ):
        pass


def test_a_lock_file_that_cannot_be_opened_is_an_error(tmp_path):
    (tmp_path / locks.LOCK).mkdir()
    with pytest.raises(InputError, match=r"\.lock: cannot"), locks.held(tmp_path):
        pass


def test_a_directory_that_cannot_be_made_is_an_error():
    place = Path("/proc/runs/mine")
    with pytest.raises(InputError, match=r"^/proc/runs: cannot"), locks.held(place):
        pass


@pytest.mark.parametrize("name", ["a" * 300, "b" * 300 + "/below", "a\0b"])
def test_an_impossible_name_is_an_error_of_one_line(name, tmp_path):
    def hold(place):
        with locks.held(place):
            pass

    def hold_together(place):
        with locks.held_together([tmp_path / "new", place]):
            pass

    checks = [hold, locks.check_usable]
    checks += [] if "\0" in name else [locks.check_free, hold_together]
    for check in checks:
        with pytest.raises(InputError) as error:
            check(tmp_path / name)
        assert_mentions(error.value, "cannot be written", "expected a directory")
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_lock_file_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o007)
    try:
        with locks.held(tmp_path):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / locks.LOCK).stat().st_mode & 0o777 == 0o660


def test_the_lock_is_free_after_a_body_that_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.held(tmp_path):
        raise ZeroDivisionError
    with locks.held(tmp_path):
        pass
