"""`~` in a path -> the home directory; `data.cache_dir` -> a directory, or None."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from mtra_jax.errors import InputError, caller_level, shown

DEFAULT_CACHE = "~/.cache/mtra_jax"
# `~` at the start of an argument, or of the value in --flag=VALUE and NAME=VALUE.
_TILDE = re.compile(r"([^=/~]*=)?(~.*)", re.DOTALL)


def expand(text: str) -> str:
    """Replaces `~` and `~user` at the start of `text` by the home directory.

    Raises:
      InputError: there is no such user, or this one has no home directory.
    """
    path = os.path.expanduser(text)
    if path.startswith("~"):
        user = path[1:].partition("/")[0]
        fault = f"no user {shown(user)} here" if user else "no home directory: set HOME"
        raise InputError(f"{text}: {fault}; expected a path without ~ (or ./~ for a ~)")
    return path


def expand_arguments(arguments: Sequence[str]) -> list[str]:
    """Expands `~` in command-line arguments, also after `=`, where shells leave it.

    Raises:
      InputError: as `expand`.
    """
    expanded = []
    for argument in arguments:
        if match := _TILDE.fullmatch(argument):
            try:
                argument = (match[1] or "") + expand(match[2])
            except InputError as error:
                raise InputError(f"{match[1] or ''}{error}") from None
        expanded.append(argument)
    return expanded


def cache_directory(text: str) -> Path | None:
    """The directory that `data.cache_dir` names; None for no cache.

    `DEFAULT_CACHE` is below `XDG_CACHE_HOME` if that is set. If it cannot be written, a
    warning replaces the error, because the user did not choose that place.

    Raises:
      InputError: another path begins with an unknown `~user`.
    """
    if not text:
        return None
    if text != DEFAULT_CACHE:
        return Path(expand(text))
    try:
        above = os.environ.get("XDG_CACHE_HOME", "")
        # The XDG base directory specification requires relative values to be ignored.
        above = above if os.path.isabs(above) else expand(os.path.dirname(text))
        directory = Path(above, os.path.basename(text))
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise InputError(f"{directory}: not writable")
    except (InputError, OSError) as error:
        reason = str(error)
        if isinstance(error, OSError):
            reason = f"{error.filename}: {error.strerror}"
        warnings.warn(
            f"no cache of tokens and compiled programs: {reason}; every start makes them "
            "anew (XDG_CACHE_HOME, data.cache_dir or --cache_dir name another place)",
            stacklevel=caller_level(),
        )
        return None
    return directory
