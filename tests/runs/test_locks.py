"""The lock of a work directory, and file systems that have none."""

import errno
import fcntl
import os
import subprocess
import sys
import warnings

import pytest
from messages import assert_mentions

from mtra_jax.errors import InputError
from mtra_jax.runs import locks


@pytest.mark.parametrize(
    "name",
    ["ENOSYS", "EOPNOTSUPP", "ENOLCK", "EPERM", "EACCES", "EIO", "EINVAL", "ESTALE"],
)
def test_a_file_system_without_locks_is_a_warning_with_its_consequence(
    name, tmp_path, monkeypatch
):
    number = getattr(errno, name)

    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.warns(UserWarning, match=r"^.+") as warned,
        locks.held(tmp_path / "run"),
    ):
        assert (tmp_path / "run" / locks.LOCK).exists()
    (warning,) = warned
    reason = os.strerror(number)
    assert_mentions(warning.message, tmp_path / "run", "lock", reason, "second process")


def test_a_run_warns_once(tmp_path, monkeypatch, recwarn):
    """It looks whether the directory is free, and takes it later."""

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
        "import sys, pathlib; from mtra_jax.runs import locks\n"
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
        other.kill()  # nothing is left to clear away
    locks.check_free(tmp_path)
    with locks.held(tmp_path):
        pass
