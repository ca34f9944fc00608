"""A file -> an error if a failed download left something else in its place."""

import re
from pathlib import Path

from mtra_jax.errors import InputError

_HEAD = 1024  # bytes
_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGE = re.compile(
    rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_XML = re.compile(rb"\s*<\?xml\b.*<(error|html)\b", re.IGNORECASE | re.DOTALL)
_ANSWERS = (
    b"404: Not Found",
    b"404 page not found",
    b"Entry not found",
    b"Not Found",
    b"Repository not found",
    b"Invalid username or password.",
    b"Access denied",
)


def check(path: Path) -> None:
    """Raises InputError if `path` holds a git-lfs pointer, a web page or a refusal.

    A file that is absent or cannot be opened passes: its reader reports those faults.
    """
    if not path.is_file():  # a pipe would block
        return
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return
    head = head.removeprefix(b"\xef\xbb\xbf")
    if head.startswith(_POINTER):
        raise InputError(
            f"{path}: a git-lfs pointer, not the file itself; git lfs pull in its "
            "repository fetches the file"
        )
    if _PAGE.match(head) or _XML.match(head):
        raise InputError(
            f"{path}: a web page, not the file itself; download the file again, from "
            "the link to its raw content"
        )
    if head.strip().startswith(_ANSWERS) and len(head) < 200:
        raise InputError(
            f"{path}: the answer of a server ({head.decode(errors='replace').strip()}), "
            "not the file itself; download the file again"
        )
