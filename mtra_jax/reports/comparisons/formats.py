"""A comparison of methods -> text for a terminal, Markdown, LaTeX or CSV."""

import csv
import functools
import io
from collections.abc import Sequence

from mtra_jax import metrics
from mtra_jax.reports.comparisons import unread
from mtra_jax.reports.comparisons.comparison import Comparison
from mtra_jax.reports.formatting import grids, tables
from mtra_jax.reports.formatting.grids import EMPTY, Column, Figure, Grid, Line, PValue
from mtra_jax.reports.formatting.styles import SIGNIFICANT
from mtra_jax.reports.statistics import intervals, ranks
from mtra_jax.reports.statistics.seeds import AVG, Cell
from mtra_jax.tasks import Task

AGAINST = "against"
"""The column with the row that Δp and p refer to, where it is not the same for all."""
NAMED_ROW = f'the row that its column "{AGAINST}" names'
HOLM = "p (Holm)"
INTERVAL = f"{100 * intervals.LEVEL:.0f} %"


def text(comparison: Comparison) -> str:
    """A table for a terminal, with lines that explain the columns."""
    one, *others = comparison.baselines
    # Under one title, so that the columns of a wide table are not split between them.
    title = f"{AGAINST} {'a row' if others else one}"
    return grids.text(_grid(comparison, title))


def markdown(comparison: Comparison) -> str:
    """A Markdown table, the best mean of each column in bold."""
    return grids.markdown(_grid(comparison))


def latex(comparison: Comparison) -> str:
    """A `tabular` for the package booktabs, the best mean of each column in bold."""
    return grids.latex(_grid(comparison))


def csv_text(comparison: Comparison) -> str:
    """CSV with every figure in full; a missing figure is an empty field."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    keys = list(comparison.rows[0].cells)
    names = ["avg" if key == AVG else "/".join(key) for key in keys]
    parts = [f"{name}/{part}" for name in names for part in Cell._fields]
    differs = len(comparison.baselines) > 1
    heads = ["name", "seeds", *parts, "delta_p"]
    heads += ["delta_p/low", "delta_p/high", "p", "p_holm"]
    has_unread = unread.is_shown(row.unread for row in comparison.rows)
    heads += ["unread"] if has_unread else []
    writer.writerow([*heads, AGAINST] if differs else heads)
    for row in comparison.rows:
        figures = [value for key in keys for value in row.cells[key]]
        interval = row.interval or (None, None)
        cells = [row.name, row.num_seeds, *figures, row.delta_p, *interval]
        cells += [row.p, row.holm]
        cells += [row.unread.mean] if has_unread else []
        writer.writerow([*cells, row.baseline] if differs else cells)
    return file.getvalue().removesuffix("\n")


FORMATS = {"text": text, "markdown": markdown, "csv": csv_text, "latex": latex}


def task_columns(tasks: Sequence[Task]) -> dict[tuple[str, str], Column]:
    """The columns of the tasks' figures by task and metric, as `Row.cells` has them."""
    columns = {}
    for task in tasks:
        for name in task.metrics:
            metric = metrics.find(name, task)
            better = 1 if metric.higher_is_better else -1
            form = functools.partial(tables.digits, metric)
            columns[task.name, name] = Column(task.title, metric.title, form, better)
    return columns


def improvement_column(comparison: Comparison, title: str = "") -> Column:
    """Δp. Improvements over different rows do not compare: none is the best then."""
    better = 1 if len(comparison.baselines) == 1 else 0
    return Column(title, "Δp", "+.2f", better, is_mean=False)


def p_value(p: float | None) -> Figure:
    """The cell of a p-value."""
    return EMPTY if p is None else PValue(p)


def _notes(comparison: Comparison) -> list[str]:
    """Lines that explain the columns, and those of the comparison."""
    notes = [_legend(comparison)]
    if comparison.ranking is not None:
        notes.append(ranks.line(comparison.ranking))
    if note := tables.unit_note(comparison.tasks):
        notes.append(note)
    return [*notes, *comparison.notes]


def _legend(comparison: Comparison) -> str:
    one, *others = comparison.baselines
    interval = (
        f"; {INTERVAL}: bootstrap interval of Δp over seeds, not corrected for the number "
        "of rows"
        if _has_intervals(comparison)
        else ""
    )
    row = NAMED_ROW if others else one
    return (
        f"mean ± standard deviation over seeds; {tables.delta_p_meaning(row)}; p: Welch's "
        f"t-test of Avg. against {row}, Holm's correction{interval}; * p < {SIGNIFICANT}"
    )


def _has_intervals(comparison: Comparison) -> bool:
    return any(row.interval is not None for row in comparison.rows)


def _grid(comparison: Comparison, title: str = "") -> Grid:
    """The table, its notes last. `title`: that above the columns after Avg."""
    rows = comparison.rows
    shown = task_columns(comparison.tasks)
    columns = [*shown.values(), Column("", "Avg.", better=1)]
    cells: list[list[Figure]] = [
        [row.cells[key] for row in rows] for key in (*shown, AVG)
    ]

    def add(column: Column, figures: Sequence[Figure]) -> None:
        columns.append(column)
        cells.append([*figures])

    if unread.is_shown(row.unread for row in rows):
        add(Column(*unread.HEAD), [row.unread for row in rows])
    if len(comparison.baselines) > 1:
        add(Column(title, AGAINST), [row.baseline for row in rows])
    improvements = [Cell(row.delta_p, None) for row in rows]
    add(improvement_column(comparison, title), improvements)
    if _has_intervals(comparison):
        add(Column(title, INTERVAL), [row.interval or EMPTY for row in rows])
    add(Column(title, HOLM), [p_value(row.holm) for row in rows])
    lines = [
        Line(row.name, own)
        for row, own in zip(rows, zip(*cells, strict=True), strict=True)
    ]
    return Grid("", columns, lines, _notes(comparison))
