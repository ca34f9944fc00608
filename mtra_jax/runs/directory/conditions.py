"""The directory of a finished run -> the settings, encoder and examples of its figures."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtra_jax import config_values
from mtra_jax.reports.comparisons import comparable, comparison, split_sizes
from mtra_jax.runs.directory import inputs_json, layout

HASH_DIGITS = 16
"""Hexadecimal digits of a hash that tell data apart."""


def of(directory: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """The "settings" of a run, see `settings`, and "contents", hashes of its examples.

    `results`: those of the run. The hashes are by split and task; "contents" is absent in
    runs of older versions, whose directories have none.

    Raises:
      InputError: a file is damaged.
    """
    tasks = [name for name in results["test"] if name != "avg"]
    line = {"settings": settings(directory, results)}
    contents = {}
    for split in comparison.SPLITS:
        if hashes := inputs_json.hashes(directory, tasks, split):
            contents[split] = {name: h[:HASH_DIGITS] for name, h in hashes.items()}
    return {**line, "contents": contents} if contents else line


def settings(directory: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a run with `results` was trained with, as `comparable.resolved`.

    {} for a language model that was prompted, which has no configuration.

    Raises:
      InputError: a file is damaged.
    """
    if not (directory / layout.CONFIG).exists():
        return {}
    config = layout.read_config(directory)
    tasks = [name for name in results["test"] if name != "avg"]
    # The vocabulary of a new encoder, and its hash, depend on the training texts.
    is_new = not (config.backbone.path or config.warm_start)
    encoder = inputs_json.encoder_hash(directory, tasks)
    return comparable.resolved(
        config_values.flat(config),
        comparable.NEW if is_new else encoder and encoder[:HASH_DIGITS],
        _training_data(directory, tasks, results),
    )


def _training_data(
    directory: Path, tasks: Sequence[str], results: Mapping[str, Any]
) -> str | None:
    """A hash of the training examples and of how many of them are used; None if unknown."""
    hashes = inputs_json.hashes(directory, tasks, "train")
    used = split_sizes.numbers(results, "train")
    if not {*tasks} <= hashes.keys() & used.keys():
        return None
    listed = repr(sorted((name, hashes[name], used[name]) for name in tasks))
    return hashlib.sha256(listed.encode()).hexdigest()[:HASH_DIGITS]
