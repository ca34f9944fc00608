"""Trains a method on a benchmark, or continues a run that was stopped.

    python scripts/train.py --config configs/mtra.py:tiny_synthetic --workdir runs/tiny \
        [--config.epochs=3] [--config.data.limit=100] [--quiet]

    python scripts/train.py --continue_from runs/tiny --config.epochs=20 --workdir runs/longer

--config.KEY=VALUE sets any value of mtra_jax/config.py. --config.data.limit=100 is a smoke
run: each split of each task has at most 100 examples. --warm_start RUN starts from the best
epoch of a finished run: its encoder, and its heads of the same tasks. --continue_from RUN
trains a finished run for more epochs, in a new --workdir.
"""

import argparse
import shlex
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from mtra_jax import cli
from mtra_jax.runs import joining_flags


def main(arguments: Sequence[str]) -> None:
    rest, overrides = cli.split_overrides(arguments)
    flags = cli.parse(make_parser(), rest)
    config = configuration(flags, overrides)
    workdir = cli.output_directory(flags.workdir)
    joining = joining_flags.read(flags)

    # These import JAX. Imported here, a failure of JAX is one line on standard error.
    from mtra_jax.reports import bars
    from mtra_jax.runs import continuation, display, loop, processes, signals, training
    from mtra_jax.train.devices import start_devices

    if joining is not None:
        processes.initialise(**joining._asdict())
    start_devices()
    if joining is not None:
        show_devices(is_quiet=flags.quiet)
    if flags.continue_from:
        continuation.begin(Path(flags.continue_from), workdir, config)

    with signals.caught(processes.own_signals()) as requests:
        should_stop = processes.stop_together(requests.should_stop)
        view = display.Display(
            bars.write_line,
            warn=bars.write_log_line if flags.quiet else None,
            should_stop=should_stop,
            quiet=flags.quiet,
        )

        def watch_of(prepared, progress) -> loop.Watch:
            if processes.is_writer():
                return view.watch(prepared, progress)
            return loop.Watch(should_stop=should_stop)

        try:
            outcome = training.train(config, workdir, watch_of)
        except loop.Stopped as stopped:
            cli.stop(f"{stopped}, saved; the same command continues", requests.signal)
        finally:
            view.close()

    if processes.is_writer():
        print_end(outcome, config, workdir, is_quiet=flags.quiet)


def make_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n\n")[-1]
    )
    parser.add_argument("--config", metavar="FILE:NAME", help="configs/mtra.py:NAME")
    parser.add_argument(
        "--warm_start",
        metavar="RUN",
        help="directory of a finished run whose encoder and heads this one starts from",
    )
    parser.add_argument(
        "--continue_from",
        metavar="RUN",
        help="directory of a finished run to train for more epochs; no --config",
    )
    parser.add_argument(
        "--workdir", required=True, help="the directory of the run and its files"
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print nothing but the table at the end, and problems on standard error",
    )
    joining_flags.add(parser)
    return parser


def configuration(flags, overrides: list[tuple[str, str]]):
    """The configuration of the flags: a ConfigDict."""
    # These import JAX, see above.
    from mtra_jax import config
    from mtra_jax.errors import InputError
    from mtra_jax.runs import continuation

    if (flags.config is None) == (flags.continue_from is None):
        raise InputError(
            "expected one of --config FILE:NAME, such as --config "
            "configs/mtra.py:tiny_synthetic, and --continue_from RUN"
        )
    if flags.warm_start is not None:
        overrides = [*overrides, ("warm_start", flags.warm_start)]
    if flags.config is not None:
        return config.load(flags.config, overrides)
    return continuation.configuration(Path(flags.continue_from), overrides)


def show_devices(*, is_quiet: bool) -> None:
    """Prints the devices of all processes, and warns of idle ones on their hosts."""
    from mtra_jax.reports import bars
    from mtra_jax.runs import agreement, processes

    line, warning = agreement.devices_in_use()
    if processes.is_writer():
        if not is_quiet:
            bars.write_line(line)
        if warning:
            warnings.warn(warning, stacklevel=1)


def print_end(outcome, config, workdir: Path, *, is_quiet: bool) -> None:
    """Prints the test figures, beside those of a stored EW run with the same settings."""
    from mtra_jax.config import to_dict
    from mtra_jax.reports import end_of_run, stored

    results, tasks = outcome.results, outcome.benchmark.tasks
    method = config.method.name
    ew = stored.find(stored.read(), "ew", to_dict(config))
    others = [ew] if ew and method != "ew" else []
    if is_quiet:
        print(end_of_run.table(results, tasks, method, others))
        return
    print(f"\n{end_of_run.report(results, tasks, method, others)}")
    print(f"next: {prediction_command(workdir, tasks[0].name)}")
    print(f"{end_of_run.seconds(results)}; files in {workdir}")


def prediction_command(workdir: Path, task: str) -> str:
    """A command that predicts the label of a text with the trained model."""
    # In a virtual environment that is not active, "python" is another interpreter.
    executable = sys.executable
    if shutil.which("python") == executable:
        executable = "python"
    elif Path(executable).is_relative_to(Path.cwd()):
        executable = str(Path(executable).relative_to(Path.cwd()))
    command = [executable, "scripts/predict.py", "--workdir", str(workdir)]
    return f"echo 'what a lovely day' | {shlex.join([*command, '--task', task])}"


def leave(code: int) -> None:
    """Exits with `code`: by `processes.leave` once that module is imported."""
    processes = sys.modules.get("mtra_jax.runs.processes")
    (processes.leave if processes else sys.exit)(code)


if __name__ == "__main__":
    cli.run(main, leave, output_is_product=False)
