"""A TOML file -> its tables, with errors that name file, line, key and value."""

import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mtra_jax import files
from mtra_jax.errors import InputError, did_you_mean, shown

_LOCATION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_TWICE = re.compile(r"Cannot declare \('([^']*)',\) twice")  # as tomllib says it


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and its values.

    Raises:
      InputError: the file cannot be read or is not TOML.
    """
    try:
        text = files.decode(path.read_bytes(), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        location = _LOCATION.search(message)
        line = location[1] if location and location[1] else text.count("\n") + 1
        reason = _TWICE.sub(
            r"two tables [\1]; expected one", _LOCATION.sub("", message)
        )
        raise InputError(f"{path}:{line}: {reason}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not TOML that can be read: {error}") from None


class Table(NamedTuple):
    """The table of one task, with checks that name its file and line."""

    path: Path
    text: str
    name: str
    values: Mapping[str, Any]

    def place(self, key: str = "") -> str:
        """File and line of the table, or of a key in it."""
        return place(self.path, self.text, self.name, key)

    def fault(self, key: str, expected: str) -> InputError:
        """The error about the value of `key`, or about its absence."""
        is_ = f" is {shown(self.values[key])}" if key in self.values else ""
        return InputError(
            f"{self.place(key)}: {self.name}.{key}{is_}; expected {expected}"
        )

    def choice(self, key: str, choices: Collection[str], default: str) -> str:
        """One of `choices`; `default` where there is no such key."""
        value = self.string(key, default)
        if value not in choices and key in self.values:
            hint = did_you_mean(value, choices)
            raise InputError(
                f"{self.place(key)}: {self.name}.{key} is {shown(value)}; {hint}"
            )
        return value

    def string(self, key: str, default: str = "") -> str:
        """A text that is not empty; `default` where there is no such key."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or (key in self.values and not value):
            raise self.fault(key, "a text")
        return value

    def strings(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A text or a list of different texts."""
        value = self.values.get(key, default)
        value = (value,) if isinstance(value, str) else value
        if not isinstance(value, list | tuple) or not all(map(is_text, value)):
            raise self.fault(key, "a text, or a list of texts")
        if len(set(value)) < len(value) or (key in self.values and not value):
            raise self.fault(key, "a list of different texts, at least one")
        return tuple(value)

    def table(self, key: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
        """A table, all of whose keys are in `keys`, unless that is empty."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.fault(key, f"a table with the keys {', '.join(keys)}")
        for name in value:
            if keys and name not in keys:
                raise self.fault(key, f"the keys {', '.join(keys)}")
        return value

    def number(self, key: str, value: Any, low: float, high: float, what: str) -> float:
        """`value`, of type int or float, with `low` < `value` < `high`."""
        if type(value) not in (int, float) or not low < value < high:
            raise self.fault(key, what)
        return float(value)


def is_text(value: Any) -> bool:
    """Whether `value` is a string that is not empty."""
    return isinstance(value, str) and value != ""


def place(path: Path, text: str, *keys: str) -> str:
    """File and line of a table or of a key in it."""
    line = _line_of(text, *keys)
    return f"{path}:{line}" if line else str(path)


def _line_of(text: str, name: str, key: str = "") -> int:
    """The line of a task's table or of a key in it; 0 if it cannot be told.

    The parser keeps no lines. A line inside of a text of several lines may be mistaken
    for the one that is looked for, which misplaces the message but nothing else.
    """
    table = re.compile(rf"\s*\[{{1,2}}\s*{_key(name)}\s*(?:\.\s*(.+?)\s*)?\]")
    first = 0
    is_inside = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("["):
            match = table.match(line)
            is_inside = match is not None
            if match:
                first = first or number
                if key and match[1] and re.match(rf"{_key(key)}\s*(\.|\Z)", match[1]):
                    return number
        elif not key or not is_inside:
            if not first and re.match(rf"\s*{_key(name)}\s*[.=]", line):
                first = number
        elif re.match(rf"\s*{_key(key)}\s*[.=]", line):
            return number
    return first


def _key(name: str) -> str:
    """A pattern of a key, bare or in quotes."""
    return rf"[\"']?{re.escape(name)}[\"']?"
