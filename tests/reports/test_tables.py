"""Tables: every figure in the column of its metric, on lines that align."""

import math

import pytest

from mtra_jax import metrics
from mtra_jax.reports.formatting import grids, styles, tables
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


def test_a_negative_number_that_rounds_to_zero_has_no_minus():
    task = Task("t", "T", "regression", ("x",), ("pearson",))
    rows = {
        "EW": {"t": {"pearson": 50.0}, "avg": 50.0},
        "MTRA": {"t": {"pearson": 49.999}, "avg": 49.999},
        "none": {"t": {"pearson": -0.001}, "avg": -0.001},
    }
    _, _, _, other, zero = tables.score_table(rows, [task], baseline="EW").split("\n")
    assert other.split() == ["MTRA", "50.00", "50.00", "+0.00"]
    assert zero.split() == ["none", "0.00", "0.00", "-100.00"]


def test_delta_p_over_a_baseline_of_zero_is_a_dash():
    tasks = AFFECTEVAL.tasks
    actual = tables.score_table(AFFECTEVAL_ROWS, tasks, baseline="majority")
    *lines, note = actual.split("\n")[2:]
    assert [line.split()[-1] for line in lines] == ["-", "-"]
    small = ["1.50", "0.00", "0.00", "0.00", "0.00", "0.00"]
    names = ("GoEmotions M-F1", "EmoBank V", "EmoBank A", "EmoBank D")
    names += ("EI-Reg Pear", "EI-Reg Spear")
    parts = [f"{n} of majority is {x}" for n, x in zip(names, small, strict=True)]
    assert note == (
        f"no Δp: {', '.join(parts)}; a relative improvement needs shares of at least 5"
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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mt_vib", "mt_vib"),
        ("_em_ a*b", r"\_em\_ a\*b"),
        ("__b__", r"\_\_b\_\_"),
        (r"\*x `y` <z>", r"\\\*x \`y\` \<z>"),
        ("[x](y) ![z]", r"\[x](y) !\[z]"),
        ("~~no~~ ~3", r"\~\~no\~\~ \~3"),
        ("$a$ costs $5", r"\$a\$ costs \$5"),
        ("&amp; &#35; R&D; a & b", r"\&amp; \&#35; R\&D; a & b"),
        ("*a *b* c*", r"\*a \*b\* c\*"),
        ("</z> <!-- <?x", r"\</z> \<!-- \<?x"),
        ("mtra tuned", "mtra tuned"),
        ("a-b x_1 R&D", "a-b x_1 R&D"),
        ("p < 0.05, 5 > 3, 2 * 3 + (a) #1!", "p < 0.05, 5 > 3, 2 * 3 + (a) #1!"),
    ],
)
def test_markdown_shows_the_signs_of_a_name(name, expected):
    assert styles.MARKDOWN.escape(name) == expected


def test_all_names_in_markdown_are_escaped():
    """Those of rows and tasks, in the table and in the notes below it."""
    task = Task("t", "_T_", "classification", ("x", "y"), ("accuracy",))
    rows = {"[x](y)": {"t": {"accuracy": 1.0}, "avg": 1.0}}
    head, _, row, _, note = tables.markdown_table(rows, [task], "[x](y)").split("\n")
    assert head == r"|  | \_T\_ Acc | Avg. | Δp |"
    assert row == r"| \[x](y) | 1.00 | 1.00 | - |"
    assert r"no Δp: \_T\_ Acc of \[x](y) is 1.00" in note
    column = grids.Column("~a~", "b")
    grid = grids.Grid("_c_", [column], [grids.Line("$d$", ["<e>"])], ["* f: _g_"])
    title, _, head, _, row, _, note = grids.markdown(grid).split("\n")
    assert (title, head) == (r"**\_c\_**", r"|  | \~a\~ b |")
    assert (row, note) == (r"| \$d\$ | \<e> |", r"\* f: \_g\_")


def test_markdown_escapes_bars_in_names():
    rows = {"I(X;Y|Z)": TWEETEVAL_ROWS["EW"]}
    actual = tables.markdown_table(rows, TWEETEVAL.tasks)
    assert actual.split("\n")[-1].startswith(r"| I(X;Y\|Z) | 74.37 |")


# ---- tasks of a user

REVIEWS = Task("r", "Reviews", "classification", ("x", "y"), ("accuracy", "f1:y"))
STARS = Task("s", "Stars", "regression", ("stars",), ("pearson", "rmse"))
PRICE = Task("p", "Price", "regression", ("euro",), ("mae",))


