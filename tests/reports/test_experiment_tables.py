"""Tables of experiments: figures, the papers' beside them, and the four formats."""

import csv
import io

import pytest

from mtra_jax.reports.comparisons import comparison
from mtra_jax.reports.formatting import grids
from mtra_jax.reports.formatting.grids import Column, Grid, Line, PValue
from mtra_jax.reports.papers import experiment_tables, published
from mtra_jax.reports.statistics.seeds import Cell
from mtra_jax.tasks import TWEETEVAL

TASKS = TWEETEVAL.select(["hate", "irony"]).tasks


def entry(name, seed, hate, irony):
    test = {"hate": {"macro_f1": hate}, "irony": {"irony_f1": irony}}
    results = {"test": {**test, "avg": (hate + irony) / 2}}
    return comparison.Entry(name, seed, TASKS, results, {})


ENTRIES = [
    entry("ew", 0, 40.0, 60.0),
    entry("ew", 1, 44.0, 60.0),
    entry("mtra", 0, 50.0, 66.0),
    entry("mtra", 1, 50.0, 70.0),
]
ROWS = [("ew", "ew"), ("mtra beta=1", "mtra"), ("mtra beta=2", "mtra beta=2")]
COMPARED = comparison.compare(ENTRIES)
PRINTED = published.rows_of("sensitivity", "roberta", "tweeteval")


def cells_of(grid, name):
    line = next(line for line in grid.lines if line.name == name)
    heads = [f"{c.title} {c.name}".strip() for c in grid.columns]
    return dict(zip(heads, line.cells, strict=True))


def test_the_rows_have_means_improvements_and_what_they_refer_to():
    grid = experiment_tables.of_scores("t", ROWS, COMPARED, {}, shows_tasks=True)
    assert [line.name for line in grid.lines] == [name for name, _ in ROWS]
    own = cells_of(grid, "mtra beta=1")
    assert own["HatEval M-F1"] == Cell(50.0, 0.0)
    assert own["Avg."].mean == 59.0
    assert own["Avg."].std == pytest.approx(2**0.5)
    assert own["Δp"].mean == pytest.approx(100 * (8 / 42 + 8 / 60) / 2)
    assert own["against"] == "ew"
    assert cells_of(grid, "ew")["against"] == ""
    assert cells_of(grid, "mtra beta=2")["Avg."] == Cell(None, None)
    assert "no finished run: mtra beta=2" in grid.notes


def test_improvements_over_different_rows_are_not_ranked():
    def improvements_better(compared):
        grid = experiment_tables.of_scores("t", ROWS, compared, {}, shows_tasks=False)
        return next(c.better for c in grid.columns if c.name == "Δp")

    assert improvements_better(COMPARED) == 1
    baselines = {"ew": "ew", "mtra": "mtra"}
    two = comparison.compare(ENTRIES, baseline=baselines)
    assert improvements_better(two) == 0


def test_the_papers_figures_are_columns_of_a_summary_and_lines_of_a_detailed_table():
    summary = experiment_tables.of_scores(
        "t", ROWS, COMPARED, PRINTED, shows_tasks=False
    )
    own = cells_of(summary, "mtra beta=1")
    assert (own["paper Avg."].mean, own["paper Δp"].mean) == (69.96, 7.06)
    assert [line.name for line in summary.lines] == [name for name, _ in ROWS]
    detailed = experiment_tables.of_scores(
        "t", ROWS, COMPARED, PRINTED, shows_tasks=True
    )
    place = [line.name for line in detailed.lines].index("mtra beta=1")
    quoted = detailed.lines[place + 1]
    assert quoted.is_quoted
    assert [c.mean for c in quoted.cells[:4]] == [55.48, 68.11, 69.96, 7.06]


