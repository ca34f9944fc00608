"""Prints the results of finished runs as one table, Δp against the first.

mtra-jax table EW=runs/ew MTRA=runs/mtra [--split test] [--markdown]
mtra-jax table EW=runs/ew MTRA=runs/mtra --epochs [--curves runs/figures]

Below it are the differences from the first run, with their 95 % intervals over resamples
of the test examples. `--epochs` prints the figures of the validation set epoch by epoch,
of running ones too; `--curves` draws losses and bounds over the steps, PNG and PDF.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtra_jax import cli
from mtra_jax.commands.report import RESULTS
from mtra_jax.errors import InputError, check_name

if TYPE_CHECKING:
    from mtra_jax.tasks import Task

Lines = dict[str, list[dict[str, Any]]]
"""The lines of metrics.jsonl by the name of the run."""


def main(arguments: Sequence[str]) -> None:
    """Prints the table."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="[NAME=]WORKDIR")
    # No defaults: those that are given do not go with --epochs or --curves.
    choices = ("validation", "test")
    parser.add_argument("--split", choices=choices, help="default: test")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--epochs", action="store_true", help="epoch by epoch")
    parser.add_argument("--curves", metavar="DIR", help="draw losses and bounds there")
    flags = cli.parse(parser, arguments)
    runs = _runs(flags.runs)
    if not flags.epochs and flags.curves is None:
        _show_results(runs, flags.split or "test", markdown=flags.markdown)
        return
    if flags.split:
        raise InputError(
            f"--split {flags.split}: --epochs and --curves show the validation set"
        )
    if flags.markdown and not flags.epochs:
        raise InputError("--markdown: --curves draws PNG and PDF files")
    lines, tasks = _epochs(runs)
    if flags.epochs:
        _show_epochs(runs, lines, tasks, markdown=flags.markdown)
    if flags.curves is not None:
        _draw(lines, tasks, cli.output_directory(flags.curves))


def _runs(arguments: Sequence[str]) -> dict[str, Path]:
    """The work directories by the names of the rows."""
    runs: dict[str, Path] = {}
    for run in arguments:
        name, has_path, path = run.partition("=")
        if not has_path:
            name, path = Path(run).name, run
        if not name:
            raise InputError(f"{run}: expected NAME=WORKDIR")
        check_name(name, "name")
        if name in runs:
            raise InputError(
                f"name {name} is there twice; expected names that differ, NAME=WORKDIR"
            )
        runs[name] = cli.existing_directory(path)
    return runs


def _unfinished(results: Path) -> str:
    """Why a directory has no file `results`."""
    if (sweep := results.with_name(RESULTS)).exists():
        directory = sweep.parent
        own = sorted(path.parent for path in directory.glob(f"*/seed*/{results.name}"))
        example = f", such as {own[0]}" if own else ""
        return (
            f"{directory}: the directory of a sweep; expected that of a run{example}, or "
            f"mtra-jax report {directory}"
        )
    return f"{results}: no such file; the run has not finished"


def _epochs(runs: Mapping[str, Path]) -> tuple[Lines, tuple["Task", ...]]:
    """The lines of metrics.jsonl of each run, and the tasks that all of them have.

    Raises:
      InputError: a run has no epoch yet or a model for each task, no task is in all, or
        a task differs.
    """
    from mtra_jax import config
    from mtra_jax.reports.comparisons import run_tasks
    from mtra_jax.reports.progress import epochs
    from mtra_jax.runs.directory import layout, metrics_log, tasks_json

    lines: Lines = {}
    own: dict[str, dict[str, Task]] = {}
    for name, path in runs.items():
        if config.separate_tasks(layout.read_config(path)):
            raise InputError(
                f"{path}: a model for each task; expected the directory of one, such as "
                f"{path / tasks_json.read(path).tasks[0].name}"
            )
        lines[name] = epochs.read(path / metrics_log.METRICS)
        columns = run_tasks.columns_of(tasks_json.read(path).tasks)
        own[name] = {task.name: task for task in columns}
    first, *others = own.values()
    shared = [name for name in first if all(name in other for other in others)]
    if not shared:
        raise InputError(f"{', '.join(runs)}: no task is in all of these runs")
    tasks = tuple(first[name] for name in shared)
    for path, their in zip(runs.values(), own.values(), strict=True):
        if difference := run_tasks.difference([their[n] for n in shared], tasks):
            raise InputError(f"{path}: {difference}, as in the first run")
    return lines, tasks


