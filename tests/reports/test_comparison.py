"""Comparisons of runs against figures worked by hand and Welch's formula."""

import csv
import dataclasses
import io
import json
import math

import numpy as np
import pytest
from messages import assert_mentions
from scipy import stats

from mtra_jax import metrics
from mtra_jax.errors import InputError
from mtra_jax.reports.comparisons import comparison, formats, run_tasks
from mtra_jax.tasks import BENCHMARKS, Benchmark, Task


def summary(irony, pearson, spearman):
    """Figures of the synthetic irony and intensity, with Avg. by its definition."""
    avg = (irony + (pearson + spearman) / 2) / 2
    intensity = {"pearson": pearson, "spearman": spearman}
    return {"irony": {"macro_f1": irony}, "intensity": intensity, "avg": avg}


def line(name, seed, test, **changes):
    """A line of scripts/sweep.py, with the fields that a comparison reads."""
    return {
        "name": name,
        "method": name,
        "seed": seed,
        "preset": "new_synthetic",
        "overrides": {"epochs": "1"},
        "results": {"validation": summary(1.0, 2.0, 3.0), "test": test},
        **changes,
    }


FEW = (
    "too few seeds to tell methods apart, and for an interval of Δp: fewer than 3 in all "
    "rows; a permutation test of 2 against 2 gives p = 0.333 at best"
)


LEGEND = (
    "mean ± standard deviation over seeds; Δp: mean relative improvement over ew in percent, "
    "over the metrics of a task, then over the tasks; p: Welch's t-test of Avg. against ew, "
    "Holm's correction; * p < 0.05"
)
ONE_OF_TW = "unequal numbers of seeds: tw 1, the others 2"


def text_of(lines):
    return "".join(json.dumps(values) + "\n" for values in lines)


def parse(lines):
    return comparison.parse(text_of(lines), "results.jsonl")


# Avg.: ew 40, 44 (mean 42); mtra 55, 65 (mean 60); tw 30.
LINES = [
    line("ew", 0, summary(50.0, 25.0, 35.0)),
    line("ew", 1, summary(54.0, 29.0, 39.0)),
    line("mtra_x", 0, summary(60.0, 40.0, 60.0)),
    line("mtra_x", 1, summary(70.0, 50.0, 70.0)),
    line("tw", 0, summary(52.0, 6.0, 10.0)),
]


@pytest.fixture
def compared():
    return comparison.compare(parse(LINES))


def row(compared, name):
    return next(row for row in compared.rows if row.name == name)


def test_rows_are_means_and_deviations_in_the_order_of_the_names(compared):
    assert [(r.name, r.num_seeds) for r in compared.rows] == [
        ("ew", 2),
        ("mtra_x", 2),
        ("tw", 1),
    ]
    # The mean of a and a + 2d is a + d, and the deviation (ddof 1) d times root 2.
    assert row(compared, "ew").cells == {
        ("irony", "macro_f1"): (52.0, pytest.approx(2 * math.sqrt(2))),
        ("intensity", "pearson"): (27.0, pytest.approx(2 * math.sqrt(2))),
        ("intensity", "spearman"): (37.0, pytest.approx(2 * math.sqrt(2))),
        comparison.AVG: (42.0, pytest.approx(2 * math.sqrt(2))),
    }
    assert row(compared, "mtra_x").cells["irony", "macro_f1"] == (
        65.0,
        pytest.approx(5 * math.sqrt(2)),
    )


def test_with_one_seed_deviation_and_p_are_missing(compared):
    assert row(compared, "tw").cells[comparison.AVG] == (30.0, None)
    assert row(compared, "tw").p is None


def test_delta_p_is_that_of_the_means(compared):
    # irony: 13 of 52, 25 %; intensity: 18 of 27 and 28 of 37.
    expected = (100 * 13 / 52 + (100 * 18 / 27 + 100 * 28 / 37) / 2) / 2
    assert row(compared, "mtra_x").delta_p == pytest.approx(expected, rel=1e-12)
    assert row(compared, "ew").delta_p == 0.0


