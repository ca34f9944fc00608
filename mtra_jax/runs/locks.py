"""A work directory -> a lock, so that only one process trains there."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mtra_jax.errors import InputError

try:
    import fcntl
except ImportError:  # Windows; the directory is not guarded there
    fcntl = None

LOCK = ".lock"


def check_free(workdir: Path) -> None:
    """Raises InputError where another process holds the lock of `workdir`."""
    if (workdir / LOCK).exists():
        with held(workdir):
            pass


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Holds the lock of `workdir`, which the system frees when the process ends.

    Where the file system has no locks (Lustre without `-o flock`, some network mounts)
    the body runs without one, after a warning.

    Raises:
      InputError: another process holds it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / LOCK).open("a", encoding="utf-8") as file:
        _lock(file, workdir)
        yield


def _lock(file: TextIO, workdir: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{workdir}: another process trains there; expected to be alone, or a new "
            "--workdir"
        ) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        warnings.warn(
            f"{workdir}: no lock can be had on this file system ({reason}): a second "
            "process that trains there would not be noticed",
            stacklevel=2,
        )
