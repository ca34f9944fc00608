"""Files of the built-in benchmarks -> lines, records and checked fields.

Of a missing file the message names the layout that its folder must have.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path

from mtra_jax import files
from mtra_jax.data.table_files import delimited
from mtra_jax.errors import InputError, shown
from mtra_jax.tasks import Task

TWEETEVAL, GOEMOTIONS = "tweeteval/datasets", "affecteval/goemotions"
EMOBANK, EI_REG = "affecteval/emobank", "affecteval/ei-reg/EI-reg"
_LAYOUTS = {
    TWEETEVAL: "TASK/{train,val,test}_{text,labels}.txt, stance/TARGET/ likewise",
    GOEMOTIONS: "{train,dev,test}.tsv",
    EMOBANK: "emobank.csv",
    EI_REG: "{training,development,test-gold}/*EI-reg-En-EMOTION-*.txt",
}

# Stricter than int(), which accepts "1_0" and "١".
_CLASS_ID = re.compile(r"[0-9]{1,9}")


def class_id(field: str, task: Task, where: str) -> int:
    """The class that `field` numbers.

    Raises:
      InputError: `field` is not the number of a class of `task`.
    """
    text = field.strip(" \t\r")
    if not _CLASS_ID.fullmatch(text) or int(text) >= task.num_outputs:
        raise InputError(
            f"{where}: label {shown(text)} of {task.title}; "
            f"expected an integer from 0 to {task.num_outputs - 1}"
        )
    return int(text)


def check_length(fields: list[str], names: list[str], where: str) -> None:
    """Raises InputError unless a record has one field for each of `names`."""
    if len(fields) != len(names):
        raise InputError(
            f"{where}: {len(fields)} columns; expected {len(names)}: {', '.join(names)}"
        )


def read_lines(root: Path, file: str) -> list[str]:
    """The lines of `file` below `root`, without line feeds.

    Raises:
      InputError: as `read_text`.
    """
    # `str.splitlines` also splits at U+2028 and U+0085, which tweets contain.
    lines = read_text(root, file).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_csv(
    root: Path, file: str, *, delimiter: str
) -> Iterator[tuple[str, list[str]]]:
    """Yields "file:line" of the first line of each record, and its fields.

    Raises:
      InputError: as `read_text` and `delimited.csv_records`.
    """
    # Only a line feed ends a line, as in the other files.
    lines = io.StringIO(read_text(root, file), newline="\n")
    return delimited.csv_records(lines, str(root / file), delimiter)


def read_text(root: Path, file: str) -> str:
    """The content of `file` below `root`.

    Raises:
      InputError: the file is missing, empty, a pipe or not UTF-8.
    """
    path = root / file
    try:
        if path.is_fifo():
            raise InputError(f"{path}: cannot be read: a pipe; expected a file")
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(_missing(path, file)) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    text = files.decode(content, path)
    if not text:
        raise InputError(f"{path}: the file is empty; expected one example a line")
    return text


def _missing(path: Path, file: str) -> str:
    """The message on a missing file: its highest missing folder, and the right layout."""
    absent = next(p for p in (*reversed(path.parents), path) if not p.exists())
    kind = "file" if absent == path else "directory"
    folder = next((name for name in _LAYOUTS if file.startswith(name)), None)
    if folder is None:
        raise KeyError(f"no row of _LAYOUTS for {file}")
    return (
        f"{absent}: no such {kind}; a data directory holds {folder}/{_LAYOUTS[folder]} "
        "(`mtra-jax prepare` fetches or copies it)"
    )
