"""`--tasks`, `--backbone` and a preset's flag -> what a command trains on, as overrides."""

import argparse
from collections.abc import Mapping

from mtra_jax.errors import InputError

KEYS = {"tasks": "data.tasks", "backbone": "backbone.path"}
"""The keys that the flags stand for, where the preset of own tasks takes no file."""


def add(parser: argparse.ArgumentParser, preset: str, metavar: str, text: str) -> None:
    """Adds `--tasks`, `--backbone`, and the flag `preset`, which replaces `--tasks`."""
    parser.add_argument("--tasks", metavar="FILE", help="your tasks, a TOML file")
    parser.add_argument(preset, metavar=metavar, help=f"{text}, instead of --tasks")
    parser.add_argument(
        "--backbone",
        metavar="DIR_OR_HUB",
        help="the encoder to fine-tune, as --config.backbone.path",
    )


def check_one(given: Mapping[str, str | None]) -> None:
    """Raises InputError unless one flag is given; `given`: the values, by description."""
    if [*given.values()].count(None) != len(given) - 1:
        raise InputError(f"expected either {', or '.join(given)}")


def overrides(
    flags: argparse.Namespace, keys: Mapping[str, str] = KEYS
) -> list[tuple[str, str]]:
    """The overrides that the flags named in `keys` stand for.

    They come before those of `--config.KEY=VALUE`, which take precedence.
    """
    values = ((key, getattr(flags, name)) for name, key in keys.items())
    return [(key, value) for key, value in values if value is not None]
