"""Lines of CSV or TSV -> records of fields, each with the place of its first line.

* CSV: fields with commas, quotes or line breaks stand in quotes, and a quote within
  them is doubled.
* TSV: quotes are ordinary characters, as in GLUE's files, except around a whole field
  whose inner quotes are doubled, as pandas writes it. Such a field may contain tabs and
  line breaks. A quote that opens the last field and does not close it on its line is an
  ordinary character if the next line has the right number of columns.

Lines come with their ends; only a line feed ends one. A blank line is a record without
fields.
"""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator

from mtra_jax.errors import InputError, shown

FORMATS = ("csv", "tsv")

_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
# The default refuses fields of more than 131,072 characters.
_LONGEST_FIELD = 2**31 - 1


def csv_records(
    lines: Iterable[str], name: str, delimiter: str = ","
) -> Iterator[tuple[str, list[str]]]:
    """Yields "file:line" of the first line of each record, and its fields.

    `lines`: with their ends. A blank line is a record without fields.

    Raises:
      InputError: quoting or ends of lines that CSV does not allow.
    """
    # strict: a quote that never closes would swallow the rest of the file.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    place = f"{name}:1"
    while True:
        try:
            fields = _next_record(reader)
        except csv.Error as error:
            reason = str(error).partition(" - ")[0]
            if reason.startswith("new-line character"):
                raise InputError(
                    f"{place}: a carriage return alone, which CSV does not allow; expected "
                    "line feeds at the ends of lines, and quotes around a text with others"
                ) from None
            raise InputError(
                f"{place}: quoting that CSV does not allow: {reason}"
            ) from None
        if fields is None:
            return
        yield place, fields
        place = f"{name}:{reader.line_num + 1}"


def _next_record(reader: Iterator[list[str]]) -> list[str] | None:
    # The limit belongs to the process, so it is changed for this call only.
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


class _Lines:
    """Lines with the number of the last one, and a look at the next."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.number = 0
        self._lines = lines
        self._next: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._next.pop() if self._next else next(self._lines)
        self.number += 1
        return line

    def peek(self) -> str:
        """The next line; empty at the end."""
        if not self._next:
            self._next = list(itertools.islice(self._lines, 1))
        return self._next[0] if self._next else ""


def _tsv_records(
    lines: Iterator[str], name: str, width: int
) -> Iterator[tuple[str, list[str]]]:
    """As `csv_records`, for TSV of `width` columns; 0: as many as the first line."""
    reader = _Lines(lines)
    for line in reader:
        place = f"{name}:{reader.number}"
        text = _without_end(line)
        fields = text.split("\t") if text else []
        width = width or len(fields)
        if '"' not in text:
            yield place, fields
        elif len(fields) == width and not _is_open(fields[-1], reader.peek(), width):
            yield place, [_unquoted(field) for field in fields]
        else:
            yield place, _quoted_record(line, reader, fields, width, place)


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _unquoted(field: str) -> str:
    match = _QUOTED.fullmatch(field)
    return match[1].replace('""', '"') if match else field


def _is_open(field: str, following: str, width: int) -> bool:
    """Whether a quoted last `field` of a line extends to the `following` line."""
    starts = field.startswith('"') and not _QUOTED.fullmatch(field)
    return (
        starts and _without_end(following) != "" and following.count("\t") != width - 1
    )


def _quoted_record(
    line: str, following: _Lines, fields: list[str], width: int, place: str
) -> list[str]:
    """The fields of a record with tabs or line breaks in quotes.

    `fields`: of the line without regard to quotes. They are returned if the quotes are
    wrong and the caller will refuse their number.
    """
    chained = itertools.chain([line], following)
    try:
        return _next_record(csv.reader(chained, delimiter="\t", strict=True)) or fields
    except csv.Error:
        if len(fields) != width:
            return fields
        raise InputError(
            f"{place}: {shown(fields[-1])} opens a quote that is not closed before the "
            "next tab or quote; expected doubled quotes, or one line a row"
        ) from None


def records(
    lines: Iterator[str], name: str, format: str, width: int, separator: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """As `csv_records`, for one of `FORMATS`.

    `width`: the number of columns; 0: as many as the first line. `separator`: of the
    columns of CSV; a comma if empty.
    """
    if format == "tsv":
        return _tsv_records(lines, name, width)
    return csv_records(lines, name, separator or ",")


def separator_of(field: str) -> str:
    """The sign that seems to divide the columns in `field`; "" for none.

    `field`: the first line of CSV, in which no comma divides.

    >>> separator_of("id;body;sentiment")
    ';'
    """
    return next((sign for sign in ";\t|" if sign in field), "")


def is_separator(text: str) -> bool:
    """Whether `text` can divide the columns of CSV: one sign, not a letter or a quote."""
    is_sign = len(text) == 1 and (text.isprintable() or text == "\t")
    return is_sign and not text.isalnum() and text not in ('"', " ")
