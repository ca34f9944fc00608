"""Trains a method on your tasks or on a benchmark; continues a run that was stopped."""

import argparse
import shlex
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtra_jax import cli, config_help, preset_files
from mtra_jax.commands import own_tasks
from mtra_jax.commands.stopping import stopping
from mtra_jax.errors import InputError
from mtra_jax.runs.processes import flags as joining_flags

USAGE = """
  mtra-jax train --tasks my/tasks.toml --backbone DIR_OR_HUB --workdir runs/mine
  mtra-jax train --config configs/mtra.py:tiny_synthetic --workdir runs/tiny

  mtra-jax train --continue_from runs/tiny --config.epochs=20 --workdir runs/longer

The same command continues a stopped run. --config.data.limit=100 is a smoke run: each
split of each task has at most 100 examples. --warm_start RUN starts from the best epoch of
a finished run: its encoder, and its heads of the same tasks. --continue_from RUN trains a
finished run for more epochs, in a new --workdir."""

KEYS = {
    "backbone": "backbone.path",
    "method": "method.name",
    "warm_start": "warm_start",
}
"""The keys that flags stand for."""
GENERATED = "the airport is absolutely stunning. i really love this ferry"
"""A text of the grammar of the built-in benchmark, whose encoder knows no other words."""


def main(arguments: Sequence[str]) -> None:
    """Trains the run that the flags describe, and prints its figures."""
    rest, overrides = cli.split_overrides(arguments)
    flags = cli.parse(make_parser(), rest, has_keys=True)
    spec = config_of(flags)
    joining = joining_flags.read(flags)

    # These import JAX. Imported here, a failure of JAX is one line on standard error.
    from mtra_jax import config as configs
    from mtra_jax.runs.directory import continuation

    overrides = [*overrides_of(flags), *overrides]
    if flags.continue_from:
        config = continuation.configuration(Path(flags.continue_from), overrides)
    else:
        config = configs.load(spec, overrides, is_shipped=not flags.config)
    workdir = cli.output_directory(flags.workdir)

    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.processes import group
    from mtra_jax.runs.training import display, interfaces
    from mtra_jax.runs.training import run as training
    from mtra_jax.train.devices import start_devices

    if joining is not None:
        group.initialise(**joining._asdict())
    start_devices()
    if joining is not None:
        show_devices(is_quiet=flags.quiet)
    if flags.continue_from:
        continuation.begin(Path(flags.continue_from), workdir, config)

    warn = bars.write_log_line if flags.quiet else None
    with (
        stopping() as should_stop,
        display.Display(
            bars.write_line, warn=warn, should_stop=should_stop, quiet=flags.quiet
        ) as view,
    ):

        def watch_of(prepared: Any, progress: Any) -> interfaces.Watch:
            if group.is_writer():
                return view.watch(prepared, progress)
            return interfaces.Watch(should_stop=should_stop)

        outcome = training.train(config, workdir, watch_of)

    if group.is_writer():
        print_end(outcome, config, workdir, is_quiet=flags.quiet)


def make_parser() -> argparse.ArgumentParser:
    """The flags, with a help that lists presets and keys."""
    parser = cli.Parser(description=(__doc__ or "") + USAGE, epilog=epilog())
    own_tasks.add(parser, "--config", "FILE:NAME", "a preset of those below")
    parser.add_argument(
        "--warm_start",
        metavar="RUN",
        help="directory of a finished run whose encoder and heads this one starts from",
    )
    parser.add_argument(
        "--continue_from",
        metavar="RUN",
        help="directory of a finished run to train for more epochs; without --config",
    )
    parser.add_argument("--method", metavar="NAME", help="as --config.method.name")
    parser.add_argument(
        "--workdir", required=True, help="the directory of the run and its files"
    )
    cli.add_quiet(parser)
    joining_flags.add(parser)
    return parser