def _show_epochs(
    runs: Mapping[str, Path], lines: Lines, tasks: Sequence["Task"], *, markdown: bool
) -> None:
    from mtra_jax.reports.formatting import tables
    from mtra_jax.reports.progress import epochs
    from mtra_jax.runs.directory import layout

    print(epochs.table(lines, tasks, markdown=markdown))
    limits = {name: layout.read_config(path).clip_norm for name, path in runs.items()}
    if note := epochs.clipping(lines, limits):
        print(f"\n{tables.escaped(note) if markdown else note}")


def _draw(lines: Lines, tasks: Sequence["Task"], directory: Path) -> None:
    from mtra_jax.reports.pictures import drawing, figures

    titles = {task.name: task.title for task in tasks}
    made = {"loss": figures.learning_curves(lines, titles)}
    keys = {key for of_run in lines.values() for line in of_run for key in line}
    if any(f"mi/{task}" in keys for task in titles):
        made["bound"] = figures.bound_curves(lines, titles)
    paths = drawing.save_all(made, directory)
    print(f"files: {', '.join(map(str, paths))}")


def _show_results(runs: Mapping[str, Path], split: str, *, markdown: bool) -> None:
    from mtra_jax.reports.comparisons import (
        comparable,
        comparison,
        example_noise,
        run_tasks,
        split_sizes,
        unread,
    )
    from mtra_jax.reports.formatting import tables
    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.directory import conditions, inputs_json, layout, tasks_json
    from mtra_jax.runs.trained import stored_predictions

    hashes: dict[str, dict[str, str]] = {}
    rows: dict[str, Any] = {}
    contents: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    tasks: tuple[Task, ...] = ()
    for name, workdir in runs.items():
        results = layout.read_results(workdir)
        if results is None:
            raise InputError(_unfinished(workdir / layout.RESULTS))
        comparison.check_results(results, str(workdir / layout.RESULTS))
        own = run_tasks.columns_of(tasks_json.read(workdir).tasks)
        tasks = tasks or own
        if difference := run_tasks.difference(own, tasks):
            raise InputError(f"{workdir}: {difference}, as in the first run")
        rows[name], contents[name] = results[split], results
        names = [task.name for task in own]
        hashes[name] = inputs_json.hashes(workdir, names, split)
        try:
            settings[name] = comparable.texts(conditions.settings(workdir, results))
        except InputError as error:  # of a version with other keys
            bars.write_log_line(f"conditions of {name} are not compared: {error}")
    make = tables.markdown_table if markdown else tables.score_table
    first = next(iter(rows))
    baseline = first if len(rows) > 1 else None
    print(make(rows, tasks, baseline=baseline))
    notes = [tables.unit_note(tasks), tables.delta_p_meaning(baseline)]
    notes.append(unread.note(contents.items()) or "")
    sizes = split_sizes.note(contents.items(), split)
    notes.append(sizes or split_sizes.contents_note(hashes, split) or "")
    notes.append(comparable.conditions_note(settings, dict.fromkeys(rows, first)))
    for note in filter(None, notes):
        print(f"\n{tables.escaped(note)}" if markdown else note)
    if len(rows) > 1:
        predicted = stored_predictions.read(runs, tasks, split, rows, hashes)
        if line := example_noise.announcement(predicted):
            bars.write_log_line(line)
        block = example_noise.block(predicted, rows, tasks, is_markdown=markdown)
        print(f"\n{block}")