GRID = Grid(
    "title",
    [
        Column("A & B", "x", better=1),
        Column("A & B", "y", better=-1),
        Column("", "Δp", "+.1f"),
    ],
    [
        Line("one", [Cell(1.0, 0.5), Cell(2.0, None), Cell(-0.01, None)]),
        Line("two", [Cell(3.0, None), Cell(4.0, None), Cell(2.5, None)]),
        Line(
            "paper",
            [Cell(9.0, None), Cell(0.0, None), PValue(0.0004)],
            is_quoted=True,
        ),
    ],
    ["a note"],
)


def test_the_best_figure_is_bold_and_a_quoted_one_never():
    lines = grids.markdown(GRID).splitlines()
    assert lines[0] == "**title**"
    assert lines[4:7] == [
        "| one | 1.00 ± 0.50 | **2.00** | +0.0 |",
        "| two | **3.00** | 4.00 | +2.5 |",
        "| paper | 9.00 | 0.00 | <0.001* |",
    ]
    latex = grids.latex(GRID)
    assert r"\multicolumn{2}{c}{A \& B}" in latex
    assert r"one & 1.00 $\pm$ 0.50 & \textbf{2.00} & $+0.0$ \\" in latex
    assert r"paper & 9.00 & 0.00 & $<$0.001$^{*}$ \\" in latex
    assert latex.endswith("% a note")
    assert grids.text(GRID).splitlines()[0] == "title"


def test_csv_has_every_figure_in_full():
    rows = list(csv.reader(io.StringIO(grids.csv_text(GRID))))
    assert rows[0][:3] == ["name", "A & B x/mean", "A & B x/std"]
    assert rows[1] == ["one", "1.0", "0.5", "2.0", "", "-0.01", ""]
    assert rows[3][-2:] == ["0.0004", ""]


def test_a_column_without_deviations_is_one_column_of_csv():
    grid = experiment_tables.of_scores("t", ROWS, COMPARED, {}, shows_tasks=False)
    rows = list(csv.DictReader(io.StringIO(grids.csv_text(grid))))
    assert list(rows[0]) == [
        *("name", "Avg./mean", "Avg./std", "Δp", "95 %", "p", "p (Holm)", "against")
    ]
    assert rows[1]["against"] == "ew"
    own = next(row for row in COMPARED.rows if row.name == "mtra")
    assert float(rows[1]["Δp"]) == own.delta_p
    assert float(rows[1]["p"]) == own.p


def test_files_of_each_format_are_written(tmp_path):
    paths = grids.write(tmp_path, "pairs", {"a-b": GRID, "c-d": GRID})
    names = ["pairs.txt", "pairs.md", "pairs.tex", "pairs-a-b.csv", "pairs-c-d.csv"]
    assert [path.name for path in paths] == names
    assert paths[0].read_text() == f"{grids.text(GRID)}\n\n{grids.text(GRID)}\n"
    assert paths[3].read_text() == grids.csv_text(GRID)


def test_costs_leave_out_the_heads_and_compare_memory_with_the_first_row():
    def results(seconds):
        parameters = {"encoder": 2_000_000, "heads": 5_000, "method": 500_000}
        return {"parameters": parameters, "train_seconds": seconds, "steps": 100}

    grid = experiment_tables.of_costs(
        "t",
        [("ew", "ew"), ("mtra", "mtra"), ("uw", "uw")],
        {"ew": [results(1.0)], "mtra": [results(3.0), results(5.0)]},
        {"ew": (2**20, 0.01), "mtra": (3 * 2**20, 0.04)},
        published.COSTS,
    )
    figures = [c.mean for c in cells_of(grid, "mtra").values() if isinstance(c, Cell)]
    assert figures == [2.5, 2.0, 3.0, 3.0, 40.0, 4.0]
    assert cells_of(grid, "mtra")["paper memory"] == "×1.5"
    assert cells_of(grid, "uw")["step MiB"] == Cell(None, None)
    assert not any("beside others" in note for note in grid.notes)
    again = experiment_tables.of_costs(
        "t", [("a", "ew"), ("b", "mtra")], {}, {}, {}, ["mtra"]
    )
    assert any(note.startswith("s of b: of runs beside others") for note in again.notes)
