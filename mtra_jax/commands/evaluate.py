"""Scores a finished run again, or prediction files from any source.

mtra-jax evaluate --workdir runs/tiny [--split test]
mtra-jax evaluate --predictions DIR --benchmark tweeteval --data_dir DATA
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mtra_jax import cli, files
from mtra_jax.errors import InputError


def main(arguments: Sequence[str]) -> None:
    """Prints the figures of one split as JSON, and as a table on standard error."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--workdir", help="the directory of a run")
    parser.add_argument("--split", default="test", choices=("validation", "test"))
    parser.add_argument("--predictions", help="prediction files in TweetEval's layout")
    parser.add_argument("--benchmark", default="tweeteval")
    parser.add_argument(
        "--tasks", default="", help="names separated by commas; all if empty"
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
    if flags.workdir is not None:
        evaluate_run(cli.existing_directory(flags.workdir), flags)
    else:
        score_files(cli.existing_directory(flags.predictions), flags)


def evaluate_run(workdir: Path, flags: argparse.Namespace) -> None:
    """Scores the run in `workdir`."""
    from mtra_jax.reports import bars, tables
    from mtra_jax.runs import scoring
    from mtra_jax.train.devices import start_devices

    start_devices()
    options = scoring.Options(
        data_dir=flags.data_dir,
        cache_dir=flags.cache_dir,
        num_devices=flags.devices,
        batch_size=flags.batch_size,
        bar=bars.evaluation_bar,
    )
    score = scoring.evaluate_run(workdir, flags.split, options)
    if score.difference is not None:
        print(f"not the data of the run: {score.difference}", file=sys.stderr)
    if score.limit:
        print(
            f"data.limit of the run: at most {score.limit} examples of each task",
            file=sys.stderr,
        )
    print(json.dumps(files.plain(score.summary)))
    table = tables.score_table({flags.split: score.summary}, score.benchmark.tasks)
    print(table, file=sys.stderr)


def score_files(directory: Path, flags: argparse.Namespace) -> None:
    """Scores the prediction files in `directory`."""
    from mtra_jax.data import benchmarks
    from mtra_jax.reports import predictions

    benchmark = benchmarks.choose_benchmark(flags.benchmark, flags.tasks)
    examples = benchmarks.read_examples(benchmark, flags.data_dir or "", [flags.split])
    parts = {name: of_task[flags.split] for name, of_task in examples.items()}
    labels = {name: part.labels for name, part in parts.items()}
    targets = {name: dict(part.targets) for name, part in parts.items()}
    summary = predictions.score_predictions(directory, benchmark.tasks, labels, targets)
    print(json.dumps(summary))
