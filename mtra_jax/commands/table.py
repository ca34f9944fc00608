"""Prints the results of finished runs as one table, Δp against the first.

mtra-jax table EW=runs/ew MTRA=runs/mtra [--split test] [--markdown]
mtra-jax table EW=runs/ew MTRA=runs/mtra --epochs [--curves runs/figures]

`--epochs` prints the figures of the validation set epoch by epoch, of running ones too;
`--curves` draws losses and bounds over the steps, PNG and PDF.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
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
    parser.add_argument("--epochs", action="store_true", help="epoch by epoch")
    parser.add_argument("--curves", metavar="DIR", help="draw losses and bounds there")
    flags = cli.parse(parser, arguments)
    runs = _runs(flags.runs)
    if not (flags.epochs or flags.curves):
        _show_results(runs, flags.split, markdown=flags.markdown)
        return
    if flags.epochs:
        _show_epochs(runs, markdown=flags.markdown)
    if flags.curves:
        _draw(runs, cli.output_directory(flags.curves))


def _runs(arguments: Sequence[str]) -> dict[str, Path]:
    """The work directories by the names of the rows."""
    runs: dict[str, Path] = {}
    for run in arguments:
        name, has_path, path = run.partition("=")
        if not has_path or not name:
            raise InputError(f"{run}: expected NAME=WORKDIR")
        check_name(name, "name")
        if name in runs:
            raise InputError(f"name {name} is there twice; expected names that differ")
        runs[name] = cli.existing_directory(path)
    return runs


def _show_epochs(runs: Mapping[str, Path], *, markdown: bool) -> None:
    from mtra_jax.reports import epochs
    from mtra_jax.runs import workdir as files

    lines, tasks = _epochs(runs)
    print(epochs.table(lines, tasks, markdown=markdown))
    limits = {name: files.read_config(path).clip_norm for name, path in runs.items()}
    if note := epochs.clipping(lines, limits):
        print(f"\n{note}")


def _draw(runs: Mapping[str, Path], directory: Path) -> None:
    from mtra_jax.reports import drawing, figures

    lines, tasks = _epochs(runs)
    titles = {task.name: task.title for task in tasks}
    made = {"loss": figures.learning_curves(lines, titles)}
    bounded = {
        name: of_run
        for name, of_run in lines.items()
        if any(key.startswith("mi/") for line in of_run for key in line)
    }
    if bounded:
        made["bound"] = figures.bound_curves(bounded, titles)
    paths = drawing.save_all(made, directory)
    print(f"files: {', '.join(map(str, paths))}")


def _epochs(
    runs: Mapping[str, Path],
) -> tuple[dict[str, list[dict[str, Any]]], tuple["Task", ...]]:
    """The lines of metrics.jsonl of each run, and the tasks that all of them have.

    Raises:
      InputError: a run has no epoch yet, or no task is in all runs.
    """
    from mtra_jax.reports import epochs
    from mtra_jax.runs import definitions, metrics_log

    lines = {
        name: epochs.read(path / metrics_log.METRICS) for name, path in runs.items()
    }
    own = [definitions.read(path).tasks for path in runs.values()]
    shared = set.intersection(*({task.name for task in tasks} for tasks in own))
    if not shared:
        raise InputError(f"{', '.join(runs)}: no task is in all of these runs")
    return lines, tuple(task for task in own[0] if task.name in shared)


def _show_results(runs: Mapping[str, Path], split: str, *, markdown: bool) -> None:
    from mtra_jax.reports import comparison, run_tasks, tables, unread
    from mtra_jax.runs import definitions
    from mtra_jax.runs import workdir as files

    rows: dict[str, Any] = {}
    contents: dict[str, Any] = {}
    tasks: tuple[Task, ...] = ()
    for name, workdir in runs.items():
        results = files.read_results(workdir)
        if results is None:
            file = workdir / files.RESULTS
            raise InputError(f"{file}: no such file; the run has not finished")
        comparison.check_results(results, str(workdir / files.RESULTS))
        own = run_tasks.columns_of(definitions.read(workdir).tasks)
        tasks = tasks or own
        if difference := run_tasks.difference(own, tasks):
            raise InputError(f"{workdir}: {difference}, as in the first run")
        rows[name], contents[name] = results[split], results
    make = tables.markdown_table if markdown else tables.score_table
    baseline = next(iter(rows)) if len(rows) > 1 else None
    print(make(rows, tasks, baseline=baseline))
    notes = [tables.unit_note(tasks), tables.delta_p_meaning(baseline)]
    notes.append(unread.note(contents.items()) or "")
    for note in filter(None, notes):
        print(f"\n{note}" if markdown else note)
