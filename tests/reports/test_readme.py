"""The pages against the stored runs, the files that they name and the code they show."""

import json
import math
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
from messages import assert_mentions

from mtra_jax import cli, metrics
from mtra_jax import config as configs
from mtra_jax.api import inputs
from mtra_jax.commands import sweep, train, verbs
from mtra_jax.data.own_tasks import task_file
from mtra_jax.methods import registry
from mtra_jax.reports.comparisons import comparison, formats, stored
from mtra_jax.reports.progress import end_of_run
from mtra_jax.runs.trials import run_specs
from mtra_jax.tasks import BENCHMARKS, Task

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "results").glob("*.jsonl"))
FOLDERS = ("mtra_jax", "results", "scripts", "tests")
PAGES = [
    str(page.relative_to(ROOT))
    for page in (
        *ROOT.glob("*.md"),
        *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md")),
    )
]
# Files that the worked examples of CONTRIBUTING.md add.
ADDED = {"mtra_jax/methods/ls.py", "mtra_jax/runs/loggers/csv_table.py"}


def test_there_are_results():
    assert RESULTS


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_table_is_what_the_report_prints(path):
    """The first page explains the columns once, in place of the lines below a table."""
    entries = comparison.read(path)
    compared = comparison.compare(entries, "test", comparison.baselines_of(entries))
    table, *lines = formats.markdown(compared).split("\n\n")
    pages = [p.read_text(encoding="utf-8") for p in (ROOT / "results").glob("*.md")]
    (page,) = (page for page in pages if table in page)
    notes = lines[-len(compared.notes) :] if compared.notes else []
    assert [note for note in notes if note not in page] == []


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_run_has_its_origin(path):
    for entry in comparison.read(path):
        values = entry.values
        command = values["command"].replace("python scripts/sweep.py", "mtra-jax sweep")
        assert command.startswith("mtra-jax sweep --config ")
        revision = values["environment"]["git_revision"]
        assert len(revision) == 40, "a commit without changes"
        assert values["environment"]["packages"]["jax"]
        assert values["date"]


def blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_balancing_example_of_the_readme_runs():
    _, example = blocks("README.md", "python")
    names = {}
    exec(example, names)
    assert math.isfinite(names["value"])
    assert names["grads"].keys() == names["params"].keys()


def test_the_list_of_examples_of_the_page_on_data_can_be_split():
    (example,) = blocks("mtra_jax/data/own_tasks/README.md", "python")
    head, has_call, _ = example.partition("model = ")
    assert has_call
    names = {}
    exec(head, names)
    data = inputs.training_data([(names["mood"], names["examples"])])
    sizes = {split: len(part.texts) for split, part in data.splits["mood"].items()}
    assert sizes == {"train": 16, "validation": 2, "test": 2}


REVIEWS = [
    ("great stay", "good", 5, ["hotel"]),
    ("never again", "bad", 1, ["hotel", "food"]),
]
# A new encoder, in place of the pretrained one.
TINY = {
    "backbone": {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "vocab_size": 80,
    },
    "batch_size": 16,
    "data": {"max_length": 16, "cache_dir": ""},
}


