"""Tables: every figure in the column of its metric, on lines that align."""

import pytest

from mtra_jax import metrics
from mtra_jax.reports import tables
from mtra_jax.tasks import AFFECTEVAL, TWEETEVAL, Task


def summary(benchmark, figures):
    figures = iter(figures)
    scores = {t.name: {m: next(figures) for m in t.metrics} for t in benchmark.tasks}
    return metrics.summarize(scores, benchmark.tasks)


# Table 2 of the paper. MTRA's printed figures have the mean 69.955; the paper prints 69.96.
TWEETEVAL_ROWS = {
    "EW": summary(TWEETEVAL, (74.37, 44.08, 65.32, 79.04, 70.64, 63.59)),
    "MTRA": summary(TWEETEVAL, (76.97, 55.48, 68.11, 80.10, 72.05, 67.02)),
}
AFFECTEVAL_ROWS = {
    "majority": summary(AFFECTEVAL, (1.5, 10.25, 0, 0, 0, 0, 0)),
    "test": summary(AFFECTEVAL, (48.48, 78.90, 79.59, 55.40, 44.45, 57.38, 57.81)),
}


def test_table_of_six_tasks():
    actual = tables.score_table(TWEETEVAL_ROWS, TWEETEVAL.tasks, baseline="EW")
    assert actual.split("\n") == [
        "      EmotionEval  HatEval  IronyEval  OffensEval  SentiEval  StanceEval",
        "             M-F1     M-F1     F1(i.)        M-F1      M-Rec    F1(a.f.)   Avg.     Δp",
        "EW          74.37    44.08      65.32       79.04      70.64       63.59  66.17  +0.00",
        "MTRA        76.97    55.48      68.11       80.10      72.05       67.02  69.95  +7.06",
    ]


def test_table_of_tasks_with_several_metrics():
    actual = tables.score_table(AFFECTEVAL_ROWS, AFFECTEVAL.tasks)
    assert actual.split("\n") == [
        "          GoEmotions  EmotionEval        EmoBank           EI-Reg",
        "                M-F1         M-F1      V      A      D   Pear  Spear   Avg.",
        "majority        1.50        10.25   0.00   0.00   0.00   0.00   0.00   2.94",
        "test           48.48        78.90  79.59  55.40  44.45  57.38  57.81  61.20",
    ]


def test_six_tasks_fit_a_terminal_of_100_columns():
    perfect = summary(TWEETEVAL, [100.0] * 6)
    rows = {"majority": perfect, "validation": perfect, "test": perfect}
    actual = tables.score_table(rows, TWEETEVAL.tasks, baseline="test").split("\n")
    assert max(map(len, actual)) <= 100
    assert len(actual) == 5


def test_a_title_wider_than_its_metrics_keeps_the_columns_apart():
    title = "a regression with a long title"
    task = Task("long", title, "regression", ("x",), ("pearson", "spearman"))
    rows = {"test": {"long": {"pearson": 1.0, "spearman": -2.5}, "avg": -0.75}}
    top, heads, row = tables.score_table(rows, [task]).split("\n")
    assert top == " " * 6 + title
    assert heads.index("Spear") + len("Spear") == len(top)
    assert heads.split() == ["Pear", "Spear", "Avg."]
    assert row.split() == ["test", "1.00", "-2.50", "-0.75"]


def test_a_missing_figure_is_a_dash():
    rows = {
        "test": TWEETEVAL_ROWS["EW"],
        "partial": {"irony": {"irony_f1": 50.0}},
    }
    actual = tables.score_table(rows, TWEETEVAL.tasks, baseline="test").split("\n")
    assert actual[-1].split() == ["partial", "-", "-", "50.00", "-", "-", "-", "-", "-"]
    assert len(actual[-1]) == len(actual[-2])


def test_delta_p_over_a_baseline_of_zero_is_a_dash():
    tasks = AFFECTEVAL.tasks
    actual = tables.score_table(AFFECTEVAL_ROWS, tasks, baseline="majority")
    *lines, note = actual.split("\n")[2:]
    assert [line.split()[-1] for line in lines] == ["-", "-"]
    zeros = ("EmoBank V", "EmoBank A", "EmoBank D", "EI-Reg Pear", "EI-Reg Spear")
    assert note == (
        f"no Δp: {', '.join(f'{zero} of majority is 0.00' for zero in zeros)}; "
        "a relative improvement needs figures above 0"
    )
    assert actual.count("no Δp") == 1
    marked = tables.markdown_table(AFFECTEVAL_ROWS, tasks, baseline="majority")
    assert marked.endswith(f"\n\n{note}")


def test_markdown_has_the_same_figures():
    actual = tables.markdown_table(AFFECTEVAL_ROWS, AFFECTEVAL.tasks).split("\n")
    assert actual == [
        "|  | GoEmotions M-F1 | EmotionEval M-F1 | EmoBank V | EmoBank A | EmoBank D "
        "| EI-Reg Pear | EI-Reg Spear | Avg. |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| majority | 1.50 | 10.25 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 2.94 |",
        "| test | 48.48 | 78.90 | 79.59 | 55.40 | 44.45 | 57.38 | 57.81 | 61.20 |",
    ]


def test_markdown_escapes_bars_in_names():
    rows = {"I(X;Y|Z)": TWEETEVAL_ROWS["EW"]}
    actual = tables.markdown_table(rows, TWEETEVAL.tasks)
    assert actual.split("\n")[-1].startswith(r"| I(X;Y\|Z) | 74.37 |")


def test_align_refuses_ragged_rows():
    with pytest.raises(ValueError, match="zip"):
        tables.align([["a", "b"], ["c"]])