def test_delta_p_over_a_figure_of_zero_is_missing():
    lines = [line("ew", 0, summary(50.0, 0.0, 5.0)), line("tw", 0, summary(1.0, 2, 3))]
    compared = comparison.compare(parse(lines))
    assert [r.delta_p for r in compared.rows] == [None, None]
    assert "Pear of ew is 0.00" in compared.notes[0]
    for name, make in formats.FORMATS.items():
        assert (compared.notes[0] in make(compared)) == (name != "csv")


def test_the_baseline_is_read_from_the_lines():
    same = summary(50.0, 1.0, 5.0)
    first, last = line("ew", 0, same), line("tw", 0, same)
    assert comparison.baselines_of(parse([first, last])) == {"ew": "ew", "tw": "ew"}
    named = [first, last | {"baseline": "tw"}]
    assert comparison.baselines_of(parse(named)) == {"ew": "tw", "tw": "tw"}
    named = [first | {"baseline": "ew"}, last | {"baseline": "tw"}]
    assert comparison.baselines_of(parse(named)) == {"ew": "ew", "tw": "tw"}


# Avg.: "ew joint" 20 and 22, gls 31 and 35.
TWO_BASELINES = [
    *(values | {"baseline": "ew"} for values in LINES[:4]),
    line("ew joint", 0, summary(25.0, 10.0, 20.0), baseline="ew joint"),
    line("ew joint", 1, summary(27.0, 12.0, 22.0), baseline="ew joint"),
    line("gl_s", 0, summary(39.0, 21.0, 25.0), baseline="ew joint"),
    line("gl_s", 1, summary(41.0, 23.0, 35.0), baseline="ew joint"),
]


class TestTwoBaselines:
    """Each method against the equal weighting of the same sampling."""

    @pytest.fixture
    def compared(self):
        entries = parse(TWO_BASELINES)
        return comparison.compare(entries, baseline=comparison.baselines_of(entries))

    def test_delta_p_and_p_are_against_the_row_of_each_line(self, compared):
        # irony 14 of 26; pearson 11 of 11, spearman 9 of 21.
        expected = (100 * 14 / 26 + (100 * 11 / 11 + 100 * 9 / 21) / 2) / 2
        assert row(compared, "gl_s").delta_p == pytest.approx(expected, rel=1e-12)
        assert row(compared, "gl_s").p == pytest.approx(
            welch([31.0, 35.0], [20.0, 22.0]), rel=1e-12
        )
        alone = row(comparison.compare(parse(LINES[:4])), "mtra_x")
        assert row(compared, "mtra_x")._replace(holm=alone.holm) == alone

    def test_p_is_corrected_for_the_rows_of_all_baselines(self, compared):
        tests = [row(compared, name) for name in ("mtra_x", "gl_s")]
        low, high = sorted(tests, key=lambda test: test.p)
        assert low.holm == pytest.approx(2 * low.p, rel=1e-12)
        assert high.holm == max(high.p, low.holm)
        for name in ("ew", "ew joint"):
            base = row(compared, name)
            assert (base.delta_p, base.p, base.baseline) == (0.0, None, name)

    def test_every_format_names_the_row(self, compared):
        lines = formats.text(compared).split("\n")
        assert lines[0].endswith("against a row")
        assert lines[1].split()[-5:] == ["Avg.", "against", "Δp", "p", "(Holm)"]
        assert [cells[:8].strip() for cells in lines[2:6]] == (
            ["ew", "mtra_x", "ew joint", "gl_s"]
        )
        assert "ew joint  +62.64" in lines[5]
        assert 'against the row that its column "against" names, Holm' in lines[6]
        # Not bold: improvements over different rows do not compare.
        assert "| ew joint | +62.64 |" in formats.markdown(compared)
        assert r" & ew joint & $+62.64$ & " in formats.latex(compared)
        table = list(csv.DictReader(io.StringIO(formats.csv_text(compared))))
        assert [cells["against"] for cells in table] == (
            ["ew", "ew", "ew joint", "ew joint"]
        )

    def test_a_name_of_latex_is_escaped_in_the_column(self):
        lines = [
            line("ew", 0, summary(5.0, 5.0, 5.0), baseline="e_w"),
            line("e_w", 0, summary(5.0, 5.0, 5.0), baseline="ew"),
        ]
        baselines = comparison.baselines_of(parse(lines))
        table = formats.latex(comparison.compare(parse(lines), baseline=baselines))
        assert r" & e\_w & " in table

    def test_figures_are_missing_until_the_baseline_has_run(self):
        entries = parse([*TWO_BASELINES[:4], *TWO_BASELINES[6:]])
        baselines = comparison.baselines_of(entries)
        compared = comparison.compare(entries, baseline=baselines)
        assert (row(compared, "gl_s").delta_p, row(compared, "gl_s").p) == (None, None)
        assert row(compared, "mtra_x").delta_p is not None
        assert compared.notes == ("no Δp against ew joint: it has no finished run", FEW)
        assert formats.text(compared).splitlines()[-2:] == [*compared.notes]

    def test_one_baseline_can_be_asked_for(self):
        compared = comparison.compare(parse(TWO_BASELINES), baseline="ew")
        assert compared.baselines == ["ew"]
        assert "against ew, Holm" in formats.text(compared)


