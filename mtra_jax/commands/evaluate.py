"""Scores a finished run or an exported model, or prediction files from any source.

mtra-jax evaluate --workdir runs/tiny [--split test]
mtra-jax evaluate --workdir runs/mine --tasks other.toml
mtra-jax evaluate --predictions DIR --tasks my/tasks.toml
mtra-jax evaluate --predictions DIR --benchmark tweeteval --data_dir DATA
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mtra_jax import cli, files
from mtra_jax.errors import InputError


def main(arguments: Sequence[str]) -> None:
    """Prints the figures of one split as JSON, and as a table on standard error."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--workdir", help="of a run, or an exported model")
    parser.add_argument("--split", default="test", choices=("validation", "test"))
    parser.add_argument("--predictions", help="prediction files in TweetEval's layout")
    parser.add_argument(
        "--benchmark", help="of the prediction files; default: tweeteval"
    )
    parser.add_argument(
        "--tasks",
        default="",
        help="FILE.toml: your tasks, some of the run's; or tasks of the benchmark, "
        "names separated by commas, all if empty",
    )
    parser.add_argument("--data_dir", help="root of the benchmarks' files, or hub")
    parser.add_argument(
        "--cache_dir", help="instead of ~/.cache/mtra_jax; none if empty"
    )
    parser.add_argument(
        "--devices", type=int, default=0, help="their number; 0 for all"
    )
    parser.add_argument("--batch_size", type=int, help="default: as in training")
    flags = cli.parse(parser, arguments)
    if (flags.workdir is None) == (flags.predictions is None):
        raise InputError("expected either --workdir DIR or --predictions DIR")
    if flags.batch_size is not None and flags.batch_size < 1:
        raise InputError(f"--batch_size {flags.batch_size}; expected at least 1")
    check_tasks(flags)
    if flags.workdir is not None:
        evaluate_run(cli.existing_directory(flags.workdir), flags)
    else:
        score_files(cli.existing_directory(flags.predictions), flags)


def is_file(tasks: str) -> bool:
    """Whether `--tasks` is a path: names of tasks have neither a dot nor a slash."""
    return "." in tasks or os.sep in tasks


def check_tasks(flags: argparse.Namespace) -> None:
    """Raises InputError if `--tasks` and `--benchmark` do not fit the other flags."""
    if flags.workdir is not None:
        if flags.tasks and not is_file(flags.tasks):
            raise InputError(
                f"--tasks {flags.tasks} with --workdir; expected FILE.toml, your tasks"
            )
        if flags.benchmark is not None:
            raise InputError(
                f"--benchmark {flags.benchmark} with --workdir; the run has its tasks, "
                "expected --predictions DIR"
            )
    elif is_file(flags.tasks):
        for name in ("benchmark", "data_dir"):
            if getattr(flags, name) is not None:
                raise InputError(
                    f"--{name} {getattr(flags, name)} with --tasks {flags.tasks}; that "
                    "file names the data, expected only one of them"
                )


def check_data(directory: Path, benchmark: str, flags: argparse.Namespace) -> None:
    """Raises InputError if no flag names the data to score an exported model on."""
    flag, given = "--data_dir DIR", flags.data_dir
    if benchmark == "own":
        flag, given = "--tasks FILE.toml", flags.tasks
    if not given and benchmark != "synthetic":  # which is generated
        raise InputError(
            f"{directory}: an exported model does not name its data; expected {flag}"
        )


def evaluate_run(workdir: Path, flags: argparse.Namespace) -> None:
    """Scores the run, or the exported model, in `workdir`."""
    from mtra_jax.exports import reading
    from mtra_jax.reports.formatting import tables
    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.trained import scoring
    from mtra_jax.train.devices import start_devices

    start_devices()
    options = scoring.Options(
        data_dir=flags.data_dir,
        cache_dir=flags.cache_dir,
        task_path=flags.tasks or None,
        num_devices=flags.devices,
        batch_size=flags.batch_size,
        bar=bars.evaluation_bar,
    )
    if reading.is_export(workdir):
        saved = reading.read(workdir, flags.cache_dir)
        check_data(workdir, saved.benchmark.name, flags)
        score = scoring.evaluate_saved(saved, workdir, flags.split, options)
    else:
        score = scoring.evaluate_run(workdir, flags.split, options)
    if score.difference is not None:
        is_asked = flags.tasks or flags.data_dir
        what = "other data than the run's" if is_asked else "not the data of the run"
        print(f"{what}: {score.difference}", file=sys.stderr)
    if score.limit:
        print(
            f"data.limit of the run: at most {score.limit} examples of each task",
            file=sys.stderr,
        )
    if score.left_out:
        names = ", ".join(score.left_out)
        print(f"not scored, as {flags.tasks} lacks them: {names}", file=sys.stderr)
    counts = ", ".join(f"{name} {number}" for name, number in score.counts.items())
    print(f"{counts} examples of the {flags.split} split", file=sys.stderr)
    for line in (*score.cut_off, *score.absent):
        print(line, file=sys.stderr)
    print(json.dumps(files.plain(score.summary)))
    table = tables.score_table({flags.split: score.summary}, score.benchmark.tasks)
    print(table, file=sys.stderr)


def score_files(directory: Path, flags: argparse.Namespace) -> None:
    """Scores the prediction files in `directory`."""
    from mtra_jax.data import benchmarks
    from mtra_jax.data.own_tasks import task_file
    from mtra_jax.reports.predicted import predictions
    from mtra_jax.reports.progress import label_counts

    if is_file(flags.tasks):
        benchmark, examples = task_file.load(flags.tasks, splits=[flags.split])
    else:
        name, data_dir = flags.benchmark or "tweeteval", flags.data_dir or ""
        benchmark = benchmarks.choose_benchmark(name, flags.tasks)
        examples = benchmarks.read_examples(benchmark, data_dir, [flags.split])
    parts = {name: of_task[flags.split] for name, of_task in examples.items()}
    labels = {name: part.labels for name, part in parts.items()}
    targets = {name: dict(part.targets) for name, part in parts.items()}
    summary = predictions.score_predictions(directory, benchmark.tasks, labels, targets)
    for line in label_counts.absent(benchmark.tasks, labels, flags.split):
        print(line, file=sys.stderr)
    print(json.dumps(files.plain(summary)))
