"""A directory -> an error if Orbax could not read back checkpoints from there."""

import os
import re
from pathlib import Path

from mtra_jax.errors import InputError

# Orbax globs paths without escaping them, and reads gs:, s3: and az: as buckets.
_NOT_READ_BACK = re.compile(r"\[|\\|\*\*|(?<![^/])(gs|s3|az):/")


def check(directory: str | Path) -> None:
    """Raises InputError if checkpoints in `directory` could not be read back."""
    path = os.path.abspath(directory)
    printable = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if printable != path:
        raise InputError(f"{printable}: not UTF-8; checkpoints need a path that is")
    if fault := _NOT_READ_BACK.search(path):
        raise InputError(
            f"{path}: checkpoints cannot be read back from a path with {fault[0]!r}; "
            "expected another directory"
        )
