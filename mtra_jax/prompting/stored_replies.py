"""`answers.jsonl`: the reply to each prompt under a digest of model, settings and prompt.

A reply is one line, written at once when it arrives, so that a killed process loses at
most the replies under way. A last line that was cut off is dropped.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from mtra_jax import files
from mtra_jax.errors import InputError, naming, shown
from mtra_jax.prompting.answers import Reply
from mtra_jax.prompting.prompts import Prompt

FILE = "answers.jsonl"


def key(settings: Mapping[str, Any], prompt: Prompt) -> str:
    """SHA-256 of a model's settings, which must be JSON, and a prompt."""
    content = json.dumps([settings, prompt], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()


class Store:
    """The replies of a file, which `add` extends. One process may have it open."""

    def __init__(self, path: Path, replies: dict[str, Reply], file: IO[bytes]) -> None:
        self._path, self._replies, self._file = path, replies, file

    def get(self, key: str) -> Reply | None:
        """The stored reply; None without one."""
        return self._replies.get(key)

    def add(self, key: str, model: str, reply: Reply) -> None:
        """Writes a reply to the file. `model`: a name, for readers of the file."""
        line = {"key": key, "model": model, **reply._asdict()}
        with naming(self._path):
            self._file.write(f"{json.dumps(line)}\n".encode())
            self._file.flush()
        self._replies[key] = reply


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Store]:
    """Yields the replies of `path`, which is created if it does not exist.

    Raises:
      InputError: a line other than the last is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replies = _repaired(path)
    with naming(path):
        file = path.open("ab")
    with file:
        yield Store(path, replies, file)
        with naming(path):
            os.fsync(file.fileno())


def read(path: Path) -> "Store":
    """The replies of `path` without a file to add to; nothing is written.

    Raises:
      InputError: a line other than the last is damaged.
    """
    return Store(path, _replies(path, _whole(path)), io.BytesIO())


def _repaired(path: Path) -> dict[str, Reply]:
    """The replies of `path` by key; a last line without its end is cut off the file."""
    whole = _whole(path)
    if path.exists() and len(whole) < path.stat().st_size:
        with naming(path):
            os.truncate(path, len(whole))
    return _replies(path, whole)


def _whole(path: Path) -> bytes:
    """The lines of `path` that have an end."""
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def _replies(path: Path, whole: bytes) -> dict[str, Reply]:
    text = files.decode(whole, path)
    lines = text.removesuffix("\n").split("\n") if text else []
    return dict(_reply(line, f"{path}:{i}") for i, line in enumerate(lines, 1))


def _reply(line: str, where: str) -> tuple[str, Reply]:
    try:
        values = json.loads(line)
        name, reply = values["key"], Reply(values["text"], values["is_refused"])
        if not (type(name) is type(reply.text) is str and type(reply[1]) is bool):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{where}: damaged: {shown(line)}; expected a stored reply, or no such file"
        ) from error
    return name, reply
