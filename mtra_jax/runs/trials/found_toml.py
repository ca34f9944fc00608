"""The values that a search has chosen <-> `found.toml`, which sweeps read."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mtra_jax import config as configs
from mtra_jax import files
from mtra_jax.data.own_tasks import toml_tables
from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.methods import registry
from mtra_jax.runs.trials import spaces as search_spaces
from mtra_jax.runs.trials.spaces import Space
from mtra_jax.tasks import OWN

FILE = "found.toml"
FORMAT = 1
HEAD = "search"
_HEAD_KEYS = ("format", "preset", "space", "seed", "command", "overrides")
# Keys that a trial has besides those that a sweep or a search sets.
OWN_KEYS = ("seed", "method.name")


class Chosen(NamedTuple):
    """The best trial of a method, or of a space with another name such as `ew_tuned`.

    `values`: (dotted key, text). `num_trials`: those that were compared. The other fields
    are for people: `validation` is the loss or figure that `selection` names.
    """

    name: str
    method: str
    num_trials: int
    values: tuple[tuple[str, str], ...]
    selection: str = ""
    validation: float = 0.0
    best_trial: int = 0
    lost_trials: int = 0
    date: str = ""
    commit: str = ""

    @property
    def row(self) -> str:
        """The row of a table that has these values alone; "" for all of the method."""
        return "" if self.name == self.method else self.name.replace("_", " ")


class Tuning(NamedTuple):
    """The content of a `found.toml`, and its path as it was given.

    `overrides`: (dotted key, text), the user's for every trial of the search.
    """

    path: str
    preset: str
    rows: dict[str, Chosen]
    overrides: tuple[tuple[str, str], ...] = ()

    def of(self, row: str, method: str) -> Chosen | None:
        """The choice of the search for a row of a table; None if it was not tuned."""
        for chosen in self.rows.values():
            # A row may end with a level, as in "ew tuned data 20 %".
            if chosen.row and f"{row} ".startswith(f"{chosen.row} "):
                return chosen
        return self.rows.get(method)


def write(
    path: Path, head: Mapping[str, Any], rows: Iterable[Chosen], preset: str
) -> None:
    """Replaces `path`. `head`: what else is written about the search, for people."""
    lines = [
        "# The best trial of each method on validation, for --found of `mtra-jax sweep` and",
        "# `mtra-jax experiment`.",
        f"[{HEAD}]",
        f"format = {FORMAT}",
        f"preset = {json.dumps(preset)}",
        *(f"{key} = {_toml(value)}" for key, value in head.items()),
    ]
    for row in rows:
        values = {key: _value(text) for key, text in row.values}
        lines += [
            "",
            f"[{row.name}]",
            f"method = {json.dumps(row.method)}",
            f"trials = {row.num_trials}",
            f"values = {_toml(values)}",
            *(f"{key} = {_toml(getattr(row, key))}" for key in Chosen._fields[4:]),
        ]
    files.write_text(path, "\n".join(lines) + "\n")


def _value(text: str) -> float | str:
    """The number that `text` is, or the text itself: the value of a fixed key."""
    if text.isdigit():
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {_toml(own)}" for key, own in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    # JSON's numbers and texts are TOML's too, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    """A key, in quotes if TOML would take its dots for tables."""
    return json.dumps(key) if "." in key else key


def read(path: str) -> Tuning:
    """Reads a `found.toml`; each table must be a space and make a configuration.

    Raises:
      InputError: the file cannot be read, or a table or key of it is missing, unknown or
        wrong.
    """
    text, content = toml_tables.read(Path(path))
    head = toml_tables.Table(Path(path), text, HEAD, _table(path, content, HEAD))
    if head.values.get("format") != FORMAT:
        raise head.fault("format", f"{FORMAT}")
    preset = head.string("preset")
    if not preset:
        raise head.fault("preset", "the name of a preset")
    try:
        configs.preset(preset, "ew")
    except InputError as error:
        raise InputError(f"{head.place('preset')}: {HEAD}.preset: {error}") from error
    _check_keys(head, _HEAD_KEYS)
    spaces = search_spaces.load(preset)
    rows = {}
    for name in content:
        if name == HEAD:
            continue
        if name not in spaces:
            place = toml_tables.place(Path(path), text, name)
            hint = did_you_mean(name, spaces)
            raise InputError(f"{place}: unknown section {shown(name)}; {hint}")
        values = _table(path, content, name)
        table = toml_tables.Table(Path(path), text, name, values)
        rows[name] = _row(table, preset, spaces[name])
    if not rows:
        raise InputError(f"{path}: no table of a method; expected one such as [mtra]")
    return Tuning(path, preset, rows, _overrides(head))


def _check_keys(table: toml_tables.Table, expected: tuple[str, ...]) -> None:
    for key in table.values:
        if key not in expected:
            hint = did_you_mean(key, expected)
            raise InputError(f"{table.place(key)}: {table.name}.{key}: {hint}")


def _overrides(head: toml_tables.Table) -> tuple[tuple[str, str], ...]:
    overrides = head.table("overrides")
    if not all(isinstance(text, str) for text in overrides.values()):
        raise head.fault("overrides", "a text for each key, as on the command line")
    return tuple(overrides.items())


def _table(path: str, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not isinstance(content.get(name), dict):
        raise InputError(f"{path}: no table [{name}]; expected the file of a search")
    return content[name]


def _row(table: toml_tables.Table, preset: str, space: Space) -> Chosen:
    """Raises InputError if the table of a space lacks a key, or has a wrong one."""
    _check_keys(table, ("method", "trials", *Chosen._fields[3:]))
    method = table.choice("method", tuple(registry.METHODS), table.name)
    if method not in registry.METHODS:
        hint = did_you_mean(method, registry.METHODS)
        raise InputError(f"{table.place()}: {table.name}: unknown method; {hint}")
    if method != space.method:
        raise table.fault("method", f"{space.method!r}, which this section is of")
    count = table.values.get("trials")
    if type(count) is not int or count < 1:
        raise table.fault("trials", "a whole number, at least 1")
    own = _values(table, dict(space.fixed))
    # The user's tasks are not needed to check numbers.
    tasks = [("benchmark", "synthetic")] if preset == OWN else []
    try:
        configs.apply(configs.preset(preset, method), [*tasks, *own])
    except InputError as error:
        raise InputError(
            f"{table.place('values')}: {table.name}.values: {error}"
        ) from error
    rest = {key: v for key, v in table.values.items() if key in Chosen._fields[4:]}
    for key, value in rest.items():
        if not isinstance(value, str | int | float):
            raise table.fault(key, "a number or a text")
    return Chosen(table.name, method, count, own, **rest)


def _values(
    table: toml_tables.Table, fixed: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Raises InputError if the values are missing, or no numbers of a search.

    Those of the keys that the space has fixed must be there as they are in `fixed`.
    """
    values = table.table("values")
    if not values:
        raise table.fault("values", "the values that the search found")
    for key, text in fixed.items():
        if values.get(key) != _value(text):
            raise InputError(
                f"{table.place('values')}: {table.name}.values.{key} is "
                f"{shown(values.get(key))}; expected {text!r}, which this section is of"
            )
    for key, value in values.items():
        if key in fixed:
            continue
        if type(value) not in (int, float) or key in OWN_KEYS:
            raise InputError(
                f"{table.place('values')}: {table.name}.values.{key} is {shown(value)}; "
                "expected a number, and no key but those that a search varies"
            )
    return tuple(
        (key, fixed[key] if key in fixed else repr(value))
        for key, value in values.items()
    )
