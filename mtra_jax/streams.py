"""Standard streams that may be closed, full or unread -> streams that are safe to write.

A failed write to standard output ends only a script whose output is its product. A failed
write to standard error ends no script. The interpreter's flush at exit cannot fail either.
"""

import errno
import io
import os
import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from mtra_jax.errors import RunError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CLOSED = OSError(errno.EBADF, os.strerror(errno.EBADF))


class OutputError(RunError):
    """Standard output cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: {error.strerror}")
        self.is_unread = error.errno == errno.EPIPE


class _Descriptor(io.FileIO):
    """A file descriptor for writing that reports its first failure and drops the rest."""

    def __init__(
        self, number: int, on_failure: Callable[[OSError], None], *, is_closed: bool
    ) -> None:
        super().__init__(number, "w", closefd=False)
        self.on_failure = on_failure
        self._is_closed = is_closed
        self._has_failed = False

    def write(self, data: "ReadableBuffer", /) -> int:
        """Writes as much as the system accepts; after a failure it discards all data."""
        size = memoryview(data).nbytes
        if self._has_failed:
            return size
        try:
            if self._is_closed:
                raise CLOSED
            while (written := super().write(data)) is None:  # a non-blocking descriptor
                select.select([], [self], [])
        except OSError as error:
            self._has_failed = True
            self.on_failure(error)
            return size
        return written


def guard(*, output_is_product: bool) -> None:
    """Makes the standard streams of this process safe to write to.

    With `output_is_product` a failed write to standard output raises OutputError, and what
    does not go to a terminal is UTF-8, as all files are: another encoding lacks signs.
    Without it the output is dropped, with a warning unless the reader closed the pipe.
    """
    _occupy_descriptors()
    stdout = sys.stdout if output_is_product else None
    if isinstance(stdout, io.TextIOWrapper) and not stdout.isatty():
        stdout.reconfigure(encoding="utf-8")
    on_failure = _raise if output_is_product else _warn
    sys.stdout = _guarded(sys.stdout, 1, on_failure)
    sys.stderr = _guarded(sys.stderr, 2, _ignore)


def _occupy_descriptors() -> None:
    """Opens the null device for each of the descriptors 0, 1 and 2 that is closed.

    Otherwise the next opened file would get that number, and the output of libraries.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def _guarded(
    stream: TextIO | None, number: int, on_failure: Callable[[OSError], None]
) -> TextIO:
    if stream is not None:
        if not isinstance(stream, io.TextIOWrapper):
            return stream
        # Names given by the user may hold bytes that are not text.
        stream.reconfigure(errors="backslashreplace")
        raw = getattr(stream.buffer, "raw", None)
        if isinstance(raw, _Descriptor):
            raw.on_failure = on_failure
            return stream
        if _number_of(stream) != number:  # redirected within Python
            return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(number, on_failure, is_closed=stream is None)),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=stream is not None and stream.line_buffering,
        write_through=stream is not None and stream.write_through,
    )


def _number_of(stream: io.TextIOWrapper) -> int | None:
    try:
        return stream.fileno()
    except OSError:  # a stream in memory
        return None


def _raise(error: OSError) -> None:
    raise OutputError(error) from error


def _ignore(error: OSError) -> None:
    del error


def _warn(error: OSError) -> None:
    if error.errno not in (errno.EPIPE, errno.EBADF):
        sys.stderr.write(
            f"warning: standard output: {error.strerror}; further lines are dropped\n"
        )
