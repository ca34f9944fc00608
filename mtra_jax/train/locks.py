"""A work directory -> this process's alone while it trains there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mtra_jax.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none; there the directory is not guarded.
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

    Raises:
      InputError: another process holds it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / LOCK).open("a", encoding="utf-8") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{workdir}: another process trains there; expected to be alone, "
                    "or a new --workdir"
                ) from None
        yield
