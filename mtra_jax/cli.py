"""Arguments of a command -> flags and configuration; failures -> a line, an exit code."""

import argparse
import functools
import os
import shutil
import signal
import stat
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from mtra_jax import config_help, failures, paths, streams
from mtra_jax.errors import InputError, did_you_mean, shown

PROGRAM = "mtra-jax"
PREFIX = "--config."
# Characters shown of a long message, which may contain a path of 4,096.
_HEAD, _TAIL = 1500, 500


class Parser(argparse.ArgumentParser):
    """Reports a wrong flag in one line instead of the usage; shows texts as they are."""

    def __init__(self, **options: Any) -> None:
        # Python 3.14 has another default for programs that `-m` starts.
        options.setdefault("prog", os.path.basename(sys.argv[0]))
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        # Otherwise `--seed` would be `--seeds` where a command has no flag of that name.
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:  # pragma: no cover - argparse's hook
        """Raises InputError."""
        raise InputError(message)


def split_overrides(
    arguments: Sequence[str],
) -> tuple[list[str], list[tuple[str, str]]]:
    """Separates `--config.key=value` and `--config.key value` from other `arguments`.

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


def parse(
    parser: argparse.ArgumentParser,
    rest: Sequence[str],
    *,
    has_keys: bool = False,
    others: Mapping[str, str] | None = None,
) -> argparse.Namespace:
    """Parses `rest`; the error for an unknown flag suggests similar ones.

    `has_keys`: the command also takes `--config.KEY=VALUE`. `others`: flags of other
    commands, and what has their place in this one.

    Raises:
      InputError: a flag is unknown, or lacks its value.
    """
    try:
        flags, unknown = parser.parse_known_args(rest)
    except InputError:
        # A misspelt flag that is required is missing, and unknown, which helps more.
        for action in parser._actions:
            action.required = False
        flags, unknown = parser.parse_known_args(rest)
        if not unknown:
            raise
    if unknown:
        options = [text for action in parser._actions for text in action.option_strings]
        name = unknown[0].partition("=")[0]
        hint = (_key_of(name) if has_keys else "") or did_you_mean(name, options)
        if others and name in others:
            hint = f"did you mean {others[name]}?"
        raise InputError(f"unknown argument {name}; {hint}")
    return flags


def _key_of(name: str) -> str:
    """The end of the message about the flag `name` if it is a key without its prefix.

    >>> _key_of("--max-length")
    'did you mean --config.data.max_length?'
    """
    wanted = name.lstrip("-").replace("-", "_")
    for key in config_help.KEYS:
        if wanted in (key, key.rpartition(".")[2]) and name.startswith("--"):
            return f"did you mean {PREFIX}{key}?"
    return ""


def with_config(
    parser: argparse.ArgumentParser, arguments: Sequence[str]
) -> tuple[argparse.Namespace, Any]:
    """Parses flags and the configuration `--config FILE:NAME` with its overrides.

    Returns the flags and a ConfigDict.
    """
    parser.add_argument(
        "--config", required=True, metavar="FILE:NAME", help="configs/mtra.py:NAME"
    )
    rest, overrides = split_overrides(arguments)
    flags = parse(parser, rest, has_keys=True)

    # Imported here: it imports JAX, and `run` reports a failure of that in one line.
    from mtra_jax import config

    return flags, config.load(flags.config, overrides)


def existing_directory(path: str) -> Path:
    """Returns `path`, a directory.

    Raises:
      InputError: `path` is not a directory.
    """
    # Unlike the methods of `Path`, these return False for impossible names.
    if not os.path.isdir(path):
        fault = "not a directory" if os.path.exists(path) else "no such directory"
        raise InputError(f"{path or shown(path)}: {fault}")
    return Path(path)


def output_directory(path: str) -> Path:
    """Returns `path`, a directory or the name of a new one.

    Raises:
      InputError: it is empty, a file, below a file, or not a possible name.
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