@pytest.fixture
def own_tasks(tmp_path, monkeypatch):
    """The working directory of the README's reader: its tasks with made-up data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    (example,) = blocks("README.md", "toml")
    (tmp_path / "my/tasks.toml").write_text(example)
    rows = [
        (f"{text} {number}", *labels)
        for number in range(10)
        for text, *labels in REVIEWS
    ]
    for name in ("reviews", "dev", "test"):
        lines = [f"{text},{label}\n" for text, label, *_ in rows]
        (tmp_path / f"my/{name}.csv").write_text("".join(["body,sentiment\n", *lines]))
    stars = [json.dumps({"body": row[0], "stars": row[2]}) + "\n" for row in rows]
    (tmp_path / "my/stars.jsonl").write_text("".join(stars))
    columns = {"text": [row[0] for row in rows], "topics": [row[3] for row in rows]}
    part = datasets.Dataset.from_dict(columns)
    splits = dict.fromkeys(("train", "validation", "test"), part)
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "my/topics"))
    return tmp_path


def test_the_tasks_of_the_readme_are_read(own_tasks):
    data = task_file.load("my/tasks.toml")
    described = [(task.name, task.kind, task.labels) for task in data.benchmark.tasks]
    assert described == [
        ("reviews", "classification", ("bad", "good")),
        ("stars", "regression", ("stars",)),
        ("topics", "multi_label", ("food", "hotel")),
    ]
    sizes = [len(part.texts) for part in data.splits["stars"].values()]
    assert sizes == [16, 2, 2]


@pytest.mark.slow
def test_the_api_example_of_the_readme_trains_and_predicts(own_tasks):
    example, _ = blocks("README.md", "python")
    backbone = 'backbone="FacebookAI/roberta-base", '
    assert backbone in example
    example = example.replace(backbone, "config=TINY_CONFIG, ")
    example = example.replace('tasks="my/tasks.toml", ', "")
    config = configs.load("configs/own.py:tasks=my/tasks.toml")
    config.backbone.path = ""
    config.update(TINY)
    names = {"TINY_CONFIG": config}
    exec(example, names)
    (prediction,) = names["model"].predict(["great stay"], task="reviews")
    assert prediction.label in prediction.probabilities
    assert names["model"].encode(["great stay"]).shape == (1, 8)


def commands_of(page):
    """The words of each `mtra-jax sweep` and `search` in the blocks of a page."""
    text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    lines = re.findall(r"mtra-jax ((?:sweep|search) [^#'\n]*)", text)
    return [shlex.split(line.partition(" [")[0]) for line in lines]


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)])
def test_the_sweeps_and_searches_of_a_page_have_flags_that_exist(page, monkeypatch):
    """The last thing before anything is read or trained is the work directory."""

    class Parsed(Exception):
        pass

    def parsed(path):
        raise Parsed

    monkeypatch.setattr(cli, "output_directory", parsed)
    for verb, *words in commands_of(page):
        with pytest.raises(Parsed):
            verbs.VERBS[verb].module.main(words)


def test_the_sweep_file_of_the_page_on_experiments_is_planned(own_tasks, capsys):
    """By the command that the page shows for it; without an encoder there is no time."""
    (example,) = blocks("scripts/experiments.md", "python")
    (own_tasks / "my/sweep.py").write_text(example)
    (words,) = (
        words
        for _, *words in commands_of("scripts/experiments.md")
        if "my/sweep.py:joint" in words
    )
    chosen = run_specs.load("my/sweep.py:joint")
    rows = ["ew joint", "uw", "famo", "mtra joint", "mtra joint w/o TA"]
    assert [(trial.name, trial.seed) for trial in chosen.trials] == [
        (row, seed) for row in rows for seed in (0, 1, 2)
    ]
    for trial in chosen.trials:
        own = run_specs.config_of(trial, [("data.tasks", "my/tasks.toml")])
        assert (own.sampling, own.epochs, own.batch_size) == ("joint", 10, 32)
        assert own.tasks == ("reviews", "stars", "topics")
        assert chosen.baseline_of(trial) == "ew joint"
    sweep.main([*words, "--dry_run"])
    head, _, *planned, last = capsys.readouterr().out.splitlines()
    assert head == "15 runs: 0 finished, 0 begun, 15 new"
    assert [line.split() for line in planned] == [
        [f"joint/{place}", "3"]
        for place in ("ew-joint", "uw", "famo", "mtra-joint", "mtra-joint-w-o-ta")
    ]
    assert last.startswith("no estimate of the time: ")


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    outside = re.sub("```.*?```", "", text, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", outside)
    paths = re.findall(r"\b(?:configs|mtra_jax|scripts|tests)/[\w/-]+\.\w+", text)
    missing = [
        f"{file}#{heading}"
        for file, heading in links
        if not has_heading(
            (ROOT / page).parent / file if file else ROOT / page, heading
        )
    ]
    missing += [x for x in paths if not (ROOT / x).exists() and x not in ADDED]
    assert not missing


def has_heading(path, name):
    """Whether a file exists and has a heading that GitHub calls `name`, if any is given."""
    if not path.exists() or not name:
        return path.exists()
    headings = re.findall(
        r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return name in [heading.replace(" ", "-") for heading in plain]


# ---- the stored figures of the built-in benchmark: `make figures` refreshes them


@pytest.fixture(scope="module")
def runs():
    return stored.read()


def test_the_stored_runs_are_ew_and_mtra_as_make_train_runs_them(runs):
    assert [(run.name, run.method) for run in runs] == [
        ("EW", "ew"),
        ("EW sum", "ew"),
        ("MTRA", "mtra"),
    ]
    for run in runs:
        config = configs.preset("tiny_synthetic", run.method)
        if run.name == "EW sum":
            config.method.reduction = "sum"
        assert run in stored.find(runs, run.method, configs.to_dict(config))
        # With the defaults of the keys that later commits have added.
        values = {key: value for key, value in run.config.items() if key != "format"}
        then = configs.from_dict(values).method
        assert then == config.method, "see `make figures`"
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
    assert stored.find(runs, "ew", configs.to_dict(config)) == runs[:2]
    assert stored.find(runs, "uw", configs.to_dict(config)) == []
    for key, text in (
        ("epochs", "3"),
        ("tasks", "irony"),
        ("data.limit", "20"),
        ("learning_rate", "1e-3"),
    ):
        other = configs.apply(configs.preset("tiny_synthetic", "mtra"), [(key, text)])
        assert stored.find(runs, "ew", configs.to_dict(other)) == []
    other = configs.preset("roberta_tweeteval", "mtra")
    assert stored.find(runs, "ew", configs.to_dict(other)) == []


def test_the_end_table_has_majority_stored_ew_and_the_run(runs):
    ew, ew_sum, mtra = runs
    table = end_of_run.table(mtra.results, mtra.tasks, "MTRA", [ew, ew_sum])
    head, *lines = table.splitlines()
    best, last = mtra.results["best_epoch"], mtra.results["epochs"]
    average = mtra.results["validation"]["avg"]
    assert head == (
        f"Test figures in percent. Best epoch by average: {best} of {last}, "
        f"validation Avg. {average:.2f}."
    )
    ends = [(line.split("  ")[0], line.split()[-1]) for line in lines[2:]]
    expected = [
        ("majority", mtra.results["majority"]["avg"]),
        ("EW (stored)", ew.results["test"]["avg"]),
        ("EW sum (stored)", ew_sum.results["test"]["avg"]),
        ("MTRA", mtra.results["test"]["avg"]),
    ]
    assert ends == [(name, f"{figure:.2f}") for name, figure in expected]


def test_the_readme_counts_the_methods():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"and {len(registry.METHODS) - 1} other methods that train" in text


def test_the_legend_explains_every_column():
    for benchmark in BENCHMARKS.values():
        line = end_of_run.legend(benchmark.tasks, has_ew=True)
        assert "\n" not in line
        for task in benchmark.tasks:
            for metric in task.metrics:
                assert f"{metrics.find(metric, task).title}: " in line
        assert line.endswith("the mean of the task losses, or their sum")


def test_the_legend_and_the_head_explain_errors_and_several_labels():
    tasks = (
        Task("t", "Topics", "multi_label", ("x", "y"), ("accuracy", "f1:x")),
        Task("s", "Stars", "regression", ("a", "b"), ("pearson", "rmse:b")),
        Task("p", "Price", "regression", ("euro",), ("mae",)),
    )
    line = end_of_run.legend(tasks, has_ew=False)
    assert line.split("; ") == [
        "majority: the most frequent class, the mean, or all labels",
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
    assert end_of_run.table(results, tasks, "EW").startswith(
        "Test figures in percent, RMSE(b), MAE in the task's unit. Best epoch by p/mae: 2 "
        "of 3, validation Avg. 50.00.\n"
    )


def test_the_legend_explains_the_bounds_of_a_run_that_showed_them():
    tasks = BENCHMARKS["synthetic"].tasks
    line = end_of_run.legend(tasks, has_ew=False, has_bound=True)
    assert line.endswith(
        "; bound I: estimate of the information that z has of the labels, in nats; ceiling "
        "H(Y): their entropy, the most it can be"
    )


@pytest.mark.parametrize(
    ("method", "changes", "has_bound"),
    [
        ("mtra", [], True),
        ("mtra", [("method.task_alignment", "false")], False),
        ("ew", [], False),
    ],
)
def test_a_run_of_a_method_with_bounds_ends_with_their_meaning(
    method, changes, has_bound, runs, capsys, tmp_path
):
    run = next(run for run in runs if run.method == method)
    config = configs.apply(configs.preset("tiny_synthetic", method), changes)
    benchmark = BENCHMARKS["synthetic"]
    outcome = SimpleNamespace(results=run.results, benchmark=benchmark)
    train.print_end(outcome, config, tmp_path, is_quiet=False)
    assert ("; bound I: " in capsys.readouterr().out) == has_bound


def test_separate_runs_of_tasks_list_their_best_epochs():
    results = {"best_epoch": {"a": 1, "b": 3}, "epochs": {"a": 4, "b": 6}}
    assert end_of_run.best_epochs(results) == "a 1 of 4, b 3 of 6"


def test_results_of_an_older_version_show_the_training_time_only():
    assert end_of_run.seconds({"train_seconds": 1.6}) == "2 s of training"


@pytest.mark.parametrize(
    ("epochs", "is_last"),
    [
        ({"best_epoch": 3, "epochs": 3}, True),
        ({"best_epoch": 2, "epochs": 3}, False),
        ({"best_epoch": {"a": 1, "b": 3}, "epochs": {"a": 4, "b": 3}}, True),
        ({"best_epoch": {"a": 1, "b": 2}, "epochs": {"a": 4, "b": 3}}, False),
    ],
)
def test_a_run_that_learned_too_little_ends_with_what_may_help(epochs, is_last):
    tasks = BENCHMARKS["synthetic"].select(["irony", "stance"]).tasks
    majority = {"irony": {"macro_f1": 36.4}, "stance": {"macro_f1": 19.8}}
    test = {"irony": {"macro_f1": 36.4}, "stance": {"macro_f1": 50.0}}
    results = {"majority": {**majority, "avg": 28.1}, "test": {**test, "avg": 43.2}}
    (stuck,) = end_of_run.problems(results, tasks)
    assert_mentions(stuck, "majority", "irony", "--config.epochs")
    assert "stance" not in stuck
    assert end_of_run.is_early(epochs) == is_last


def test_a_task_below_the_majority_is_no_better_than_it():
    """By every metric; of errors the smaller one is better."""
    (irony,) = BENCHMARKS["synthetic"].select(["irony"]).tasks
    value = Task("value", "Value", "regression", ("value",), ("pearson", "rmse"))
    majority = {"irony": {"macro_f1": 36.4}, "value": {"pearson": 0.0, "rmse": 2.0}}

    def stuck(f1, pearson, rmse, constant=()):
        test = {"irony": {"macro_f1": f1}, "value": {"pearson": pearson, "rmse": rmse}}
        results = {"test": test, "majority": majority, "constant": [*constant]}
        return end_of_run.stuck(results, (irony, value))

    assert stuck(36.3, -5.0, 2.1) == ["irony", "value"]
    assert stuck(36.5, -5.0, 1.9) == []
    assert stuck(36.4, 0.1, 2.1) == ["irony"]
    assert stuck(40.0, 0.0, 2.0) == ["value"]
    assert stuck(math.nan, None, 2.1) == []  # reported as missing
    # Better figures may come from a class that is more frequent in the test set.
    assert stuck(40.0, 0.1, 1.9, constant=["irony"]) == ["irony"]


def test_an_error_above_that_of_the_mean_is_said_beside_a_high_correlation():
    (irony,) = BENCHMARKS["synthetic"].select(["irony"]).tasks
    value = Task("value", "Value", "regression", ("value",), ("pearson", "rmse"))
    majority = {"irony": {"macro_f1": 36.4}, "value": {"pearson": 0.0, "rmse": 2.0}}

    def names(pearson, rmse):
        test = {
            "irony": {"macro_f1": 50.0},
            "value": {"pearson": pearson, "rmse": rmse},
        }
        results = {"test": test, "majority": majority}
        lines = end_of_run.problems(results, (irony, value))
        return end_of_run.larger_errors(results, (irony, value)), len(lines)

    assert names(95.7, 2.01) == (["value RMSE"], 1)
    assert names(95.7, 2.0) == ([], 0)
    assert names(-5.0, 2.01) == ([], 1)  # no better in anything, which is said already
    assert names(95.7, None) == ([], 1)


def test_rows_whose_tasks_learned_nothing_are_counted():
    tasks = BENCHMARKS["synthetic"].select(["irony", "stance"]).tasks
    majority = {"irony": {"macro_f1": 36.4}, "stance": {"macro_f1": 19.8}}
    moved = {"irony": {"macro_f1": 40.0}, "stance": {"macro_f1": 19.9}}
    half = {**moved, "irony": majority["irony"]}
    runs = [("ew", majority), ("ew", half), ("si", moved), ("mtra", half)]
    line = end_of_run.stuck_rows(
        ((row, {"test": test, "majority": majority}) for row, test in runs), tasks
    )
    rows = "ew: irony (2 of 2 runs), stance (1 of 2 runs); mtra: irony (1 of 1 runs)"
    assert line == f"{end_of_run.NOTHING}: {rows}"
    assert (
        end_of_run.stuck_rows([("si", {"test": moved, "majority": majority})], tasks)
        == ""
    )


def test_tasks_without_figures_are_listed():
    test = {"a": {"f1": 1.0}, "b": {"f1": None}, "c": {"v": 1.0, "a": math.nan}}
    assert end_of_run.without_figures({**test, "avg": None}) == ["b", "c"]