def welch(x, y):
    """Two-sided, by the formula: t, the degrees of Welch and Satterthwaite, the tail."""
    x, y = np.array(x), np.array(y)
    vx, vy = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    t = (x.mean() - y.mean()) / np.sqrt(vx + vy)
    degrees = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    return 2 * stats.t.sf(abs(t), degrees)


@pytest.mark.parametrize(
    ("base", "other"),
    [
        ([40.0, 44.0], [55.0, 65.0]),
        ([60.0, 61.5, 59.0], [58.5, 58.0]),
        ([50.0, 50.0, 50.0], [50.5, 51.0, 53.0]),
        ([10.0, 10.1, 10.2, 9.9], [90.0, 90.2, 90.1]),
    ],
    ids=["two seeds", "unequal numbers", "one side constant", "far apart"],
)
def test_p_is_that_of_welch(base, other):
    lines = [line("ew", i, summary(avg, avg, avg)) for i, avg in enumerate(base)]
    lines += [line("mtra", i, summary(avg, avg, avg)) for i, avg in enumerate(other)]
    compared = comparison.compare(parse(lines))
    assert row(compared, "ew").p is None
    assert row(compared, "mtra").p == pytest.approx(welch(base, other), rel=1e-9)
    # scipy's test from the figures themselves, which warns about constants.
    if len(set(base)) > 1:
        test = stats.ttest_ind(other, base, equal_var=False)
        assert row(compared, "mtra").p == pytest.approx(test.pvalue, rel=1e-9)


def test_p_is_missing_if_all_seeds_are_equal():
    lines = [line("ew", seed, summary(50.0, 50.0, 50.0)) for seed in (0, 1)]
    lines += [line("tw", seed, summary(60.0, 60.0, 60.0)) for seed in (0, 1)]
    assert row(comparison.compare(parse(lines)), "tw").p is None


def test_p_and_delta_p_follow_the_baseline(compared):
    other = comparison.compare(parse(LINES), baseline="mtra_x")
    assert row(other, "mtra_x").p is None
    assert row(other, "ew").p == row(compared, "mtra_x").p
    assert row(other, "mtra_x").delta_p == 0.0
    assert row(other, "ew").delta_p < 0


def test_the_split_is_chosen():
    compared = comparison.compare(parse(LINES), "validation")
    assert row(compared, "mtra_x").cells["intensity", "spearman"] == (3.0, 0.0)


@pytest.mark.parametrize("lost", [None, float("nan"), "absent"])
def test_a_figure_that_one_seed_lacks_is_missing(lost):
    lines = json.loads(json.dumps(LINES))
    scores = lines[3]["results"]["test"]["intensity"]
    if lost == "absent":
        del scores["pearson"]
    else:
        scores["pearson"] = lost
    compared = row(comparison.compare(parse(lines)), "mtra_x")
    assert compared.cells["intensity", "pearson"] == (None, None)
    assert compared.cells["intensity", "spearman"].mean == 65.0
    assert compared.delta_p is None
    assert compared.p == pytest.approx(welch([40.0, 44.0], [55.0, 65.0]))


