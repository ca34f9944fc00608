"""Prints the results of finished runs as one table, Δp against the first.

mtra-jax table EW=runs/ew MTRA=runs/mtra [--split test] [--markdown]
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mtra_jax import cli
from mtra_jax.errors import InputError, check_name

if TYPE_CHECKING:
    from mtra_jax.tasks import Task


def main(arguments: Sequence[str]) -> None:
    """Prints the table."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=WORKDIR")
    parser.add_argument("--split", default="test", choices=("validation", "test"))
    parser.add_argument("--markdown", action="store_true")
    flags = cli.parse(parser, arguments)

    from mtra_jax.reports import comparison, run_tasks, tables, unread
    from mtra_jax.runs import definitions
    from mtra_jax.runs import workdir as files

    rows: dict[str, Any] = {}
    contents: dict[str, Any] = {}
    tasks: tuple[Task, ...] = ()
    for run in flags.runs:
        name, has_path, path = run.partition("=")
        if not has_path or not name:
            raise InputError(f"{run}: expected NAME=WORKDIR")
        check_name(name, "name")
        if name in rows:
            raise InputError(f"name {name} is there twice; expected names that differ")
        workdir = cli.existing_directory(path)
        results = files.read_results(workdir)
        if results is None:
            file = workdir / files.RESULTS
            raise InputError(f"{file}: no such file; the run has not finished")
        comparison.check_results(results, str(workdir / files.RESULTS))
        own = run_tasks.columns_of(definitions.read(workdir).tasks)
        tasks = tasks or own
        if difference := run_tasks.difference(own, tasks):
            raise InputError(f"{workdir}: {difference}, as in the first run")
        rows[name], contents[name] = results[flags.split], results
    make = tables.markdown_table if flags.markdown else tables.score_table
    baseline = next(iter(rows)) if len(rows) > 1 else None
    print(make(rows, tasks, baseline=baseline))
    notes = [tables.unit_note(tasks), tables.delta_p_meaning(baseline)]
    notes.append(unread.note(contents.items()) or "")
    for note in filter(None, notes):
        print(f"\n{note}" if flags.markdown else note)
