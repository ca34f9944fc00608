"""The tables of results/experiments.md: made again from the runs in results/studies."""

import shutil
from pathlib import Path

import pytest

from mtra_jax.reports.formatting import grids
from mtra_jax.runs.studies import experiments
from mtra_jax.runs.studies import run as study_runs
from mtra_jax.runs.sweeps import sweep

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "results" / "studies"
PAGE = (ROOT / "results" / "experiments.md").read_text(encoding="utf-8")
SCORES = [
    name
    for name, experiment in experiments.load().experiments.items()
    if experiment.columns in ("summary", "tasks")
    and name != "data_size_infomtl"  # has not been run
]
# Scale, backbone, benchmark, and the experiments that were run.
BUILT_IN = ("paper", "tiny", "synthetic")
SMALL = ("small", "minilm", "")
CASES = [
    *((SMALL, name) for name in SCORES),
    *((BUILT_IN, n) for n in ("data_size", "label_noise", "pairs", "sensitivity")),
]


def runs_of(table, scale):
    """The stored runs of a table; a pair of tasks has its own file."""
    name = "experiments_small" if scale == "small" else "experiments_builtin"
    if table.tasks:
        name = "_".join(("pairs", *table.tasks)).replace("-", "_")
    return STUDIES / f"{name}.jsonl"


@pytest.mark.parametrize(("where", "name"), CASES)
def test_a_table_is_what_the_command_makes_of_the_stored_runs(where, name, tmp_path):
    scale, backbone, benchmark = where
    study = experiments.make(
        experiments.load(), name, scale, backbone, benchmark, (0, 1)
    )
    for table in study.tables:
        directory = experiments.directory_of(tmp_path, table)
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(runs_of(table, scale), directory / sweep.RESULTS)
    for grid in study_runs.make_grids(study, tmp_path, ()).values():
        lines = grids.markdown(grid).splitlines()
        assert "\n".join(line for line in lines if line.startswith("|")) in PAGE
