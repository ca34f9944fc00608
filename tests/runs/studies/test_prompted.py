"""`mtra-jax prompt` on own tasks and a benchmark, with a server in this process."""

import collections
import json
import re
import shutil
from pathlib import Path

import numpy as np
import own_files
import pytest
from messages import assert_mentions
from scipy import stats
from served_model import chat, serving
from sklearn import metrics as oracle

from mtra_jax.commands import evaluate, prompt, report, table
from mtra_jax.errors import InputError
from mtra_jax.prompting import prompts
from mtra_jax.prompting.answers import Reply
from mtra_jax.reports.comparisons import comparison
from mtra_jax.reports.formatting import grids
from mtra_jax.reports.papers import experiment_tables, published
from mtra_jax.runs.studies import experiments, prompted, prompted_studies
from mtra_jax.runs.studies import run as study_runs
from mtra_jax.runs.sweeps import sweep
from mtra_jax.tasks import TWEETEVAL

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = range(64, 80)
"""The test examples of `own_files`."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def right(number, task):
    """The answer to a test example."""
    value = own_files.example(number)[task]
    if task == "topics":
        return ", ".join(value) or "none"
    return str(value)


def told(text, _=0):
    """Refuses one example in eight, answers one with garbage and one wrongly."""
    task = re.match(r"Task: (\w+)\.", text)[1]
    number = int(re.findall(r"number (\d+)", text)[-1])
    wrong = {"mood": "GOOD.", "noun": "room", "topics": "none", "agrees": "yes"}
    return {
        1: "I'm sorry, I can't do that.",
        2: "Well, who knows?",
        3: wrong.get(task, "41"),
    }.get(number % 8) or right(number, task)


def run(workdir, toml, served, *flags):
    prompt.main(
        [
            *("--endpoint", served.url, "--model", "toy", "--tasks", str(toml)),
            *("--workdir", str(workdir), "--concurrency", "2", *flags),
        ]
    )
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture
def toml(tmp_path):
    return own_files.write(tmp_path / "data")


@pytest.fixture
def served():
    with serving(lambda text, _: chat(told(text))) as own:
        yield own


def expected_labels(task, labels):
    """Right and predicted labels, as places in `labels`."""
    gold = [labels.index(right(n, task)) for n in NUMBERS]
    given = []
    for number, place in zip(NUMBERS, gold, strict=True):
        if number % 8 in (1, 2):
            given.append((place + 1) % len(labels))
        elif number % 8 == 3:
            own = {"mood": "good", "noun": "room", "agrees": "yes"}[task]
            given.append(labels.index(own))
        else:
            given.append(place)
    return gold, given


def test_the_figures_of_own_tasks_of_five_kinds_are_those_by_hand(
    tmp_path, toml, served, capsys
):
    results = run(tmp_path / "lm", toml, served, "--demonstrations=4")
    test = results["test"]
    for task, names in (("mood", ["bad", "good"]), ("agrees", ["no", "yes"])):
        gold, given = expected_labels(task, names)
        accuracy = 100 * oracle.accuracy_score(gold, given)
        assert test[task]["accuracy"] == pytest.approx(accuracy)
    gold, given = expected_labels("mood", ["bad", "good"])
    f1 = 100 * oracle.f1_score(gold, given, average="macro")
    assert test["mood"]["macro_f1"] == pytest.approx(f1)
    gold, given = expected_labels("noun", sorted(own_files.NOUNS))
    f1 = 100 * oracle.f1_score(gold, given, average="macro")
    assert test["noun"]["macro_f1"] == pytest.approx(f1)
    names = ["food", "praise", "room", "staff"]
    gold = np.array(
        [[n in own_files.example(k)["topics"] for n in names] for k in NUMBERS]
    )
    given = gold.copy()
    for place, number in enumerate(NUMBERS):
        if number % 8 in (1, 2):
            given[place] = not gold[place].any()
        elif number % 8 == 3:
            given[place] = False
    f1 = 100 * oracle.f1_score(gold, given, average="micro")
    assert test["topics"]["micro_f1"] == pytest.approx(f1)
    mean = np.mean([own_files.example(n)["stars"] for n in range(48)])
    gold = [own_files.example(n)["stars"] for n in NUMBERS]
    given = [
        {1: mean, 2: mean, 3: 41}.get(n % 8, own)
        for n, own in zip(NUMBERS, gold, strict=True)
    ]
    assert test["stars"]["rmse"] == pytest.approx(
        oracle.root_mean_squared_error(gold, given)
    )
    pearson = 100 * stats.pearsonr(gold, given).statistic
    assert test["stars"]["pearson"] == pytest.approx(pearson)
    counts = {"read": 12, "refused": 2, "unparsable": 2}
    assert results["answers"] == dict.fromkeys(own_files.TASKS, counts)
    assert len(served.requests) == 5 * 16
    output = capsys.readouterr().out
    assert "toy 4 demonstrations" in output
    assert "10 refused, 10 unparsable of 80" in output


def test_the_files_are_those_of_a_run_that_other_commands_read(
    tmp_path, toml, served, capsys
):
    results = run(tmp_path / "lm", toml, served)
    capsys.readouterr()
    table.main([f"lm={tmp_path / 'lm'}", f"again={tmp_path / 'lm'}"])
    rows = capsys.readouterr().out.splitlines()
    assert any(line.startswith("lm ") for line in rows)
    assert f"{results['test']['mood']['accuracy']:.2f}" in rows[2]
    assert "lm 10 refused, 10 unparsable of 80" in "\n".join(rows)
    evaluate.main(
        ["--predictions", str(tmp_path / "lm/predictions"), f"--tasks={toml}"]
    )
    assert json.loads(capsys.readouterr().out) == results["test"]
    table.main([f"lm={tmp_path / 'lm'}", "--split=validation"])
    shutil.copytree(tmp_path / "lm", tmp_path / "fewer")
    path = tmp_path / "fewer/results.json"
    stored = json.loads(path.read_text())
    stored["examples"]["mood"]["test"] -= 1
    path.write_text(json.dumps(stored))
    capsys.readouterr()
    table.main([f"lm={tmp_path / 'lm'}", f"fewer={tmp_path / 'fewer'}"])
    number = results["examples"]["mood"]["test"]
    expected = f"differ: mood {number} (lm), {number - 1} (fewer)"
    assert expected in capsys.readouterr().out


def test_what_is_stored_is_not_asked_again(tmp_path, toml, served):
    first = run(tmp_path / "lm", toml, served)
    assert len(served.requests) == 80
    before = (tmp_path / "lm/answers.jsonl").read_bytes()
    again = run(tmp_path / "lm", toml, served)
    del first["scoring_seconds"], again["scoring_seconds"]
    assert again == first
    assert len(served.requests) == 80
    assert (tmp_path / "lm/answers.jsonl").read_bytes() == before
    for flags, key in (
        (["--demonstrations=1"], "demonstrations"),
        (["--max_tokens=5"], "settings"),
        (["--seed=1"], "seed"),
        (["--limit=3"], "data"),
    ):
        with pytest.raises(InputError) as error:
            run(tmp_path / "lm", toml, served, *flags)
        assert_mentions(error.value, tmp_path / "lm/prompt.json", key)
    assert len(served.requests) == 80


def test_an_interrupted_run_continues_and_ends_as_an_undisturbed_one(tmp_path, toml):
    number = collections.Counter()

    def answer(text, _):
        number["all"] += 1
        return (401, {}, "") if number["all"] == 30 else chat(told(text))

    with serving(answer) as own:
        with pytest.raises(InputError, match="401"):
            run(tmp_path / "lm", toml, own)
        assert not (tmp_path / "lm/results.json").exists()
        stored = len((tmp_path / "lm/answers.jsonl").read_text().splitlines())
        assert stored >= 29
        results = run(tmp_path / "lm", toml, own)
        asked = collections.Counter(own.prompts)
        # The refused request is repeated, and nothing that was answered.
        assert sorted(asked.values())[-2:] == [1, 2]
        undisturbed = run(tmp_path / "other", toml, own)
    assert results["test"] == undisturbed["test"]


def test_a_dry_run_counts_and_asks_nothing(tmp_path, toml, served, capsys):
    run_flags = ("--limit=2", "--demonstrations=2")
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "lm", toml, served, *run_flags, "--dry_run")
    output = capsys.readouterr().out
    assert re.search(r"^mood +2 +\d+ +2$", output, re.MULTILINE)
    assert output.count("Answer: ") == 2
    assert not (tmp_path / "lm").exists()
    assert not served.requests


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ([], ["--model"]),
        (["--model=x"], ["x", "no such directory"]),
        (["--model=x", "--endpoint=h"], ["--endpoint h"]),
        (
            ["--model=x", "--endpoint=http://h", "--key_env=NO_KEY"],
            ["--key_env NO_KEY"],
        ),
        (["--model=x", "--key_env=PATH"], ["--key_env PATH", "--endpoint"]),
        (["--model=x", "--endpoint=http://h", "--max_tokens=0"], ["--max_tokens 0"]),
        (["--model=x", "--seed=-1"], ["--seed -1"]),
        (["--model=x", "--data_dir=d"], ["--data_dir d", "--tasks"]),
    ],
)
def test_wrong_flags_are_one_line(tmp_path, toml, flags, parts):
    arguments = [f"--tasks={toml}", f"--workdir={tmp_path / 'lm'}", *flags]
    with pytest.raises(InputError) as error:
        prompt.main(arguments)
    assert_mentions(error.value, *parts)
    with pytest.raises(InputError, match="--benchmark NAME or --tasks"):
        prompt.main([f"--workdir={tmp_path / 'lm'}"])


def test_the_directory_of_a_trained_run_is_refused(tmp_path, toml, served):
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm/config.json").write_text("{}")
    with pytest.raises(InputError, match="a trained run"):
        run(tmp_path / "lm", toml, served)


# ---- tables of several runs


class Sure:
    """A model that always answers "irony" or 0.5, and refuses one text."""

    name, settings = "sure", {"model": "sure"}

    def __init__(self):
        self.num_asked = 0

    def replies(self, prompts):
        for place, turns in enumerate(prompts):
            self.num_asked += 1
            is_number = "Task: Intensity" in turns[0]
            reply = "0.5" if is_number else "ironic"
            yield place, Reply("I'm sorry" if self.num_asked == 1 else reply)


def smoke():
    return experiments.make(experiments.load(), "paradigms", "smoke", seeds=(0, 1))


def trained_lines(directory, test):
    """`results.jsonl` of EW, under both seeds."""
    figures = {
        "irony": {"macro_f1": 40.0},
        "intensity": {"pearson": 20.0, "spearman": 30.0},
    }
    summary = {**figures, "avg": 32.5}
    lines = [
        {
            "name": "ew",
            "seed": seed,
            "baseline": "ew",
            "preset": "tiny_synthetic",
            "overrides": {},
            "results": {
                "validation": summary,
                "test": summary,
                "examples": {task: {"test": test} for task in figures},
            },
        }
        for seed in (0, 1)
    ]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / sweep.RESULTS).write_text(
        "".join(f"{json.dumps(line)}\n" for line in lines)
    )


def test_the_table_of_paradigms_has_the_rows_of_a_language_model(tmp_path):
    trained_lines(tmp_path, 128)
    study, model = smoke(), Sure()
    said = []
    prompted_studies.run_all(study, model, tmp_path, (), "command", said.append)
    # 128 test texts of two tasks; demonstrations of two seeds make different prompts.
    assert model.num_asked == 3 * 256
    assert said == [
        "sure zero-shot, seed 0",
        "sure 4 demonstrations, seed 0",
        "sure 4 demonstrations, seed 1",
    ]
    prompted_studies.run_all(study, model, tmp_path, (), "command", said.append)
    assert model.num_asked == 3 * 256
    (grid,) = study_runs.make_grids(study, tmp_path, ()).values()
    heads = [f"{c.title} {c.name}".strip() for c in grid.columns]
    rows = {line.name: dict(zip(heads, line.cells, strict=True)) for line in grid.lines}
    own = json.loads((tmp_path / "sure-zero-shot/seed0/results.json").read_text())
    zero = rows["sure zero-shot"]
    assert zero["Irony M-F1"].mean == own["test"]["irony"]["macro_f1"]
    assert zero["Intensity Pear"].mean == 0  # of a constant
    assert zero["replies unread %"].mean == pytest.approx(100 / 256)
    assert rows["sure 4 demonstrations"]["replies unread %"] == (0.0, 0.0)
    assert rows["ew"]["replies unread %"] == grids.EMPTY
    assert zero["against"] == "ew"
    assert any("zero-shot 1 refused, 0 unparsable of 256" in n for n in grid.notes)
    text = grids.text(grid)
    assert "unread %" in text
    other = experiments.make(experiments.load(), "fine_grained", "smoke", seeds=(0, 1))
    (grid,) = study_runs.make_grids(other, tmp_path, ()).values()
    assert not any(line.name.startswith("sure") for line in grid.lines)
    with pytest.raises(InputError, match="fine_grained has no rows of language models"):
        prompted_studies.check(other)


def test_a_run_becomes_a_row_of_a_sweep(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TOY_KEY", "secret")
    trained_lines(tmp_path / "sweep", 20)
    flags = [
        *("--benchmark=synthetic", "--tasks=irony,intensity", "--model=toy"),
        "--key_env=TOY_KEY",
        *(f"--workdir={tmp_path / 'lm'}", f"--sweep={tmp_path / 'sweep'}"),
    ]
    with serving(lambda text, _: chat("0.5" if "Intensity" in text else "?")) as own:
        with pytest.raises(InputError, match="20 test examples of irony; 10 here"):
            prompt.main([*flags, f"--endpoint={own.url}", "--limit=10"])
        assert not own.requests
        for _ in range(2):
            prompt.main([*flags, f"--endpoint={own.url}", "--limit=20"])
    assert own.requests[0][0]["Authorization"] == "Bearer secret"
    entries = sweep.read(tmp_path / "sweep")
    assert "secret" not in (tmp_path / "sweep" / sweep.RESULTS).read_text()
    assert [(e.name, e.seed) for e in entries] == [
        ("ew", 0),
        ("ew", 1),
        ("toy zero-shot", 0),
    ]
    assert entries[-1].values["command"].startswith("python scripts/prompt.py ") or (
        entries[-1].values["command"].startswith("mtra-jax prompt ")
    )
    capsys.readouterr()
    for form in ("text", "markdown", "latex", "csv"):
        report.main([str(tmp_path / "sweep"), f"--format={form}"])
        output = capsys.readouterr().out
        assert ("50.0" if form == "csv" else "50.00") in output
        assert form == "csv" or "0 refused, 20 unparsable of 40" in output


def test_damaged_numbers_of_replies_are_named(tmp_path):
    trained_lines(tmp_path, 20)
    path = tmp_path / sweep.RESULTS
    first, second = map(json.loads, path.read_text().splitlines())
    for damaged in ({"irony": {"read": 1}}, {"irony": 3}, [], {"irony": {}}):
        second["results"]["answers"] = damaged
        path.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
        with pytest.raises(InputError) as error:
            sweep.read(tmp_path)
        assert_mentions(error.value, f"{path}:2", "damaged")


def test_the_rows_of_the_papers_language_models_are_quoted():
    printed = published.rows_of("paradigms", "roberta", "tweeteval")
    scores = {task.name: dict.fromkeys(task.metrics, 50.0) for task in TWEETEVAL.tasks}
    results = {"test": {**scores, "avg": 50.0}}
    entries = [comparison.Entry("ew", 0, TWEETEVAL.tasks, results, {})]
    compared = comparison.compare(entries)
    rows = [("ew", "ew")]
    grid = experiment_tables.of_scores("t", rows, compared, printed, shows_tasks=True)
    lines = {line.name: line.cells for line in grid.lines}
    figures = [cell.mean for cell in lines["Qwen-2.5 4 demonstrations (paper)"][:7]]
    assert figures == [63.61, None, 65.80, None, 52.39, None, None]
    assert lines["GPT-3.5 zero-shot (paper)"][6].mean == 55.32
    assert prompted.row_name("GPT-3.5", prompted.Choice(0)) == "GPT-3.5 zero-shot"


def test_the_page_shows_the_template():
    shots = [prompts.Demonstration("so good to see you", "", 1)]
    question = prompts.Question(TWEETEVAL.tasks[0], prompts.ABOUT["emotion"])
    text = prompts.text_of(prompts.prompt(question, shots, "never again"))
    page = (ROOT / "scripts/experiments.md").read_text(encoding="utf-8")
    assert f"```text\n{text}\n```" in page