def test_p_is_missing_if_an_average_is():
    lines = json.loads(json.dumps(LINES))
    del lines[2]["results"]["test"]["avg"]
    compared = row(comparison.compare(parse(lines)), "mtra_x")
    assert (compared.cells[comparison.AVG], compared.p) == ((None, None), None)
    assert compared.delta_p is not None


# ---- formats

P = welch([40.0, 44.0], [55.0, 65.0])
DELTA_P = (25 + (100 * 18 / 27 + 100 * 28 / 37) / 2) / 2
DELTA_P_TW = (0 + (100 * -21 / 27 + 100 * -27 / 37) / 2) / 2


def test_the_figures_of_the_formats_are_those_worked_by_hand():
    assert f"{P:.3f} {DELTA_P:.2f} {DELTA_P_TW:.2f}" == "0.136 48.09 -37.69"


def test_text_aligns(compared):
    assert formats.text(compared).split("\n") == [
        "           Irony              Intensity                            against ew",
        "                M-F1          Pear         Spear          Avg.      Δp  p (Holm)",
        "ew      52.00 ± 2.83  27.00 ± 2.83  37.00 ± 2.83  42.00 ± 2.83   +0.00         -",
        "mtra_x  65.00 ± 7.07  45.00 ± 7.07  65.00 ± 7.07  60.00 ± 7.07  +48.09     0.136",
        "tw             52.00          6.00         10.00         30.00  -37.69         -",
        LEGEND,
        ONE_OF_TW,
        FEW,
    ]


def test_markdown_has_the_best_means_in_bold(compared):
    assert formats.markdown(compared).split("\n") == [
        "|  | Irony M-F1 | Intensity Pear | Intensity Spear | Avg. | Δp | p (Holm) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| ew | 52.00 ± 2.83 | 27.00 ± 2.83 | 37.00 ± 2.83 | 42.00 ± 2.83 | +0.00 | - |",
        "| mtra_x | **65.00** ± 7.07 | **45.00** ± 7.07 | **65.00** ± 7.07 "
        "| **60.00** ± 7.07 | **+48.09** | 0.136 |",
        "| tw | 52.00 | 6.00 | 10.00 | 30.00 | -37.69 | - |",
        "",
        LEGEND,
        "",
        ONE_OF_TW,
        "",
        FEW,
    ]


def test_latex_is_booktabs_with_escaped_names(compared):
    assert formats.latex(compared).split("\n") == [
        r"\begin{tabular}{lrrrrrr}",
        r"\toprule",
        r" & Irony & \multicolumn{2}{c}{Intensity} &  &  &  \\",
        r"\cmidrule(lr){3-4}",
        r" & M-F1 & Pear & Spear & Avg. & $\Delta p$ & p (Holm) \\",
        r"\midrule",
        r"ew & 52.00 $\pm$ 2.83 & 27.00 $\pm$ 2.83 & 37.00 $\pm$ 2.83 "
        r"& 42.00 $\pm$ 2.83 & $+0.00$ & -- \\",
        r"mtra\_x & \textbf{65.00} $\pm$ 7.07 & \textbf{45.00} $\pm$ 7.07 "
        r"& \textbf{65.00} $\pm$ 7.07 & \textbf{60.00} $\pm$ 7.07 "
        r"& $\mathbf{+48.09}$ & 0.136 \\",
        r"tw & 52.00 & 6.00 & 10.00 & 30.00 & $-37.69$ & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
        f"% {LEGEND}",
        f"% {ONE_OF_TW}",
        f"% {FEW}",
    ]


