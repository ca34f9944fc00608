"""Tables in CSV, TSV, JSON lines or Parquet -> rows of cells, each with its place.

Text is UTF-8, with or without a byte-order mark; lines end with LF or CRLF. Blank lines
hold no row. The first line of CSV and TSV names the columns, unless `columns` does.

* CSV and TSV, with quotes as `delimited` describes them: cells are strings.
* JSON lines: one object a line; the keys are the columns, which may differ by row.
* Parquet: cells are the Python values of pyarrow.
"""

import collections
import contextlib
import functools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtra_jax import files
from mtra_jax.data.table_files import delimited
from mtra_jax.errors import InputError, did_you_mean, refusing, shown

FORMATS = ("csv", "tsv", "jsonl", "parquet")
"""Names of the formats, which are the suffixes of their files."""

_NOT_UTF8 = '; expected UTF-8 text; in Excel: "CSV UTF-8"'
_PARQUET_ROWS = 1024  # read at a time


class Row(NamedTuple):
    """`place`: "file:line" of the first line of the row, or "file, row N" of Parquet.

    `cells`: the values by column, in the order of the file.
    """

    place: str
    cells: dict[str, Any]


def read(
    path: str | Path,
    format: str = "",
    *,
    columns: Sequence[str] = (),
    needs: Sequence[str] = (),
    separator: str = "",
) -> list[Row]:
    """Reads all rows of a file, as `rows` does.

    Raises:
      InputError: as `rows`; or the file has no row, or is a pipe.
    """
    path = Path(path)
    if path.is_fifo():
        raise InputError(f"{path}: cannot be read: a pipe; expected a file")
    result = list(rows(path, format, columns=columns, needs=needs, separator=separator))
    if not result:
        raise InputError(
            f"{path}: no row; expected at least one below the column names"
        )
    return result


def rows(
    path: str | Path | None,
    format: str = "",
    *,
    columns: Sequence[str] = (),
    needs: Sequence[str] = (),
    separator: str = "",
    advice: str = "",
    on_header: Callable[[list[str]], None] = lambda header: None,
) -> Iterator[Row]:
    """Yields the rows of a file, or of standard input for None, as they are read.

    `format`: one of `FORMATS`; by default the suffix of `path`. `columns`: the names of
    the columns of a CSV or TSV file without a line of names. `needs`: columns that
    every row must have. `separator`: of the columns of CSV; a comma if empty. `advice`
    ends the message about a missing column. `on_header` gets the columns of a CSV or TSV
    file when its line of names is read.

    Raises:
      InputError: the format is unknown, the file cannot be read or does not follow its
        format, a column is missing or there twice, or the rows of CSV or TSV differ in
        length. The message is one line, with file and line.
    """
    format = format or _format_of(path)
    if format not in FORMATS:
        raise InputError(f"format {shown(format)}; {did_you_mean(format, FORMATS)}")
    if separator and format != "csv":
        raise InputError(
            f"{_name(path)}: a separator is given; expected CSV, the format is {format}"
        )
    if columns and format not in delimited.FORMATS:
        raise InputError(
            f"{_name(path)}: columns are given; the columns of {format} have names"
        )
    if format == "parquet":
        return _parquet_rows(path, needs, advice)
    source, name = None if path is None else str(path), _name(path)
    if format == "jsonl":
        lines = files.read_lines(source, keep_ends=True)
        return _json_rows(lines, name, needs, advice)
    lines = files.read_lines(source, keep_ends=True, fault=_NOT_UTF8)
    lines = _without_nul(lines, name)
    records = delimited.records(lines, name, format, len(columns), separator)
    return _delimited_rows(records, name, columns, needs, advice, on_header)


def _name(path: str | Path | None) -> str:
    return "standard input" if path is None else str(path)


def _format_of(path: str | Path | None) -> str:
    suffix = Path(path).suffix.lower().removeprefix(".") if path is not None else ""
    if suffix not in FORMATS:
        raise InputError(
            f"{_name(path)}: the name ends with no known format; expected "
            f"{', '.join(f'.{name}' for name in FORMATS)}"
            + (" (.jsonl has one object a line)" if suffix == "json" else "")
        )
    return suffix


def keys(path: str | Path) -> list[str]:
    """The keys of the JSON lines of a file, up to the first that cannot be read."""
    names: dict[str, None] = {}
    with contextlib.suppress(InputError):
        for row in rows(path, "jsonl"):
            names.update(dict.fromkeys(row.cells))
    return list(names)


