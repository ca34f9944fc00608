"""Summaries of results -> aligned tables for the terminal, and Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mtra_jax import metrics
from mtra_jax.tasks import Task

# As in the paper's tables, short enough for six tasks on a terminal.
SHORT_NAMES = {
    "macro_f1": "M-F1",
    "irony_f1": "F1(i.)",
    "macro_recall": "M-Rec",
    "favor_against_f1": "F1(a.f.)",
    "pearson_v": "V",
    "pearson_a": "A",
    "pearson_d": "D",
    "pearson": "Pear",
    "spearman": "Spear",
}
MEANINGS = {
    "macro_f1": "macro-averaged F1",
    "irony_f1": "F1 of the ironic class",
    "macro_recall": "macro-averaged recall",
    "favor_against_f1": "mean F1 of against and favor",
    "pearson_v": "Pearson correlation of valence",
    "pearson_a": "of arousal",
    "pearson_d": "of dominance",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}
MISSING = "-"
GAP = "  "

Summary = Mapping[str, Any]
Head = tuple[str, str]
"""The title of a task (empty for a column without one), and the name of a column."""


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
    return "\n\n".join([table, *_notes(rows, tasks, baseline)])


def delta_p_note(
    baseline: str,
    figures: Mapping[str, Mapping[str, float | None]],
    tasks: Sequence[Task],
) -> str | None:
    """Why Δp over `baseline` is undefined; None if it is defined.

    `figures`: the figures of the baseline, by task and metric; None for a missing one.
    """
    bad = [
        f"{task.title} {SHORT_NAMES[metric]} of {baseline} is {figure:.2f}"
        for task, metric, figure in metrics.not_positive(figures, tasks)
    ]
    if not bad:
        return None
    return f"no Δp: {', '.join(bad)}; a relative improvement needs figures above 0"


def grouped(heads: Sequence[Head], body: Sequence[Sequence[str]]) -> str:
    """Plain text: two lines of heads above `body`, rows of a name and a cell per head.

    Each title is centred above its columns.
    """
    lines = [["", *(name for _, name in heads)], *body]
    widths = _widths(lines)
    titles = []
    for title, columns in groups([title for title, _ in heads]):
        lacking = len(title) - len(GAP.join(" " * widths[c] for c in columns))
        widths[columns[0]] += max(0, lacking)
        titles.append(title.center(len(GAP.join(" " * widths[c] for c in columns))))
    top = GAP.join([" " * widths[0], *titles]).rstrip()
    return f"{top}\n{align(lines, widths)}"


def markdown(heads: Sequence[Head], body: Sequence[Sequence[str]]) -> str:
    """The table of `grouped` in Markdown, with title and name in one head."""
    lines = [
        ["", *(f"{title} {name}".strip() for title, name in heads)],
        ["---", *("---:" for _ in heads)],
        *([cell.replace("|", r"\|") for cell in cells] for cells in body),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def align(rows: Sequence[Sequence[str]], widths: Sequence[int] | None = None) -> str:
    """Rows of equal length as lines: the first column aligned left, the others right.

    >>> print(align([["task", "rows"], ["emotion", "3257"]]))
    task     rows
    emotion  3257
    """
    widths = widths or _widths(rows)
    return "\n".join(
        GAP.join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in rows
    )


def groups(titles: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Consecutive equal titles, each with its table columns; column 0 holds the names."""
    grouped_titles: list[tuple[str, list[int]]] = []
    for column, title in enumerate(titles, start=1):
        if grouped_titles and title and grouped_titles[-1][0] == title:
            grouped_titles[-1][1].append(column)
        else:
            grouped_titles.append((title, [column]))
    return grouped_titles


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _cells(
    rows: Mapping[str, Summary], tasks: Sequence[Task], baseline: str | None
) -> tuple[list[Head], list[list[str]]]:
    """The heads of the columns of figures, and the name and figures of each row."""
    keys = [(task, metric) for task in tasks for metric in task.metrics]
    heads = [(task.title, SHORT_NAMES[metric]) for task, metric in keys]
    heads.append(("", "Avg."))
    body = []
    for name, summary in rows.items():
        figures = [summary.get(task.name, {}).get(metric) for task, metric in keys]
        figures.append(summary.get("avg"))
        body.append(
            [
                name,
                *(
                    MISSING if f is None or math.isnan(f) else f"{f:.2f}"
                    for f in figures
                ),
            ]
        )
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
        # A figure is missing, or a figure of the baseline is not above 0: see `_notes`.
        return MISSING
    return format(improvement, "+.2f")