def test_csv_has_plain_columns_in_full(compared):
    text = formats.csv_text(compared)
    assert text.split("\n")[0] == (
        "name,seeds,irony/macro_f1/mean,irony/macro_f1/std,intensity/pearson/mean,"
        "intensity/pearson/std,intensity/spearman/mean,intensity/spearman/std,avg/mean,"
        "avg/std,delta_p,delta_p/low,delta_p/high,p,p_holm"
    )
    ew, mtra, tw = csv.DictReader(io.StringIO(text))
    assert (ew["name"], ew["seeds"], ew["p"]) == ("ew", "2", "")
    assert float(mtra["avg/std"]) == row(compared, "mtra_x").cells[comparison.AVG].std
    assert float(mtra["p"]) == float(mtra["p_holm"]) == row(compared, "mtra_x").p
    assert float(mtra["delta_p"]) == row(compared, "mtra_x").delta_p
    assert (tw["avg/mean"], tw["avg/std"], tw["p"]) == ("30.0", "", "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_b & 50% #1 {$x}", r"a\_b \& 50\% \#1 \{\$x\}"),
        ("a<b>c", r"a\textless{}b\textgreater{}c"),
        (r"~x^2\y", r"\textasciitilde{}x\textasciicircum{}2\textbackslash{}y"),
        # After the end of the row above, \\ takes [ as its option, and * as a part.
        ("[x] y", "\n{}[x] y"),
        ("*y", "\n{}*y"),
    ],
)
def test_latex_escapes_special_characters(name, expected):
    compared = comparison.compare(
        parse([line(name, 0, summary(1.0, 2.0, 3.0))]), baseline=name
    )
    assert expected + " & 1.00 & 2.00" in formats.latex(compared)


def test_intervals_and_ranks_are_shown_with_three_seeds_and_tasks():
    rng = np.random.default_rng(0)
    names = ("a", "b", "c")
    tasks = [Task(name, name.upper(), "regression", ("x",), ("mae",)) for name in names]
    own = run_tasks.described(Benchmark("own", tuple(tasks)))
    lines = []
    for place, name in enumerate(("ew", "mtra", "uw")):
        for seed in range(3):
            test = {t: {"mae": 9.0 - 2 * place + rng.uniform()} for t in names}
            values = line(name, seed, {**test, "avg": None}, tasks=own)
            values["results"]["validation"] = test
            lines.append(values)
    compared = comparison.compare(parse(lines))
    best = row(compared, "uw")
    assert best.interval.low < best.delta_p < best.interval.high
    low, high = (f"{value:+.2f}" for value in best.interval)
    assert f"  [{low}, {high}]" in formats.text(compared)
    assert "95 %: bootstrap interval of Δp over seeds, not " in formats.text(compared)
    assert f" | [{low}, {high}] | - |" in formats.markdown(compared)
    assert rf" & [${low}$, ${high}$] & -- \\" in formats.latex(compared)
    table = list(csv.DictReader(io.StringIO(formats.csv_text(compared))))
    assert (table[0]["delta_p/low"], table[0]["delta_p/high"]) == ("", "")
    assert float(table[2]["delta_p/high"]) == best.interval.high
    assert "mean ranks from uw 1.0 to ew 3.0; " in formats.text(compared)
    assert compared.notes == ()
    # Rows of other shares of the data are not ranked beside each other.
    for key in ("data.label_noise", "data.fraction", "data.limit"):
        for values in lines:
            values["overrides"] = {"epochs": "1"}
            if values["name"] == "uw":
                values["overrides"][key] = "0.2"
        compared = comparison.compare(parse(lines))
        assert compared.ranking is None
        assert "mean ranks" not in formats.text(compared)
    # Where lines have all settings, these count: one row may set what a preset has.
    for share, is_ranked in (("1.0", True), ("0.5", False)):
        for values in lines:
            values["overrides"] = {"epochs": "1"}
            values["settings"] = {"data.fraction": 1.0, "epochs": 1}
            if values["name"] == "uw":
                values["overrides"]["data.fraction"] = share
                values["settings"]["data.fraction"] = float(share)
        compared = comparison.compare(parse(lines))
        assert (compared.ranking is not None) == is_ranked


def test_a_missing_interval_is_explained():
    """The mean of the baseline can be divided by, the figure of one seed cannot."""
    lines = []
    for seed, figure in enumerate((4.0, 8.0, 9.0)):
        lines.append(line("ew", seed, summary(50.0, figure, 40.0)))
        lines.append(line("mtra", seed, summary(60.0, figure + 5, 50.0)))
    compared = comparison.compare(parse(lines))
    assert row(compared, "mtra").delta_p > 0
    assert row(compared, "mtra").interval is None
    note = (
        "no interval of Δp against ew: a figure of one of its seeds is too small to be "
    )
    assert f"{note}divided by" in compared.notes
    sound = [x for x in lines if x["seed"]] + [
        line(name, 0, summary(50.0, 8.0, 40.0)) for name in ("ew", "mtra")
    ]
    compared = comparison.compare(parse(sound))
    assert row(compared, "mtra").interval is not None
    assert not any("interval" in own for own in compared.notes)


