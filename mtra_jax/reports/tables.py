"""Summaries of results in, aligned tables for the terminal and Markdown out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mtra_jax import metrics
from mtra_jax.tasks import Task

# The heads of the paper's tables, short enough for six tasks on a terminal.
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
"""The title of a task, empty for none, and the name of a column below it."""


def score_table(
    rows: Mapping[str, Summary], tasks: Sequence[Task], baseline: str | None = None
) -> str:
    """A plain-text table: a line a row, task titles above the names of the metrics.

    `rows`: summaries as in results.json (`metrics.summarize`) by the name of the method
    or split; what a summary lacks is shown as "-". With `baseline`, the name of a row, Δp
    over that row is the last column; a line below says why, where there can be none.

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
    """The table of `score_table` in Markdown, task and metric in one head."""
    table = markdown(*_cells(rows, tasks, baseline))
    return "\n\n".join([table, *_notes(rows, tasks, baseline)])


def delta_p_note(
    baseline: str,
    figures: Mapping[str, Mapping[str, float | None]],
    tasks: Sequence[Task],
) -> str | None:
    """Why no Δp over `baseline` exists; None where it does.

    `figures`: those of the baseline, by task and metric; None where one is missing.
    """
    bad = [
        f"{task.title} {SHORT_NAMES[metric]} of {baseline} is {figure:.2f}"
        for task, metric, figure in metrics.not_positive(figures, tasks)
    ]
    if not bad:
        return None
    return f"no Δp: {', '.join(bad)}; a relative improvement needs figures above 0"


def grouped(heads: Sequence[Head], body: Sequence[Sequence[str]]) -> str:
    """Plain text: `body`, a name and a cell for each of `heads`, under two lines of heads.

    A title stands once, centred above its columns.
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
    """The table of `grouped` in Markdown, title and name in one head."""
    lines = [
        ["", *(f"{title} {name}".strip() for title, name in heads)],
        ["---", *("---:" for _ in heads)],
        *([cell.replace("|", r"\|") for cell in cells] for cells in body),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def align(rows: Sequence[Sequence[str]], widths: Sequence[int] | None = None) -> str:
    """Rows of equally many cells as lines: first column to the left, others to the right.

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
    """Runs of equal titles, each with the table columns below it; 0 is the names'."""
    found: list[tuple[str, list[int]]] = []
    for column, title in enumerate(titles, start=1):
        if found and title and found[-1][0] == title:
            found[-1][1].append(column)
        else:
            found.append((title, [column]))
    return found


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _cells(
    rows: Mapping[str, Summary], tasks: Sequence[Task], baseline: str | None
) -> tuple[list[Head], list[list[str]]]:
    """(task title, metric) of each column of figures, and each row's name and figures."""
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
        # A figure is missing, or one of the baseline's is not above 0: see `_notes`.
        return MISSING
    return format(improvement, "+.2f")
