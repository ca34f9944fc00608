"""Results of runs of single tasks -> results and files of all tasks."""

import json

import pytest

from mtra_jax.runs.training import separate_tasks
from mtra_jax.tasks import BENCHMARKS

BENCHMARK = BENCHMARKS["synthetic"].select(["irony", "intensity"])


def results_of(name, scores, steps, seconds):
    summary = {name: scores, "avg": -1.0}
    return {
        "validation": summary,
        "test": summary,
        "majority": summary,
        "thresholds": {name: [steps / 40, 0.5]} if name == "irony" else {},
        "constant": [name] if steps == 10 else [],
        "best_epoch": steps // 10,
        "best_validation_loss": steps / 100,
        "selection": "log_sum",
        "selection_value": steps / 8,
        "epochs": steps // 5,
        "steps": steps,
        "skipped_steps": 1,
        "examples": {name: {"train": steps, "test": 3}},
        "parameters": {"encoder": 100, "heads": steps},
        "train_seconds": seconds,
        "scoring_seconds": seconds / 10,
    }


RESULTS = {
    "irony": results_of("irony", {"macro_f1": 60.0}, 10, 1.26),
    "intensity": results_of("intensity", {"pearson": 30.0, "spearman": 50.0}, 20, 2.0),
}


def test_figures_are_by_task_and_costs_are_sums():
    result = separate_tasks.results_of_all(BENCHMARK, RESULTS)
    summary = {
        "irony": {"macro_f1": 60.0},
        "intensity": {"pearson": 30.0, "spearman": 50.0},
        "avg": 50.0,  # the mean of 60 and the mean of 30 and 50
    }
    assert result == {
        "validation": summary,
        "test": summary,
        "majority": summary,
        "constant": ["irony"],
        "thresholds": {"irony": [0.25, 0.5]},
        "best_epoch": {"irony": 1, "intensity": 2},
        "best_validation_loss": pytest.approx(0.15),
        "selection": "log_sum",
        "selection_value": {"irony": 1.25, "intensity": 2.5},
        "epochs": {"irony": 2, "intensity": 4},
        "steps": 30,
        "skipped_steps": 2,
        "examples": {
            "irony": {"train": 10, "test": 3},
            "intensity": {"train": 20, "test": 3},
        },
        "parameters": {"encoder": 200, "heads": 30},
        "train_seconds": 3.3,
        "scoring_seconds": 0.3,
    }


def test_predictions_are_gathered_and_old_ones_removed(tmp_path):
    for name in RESULTS:
        (tmp_path / name / "predictions").mkdir(parents=True)
        (tmp_path / name / "predictions" / f"{name}.txt").write_text(name)
        (tmp_path / name / "environment.json").write_text(json.dumps(name))
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "old.txt").write_text("old")
    separate_tasks.write(tmp_path, tuple(RESULTS), {"steps": 30})
    written = {path.name: path.read_text() for path in tmp_path.glob("predictions/*")}
    assert written == {"irony.txt": "irony", "intensity.txt": "intensity"}
    assert json.loads((tmp_path / "environment.json").read_text()) == "intensity"
    assert json.loads((tmp_path / "results.json").read_text()) == {"steps": 30}
    assert not (tmp_path / ".predictions").exists()


def test_a_task_without_predictions_does_not_stop_the_others(tmp_path):
    """A task whose test outputs are not finite has no predictions."""
    for name in ("irony", "intensity"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "environment.json").write_text("{}")
    (tmp_path / "irony" / "predictions").mkdir()
    (tmp_path / "irony" / "predictions" / "irony.txt").write_text("1\n")
    separate_tasks.write(tmp_path, ("irony", "intensity"), {"avg": 1.0})
    gathered = [path.name for path in (tmp_path / "predictions").iterdir()]
    assert gathered == ["irony.txt"]
    assert json.loads((tmp_path / "results.json").read_text()) == {"avg": 1.0}
