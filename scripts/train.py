"""Trains a method on a benchmark, or continues a run that was stopped.

    python scripts/train.py --config configs/mtra.py:tiny_synthetic --workdir runs/tiny \
        [--config.epochs=3] [--config.data.fraction=0.1]
"""

import argparse
import math
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

    from mtra_jax.config import to_dict
    from mtra_jax.reports import progress
    from mtra_jax.runs import (
        agreement,
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
        show_devices()
        agreement.check_same("--config", to_dict(config))
    with signals.caught(processes.own_signals()) as requests:
        should_stop = processes.stop_together(requests.should_stop)
        shown = display.Terminal(progress.write_line, should_stop=should_stop)

        def watch_of(prepared, at) -> loop.Watch:
            if processes.is_writer():
                return shown.watch(prepared, at)
            return loop.Watch(lambda *_: None, lambda *_: None, should_stop=should_stop)

        try:
            outcome = training.train(config, workdir, watch_of)
        except loop.Stopped as stopped:
            cli.stop(f"{stopped}, saved; the same command continues", requests.signal)
        finally:
            shown.close()
    if processes.is_writer():
        report(outcome, workdir)


def make_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--workdir", required=True, help="where the run leaves its files"
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of a pod or cluster, each running this command",
    )
    parser.add_argument("--coordinator", help="HOST:PORT of process 0, where not found")
    parser.add_argument("--num_processes", type=int, help="of them, where not found")
    parser.add_argument("--process_id", type=int, help="of this one, where not found")
    parser.add_argument(
        "--local_device_ids",
        metavar="N,...",
        help="GPUs of its host that this process uses, where not found",
    )
    parser.add_argument(
        "--initialization_timeout",
        type=int,
        metavar="SECONDS",
        help="how long to wait for the other processes; 300 if not given",
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


def show_devices() -> None:
    from mtra_jax.reports import progress
    from mtra_jax.runs import agreement, processes

    line, warning = agreement.devices_in_use()
    if processes.is_writer():
        progress.write_line(line)
        if warning:
            warnings.warn(warning, stacklevel=1)


def check_joining(flags) -> None:
    given = [name for name in JOINING if getattr(flags, name) is not None]
    if given and not flags.distributed:
        raise InputError(f"--{given[0]}: expected with --distributed only")
    seconds = flags.initialization_timeout
    if seconds is not None and seconds < 1:
        raise InputError(f"--initialization_timeout is {seconds}; expected at least 1")


def report(outcome, workdir: Path) -> None:
    from mtra_jax.reports import tables

    results = outcome.results
    rows = {
        "majority (test)": results["majority"],
        "validation": results["validation"],
        "test": results["test"],
    }
    print(f"\nbest epoch {best_epochs(results)}")
    print(tables.score_table(rows, outcome.benchmark.tasks))
    if lacking := without_figures(results["test"]):
        print(f"test outputs not finite, no figures: {', '.join(lacking)}")
    print(f"{results['train_seconds']:.0f} s of training; files in {workdir}")


def without_figures(summary) -> list[str]:
    """The tasks with a figure that is NaN, or null where it was read from a file."""
    tables = {task: figures for task, figures in summary.items() if task != "avg"}
    return [
        task
        for task, figures in tables.items()
        if any(figure is None or math.isnan(figure) for figure in figures.values())
    ]


def best_epochs(results) -> str:
    best, last = results["best_epoch"], results["epochs"]
    if not isinstance(best, dict):
        return f"{best} of {last}"
    return ", ".join(f"{task} {epoch} of {last[task]}" for task, epoch in best.items())


def leave(code: int) -> None:
    """As `processes.leave`, which may not have been imported yet."""
    processes = sys.modules.get("mtra_jax.runs.processes")
    (processes.leave if processes else sys.exit)(code)


if __name__ == "__main__":
    cli.run(main, leave, output_is_product=False)
