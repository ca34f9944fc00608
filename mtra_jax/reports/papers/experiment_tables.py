"""Runs of an experiment, and the papers' figures -> its table, a `grids.Grid`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtra_jax.reports.comparisons import formats, unread
from mtra_jax.reports.comparisons.comparison import Comparison, Row
from mtra_jax.reports.comparisons.formats import AGAINST, HOLM, INTERVAL, NAMED_ROW
from mtra_jax.reports.formatting import tables
from mtra_jax.reports.formatting.grids import EMPTY, Column, Figure, Grid, Line
from mtra_jax.reports.formatting.styles import SIGNIFICANT
from mtra_jax.reports.papers.published import LANGUAGE_MODELS, Figures
from mtra_jax.reports.statistics import ranks
from mtra_jax.reports.statistics.seeds import AVG, Cell

Rows = Sequence[tuple[str, str]]
"""(name in the table, name of the runs); several rows may show the same runs."""
Values = Mapping[str, Mapping[str, float]]
"""Figures by the title and the name of a column."""
STATISTICS = (INTERVAL, "p", HOLM, AGAINST)
"""Columns after Δp."""
LEGEND = (
    f"mean ± standard deviation over seeds; {tables.delta_p_meaning(NAMED_ROW)}; its "
    "bootstrap interval is not corrected for the number of rows; p: Welch's t-test of Avg. "
    f"against that row, Holm's correction; * p < {SIGNIFICANT}"
)


def of_scores(
    title: str,
    rows: Rows,
    comparison: Comparison,
    published: Mapping[str, Figures],
    *,
    shows_tasks: bool,
) -> Grid:
    """The scores of each row; a row without a finished run has no figures.

    `published`: the papers' figures by the name in the table. They are a line
    below ours if the tasks are shown, else columns beside ours. Printed language models
    have a line without ours, too. A table with language models has the share of replies
    without a label.
    """
    shown = formats.task_columns(comparison.tasks) if shows_tasks else {}
    columns = [*shown.values(), Column("", "Avg.", better=1)]
    columns.append(formats.improvement_column(comparison))
    columns += [Column("", name, is_mean=False) for name in STATISTICS]
    has_unread = unread.is_shown(row.unread for row in comparison.rows)
    if has_unread:
        columns.append(Column(*unread.HEAD))
    is_beside = bool(published) and not shows_tasks
    if is_beside:
        columns += [
            Column("paper", "Avg."),
            Column("paper", "Δp", "+.2f", is_mean=False),
        ]
    own = {row.name: row for row in comparison.rows}
    labels = {trial: label for label, trial in reversed(rows)}
    lines = []
    for label, trial in rows:
        cells = _of_row(own.get(trial), [*shown], labels)
        if has_unread:
            cells.append(own[trial].unread if trial in own else EMPTY)
        figures = published.get(label)
        if is_beside:
            cells += _quoted(figures, [])
        lines.append(Line(label, cells))
        if figures and not is_beside:
            lines.append(_paper("  paper", figures, [*shown], columns))
    for label in LANGUAGE_MODELS:
        if label in published and label not in dict(rows):
            quoted = published[label]
            lines.append(_paper(f"{label} (paper)", quoted, [*shown], columns))
    return Grid(title, columns, lines, _notes(comparison, published, rows))


def _of_row(
    row: Row | None, keys: Sequence[tuple[str, str]], labels: Mapping[str, str]
) -> list[Figure]:
    if row is None:
        return [*(EMPTY for _ in (*keys, AVG, "Δp", *STATISTICS[:-1])), ""]
    against = "" if row.name == row.baseline else labels.get(row.baseline, row.baseline)
    return [
        *(row.cells[key] for key in keys),
        row.cells[AVG],
        Cell(row.delta_p, None),
        row.interval or EMPTY,
        formats.p_value(row.p),
        formats.p_value(row.holm),
        against,
    ]


def _quoted(figures: Figures | None, keys: Sequence[tuple[str, str]]) -> list[Figure]:
    if figures is None:
        return [EMPTY for _ in (*keys, "avg", "delta_p")]
    cells = [figures.cells.get(key, EMPTY) for key in (*keys, AVG)]
    return [*cells, Cell(figures.delta_p, None)]


def _paper(
    name: str,
    figures: Figures,
    keys: Sequence[tuple[str, str]],
    columns: Sequence[Column],
) -> Line:
    """The line with the paper's figures."""
    quoted = _quoted(figures, keys)
    return Line(name, quoted + [""] * (len(columns) - len(quoted)), is_quoted=True)


