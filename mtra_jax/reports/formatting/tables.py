"""Summaries of results -> aligned tables for the terminal, and Markdown."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from mtra_jax import metrics
from mtra_jax.tasks import Task

MISSING = "-"
GAP = "  "
WIDTH = 132
"""Wider tables of plain text are split; 132 columns are a terminal's wide mode."""

Summary = Mapping[str, Any]
Head = tuple[str, str]
"""The title of a task (empty for a column without one), and the name of a column."""

Group = tuple[str, list[int]]
"""A title and its columns in a table, whose column 0 holds the names of the rows."""


def figure(metric: metrics.Metric, value: float | None) -> str:
    """A figure as text: percent with two decimals; an error with four significant digits.

    >>> from mtra_jax.tasks import SYNTHETIC
    >>> task = SYNTHETIC.tasks[-1]
    >>> figure(metrics.find("pearson", task), 57.3781)
    '57.38'
    >>> figure(metrics.find("rmse", task), 9.6218), figure(metrics.find("rmse", task), 0)
    ('9.622', '0')
    """
    if value is None or math.isnan(value):
        return MISSING
    return format(value, f"z{digits(metric, value)}")  # "z": no sign before a zero


def digits(metric: metrics.Metric, value: float) -> str:
    """The format of the figure `value`, and of its deviation, such as ".2f"."""
    if metric.is_share:
        return ".2f"
    exponent = int(f"{value:.3e}".partition("e")[2])
    if not value or not -4 <= exponent < 7:
        return ".3e" if value else ".0f"
    return f".{max(0, 3 - exponent)}f"


def errors_of(tasks: Sequence[Task]) -> str:
    """The titles of the metrics that are in a task's unit, such as "RMSE, MAE"."""
    chosen = (metrics.find(name, task) for task in tasks for name in task.metrics)
    return ", ".join(dict.fromkeys(m.title for m in chosen if not m.is_share))


def unit_note(tasks: Sequence[Task]) -> str:
    """How to read the errors in a table of `tasks`; empty without any."""
    errors = errors_of(tasks)
    note = f"{errors}: in the task's unit, lower is better, not in Avg."
    return note if errors else ""


def delta_p_meaning(baseline: str | None) -> str:
    """The definition of Δp in a table with the row `baseline`; empty for None.

    >>> delta_p_meaning("EW")
    'Δp: mean relative improvement over EW in percent, over the metrics of a task, then over the tasks'
    """
    if baseline is None:
        return ""
    return (
        f"Δp: mean relative improvement over {baseline} in percent, over the metrics of a "
        "task, then over the tasks"
    )


def score_table(
    rows: Mapping[str, Summary], tasks: Sequence[Task], baseline: str | None = None
) -> str:
    """A plain-text table with task titles above the names of the metrics.

    `rows`: summaries as in results.json (`metrics.summarize`), by the name of the method
    or split. A missing figure is shown as "-". With `baseline`, the name of a row, the
    last column is Δp over that row; if Δp is undefined, a line below gives the reason.

    >>> from mtra_jax.tasks import AFFECTEVAL
    >>> rows = {"majority": {"ei-reg": {"pearson": 0.0, "spearman": 0.0}, "avg": 0.0},
    ...         "test": {"ei-reg": {"pearson": 57.38, "spearman": 57.82}, "avg": 57.6}}
    >>> print(score_table(rows, AFFECTEVAL.select(["ei-reg"]).tasks))
                 EI-Reg
               Pear  Spear   Avg.
    majority   0.00   0.00   0.00
    test      57.38  57.82  57.60
    """
    table = grouped(*_cells(rows, tasks, baseline))
    return "\n".join([table, *_notes(rows, tasks, baseline)])


def markdown_table(
    rows: Mapping[str, Summary], tasks: Sequence[Task], baseline: str | None = None
) -> str:
    """The table of `score_table` in Markdown, with task and metric in one head."""
    table = markdown(*_cells(rows, tasks, baseline))
    return "\n\n".join([table, *map(escaped, _notes(rows, tasks, baseline))])


def delta_p_note(
    baseline: str,
    figures: Mapping[str, Mapping[str, float | None]],
    tasks: Sequence[Task],
) -> str | None:
    """Why Δp over `baseline` is undefined; None if it is defined.

    `figures`: the figures of the baseline, by task and metric; None for a missing one.
    """
    bad = [
        f"{task.title} {metric.title} of {baseline} is {figure(metric, value)}"
        for task, name, value in metrics.unfit_bases(figures, tasks)
        for metric in [metrics.find(name, task)]
    ]
    if not bad:
        return None
    least = f"shares of at least {metrics.LEAST_BASE:g}"
    errors = " and errors above 0" if errors_of(tasks) else ""
    return f"no Δp: {', '.join(bad)}; a relative improvement needs {least}{errors}"


def grouped(heads: Sequence[Head], body: Sequence[Sequence[str]]) -> str:
    """Plain text: two lines of heads above `body`, rows of a name and a cell per head.

    Each title is centred above its columns. A table wider than `WIDTH` is split between
    titles into several, one below the other, each with the names of the rows.
    """
    lines = [["", *(name for _, name in heads)], *body]
    widths = _widths(lines)
    titles = _split(groups([title for title, _ in heads]), widths)
    for title, columns in titles:
        lacking = width(title) - _total(widths, columns)
        widths[columns[0]] += max(0, lacking)
    parts: list[list[Group]] = [[]]
    for group in titles:
        columns = [0, *(c for _, part in [*parts[-1], group] for c in part)]
        if parts[-1] and _total(widths, columns) > WIDTH:
            parts.append([])
        parts[-1].append(group)
    return "\n\n".join(_part(part, lines, widths) for part in parts)


