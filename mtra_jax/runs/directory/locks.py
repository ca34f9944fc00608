"""A work directory -> a lock, so that only one process writes there."""

import contextlib
import errno
import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import filelock

from mtra_jax.errors import InputError, caller_level

LOCK = ".lock"


def check_free(workdir: Path) -> None:
    """Raises InputError if another process holds the lock, or it cannot be read."""
    if not _missing(workdir / LOCK):
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
      InputError: another process holds the lock, or `workdir` cannot be made or written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise _unusable(workdir, error) from error
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
                raise _unusable(workdir, error) from error
            _warn(workdir, work, error)
        yield


@contextlib.contextmanager
def held_together(workdirs: Iterable[Path]) -> Iterator[None]:
    """Holds the locks of directories with files that all their runs share; makes them.

    After an InputError of the body, directories that were made and are empty are removed.

    Raises:
      InputError: another process holds a lock, or a directory cannot be made or written.
    """
    missing: list[Path] = []
    with contextlib.ExitStack() as stack:
        try:
            # A directory may be given twice; a second lock of it would be refused.
            for workdir in {os.path.realpath(path): path for path in workdirs}.values():
                new = _missing(workdir)
                own = held(workdir, "writes results", "another directory")
                try:
                    stack.enter_context(own)
                except InputError:
                    _remove_empty(new)  # not with the lock of a process that was first
                    raise
                missing = [*new, *missing]
            yield
        except InputError:
            _remove_empty(missing, (LOCK,))
            raise


def check_usable(workdir: Path) -> None:
    """Raises InputError if `workdir` cannot be made or written; changes nothing."""
    missing = _missing(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if not os.access(workdir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        raise _unusable(workdir, error) from error
    finally:
        _remove_empty(missing)


def _missing(workdir: Path) -> list[Path]:
    """`workdir` and its parents that do not exist, the innermost first.

    Raises:
      InputError: a name is too long, or a directory above cannot be searched.
    """
    try:
        return [path for path in (workdir, *workdir.parents) if not path.exists()]
    except OSError as error:
        raise _unusable(workdir, error) from error


def _remove_empty(directories: Iterable[Path], own: Collection[str] = ()) -> None:
    """Removes each directory without other files than those of the names `own`."""
    for directory in directories:
        with contextlib.suppress(OSError, ValueError):
            names = os.listdir(directory)
            if set(names) <= set(own):
                for name in names:
                    (directory / name).unlink()
            directory.rmdir()


def _unusable(workdir: Path, error: OSError | ValueError) -> InputError:
    """For an OSError, or the ValueError of a name with a NUL byte."""
    place, reason = workdir, str(error)
    if isinstance(error, OSError):
        place, reason = error.filename or place, error.strerror or reason
    return InputError(
        f"{place}: cannot be written: {reason}; expected a directory, or the name of a "
        "new one"
    )


def _warn(workdir: Path, work: str, error: OSError) -> None:
    reason = os.strerror(error.errno) if error.errno else str(error)
    warnings.warn(
        f"{workdir}: no lock can be had on this file system ({reason}): a second "
        f"process that {work} there would not be noticed",
        stacklevel=caller_level(),
    )
