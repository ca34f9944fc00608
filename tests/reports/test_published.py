"""The papers' figures: Avg. and Δp computed from the tasks' figures are those printed."""

import collections
import re

import pytest

from mtra_jax import metrics
from mtra_jax.reports.papers import published
from mtra_jax.reports.statistics.seeds import AVG, Cell
from mtra_jax.runs.studies import experiments
from mtra_jax.tasks import BENCHMARKS

DETAILED = [block for block in published.BLOCKS if block.has_tasks]
EW = {block.benchmark: block for block in DETAILED if block.table.startswith("MTRA 2")}


def tasks_of(block):
    benchmark = BENCHMARKS[block.benchmark]
    return benchmark.select(block.tasks or benchmark.task_names).tasks


def figures_of(row):
    result = collections.defaultdict(dict)
    for (task, metric), cell in row.cells.items():
        result[task][metric] = cell.mean
    return result


def baseline_of(name, block):
    rows = published.read(block)
    level = name[name.index(" data") :] if " data" in name else ""
    return rows.get(f"ew{level}") or published.read(EW[block.benchmark])["ew"]


def test_the_tables_have_all_their_rows():
    assert len(DETAILED) == 16
    assert sum(len(published.read(block)) for block in DETAILED) == 113
    assert sum(len(published.read(block)) for block in published.BLOCKS) == 227


@pytest.mark.parametrize("block", DETAILED, ids=lambda block: block.table)
def test_averages_and_improvements_are_those_of_the_tasks(block):
    tasks = tasks_of(block)
    for name, row in published.read(block).items():
        if any(cell.mean is None for cell in row.cells.values()):
            assert row.cells[AVG].mean is row.delta_p is None
            continue
        average = metrics.average(figures_of(row), tasks)
        assert abs(average - row.cells[AVG].mean) <= 0.01, name
        if row.delta_p is not None:
            baseline = figures_of(baseline_of(name, block))
            improvement = metrics.delta_p(figures_of(row), baseline, tasks)
            # Two decimals of EW's figures, the smallest of which is 11.41.
            assert abs(improvement - row.delta_p) <= 0.02, name


def test_a_row_has_its_figures_and_deviations():
    row = published.rows_of("fine_grained", "roberta", "affecteval")["mtra"]
    assert row.table == "MTRA 2 (b)"
    assert row.cells["emobank", "pearson_d"] == Cell(44.45, 0.93)
    assert row.cells["ei-reg", "spearman"] == Cell(57.81, 1.05)
    assert (row.cells[AVG], row.delta_p) == (Cell(61.20, 0.65), 7.18)
    summary = published.rows_of("main", "bert", "tweeteval")["gls"]
    assert (summary.cells, summary.delta_p) == ({AVG: Cell(66.05, 1.49)}, 0.60)
    stl = published.rows_of("paradigms", "roberta", "tweeteval")["stl"]
    assert (stl.cells[AVG], stl.delta_p) == (Cell(65.23, None), None)
    assert published.rows_of("main", "minilm", "tweeteval") == {}
    pair = published.rows_of("pairs", "roberta", "affecteval", ("emotion", "ei-reg"))
    assert pair["uw"].delta_p == 4.28
    assert published.rows_of("pairs", "roberta", "affecteval") == {}


def test_every_printed_row_is_a_row_of_its_experiment():
    catalogue = experiments.load()
    for block in published.BLOCKS:
        # Table 1 also has rows that the detailed tables lack.
        experiment = catalogue.experiments[block.experiments[0]]
        rows = {row.name for row in experiment.rows}
        if experiment.prompts:
            rows |= {*published.LANGUAGE_MODELS}
        assert set(published.read(block)) <= rows
        numbers = re.findall(r"\d+", experiment.papers)
        assert block.table.split()[1] in numbers
        if block.tasks:
            parts = {part.tasks for part in experiment.parts[block.benchmark]}
            assert block.tasks in parts
