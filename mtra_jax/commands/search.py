"""Gives each method the same number of trials on validation, and writes the best values.

  mtra-jax search ew,mtra --tasks my/tasks.toml --backbone DIR_OR_HUB --workdir runs/mine
  mtra-jax search ew,ew_tuned,mtra --preset minilm_tweeteval --workdir runs/search \\
      [--trials 16] [--space grid|optuna] [--seed 0] [--config.KEY=VALUE] \\
      [--jobs 2] [--dry_run]
  mtra-jax experiment main --backbone minilm --found runs/search/found.toml --workdir runs/main

Trials are compared by Avg. on validation, or by --config.selection=TASK/METRIC. The same
command continues. No trial scores the test set. One process at a time searches in
a work directory, also with Optuna: a second one is refused.
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
    from mtra_jax.runs.search.plan import Search
    from mtra_jax.runs.search.results import Try

GRID, OPTUNA = "grid", "optuna"


def main(arguments: Sequence[str]) -> None:
    """Trains the trials that have not ended, prints them, and writes `found.toml`."""
    rest, overrides = cli.split_overrides(arguments)
    flags = cli.parse(_parser(), rest, has_keys=True)
    preset = _preset_of(flags)
    overrides = [*own_tasks.overrides(flags), *overrides]
    names = _names(flags.methods)
    trials = cli.whole_number("--trials", flags.trials, 1)
    seed = cli.whole_number("--seed", flags.seed, 0)
    num_workers = cli.number_of_jobs(flags)
    if num_workers > 1 and flags.space == OPTUNA:
        raise InputError(
            f"--jobs {num_workers}: a trial of --space {OPTUNA} depends on those before; "
            f"expected --space {GRID}, or --jobs 1"
        )
    workdir = cli.output_directory(flags.workdir)

    from mtra_jax.runs.search import plan as search
    from mtra_jax.runs.search import results as search_results
    from mtra_jax.runs.sweeps import shares
    from mtra_jax.runs.trials import found_toml

    planned = search.make(
        names,
        preset,
        workdir,
        trials,
        flags.space,
        seed,
        tuple(overrides),
        shlex.join([*cli.command("search"), *arguments]),
    )
    shares.start_devices(num_workers)
    if flags.dry_run:
        _list(planned, num_workers)
        return
    ended = _search(planned, num_workers)
    for name, tries in ended.items():
        print(f"\n{search_results.table(name, planned.selection(name), tries)}")
    lost = [name for name, tries in ended.items() if search_results.best(tries) is None]
    if len(lost) < len(names):
        print(f"\nfile: {workdir / found_toml.FILE}")
        finished = [name for name in ended if name not in lost]
        if command := _sweep_command(planned, flags, finished):
            print(f"next: {command}")
    if lost:
        sys.exit(f"error: no finished trial of {', '.join(lost)}")


def _search(planned: "Search", num_workers: int) -> "dict[str, list[Try]]":
    """Trains what has not ended; returns all trials, by the name of the space."""
    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.directory import locks
    from mtra_jax.runs.search import run as searching

    with locks.held_together([planned.workdir]), stopping() as should_stop:
        bars.write_line(
            f"{planned.num_trials} trials each on validation: "
            f"{', '.join(planned.spaces)}"
        )
        return searching.run_all(planned, bars.write_line, should_stop, num_workers)


def _list(planned: "Search", num_workers: int) -> None:
    """Prints what would be trained, and how long that takes."""
    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.directory import locks
    from mtra_jax.runs.search import listing as search_listing

    locks.check_usable(planned.workdir)
    bars.write_line(search_listing.listing(planned, num_workers))


def _sweep_command(
    planned: "Search", flags: argparse.Namespace, names: Sequence[str]
) -> str:
    """The command that trains the spaces `names` with their values; "" without a sweep."""
    from mtra_jax.runs.trials import found_toml, run_specs

    program, *words = cli.command("sweep")
    command = [cli.executable(program), *words]
    own = own_tasks.overrides(flags)
    # The sweep of the preset tiny_synthetic is called synthetic.
    spec = f"configs/sweep.py:{planned.preset.removeprefix('tiny_')}"
    try:
        run_specs.load(spec, is_shipped=True)
    except InputError:
        return ""
    command += ["--tasks", flags.tasks] if flags.tasks else ["--config", spec]
    if flags.backbone is not None:
        command += ["--backbone", flags.backbone]
    rows = [
        name if planned.spaces[name].method == name else name.replace("_", " ")
        for name in names
    ]
    command += ["--only", ",".join(rows)]
    command += ["--found", str(planned.workdir / found_toml.FILE)]
    command += ["--workdir", f"{planned.workdir}_sweep"]
    # A sweep refuses keys that the file sets.
    varied = {axis.key for name in names for axis in planned.spaces[name].axes}
    command += [
        f"--config.{key}={text}"
        for key, text in planned.overrides
        if (key, text) not in own and key not in varied
    ]
    return shlex.join(command)


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "methods",
        metavar="METHOD,...",
        help="methods; ew_tuned: EW with weight decay and dropout, ew_sum: EW as a sum, "
        "ew_joint: EW in batches of all tasks",
    )
    own_tasks.add(parser, "--preset", "NAME", "BACKBONE_BENCHMARK, or own")
    parser.add_argument("--workdir", required=True, help="the directory of all trials")
    parser.add_argument(
        "--trials", default="16", metavar="N", help="of each method; default: 16"
    )
    parser.add_argument(
        "--space",
        default=GRID,
        choices=(GRID, OPTUNA),
        help="points of a grid, or of Optuna's sampler with the grid's ranges",
    )
    parser.add_argument(
        "--seed", default="0", metavar="N", help="of the points and of the runs"
    )
    cli.add_dry_run(parser, "trials")
    cli.add_jobs(parser)
    return parser


def _preset_of(flags: argparse.Namespace) -> str:
    """Raises InputError if not exactly one of `--tasks` and `--preset` is given."""
    own_tasks.check_one(
        {
            "--tasks FILE, for your tasks": flags.tasks,
            "--preset NAME, such as tiny_synthetic": flags.preset,
        }
    )
    return flags.preset or "own"


def _names(text: str) -> list[str]:
    """Raises InputError if `text` is not a list of different names."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise InputError(f"method {text!r}: expected different names, such as ew,mtra")
    return names
