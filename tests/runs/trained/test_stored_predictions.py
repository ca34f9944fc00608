"""Work directories of finished runs -> intervals of their differences."""

import json
import shutil
import warnings

import numpy as np
import own_files
import pytest

from mtra_jax import config as configs
from mtra_jax import metrics
from mtra_jax.commands import table
from mtra_jax.data import benchmarks
from mtra_jax.data.splits import fingerprints
from mtra_jax.reports.comparisons import example_noise
from mtra_jax.reports.predicted import predictions
from mtra_jax.runs.directory import inputs_json, layout, tasks_json
from mtra_jax.runs.trained import stored_predictions
from mtra_jax.tasks import TWEETEVAL, Task

ENCODER = dict.fromkeys(("tokenizer", "configuration", "weights"), "0" * 64)


def task_of(name, kind, *names):
    return Task(name, name, kind, ("x", "y"), names or ("accuracy",))


def noisy(task, labels, seed):
    """Predictions of which some are right."""
    rng = np.random.default_rng(seed)
    if task.kind == "regression":
        return labels + 5 * rng.normal(size=labels.shape)
    others = rng.integers(
        task.num_outputs if labels.ndim == 1 else 2, size=labels.shape
    )
    return np.where(rng.random(labels.shape) < 0.6, labels, others).astype(int)


def finished(directory, config, seed, predicted=noisy):
    """A work directory as a run leaves it, of random predictions; and these."""
    data = benchmarks.load(config.benchmark, task_path=config.data.tasks)
    parts = benchmarks.limit_examples(data.benchmark, data.splits, config.data.limit)
    test, tasks = {t: part["test"] for t, part in parts.items()}, data.benchmark.tasks
    chosen = {
        task.name: predicted(task, test[task.name].labels, seed) for task in tasks
    }
    directory.mkdir()
    layout.write_config(config, directory)
    tasks_json.write(directory, data.benchmark)
    inputs = inputs_json.Fingerprints(fingerprints.of_splits(data.splits), ENCODER)
    inputs_json.write(directory, inputs)
    scores = {}
    for task in tasks:
        name = task.name
        predictions.write_predictions(directory / "predictions", task, chosen[name])
        scores[name] = metrics.score(task, chosen[name], test[name].labels)
    summary = metrics.summarize(scores, tasks)
    splits = dict.fromkeys(("validation", "test", "majority"), summary)
    results = {**splits, "best_epoch": 1, "epochs": 1, "steps": 1}
    results |= {"train_seconds": 1.0, "scoring_seconds": 1.0}
    (directory / "results.json").write_text(json.dumps(results))
    return chosen


@pytest.fixture
def config(tmp_path):
    path = own_files.write(tmp_path / "data")
    values = {"benchmark": "own", "tasks": own_files.TASKS, "data.tasks": str(path)}
    return configs.make("mtra", values)


@pytest.fixture
def runs(tmp_path, config):
    """Two directories by name."""
    directories = {name: tmp_path / name for name in ("EW", "MTRA")}
    for seed, directory in enumerate(directories.values()):
        finished(directory, config, seed)
    return directories


def read(runs, split="test"):
    tasks = tasks_json.read(runs["EW"]).tasks
    summaries = {n: layout.read_results(path)[split] for n, path in runs.items()}
    hashes = {
        n: inputs_json.hashes(path, [t.name for t in tasks], split)
        for n, path in runs.items()
    }
    return stored_predictions.read(runs, tasks, split, summaries, hashes), tasks


def show(capsys, runs, *flags):
    table.main([*(f"{name}={path}" for name, path in runs.items()), *flags])
    return capsys.readouterr().out