def significant(other):
    base = [10.0, 10.1, 10.2]
    lines = [line("ew", i, summary(avg, avg, avg)) for i, avg in enumerate(base)]
    lines += [line("mtra", i, summary(avg, avg, avg)) for i, avg in enumerate(other)]
    return welch(base, other), comparison.compare(parse(lines))


@pytest.mark.parametrize(
    ("other", "low", "high", "plain", "latex"),
    [
        ([10.4, 10.6, 10.8], 0.001, 0.05, "{}*", "{}$^{{*}}$"),
        ([10.2, 10.4, 10.6], 0.05, 0.2, "{}", "{}"),
        ([90.0, 90.1, 90.3], 0, 0.001, "<0.001*", "$<$0.001$^{{*}}$"),
    ],
    ids=["below 0.05", "above", "tiny"],
)
def test_only_p_below_a_twentieth_is_marked(other, low, high, plain, latex):
    p, compared = significant(other)
    assert low < p < high
    digits = f"{p:.3f}"
    assert formats.text(compared).split("\n")[3].split()[-1] == plain.format(digits)
    assert f"| {plain.format(digits)} |" in formats.markdown(compared)
    assert f" & {latex.format(digits)} \\\\" in formats.latex(compared)


def test_missing_figures_are_marked_in_every_format():
    lines = json.loads(json.dumps(LINES))
    lines[4]["results"]["test"]["irony"]["macro_f1"] = None
    compared = comparison.compare(parse(lines))
    assert formats.text(compared).split("\n")[4].split() == (
        ["tw", "-", "6.00", "10.00", "30.00", "-", "-"]
    )
    assert formats.markdown(compared).endswith(
        f"| tw | - | 6.00 | 10.00 | 30.00 | - | - |\n\n{LEGEND}\n\n{ONE_OF_TW}\n\n{FEW}"
    )
    assert r"tw & -- & 6.00 & 10.00 & 30.00 & -- & -- \\" in formats.latex(compared)
    assert formats.csv_text(compared).split("\n")[-1] == (
        "tw,1,,,6.0,,10.0,,30.0,,,,,,"
    )


def test_figures_below_zero_are_typeset_as_such():
    lines = [line("ew", 0, summary(5.0, -2.5, 1.0)), line("tw", 0, summary(1, -1.5, 1))]
    compared = formats.latex(comparison.compare(parse(lines)))
    assert r"ew & \textbf{5.00} & $-2.50$ & \textbf{1.00}" in compared
    assert r"tw & 1.00 & $\mathbf{-1.50}$ & \textbf{1.00}" in compared


def test_means_with_the_same_digits_as_the_best_are_bold_too():
    figures = (50.001, 50.004, 49.99)
    lines = [line(f"m{i}", 0, summary(f, f, f)) for i, f in enumerate(figures)]
    compared = formats.markdown(comparison.compare(parse(lines), baseline="m0"))
    assert [cells.count("**50.00**") for cells in compared.split("\n")[2:5]] == [
        4,
        4,
        0,
    ]


def test_a_single_row_is_not_bold():
    compared = comparison.compare(parse(LINES[:2]))
    assert "**" not in formats.markdown(compared)


# ---- runs that cannot be compared