def has_keys(path: str | Path, format: str = "") -> bool:
    """Whether the file has JSON lines, of which each may lack a column."""
    return (format or _format_of(path)) == "jsonl"


def check_needed(
    names: Collection[str], needs: Sequence[str], place: str | Path, advice: str = ""
) -> None:
    """Raises InputError if a column of `needs` is missing from `names`.

    `advice` ends the message.
    """
    for name in needs:
        if name not in names:
            raise InputError(
                f"{place}: no column {shown(name)}; found {shown(list(names))}{advice}"
            )


def check_unique(names: Iterable[str], place: str | Path) -> None:
    """Raises InputError if one of the columns `names` is there twice."""
    for name, count in collections.Counter(names).items():
        if count > 1:
            raise InputError(
                f"{place}: column {shown(name)} is there {count} times; expected it "
                "once"
            )


# ---- CSV and TSV


def _delimited_rows(
    records: Iterator[tuple[str, list[str]]],
    name: str,
    columns: Sequence[str],
    needs: Sequence[str],
    advice: str,
    on_header: Callable[[list[str]], None],
) -> Iterator[Row]:
    header = list(columns)
    is_first = bool(columns)
    check_needed(header or needs, needs, f"{name}: columns")
    for where, fields in records:
        if not fields:
            continue
        if not header:
            header = fields
            check_unique(header, where)
            check_needed(header, needs, where, _separated(header) or advice)
            on_header(header)
        elif len(fields) != len(header):
            raise InputError(
                f"{where}: {len(fields)} columns; expected {len(header)}: "
                f"{shown(header)}"
            )
        elif is_first and fields == header:
            raise InputError(
                f"{where}: {shown(fields)} are the columns that are given; expected a "
                "row, or a file with this line and no columns given"
            )
        else:
            is_first = False
            yield Row(where, dict(zip(header, fields, strict=True)))
    if not header:
        raise InputError(f"{name}: the file is empty; expected a line of column names")


def _separated(header: Sequence[str]) -> str:
    """The end of a message about a header that another sign than a comma divides."""
    sign = delimited.separator_of(header[0]) if len(header) == 1 else ""
    return (
        f"; {shown(sign)} seems to separate the columns: set separator" if sign else ""
    )


def _without_nul(lines: Iterator[str], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise InputError(f"{name}:{number}: a NUL byte; expected UTF-8 text")
        yield line


# ---- JSON lines


def _json_rows(
    lines: Iterator[str], name: str, needs: Sequence[str], advice: str
) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"{name}:{number}"
            cells = _json_object(line, place)
            check_needed(cells, needs, place, advice)
            yield Row(place, cells)


def _json_object(line: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line, object_pairs_hook=functools.partial(_unique, place))
        # Half of a surrogate pair is not a character, and cannot be encoded.
        json.dumps(value, ensure_ascii=False).encode()
    except InputError:
        raise
    except json.JSONDecodeError as error:
        raise InputError(
            f"{place}: not JSON: {error.msg}, column {error.colno}"
        ) from None
    except UnicodeEncodeError:
        raise InputError(
            f"{place}: half of a surrogate pair; expected Unicode text"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON that can be read: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{place}: {shown(value)}; expected one JSON object a line")
    return value


def _unique(place: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    cells = dict(pairs)
    if len(cells) < len(pairs):
        check_unique([name for name, _ in pairs], place)
    return cells


# ---- Parquet


def _parquet_rows(
    path: str | Path | None, needs: Sequence[str], advice: str
) -> Iterator[Row]:
    if path is None:
        raise InputError("standard input: Parquet is read from files only")
    return _rows_of_parquet(Path(path), needs, advice)


def _rows_of_parquet(path: Path, needs: Sequence[str], advice: str) -> Iterator[Row]:
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    with refusing(f"{path}: cannot be read as Parquet"):
        from pyarrow import parquet  # only Parquet needs it

        file = parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
    with file:
        check_unique(names, path)
        check_needed(names, needs, path, advice)
        batches = file.iter_batches(_PARQUET_ROWS)
        number = 0
        while True:
            with refusing(f"{path}, after row {number}: cannot be read as Parquet"):
                batch = next(batches, None)
                part = [] if batch is None else batch.to_pylist()
            if batch is None:
                return
            for cells in part:
                number += 1
                yield Row(f"{path}, row {number}", cells)
