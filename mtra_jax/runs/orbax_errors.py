"""Failures in Orbax and TensorStore -> their reason in one line, without tracebacks."""

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtra_jax import failures
from mtra_jax.errors import RunError, system_error


class WriteError(RunError):
    """A checkpoint could not be written; the message says why."""


def reason(error: Exception) -> str:
    """The reason of a failure: the system's, or else the first line of the error."""
    number = system_error(error)
    return failures.first_line(error) if number is None else os.strerror(number)


def hush() -> None:
    """Keeps Orbax and TensorStore from printing tracebacks of errors that they raise."""
    logging.getLogger("absl").addFilter(_is_of_others)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    hook = sys.unraisablehook
    if not (isinstance(hook, functools.partial) and hook.func is _show_unraisable):
        sys.unraisablehook = functools.partial(_show_unraisable, hook)


def _is_of_others(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


def _show_unraisable(show: Callable[[Any], Any], unraisable: Any) -> None:
    # At the first array that cannot be written Orbax ceases to wait for the others; an
    # event loop that lacks file descriptors was never whole.
    if not str(unraisable.exc_value).endswith(
        ("Event loop is closed", "attribute '_ssock'")
    ):
        show(unraisable)
