"""Faults that a user can correct -> one line with the place, the fault and the remedy."""

import contextlib
import difflib
import inspect
import os
import re
import reprlib
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

DEBUG = "MTRA_JAX_DEBUG"
"""Environment variable; if it is set, every failure shows its traceback."""
_LONGEST_NAME = 100
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80
# The number of a system error in the messages of Rust libraries and of TensorStore.
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)|\[os_error_code='(\d+)'")


class _OneLine(BaseException):
    """An exception that notebooks show as one line, unless the environment sets `DEBUG`."""

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows in place of the traceback."""
        if os.environ.get(DEBUG):
            return "".join(traceback.format_exception(self)).splitlines()
        return [f"{type(self).__name__}: {self}"]


class InputError(_OneLine, ValueError):
    """A wrong file, flag or value. Scripts print its single line and exit with code 2."""


class RunError(_OneLine, RuntimeError):
    """A failure despite correct input. Scripts print its line and exit with code 1."""


class Interrupted(_OneLine, KeyboardInterrupt):
    """A training in Python that the user has interrupted, and that can be continued."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Returns the `choices` nearest to `name` as the end of an error message.

    >>> did_you_mean("emotoin", ["emotion", "irony"])
    'did you mean emotion?'
    >>> did_you_mean("xyz", ["emotion", "irony"])
    'known: emotion, irony'

    Names with a dot are compared to those of their group first, and initials to whole
    names.

    >>> did_you_mean("method.beta", ["method.name", "learning_rate"])
    'known: method.name'
    >>> did_you_mean("lr", ["method.name", "learning_rate"])
    'did you mean learning_rate?'
    >>> did_you_mean("method.learning_rate", ["method.name", "learning_rate"])
    'did you mean learning_rate?'
    """
    choices = list(choices)
    head, dot, tail = name.rpartition(".")
    group = [choice for choice in choices if dot and choice.startswith(head + dot)]
    whole = {choice.removeprefix(head + dot): choice for choice in group or choices}
    # The time of a comparison grows with the length, and names are short.
    wanted = (tail if group else name)[:_LONGEST_NAME]
    near = [whole[x] for x in difflib.get_close_matches(wanted, whole, n=3, cutoff=0.6)]
    if len(wanted) > 1:
        near = near or [whole[x] for x in whole if _initials(x) == wanted.lower()]
    # The right key of another group.
    near = near or [choice for choice in choices if choice.rpartition(".")[2] == tail]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(group or choices)}"


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.split("_"))


def expected_one(what: str, name: str, choices: Iterable[str]) -> str:
    """Returns "expected WHAT" with the `choices` nearest to `name`, or with all of them.

    >>> expected_one("a task", "emotoin", ["emotion", "irony"])
    'expected a task; did you mean emotion?'
    >>> expected_one("a task", "xyz", ["emotion", "irony"])
    'expected a task: emotion, irony'
    """
    hint = did_you_mean(name, choices)
    listed = hint.removeprefix("known: ")
    return (
        f"expected {what}; {hint}" if listed == hint else f"expected {what}: {listed}"
    )


def shown(value: object) -> str:
    """Returns the `repr` of `value` on one line, cut if it is long.

    >>> shown("a\\nb")
    "'a\\\\nb'"
    >>> len(shown("a" * 10**7))
    80
    """
    return _REPR.repr(value)


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turns any exception of the body into an InputError.

    For libraries in Rust that read a user's file: their errors and panics have no
    narrower class.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, InputError):
        raise
    except BaseException as error:  # a panic is not an Exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{what}: {reason}") from error


def caller_level() -> int:
    """The `stacklevel` with which a warning shows the line that called this package."""
    package = Path(__file__).resolve().parent
    frame, level = inspect.currentframe(), 0
    while frame and Path(frame.f_code.co_filename).is_relative_to(package):
        frame, level = frame.f_back, level + 1
    # `warnings.warn` counts from its caller, which called this function.
    return max(level, 1)


def check_name(name: str, what: str) -> None:
    """Raises InputError about `what` if `name` does not fit on one line of a table."""
    if _CONTROL.search(name):
        raise InputError(
            f"{what} {shown(name)}; expected no line breaks or control characters"
        )


def system_error(error: BaseException) -> int | None:
    """The error number of the failed system call; None if no such call is the cause.

    >>> system_error(RuntimeError("I/O error: No space left on device (os error 28)"))
    28
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = _SYSTEM_ERROR.search(str(error))
    return int(match[1] or match[2]) if match else None


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turns a failed write of the body into an OSError with the name of the file.

    `write` and `fsync` report no file name, and Rust libraries raise other classes.
    """
    try:
        yield
    except Exception as error:
        number = system_error(error)
        if number is None or getattr(error, "filename", None) is not None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
