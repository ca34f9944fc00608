"""The pages against the stored runs, the files that they name and the code they show."""

import math
import re
from pathlib import Path

import pytest

from mtra_jax import config as configs
from mtra_jax import metrics
from mtra_jax.reports import comparison, end_of_run, formats, stored
from mtra_jax.tasks import BENCHMARKS, Task

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "results").glob("*.jsonl"))
FOLDERS = ("", "results", "scripts", "scripts/benchmarking", "tests")
PAGES = [
    "CONTRIBUTING.md",
    "mtra_jax/methods/README.md",
    *(f"{folder}/README.md".lstrip("/") for folder in FOLDERS),
]
# Files that the worked examples of CONTRIBUTING.md add.
ADDED = {"mtra_jax/methods/ls.py", "mtra_jax/runs/loggers/csv_table.py"}


def test_there_are_results():
    assert RESULTS


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_table_is_what_the_report_prints(path):
    entries = comparison.read(path)
    table = formats.markdown(comparison.compare(entries, "test", "ew"))
    assert table in (ROOT / "results/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_run_has_its_origin(path):
    for entry in comparison.read(path):
        values = entry.values
        assert values["command"].startswith("python scripts/sweep.py --config ")
        revision = values["environment"]["git_revision"]
        assert len(revision) == 40, "a commit without changes"
        assert values["environment"]["packages"]["jax"]
        assert values["date"]


def test_the_example_of_the_readme_runs():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(example, names)
    assert math.isfinite(names["value"])
    assert names["grads"].keys() == names["params"].keys()


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    paths = re.findall(r"\b(?:configs|mtra_jax|scripts|tests)/[\w/-]+\.\w+", text)
    missing = [x for x in links if not ((ROOT / page).parent / x).exists()]
    missing += [x for x in paths if not (ROOT / x).exists() and x not in ADDED]
    assert not missing


# ---- the stored figures of the built-in benchmark: `make figures` refreshes them


@pytest.fixture(scope="module")
def runs():
    return stored.read()


def test_the_stored_runs_are_ew_and_mtra_as_make_train_runs_them(runs):
    assert [run.method for run in runs] == ["ew", "mtra"]
    for run in runs:
        config = configs.preset("tiny_synthetic", run.method)
        assert stored.find(runs, run.method, configs.to_dict(config)) is run
        assert run.config["method"] == config.method.to_dict(), "see `make figures`"
        assert run.config["sampling"] == config.sampling
        assert run.config["seed"] == 0


def test_stored_runs_name_date_machine_commit_and_command(runs):
    for run in runs:
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", run.date)
        assert re.fullmatch("[0-9a-f]{40}", run.commit), "a commit without changes"
        assert "cores of" in run.machine
        assert run.packages["jax"]
        assert run.command.startswith("python scripts/train.py --config configs/")
    assert len({(run.commit, run.machine) for run in runs}) == 1


@pytest.mark.parametrize(
    ("page", "block"),
    [("README.md", stored.text_block), ("results/README.md", stored.markdown_block)],
)
def test_the_pages_hold_the_stored_figures(runs, page, block):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert f"begin -->\n{block(runs)}\n<!-- stored" in text
    for run in runs:
        assert f"{run.results['test']['avg']:.2f}" in block(runs)
        assert f"{run.machine}, jax {run.packages['jax']}, " in block(runs)


def test_a_stored_run_is_found_under_the_same_settings_only(runs):
    config = configs.preset("tiny_synthetic", "mtra")
    for key, value in (("seed", 3), ("devices", 2), ("micro_batches", 2)):
        config[key] = value
    config.method.beta = 7.0
    assert stored.find(runs, "ew", configs.to_dict(config)) is runs[0]
    assert stored.find(runs, "uw", configs.to_dict(config)) is None
    for key, text in (
        ("epochs", "3"),
        ("tasks", "irony"),
        ("data.limit", "20"),
        ("backbone.hidden_size", "32"),
    ):
        other = configs.apply(configs.preset("tiny_synthetic", "mtra"), [(key, text)])
        assert stored.find(runs, "ew", configs.to_dict(other)) is None
    other = configs.preset("roberta_tweeteval", "mtra")
    assert stored.find(runs, "ew", configs.to_dict(other)) is None


def test_the_end_table_has_majority_stored_ew_and_the_run(runs):
    ew, mtra = runs
    table = end_of_run.table(mtra.results, mtra.tasks, "mtra", [ew])
    head, *lines = table.splitlines()
    best, last = mtra.results["best_epoch"], mtra.results["epochs"]
    average = mtra.results["validation"]["avg"]
    assert head == (
        f"Test figures in percent. Best epoch {best} of {last}, "
        f"validation Avg. {average:.2f}."
    )
    ends = [(line.split("  ")[0], line.split()[-1]) for line in lines[2:]]
    expected = [
        ("majority", mtra.results["majority"]["avg"]),
        ("EW (stored)", ew.results["test"]["avg"]),
        ("MTRA", mtra.results["test"]["avg"]),
    ]
    assert ends == [(name, f"{figure:.2f}") for name, figure in expected]


def test_the_legend_explains_every_column():
    for benchmark in BENCHMARKS.values():
        line = end_of_run.legend(benchmark.tasks, has_ew=True)
        assert "\n" not in line
        for task in benchmark.tasks:
            for metric in task.metrics:
                assert f"{metrics.find(metric, task).title}: " in line
        assert line.endswith("EW: equal weighting, the mean of the task losses")


def test_the_legend_and_the_head_explain_errors_and_several_labels():
    tasks = (
        Task("t", "Topics", "multi_label", ("x", "y"), ("accuracy", "f1:x")),
        Task("s", "Stars", "regression", ("a", "b"), ("pearson", "rmse:b")),
        Task("p", "Price", "regression", ("euro",), ("mae",)),
    )
    line = end_of_run.legend(tasks, has_ew=False)
    assert line.split("; ") == [
        "majority: the most frequent class, the mean, or each label's frequent value",
        "Avg.: mean over the tasks without RMSE(b), MAE (and so without Price)",
        "Acc: accuracy (multi-label: of whole label sets)",
        "F1(x): F1 of x",
        "Pear: Pearson correlation, mean over the dimensions",
        "RMSE(b): root of the mean squared error of b, lower is better",
        "MAE: mean absolute error, lower is better",
    ]
    figures = {"t": {}, "s": {}, "p": {}, "avg": 50.0}
    results = dict.fromkeys(("validation", "test", "majority"), figures)
    results |= {"best_epoch": 2, "epochs": 3, "selection": "p/mae"}
    assert end_of_run.table(results, tasks, "ew").startswith(
        "Test figures in percent, RMSE(b), MAE in the task's unit. Best epoch by p/mae: 2 "
        "of 3, validation Avg. 50.00.\n"
    )


def test_separate_runs_of_tasks_list_their_best_epochs():
    results = {"best_epoch": {"a": 1, "b": 3}, "epochs": {"a": 4, "b": 6}}
    assert end_of_run.best_epochs(results) == "a 1 of 4, b 3 of 6"


def test_results_of_an_older_version_show_the_training_time_only():
    assert end_of_run.seconds({"train_seconds": 1.6}) == "2 s of training"


def test_tasks_without_figures_are_listed():
    test = {"a": {"f1": 1.0}, "b": {"f1": None}, "c": {"v": 1.0, "a": math.nan}}
    assert end_of_run.without_figures({**test, "avg": None}) == ["b", "c"]
