"""Runs of one table -> a line about what keeps them from being compared."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtra_jax.reports import split_sizes, stored

if TYPE_CHECKING:
    from mtra_jax.reports.comparison import Entry

# Those that leave the figures as they are, and paths: examples are compared by content.
# Runs of one table have the same tasks, whose order and blanks do not matter.
FREE_KEYS = {*stored.FREE_KEYS, "data.tasks", "tasks"} - {"sampling"}
OF_PRESET = "the preset's"


def note(entries: Sequence["Entry"], split: str) -> str:
    """How examples of `split` or settings of the runs differ, else "".

    Rows may have other settings than other rows. The seeds of one row may not: its mean
    and deviation would say nothing.
    """
    named = [(f"{e.name} seed {e.seed}", e) for e in entries]
    examples = split_sizes.note(((e.name, e.results) for e in entries), split)
    if examples is None:
        hashes = {name: _hashes(entry.values, split) for name, entry in named}
        examples = split_sizes.contents_note(hashes, split)
    return "; ".join(filter(None, [examples, _settings_note(entries)]))


def _hashes(values: Mapping[str, Any], split: str) -> Mapping[str, str]:
    """The hash of each task's examples; {} in lines of older versions."""
    contents = values.get("contents")
    own = contents.get(split) if isinstance(contents, Mapping) else None
    hashes = own.items() if isinstance(own, Mapping) else ()
    return {task: text for task, text in hashes if isinstance(text, str)}


def _settings_note(entries: Sequence["Entry"]) -> str:
    """Which settings differ between seeds of a row; "" if none do."""
    rows: dict[str, list[str]] = {}
    for name in dict.fromkeys(entry.name for entry in entries):
        own = [_settings(entry.values) for entry in entries if entry.name == name]
        if difference := ", ".join(_differences(own)):
            rows.setdefault(difference, []).append(name)
    parts = (
        f"seeds of {', '.join(names)} differ in {what}" for what, names in rows.items()
    )
    listed = "; ".join(parts)
    return listed and f"not comparable, {listed}"


def _settings(values: Mapping[str, Any]) -> dict[str, str]:
    """The values that a run has set, by dotted key; numbers in one form."""
    overrides = values.get("overrides")
    given = overrides if isinstance(overrides, Mapping) else {}
    named = {key: values[key] for key in ("method", "preset") if key in values}
    return {
        key: _text(value)
        for key, value in (named | dict(given)).items()
        if key not in FREE_KEYS
    }


def _differences(settings: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """For each key whose values differ, the key with its values."""
    for key in dict.fromkeys(key for own in settings for key in own):
        values = dict.fromkeys(own.get(key, OF_PRESET) for own in settings)
        if len(values) > 1:
            yield f"{key} ({', '.join(values)})"


def _text(value: Any) -> str:
    """One form for numbers and truth values, as `True` and `true`."""
    text = str(value)
    try:
        return f"{float(text):g}"
    except ValueError:
        return text.lower() if text.lower() in ("true", "false") else text
