"""Results of runs -> a line where they were scored on other examples."""

from collections.abc import Iterable, Mapping
from typing import Any

NAMED = 3
"""Rows that are named for each number of examples."""


def note(rows: Iterable[tuple[str, Mapping[str, Any]]], split: str) -> str | None:
    """How many examples of each task the rows have, if the numbers differ; else None.

    `rows`: names and results, which may have no numbers.

    >>> results = {"examples": {"irony": {"test": 9}}}, {"examples": {"irony": {"test": 8}}}
    >>> print(note(zip("ab", results), "test"))
    not comparable, the numbers of test examples differ: irony 9 (a), 8 (b)
    """
    by_task: dict[str, dict[int, list[str]]] = {}
    for name, results in rows:
        for task, number in numbers(results, split).items():
            names = by_task.setdefault(task, {}).setdefault(number, [])
            if name not in names:
                names.append(name)
    parts = [
        f"{task} {', '.join(f'{number} ({_listed(names)})' for number, names in own.items())}"
        for task, own in by_task.items()
        if len(own) > 1
    ]
    if not parts:
        return None
    return f"not comparable, the numbers of {split} examples differ: {'; '.join(parts)}"


def contents_note(rows: Mapping[str, Mapping[str, str]], split: str) -> str | None:
    """Which tasks of the rows have other examples of `split`; None without any.

    `rows`: names, and the hash of each task's examples, as far as it is known.

    >>> print(contents_note({"a": {"irony": "1f"}, "b": {"irony": "2e"}}, "test"))
    not comparable, other test examples: irony (a, b)
    """
    by_task: dict[str, dict[str, str]] = {}
    for name, own in rows.items():
        for task, contents in own.items():
            by_task.setdefault(task, {}).setdefault(contents, name)
    parts = [
        f"{task} ({_listed(list(names.values()))})"
        for task, names in by_task.items()
        if len(names) > 1
    ]
    return (
        f"not comparable, other {split} examples: {'; '.join(parts)}" if parts else None
    )


def numbers(results: Mapping[str, Any], split: str) -> dict[str, int]:
    """The number of examples of each task; {} for results of older versions."""
    examples = results.get("examples")
    if not isinstance(examples, Mapping):
        return {}
    return {
        task: counts[split]
        for task, counts in examples.items()
        if isinstance(counts, Mapping) and type(counts.get(split)) is int
    }


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
