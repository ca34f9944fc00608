"""What Orbax and TensorStore say of a failure -> its reason in a line, said once."""

import functools
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# How TensorStore ends a line that names every layer the error went through.
_SYSTEM_ERROR = re.compile(r"\[os_error_code='(\d+)'")


class WriteError(RuntimeError):
    """A checkpoint could not be written; the message says why."""


def reason(error: Exception) -> str:
    """Why it failed: what the system said, or else the first line."""
    code = _SYSTEM_ERROR.search(str(error))
    if code is not None:
        return os.strerror(int(code[1]))
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def hush() -> None:
    """Keeps both from printing tracebacks of what is raised as well."""
    logging.getLogger("absl").addFilter(_is_of_others)
    hook = sys.unraisablehook
    if not (isinstance(hook, functools.partial) and hook.func is _show_unraisable):
        sys.unraisablehook = functools.partial(_show_unraisable, hook)


def _is_of_others(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


def _show_unraisable(show: Callable[[Any], Any], found: Any) -> None:
    # At the first array that cannot be written Orbax ceases to wait for the others.
    if str(found.exc_value) != "Event loop is closed":
        show(found)
