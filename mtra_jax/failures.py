"""An exception -> the line and the exit code that a script ends with.

Only this module distinguishes wrong input, failures outside the program (memory, disks,
streams, devices, installed packages) and faults of this program, which get a traceback.
"""

import errno
import os
import signal
import traceback
from pathlib import Path
from typing import NamedTuple

from mtra_jax.errors import DEBUG, InputError, RunError, system_error
from mtra_jax.streams import OutputError

INTERRUPTED = "interrupted; the same command continues"
_PACKAGE = Path(__file__).resolve().parent
_NO_MEMORY = ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY", "out of memory", "Out of memory")
# By name, since this module does not import JAX. jaxlib used the second name.
_JAX = ("JaxRuntimeError", "XlaRuntimeError")


class Failure(NamedTuple):
    """The end of a script: `line` for standard error, empty for none, and the exit code."""

    line: str
    code: int
    is_internal: bool = False
    """Whether it is a fault of this program, which is shown with its traceback."""


def explain(error: BaseException) -> Failure:
    """Returns the line and the exit code of a script that raised `error`."""
    if isinstance(error, InputError):
        return Failure(f"error: {error}", 2)
    if isinstance(error, OutputError) and error.is_unread:
        return Failure("", 128 + signal.SIGPIPE)
    if isinstance(error, RunError):
        return Failure(f"error: {error}", 1)
    if isinstance(error, KeyboardInterrupt):
        return Failure(INTERRUPTED, 128 + signal.SIGINT)
    reason = surroundings(error)
    if reason is not None:
        return Failure(f"error: {reason}", 1)
    message = "; ".join([str(error), *getattr(error, "__notes__", ())])
    return Failure(
        f"internal error: {type(error).__name__}: {message} ({place(error)}); a fault of "
        "mtra_jax: please report it with the lines above",
        1,
        is_internal=True,
    )


def surroundings(error: BaseException) -> str | None:
    """Describes a failure outside the program; None for a fault of the program."""
    memory = out_of_memory(error)
    if memory is not None:
        return (
            f"out of memory: {memory}; less is needed with a smaller batch_size or "
            "data.max_length, or more micro_batches"
        )
    if isinstance(error, OSError) or system_error(error) is not None:
        return os_error(error)
    if isinstance(error, ImportError) and not _is_own(error.name):
        where = _of_an_import(error) or place(error)
        return f"{error} ({where}); expected the packages of pyproject.toml"
    if isinstance(error, UnicodeError | RecursionError):
        return f"{error} ({place(error)}); {DEBUG}=1 shows the traceback"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return f"{error}: too many processes of this user, see ulimit -u"
    if is_of_jax(error):
        return f"JAX: {first_line(error)}; {DEBUG}=1 shows the traceback"
    if imported := _of_an_import(error):
        return f"cannot start: {type(error).__name__}: {error} ({imported})"
    return None


def out_of_memory(error: BaseException) -> str | None:
    """Describes a failed allocation on the host or a device; None for other errors."""
    if isinstance(error, MemoryError):
        return first_line(error)
    if isinstance(error, OSError):
        return os_error(error) if error.errno == errno.ENOMEM else None
    # Some paths of JAX raise the runtime's message as a ValueError.
    is_message = isinstance(error, ValueError) and str(error).startswith(_NO_MEMORY[0])
    if is_message or (is_of_jax(error) and any(x in str(error) for x in _NO_MEMORY)):
        return first_line(error)
    return None


def is_of_jax(error: BaseException) -> bool:
    """Whether JAX's runtime raised `error`."""
    return any(kind.__name__ in _JAX for kind in type(error).__mro__)


def os_error(error: BaseException) -> str:
    """The file and the reason of a failed system call; without a file, its place."""
    number, name = system_error(error), getattr(error, "filename", None)
    reason = getattr(error, "strerror", None)
    if reason is None:
        reason = first_line(error) if number is None else os.strerror(number)
    if name is None:
        return f"{reason} ({place(error)})"
    if isinstance(name, int):
        return f"file descriptor {name}: {reason}"
    return f"{os.fsdecode(name)}: {reason}"


def first_line(error: BaseException) -> str:
    """The first line of the message, or the type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def place(error: BaseException) -> str:
    """FILE:LINE of the last frame of `error` in this package, or else of its last frame."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "unknown place"
    # `cli.run` is a frame of every script.
    own = [f for f in frames if _is_inside(f.filename) and f.name != "run"]
    frame = (own or frames)[-1]
    path = Path(frame.filename)
    if own:
        path = path.relative_to(_PACKAGE.parent)
    return f"{path}:{frame.lineno}"


def _is_own(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] == _PACKAGE.name


def _is_inside(file: str) -> bool:
    return Path(file).is_relative_to(_PACKAGE)


def _below_own(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames below the last one of this package, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [i for i, frame in enumerate(frames) if _is_inside(frame.filename)]
    return list(frames[own[-1] + 1 :] if own else frames)


def _of_an_import(error: BaseException) -> str | None:
    """FILE:LINE where another package raised `error` during its import; None otherwise."""
    frames = _below_own(error)
    # Python omits the frames of its import system.
    if not any(frame.name == "<module>" for frame in frames):
        return None
    return f"{frames[-1].filename}:{frames[-1].lineno}"
