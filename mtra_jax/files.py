"""Paths -> text, lines, JSON; text, bytes, JSON, directories -> atomic replacements."""

import contextlib
import json
import math
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mtra_jax.errors import InputError, naming

_EXPECTED = "; expected UTF-8 text"

# ---- reading


def decode(content: bytes, path: Path, fault: str = _EXPECTED) -> str:
    """Returns the text of a file's `content`, without a byte-order mark.

    `fault` ends the message after "is not UTF-8".

    Raises:
      InputError: `content` is not UTF-8; the line names file, line and byte.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _not_utf8(f"{path}:{line}", error, fault) from error


def _not_utf8(place: str, error: UnicodeDecodeError, fault: str) -> InputError:
    byte = error.object[error.start]
    return InputError(f"{place}: byte 0x{byte:02x} is not UTF-8{fault}")


def read_lines(
    path: str | None,
    *,
    keep_ends: bool = False,
    fault: str = _EXPECTED,
) -> Iterator[str]:
    """Yields the lines of `path`, or of standard input for None, without their ends.

    Only a line feed ends a line, and a carriage return before it is dropped; `keep_ends`
    keeps both. `fault` ends the message about a line after "is not UTF-8".
    `str.splitlines` also splits at U+2028 and U+0085, which tweets contain.

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
                raise _not_utf8(f"{name}:{number}", error, fault) from error
            yield text if keep_ends else text.removesuffix("\n").removesuffix("\r")


def _open(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def read_json(path: Path, advice: str = "") -> Any:
    """Returns the value in a JSON file. `advice` ends the message about a damaged file.

    Raises:
      FileNotFoundError: `path` does not exist.
      InputError: `path` is not UTF-8 or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged: {error}{advice}") from error


def json_lines(path: Path) -> list[tuple[str, Any]]:
    """The values of a log's lines, each after its place; None for a damaged line.

    A last line without a line break is being written, and left out.

    Raises:
      OSError: `path` cannot be read.
    """
    lines: list[tuple[str, Any]] = []
    for number, text in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not text.endswith(b"\n"):
            break
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        lines.append((f"{path}:{number}", value))
    return lines


# ---- writing


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; the body writes there.

    If the body succeeds, the file atomically replaces `path`; if it fails, `path` stays as
    it was. Missing parent directories are created. The file has the permissions of any new
    file (0644 with the usual umask), whatever the body gave it.

    Raises:
      OSError: a write failed; it names `path`, not the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes, or two hosts, may write `path` at once: each has its temporary name.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with naming(path):
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            # safetensors replaces the file by one that only its owner can read.
            if temporary.stat().st_mode != mode:
                temporary.chmod(stat.S_IMODE(mode))
            temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename != str(temporary):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        # An unwritable directory would hide the error of the body.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces `path` by a file with `content`, see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by a UTF-8 file with `text`, whose line ends stay as they are."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` by the indented JSON of `plain(value)`."""
    text = json.dumps(plain(value), indent=2, allow_nan=False)
    write_text(path, f"{text}\n")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested objects by their dotted keys, in order.

    >>> flatten({"seed": 1, "data": {"dir": "d", "limit": 0}})
    {'seed': 1, 'data.dir': 'd', 'data.limit': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def plain(value: Any) -> Any:
    """Returns `value` with None for infinite numbers and NaN, which JSON lacks.

    >>> plain({"avg": math.nan, "losses": [1.5, math.inf]})
    {'avg': None, 'losses': [1.5, None]}
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Yields an empty directory beside `path`, which replaces `path` if the body succeeds.

    The temporary name is fixed, so the next call removes leftovers of a killed process.
    A kill between the removal of `path` and the renaming leaves no directory at `path`.
    """
    temporary = path.with_name(f".{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if path.exists():
        shutil.rmtree(path)
    temporary.rename(path)


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yields an empty directory beside `path`, which gets this name if the body succeeds.

    Its temporary name is unique, so nothing of the user's is touched. A directory at
    `path` is replaced. A killed process leaves the temporary directory.
    """
    unique = uuid.uuid4().hex
    temporary = path.with_name(f".{path.name}.{unique}")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
    try:
        yield temporary
        if path.exists():
            before = path.with_name(f".{path.name}.{unique}.before")
            path.rename(before)
            temporary.rename(path)
            shutil.rmtree(before)
        else:
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
