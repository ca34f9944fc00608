"""Trains the runs of a sweep that have not finished, and compares the results.

  mtra-jax sweep --config configs/sweep.py:synthetic --workdir runs/synthetic \\
      [--config.epochs=3] [--config.data.fraction=0.1] [--found runs/search/found.toml] \\
      [--seeds 0,1,2] [--jobs 2] [--dry_run]
"""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtra_jax import cli

if TYPE_CHECKING:
    from mtra_jax.runs.sweeps.sweep import Plan


def main(arguments: Sequence[str]) -> None:
    """Trains the runs, and prints the table of those that have finished."""
    parser = _make_parser()
    rest, overrides = cli.split_overrides(arguments)
    flags = cli.parse(parser, rest, has_keys=True)
    num_workers = cli.number_of_jobs(flags)
    workdir = cli.output_directory(flags.workdir)

    from mtra_jax.reports import bars
    from mtra_jax.runs.directory import locks
    from mtra_jax.runs.processes import group, signals
    from mtra_jax.runs.studies import listing as study_listing
    from mtra_jax.runs.sweeps import sweep, workers
    from mtra_jax.runs.training import loop
    from mtra_jax.runs.trials import found_toml, run_specs, tuned_rows

    chosen = run_specs.load(flags.config)
    if seeds := cli.seeds(flags.seeds):
        chosen = run_specs.with_seeds(chosen, seeds)
    if flags.found:
        chosen = tuned_rows.tuned(chosen, found_toml.read(flags.found))
        run_specs.check(chosen, flags.found)
    workers.start_devices(num_workers)
    plan = sweep.make_plan(
        chosen,
        workdir,
        overrides,
        command=shlex.join([*cli.command("sweep"), *arguments]),
        only=[name for name in flags.only.split(",") if name],
    )
    note = tuned_rows.difference(chosen.trials, chosen.tuning, overrides)
    if flags.dry_run:
        locks.check_usable(workdir)
        bars.write_line(
            study_listing.of_sweep(plan, num_workers) + (note and f"\n{note}")
        )
        return
    with (
        locks.held_together([workdir]),
        signals.caught(group.own_signals()) as requests,
    ):
        bars.write_line(study_listing.counted([plan]) + (note and f"\n{note}"))
        try:
            should_stop = group.stop_together(requests.should_stop)
            failed = sweep.run_all(plan, bars.write_line, should_stop, num_workers)
        except loop.Stopped as stopped:
            cli.stop(f"{stopped}, saved; the same command continues", requests.signal)
    _print_table(plan)
    if failed:
        sys.exit(f"error: {len(failed)} of {len(plan.jobs)} runs failed")


def _make_parser() -> cli.Parser:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--config", required=True, metavar="FILE:NAME", help="configs/sweep.py:NAME"
    )
    parser.add_argument("--workdir", required=True, help="the directory of all runs")
    parser.add_argument(
        "--only", default="", metavar="NAME,...", help="rows to train, such as mtra,ew"
    )
    parser.add_argument(
        "--found", default="", metavar="FILE", help="values of `mtra-jax search`"
    )
    parser.add_argument(
        "--seeds",
        metavar="0,1,2",
        help="seeds of each row, in place of those of the sweep",
    )
    cli.add_dry_run(parser)
    cli.add_jobs(parser)
    return parser


def _print_table(plan: "Plan") -> None:
    """Prints the table of the finished runs of the sweep, if the baseline has one."""
    from mtra_jax.reports import comparison, end_of_run, formats
    from mtra_jax.runs.sweeps import sweep

    chosen = plan.sweep
    own = {(trial.name, trial.seed) for trial in chosen.trials}
    entries = [e for e in sweep.read(plan.workdir) if (e.name, e.seed) in own]
    if any(entry.name == chosen.baseline for entry in entries):
        baselines = {trial.name: chosen.baseline_of(trial) for trial in chosen.trials}
        compared = comparison.compare(entries, baseline=baselines)
        print(f"\n{formats.text(compared)}")
        runs = ((entry.name, entry.results) for entry in entries)
        if line := end_of_run.stuck_rows(runs, compared.tasks):
            print(line)
        print(f"files in {plan.workdir}")
    else:
        print(f"no table without a finished run of {chosen.baseline}")
