"""`mtra-jax VERB FLAGS` -> the command VERB, run with its flags."""

import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from mtra_jax import cli
from mtra_jax.commands import (
    benchmark,
    config,
    evaluate,
    experiment,
    export,
    predict,
    prepare,
    prompt,
    report,
    search,
    sweep,
    table,
    train,
)
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.version import VERSION


class Verb(NamedTuple):
    """A command: a module with a docstring and `main(arguments)`, see `cli.run`."""

    module: ModuleType
    leave: Callable[[int], Any] = sys.exit
    output_is_product: bool = True


# The modules import JAX, and all that needs it, in their functions: a help is quick, and
# a failure of that import is one line.
VERBS = {
    "train": Verb(train, train.leave, output_is_product=False),
    "evaluate": Verb(evaluate),
    "predict": Verb(predict, predict.leave),
    "export": Verb(export),
    "search": Verb(search, output_is_product=False),
    "sweep": Verb(sweep, output_is_product=False),
    "experiment": Verb(experiment, output_is_product=False),
    "prompt": Verb(prompt, output_is_product=False),
    "report": Verb(report),
    "table": Verb(table),
    "prepare": Verb(prepare),
    "benchmark": Verb(benchmark),
    "config": Verb(config),
}


def main() -> None:
    """Runs the installed command `mtra-jax`."""
    if len(sys.argv) > 1 and (verb := sys.argv[1]) in VERBS:
        sys.argv = [f"{cli.PROGRAM} {verb}", *sys.argv[2:]]
        run(verb)
    else:
        cli.run(show)


def run(verb: str) -> None:
    """Runs the command `verb` with the arguments of this process."""
    row = VERBS[verb]

    def main(arguments: Sequence[str]) -> None:
        if os.environ.get("MTRA_JAX_METHODS"):  # the registry imports JAX
            from mtra_jax.methods import registry

            registry.add_own()
        row.module.main(arguments)

    cli.run(main, row.leave, output_is_product=row.output_is_product)


def show(arguments: Sequence[str]) -> None:
    """Prints the verbs, or the version for `--version`.

    Raises:
      InputError: the arguments are not empty, `-h`, `--help` or `--version`.
    """
    if list(arguments) == ["--version"]:
        print(f"{cli.PROGRAM} {VERSION}")
    elif arguments and arguments[0] not in ("-h", "--help"):
        hint = did_you_mean(arguments[0], VERBS)
        raise InputError(f"unknown command {arguments[0]}; {hint}")
    else:
        print(overview())


def overview() -> str:
    """The help of `mtra-jax`: each verb with the first line of its docstring."""
    width = max(map(len, VERBS))
    lines = [
        f"  {verb:{width}}  {(row.module.__doc__ or '').splitlines()[0]}"
        for verb, row in VERBS.items()
    ]
    usage = (
        f"usage: {cli.PROGRAM} VERB [FLAGS]; {cli.PROGRAM} VERB --help lists the flags"
    )
    return "\n".join([usage, "", *lines])