def command(verb: str) -> list[str]:
    """The words that start `verb` as this command was started.

    `mtra-jax VERB`, or `python scripts/VERB.py` for a script.
    """
    if sys.argv[0].endswith(".py"):
        return ["python", f"scripts/{verb}.py"]
    return [PROGRAM, verb]


def executable(name: str) -> str:
    """How to start the program `name` that lies beside this interpreter, from here.

    In a virtual environment that is not active, the bare name is another program.
    """
    path = Path(sys.executable).with_name(name)
    if name == "python":
        path = Path(sys.executable)
    if shutil.which(name) == str(path):
        return name
    if not path.is_relative_to(Path.cwd()):
        return str(path)
    relative = path.relative_to(Path.cwd())
    return f"./{relative}" if len(relative.parts) == 1 else str(relative)


def run(
    main: Callable[[Sequence[str]], None],
    leave: Callable[[int], Any] = sys.exit,
    *,
    output_is_product: bool = True,
) -> None:
    """Runs `main(arguments)` of a command; reports a failure in one line.

    `~` in the arguments is expanded. After a failure `leave` is called with the exit code
    of `failures.explain`. A traceback is shown for internal errors, or for all failures if
    the environment sets `failures.DEBUG`. A full disk under standard output is a failure
    only with `output_is_product`.
    """
    streams.guard(output_is_product=output_is_product)
    warnings.showwarning = functools.partial(_show_warning, set())
    try:
        main(paths.expand_arguments(sys.argv[1:]))
        sys.stdout.flush()
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # Rust libraries panic with other types
        leave(_end(error))


def _end(error: BaseException) -> int:
    """Prints the line that describes `error`, and returns the exit code."""
    failure = failures.explain(error)
    if failure.is_internal or os.environ.get(failures.DEBUG):
        traceback.print_exception(error)
    if failure.line:
        sys.stderr.write(one_line(failure.line) + "\n")
    return failure.code


def _show_warning(
    shown_before: set[str],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Replaces `warnings.showwarning`, whose arguments it has after the first.

    Shows a text once. Python would do so too, but libraries that change its filters for a
    moment make it forget: each run of a sweep would warn of the same data.
    """
    del category, filename, lineno, file, line
    text = one_line(str(message))
    if text not in shown_before:
        shown_before.add(text)
        sys.stderr.write(f"warning: {text}\n")


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
    """Exits after a signal, with a line and the code 128 + `number`.

    `number` is 0 if another process of the run received the signal; SIGTERM is assumed.
    """
    sys.stderr.write(line + "\n")
    sys.exit(128 + (number or signal.SIGTERM))


def whole_number(flag: str, text: str, low: int) -> int:
    """Raises InputError if `text` is not a whole number, at least `low`."""
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    if not is_number or int(text) < low:
        raise InputError(f"{flag} {text}: expected a whole number, at least {low}")
    return int(text)


def seeds(text: str | None) -> tuple[int, ...]:
    """The seeds in `text`, the value of `--seeds`; () for None, without the flag.

    Raises:
      InputError: it has something else than different numbers from 0 on.

    >>> seeds("0, 7"), seeds(None)
    ((0, 7), ())
    """
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    is_valid = all(part.isascii() and part.isdigit() for part in parts)
    if not is_valid or len({int(part) for part in parts}) < len(parts):
        raise InputError(f"--seeds {text}: expected different numbers, such as 0,1,2")
    return tuple(int(part) for part in parts)


def add_dry_run(parser: Parser, what: str = "runs") -> None:
    """Adds the flag that lists what a command would train."""
    text = f"lists the {what}, trains nothing"
    parser.add_argument("--dry_run", action="store_true", help=text)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Adds the flag of a command that prints nothing but its result."""
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print nothing but the table at the end, and problems on standard error",
    )


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Adds `--jobs`, which `number_of_jobs` reads."""
    parser.add_argument(
        "--jobs", default="1", metavar="N", help="runs at a time, each in a process"
    )


def number_of_jobs(flags: argparse.Namespace) -> int:
    """The number of runs at a time; raises InputError if it is not one."""
    return whole_number("--jobs", flags.jobs, 1)
