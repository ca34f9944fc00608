"""Failures of Orbax and TensorStore -> one line with the reason, without tracebacks."""

import functools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtra_jax import failures
from mtra_jax.errors import RunError, system_error


class WriteError(RunError):
    """A checkpoint could not be written; the message gives the reason."""


def reason(error: Exception) -> str:
    """The reason of a failure: the system's message, else the error's first line."""
    number = system_error(error)
    return failures.first_line(error) if number is None else os.strerror(number)


def hush() -> None:
    """Stops Orbax and TensorStore from printing tracebacks of what they also raise."""
    logging.getLogger("absl").addFilter(_is_not_from_orbax)
    logging.getLogger("asyncio").addFilter(_is_not_a_failed_write)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    hook = sys.unraisablehook
    if not (isinstance(hook, functools.partial) and hook.func is _show_unraisable):
        sys.unraisablehook = functools.partial(_show_unraisable, hook)


def _is_not_from_orbax(record: logging.LogRecord) -> bool:
    return not _is_orbax(record.pathname)


def _is_not_a_failed_write(record: logging.LogRecord) -> bool:
    """Whether to print a record of `asyncio`.

    Orbax raises the first failed write of a checkpoint and abandons the other writes.
    `asyncio` then reports those that also fail, and those that never end.
    """
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        message = record.getMessage()
        return not (message.startswith("Task was destroyed") and _is_orbax(message))
    return system_error(error) is None or not _is_from_storage(error)


def _is_from_storage(error: BaseException) -> bool:
    # TensorStore's futures have no traceback, but their messages end like this.
    return "[tensorstore_spec=" in str(error) or any(
        _is_orbax(frame.filename) for frame in traceback.extract_tb(error.__traceback__)
    )


def _is_orbax(path: str) -> bool:
    return "orbax" in Path(path).parts


def _show_unraisable(show: Callable[[Any], Any], failure: Any) -> None:
    # Orbax closes the loop after the first failed write, while others are pending. An
    # event loop that could not open its sockets has no attribute `_ssock`.
    if not str(failure.exc_value).endswith(
        ("Event loop is closed", "attribute '_ssock'")
    ):
        show(failure)
