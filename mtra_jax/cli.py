"""Flags of the scripts; how they start and end."""

import argparse
import os
import signal
import stat
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mtra_jax import failures, paths, streams
from mtra_jax.errors import InputError, did_you_mean, shown

PREFIX = "--config."
# Of a message: a path may have 4,096 characters, and only its ends say much.
_HEAD, _TAIL = 1500, 500


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
) -> tuple[argparse.Namespace, Any]:
    """Parses flags and the configuration `--config FILE:NAME` with its overrides.

    Returns the flags and a ConfigDict.
    """
    # Not at the top: it imports JAX, whose failures are answered once `run` is called.
    from mtra_jax import config

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
    # Unlike those of `Path`, these are False for names that no file can have.
    if not os.path.isdir(path):
        fault = "not a directory" if os.path.exists(path) else "no such directory"
        raise InputError(f"{path or shown(path)}: {fault}")
    return Path(path)


def output_directory(path: str) -> Path:
    """Returns `path`, a directory, or a name that one can be made under.

    Raises:
      InputError: it is empty, a file, below a file, or no name for a directory.
    """
    expected = "expected a directory, or the name of a new one"
    try:
        if not path:
            raise InputError(f"{shown(path)}: an empty name; {expected}")
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise InputError(f"{path}: not a directory; {expected}")
    except FileNotFoundError:
        if os.path.islink(path):
            raise InputError(
                f"{path}: a link to {os.readlink(path)}, which does not exist; {expected}"
            ) from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {expected}") from error
    return Path(path)


def run(
    main: Callable[[Sequence[str]], None],
    leave: Callable[[int], Any] = sys.exit,
    *,
    output_is_product: bool = True,
) -> None:
    """Runs `main(arguments)` for a script; every failure is one line on standard error.

    `~` in the arguments is expanded. Ends by `leave(code)` with the code of
    `failures.explain`. Only a fault of this program shows its traceback, or each failure
    where the variable `failures.DEBUG` is set. A full disk under standard output ends the
    script only where its `output_is_product`.
    """
    streams.guard(output_is_product=output_is_product)
    warnings.showwarning = _show_warning
    try:
        main(paths.expand_arguments(sys.argv[1:]))
        sys.stdout.flush()
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # the panics of Rust libraries are no Exception
        leave(_end(error))


def _end(error: BaseException) -> int:
    """Shows the line of `error`, and returns the exit code."""
    failure = failures.explain(error)
    if failure.is_internal or os.environ.get(failures.DEBUG):
        traceback.print_exception(error)
    if failure.line:
        sys.stderr.write(one_line(failure.line) + "\n")
    return failure.code


def _show_warning(message: Warning | str, category: type, *place: Any) -> None:
    del category, place
    sys.stderr.write(f"warning: {one_line(str(message))}\n")


def one_line(message: str) -> str:
    """Returns `message` on one line, without control characters, its middle cut if long.

    >>> one_line("a.txt:1:\\n  \\x1b[2J; expected text")
    'a.txt:1: \\\\x1b[2J; expected text'
    """
    line = " ".join(message.split())
    if len(line) > _HEAD + _TAIL:
        line = f"{line[:_HEAD]} ... {line[-_TAIL:]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def stop(line: str, number: int) -> NoReturn:
    """Ends the process that signal `number` asked to stop, with a line and 128 + number.

    0, where no signal came to this process but to another of the run, counts as SIGTERM.
    """
    sys.stderr.write(line + "\n")
    sys.exit(128 + (number or signal.SIGTERM))
