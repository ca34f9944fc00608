"""Trains the runs of a sweep that have not finished, and compares the results.

  mtra-jax sweep --tasks my/tasks.toml --backbone DIR_OR_HUB --only ew,mtra,si \\
      --workdir runs/compare
  mtra-jax sweep --config configs/sweep.py:synthetic --workdir runs/synthetic \\
      [--config.epochs=3] [--config.data.fraction=0.1] [--found runs/search/found.toml] \\
      [--seeds 0,1,2] [--jobs 2] [--quiet] [--dry_run]

Without --only all rows of the sweep are trained: with --tasks the methods of the papers
with three seeds each. The same command continues.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtra_jax import cli
from mtra_jax.commands import own_tasks
from mtra_jax.commands.stopping import stopping
from mtra_jax.errors import InputError

if TYPE_CHECKING:
    from mtra_jax.runs.sweeps.sweep import Job, Plan


OWN = "configs/sweep.py:own"
"""The sweep that `--tasks FILE` stands for."""


def main(arguments: Sequence[str]) -> None:
    """Trains the runs, and prints the table of those that have finished."""
    rest, overrides = cli.split_overrides(arguments)
    others = {"--method": "--only", "--methods": "--only"}
    flags = cli.parse(_make_parser(), rest, has_keys=True, others=others)
    spec = _spec_of(flags)
    overrides = [*own_tasks.overrides(flags), *overrides]
    only = _rows(flags.only)
    num_workers = cli.number_of_jobs(flags)
    workdir = cli.output_directory(flags.workdir)

    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.directory import locks
    from mtra_jax.runs.studies import listing as study_listing
    from mtra_jax.runs.sweeps import shares, sweep
    from mtra_jax.runs.trials import found_toml, run_specs, tuned_rows

    chosen = run_specs.load(spec, is_shipped=not flags.config)
    chosen = run_specs.with_optional(chosen, only)
    if seeds := cli.seeds(flags.seeds):
        chosen = run_specs.with_seeds(chosen, seeds)
    if flags.found:
        chosen = tuned_rows.tuned(chosen, found_toml.read(flags.found))
        run_specs.check(chosen, flags.found)
    shares.start_devices(num_workers)
    command = shlex.join([*cli.command("sweep"), *arguments])
    plan = sweep.make_plan(chosen, workdir, overrides, command, only)
    notes = [
        tuned_rows.difference(chosen.trials, chosen.tuning, overrides),
        plan.without_baseline(),
    ]
    note = "\n".join(filter(None, notes))
    if flags.dry_run:
        locks.check_usable(workdir)
        bars.write_line(
            study_listing.of_sweep(plan, num_workers) + (note and f"\n{note}")
        )
        return
    failed = _train(plan, note, num_workers, is_quiet=flags.quiet)
    _print_table(plan, is_quiet=flags.quiet)
    if failed:
        sys.exit(f"error: {len(failed)} of {len(plan.jobs)} runs failed")


def _train(plan: "Plan", note: str, num_workers: int, *, is_quiet: bool) -> "list[Job]":
    """Trains what has not finished; returns the jobs that failed.

    `note`: what the user should know before, as lines.
    """
    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.directory import locks
    from mtra_jax.runs.studies import listing as study_listing
    from mtra_jax.runs.sweeps import sweep

    with locks.held_together([plan.workdir]), stopping() as should_stop:
        if not is_quiet:
            bars.write_line(study_listing.counted([plan]) + (note and f"\n{note}"))
        for line in note.splitlines() if is_quiet else ():
            bars.write_log_line(f"warning: {line}")
        return sweep.run_all(
            plan,
            bars.write_line,
            should_stop,
            num_workers,
            warn=bars.write_log_line if is_quiet else None,
            quiet=is_quiet,
        )


def _spec_of(flags: argparse.Namespace) -> str:
    """FILE:NAME of the sweep.

    Raises:
      InputError: not exactly one of `--tasks` and `--config` is given.
    """
    own_tasks.check_one(
        {
            "--tasks FILE, for your tasks": flags.tasks,
            "--config FILE:NAME, such as configs/sweep.py:synthetic": flags.config,
        }
    )
    return flags.config or OWN


def _rows(text: str | None) -> list[str]:
    """The rows in the value of `--only`; [], for all, without the flag.

    Raises:
      InputError: the value has no name, as by an empty variable of a shell.
    """
    if text is None:
        return []
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        raise InputError(f"--only {text!r}: expected names of rows, such as ew,mtra")
    return names


def _make_parser() -> cli.Parser:
    parser = cli.Parser(description=__doc__)
    own_tasks.add(parser, "--config", "FILE:NAME", "configs/sweep.py:NAME")
    parser.add_argument("--workdir", required=True, help="the directory of all runs")
    parser.add_argument(
        "--only",
        metavar="ROW,...",
        help="rows of the table to train, such as ew,mtra; default: all",
    )
    parser.add_argument(
        "--found", default="", metavar="FILE", help="values of `mtra-jax search`"
    )
    parser.add_argument(
        "--seeds",
        metavar="0,1,2",
        help="seeds of each row, in place of those of the sweep",
    )
    cli.add_quiet(parser)
    cli.add_dry_run(parser)
    cli.add_jobs(parser)
    return parser


def _print_table(plan: "Plan", *, is_quiet: bool) -> None:
    """Prints the table of the finished runs of the sweep."""
    from mtra_jax.reports.comparisons import comparison, formats
    from mtra_jax.reports.progress import end_of_run
    from mtra_jax.runs.sweeps import sweep

    chosen = plan.sweep
    own = {(trial.name, trial.seed) for trial in chosen.trials}
    entries = [e for e in sweep.read(plan.workdir) if (e.name, e.seed) in own]
    if not entries:
        print("no finished run", file=sys.stderr if is_quiet else sys.stdout)
        return
    baselines = {trial.name: chosen.baseline_of(trial) for trial in chosen.trials}
    compared = comparison.compare(entries, baseline=baselines)
    runs = ((entry.name, entry.results) for entry in entries)
    stuck = end_of_run.stuck_rows(runs, compared.tasks)
    if is_quiet:
        print(formats.text(compared))
        if stuck:
            print(f"warning: {stuck}", file=sys.stderr)
        return
    print(f"\n{formats.text(compared)}")
    if stuck:
        print(stuck)
    print(f"files in {plan.workdir}")