def refused(lines):
    text = lines if isinstance(lines, str) else text_of(lines)
    with pytest.raises(InputError) as error:
        comparison.parse(text, "w/results.jsonl")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"results": {}}, "damaged: no 'validation'; expected an object"),
        ({"results": None}, "damaged: "),
        (
            {"results": {**LINES[0]["results"], "majority": None}},
            "damaged: 'majority' is None; expected an object",
        ),
        (
            {"results": {**LINES[0]["results"], "constant": [None]}},
            "damaged: 'constant' is [None]; expected names of tasks",
        ),
        ({"name": 3}, "damaged: 'name' is 3; expected a text"),
        ({"seed": "0"}, "damaged: 'seed' is '0'; expected a whole number"),
        ({"preset": "tiny_syntetic"}, "did you mean synthetic?"),
        (
            {"results": {"validation": {}, "test": {"irony": {"macro_f1": "high"}}}},
            "damaged: figure 'high' of 'test/irony/macro_f1'; expected a number",
        ),
        (
            {"results": {"validation": {}, "test": {"ironi": {"macro_f1": 1.0}}}},
            "unknown task 'ironi' of synthetic; did you mean irony?",
        ),
    ],
    ids=[
        *("no results", "null", "majority", "constant"),
        *("name", "seed", "preset", "figure", "task"),
    ],
)
def test_a_damaged_line_is_named(change, expected):
    answer = refused([LINES[0], {**LINES[1], **change}])
    assert answer.startswith("w/results.jsonl:2: ")
    assert expected in answer


@pytest.mark.parametrize("last", ['{"name": "ew", "se', "", "7", "[]"])
def test_a_line_that_was_cut_off_is_named(last):
    answer = refused(f"{text_of(LINES[:1])}{last}\n")
    assert answer.startswith("w/results.jsonl:2: damaged: ")


def test_other_tasks_than_those_of_the_first_run_are_refused():
    fewer = {"irony": {"macro_f1": 50.0}, "avg": 50.0}
    assert refused([*LINES, line("si", 0, fewer)]) == (
        "w/results.jsonl:6: tasks irony of synthetic; expected those of the first run, "
        "irony, intensity of synthetic"
    )


def test_the_same_names_in_another_benchmark_are_other_tasks():
    irony = {"irony": {"macro_f1": 50.0}, "avg": 50.0}
    lines = [
        line("ew", 0, irony),
        line("ew", 1, irony, overrides={"benchmark": "tweeteval"}),
    ]
    assert refused(lines) == (
        "w/results.jsonl:2: tasks irony of tweeteval; expected those of the first run, "
        "irony of synthetic"
    )


def test_a_run_that_occurs_twice_is_refused():
    assert refused([*LINES, LINES[1]]) == (
        "w/results.jsonl:6: ew, seed 1 is on line 2 already; expected each run once"
    )


# ---- tasks of a user

OWN = [
    Task("reviews", "Reviews", "classification", ("x", "y"), ("accuracy",)),
    Task("stars", "Stars", "regression", ("stars",), ("rmse", "r2")),
]


def own_line(name, seed, accuracy, rmse, r2, tasks=OWN):
    scores = {"reviews": {"accuracy": accuracy}, "stars": {"rmse": rmse, "r2": r2}}
    own = run_tasks.described(Benchmark("own", tuple(tasks)))
    summary = metrics.summarize(scores, OWN)
    return line(name, seed, summary, preset="own", tasks=own)


OWN_LINES = [
    own_line("ew", 0, 60.0, 240.0, 10.0),
    own_line("ew", 1, 60.0, 160.0, 10.0),
    own_line("mtra", 0, 70.0, 90.0, 20.0),
    own_line("mtra", 1, 72.0, 110.0, 20.0),
]


def test_runs_of_own_tasks_are_compared_by_the_tasks_of_their_lines():
    compared = comparison.compare(parse(OWN_LINES))
    assert compared.tasks == tuple(OWN)
    # Reviews: 11 of 60. Stars: RMSE 200 to 100, and R² 10 to 20.
    expected = (100 * 11 / 60 + (50 + 100) / 2) / 2
    assert row(compared, "mtra").delta_p == pytest.approx(expected, rel=1e-12)
    assert row(compared, "mtra").cells["stars", "rmse"].mean == 100.0
    # Avg. has no RMSE: (60 + 10) / 2 in both seeds; (70 + 20) / 2 and (72 + 20) / 2.
    assert row(compared, "ew").cells[comparison.AVG] == (35.0, 0.0)
    assert row(compared, "mtra").p == pytest.approx(welch([35.0, 35.0], [45.0, 46.0]))


