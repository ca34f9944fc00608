"""Prints the results of a sweep as a table: means over seeds, Δp with an interval, p.

mtra-jax report runs/synthetic [--format latex] [--baseline ew] [--out FILE]
mtra-jax report runs/mine --diagnostics        # pictures of one run's diagnostics.jsonl
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mtra_jax import cli
from mtra_jax.errors import InputError

RESULTS = "results.jsonl"


def main(arguments: Sequence[str]) -> None:
    """Prints the table, or writes it to a file; or draws the diagnostics of a run."""
    from mtra_jax.reports import comparison, formats

    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "results",
        metavar="DIR_OR_JSONL",
        help="output of mtra-jax sweep; with --diagnostics the work directory of a run",
    )
    # No defaults: those that are given do not go with --diagnostics.
    parser.add_argument("--split", choices=comparison.SPLITS, help="default: test")
    parser.add_argument("--format", choices=formats.FORMATS, help="default: text")
    parser.add_argument(
        "--baseline", help="row that Δp and p refer to; default: those of the sweep"
    )
    parser.add_argument("--out", help="a file instead of standard output")
    parser.add_argument(
        "--diagnostics",
        action="store_true",
        help="draw the cosines and norms of the tasks' gradients into DIR/figures",
    )
    flags = cli.parse(parser, arguments)
    if flags.diagnostics:
        _check_alone(flags)
        from mtra_jax.runs import diagnostic_figures

        paths = diagnostic_figures.draw(cli.existing_directory(flags.results))
        print(f"files: {', '.join(map(str, paths))}")
        return
    path = Path(flags.results)
    if os.path.isdir(path):  # unlike `Path.is_dir`, False for a name that is too long
        path /= RESULTS
    entries = comparison.read(path)
    if not entries:
        raise InputError(f"{path}: empty; expected a finished run")
    baseline = flags.baseline or comparison.baselines_of(entries)
    compared = comparison.compare(entries, flags.split or "test", baseline)
    table = formats.FORMATS[flags.format or "text"](compared)
    if flags.out is None:
        print(table)
        return
    try:
        Path(flags.out).write_text(f"{table}\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{flags.out}: {error.strerror}") from error


def _check_alone(flags: argparse.Namespace) -> None:
    """Raises InputError if a flag of the table is given besides `--diagnostics`."""
    for name in ("split", "format", "baseline", "out"):
        value = getattr(flags, name)
        if value is not None:
            raise InputError(
                f"--{name} {value} with --diagnostics, which draws PNG and PDF files into "
                "DIR/figures; expected only one of them"
            )
