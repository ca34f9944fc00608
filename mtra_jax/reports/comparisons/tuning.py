"""How the rows of a table were tuned -> the line below it."""

from collections.abc import Iterable, Mapping
from typing import Any

from mtra_jax.reports.comparisons.json_members import member


def note(rows: Iterable[tuple[str, str, Mapping[str, Any] | None]]) -> str:
    """The line for rows of (name, method, how it was tuned); "" if none was.

    The last is that of `tuned_rows.described`; several rows may be of one method. A row
    that was trained with the values of its method, which has other options, is named.

    >>> own = {"name": "ew", "trials": 16, "file": "s/found.toml"}
    >>> note([("ew", "ew", own), ("ew joint", "ew", own), ("si", "si", None)])
    'tuned: 16 trials each on validation, s/found.toml (ew); values of ew: ew joint; not tuned: si'
    >>> note([("si", "si", None)])
    ''
    """
    groups: dict[tuple[int, str], dict[str, None]] = {}
    borrowed: dict[str, dict[str, None]] = {}
    others: dict[str, None] = {}
    for row, method, tuned in rows:
        if tuned is None:
            others[method] = None
            continue
        key = tuned["trials"], tuned["file"]
        groups.setdefault(key, {})[tuned["name"]] = None
        if tuned["name"] == method != row:
            borrowed.setdefault(method, {})[row] = None
    parts = [
        f"tuned: {count} trials each on validation, {file} ({', '.join(names)})"
        for (count, file), names in groups.items()
    ]
    parts += [f"values of {name}: {', '.join(own)}" for name, own in borrowed.items()]
    if parts and others:
        parts.append(f"not tuned: {', '.join(others)}")
    return "; ".join(parts)


def row_of(
    name: str, values: Mapping[str, Any]
) -> tuple[str, str, Mapping[str, Any] | None]:
    """A row of `note`: `values` is the line of a run in the row `name`.

    >>> row_of("a ew", {"method": "ew", "label": "a", "tuned": {"name": "ew"}})
    ('a ew', 'a ew', {'name': 'a ew'})
    """
    start = f"{values['label']} " if "label" in values else ""
    method, tuned = str(values.get("method", name)), values.get("tuned")
    if tuned is not None:
        tuned = {**tuned, "name": f"{start}{tuned['name']}"}
    return name, f"{start}{method}", tuned


def check(values: Mapping[str, Any]) -> None:
    """Raises InputError if "tuned" of a run record is not what `note` reads."""
    if "tuned" not in values:
        return
    tuned = member(values, "tuned", dict)
    member(tuned, "name", str)
    member(tuned, "file", str)
    member(tuned, "trials", int)