def test_a_run_without_a_name_has_that_of_its_directory(tmp_path, config, capsys):
    config.data.limit = 10
    runs = {name: tmp_path / name for name in ("first", "second")}
    for number, path in enumerate(runs.values()):
        finished(path, config, number)
    expected = show(capsys, runs)
    table.main([*map(str, runs.values())])
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("limit", [0, 10])
def test_predictions_and_labels_are_those_of_the_runs(tmp_path, config, limit):
    config.data.limit = limit
    runs = {name: tmp_path / name for name in ("EW", "MTRA")}
    expected = {n: finished(path, config, 3 + len(n)) for n, path in runs.items()}
    predicted, tasks = read(runs)
    assert predicted.faults == {"EW": {}, "MTRA": {}}
    assert len(tasks) == len(own_files.TASKS)
    for name, parts in expected.items():
        summary = layout.read_results(runs[name])["test"]
        for task in tasks:
            stored = predicted.predictions[name][task.name]
            np.testing.assert_array_equal(stored, parts[task.name])
            labels = predicted.labels[task.name]
            assert len(labels) == (limit or 16)
            assert metrics.score(task, stored, labels) == summary[task.name]


def test_the_table_shows_the_intervals_of_the_predictions(runs, capsys):
    predicted, tasks = read(runs)
    ends = example_noise.of_differences(predicted, tasks)["MTRA"]
    assert len(ends) == sum(len(task.metrics) for task in tasks) + 1
    figures = [layout.read_results(path)["test"]["avg"] for path in runs.values()]
    low, high = ends["", "avg"]
    assert low < figures[1] - figures[0] < high
    cells = (f"{figures[1] - figures[0]:+z.2f}", f"[{low:+z.2f}, {high:+z.2f}]")
    lines = show(capsys, runs).splitlines()
    assert [" ".join(("Avg.", *cells))] == [
        " ".join(line.split()) for line in lines if line.startswith("Avg. ")
    ]
    low, high = ends["stars", "rmse"]
    assert any(f"[{low:+.3f}, {high:+.3f}]" in line for line in lines)  # in stars
    markdown = show(capsys, runs, "--markdown").splitlines()
    assert f"| Avg. | {' | '.join(cells)} |" in markdown


def test_a_task_without_predictions_has_no_interval(runs, capsys):
    (runs["MTRA"] / "predictions" / "mood.txt").unlink()
    out = show(capsys, runs)
    assert "no interval for mood and Avg. of MTRA: " in out
    assert "[" not in next(x for x in out.splitlines() if x.startswith("mood Acc"))
    assert "[" in next(x for x in out.splitlines() if x.startswith("noun Acc"))


def test_other_examples_have_no_interval(runs):
    path = runs["MTRA"] / "inputs.json"
    values = json.loads(path.read_text())
    values["data"]["noun"]["test"]["sha256"] = "1" * 64
    path.write_text(json.dumps(values))
    predicted, _ = read(runs)
    assert predicted.faults["EW"] == {}
    assert list(predicted.faults["MTRA"]) == ["noun"]
    assert "noun" not in predicted.predictions["MTRA"]


def test_data_that_changed_since_have_no_interval(runs, tmp_path):
    path = tmp_path / "data" / "mood_test.csv"
    path.write_text(path.read_text().replace("the room", "a room"))
    predicted, _ = read(runs)
    assert [*map(list, predicted.faults.values())] == [["mood"], ["mood"]]
    expected = f"the test examples of mood in {tmp_path}/data/tasks.toml have changed"
    for name, faults in predicted.faults.items():
        assert faults["mood"].startswith(f"{runs[name]}: {expected}")


def test_other_examples_are_told_apart_from_those_that_changed(runs, tmp_path):
    """A row without data comes first; the data are those of the second one."""
    path = tmp_path / "data" / "mood_test.csv"
    path.write_text(path.read_text().replace("the room", "a room"))
    path = runs["MTRA"] / "inputs.json"
    values = json.loads(path.read_text())
    values["data"]["mood"]["test"]["sha256"] = "1" * 64
    path.write_text(json.dumps(values))
    prompted = tmp_path / "prompted"
    shutil.copytree(runs["EW"], prompted)
    (prompted / "config.json").unlink()
    predicted, _ = read({"prompted": prompted, **runs})
    faults = {name: faults["mood"] for name, faults in predicted.faults.items()}
    assert "have changed since" in faults["prompted"]  # the same as EW's
    assert "have changed since" in faults["EW"]
    assert faults["MTRA"].endswith("are not those in the data of EW")


