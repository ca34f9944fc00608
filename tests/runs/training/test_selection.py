"""The best epoch by each selection: its score by hand, its refusals, whole runs."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from tiers import NIGHTLY_ONLY, nightly_only

from mtra_jax import config as configs
from mtra_jax import config_values, objectives
from mtra_jax.errors import InputError
from mtra_jax.runs.training import interfaces, loop, selection
from mtra_jax.runs.training import run as training
from mtra_jax.tasks import Benchmark, Task
from mtra_jax.train import batching, evaluate

REVIEWS = Task("reviews", "Reviews", "classification", ("x", "y"), ("accuracy", "f1:y"))
STARS = Task("stars", "Stars", "regression", ("stars",), ("rmse",))
OWN = Benchmark("own", (REVIEWS, STARS))
LOSSES = {"reviews": 0.5, "stars": 2000.0}
SUMMARY = {"reviews": {"accuracy": 70.0, "f1:y": 60.0}, "stars": {"rmse": 9.0}}
SUMMARY |= {"avg": 65.0}


def evaluated(losses=LOSSES, faults=()):
    mean = float(np.mean(list(losses.values())))
    return evaluate.Evaluation(
        mean, losses, {}, {}, dict.fromkeys(faults, "loss nan"), {}
    )


@pytest.mark.parametrize(
    ("name", "figure", "score"),
    [
        ("loss", 1000.25, 1000.25),
        ("log_sum", math.log(0.5) + math.log(2000.0), math.log(1000.0)),
        ("average", 65.0, -65.0),
        ("reviews/accuracy", 70.0, -70.0),
        ("reviews/f1:y", 60.0, -60.0),
        ("stars/rmse", 9.0, 9.0),
    ],
)
def test_a_lower_score_is_better_in_the_direction_of_the_figure(name, figure, score):
    made = selection.make(name, OWN)
    actual = made.score(evaluated(), SUMMARY)
    assert made.name == name
    assert actual == pytest.approx(score, rel=1e-12)
    assert made.figure_of(actual) == pytest.approx(figure, rel=1e-12)
    assert made.score(evaluated(faults=["stars"]), SUMMARY) == math.inf


def test_a_figure_that_is_missing_is_never_the_best():
    for name in ("average", "stars/rmse"):
        summary = {**SUMMARY, "avg": math.nan, "stars": {"rmse": math.nan}}
        score = selection.make(name, OWN).score(evaluated(), summary)
        assert score == math.inf


LOG_LOSSES = [2115.0, 1.0, 0.011, 0.01, 0.00999, 0.0, -0.3]


@pytest.mark.parametrize("number", range(1, len(LOG_LOSSES) + 1))
def test_the_log_sum_is_that_of_the_objectives(number):
    """Above the floor, at it, and below it, where the loss may be negative."""
    losses = LOG_LOSSES[:number]
    expected = objectives.log_sum(jnp.array(losses))
    assert selection.FLOOR == 1e-2
    assert selection.floored_log_sum(losses) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "reviews/acuracy",
            "selection is 'reviews/acuracy'; expected a metric of reviews; did you mean "
            "accuracy?",
        ),
        (
            "stars/pearson",
            "selection is 'stars/pearson'; expected a metric of stars: rmse",
        ),
    ],
)
def test_a_metric_that_the_task_lacks_is_refused(name, message):
    with pytest.raises(InputError) as error:
        selection.make(name, OWN)
    assert str(error.value) == message


def test_an_average_of_errors_alone_is_refused():
    with pytest.raises(InputError, match="all metrics of stars are errors"):
        selection.make("average", OWN.select(["stars"]))


def test_early_stopping_follows_the_score():
    """The losses fall throughout; the average is best in epochs 2 and 4."""
    made = selection.make("average", OWN)
    schedule = batching.Schedule(9, 3, 0, 10, lambda epoch: None, steps_per_epoch=1)
    progress = loop.Progress()
    for epoch, average in enumerate([50.0, 60.0, 55.0, 60.5, math.nan, 60.5, 60.0]):
        assert not progress.is_over(schedule)
        summary = {**SUMMARY, "avg": average}
        scored = evaluated({"reviews": 9.0 - epoch})
        score = made.score(scored, summary)
        progress = progress.after_epoch(epoch, scored.loss, summary, score)
    assert progress.is_over(schedule)
    assert (progress.best_epoch, progress.best_loss) == (4, 6.0)
    assert made.figure_of(progress.best_score) == 60.5
    assert progress.best_summary["avg"] == 60.5


# ---- the configuration


def load(method, chosen, tasks="irony,intensity"):
    changes = [("tasks", tasks), ("selection", chosen)]
    return configs.load(f"configs/baselines.py:{method}_new_synthetic", changes)


@pytest.mark.parametrize(
    ("method", "chosen", "message"),
    [
        (
            "ew",
            "averages",
            "selection is 'averages'; did you mean average?",
        ),
        (
            "ew",
            "irny/macro_f1",
            "selection is 'irny/macro_f1'; expected a task of the run; did you mean irony?",
        ),
        (
            "ew",
            "stance/macro_f1",
            "selection is 'stance/macro_f1'; expected a task of the run: irony, "
            "intensity",
        ),
        (
            "stl",
            "irony/macro_f1",
            "selection is 'irony/macro_f1', and method stl trains each task in a run "
            "without the others; expected loss, log_sum or average",
        ),
    ],
)
def test_a_selection_that_does_not_fit_is_refused(method, chosen, message):
    with pytest.raises(InputError) as error:
        load(method, chosen)
    assert str(error.value) == message


def test_every_selection_that_fits_is_accepted():
    for chosen in (*config_values.SELECTIONS, "irony/macro_f1", "intensity/pearson"):
        assert load("ew", chosen).selection == chosen
    for chosen in config_values.SELECTIONS:
        assert load("stl", chosen).selection == chosen
    # The only task is in no run without the others.
    assert load("stl", "irony/macro_f1", "irony").selection == "irony/macro_f1"


# ---- whole runs

SMALL = [
    ("tasks", "irony,intensity"),
    ("data.fraction", "0.1"),
    ("batch_size", "64"),
    ("epochs", "3"),
    ("backbone.hidden_size", "16"),
    ("backbone.intermediate_size", "32"),
    ("backbone.num_hidden_layers", "1"),
    ("data.cache_dir", ""),
    ("devices", "1"),
]


def trained(directory, *overrides, stop_at=None):
    """The results of a run, and its lines of validation."""
    preset = "configs/baselines.py:ew_new_synthetic"
    config = configs.load(preset, [*SMALL, *overrides])
    if stop_at is not None:
        stopping = interfaces.Watch(should_stop=lambda step: step == stop_at)
        with pytest.raises(loop.Stopped):
            training.train(config, directory, lambda prepared, at: stopping)
    training.train(config, directory, lambda prepared, at: interfaces.Watch())
    results = json.loads((directory / "results.json").read_text())
    text = (directory / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return results, [line for line in lines if "validation/loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "key", "best"),
    [
        ("loss", "validation/loss", min),
        pytest.param("average", "validation/avg", max, marks=NIGHTLY_ONLY),
        ("intensity/pearson", "validation/intensity/pearson", max),
    ],
)
def test_results_name_the_selection_and_its_best_value(tmp_path, chosen, key, best):
    results, lines = trained(tmp_path, ("selection", chosen))
    values = [line[key] for line in lines]
    assert results["selection"] == chosen
    assert results["selection_value"] == best(values)
    assert results["best_epoch"] == values.index(best(values)) + 1
    at_best = lines[results["best_epoch"] - 1]
    assert results["best_validation_loss"] == at_best["validation/loss"]
    assert results["validation"]["avg"] == at_best["validation/avg"]


@nightly_only
@pytest.mark.slow
def test_a_stopped_run_ends_with_the_selection_of_an_undisturbed_one(tmp_path):
    chosen = ("selection", "intensity/spearman")
    whole, _ = trained(tmp_path / "whole", chosen)
    stopped, _ = trained(tmp_path / "stopped", chosen, stop_at=5)  # in the second epoch
    for results in (whole, stopped):
        results.pop("train_seconds")
        results.pop("scoring_seconds")
    assert stopped == whole


@pytest.mark.slow
def test_separate_runs_are_selected_each_by_its_own_figures(tmp_path):
    preset = "configs/baselines.py:stl_new_synthetic"
    config = configs.load(preset, [*SMALL, ("selection", "average"), ("epochs", "1")])
    training.train(config, tmp_path, lambda prepared, at: interfaces.Watch())
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["selection"] == "average"
    assert results["selection_value"] == {
        task: pytest.approx(np.mean(list(results["validation"][task].values())))
        for task in ("irony", "intensity")
    }
