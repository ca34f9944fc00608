"""Columns and rows of figures -> text for a terminal, Markdown, LaTeX or CSV files."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtra_jax import files
from mtra_jax.reports.formatting import styles, tables
from mtra_jax.reports.formatting.styles import Style
from mtra_jax.reports.statistics.intervals import Interval
from mtra_jax.reports.statistics.seeds import Cell

EMPTY = Cell(None, None)


class Column(NamedTuple):
    """A column of figures. `title`: that above several columns, or "".

    `form`: as in `format`, such as "+.2f", or a function of the mean that returns it.
    `better`: 1 if higher is better, -1 if lower, 0 if neither; the best mean is bold.
    `is_mean`: over seeds, so that files have its deviation beside it.
    """

    title: str
    name: str
    form: str | Callable[[float], str] = ".2f"
    better: int = 0
    is_mean: bool = True

    @property
    def head(self) -> str:
        """Title and name in one."""
        return f"{self.title} {self.name}".strip()


class PValue(NamedTuple):
    """The p-value of a test."""

    value: float


Figure = Cell | PValue | Interval | str
"""The content of a cell of a table. A text stands for itself."""


class Line(NamedTuple):
    """A row: its name and a figure for each column.

    Figures of a line with `is_quoted` are another source's: they are never the best.
    """

    name: str
    cells: Sequence[Figure]
    is_quoted: bool = False


class Grid(NamedTuple):
    """A table. `notes`: lines below it."""

    title: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    notes: Sequence[str] = ()

    @property
    def heads(self) -> list[tables.Head]:
        """The title and the name of each column."""
        return [(column.title, column.name) for column in self.columns]


def text(grid: Grid) -> str:
    """A table for a terminal."""
    lines = [tables.grouped(grid.heads, _body(grid, styles.PLAIN)), *grid.notes]
    return "\n".join([grid.title, *lines] if grid.title else lines)


def markdown(grid: Grid) -> str:
    """A Markdown table, the best mean of each column in bold."""
    escape = styles.MARKDOWN.escape
    table = tables.markdown(grid.heads, _body(grid, styles.MARKDOWN))
    parts = [table, *map(escape, grid.notes)]
    return "\n\n".join([f"**{escape(grid.title)}**", *parts] if grid.title else parts)


def latex(grid: Grid) -> str:
    """A `tabular` for the package booktabs, the best mean of each column in bold."""
    escape = styles.LATEX.escape
    titles, rules = [], []
    for title, columns in tables.groups([column.title for column in grid.columns]):
        if len(columns) == 1:
            titles.append(escape(title))
            continue
        titles.append(rf"\multicolumn{{{len(columns)}}}{{c}}{{{escape(title)}}}")
        # Column 1 holds the names.
        rules.append(rf"\cmidrule(lr){{{columns[0] + 1}-{columns[-1] + 1}}}")
    names = [
        escape(column.name).replace("Δp", r"$\Delta p$") for column in grid.columns
    ]
    body = _body(grid, styles.LATEX)
    lines = [
        *([f"% {grid.title}"] if grid.title else []),
        rf"\begin{{tabular}}{{l{'r' * len(grid.columns)}}}",
        r"\toprule",
        _latex_row(["", *titles]),
        *([" ".join(rules)] if rules else []),
        _latex_row(["", *names]),
        r"\midrule",
        *(_latex_row([escape(name), *cells]) for name, *cells in body),
        r"\bottomrule",
        r"\end{tabular}",
        *(f"% {note}" for note in grid.notes),
    ]
    return "\n".join(lines)


def csv_text(grid: Grid) -> str:
    """CSV with every figure in full; a missing figure is an empty field."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["name", *(head for c in grid.columns for head in _csv_heads(c))])
    for line in grid.lines:
        pairs = zip(grid.columns, line.cells, strict=True)
        writer.writerow([line.name, *(v for pair in pairs for v in _exact(*pair))])
    return file.getvalue()


def write(directory: Path, name: str, grids: Mapping[str, Grid]) -> list[Path]:
    """Writes NAME.txt, .md, .tex and a CSV file of each grid; returns their paths.

    `grids`: by the end of the name of its CSV file; "" for NAME.csv.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, make in (("txt", text), ("md", markdown), ("tex", latex)):
        paths.append(directory / f"{name}.{suffix}")
        parts = [make(grid) for grid in grids.values()]
        files.write_text(paths[-1], "\n\n".join(parts) + "\n")
    for part, grid in grids.items():
        paths.append(directory / f"{'-'.join(filter(None, (name, part)))}.csv")
        files.write_text(paths[-1], csv_text(grid))
    return paths


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _csv_heads(column: Column) -> list[str]:
    if not column.is_mean:
        return [column.head]
    return [f"{column.head}/{part}" for part in Cell._fields]


def _exact(column: Column, cell: Figure) -> list[Any]:
    """A cell for a file: a value, or a mean and its deviation."""
    if isinstance(cell, Cell):
        return [*cell] if column.is_mean else [cell.mean]
    value: Any = cell
    if isinstance(cell, PValue):
        value = cell.value
    elif isinstance(cell, Interval):
        value = styles.PLAIN.interval(*cell)
    return [value, ""] if column.is_mean else [value]


def _body(grid: Grid, style: Style) -> list[list[str]]:
    columns = [
        _texts(column, [line.cells[place] for line in grid.lines], grid.lines, style)
        for place, column in enumerate(grid.columns)
    ]
    names = [line.name for line in grid.lines]
    return [list(cells) for cells in zip(names, *columns, strict=True)]


def _texts(
    column: Column, cells: Sequence[Figure], lines: Sequence[Line], style: Style
) -> list[str]:
    """The cells of one column as text; the best mean, or ties of it, are bold."""
    pairs = list(zip(cells, lines, strict=True))
    own = [
        (column.better * cell.mean, _number(column, cell.mean))
        for cell, line in pairs
        if not line.is_quoted and isinstance(cell, Cell) and cell.mean is not None
    ]
    best = max(own)[1] if column.better and len(own) > 1 else None
    return [
        _mean(column, cell, style, None if line.is_quoted else best)
        if isinstance(cell, Cell)
        else _other(cell, style)
        for cell, line in pairs
    ]


def _mean(column: Column, cell: Cell, style: Style, best: str | None) -> str:
    """A mean and its deviation with the same number of decimals."""
    if cell.mean is None:
        return style.missing
    number = _number(column, cell.mean)
    shown = style.bold(number) if number == best else style.number(number)
    if cell.std is None:
        return shown
    deviation = format(cell.std, _form(column, cell.mean).lstrip("+"))
    return f"{shown} {style.plus_minus} {deviation}"


def _other(cell: PValue | Interval | str, style: Style) -> str:
    if isinstance(cell, PValue):
        return style.p(cell.value)
    if isinstance(cell, Interval):
        return style.interval(*cell)
    return style.escape(cell)


def _form(column: Column, mean: float) -> str:
    return column.form(mean) if callable(column.form) else column.form


def _number(column: Column, mean: float) -> str:
    form = _form(column, mean)
    # "z": no sign before a zero.
    sign, form = ("+", form[1:]) if form[0] == "+" else ("", form)
    return format(mean, f"{sign}z{form}")
