"""Trains what a table of the papers needs, and writes the table beside the paper's figures.

  mtra-jax experiment main --scale smoke --workdir runs/smoke
  mtra-jax experiment ablations --backbone roberta --data_dir data --workdir runs/paper \\
      [--benchmark affecteval] [--seeds 0,1,2] [--config.KEY=VALUE] [--dry_run] \\
      [--found runs/search/found.toml] [--jobs 2]
  mtra-jax experiment paradigms --data_dir data --workdir runs/paper --endpoint URL --model NAME

Experiments with the same work directory share their runs, one process at a time. The same
command continues.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtra_jax import cli, preset_files
from mtra_jax.commands import prompt
from mtra_jax.commands.stopping import stopping
from mtra_jax.errors import InputError

if TYPE_CHECKING:
    from mtra_jax.prompting.asking import Model
    from mtra_jax.runs.studies.experiments import Study
    from mtra_jax.runs.sweeps.sweep import Plan
    from mtra_jax.runs.trials.run_specs import Overrides


def main(arguments: Sequence[str]) -> None:
    """Lists the runs, trains those that have not finished, and writes the table."""
    rest, given = cli.split_overrides(arguments)
    flags = cli.parse(_parser(), rest)
    num_workers = cli.number_of_jobs(flags)
    workdir = cli.output_directory(flags.workdir)
    overrides = tuple(given)
    if flags.data_dir:
        overrides = (("data.dir", flags.data_dir), *overrides)

    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.directory import locks
    from mtra_jax.runs.studies import experiments, prompted_studies
    from mtra_jax.runs.studies import listing as study_listing
    from mtra_jax.runs.studies import run as study_runs
    from mtra_jax.runs.sweeps import shares
    from mtra_jax.runs.trials import found_toml, tuned_rows

    tuning = found_toml.read(flags.found) if flags.found else None
    study = experiments.make(
        experiments.load(),
        flags.name,
        flags.scale,
        flags.backbone,
        flags.benchmark,
        cli.seeds(flags.seeds),
        tuning,
        _most_texts(flags.texts),
    )
    _check_jobs(study, num_workers)
    model = None
    if flags.model or flags.endpoint:
        prompted_studies.check(study)
        model = prompt.model_of(flags)
    shares.start_devices(num_workers)
    command = shlex.join([*cli.command("experiment"), *arguments])
    plans = study_runs.make_plans(study, workdir, overrides, command)
    trials = [trial for table in study.tables for trial in table.sweep.trials]
    note = tuned_rows.difference(trials, tuning, overrides)

    def show_plan() -> None:
        listed = study_listing.listing(study, plans, num_workers, is_dry=flags.dry_run)
        bars.write_line(listed + (note and f"\n{note}"))

    if flags.dry_run:
        locks.check_usable(workdir)
        show_plan()
        return
    with locks.held_together([workdir, *(plan.workdir for plan in plans)]):
        show_plan()
        if model:
            _ask(model, study, workdir, overrides, command)
        num_failed = _train(study, plans, workdir, overrides, num_workers)
    if num_failed:
        count = sum(len(plan.jobs) for plan in plans)
        sys.exit(f"error: {num_failed} of {count} runs failed")


def _check_jobs(study: "Study", num_workers: int) -> None:
    """Raises InputError if runs at the same time would spoil the study's figures."""
    if num_workers > 1 and study.experiment.columns == "cost":
        raise InputError(
            f"--jobs {num_workers}: {study.name} compares times, and runs slow each other; "
            "expected --jobs 1"
        )


def _train(
    study: "Study",
    plans: "list[Plan]",
    workdir: Path,
    overrides: "Overrides",
    num_workers: int,
) -> int:
    """Trains what has not finished, and writes the tables; returns how many runs failed."""
    from mtra_jax.reports.formatting import grids
    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.studies import figures as study_figures
    from mtra_jax.runs.studies import run as study_runs

    with stopping() as should_stop:
        failed = study_runs.run_all(plans, bars.write_line, should_stop, num_workers)
    study_runs.measure(study, plans, bars.write_line)
    made = study_runs.make_grids(study, workdir, overrides)
    print("", *(grids.text(grid) + "\n" for grid in made.values()), sep="\n")
    paths = grids.write(workdir / study_runs.TABLES, study.name, made)
    try:
        paths += study_figures.draw(study, workdir)
    except InputError as error:  # without matplotlib
        print(f"no picture: {error}")
    print(f"files: {', '.join(map(str, paths))}")
    return len(failed)


def _ask(
    model: "Model",
    study: "Study",
    workdir: Path,
    overrides: Sequence[tuple[str, str]],
    command: str,
) -> None:
    """Runs the prompts of the study, before anything is trained.

    Raises:
      InputError: several processes train.
    """
    import jax

    if jax.process_count() > 1:
        raise InputError(
            f"--model {model.name}: {jax.process_count()} processes; expected one, or "
            "`mtra-jax prompt --sweep DIR` before"
        )
    from mtra_jax.reports.progress import bars, text_counts
    from mtra_jax.runs.studies import prompted_studies

    with text_counts.shown(is_quiet=False) as count:
        prompted_studies.run_all(
            study,
            model,
            workdir,
            tuple(overrides),
            command,
            bars.write_line,
            count,
        )


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(description=__doc__)
    file = preset_files.DIRECTORY / "experiments.py"
    names = ", ".join(preset_files.keys(file, "EXPERIMENTS"))
    parser.add_argument("name", metavar="NAME", help=f"one of {names}")
    parser.add_argument("--workdir", required=True, help="the directory of all runs")
    parser.add_argument("--scale", default="paper", help="paper, small or smoke")
    parser.add_argument(
        "--backbone", default="", help="roberta, bert, minilm, tiny or new"
    )
    parser.add_argument(
        "--benchmark", default="", help="tweeteval, affecteval or synthetic"
    )
    parser.add_argument("--data_dir", default="", help="root of the benchmarks' files")
    parser.add_argument("--seeds", metavar="0,1,2")
    parser.add_argument(
        "--texts",
        default="",
        metavar="N",
        help="the most texts of each task and split from which figures of trained models "
        "are computed; default: all, or the scale's",
    )
    prompt.add_model_flags(parser)
    parser.add_argument(
        "--found", default="", metavar="FILE", help="values of `mtra-jax search`"
    )
    cli.add_dry_run(parser)
    cli.add_jobs(parser)
    return parser


def _most_texts(text: str) -> int | None:
    """Raises InputError if `text` is neither empty nor a number of texts."""
    from mtra_jax.runs.trained import analyses

    return cli.whole_number("--texts", text, analyses.FEWEST_TEXTS) if text else None
