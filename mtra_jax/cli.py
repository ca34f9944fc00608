"""Flags of the scripts, and errors as one line with exit code 2."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from ml_collections import ConfigDict

from mtra_jax import config
from mtra_jax.errors import InputError, did_you_mean

PREFIX = "--config."


class Parser(argparse.ArgumentParser):
    """Answers a wrong flag with one line instead of the usage."""

    def error(self, message: str) -> None:  # pragma: no cover - argparse's own hook
        """Raises InputError."""
        raise InputError(message)


def split_overrides(
    arguments: Sequence[str],
) -> tuple[list[str], list[tuple[str, str]]]:
    """Takes `--config.key=value` and `--config.key value` out of `arguments`.

    >>> split_overrides(["--workdir", "w", "--config.data.fraction=0.1"])
    (['--workdir', 'w'], [('data.fraction', '0.1')])
    """
    rest, overrides = [], []
    remaining = iter(arguments)
    for argument in remaining:
        if not argument.startswith(PREFIX):
            rest.append(argument)
            continue
        key, has_value, text = argument.removeprefix(PREFIX).partition("=")
        if not has_value:
            text = next(remaining, "--")
            if text.startswith("--"):
                raise InputError(f"{argument}: no value; expected {argument}=VALUE")
        overrides.append((key, text))
    return rest, overrides


def parse(parser: argparse.ArgumentParser, rest: Sequence[str]) -> argparse.Namespace:
    """Parses `rest`; an unknown flag is answered with the nearest known ones.

    Raises:
      InputError: a flag is unknown, or lacks its value.
    """
    found, unknown = parser.parse_known_args(rest)
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        name = unknown[0].partition("=")[0]
        raise InputError(f"unknown argument {name}; {did_you_mean(name, known)}")
    return found


def with_config(
    parser: argparse.ArgumentParser, arguments: Sequence[str]
) -> tuple[argparse.Namespace, ConfigDict]:
    """Parses flags and the configuration `--config FILE:NAME` with its overrides."""
    parser.add_argument(
        "--config", required=True, metavar="FILE:NAME", help="configs/mtra.py:NAME"
    )
    rest, overrides = split_overrides(arguments)
    found = parse(parser, rest)
    return found, config.load(found.config, overrides)


def existing_directory(path: str) -> Path:
    """Returns `path`, a directory.

    Raises:
      InputError: it is none.
    """
    if not Path(path).is_dir():
        raise InputError(f"{path}: no such directory")
    return Path(path)


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Runs `main(arguments)`: wrong input is one line on standard error, exit code 2."""
    try:
        main(sys.argv[1:])
    except InputError as error:
        line = " ".join(str(error).split())
        sys.exit(_fail(f"error: {line}", 2))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted; the same command continues", 130))


def stop(line: str, number: int) -> NoReturn:
    """Ends the process that signal `number` asked to stop, with a line and 128 + number.

    0, where no signal came to this process but to another of the run, counts as SIGTERM.
    """
    sys.exit(_fail(line, 128 + (number or signal.SIGTERM)))


def _fail(line: str, code: int) -> int:
    sys.stderr.write(line + "\n")
    return code