def epilog() -> str:
    """The presets, the methods and the keys, of the files that define them."""
    presets = preset_files.keys(preset_files.DIRECTORY / "mtra.py", "TABLE_10")
    methods = preset_files.keys(preset_files.REGISTRY, "METHODS")
    paragraphs = [
        "presets, from the working directory or else from the package:",
        "  configs/own.py:tasks=FILE, which --tasks FILE stands for",
        _wrapped("  configs/mtra.py:NAME, NAME one of ", presets),
        _wrapped("  configs/baselines.py:METHOD_NAME, METHOD one of ", methods),
        "",
        _wrapped("keys of --config.KEY=VALUE: ", config_help.KEYS),
        "",
        "`mtra-jax config` lists the keys with defaults and meanings, `mtra-jax config KEY`",
        "explains one.",
    ]
    return "\n".join(paragraphs)


def _wrapped(start: str, names: Sequence[str] | dict[str, str]) -> str:
    return textwrap.fill(
        start + ", ".join(names),
        width=88,
        subsequent_indent="    ",
        break_on_hyphens=False,
    )


def config_of(flags: argparse.Namespace) -> str:
    """FILE:NAME of the configuration; unused with `--continue_from`.

    Raises:
      InputError: not exactly one of `--tasks`, `--config` and `--continue_from` is given.
    """
    own_tasks.check_one(
        {
            "--tasks FILE, for your tasks": flags.tasks,
            "--config FILE:NAME, such as configs/mtra.py:tiny_synthetic": flags.config,
            "--continue_from RUN": flags.continue_from,
        }
    )
    return flags.config or f"configs/own.py:tasks={flags.tasks}"


def overrides_of(flags: argparse.Namespace) -> list[tuple[str, str]]:
    """The overrides that flags stand for; later ones take precedence.

    Raises:
      InputError: `--backbone` and `--warm_start` are both given.
    """
    if flags.backbone and flags.warm_start:
        raise InputError(
            f"--backbone {flags.backbone} with --warm_start {flags.warm_start}: the encoder "
            "is that of the run; expected one of the two"
        )
    return own_tasks.overrides(flags, KEYS)


def show_devices(*, is_quiet: bool) -> None:
    """Prints the devices of all processes, and warns of idle ones on their hosts."""
    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.processes import agreement, group

    line, warning = agreement.devices_in_use()
    if group.is_writer():
        if not is_quiet:
            bars.write_line(line)
        if warning:
            warnings.warn(warning, stacklevel=1)


def print_end(outcome: Any, config: Any, workdir: Path, *, is_quiet: bool) -> None:
    """Prints the test figures, beside those of stored EW runs with the same settings."""
    from mtra_jax.config import to_dict
    from mtra_jax.methods import registry
    from mtra_jax.reports.comparisons import stored
    from mtra_jax.reports.progress import end_of_run

    results, tasks = outcome.results, outcome.benchmark.tasks
    method = config.method.name
    name = registry.title(method, config.method)
    others = []
    if method != "ew":
        others = stored.find(stored.read(), "ew", to_dict(config))
    if is_quiet:
        print(end_of_run.table(results, tasks, name, others))
        for line in end_of_run.problems(results, tasks):
            print(f"warning: {line}", file=sys.stderr)
        return
    has_bound = config.method.get("task_alignment", False)
    report = end_of_run.report(results, tasks, name, others, has_bound=has_bound)
    print(f"\n{report}")
    print(f"next: {prediction_command(workdir, outcome.benchmark.name)}")
    print(f"{end_of_run.seconds(results)}; files in {workdir}")


def prediction_command(workdir: Path, benchmark: str) -> str:
    """A command that labels a text, of its kind, with a model trained on `benchmark`."""
    program, *words = cli.command("predict")
    command = [cli.executable(program), *words, "--workdir", str(workdir)]
    text = GENERATED if benchmark == "synthetic" else "what a lovely day"
    return f"echo {shlex.quote(text)} | {shlex.join(command)}"


def leave(code: int) -> None:
    """Exits with `code`: by `group.leave` once that module is imported."""
    group = sys.modules.get("mtra_jax.runs.processes.group")
    (group.leave if group else sys.exit)(code)
