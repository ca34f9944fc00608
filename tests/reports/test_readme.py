"""The tables of `results/README.md` against the files that they are made from."""

from pathlib import Path

import pytest

from mtra_jax.reports import comparison, formats

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "results").glob("*.jsonl"))


def test_there_are_results():
    assert RESULTS


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_table_is_what_the_report_prints(path):
    entries = comparison.read(path)
    table = formats.markdown(comparison.compare(entries, "test", "ew"))
    assert table in (ROOT / "results/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_run_says_how_it_was_made(path):
    for entry in comparison.read(path):
        values = entry.values
        assert values["command"].startswith("python scripts/sweep.py --config ")
        revision = values["environment"]["git_revision"]
        assert len(revision) == 40, "a commit without changes"
        assert values["environment"]["packages"]["jax"]
        assert values["date"]