def test_the_lowest_error_is_bold_and_in_its_unit():
    compared = comparison.compare(parse(OWN_LINES))
    ew, mtra = formats.markdown(compared).split("\n")[2:4]
    assert ew.startswith("| ew | 60.00 ± 0.00 | 200.0 ± 56.6 | 10.00 ± 0.00 | ")
    assert mtra.startswith(
        "| mtra | **71.00** ± 1.41 | **100.0** ± 14.1 | **20.00** ± 0.00 | "
    )
    note = "RMSE: in the task's unit, lower is better, not in Avg."
    assert formats.text(compared).split("\n")[-2:] == [note, FEW]


def test_determination_far_below_zero_is_a_figure():
    lines = [own_line("ew", 0, 60.0, 2000.0, -5000.0)]
    parsed = parse(lines)
    assert parsed[0].results["test"]["avg"] == -2470.0
    lines[0]["results"]["test"]["reviews"]["accuracy"] = 101.0
    assert "figure 101.0 of 'test/reviews/accuracy'; expected a number from -100" in (
        refused(lines)
    )


def test_the_tasks_of_a_line_survive_json():
    tasks = parse(OWN_LINES)[0].tasks
    assert tasks == run_tasks.columns_of(OWN)
    assert run_tasks.described(BENCHMARKS["tweeteval"]) is None
    resolved = [dataclasses.replace(task, thresholds=(0.4,)) for task in OWN]
    assert run_tasks.difference(run_tasks.columns_of(resolved), tasks) is None


def test_own_tasks_that_differ_from_the_first_runs_are_refused():
    other = dataclasses.replace(OWN[1], metrics=("rmse",))
    answer = refused([OWN_LINES[0], own_line("tw", 0, 1.0, 2.0, 3.0, [OWN[0], other])])
    assert answer == (
        "w/results.jsonl:2: metrics of stars: ('rmse',); expected ('rmse', 'r2'), as in "
        "the first run"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "ranking"}, "kind 'ranking'; known: classification"),
        ({"kind": 3}, "'kind' is 3; expected a text"),
        ({"labels": "x"}, "'labels' is 'x'; expected a list"),
        ({"labels": ["x", 2]}, "2 in 'labels'; expected a text"),
        ({"title": "a\nb"}, "name 'a\\nb'; expected no line breaks"),
        (
            {"metrics": ["acuracy"]},
            "metric 'acuracy' is unknown; did you mean accuracy",
        ),
        ({"metrics": []}, "task reviews: no metric"),
    ],
)
def test_a_damaged_task_of_a_line_is_named(change, expected):
    own = {**OWN_LINES[0], "tasks": [*OWN_LINES[0]["tasks"]]}
    own["tasks"][0] = {**own["tasks"][0], **change}
    answer = refused([own])
    assert answer.startswith("w/results.jsonl:1: damaged: ")
    assert expected in answer


def test_an_unknown_baseline_is_refused_with_the_nearest_name():
    with pytest.raises(InputError) as error:
        comparison.compare(parse(LINES), baseline="mtra")
    assert_mentions(error.value, "'mtra'", "mtra_x")


def test_rows_of_other_numbers_of_test_examples_are_told():
    def sized(values, number):
        counts = {"irony": {"test": number, "validation": 5}, "intensity": None}
        return {**values, "results": {**values["results"], "examples": counts}}

    same = [sized(values, 8) for values in LINES]
    other = parse([*same[:-1], sized(LINES[-1], 9)])
    note, *rest = comparison.compare(other).notes
    assert "numbers of test examples differ: irony 8 (ew, mtra_x), 9 (tw)" in note
    assert comparison.compare(parse(same)).notes == tuple(rest)
    notes = comparison.compare(other, "validation").notes
    assert not any("not comparable" in note for note in notes)


def test_an_error_whose_mean_would_overflow_is_refused():
    own = {**OWN_LINES[0], "results": json.loads(json.dumps(OWN_LINES[0]["results"]))}
    figures = next(
        figures
        for figures in own["results"]["test"].values()
        if isinstance(figures, dict) and "rmse" in figures
    )
    figures["rmse"] = 1e149
    assert comparison.compare(parse([own]), baseline=own["name"])
    figures["rmse"] = 1.7e308
    assert_mentions(refused([own]), "w/results.jsonl:1", "1.7e+308", "1e+150")


def test_nothing_to_compare_is_refused():
    with pytest.raises(InputError, match="no finished run"):
        comparison.compare([])
