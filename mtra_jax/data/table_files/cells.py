"""Cells of a table -> texts, numbers, and names of classes and labels.

Cells of CSV and TSV are strings; those of JSON, Parquet and Python have types. Each
function names the column and the place of a cell that it refuses. Rules:

* White space around a label or a number does not count, nor does how Unicode composes its
  letters: labels are in the form NFC.
* An integer with a decimal point and zeros, as pandas writes integers beside missing
  values, is that integer: 1.0 and "1.0" name the class 1. "01" and "1" are two classes.
* true and false in JSON, Parquet or Python name the classes "true" and "false". They
  are not numbers; as cells of 0 and 1 they are accepted.
* null and NaN are never labels. The text "NaN" is a class, of which `spelling` warns, but
  not a number: in a column of numbers it is a missing value.
"""

import decimal
import json
import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

from mtra_jax.errors import InputError, check_name, shown

# Stricter than float(), which accepts "1_0" and "nan". Each character matches in one
# way only, so the match takes linear time.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"([+-]?[0-9]+)\.0*")
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FLAGS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}
_LONGEST_LABEL = 200  # characters; longer cells are texts, from the wrong column


def text(cell: Any, column: str, place: str) -> str:
    """The raw text in a cell; it may be empty.

    Raises:
      InputError: the cell is not a string, or not Unicode text.
    """
    cell = _plain(cell)
    if not isinstance(cell, str):
        raise InputError(f"{place}: {column} {shown(cell)}; expected a text")
    _check_unicode(cell, column, place)
    return cell


def is_missing(cell: Any) -> bool:
    """Whether a cell is empty, null or NaN."""
    cell = _plain(cell)
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def is_not_a_number(cell: Any) -> bool:
    """Whether a cell is missing, or the text NaN in any case of its letters."""
    is_text = isinstance(cell, str) and cell.strip().casefold() == "nan"
    return is_text or is_missing(cell)


def class_name(cell: Any, column: str, place: str) -> str:
    """The name of a class or label.

    Raises:
      InputError: the cell is empty, null, NaN or nested, or its text is longer than 200
        characters or does not fit on one line.
    """
    cell = _plain(cell)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and math.isfinite(cell) and cell == int(cell):
        cell = int(cell)
    is_number = isinstance(cell, int | float | decimal.Decimal) and math.isfinite(
        _float(cell)
    )
    if not isinstance(cell, str) and not is_number:
        raise InputError(f"{place}: {column} {shown(cell)}; expected a label")
    name = unicodedata.normalize("NFC", str(cell)).strip()
    if not name:
        raise InputError(f"{place}: {column} is empty; expected a label")
    if len(name) > _LONGEST_LABEL:
        raise InputError(
            f"{place}: {column} has {len(name)} characters: {shown(name)}; expected a "
            f"label, of at most {_LONGEST_LABEL}"
        )
    check_name(name, f"{place}: {column}")
    integer = _INTEGER.fullmatch(name)
    name = integer[1] if integer else name
    return "0" if name == "-0" else name  # as the number -0.0 is


def value_of(text: str) -> decimal.Decimal | None:
    """The number that a text is; None if it is not a number, or its exponent is too long.

    >>> value_of("+1.50"), value_of("1_0")
    (Decimal('1.50'), None)
    """
    try:
        return decimal.Decimal(text) if _NUMBER.fullmatch(text) else None
    except decimal.InvalidOperation:
        return None


def number(cell: Any, column: str, place: str) -> float:
    """The finite number in a cell.

    Raises:
      InputError: the cell is not a number, or not finite in float32.
    """
    cell = _plain(cell)
    is_number = isinstance(cell, int | float | decimal.Decimal)
    text = cell.strip(" \t\r") if isinstance(cell, str) else cell
    if isinstance(cell, str):
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
    else:
        value = _float(cell) if is_number and not isinstance(cell, bool) else math.nan
    if not abs(value) <= _FLOAT32_MAX:
        has_comma = isinstance(text, str) and text.count(",") == 1
        is_decimal = has_comma and _NUMBER.fullmatch(text.replace(",", "."))
        advice = ", with a decimal point" if is_decimal else ""
        raise InputError(
            f"{place}: {column} {shown(text)}; expected a finite number{advice}"
        )
    return value


def flag(cell: Any, column: str, place: str) -> float:
    """1.0 for 1 and true, 0.0 for 0 and false; in a string, in any case of its letters.

    Raises:
      InputError: the cell has another value.
    """
    value = _plain(cell)
    if isinstance(value, bool | int | float | str):
        name = str(value).strip().lower()
        name = name.removesuffix(".0")
        if name in _FLAGS:
            return _FLAGS[name]
    raise InputError(f"{place}: {column} {shown(value)}; expected 0 or 1")


def label_names(cell: Any, separator: str, column: str, place: str) -> list[str]:
    """The names of the labels of one example: a list, or a string that holds one.

    `separator` divides a string. If it is empty, a string in brackets is read as a JSON
    list, or as Python prints a list of strings, and any other is divided at commas. A
    cell without text, or with "[]", has no label.

    Raises:
      InputError: the cell or one of its items is not a label.
    """
    cell = _plain(cell)
    items = cell
    if isinstance(cell, str):
        content = cell.strip()
        is_list = not separator and content.startswith("[") and content.endswith("]")
        if is_list:
            items = _listed(content, column, place)
        else:
            items = content.split(separator or ",") if content not in ("", "[]") else []
    if not isinstance(items, list | tuple):
        raise InputError(f"{place}: {column} {shown(cell)}; expected a list of labels")
    return [class_name(item, column, place) for item in items]


def _listed(content: str, column: str, place: str) -> Any:
    for text in (content, content.replace("'", '"')):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            continue
    raise InputError(
        f'{place}: {column} {shown(content)}; expected a JSON list such as ["a", "b"]'
    )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names: by their value if all are numbers, otherwise by code point.

    >>> in_order(["10", "9", "-1", "9"])
    ('-1', '9', '10')
    >>> in_order(["b", "10", "9"])
    ('10', '9', 'b')
    """
    distinct = sorted(set(names))
    if all(map(_NUMBER.fullmatch, distinct)):
        distinct.sort(key=float)
    return tuple(distinct)


def _plain(cell: Any) -> Any:
    """NumPy's scalars and arrays, and sets, as Python's values and lists."""
    if isinstance(cell, np.generic | np.ndarray):
        return cell.tolist()
    return sorted(cell, key=str) if isinstance(cell, set | frozenset) else cell


def _float(value: Any) -> float:
    try:
        return float(value)
    except (OverflowError, ValueError):  # a huge integer; a signalling NaN
        return math.inf


def _check_unicode(value: str, column: str, place: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{place}: {column} {shown(value)} has half of a surrogate pair; expected "
            "Unicode text"
        ) from None
