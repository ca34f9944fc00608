"""How the rows of a table were tuned -> the line below it."""

from collections.abc import Iterable, Mapping
from typing import Any

from mtra_jax.reports.json_members import member


def note(rows: Iterable[tuple[str, Mapping[str, Any] | None]]) -> str:
    """The line for rows of (method, how it was tuned); "" if none was.

    `rows`: see `search_rows.described`; several rows may be of one method.

    >>> own = {"name": "ew", "trials": 16, "file": "s/found.toml"}
    >>> note([("ew", own), ("mtra", {**own, "name": "mtra"}), ("mtra", None), ("si", None)])
    'tuned: 16 trials each on validation, s/found.toml (ew, mtra); not tuned: mtra, si'
    >>> note([("si", None)])
    ''
    """
    groups: dict[tuple[int, str], dict[str, None]] = {}
    others: dict[str, None] = {}
    for method, tuned in rows:
        if tuned is None:
            others[method] = None
        else:
            key = tuned["trials"], tuned["file"]
            groups.setdefault(key, {})[tuned["name"]] = None
    parts = [
        f"tuned: {count} trials each on validation, {file} ({', '.join(names)})"
        for (count, file), names in groups.items()
    ]
    if parts and others:
        parts.append(f"not tuned: {', '.join(others)}")
    return "; ".join(parts)


def check(values: Mapping[str, Any]) -> None:
    """Raises InputError if "tuned" of a run record is not what `note` reads."""
    if "tuned" not in values:
        return
    tuned = member(values, "tuned", dict)
    member(tuned, "name", str)
    member(tuned, "file", str)
    member(tuned, "trials", int)
