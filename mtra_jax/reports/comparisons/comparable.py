"""Runs of one table -> lines about what keeps them from being compared."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtra_jax.reports.comparisons import split_sizes, stored

if TYPE_CHECKING:
    from mtra_jax.reports.comparisons.comparison import Entry

# Those that leave the figures as they are, and paths: examples and encoders are compared
# by content. Runs of one table have the same tasks, whose order and blanks do not matter.
OTHERS = {"backbone.path", "data.tasks", "tasks", "warm_start"}
FREE_KEYS = {*stored.FREE_KEYS, *OTHERS} - {"sampling"}
OF_PRESET = "the preset's"
ENCODER, NEW = "encoder", "new"
DATA = "training data"
# What methods are compared under: the encoder, the data and how long they are trained on.
# What `data.fraction` and `data.limit` do is part of the training data.
CONDITIONS = (
    ENCODER,
    DATA,
    "epochs",
    "patience",
    "batch_size",
    "class_weights",
    "label_smoothing",
    "data.label_noise",
    "data.max_length",
    "data.standardize",
)
SHARES = ("data.fraction", "data.limit", "data.label_noise")
"""What changes the training data of a row beside others of a table."""
HASHED = {ENCODER: "another encoder", DATA: "other training data"}
SIZES = "backbone."
"""The beginning of the keys of a new encoder's sizes, which are conditions, too."""


def notes(
    entries: Sequence["Entry"], split: str, baselines: Mapping[str, str]
) -> list[str]:
    """Lines on how examples of `split` or settings of the runs differ.

    Rows may have other settings than other rows, but not other `CONDITIONS` than their
    baseline. The seeds of one row may not have other settings: its mean and deviation
    would say nothing. `baselines`: by row.
    """
    named = [(f"{e.name} seed {e.seed}", e) for e in entries]
    examples = split_sizes.note(((e.name, e.results) for e in entries), split)
    if examples is None:
        hashes = {name: _hashes(entry.values, split) for name, entry in named}
        examples = split_sizes.contents_note(hashes, split)
    settings: dict[str, Mapping[str, str]] = {}
    for entry in entries:
        if is_resolved(entry.values):
            settings.setdefault(entry.name, texts(entry.values["settings"]))
    others = conditions_note(settings, baselines)
    return [line for line in (examples, _settings_note(entries), others) if line]


def resolved(
    config: Mapping[str, Any], encoder: str | None, data: str | None
) -> dict[str, Any]:
    """The settings of a run in its line of `results.jsonl`, by dotted key.

    `config`: all values of its configuration, by dotted key. `encoder`: the hash of
    pretrained weights, or `NEW`. Only the sizes of a new encoder matter. `data`: the hash
    of the training examples. None for a hash that is not known.
    """
    own = {key: value for key, value in config.items() if key not in FREE_KEYS}
    if encoder != NEW:
        own = {k: v for k, v in own.items() if not k.startswith(SIZES)}
    hashes = {ENCODER: encoder, DATA: data}
    return own | {key: value for key, value in hashes.items() if value is not None}


def have_same_data(entries: Sequence["Entry"]) -> bool:
    """Whether all rows were trained on the same share of the data, with the same labels.

    Rows that differ in it have different figures whatever their methods.
    """
    lines = [entry.values for entry in entries]
    are_resolved = all(map(is_resolved, lines))
    given = (texts(x["settings"]) if are_resolved else _given(x) for x in lines)
    return len({tuple(own.get(key, OF_PRESET) for key in SHARES) for own in given}) < 2


def is_resolved(line: Mapping[str, Any]) -> bool:
    """Whether the line of a run has all its settings; those of older versions do not."""
    return isinstance(line.get("settings"), Mapping)


def conditions_note(
    rows: Mapping[str, Mapping[str, Any]], baselines: Mapping[str, str]
) -> str:
    """Which rows were trained under other `CONDITIONS` than their baseline; "" for none.

    `rows`: settings by row, as `texts` of `resolved`. `baselines`: by row.

    >>> rows = {"ew": {"epochs": "5"}, "mtra": {"epochs": "9"}, "si": {"epochs": "9"}}
    >>> conditions_note(rows, dict.fromkeys(rows, "ew"))
    "trained under other conditions than ew: mtra, si (epochs 9, ew's 5)"
    """
    parts: dict[tuple[str, str], list[str]] = {}
    for name, own in rows.items():
        baseline = baselines.get(name, name)
        base = rows.get(baseline, own)
        differences = [
            HASHED[key]
            if key in HASHED
            else f"{key} {own[key]}, {baseline}'s {base[key]}"
            for key in (*CONDITIONS, *(k for k in own if k.startswith(SIZES)))
            if key in own and key in base and own[key] != base[key]
        ]
        if differences:
            parts.setdefault((baseline, "; ".join(differences)), []).append(name)
    listed: dict[str, list[str]] = {}
    for (baseline, what), names in parts.items():
        listed.setdefault(baseline, []).append(f"{', '.join(names)} ({what})")
    return "; ".join(
        f"trained under other conditions than {baseline}: {', '.join(rows_of)}"
        for baseline, rows_of in listed.items()
    )


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
        lines = [entry.values for entry in entries if entry.name == name]
        are_resolved = all(map(is_resolved, lines))
        own = [
            texts(line["settings"]) if are_resolved else _given(line) for line in lines
        ]
        if difference := ", ".join(_differences(own)):
            rows.setdefault(difference, []).append(name)
    parts = (
        f"seeds of {', '.join(names)} differ in {what}" for what, names in rows.items()
    )
    listed = "; ".join(parts)
    return listed and f"not comparable, {listed}"


def texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """`resolved` settings as texts, numbers in one form, without those that are not set.

    Lines of older versions lack keys of later ones, whose default is not set.
    """
    return {
        key: str(value) if key in HASHED else _text(value)
        for key, value in settings.items()
        if value != ""
    }


def _given(values: Mapping[str, Any]) -> dict[str, str]:
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
            yield key if key in HASHED else f"{key} ({', '.join(values)})"


def _text(value: Any) -> str:
    """One form for numbers and truth values, as `True` and `true`."""
    text = str(value)
    try:
        return f"{float(text):g}"
    except ValueError:
        return text.lower() if text.lower() in ("true", "false") else text
