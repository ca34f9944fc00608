"""Prints the results of a sweep as a table: means over seeds, Δp with an interval, p.

mtra-jax report runs/synthetic [--format latex] [--baseline ew] [--out FILE]
mtra-jax report runs/seed0 runs/seed1          # one table of sweeps that ran apart
mtra-jax report bert=runs/a roberta=runs/b     # rows of two sweeps: bert ew, roberta ew
mtra-jax report runs/pairs --grid beta,epsilon [--figure grid]    # Avg. of each pair
mtra-jax report runs/mine --representations    # z in two dimensions, by task and label
mtra-jax report runs/mine --diagnostics        # pictures of one run's diagnostics.jsonl
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtra_jax import cli
from mtra_jax.errors import InputError, check_name

if TYPE_CHECKING:
    from mtra_jax.reports.comparisons.comparison import Entry
    from mtra_jax.reports.comparisons.joined import Source

RESULTS = "results.jsonl"
RUN = "results.json"


def main(arguments: Sequence[str]) -> None:
    """Prints the table, or writes it to a file; or draws the diagnostics of a run."""
    from mtra_jax.reports.comparisons import joined

    flags = cli.parse(_parser(), arguments)
    _check_files(flags)
    if flags.diagnostics or flags.representations:
        _check_alone(flags)
        _draw(cli.existing_directory(flags.results[0]), flags)
        return
    sources = [_source(text) for text in flags.results]
    paths = [source.path for source in sources]
    entries = joined.read(sources)
    if not entries:
        listed = ", ".join(map(str, paths))
        raise InputError(f"{listed}: empty; expected a finished run")
    note = ""
    if flags.grid is not None:
        if name := next((source.name for source in sources if source.name), ""):
            raise InputError(
                f"{name}=… with --grid, which averages all runs of a pair of "
                "values; expected directories without names"
            )
        table, note = _grid(entries, flags)
    else:
        table = _compared(entries, flags)
    if flags.out is None:
        print(table + note)
        return
    try:
        _write(Path(flags.out), f"{table}\n", paths)
    except OSError as error:
        raise InputError(f"{flags.out}: {error.strerror}") from error


def _parser() -> argparse.ArgumentParser:
    from mtra_jax.reports.comparisons import comparison, formats

    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "results",
        nargs="+",
        metavar="[NAME=]DIR_OR_JSONL",
        help="output of mtra-jax sweep, NAME before its rows; the work directory of a run "
        "for its pictures",
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
    parser.add_argument(
        "--representations",
        action="store_true",
        help="draw the representations of the test texts into DIR/figures",
    )
    parser.add_argument(
        "--grid",
        metavar="OPTION,OPTION",
        help="the mean Avg. for each pair of values of two options",
    )
    parser.add_argument("--figure", help="draw the grid: a name for .png and .pdf")
    return parser


def _compared(entries: Sequence["Entry"], flags: argparse.Namespace) -> str:
    """The table of the runs, with a line on tasks that learned nothing."""
    from mtra_jax.reports.comparisons import comparison, formats
    from mtra_jax.reports.progress import end_of_run

    baseline = flags.baseline or comparison.baselines_of(entries)
    compared = comparison.compare(entries, flags.split or "test", baseline)
    form = flags.format or "text"
    runs = ((entry.name, entry.results) for entry in entries)
    stuck = end_of_run.stuck_rows(runs, compared.tasks)
    # It is about the test set, by which nothing on validation should be chosen.
    if stuck and flags.split != "validation":
        compared = compared._replace(notes=(*compared.notes, stuck))
    return formats.FORMATS[form](compared)


def _write(out: Path, text: str, results: Sequence[Path]) -> None:
    """Writes the table that was made from `results` to `out`, a file or a device."""
    from mtra_jax import files

    if not out.exists():
        out.parent.stat()  # of a mistyped directory, which would be made
    elif any(map(out.samefile, results)):
        raise InputError(f"--out {out}: the results themselves; expected another file")
    elif not out.is_file():  # such as /dev/stdout, which must not be replaced
        out.write_text(text, encoding="utf-8")
        return
    files.write_text(out.resolve(), text)


def _source(text: str) -> "Source":
    """The file of `text`, PATH or NAME=PATH.

    Raises:
      InputError: the path or the name does not fit.
    """
    from mtra_jax.reports.comparisons.joined import Source

    name, has_name, path = text.partition("=")
    if not has_name or not name or os.path.exists(text):
        return Source(_file(text))
    check_name(name, "name")
    return Source(_file(path), name)


def _file(text: str) -> Path:
    """The lines of the runs: the file `text`, or that of a directory.

    Raises:
      InputError: the directory is that of one run, or the name is empty.
    """
    path = Path(text)
    if not os.path.isdir(path):  # `Path.is_dir` raises for a name that is too long
        return path
    cli.existing_directory(text)  # "" would be the current one
    if (path / RUN).exists() and not (path / RESULTS).exists():
        raise InputError(
            f"{path}: the work directory of one run; expected that of a sweep, or "
            "mtra-jax table NAME=DIR"
        )
    return path / RESULTS


def _draw(directory: Path, flags: argparse.Namespace) -> None:
    """The pictures of one run."""
    from mtra_jax.runs.trained import diagnostic_figures, representation_figures

    paths: list[Path] = []
    if flags.diagnostics:
        paths += diagnostic_figures.draw(directory)
    if flags.representations:
        paths += representation_figures.draw(directory)
    print(f"files: {', '.join(map(str, paths))}")


def _grid(entries: Sequence["Entry"], flags: argparse.Namespace) -> tuple[str, str]:
    """The table of `--grid`, and a note on the files that were drawn for `--figure`."""
    from mtra_jax.reports.comparisons import option_grids
    from mtra_jax.reports.pictures import drawing, figures

    split = flags.split or "test"
    options = [option.strip() for option in flags.grid.split(",")]
    if len(options) != 2 or not all(options):
        raise InputError(f"--grid {flags.grid}: expected two options, as beta,epsilon")
    if flags.baseline is not None:
        raise InputError(f"--baseline {flags.baseline}: --grid compares with none")
    if flags.format not in (None, "text", "markdown"):
        raise InputError(f"--format {flags.format}: --grid has text and markdown")
    grid = option_grids.of(entries, options, split)
    note = ""
    if flags.figure is not None:
        drawn = figures.option_grid(
            grid.means, grid.rows, grid.columns, f"Avg., {split}"
        )
        path = Path(flags.figure)
        if path.suffix in (".png", ".pdf"):
            path = path.with_suffix("")
        paths = drawing.save_all({path.name: drawn}, path.parent)
        note = f"\n\nfiles: {', '.join(map(str, paths))}"
    return option_grids.table(grid, markdown=flags.format == "markdown"), note


def _check_files(flags: argparse.Namespace) -> None:
    """Raises InputError if the name of a file is empty, or a figure has no grid."""
    for name in ("out", "figure"):
        if getattr(flags, name) == "":
            raise InputError(f"--{name} is empty; expected the name of a file")
    if flags.figure is not None and flags.grid is None:
        raise InputError("--figure draws the table of --grid; expected both")


def _check_alone(flags: argparse.Namespace) -> None:
    """Raises InputError if a flag of a table is given besides one for pictures of a run."""
    chosen = "--diagnostics" if flags.diagnostics else "--representations"
    if len(flags.results) > 1:
        raise InputError(
            f"{', '.join(flags.results)} with {chosen}; expected one directory, of a run"
        )
    for name in ("split", "format", "baseline", "out", "grid", "figure"):
        value = getattr(flags, name)
        if value is not None:
            raise InputError(
                f"--{name} {value} with {chosen}, which draws PNG and PDF files into "
                "DIR/figures; expected only one of them"
            )
