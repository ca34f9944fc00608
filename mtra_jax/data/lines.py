"""A file or standard input -> texts, one a line."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mtra_jax.errors import InputError


def read_lines(path: str | None) -> Iterator[str]:
    """Yields the lines of `path`, or of standard input for None, without their ends.

    Lines end at a line feed only (a carriage return before it is dropped): texts may
    hold other separators.

    Raises:
      InputError: the file cannot be read, the stream is closed, or a line is not UTF-8.
    """
    name = "standard input" if path is None else path
    if path is None and sys.stdin is None:
        raise InputError(f"{name}: closed; expected texts there, or in a file")
    stream = sys.stdin.buffer if path is None else _open(path)
    with stream:
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                raise InputError(
                    f"{name}:{number}: byte 0x{byte:02x} is not UTF-8; expected UTF-8 "
                    "text"
                ) from error
            yield text.removesuffix("\n").removesuffix("\r")


def _open(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def chunks(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    """Yields lists of `size` texts; the last may be shorter."""
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
