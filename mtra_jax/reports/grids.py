"""Columns and rows of figures -> text for a terminal, Markdown, LaTeX or CSV files."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtra_jax import files
from mtra_jax.reports import formats, tables
from mtra_jax.reports.formats import Style
from mtra_jax.reports.seeds import Cell

EMPTY = Cell(None, None)


class Column(NamedTuple):
    """A column of figures. `title`: that above several columns, or "".

    `form`: as in `format`, such as "+.2f". `better`: 1 if higher is better, -1 if lower, 0
    if neither; the best mean is bold. `is_mean`: over seeds, so that files have its
    deviation beside it.
    """

    title: str
    name: str
    form: str = ".2f"
    better: int = 0
    is_mean: bool = True


class Shown(NamedTuple):
    """A figure with its text, such as a p-value with a star; files have the figure."""

    text: str
    value: float


class Line(NamedTuple):
    """A row: its name and a figure for each column. A text stands for itself.

    Figures of a line with `is_quoted` are another source's: they are never the best.
    """

    name: str
    cells: Sequence[Cell | Shown | str]
    is_quoted: bool = False


class Grid(NamedTuple):
    """A table. `notes`: lines below it."""

    title: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    notes: Sequence[str] = ()


def text(grid: Grid) -> str:
    """A table for a terminal."""
    heads = [(column.title, column.name) for column in grid.columns]
    lines = [tables.grouped(heads, _body(grid, formats.PLAIN)), *grid.notes]
    return "\n".join([grid.title, *lines] if grid.title else lines)


def markdown(grid: Grid) -> str:
    """A Markdown table, the best mean of each column in bold."""
    heads = [(column.title, column.name) for column in grid.columns]
    parts = [tables.markdown(heads, _body(grid, formats.MARKDOWN)), *grid.notes]
    return "\n\n".join([f"**{grid.title}**", *parts] if grid.title else parts)


def latex(grid: Grid) -> str:
    """A `tabular` for the package booktabs, the best mean of each column in bold."""
    heads = [(column.title, column.name) for column in grid.columns]
    table = formats.latex_table(heads, _body(grid, formats.LATEX))
    head = [f"% {grid.title}"] if grid.title else []
    return "\n".join([*head, table, *(f"% {note}" for note in grid.notes)])


def csv_text(grid: Grid) -> str:
    """CSV with every figure in full; a missing figure is an empty field."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["name", *(head for c in grid.columns for head in _heads(c))])
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


def _heads(column: Column) -> list[str]:
    name = f"{column.title} {column.name}".strip()
    return [f"{name}/{part}" for part in Cell._fields] if column.is_mean else [name]


def _exact(column: Column, cell: Cell | Shown | str) -> list[Any]:
    """A cell for a file: a value, or a mean and its deviation."""
    if isinstance(cell, Cell):
        return [*cell] if column.is_mean else [cell.mean]
    value = cell.value if isinstance(cell, Shown) else cell
    return [value, ""] if column.is_mean else [value]


def _body(grid: Grid, style: Style) -> list[list[str]]:
    columns = [
        _texts(column, [line.cells[place] for line in grid.lines], grid.lines, style)
        for place, column in enumerate(grid.columns)
    ]
    names = [line.name for line in grid.lines]
    return [list(cells) for cells in zip(names, *columns, strict=True)]


def _texts(
    column: Column,
    cells: Sequence[Cell | Shown | str],
    lines: Sequence[Line],
    style: Style,
) -> list[str]:
    """The cells of one column as text; the best mean, or ties of it, are bold."""
    means = [
        _number(column, cell.mean)
        if isinstance(cell, Cell) and cell.mean is not None
        else ""
        for cell in cells
    ]
    own = [
        (column.better * cell.mean, mean)
        for cell, line, mean in zip(cells, lines, means, strict=True)
        if mean
        and not line.is_quoted
        and isinstance(cell, Cell)
        and cell.mean is not None
    ]
    best = max(own)[1] if column.better and len(own) > 1 else None
    texts = []
    for cell, line, mean in zip(cells, lines, means, strict=True):
        if not isinstance(cell, Cell):
            text = cell.text if isinstance(cell, Shown) else cell
            texts.append(style.escape(text))
        elif not mean:
            texts.append(style.missing)
        else:
            is_best = mean == best and not line.is_quoted
            std = "" if cell.std is None else _deviation(column, cell.std, style)
            texts.append((style.bold if is_best else style.number)(mean) + std)
    return texts


def _number(column: Column, mean: float) -> str:
    # "z": no sign before a zero.
    sign, form = ("+", column.form[1:]) if column.form[0] == "+" else ("", column.form)
    return format(mean, f"{sign}z{form}")


def _deviation(column: Column, std: float, style: Style) -> str:
    return f" {style.plus_minus} {format(std, column.form.lstrip('+'))}"
