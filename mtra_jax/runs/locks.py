"""A work directory -> a lock, so that only one process trains there."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import filelock

from mtra_jax.errors import InputError, caller_level

LOCK = ".lock"


def check_free(workdir: Path) -> None:
    """Raises InputError if another process holds the lock of `workdir`."""
    if (workdir / LOCK).exists():
        with held(workdir):
            pass


@contextlib.contextmanager
def held(workdir: Path, work: str = "trains") -> Iterator[None]:
    """Holds the lock of `workdir`, which the system frees when the process ends.

    `work`: what the process does there, for messages.

    Some file systems have no locks (Lustre without `-o flock`, some network mounts).
    The body runs there without one, after a warning: filelock's own fallback is a
    marker file, which a killed process leaves behind.

    Raises:
      InputError: another process holds the lock.
      OSError: the lock file cannot be opened.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(workdir / LOCK, blocking=False, fallback_to_soft=False)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except filelock.Timeout:
            raise InputError(
                f"{workdir}: another process {work} there; expected to be alone, or a "
                "new --workdir"
            ) from None
        except OSError as error:
            if error.filename is not None:  # from opening the file, not from locking it
                raise
            _warn(workdir, work, error)
        yield


def _warn(workdir: Path, work: str, error: OSError) -> None:
    reason = os.strerror(error.errno) if error.errno else str(error)
    warnings.warn(
        f"{workdir}: no lock can be had on this file system ({reason}): a second "
        f"process that {work} there would not be noticed",
        stacklevel=caller_level(),
    )