def _notes(
    comparison: Comparison, published: Mapping[str, Figures], rows: Rows
) -> list[str]:
    notes = [LEGEND]
    if note := tables.unit_note(comparison.tasks):
        notes.append(note)
    notes += comparison.notes
    if comparison.ranking is not None:
        notes.append(ranks.line(comparison.ranking))
    done = {row.name for row in comparison.rows}
    if lacking := [label for label, trial in rows if trial not in done]:
        notes.append(f"no finished run: {', '.join(lacking)}")
    if published:
        sources = dict.fromkeys(figures.table for figures in published.values())
        notes.append(f"paper: {'; '.join(sources)}")
    return notes


def of_values(
    title: str,
    rows: Rows,
    values: Mapping[str, Sequence[Values]],
    forms: Mapping[str, tuple[str, int]],
    published: Mapping[str, Values],
    note: str,
) -> Grid:
    """Means over seeds of the figures of an analysis.

    `values`: of the seeds of a name. `forms`: the format of a column's name, and 1 if
    higher is better, -1 if lower, 0 if neither; "" for the other columns. `published`: the
    papers' figures by the name in the table.
    """
    heads: dict[str, dict[str, None]] = {}
    for own in values.values():
        for seed in own:
            for head, names in seed.items():
                heads.setdefault(head, {}).update(dict.fromkeys(names))
    keys = [(head, name) for head, names in heads.items() for name in names]
    columns = [Column(head, n, *forms.get(n, forms[""])) for head, n in keys]
    lines = []
    for label, trial in rows:
        seeds = values.get(trial, ())
        figures = [[_figure(seed, *key) for seed in seeds] for key in keys]
        lines.append(Line(label, [*map(_mean, figures)]))
        if quoted := published.get(label):
            cells = [_mean([_figure(quoted, *key)]) for key in keys]
            lines.append(Line("  paper", cells, is_quoted=True))
    is_mean = any(len(seeds) > 1 for seeds in values.values())
    notes = [f"mean ± standard deviation over seeds; {note}" if is_mean else note]
    if lacking := [label for label, trial in rows if trial not in values]:
        notes.append(f"no finished run: {', '.join(lacking)}")
    return Grid(title, columns, lines, notes)


def _figure(values: Values, head: str, name: str) -> float:
    """The figure of a column; NaN where it is missing, as an epoch that a run lacks."""
    return values.get(head, {}).get(name, math.nan)


def _mean(figures: Sequence[float]) -> Cell:
    if not figures or not np.isfinite(figures).all():
        return EMPTY
    std = float(np.std(figures, ddof=1)) if len(figures) > 1 else None
    return Cell(float(np.mean(figures)), std)


def of_costs(
    title: str,
    rows: Rows,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    steps: Mapping[str, tuple[int, float]],
    published: Mapping[str, Sequence[str]],
    beside: Sequence[str] = (),
) -> Grid:
    """Parameters, memory and time of each row.

    `results`: of the finished runs of a name, as in results.json. `steps`: bytes and
    seconds of a training step. `published`: the papers' three figures, as they are printed.
    `beside`: the names of which a run was one of several at a time.
    """
    columns = [
        Column("parameters (M)", "training", ".3f", is_mean=False),
        Column("parameters (M)", "testing", ".3f", is_mean=False),
        Column("step", "MiB", ".0f", is_mean=False),
        Column("step", "× first", ".2f", is_mean=False),
        Column("step", "ms", ".1f", is_mean=False),
        Column("run", "s", ".0f"),
    ]
    baseline = steps.get(rows[0][1])
    lines = []
    for label, trial in rows:
        cells = _costs(results.get(trial, ()), steps.get(trial), baseline)
        if published:
            cells += published.get(label, ("", "", ""))
        lines.append(Line(label, cells))
    if published:
        names = ("training", "testing", "memory")
        columns += [Column("paper", name, is_mean=False) for name in names]
    notes = [
        "parameters without the heads; MiB: arguments, results and temporaries of the "
        "compiled step on one device, and beside the first row's; ms: a step on a full "
        "batch; s: training with validation and compilation, until it stopped"
    ]
    if labels := [label for label, trial in rows if trial in beside]:
        notes.append(
            f"s of {', '.join(labels)}: of runs beside others, which slow each other"
        )
    return Grid(title, columns, lines, notes)


def _costs(
    runs: Sequence[Mapping[str, Any]],
    step: tuple[int, float] | None,
    baseline: tuple[int, float] | None,
) -> list[Figure]:
    if not runs:
        return [EMPTY] * 6
    parameters = runs[0]["parameters"]
    encoder = parameters["encoder"] / 1e6
    added = parameters.get("method", 0) / 1e6
    num_bytes, seconds = step or (None, None)
    relative = num_bytes / baseline[0] if num_bytes and baseline else None
    return [
        Cell(encoder + added, None),
        Cell(encoder, None),
        Cell(num_bytes / 2**20 if num_bytes else None, None),
        Cell(relative, None),
        Cell(1000 * seconds if seconds else None, None),
        _mean([run["train_seconds"] for run in runs]),
    ]