def test_predictions_of_another_model_have_no_interval(runs):
    """The hash of the examples is the same, but not the figures."""
    shutil.copy(runs["EW"] / "predictions/mood.txt", runs["MTRA"] / "predictions")
    predicted, _ = read(runs)
    assert list(predicted.faults["MTRA"]) == ["mood"]
    assert "expected " in predicted.faults["MTRA"]["mood"]


def with_stars(directory, change):
    """The labels of the regression in other units."""
    for path in directory.glob("stars*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        values = [{**line, "stars": change(line["stars"])} for line in lines]
        path.write_text("".join(f"{json.dumps(value)}\n" for value in values))


def test_predictions_of_another_model_in_small_units_have_no_interval(tmp_path, config):
    """Their errors differ by less than 1e-6."""
    with_stars(tmp_path / "data", lambda value: value * 1e-8)
    path = tmp_path / "data" / "tasks.toml"
    path.write_text(path.read_text().replace('["pearson", "rmse"]', '["rmse", "mae"]'))

    def near(task, labels, seed):
        is_stars = task.kind == "regression"
        return labels + (seed + 4) * 1e-8 if is_stars else noisy(task, labels, seed)

    runs = {name: tmp_path / name for name in ("EW", "MTRA")}
    for seed, directory in enumerate(runs.values()):
        finished(directory, config, seed, near)
    assert read(runs)[0].faults == {"EW": {}, "MTRA": {}}
    shutil.copy(runs["EW"] / "predictions/stars.txt", runs["MTRA"] / "predictions")
    assert [*read(runs)[0].faults["MTRA"]] == ["stars"]


def test_a_run_of_values_with_a_large_offset_has_intervals(tmp_path, config):
    """Its correlation, of almost equal predictions, depends on how sums are rounded."""
    with_stars(tmp_path / "data", lambda value: 1.7e9 + value % 3)

    def almost_equal(task, labels, seed):
        if task.kind != "regression":
            return noisy(task, labels, seed)
        return 1.7e9 + 1e-6 * np.random.default_rng(seed).normal(size=labels.shape)

    runs = {name: tmp_path / name for name in ("EW", "MTRA")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, of almost equal values
        for seed, directory in enumerate(runs.values()):
            finished(directory, config, seed, almost_equal)
    assert read(runs)[0].faults == {"EW": {}, "MTRA": {}}


@pytest.mark.parametrize(
    "fault", ["validation", "no file", "elsewhere", "hub", "prompted", "Python"]
)
def test_without_labels_the_table_has_a_line(
    runs, config, tmp_path, capsys, fault, monkeypatch
):
    flags = ["--split=validation"] if fault == "validation" else []
    expected = "the test set only"
    if fault == "no file":
        (tmp_path / "data" / "tasks.toml").unlink()
        expected = "/tasks.toml', which does not exist"
    elif fault in ("elsewhere", "Python"):
        config.data.tasks = "my/tasks.toml" if fault == "elsewhere" else ""
        layout.write_config(config, runs["EW"])
        monkeypatch.chdir(tmp_path)
        expected = {
            "elsewhere": "data.tasks is 'my/tasks.toml', relative to the directory in "
            "which the run was trained; run this command there",
            "Python": "the tasks were given in Python",
        }[fault]
    elif fault == "hub":
        path = tmp_path / "data" / "tasks.toml"
        path.write_text('[mood]\ndataset = "owner/mood"\nlabel = "mood"\n')
        expected = "owner/mood is on the hub"
    elif fault == "prompted":
        for path in runs.values():
            (path / "config.json").unlink()
        expected = "no row is a trained run"
    *_, last = show(capsys, runs, *flags).splitlines()
    assert last.startswith("no intervals: ")
    assert expected in last


def test_a_directory_of_data_that_is_elsewhere_is_named(runs, tmp_path):
    values = {"benchmark": "tweeteval", "tasks": ("irony",), "data.dir": "data/x"}
    layout.write_config(configs.make("mtra", values), runs["EW"])
    tasks_json.write(runs["EW"], TWEETEVAL.select(("irony",)))
    predicted, _ = read(runs)
    (line,) = set(predicted.faults["EW"].values())
    assert "data.dir is 'data/x', relative to the directory in which" in line


def test_one_run_is_compared_with_nothing(runs, capsys):
    assert "interval" not in show(capsys, {"EW": runs["EW"]})


def ends_of(own, base, labels, tasks, groups=None):
    """The intervals of one row; each task has other texts, unless `groups` are given."""
    groups = groups or [[task.name] for task in tasks]
    rows = {"base": base, "own": own}
    predicted = example_noise.Predicted(labels, rows, {}, groups)
    return example_noise.of_differences(predicted, tasks)["own"]


def equal_tasks(names, groups):
    """The intervals of tasks with the same labels and predictions."""
    tasks = [task_of(name, "classification") for name in names]
    wrong, labels = (np.arange(500) < 200).astype(int), np.zeros(500, int)
    parts = (dict.fromkeys(names, values) for values in (wrong, labels, labels))
    return ends_of(*parts, tasks, groups)


def test_tasks_of_other_texts_are_drawn_independently():
    """The interval of the mean of two equal tasks is narrower by the root of two."""
    widths = []
    for names in ("a", "ab"):
        ends = equal_tasks(names, [*names])
        low, high = ends["", "avg"]
        assert low < -40 < high
        widths.append(high - low)
    assert ends["a", "accuracy"] != ends["b", "accuracy"]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(2), rel=0.15)


def test_tasks_of_the_same_texts_are_drawn_jointly():
    """The mean of equal tasks is as uncertain as one of them."""
    ends = equal_tasks("abcd", ["abd", "c"])
    of = {name: ends[name, "accuracy"] for name in "abcd"}
    assert of["a"] == of["b"] == of["d"] != of["c"]
    ends = equal_tasks("abcd", ["abcd"])
    assert len(set(ends.values())) == 1
    assert ends["", "avg"].low < -40 < ends["", "avg"].high


def test_texts_tell_which_tasks_are_drawn_jointly(tmp_path, runs, capsys):
    """Pairs are other texts, and so are the same ones in another order."""
    groups = [*map(set, read(runs)[0].groups)]
    assert groups == [{"mood", "noun", "topics", "stars"}, {"agrees"}]
    assert "tasks of the same texts" in show(capsys, runs)
    path = tmp_path / "data" / "mood_test.csv"
    head, *lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([head, *reversed(lines)]))
    groups = [*map(set, read(runs)[0].groups)]
    assert groups == [{"mood"}, {"noun", "topics", "stars"}, {"agrees"}]