def own(accuracy, rmse, mae):
    return metrics.summarize(
        {
            "r": {"accuracy": accuracy, "f1:y": 50.0},
            "s": {"pearson": 40.0, "rmse": rmse},
            "p": {"mae": mae},
        },
        (REVIEWS, STARS, PRICE),
    )


def test_errors_have_four_digits_and_stay_out_of_avg():
    rows = {"majority": own(60.0, 24.31, 12345.678), "EW": own(70.0, 9.99996, 0.012345)}
    actual = tables.score_table(rows, (REVIEWS, STARS, PRICE), baseline="majority")
    # Avg.: (60 + 50) / 2 and 40; (70 + 50) / 2 and 40. Δp: 1/6, 0; 0, 14.31 of 24.31; 1.
    assert actual.split("\n") == [
        "            Reviews        Stars       Price",
        "            Acc  F1(y)   Pear   RMSE      MAE   Avg.      Δp",
        "majority  60.00  50.00  40.00  24.31    12346  47.50   +0.00",
        "EW        70.00  50.00  40.00  10.00  0.01235  50.00  +45.92",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.00012345, "0.0001234"),
        (0.99996, "1.000"),
        (999.96, "1000"),
        (2115.4, "2115"),
        (12345678.0, "1.235e+07"),
        (1e-9, "1.000e-09"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_an_error_is_shown_with_four_digits(value, expected):
    assert tables.figure(metrics.find("mae", PRICE), value) == expected


def test_an_error_of_zero_is_why_there_is_no_delta_p():
    rows = {"EW": own(70.0, 9.5, 0.0)}
    table = tables.score_table(rows, (REVIEWS, STARS, PRICE), baseline="EW")
    assert table.split("\n")[-1].endswith(
        "no Δp: Price MAE of EW is 0; a relative improvement needs shares of at least 5 "
        "and errors above 0"
    )


def test_twelve_tasks_are_split_into_tables_below_each_other():
    named = [f"A task with a name {number}" for number in range(12)]
    tasks = [Task(n, n, "classification", ("x", "y"), ("accuracy",)) for n in named]
    rows = {"MTRA": metrics.summarize({n: {"accuracy": 50.0} for n in named}, tasks)}
    parts = tables.score_table(rows, tasks).split("\n\n")
    assert len(parts) == 3
    titles = "".join(part.split("\n")[0] for part in parts)
    assert all(name in titles for name in named)
    for part in parts:
        top, heads, row = part.split("\n")
        assert max(map(len, (top, heads, row))) <= tables.WIDTH
        assert row.startswith("MTRA ")
        assert len(heads.split()) == len(row.split()) - 1
    assert parts[-1].endswith("50.00  50.00")  # Avg. comes last


def test_a_task_with_many_metrics_repeats_its_title():
    labels = tuple(f"label{number}" for number in range(28))
    chosen = tuple(f"f1:{label}" for label in labels)
    task = Task("t", "Topics", "multi_label", labels, chosen)
    rows = {"EW": metrics.summarize({"t": dict.fromkeys(chosen, 12.5)}, [task])}
    parts = tables.score_table(rows, [task]).split("\n\n")
    assert [part.split("\n")[0].strip() for part in parts] == ["Topics"] * 3
    heads = [name for part in parts for name in part.split("\n")[1].split()]
    assert heads == [*(f"F1({label})" for label in labels), "Avg."]


def test_wide_characters_align():
    """Each of 話題 takes two columns, and so does each letter of the row."""
    task = Task("t", "話題の分類", "classification", ("x", "y"), ("accuracy",))
    rows = {
        n: {"t": {"accuracy": a}, "avg": a} for n, a in (("手法", 5.0), ("EW", 50.0))
    }
    assert tables.score_table(rows, [task]).split("\n") == [
        "      話題の分類",
        "             Acc   Avg.",
        "手法        5.00   5.00",
        "EW         50.00  50.00",
    ]


def test_markdown_escapes_bars_in_titles():
    task = Task("t", "a|b", "classification", ("x", "y"), ("accuracy",))
    head = tables.markdown_table({"EW": {}}, [task]).split("\n")[0]
    assert head == r"|  | a\|b Acc | Avg. |"


def test_align_refuses_ragged_rows():
    with pytest.raises(ValueError, match="zip"):
        tables.align([["a", "b"], ["c"]])
