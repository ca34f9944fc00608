"""A work directory -> a lock, so that only one process writes there."""

import contextlib
import errno
import os
import warnings
from collections.abc import Iterable, Iterator
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
def held(
    workdir: Path, work: str = "trains", remedy: str = "a new --workdir"
) -> Iterator[None]:
    """Holds the lock of `workdir`, which the system frees when the process ends.

    `work`: what the process does there, and `remedy`: another place, for messages.

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
                f"{workdir}: another process {work} there; expected to be alone, or "
                f"{remedy}"
            ) from None
        except OSError as error:
            if error.filename is not None:  # from opening the file, not from locking it
                raise
            _warn(workdir, work, error)
        yield


@contextlib.contextmanager
def held_together(workdirs: Iterable[Path]) -> Iterator[None]:
    """Holds the locks of directories with files that all their runs share; makes them.

    Raises:
      InputError: another process holds a lock, or a directory cannot be made or written.
    """
    with contextlib.ExitStack() as stack:
        # A directory may be given twice; a second lock of it would be refused.
        for workdir in {os.path.realpath(path): path for path in workdirs}.values():
            try:
                own = held(workdir, "writes results", "another directory")
                stack.enter_context(own)
            except OSError as error:
                raise _unusable(workdir, error) from error
        yield


def check_usable(workdir: Path) -> None:
    """Raises InputError if `workdir` cannot be made or written; changes nothing."""
    missing = [path for path in (workdir, *workdir.parents) if not path.exists()]
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if not os.access(workdir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unusable(workdir, error) from error
    finally:
        for path in missing:  # the innermost first
            with contextlib.suppress(OSError):
                path.rmdir()


def _unusable(workdir: Path, error: OSError) -> InputError:
    return InputError(
        f"{workdir}: cannot be written: {error.strerror or error}; expected a directory, or "
        "the name of a new one"
    )


def _warn(workdir: Path, work: str, error: OSError) -> None:
    reason = os.strerror(error.errno) if error.errno else str(error)
    warnings.warn(
        f"{workdir}: no lock can be had on this file system ({reason}): a second "
        f"process that {work} there would not be noticed",
        stacklevel=caller_level(),
    )
