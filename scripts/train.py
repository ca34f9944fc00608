"""Trains a method on a benchmark, or continues a run that was stopped.

    python scripts/train.py --config configs/mtra.py:tiny_synthetic --workdir runs/tiny \
        [--config.epochs=3] [--config.data.limit=100] [--quiet]

--config.KEY=VALUE sets any value of mtra_jax/config.py. --config.data.limit=100 is a smoke
run: each split of each task has at most 100 examples.
"""

import argparse
import shlex
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from mtra_jax import cli
from mtra_jax.errors import InputError

JOINING = (
    "coordinator",
    "num_processes",
    "process_id",
    "local_device_ids",
    "initialization_timeout",
)
"""Flags that need --distributed."""


def main(arguments: Sequence[str]) -> None:
    flags, config = cli.with_config(make_parser(), arguments)
    workdir = cli.output_directory(flags.workdir)
    check_joining(flags)
    devices_here = device_ids(flags.local_device_ids)

    from mtra_jax.reports import bars
    from mtra_jax.runs import (
        display,
        joining,
        loop,
        processes,
        signals,
        training,
    )
    from mtra_jax.train.devices import start_devices

    if flags.distributed:
        processes.initialise(
            flags.coordinator,
            flags.num_processes,
            flags.process_id,
            flags.initialization_timeout or joining.TIMEOUT_SECONDS,
            devices_here,
        )
    start_devices()
    if flags.distributed:
        show_devices(is_quiet=flags.quiet)
    with signals.caught(processes.own_signals()) as requests:
        should_stop = processes.stop_together(requests.should_stop)
        view = display.Display(
            bars.write_line,
            warn=bars.write_log_line if flags.quiet else None,
            should_stop=should_stop,
            quiet=flags.quiet,
        )

        def watch_of(prepared, at) -> loop.Watch:
            if processes.is_writer():
                return view.watch(prepared, at)
            return loop.Watch(lambda *_: None, lambda *_: None, should_stop=should_stop)

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
    parser.add_argument(
        "--workdir", required=True, help="the directory of the run and its files"
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print nothing but the table at the end, and problems on standard error",
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of a pod or cluster, each running this command",
    )
    parser.add_argument("--coordinator", help="HOST:PORT of process 0, if not detected")
    parser.add_argument(
        "--num_processes", type=int, help="their number, if not detected"
    )
    parser.add_argument(
        "--process_id", type=int, help="the number of this one, if not detected"
    )
    parser.add_argument(
        "--local_device_ids",
        metavar="N,...",
        help="GPUs of its host that this process uses, where not found",
    )
    parser.add_argument(
        "--initialization_timeout",
        type=int,
        metavar="SECONDS",
        help="longest wait for the other processes; 300 if not given",
    )
    return parser


def device_ids(text: str | None) -> list[int] | None:
    """The numbers in `text`, as 0,1,2."""
    if text is None:
        return None
    numbers = text.split(",")
    if not all(number.isdecimal() and len(number) < 5 for number in numbers):
        raise InputError(f"--local_device_ids is {text}; expected numbers, as 0,1,2")
    return [int(number) for number in numbers]


def show_devices(*, is_quiet: bool) -> None:
    from mtra_jax.reports import bars
    from mtra_jax.runs import agreement, processes

    line, warning = agreement.devices_in_use()
    if processes.is_writer():
        if not is_quiet:
            bars.write_line(line)
        if warning:
            warnings.warn(warning, stacklevel=1)


def check_joining(flags) -> None:
    given = [name for name in JOINING if getattr(flags, name) is not None]
    if given and not flags.distributed:
        raise InputError(f"--{given[0]}: expected with --distributed only")
    seconds = flags.initialization_timeout
    if seconds is not None and seconds < 1:
        raise InputError(f"--initialization_timeout is {seconds}; expected at least 1")


def print_end(outcome, config, workdir: Path, *, is_quiet: bool) -> None:
    from mtra_jax import config as configs
    from mtra_jax.reports import end_of_run, stored

    results, tasks = outcome.results, outcome.benchmark.tasks
    method = config.method.name
    ew = stored.find(stored.read(), "ew", configs.to_dict(config))
    others = [ew] if ew and method != "ew" else []
    table = end_of_run.table(results, tasks, method, others)
    if is_quiet:
        print(table)
        return
    print(f"\n{table}")
    if lacking := end_of_run.without_figures(results["test"]):
        print(f"test outputs not finite, no figures: {', '.join(lacking)}")
    print(end_of_run.legend(tasks, has_ew=bool(others) or method == "ew"))
    for run in others:
        print(f"{end_of_run.title(run.method)} (stored): {run.command}; {run.origin}")
    print(f"next: {next_command(workdir, tasks[0].name)}")
    print(f"{end_of_run.seconds(results)}; files in {workdir}")


def next_command(workdir: Path, task: str) -> str:
    """A command that predicts the label of a text with the trained model."""
    # Within a virtual environment that is not active, "python" is another one.
    executable = sys.executable
    if shutil.which("python") == executable:
        executable = "python"
    elif Path(executable).is_relative_to(Path.cwd()):
        executable = str(Path(executable).relative_to(Path.cwd()))
    command = [executable, "scripts/predict.py", "--workdir", str(workdir)]
    return f"echo 'what a lovely day' | {shlex.join([*command, '--task', task])}"


def leave(code: int) -> None:
    """Calls `processes.leave`; before that module is imported, `sys.exit`."""
    processes = sys.modules.get("mtra_jax.runs.processes")
    (processes.leave if processes else sys.exit)(code)


if __name__ == "__main__":
    cli.run(main, leave, output_is_product=False)
