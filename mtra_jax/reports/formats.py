"""A comparison of methods -> text for a terminal, Markdown, LaTeX or CSV."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mtra_jax import metrics
from mtra_jax.metrics import Metric
from mtra_jax.reports import intervals, ranks, tables, unread
from mtra_jax.reports.comparison import AVG, Cell, Comparison, Row

SIGNIFICANT = 0.05
AGAINST = "against"
"""The column with the row that Δp and p refer to, where it is not the same for all."""
HOLM = "p (Holm)"
INTERVAL = f"{100 * intervals.LEVEL:.0f} %"


class Style(NamedTuple):
    """How a format writes signs, emphasis and missing figures."""

    plus_minus: str
    bold: Callable[[str], str]
    number: Callable[[str], str]
    less: str
    mark: str
    missing: str
    escape: Callable[[str], str]
    """Makes a name of the user safe in a cell."""


PLAIN = Style("±", str, str, "<", "*", tables.MISSING, str)
MARKDOWN = PLAIN._replace(bold="**{}**".format)


def _latex_bold(digits: str) -> str:
    # A sign needs math mode, in which \textbf does nothing.
    signed = digits[0] in "+-"
    return rf"$\mathbf{{{digits}}}$" if signed else rf"\textbf{{{digits}}}"


def _latex_number(digits: str) -> str:
    return f"${digits}$" if digits[0] in "+-" else digits


LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _escape(name: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda match: LATEX_ESCAPES[match.group()], name)


LATEX = Style(r"$\pm$", _latex_bold, _latex_number, "$<$", r"$^{*}$", "--", _escape)


def text(comparison: Comparison) -> str:
    """A table for a terminal, with a line that explains the columns."""
    heads, body = _layout(comparison, PLAIN)
    one, *others = comparison.baselines
    # Under one title, so that the columns of a wide table are not split between them.
    title = f"{AGAINST} a row" if others else f"{AGAINST} {one}"
    last = [name for top, name in heads if not top and name != "Avg."]
    heads = heads[: -len(last)] + [(title, name) for name in last]
    lines = [tables.grouped(heads, body), _legend(comparison)]
    if comparison.ranking is not None:
        lines.append(ranks.line(comparison.ranking))
    if note := tables.unit_note(comparison.tasks):
        lines.append(note)
    return "\n".join(lines) + _note_after(comparison, "\n")


def _legend(comparison: Comparison) -> str:
    one, *others = comparison.baselines
    interval = (
        f"; {INTERVAL}: bootstrap interval of Δp over seeds"
        if _has_intervals(comparison)
        else ""
    )
    return (
        "mean ± standard deviation over seeds; Δp and p (Welch's t-test of Avg., Holm's "
        f"correction) against {f'the row in the column {AGAINST}' if others else one}"
        f"{interval}; * p < {SIGNIFICANT}"
    )


def markdown(comparison: Comparison) -> str:
    """A Markdown table, the best mean of each column in bold."""
    table = tables.markdown(*_layout(comparison, MARKDOWN))
    return table + _note_after(comparison, "\n\n")


def latex(comparison: Comparison) -> str:
    """A `tabular` for the package booktabs, the best mean of each column in bold."""
    table = latex_table(*_layout(comparison, LATEX))
    return table + _note_after(comparison, "\n% ")


def latex_table(heads: Sequence[tables.Head], body: Sequence[Sequence[str]]) -> str:
    """The table of `tables.grouped` as a `tabular`; `body` has figures in `LATEX`."""
    titles, rules = [], []
    for title, columns in tables.groups([title for title, _ in heads]):
        if len(columns) == 1:
            titles.append(_escape(title))
            continue
        titles.append(rf"\multicolumn{{{len(columns)}}}{{c}}{{{_escape(title)}}}")
        # Column 1 holds the names.
        rules.append(rf"\cmidrule(lr){{{columns[0] + 1}-{columns[-1] + 1}}}")
    names = [_escape(name).replace("Δp", r"$\Delta p$") for _, name in heads]
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        _latex_row(["", *titles]),
        *([" ".join(rules)] if rules else []),
        _latex_row(["", *names]),
        r"\midrule",
        *(_latex_row([_escape(name), *cells]) for name, *cells in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


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


def _note_after(comparison: Comparison, gap: str) -> str:
    return "" if comparison.note is None else gap + comparison.note


def _layout(
    comparison: Comparison, style: Style
) -> tuple[list[tables.Head], list[list[str]]]:
    """Heads, and for each row its name and cells."""
    rows = comparison.rows
    heads, columns = [], []
    for task in comparison.tasks:
        for name in task.metrics:
            metric = metrics.find(name, task)
            heads.append((task.title, metric.title))
            columns.append(
                _column([r.cells[task.name, name] for r in rows], style, metric)
            )
    columns.append(_column([row.cells[AVG] for row in rows], style))
    heads.append(("", "Avg."))
    if unread.is_shown(row.unread for row in rows):
        heads.append(unread.HEAD)
        columns.append([_share_cell(row.unread, style) for row in rows])
    differs = len(comparison.baselines) > 1
    if differs:
        heads.append(("", AGAINST))
        columns.append([style.escape(row.baseline) for row in rows])
    heads.append(("", "Δp"))
    improvements = [Cell(row.delta_p, None) for row in rows]
    # Improvements over different rows do not compare.
    columns.append(_column(improvements, style, sign="+", marks_best=not differs))
    if _has_intervals(comparison):
        heads.append(("", INTERVAL))
        columns.append([_interval_cell(row, style) for row in rows])
    heads.append(("", HOLM))
    columns.append([_p_cell(row.holm, style) for row in rows])
    names = [row.name for row in rows]
    return heads, [list(cells) for cells in zip(names, *columns, strict=True)]


def _has_intervals(comparison: Comparison) -> bool:
    return any(row.interval is not None for row in comparison.rows)


def _interval_cell(row: Row, style: Style) -> str:
    if row.interval is None:
        return style.missing
    low, high = (format(value, "+z.2f") for value in row.interval)
    return f"[{style.number(low)}, {style.number(high)}]"


def _share_cell(cell: Cell, style: Style) -> str:
    return style.missing if cell.mean is None else format(cell.mean, ".2f")


def _column(
    cells: Sequence[Cell],
    style: Style,
    metric: Metric | None = None,
    sign: str = "",
    *,
    marks_best: bool = True,
) -> list[str]:
    """The cells of one column; with several rows the best mean, or ties of it, are bold.

    `metric`: None for percent. `marks_best`: False for no bold cell.
    """
    digits = [
        ".2f" if metric is None or c.mean is None else tables.digits(metric, c.mean)
        for c in cells
    ]
    means = [
        None if c.mean is None else format(c.mean, f"{sign}z{form}")
        for c, form in zip(cells, digits, strict=True)
    ]
    present = [(c.mean, mean) for c, mean in zip(cells, means, strict=True) if mean]
    better = max if metric is None or metric.higher_is_better else min
    has_best = marks_best and present and len(cells) > 1
    best = better(present)[1] if has_best else None
    texts = []
    for cell, mean, form in zip(cells, means, digits, strict=True):
        if mean is None:
            texts.append(style.missing)
            continue
        shown = style.bold(mean) if mean == best else style.number(mean)
        if cell.std is not None:
            shown += f" {style.plus_minus} {cell.std:{form}}"
        texts.append(shown)
    return texts


def _p_cell(p: float | None, style: Style) -> str:
    if p is None:
        return style.missing
    digits = f"{style.less}0.001" if p < 0.001 else f"{p:.3f}"
    return digits + (style.mark if p < SIGNIFICANT else "")


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