def _split(titles: Sequence[Group], widths: Sequence[int]) -> list[Group]:
    """The groups, those wider than `WIDTH` as several of the same title."""
    result: list[Group] = []
    for title, columns in titles:
        part: list[int] = []
        for column in columns:
            if part and _total(widths, [0, *part, column]) > WIDTH:
                result.append((title, part))
                part = []
            part = [*part, column]
        result.append((title, part))
    return result


def _part(
    titles: Sequence[Group],
    lines: Sequence[Sequence[str]],
    widths: Sequence[int],
) -> str:
    """The columns of `titles` as a table, after that of the names."""
    tops = [_centred(title, _total(widths, columns)) for title, columns in titles]
    columns = [0, *(c for _, part in titles for c in part)]
    top = GAP.join([" " * widths[0], *tops]).rstrip()
    cells = [[line[c] for c in columns] for line in lines]
    return f"{top}\n{align(cells, [widths[c] for c in columns])}"


def markdown(heads: Sequence[Head], body: Sequence[Sequence[str]]) -> str:
    """The table of `grouped` in Markdown, with title and name in one head.

    Heads and names of rows, the first cells, are shown as they are; other cells may have
    Markdown.
    """
    rows = [["", *(escaped(f"{title} {name}".strip()) for title, name in heads)]]
    rows += [[escaped(name), *cells] for name, *cells in body]
    first, *others = ([cell.replace("|", r"\|") for cell in cells] for cells in rows)
    lines = [first, ["---", *("---:" for _ in heads)], *others]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# An underscore within a word and a star between spaces do not emphasise; & begins an entity,
# and < a tag, only before certain signs.
_SIGNS = re.compile(
    r"[\\`\[~$]|(?<!\s)\*|\*(?!\s)|<(?=[A-Za-z/!?])|&(?=#?\w+;)"
    r"|(?<![^\W_])_|_(?![^\W_])"
)


def escaped(text: str) -> str:
    """Markdown that shows `text` as it is; `markdown` has the signs between cells.

    >>> print(escaped("mt_vib _a_ [x](y) 5 * 3 < 7"))
    mt_vib \\_a\\_ \\[x](y) 5 * 3 < 7
    """
    return _SIGNS.sub(r"\\\g<0>", text)


def align(rows: Sequence[Sequence[str]], widths: Sequence[int] | None = None) -> str:
    """Rows of equal length as lines: the first column aligned left, the others right.

    >>> print(align([["task", "rows"], ["emotion", "3257"]]))
    task     rows
    emotion  3257
    """
    widths = widths or _widths(rows)
    return "\n".join(
        GAP.join(
            cell.rjust(size - wide) if column else cell.ljust(size - wide)
            for column, (cell, size) in enumerate(zip(cells, widths, strict=True))
            for wide in [width(cell) - len(cell)]
        ).rstrip()
        for cells in rows
    )


def groups(titles: Sequence[str]) -> list[Group]:
    """Consecutive equal titles, each with its table columns; column 0 holds the names."""
    grouped_titles: list[Group] = []
    for column, title in enumerate(titles, start=1):
        if grouped_titles and title and grouped_titles[-1][0] == title:
            grouped_titles[-1][1].append(column)
        else:
            grouped_titles.append((title, [column]))
    return grouped_titles


def width(text: str) -> int:
    """The columns that `text` takes on a terminal.

    >>> width("Ironie"), width("皮肉"), width("e\u0301")
    (6, 4, 1)
    """
    return sum(_columns_of(character) for character in text)


def _columns_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _centred(text: str, size: int) -> str:
    return text.center(size - (width(text) - len(text)))


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width, column)) for column in zip(*rows, strict=True)]


def _total(widths: Sequence[int], columns: Sequence[int]) -> int:
    """The width of `columns` with the gaps between them."""
    return sum(widths[c] for c in columns) + len(GAP) * (len(columns) - 1)


def _cells(
    rows: Mapping[str, Summary], tasks: Sequence[Task], baseline: str | None
) -> tuple[list[Head], list[list[str]]]:
    """The heads of the columns of figures, and the name and figures of each row."""
    keys = [(task, metrics.find(name, task)) for task in tasks for name in task.metrics]
    heads = [(task.title, metric.title) for task, metric in keys]
    heads.append(("", "Avg."))
    body = []
    for name, summary in rows.items():
        cells = [
            figure(metric, summary.get(task.name, {}).get(metric.name))
            for task, metric in keys
        ]
        average = summary.get("avg")
        is_missing = average is None or math.isnan(average)
        body.append([name, *cells, MISSING if is_missing else f"{average:z.2f}"])
    if baseline is not None:
        heads.append(("", "Δp"))
        for cells, summary in zip(body, rows.values(), strict=True):
            cells.append(_improvement(summary, rows[baseline], tasks))
    return heads, body


def _notes(
    rows: Mapping[str, Summary], tasks: Sequence[Task], baseline: str | None
) -> list[str]:
    if baseline is None:
        return []
    figures = {
        task.name: {m: rows[baseline].get(task.name, {}).get(m) for m in task.metrics}
        for task in tasks
    }
    note = delta_p_note(baseline, figures, tasks)
    return [] if note is None else [note]


def _improvement(summary: Summary, baseline: Summary, tasks: Sequence[Task]) -> str:
    try:
        improvement = metrics.delta_p(summary, baseline, tasks)
    except (KeyError, TypeError, ValueError):
        # A figure is missing, or one of the baseline is too small: see `_notes`.
        return MISSING
    return format(improvement, "+z.2f")