def test_resamples_that_take_long_are_announced():
    """Two rows of a task: 200,000 predictions of each take seconds."""
    for size, is_long in ((1000, False), (200_000, True)):
        own = {"a": np.zeros(size, int)}
        predicted = example_noise.Predicted(own, {"base": own, "own": own}, {}, ["a"])
        assert bool(example_noise.announcement(predicted)) == is_long


def test_equal_predictions_differ_by_nothing():
    task = task_of("a", "classification", "accuracy", "macro_f1")
    values = {"a": np.array([0, 1, 1, 0, 1])}
    labels = {"a": np.array([0, 1, 0, 0, 1])}
    ends = ends_of(values, values, labels, [task])
    assert set(ends.values()) == {(0.0, 0.0)}
    assert len(ends) == 3


def test_a_metric_of_probabilities_has_no_interval_and_errors_are_not_in_the_mean():
    auroc = task_of("a", "classification", "accuracy", "auroc")
    error = task_of("b", "regression", "mae")
    values = {"a": np.array([0, 1, 1, 0]), "b": np.zeros((4, 2))}
    labels = {"a": np.array([0, 1, 0, 0]), "b": np.ones((4, 2))}
    ends = ends_of(values, values, labels, [auroc, error])
    assert set(ends) == {("a", "accuracy"), ("b", "mae")}
    whole = task_of("a", "classification")
    ends = ends_of({"a": values["a"]}, values, labels, [whole, error])
    assert set(ends) == {("a", "accuracy"), ("", "avg")}
