"""Sweeps: trials and their configurations, the jobs that are trained, both scripts."""

import csv
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import xla_flags
from messages import assert_mentions

from mtra_jax import config as configs
from mtra_jax import metrics
from mtra_jax.commands import verbs
from mtra_jax.data.built_in import sources
from mtra_jax.data.own_tasks import task_file
from mtra_jax.data.splits import fingerprints, targets
from mtra_jax.errors import InputError
from mtra_jax.methods import registry
from mtra_jax.reports.formatting import times
from mtra_jax.runs.directory import conditions, inputs_json, locks, tasks_json
from mtra_jax.runs.studies import listing as study_listing
from mtra_jax.runs.sweeps import estimates, sweep
from mtra_jax.runs.training import display, loop
from mtra_jax.runs.training import run as training
from mtra_jax.runs.trials import run_specs
from mtra_jax.tasks import SYNTHETIC

ROOT = Path(__file__).resolve().parents[3]
SWEEPS = ROOT / "configs" / "sweep.py"
BENCHMARK = SYNTHETIC.select(["irony", "intensity"])
TASKS = BENCHMARK.tasks
SMALL = [("tasks", "irony,intensity")]


def answer(call, *arguments, **options):
    """The InputError of a call, one line."""
    with pytest.raises(InputError) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- data


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ew", "ew/seed3"),
        ("mt_vib", "mt_vib/seed3"),
        ("mtra w/o TA", "mtra-w-o-ta/seed3"),
        ("../../etc", "etc/seed3"),
        ("/abs", "abs/seed3"),
        ("β = 0.5", "0-5/seed3"),
    ],
)
def test_the_directory_of_a_run_is_safe(name, expected):
    assert run_specs.Trial(name, "mtra", "new_synthetic", 3).directory == expected


def test_a_grid_has_every_method_with_every_seed():
    change = (("epochs", "1"),)
    assert run_specs.grid(["ew", "mtra"], "new_synthetic", (4, 7), change) == (
        ("ew", "ew", "new_synthetic", 4, change, ""),
        ("ew", "ew", "new_synthetic", 7, change, ""),
        ("mtra", "mtra", "new_synthetic", 4, change, ""),
        ("mtra", "mtra", "new_synthetic", 7, change, ""),
    )


def test_variants_are_one_method_under_several_changes():
    half = (("method.beta", "0.5"),)
    change = (("epochs", "1"),)
    assert run_specs.variants(
        "mtra", {"mtra": (), "half": half}, "new_synthetic", (4,), change
    ) == (
        ("mtra", "mtra", "new_synthetic", 4, change, ""),
        ("half", "mtra", "new_synthetic", 4, change + half, ""),
    )


def test_the_users_values_override_those_of_the_trial():
    run = run_specs.Trial(
        "x", "mtra", "new_synthetic", 5, (("epochs", "2"), ("method.beta", "0.5"))
    )
    config = run_specs.config_of(run, [("epochs", "3"), ("data.fraction", "0.1")])
    expected = configs.preset("new_synthetic", "mtra")
    expected.epochs, expected.seed = 3, 5
    expected.method.beta, expected.data.fraction = 0.5, 0.1
    assert config == expected


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            [("seed", "1")],
            "--config.seed: set by the sweep; expected --seeds of `sweep` or `experiment`",
        ),
        (
            [("method.name", "ew")],
            "--config.method.name: set by the sweep; expected another key",
        ),
        ([("epoch", "1")], "x: unknown key --config.epoch; did you mean epochs?"),
        ([("epochs", "0")], "x: epochs is 0; expected at least 1"),
    ],
)
def test_wrong_values_are_refused_and_name_the_trial(overrides, expected):
    run = run_specs.Trial("x", "ew", "new_synthetic", 0)
    assert answer(run_specs.config_of, run, overrides) == expected


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (
            [("mtra w/o TA", 0), ("MTRA w/o ta", 0)],
            "s: 'mtra w/o TA' and 'MTRA w/o ta', seed 0, both in mtra-w-o-ta/seed0; "
            "expected names and seeds that differ",
        ),
        (
            [("tw", 0), ("tw", 0)],
            "s: 'tw' and 'tw', seed 0, both in tw/seed0; "
            "expected names and seeds that differ",
        ),
        ([("β", 0)], "s: name 'β'; expected a letter or digit"),
    ],
    ids=["same slug", "same run", "no slug"],
)
def test_trials_that_would_share_a_directory_are_refused(runs, expected):
    made = [run_specs.Trial(n, "ew", "new_synthetic", s) for n, s in [("ew", 0), *runs]]
    assert answer(run_specs.check, run_specs.Sweep(tuple(made)), "s") == expected


def test_a_sweep_needs_its_baseline():
    runs = run_specs.grid(["mtra"], "new_synthetic", (0,))
    expected = "s: no run of the baseline 'ew'; known: mtra"
    assert answer(run_specs.check, run_specs.Sweep(runs), "s") == expected
    run_specs.check(run_specs.Sweep(runs, baseline="mtra"), "s")
    own = run_specs.grid(["uw"], "new_synthetic", (0, 1), baselines={"uw": "ew x"})
    expected = "s: no run of the baseline 'ew x'; known: mtra, uw"
    both = run_specs.Sweep((*runs, *own), baseline="mtra")
    assert answer(run_specs.check, both, "s") == expected
    mixed = (*runs, own[0]._replace(baseline=""), own[1]._replace(baseline="uw"))
    assert answer(run_specs.check, run_specs.Sweep(mixed, "mtra"), "s") == (
        "s: 'uw' has the baselines 'mtra' and 'uw'; expected one for all seeds"
    )


def test_invalid_sweep_files_are_refused(tmp_path):
    message = answer(run_specs.load, "no/such.py:x")
    assert message == "no/such.py: no such configuration file"
    text = tmp_path / "values.txt"
    text.write_text("epochs: 3\n")
    assert answer(run_specs.load, f"{text}:x") == f"{text}: not a Python file"
    presets = ROOT / "configs" / "mtra.py"
    message = answer(run_specs.load, f"{presets}:new_synthetic")
    assert message == f"{presets}: no function get_sweep; see configs/sweep.py"
    message = answer(run_specs.load, f"{SWEEPS}:synthetik")
    assert message.startswith("unknown sweep 'synthetik'; did you mean synthetic")


@pytest.mark.parametrize(
    ("name", "preset", "seeds"),
    [
        ("synthetic", "tiny_synthetic", [0, 1, 2, 3, 4]),
        ("roberta_tweeteval", "roberta_tweeteval", [0, 1, 2]),
        ("bert_affecteval", "bert_affecteval", [0, 1, 2]),
        ("minilm_affecteval", "minilm_affecteval", [0, 1, 2]),
        ("minilm_tweeteval_small", "minilm_tweeteval", [0]),
    ],
)
def test_the_sweeps_hold_the_papers_methods_and_begin_with_ew(name, preset, seeds):
    chosen = run_specs.load(f"{SWEEPS}:{name}")
    assert chosen.baseline == chosen.trials[0].name == "ew"
    special = {
        "ew joint": (("sampling", "joint"),),
        "ew sum": (("method.reduction", "sum"),),
    }
    rows = [("ew", row) for row in special]
    rows += [(method, method) for method in registry.of_papers()]
    assert {(r.method, r.name, r.preset, r.seed) for r in chosen.trials} == {
        (*row, preset, seed) for row in rows for seed in seeds
    }
    assert len(chosen.trials) == len(rows) * len(seeds)
    if name != "minilm_tweeteval_small":
        for run in chosen.trials:
            assert run.overrides == special.get(run.name, ())


def test_the_other_balancers_have_sweeps_with_ew_under_their_sampling():
    for name, seeds in (
        ("balancers_synthetic", (0, 1)),
        ("balancers_minilm_tweeteval_small", (0,)),
    ):
        chosen = run_specs.load(f"{SWEEPS}:{name}")
        others = registry.METHODS.keys() - registry.of_papers()
        rows = {("ew", "ew joint"), *((method, method) for method in others)}
        expected = [(*row, seed) for row in rows for seed in seeds]
        actual = [(run.method, run.name, run.seed) for run in chosen.trials]
        assert sorted(actual) == sorted(expected)
        assert chosen.baseline == "ew joint" == chosen.trials[0].name
        for run in chosen.trials:
            assert run_specs.config_of(run).sampling == "joint"
            assert chosen.baseline_of(run) == "ew joint"


def test_each_method_is_compared_with_the_ew_of_the_same_sampling():
    chosen = run_specs.load(f"{SWEEPS}:synthetic")
    sampling = {"ew": "per_task", "ew joint": "joint"}
    own = {run.name: chosen.baseline_of(run) for run in chosen.trials}
    for run in chosen.trials:
        assert run_specs.config_of(run).sampling == sampling[own[run.name]]
    assert own["ew joint"] == own["uw"] == own["pcgrad"] == "ew joint"
    assert own["ew"] == own["mtra"] == own["si"] == own["stl"] == "ew"


def test_ablations_switch_off_the_parts_in_their_names():
    chosen = run_specs.load(f"{SWEEPS}:ablations_synthetic")
    parts = ("task_alignment", "self_alignment", "logarithm")
    switched = {}
    for run in chosen.trials:
        method = run_specs.config_of(run).method
        assert method.name == ("ew" if run.name == "ew" else "mtra")
        switched[run.name] = tuple(method.get(part) for part in parts)
    assert switched == {
        "ew": (None, None, None),
        "mtra": (True, True, True),
        "mtra w/o TA": (False, True, True),
        "mtra w/o SA": (True, False, True),
        "mtra w/o SI": (True, True, False),
        "mtra w/o all": (False, False, False),
    }
    assert sorted(run.seed for run in chosen.trials) == [0] * 6 + [1] * 6


def test_the_small_sweep_is_minilm_on_a_fifth_of_two_tasks():
    chosen = run_specs.load(f"{SWEEPS}:minilm_tweeteval_small")
    for run in chosen.trials:
        config = run_specs.config_of(run)
        assert config.tasks == ("emotion", "irony")
        assert (config.data.fraction, config.data.max_shapes) == (0.2, 3)
        assert (config.epochs, config.batch_size, config.learning_rate) == (2, 64, 5e-4)
        assert config.backbone.path == "sentence-transformers/all-MiniLM-L6-v2"


# ---- what is trained, with a training that takes no time

THREE = run_specs.Sweep(run_specs.grid(["ew", "tw", "mtra"], "new_synthetic", (0, 1)))


def results_of(config):
    level = {"ew": 50.0, "tw": 40.0, "mtra": 60.0}[config.method.name] + config.seed

    def summary(level):
        scores = {
            "irony": {"macro_f1": level},
            "intensity": {"pearson": level + 2, "spearman": level + 4},
        }
        return metrics.summarize(scores, TASKS)

    return {"validation": summary(level + 9), "test": summary(level)}


DATA = {
    "irony": {"train": sources.Examples(["so"], np.array([1], np.int32))},
    "intensity": {"train": sources.Examples(["so"], np.ones((1, 1), np.float32))},
}
RESOLVED = targets.resolved(
    BENCHMARK,
    {name: parts["train"] for name, parts in DATA.items()},
    standardize=False,
    class_weights="none",
    label_smoothing=0.0,
)


train_itself = training.train


class Trainer:
    """A stand-in for `training.train`: writes its files, or fails for chosen trials."""

    def __init__(self):
        self.trained = []
        self.broken = set()

    def train(self, config, workdir, watch_of):
        name = (config.method.name, config.seed)
        self.trained.append(name)
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json").write_text(json.dumps(configs.to_dict(config)))
        (workdir / "environment.json").write_text('{"python": "3.11"}')
        encoder = dict.fromkeys(("tokenizer", "configuration", "weights"), "0" * 64)
        inputs_json.write(
            workdir, inputs_json.Fingerprints(fingerprints.of_splits(DATA), encoder)
        )
        tasks_json.write(workdir, RESOLVED)
        if name in self.broken:
            raise loop.TrainingError("step 7 on irony: not finite: loss/irony")
        (workdir / "results.json").write_text(json.dumps(results_of(config)))


@pytest.fixture
def trainer(monkeypatch):
    trainer = Trainer()
    monkeypatch.setattr(sweep.training, "train", trainer.train)
    data = task_file.Data(BENCHMARK, DATA)
    monkeypatch.setattr(training.inputs, "load_data", lambda _: data)
    return trainer


def run_all(workdir, of=THREE, overrides=SMALL, command="the command"):
    """The lines of the sweep, and the jobs that failed."""
    lines = []
    failed = sweep.run_all(
        sweep.make_plan(of, workdir, overrides, command), lines.append
    )
    return lines, failed


def lines_of(workdir):
    text = (workdir / "results.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_only_the_requested_rows_are_trained(tmp_path, trainer):
    run_all(tmp_path)
    (tmp_path / "mtra/seed0/results.json").unlink()
    (tmp_path / "tw/seed0/results.json").unlink()
    trainer.trained.clear()
    plan = sweep.make_plan(THREE, tmp_path, SMALL, "another", only=["mtra"])
    assert [job.trial.name for job in plan.jobs] == ["mtra", "mtra"]
    sweep.run_all(plan, print)
    assert trainer.trained == [("mtra", 0)]
    names = [(line["name"], line["seed"]) for line in lines_of(tmp_path)]
    assert names == [(m, s) for m in ("ew", "tw", "mtra") for s in (0, 1)]


def test_a_row_that_is_not_in_the_sweep_is_refused(tmp_path):
    with pytest.raises(InputError, match="--only mtr: did you mean mtra"):
        sweep.make_plan(THREE, tmp_path, SMALL, only=["mtr"])


def test_a_method_without_a_row_is_refused_with_the_rows(tmp_path):
    message = answer(sweep.make_plan, THREE, tmp_path, SMALL, only=["uw"])
    assert message.startswith("--only uw: ")
    assert_mentions(message, "expected one of ew, mtra, tw", "--config FILE:NAME")


@pytest.mark.parametrize("name", ["own", "synthetic", "roberta_affecteval"])
def test_every_method_can_be_a_row_of_a_sweep_of_all_methods(name):
    whole = run_specs.load(f"configs/sweep.py:{name}")
    rows = {trial.name for trial in whole.trials}
    methods = {"cagrad", "samo"}
    assert rows.isdisjoint(methods)
    assert rows | {trial.name for trial in whole.optional} >= set(registry.METHODS)
    more = run_specs.with_optional(whole, ["ew", *methods])
    assert {trial.name for trial in more.trials} == rows | methods
    seeds = {
        row: [trial.seed for trial in more.trials if trial.name == row]
        for row in ("ew", "cagrad", "samo")
    }
    assert seeds["cagrad"] == seeds["samo"] == seeds["ew"]
    baselines = {more.baseline_of(x) for x in more.trials if x.name in methods}
    assert baselines == {"ew joint"}


@pytest.mark.parametrize("only", ["", ",", " , "])
def test_no_rows_are_not_all_rows(only, tmp_path, sweep_file):
    """The value of a variable that a shell does not have."""
    flags = [f"--config={sweep_file}:ew", f"--workdir={tmp_path / 'w'}"]
    message = answer(script("sweep"), [*flags, f"--only={only}"])
    assert message.startswith(f"--only {only!r}: ")


def test_rows_without_their_baseline_are_named_before_they_train(tmp_path, trainer):
    trials = (
        *run_specs.grid(["ew", "mtra"], "new_synthetic", (0,)),
        *run_specs.grid(["uw", "dwa"], "new_synthetic", (0,), (), {"uw": "ew joint"}),
        *run_specs.variants("ew", {"ew joint": ()}, "new_synthetic", (0,)),
    )
    own = run_specs.Sweep(trials, baseline="ew")

    def lacking(*only):
        plan = sweep.make_plan(own, tmp_path, SMALL, only=only)
        return re.findall(
            r"(?:of|;) ([a-z, ]+) against (ew joint|ew)", plan.without_baseline()
        )

    assert lacking() == lacking("uw", "ew joint", "ew") == lacking("ew", "mtra") == []
    assert lacking("mtra", "uw", "dwa") == [
        ("mtra, dwa", "ew"),
        ("uw", "ew joint"),
    ]
    # A baseline that was trained before.
    sweep.run_all(sweep.make_plan(own, tmp_path, SMALL, only=["ew"]), [].append)
    assert lacking("mtra", "uw") == [("uw", "ew joint")]


def test_trials_run_by_seed_and_their_lines_have_the_order_of_the_table(
    tmp_path, trainer
):
    lines, failed = run_all(tmp_path)
    assert trainer.trained == [(m, s) for s in (0, 1) for m in ("ew", "tw", "mtra")]
    assert not failed
    assert [(line["name"], line["seed"]) for line in lines_of(tmp_path)] == [
        (m, s) for m in ("ew", "tw", "mtra") for s in (0, 1)
    ]
    # Avg.: irony at the level, intensity three above it.
    assert [re.sub(r"\d+ s$", "N s", line) for line in lines[:4]] == [
        "[1/6] ew, seed 0: starts",
        "[1/6] ew, seed 0: Avg. 51.50, N s",
        "[2/6] tw, seed 0: starts",
        "[2/6] tw, seed 0: Avg. 41.50, N s",
    ]


def test_a_run_whose_directory_cannot_be_read_fails_alone(
    tmp_path, trainer, monkeypatch
):
    """The file has the name of a row."""
    (tmp_path / "tw").touch()

    def train(config, directory, *others):
        is_file = directory.parent.is_file()
        chosen = train_itself if is_file else trainer.train
        return chosen(config, directory, *others)

    monkeypatch.setattr(sweep.training, "train", train)
    lines, failed = run_all(tmp_path)
    assert [job.trial.name for job in failed] == ["tw", "tw"]
    assert [line for line in lines if "Not a directory" in line] == [
        f"[{number}/6] tw, seed {seed}: failed: {tmp_path}/tw/seed{seed}/results.json: "
        "Not a directory"
        for seed, number in enumerate((2, 5))
    ]
    names = [(line["name"], line["seed"]) for line in lines_of(tmp_path)]
    assert names == [(m, s) for m in ("ew", "mtra") for s in (0, 1)]


def test_a_line_holds_method_seed_overrides_environment_and_results(tmp_path, trainer):
    change = (("method.beta", "0.5"), ("epochs", "2"))
    of = run_specs.Sweep(
        (
            *run_specs.grid(["ew"], "new_synthetic", (0,)),
            *run_specs.variants("mtra", {"mtra, half": change}, "new_synthetic", (3,)),
        )
    )
    before = datetime.now(UTC).replace(microsecond=0)
    run_all(tmp_path, of, [*SMALL, ("epochs", "4")])
    _, line = lines_of(tmp_path)
    date = datetime.fromisoformat(line.pop("date"))
    assert date.utcoffset().total_seconds() == 0
    assert before <= date <= datetime.now(UTC)
    directory = tmp_path / "mtra-half" / "seed3"
    own = conditions.settings(directory, line["results"])
    assert line.pop("settings") == own
    assert line == {
        "name": "mtra, half",
        "method": "mtra",
        "seed": 3,
        "baseline": "ew",
        "preset": "new_synthetic",
        "overrides": {
            "method.beta": "0.5",
            "epochs": "4",
            "tasks": "irony,intensity",
        },
        "command": "the command",
        "environment": {"python": "3.11"},
        "results": json.loads((directory / "results.json").read_text()),
    }
    assert json.loads((directory / "config.json").read_text())["epochs"] == 4


def test_a_line_tells_other_examples_of_the_same_number_apart(
    tmp_path, trainer, monkeypatch, capsys
):
    one = run_specs.Sweep(run_specs.grid(["ew", "tw"], "new_synthetic", (0,)))
    for name, text in (("a", "so"), ("b", "no"), ("c", "no")):
        part = sources.Examples([text], np.array([1], np.int32))
        monkeypatch.setitem(DATA["irony"], "test", part)
        seed = "abc".index(name)
        run_all(tmp_path / name, run_specs.with_seeds(one, [seed]))
    lines = {name: lines_of(tmp_path / name)[0] for name in "abc"}
    contents = {name: line["contents"] for name, line in lines.items()}
    assert contents["a"].keys() == {"test"}
    assert contents["a"] != contents["b"] == contents["c"]
    script("report")([str(tmp_path / name) for name in "abc"])
    assert "other test examples: irony (ew seed 0, ew seed 1)" in (
        capsys.readouterr().out
    )
    script("report")([str(tmp_path / name) for name in "bc"])
    assert "not comparable" not in capsys.readouterr().out


def test_rows_of_sweeps_with_other_presets_are_not_compared_silently(
    tmp_path, trainer, capsys
):
    """The presets' own epochs differ, and neither command sets them."""
    for method, preset in (("ew", "new_synthetic"), ("tw", "tiny_synthetic")):
        run_all(
            tmp_path / method, run_specs.Sweep(run_specs.grid([method], preset, (0,)))
        )
    epochs = [
        lines_of(tmp_path / name)[0]["settings"]["epochs"] for name in ("ew", "tw")
    ]
    assert epochs[0] != epochs[1]
    script("report")([str(tmp_path / name) for name in ("ew", "tw")])
    start = "trained under other conditions than ew: tw ("
    (note,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith(start))
    assert f"epochs {epochs[1]}, ew's {epochs[0]}" in note


def test_other_seeds_of_a_row_need_the_same_configuration(tmp_path, trainer):
    one = run_specs.Sweep(run_specs.grid(["ew"], "new_synthetic", (0,)))
    run_all(tmp_path, one, [*SMALL, ("epochs", "2")])
    more = run_specs.with_seeds(one, [1])
    with pytest.raises(InputError) as error:
        sweep.make_plan(more, tmp_path, [*SMALL, ("epochs", "3")])
    assert_mentions(error.value, tmp_path / "ew" / "seed0", "epochs", 2, 3)
    # Other rows may differ, and paths may move.
    tw = run_specs.Sweep(run_specs.grid(["tw"], "new_synthetic", (1,)), baseline="tw")
    sweep.make_plan(tw, tmp_path, [*SMALL, ("epochs", "3")])
    sweep.make_plan(more, tmp_path, [*SMALL, ("epochs", "2"), ("data.dir", "x")])


def test_a_sweep_whose_seeds_differ_continues(tmp_path, trainer):
    trials = (
        *run_specs.grid(["ew"], "new_synthetic", (0,), {"epochs": 1}),
        *run_specs.grid(["ew"], "new_synthetic", (1,), {"epochs": 2}),
    )
    run_all(tmp_path, run_specs.Sweep(trials))
    plan = sweep.make_plan(run_specs.Sweep(trials), tmp_path, SMALL)
    assert plan.count("finished") == 2


def test_a_line_has_the_baseline_of_its_row(tmp_path, trainer, capsys):
    trials = (*THREE.trials[:4], *(t._replace(baseline="tw") for t in THREE.trials[4:]))
    of = run_specs.Sweep(trials)
    run_all(tmp_path, of)
    expected = ["ew", "ew", "ew", "ew", "tw", "tw"]
    assert [line["baseline"] for line in lines_of(tmp_path)] == expected
    script("report")([str(tmp_path)])
    table = capsys.readouterr().out.split("\n")
    assert [cells.split()[0] for cells in table[2:5]] == ["ew", "tw", "mtra"]
    assert [cells.split()[-3] for cells in table[2:5]] == ["ew", "ew", "tw"]
    before = (tmp_path / "results.jsonl").read_bytes()
    run_all(tmp_path, of)
    assert (tmp_path / "results.jsonl").read_bytes() == before
    run_all(tmp_path)  # the same trials, all against EW
    assert [line["baseline"] for line in lines_of(tmp_path)] == ["ew"] * 6


def test_a_finished_sweep_trains_nothing(tmp_path, trainer):
    run_all(tmp_path)
    before = (tmp_path / "results.jsonl").read_bytes()
    trainer.trained.clear()
    lines, _ = run_all(tmp_path, command="another command")
    assert not trainer.trained
    assert (tmp_path / "results.jsonl").read_bytes() == before
    assert lines[0] == "[1/6] ew, seed 0: finished before, Avg. 51.50"
    assert len(lines) == 6


def test_only_unfinished_trials_are_trained(tmp_path, trainer):
    run_all(tmp_path)
    before = (tmp_path / "results.jsonl").read_bytes()
    (tmp_path / "ew" / "seed1" / "results.json").unlink()
    (tmp_path / "tw" / "seed0" / "results.json").unlink()
    (tmp_path / "tw" / "seed0" / "config.json").unlink()
    trainer.trained.clear()
    plan = sweep.make_plan(THREE, tmp_path, SMALL, "the command")
    assert [plan.count(s) for s in ("finished", "begun", "new")] == [4, 1, 1]
    lines = []
    sweep.run_all(plan, lines.append)
    assert trainer.trained == [("tw", 0), ("ew", 1)]
    assert "[2/6] tw, seed 0: starts" in lines
    assert "[4/6] ew, seed 1: continues" in lines
    # Training again gives the same results, and no second line.
    assert (tmp_path / "results.jsonl").read_bytes() == before


def test_a_missing_line_of_a_finished_run_is_added(tmp_path, trainer):
    """A kill between the results of a run and its line leaves this state."""
    run_all(tmp_path)
    path = tmp_path / "results.jsonl"
    before = path.read_text()
    lines = before.splitlines(keepends=True)
    path.write_text("".join(lines[:2] + lines[3:]))
    trainer.trained.clear()
    run_all(tmp_path)
    assert not trainer.trained
    assert path.read_text() == before


def test_a_run_with_new_results_replaces_its_line(tmp_path, trainer):
    run_all(tmp_path)
    results = tmp_path / "tw" / "seed1" / "results.json"
    results.write_text(results.read_text().replace("41.0", "12.0"))
    before = lines_of(tmp_path)
    run_all(tmp_path)
    after = lines_of(tmp_path)
    assert [line == old for line, old in zip(after, before, strict=True)] == [
        True,
        True,
        True,
        False,
        True,
        True,
    ]
    assert after[3]["results"]["test"]["irony"] == {"macro_f1": 12.0}


def test_a_larger_sweep_reuses_the_finished_runs_of_a_smaller_one(tmp_path, trainer):
    run_all(
        tmp_path,
        run_specs.Sweep(run_specs.grid(["ew", "mtra"], "new_synthetic", (0,))),
    )
    trainer.trained.clear()
    run_all(tmp_path)
    assert trainer.trained == [("tw", 0), ("ew", 1), ("tw", 1), ("mtra", 1)]
    assert [(line["name"], line["seed"]) for line in lines_of(tmp_path)] == [
        (m, s) for m in ("ew", "tw", "mtra") for s in (0, 1)
    ]


def test_the_other_trials_run_after_one_fails(tmp_path, trainer):
    trainer.broken = {("tw", 0)}
    lines, failed = run_all(tmp_path)
    assert len(trainer.trained) == 6
    assert [(job.trial.name, job.trial.seed) for job in failed] == [("tw", 0)]
    expected = "[2/6] tw, seed 0: failed: step 7 on irony: not finite: loss/irony"
    assert expected in lines
    assert len(lines_of(tmp_path)) == 5
    # Once it succeeds, its line has its place in the file.
    trainer.broken = set()
    run_all(tmp_path)
    assert [line["name"] for line in lines_of(tmp_path)][2:4] == ["tw", "tw"]


def test_an_interrupt_stops_the_sweep_and_closes_the_bars(
    tmp_path, trainer, monkeypatch
):
    closed = []
    monkeypatch.setattr(display.Display, "close", lambda self: closed.append(self))

    def interrupted(config, workdir, watch_of):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep.training, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_all(tmp_path)
    assert len(closed) == 1


def test_a_directory_of_another_configuration_is_refused_before_training(
    tmp_path, trainer
):
    run_all(tmp_path)
    trainer.trained.clear()
    (tmp_path / "ew" / "seed0" / "results.json").unlink()
    message = answer(run_all, tmp_path, overrides=[*SMALL, ("epochs", "3")])
    assert "epochs is 9 there and 3 here" in message
    assert not trainer.trained


def test_a_damaged_file_of_results_is_refused_before_training(tmp_path, trainer):
    (tmp_path / "results.jsonl").write_text('{"name": "ew", "se')
    message = answer(run_all, tmp_path)
    assert message.startswith(f"{tmp_path / 'results.jsonl'}:1: damaged: ")
    assert not trainer.trained


def test_trials_with_different_tasks_are_refused_before_training(tmp_path, trainer):
    both = run_specs.Sweep(
        (
            *run_specs.grid(["ew"], "new_synthetic", (0,)),
            *run_specs.grid(["tw"], "new_tweeteval", (0,)),
        )
    )
    assert answer(run_all, tmp_path, both, [("tasks", "irony")]) == (
        "tw: tasks irony of tweeteval; expected those of ew, to stand in one table"
    )
    run_all(tmp_path, run_specs.Sweep(run_specs.grid(["ew"], "new_synthetic", (0,))))
    trainer.trained.clear()
    other = run_specs.Sweep(
        run_specs.grid(["mtra"], "new_synthetic", (0,)), baseline="mtra"
    )
    assert answer(run_all, tmp_path, other, [("tasks", "irony")]) == (
        "mtra: tasks irony of synthetic; expected those of "
        f"{tmp_path / 'results.jsonl'}, to stand in one table"
    )
    assert not trainer.trained


# ---- the scripts, in this process


def script(name):
    return verbs.VERBS[name].module.main


FILE = """
from mtra_jax.runs.trials import run_specs

def get_sweep(name):
    return run_specs.Sweep(run_specs.grid(name.split("+"), "new_synthetic", (0, 1)))
"""


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        ('grid(["ew"], "new_synthetic", 0)', ["seeds 0"]),
        ('grid(["ew"], "new_synthetic", ("0",))', ["seeds ('0',)"]),
        ('grid(["ew"], "new_synthetic", [0], ("epochs", 3))', ["('epochs', 3)"]),
        ('grid(["ew"], "new_synthetic", [0], None)', ["overrides None"]),
        ('variants("ew", {"x": {3: "a"}}, "new_synthetic", [0])', ["{3: 'a'}"]),
    ],
)
def test_a_wrong_call_in_a_file_of_sweeps_is_one_line(call, parts, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        FILE.replace('grid(name.split("+"), "new_synthetic", (0, 1))', call)
    )
    with pytest.raises(InputError) as error:
        run_specs.load(f"{path}:any")
    assert_mentions(error.value, f"{path}:5", *parts, "expected")
    with pytest.raises(InputError) as error:
        run_specs.load(f"{tmp_path}/./own.py:any")
    assert_mentions(error.value, f"{tmp_path}/./own.py:5", *parts)


def test_values_in_a_file_of_sweeps_are_those_of_python():
    shared = {"epochs": 3, "learning_rate": 1e-3}
    change = {"x": [("method.logarithm", False), ("tasks", ("irony", "stance"))]}
    (trial,) = run_specs.variants("mtra", change, "new_synthetic", [0], shared)
    config = run_specs.config_of(trial)
    assert (config.epochs, config.learning_rate) == (3, 1e-3)
    assert config.method.logarithm is False
    assert config.tasks == ("irony", "stance")


def test_all_rows_have_the_seeds_and_values_of_an_iterator():
    trials = run_specs.grid(
        ["ew", "si"], "new_synthetic", iter([0, 1]), iter([("epochs", 3)])
    )
    assert [(t.name, t.seed) for t in trials] == [
        (name, seed) for name in ("ew", "si") for seed in (0, 1)
    ]
    assert {trial.overrides for trial in trials} == {(("epochs", "3"),)}
    changes = {"a": {}, "b": {}}
    trials = run_specs.variants("ew", changes, "new_synthetic", iter([0, 1]))
    assert len(trials) == 4


@pytest.fixture
def sweep_file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(FILE)
    return path


def test_the_script_ends_with_the_table(
    tmp_path, sweep_file, trainer, monkeypatch, capsys
):
    arguments = [
        f"--config={sweep_file}:ew+mtra",
        "--workdir",
        str(tmp_path / "a b"),
        "--config.tasks=irony,intensity",
    ]
    monkeypatch.setattr(sys, "argv", ["scripts/sweep.py"])
    script("sweep")(arguments)
    output = capsys.readouterr().out.split("\n")
    assert output[0] == "4 runs: 0 finished, 0 begun, 4 new"
    # ew 50, 51; mtra 60, 61: means 50.5 and 60.5, deviation 1 / root 2.
    rows = {line.partition(" ")[0]: line for line in output}
    assert " ".join(rows["ew"].split()) == (
        "ew 50.50 ± 0.71 52.50 ± 0.71 54.50 ± 0.71 52.00 ± 0.71 +0.00 -"
    )
    # 10 of 50.5, and the mean of 10 of 52.5 and 10 of 54.5. With t = 10 root 2 and two
    # degrees of freedom p is 1 - t / root(2 + t^2).
    assert " ".join(rows["mtra"].split()) == (
        "mtra 60.50 ± 0.71 62.50 ± 0.71 64.50 ± 0.71 62.00 ± 0.71 +19.25 0.005*"
    )
    assert output[-2] == f"files in {tmp_path / 'a b'}"
    command = lines_of(tmp_path / "a b")[0]["command"]
    assert command == (
        f"python scripts/sweep.py --config={sweep_file}:ew+mtra --workdir "
        f"'{tmp_path / 'a b'}' --config.tasks=irony,intensity"
    )


def test_a_dry_run_lists_the_runs_and_makes_nothing(tmp_path, sweep_file, capsys):
    changes = [f"--config.{key}={value}" for key, value in SMALL]
    script("sweep")(
        [
            *(f"--config={sweep_file}:ew+mtra", f"--workdir={tmp_path / 'w'}"),
            *(*changes, "--dry_run"),
        ]
    )
    head, columns, *rows, about = capsys.readouterr().out.splitlines()
    assert head == "4 runs: 0 finished, 0 begun, 4 new"
    assert columns.split() == ["runs", "in", "runs", "epochs", "about"]
    assert [row.split()[:2] for row in rows] == [["w/ew", "2"], ["w/mtra", "2"]]
    assert about.startswith("all epochs take about ")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("seeds", ["7", "3,4,9"])
def test_seeds_of_the_command_line_replace_those_of_the_sweep(
    tmp_path, sweep_file, seeds, monkeypatch
):
    planned = []

    def run_all(plan, *rest, **options):
        planned.extend((job.trial.name, job.trial.seed) for job in plan.jobs)
        return []

    monkeypatch.setattr(sweep, "run_all", run_all)
    changes = [f"--config.{key}={value}" for key, value in SMALL]
    script("sweep")(
        [
            *(f"--config={sweep_file}:ew+mtra", f"--workdir={tmp_path / 'w'}"),
            *(*changes, f"--seeds={seeds}"),
        ]
    )
    own = [int(seed) for seed in seeds.split(",")]
    # All rows with the first seed come first.
    assert planned == [(name, seed) for seed in own for name in ("ew", "mtra")]


def test_lines_of_other_seeds_follow_those_of_their_row():
    trials = run_specs.grid(["ew", "si"], "tiny_synthetic", [2, 7])
    place = sweep.place_of(run_specs.Sweep(trials))
    lines = [("old", 0), ("si", 0), ("si", 7), ("ew", 0), ("ew", 7), ("ew", 2)]
    expected = [("ew", 2), ("ew", 7), ("ew", 0), ("si", 7), ("si", 0), ("old", 0)]
    assert sorted(lines, key=place) == expected


def test_seeds_that_would_change_more_than_the_seed_are_refused():
    first, *others = run_specs.grid(["ew"], "tiny_synthetic", [0, 1])
    changed = others[0]._replace(overrides=(("learning_rate", "1e-3"),))
    chosen = run_specs.Sweep((first, changed))
    with pytest.raises(InputError, match="'ew' has other values with seed 1"):
        run_specs.with_seeds(chosen, [0, 1])


def test_a_listing_is_as_long_as_its_longest_run(tmp_path, sweep_file, monkeypatch):
    seconds = {"ew": 60, "mtra": 600}
    rates = estimates.Rates({}, 1.0, "from a step")
    monkeypatch.setattr(estimates, "from_step", lambda config: rates)
    monkeypatch.setattr(
        estimates, "seconds", lambda config, data, rates: seconds[config.method.name]
    )
    plan = sweep.make_plan(run_specs.load(f"{sweep_file}:ew+mtra"), tmp_path, SMALL)
    about = [
        study_listing.of_sweep(plan, count).splitlines()[-1] for count in (1, 2, 3, 9)
    ]
    assert times.duration(1320) in about[0]
    assert " at a time" not in about[0]
    # In the order ew, mtra, ew, mtra.
    assert f"or {times.duration(720)} if 2 at a time" in about[1]
    assert f"or {times.duration(660)} if 3 at a time" in about[2]
    assert f"or {times.duration(600)} if 4 at a time" in about[3]


def test_a_dry_run_of_own_tasks_that_cannot_be_read_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tasks.toml").write_text('[mood]\nfiles = "mood.csv"\n')
    Path("mood.csv").write_text("text,label\ngreat stay,good\ncold food,\n")
    words = [
        "--tasks=tasks.toml",
        "--backbone=",
        "--only=ew",
        "--workdir=w",
        "--dry_run",
    ]
    with pytest.raises(InputError, match=r"^mood\.csv:3: label"):
        script("sweep")(words)


def test_a_dry_run_without_data_lists_the_runs_without_their_time(tmp_path, capsys):
    script("sweep")(
        [
            *("--config=configs/sweep.py:minilm_tweeteval", "--only=ew,mtra"),
            *(f"--workdir={tmp_path / 'w'}", "--dry_run"),
        ]
    )
    head, columns, *rows, last = capsys.readouterr().out.splitlines()
    assert columns.split() == ["runs", "in", "runs"]
    assert [row.split() for row in rows] == [["w/ew", "3"], ["w/mtra", "3"]]
    assert head.startswith("6 runs: ")
    assert_mentions(last, "no estimate of the time", "data.dir is empty")
    assert not (tmp_path / "w").exists()


def test_the_script_fails_at_the_end_if_a_run_failed(
    tmp_path, sweep_file, trainer, capsys
):
    trainer.broken = {("tw", 1)}
    with pytest.raises(SystemExit) as stop:
        script("sweep")(
            [
                f"--config={sweep_file}:ew+tw",
                f"--workdir={tmp_path / 'w'}",
                "--config.tasks=irony,intensity",
            ]
        )
    # `sys.exit` with a text prints it to standard error and exits with code 1.
    assert stop.value.code == "error: 1 of 4 runs failed"
    output = capsys.readouterr().out
    assert "tw, seed 1: failed: step 7" in output
    assert "\ntw " in output


def test_a_quiet_sweep_prints_the_table_and_problems_only(
    tmp_path, sweep_file, trainer, capsys
):
    trainer.broken = {("tw", 1)}
    flags = [f"--config={sweep_file}:ew+tw", f"--workdir={tmp_path / 'w'}"]
    flags += ["--config.tasks=irony,intensity"]
    with pytest.raises(SystemExit):
        script("sweep")(flags)
    _, table = capsys.readouterr().out.split("\n\n")
    with pytest.raises(SystemExit) as stop:
        script("sweep")([*flags, "--quiet"])
    assert stop.value.code == "error: 1 of 4 runs failed"
    output, problems = capsys.readouterr()
    assert f"{output}files in {tmp_path / 'w'}\n" == table
    assert problems == (
        "[4/4] tw, seed 1: failed: step 7 on irony: not finite: loss/irony\n"
    )


def test_a_quiet_sweep_without_a_finished_run_prints_nothing(
    tmp_path, sweep_file, trainer, capsys
):
    trainer.broken = {("ew", 0), ("ew", 1)}
    flags = [f"--config={sweep_file}:ew", f"--workdir={tmp_path / 'w'}", "--quiet"]
    with pytest.raises(SystemExit):
        script("sweep")([*flags, "--config.tasks=irony,intensity"])
    output, problems = capsys.readouterr()
    assert output == ""
    assert problems.splitlines()[-1] == "no finished run"


@pytest.mark.parametrize("quiet", [False, True])
def test_a_problem_of_a_run_is_passed_on_with_its_name(
    tmp_path, trainer, monkeypatch, quiet
):
    def train(config, workdir, watch_of):
        trainer.train(config, workdir, watch_of)
        shown = watch_of.__self__
        shown._warn("skipped a step")
        assert shown._quiet == quiet

    monkeypatch.setattr(sweep.training, "train", train)
    of = run_specs.Sweep(run_specs.grid(["ew"], "new_synthetic", (0, 1)))
    said, warned = [], []
    plan = sweep.make_plan(of, tmp_path, SMALL)
    sweep.run_all(plan, said.append, warn=warned.append, quiet=quiet)
    assert warned == [f"[{n + 1}/2] ew, seed {n}: skipped a step" for n in (0, 1)]
    assert len(said) == (0 if quiet else 4)


def test_the_table_of_the_script_has_no_changes_without_the_baseline(
    tmp_path, sweep_file, trainer, capsys
):
    trainer.broken = {("ew", 0), ("ew", 1)}
    with pytest.raises(SystemExit):
        script("sweep")(
            [
                f"--config={sweep_file}:ew+tw",
                f"--workdir={tmp_path / 'w'}",
                "--config.tasks=irony,intensity",
            ]
        )
    output = capsys.readouterr().out
    (row,) = [line for line in output.splitlines() if line.startswith("tw ")]
    assert row.split()[-2:] == ["-", "-"]  # Δp and p
    assert "ew: it has no finished run" in output


@pytest.fixture
def finished(tmp_path, trainer):
    run_all(tmp_path / "w")
    return tmp_path / "w"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--format=csv"], "mtra,2,60.5,"),
        (["--format=latex"], r"mtra & \textbf{60.50} $\pm$ 0.71 &"),
        (["--format=markdown"], "| mtra | **60.50** ± 0.71 |"),
        (["--format=text", "--baseline=mtra"], "against mtra, Holm"),
        (["--split=validation"], "mtra  69.50 ± 0.71"),
    ],
    ids=lambda flags: flags[0] if isinstance(flags, list) else "",
)
def test_the_report_reads_a_directory_or_a_file(finished, flags, expected, capsys):
    script("report")([str(finished), *flags])
    printed = capsys.readouterr().out
    assert expected in printed
    script("report")([str(finished / "results.jsonl"), *flags])
    assert capsys.readouterr().out == printed
    out = finished / "table"
    script("report")([str(finished), *flags, f"--out={out}"])
    assert capsys.readouterr().out == ""
    assert out.read_text(encoding="utf-8") == printed


def test_the_report_of_several_directories_is_that_of_one(tmp_path, trainer, capsys):
    """Each has the runs of a seed, or of a row, as of the elements of a job array."""
    run_all(tmp_path / "all")
    script("report")([str(tmp_path / "all")])
    expected = capsys.readouterr().out
    for seed in (0, 1):
        own = THREE._replace(trials=tuple(t for t in THREE.trials if t.seed == seed))
        run_all(tmp_path / f"seed{seed}", own)
    script("report")([str(tmp_path / f"seed{seed}") for seed in (0, 1)])
    assert capsys.readouterr().out == expected
    rows = [tmp_path / name for name in ("ew", "tw", "mtra")]
    for place in rows:
        plan = sweep.make_plan(THREE, place, SMALL, only=[place.name])
        sweep.run_all(plan, lambda line: None)
    script("report")([*map(str, rows)])
    assert capsys.readouterr().out == expected


def test_the_report_of_several_directories_has_each_run_once(finished, tmp_path):
    report = script("report")
    results = finished / "results.jsonl"
    assert answer(report, [str(finished), str(results)]) == (
        f"{results}: ew, seed 0 is in {results} already; expected each run once, or names "
        "of the rows of each sweep, as A=DIR B=DIR"
    )
    trial = run_specs.Sweep(run_specs.grid(["ew"], "new_synthetic", (7,)))
    run_all(tmp_path / "c", trial)
    (line,) = lines_of(tmp_path / "c")
    for split in ("test", "validation"):
        del line["results"][split]["irony"]
    (tmp_path / "c/results.jsonl").write_text(json.dumps(line))
    message = answer(report, [str(finished), str(tmp_path / "c")])
    assert message.startswith(f"{tmp_path / 'c' / 'results.jsonl'}: tasks intensity ")
    pictures = answer(report, [str(finished), str(tmp_path), "--diagnostics"])
    assert_mentions(pictures, str(finished), "--diagnostics", "one directory")


def test_the_report_names_the_rows_of_each_sweep(finished, tmp_path, capsys):
    """Rows and seeds may then be the same; each row keeps its own sweep's baseline."""
    report, text = script("report"), ["--format", "csv"]
    report([str(finished), *text])
    plain = [*csv.DictReader(capsys.readouterr().out.splitlines())]
    report([f"a={finished}", f"b={finished / 'results.jsonl'}", *text])
    rows = [*csv.DictReader(capsys.readouterr().out.splitlines())]
    for label, own in (("a", rows[: len(plain)]), ("b", rows[len(plain) :])):
        for row, expected in zip(own, plain, strict=True):
            assert row.pop("against") == f"{label} ew"
            assert row.pop("p_holm") >= expected["p_holm"]  # of twice as many rows
            same = {key: value for key, value in expected.items() if key != "p_holm"}
            assert row == same | {"name": f"{label} {expected['name']}"}
    grid = answer(report, [f"a={finished}", f"b={finished}", "--grid=beta,epsilon"])
    assert_mentions(grid, "a=…", "--grid", "without names")
    odd = tmp_path / "x=y"
    shutil.copytree(finished, odd)
    report([str(odd)])  # a directory of that name
    assert "ew" in capsys.readouterr().out
    assert answer(report, ["a="]) == "'': no such directory"


def test_names_that_make_the_same_row_are_refused(finished, tmp_path):
    """`a` before `x ew`, and `a x` before `ew`: other seeds would stand for more seeds."""
    lines = [
        line | {"name": f"x {line['name']}", "seed": 7} for line in lines_of(finished)
    ]
    other = tmp_path / "other.jsonl"
    other.write_text("".join(f"{json.dumps(line)}\n" for line in lines[:1]))
    message = answer(script("report"), [f"a x={finished}", f"a={other}"])
    assert_mentions(message, other, "'a x ew'", "other names")


def test_what_learned_nothing_on_the_test_set_is_not_said_of_validation(
    finished, tmp_path, capsys
):
    lines = lines_of(finished)
    for line in lines:
        line["results"]["constant"] = ["irony"]
        line["results"]["majority"] = line["results"]["test"]
    (tmp_path / "results.jsonl").write_text(
        "".join(f"{json.dumps(x)}\n" for x in lines)
    )
    shown = []
    for split in ("test", "validation"):
        script("report")([str(tmp_path), f"--split={split}"])
        shown.append("the same prediction for all texts" in capsys.readouterr().out)
    assert shown == [True, False]


def test_a_line_of_an_older_version_gets_the_settings_of_its_run(tmp_path, trainer):
    run_all(tmp_path)
    lines = lines_of(tmp_path)
    for line in lines[1:]:
        del line["settings"]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    run_all(tmp_path)
    first, *others = lines_of(tmp_path)
    assert first == lines[0]
    assert all(line["settings"]["epochs"] == 9 for line in others)


def test_runs_of_a_version_with_other_keys_stand_in_a_table(finished, capsys):
    one, other = (finished / name / "seed0" for name in ("ew", "tw"))
    for directory in (one, other):
        results = json.loads((directory / "results.json").read_text())
        ends = {"majority": results["test"], "best_epoch": 1, "epochs": 1}
        whole = {**results, **ends, "train_seconds": 1.0}
        (directory / "results.json").write_text(json.dumps(whole))
    values = json.loads((other / "config.json").read_text())
    del values["patience"]
    (other / "config.json").write_text(json.dumps(values))
    script("table")([f"a={one}", f"b={other}"])
    shown = capsys.readouterr()
    assert "conditions of b are not compared: " in shown.err
    assert "patience" in shown.err
    assert "other conditions" not in shown.out


def test_the_directory_of_a_sweep_is_not_a_row_of_a_table(finished):
    message = answer(script("table"), [f"a={finished}"])
    assert_mentions(message, finished, "sweep", "seed0", f"mtra-jax report {finished}")


def test_the_report_compares_with_the_baseline_of_the_sweep(tmp_path, trainer, capsys):
    run_all(tmp_path, THREE._replace(baseline="tw"))
    script("report")([str(tmp_path)])
    assert "against tw, Holm" in capsys.readouterr().out
    script("report")([str(tmp_path), "--baseline=ew"])
    assert "against ew, Holm" in capsys.readouterr().out


def test_the_report_refuses_files_without_results(finished, tmp_path):
    report = script("report")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert answer(report, [str(empty)]) == (
        f"{empty / 'results.jsonl'}: no such file; expected that of a sweep"
    )
    (empty / "results.json").write_text("{}")
    assert answer(report, [str(empty)]) == (
        f"{empty}: the work directory of one run; expected that of a sweep, or mtra-jax "
        "table NAME=DIR"
    )
    (empty / "results.jsonl").write_text("")
    assert answer(report, [str(empty)]) == (
        f"{empty / 'results.jsonl'}: empty; expected a finished run"
    )
    (empty / "results.jsonl").write_bytes(b"\xff\n")
    assert "not UTF-8 text" in answer(report, [str(empty)])
    message = answer(report, [str(finished), "--baseline=mtr"])
    assert message == "unknown baseline 'mtr'; did you mean mtra?"
    message = answer(report, [str(finished), f"--out={tmp_path / 'no' / 'file'}"])
    assert message == f"{tmp_path / 'no' / 'file'}: No such file or directory"


# ---- a real sweep

FLAGS = (
    "--config.epochs=1",
    "--config.data.fraction=0.05",
    "--config.tasks=irony,intensity",
    "--config.backbone.hidden_size=32",
    "--config.backbone.intermediate_size=64",
)


@pytest.mark.processes
def test_a_sweep_starts_continues_and_is_not_trained_twice(tmp_path, sweep_file):
    sweep_file.write_text(FILE.replace("(0, 1)", "(0,)"))
    workdir = tmp_path / "w"
    command = [
        f"--config={sweep_file}:ew+mtra",
        f"--workdir={workdir}",
        f"--config.data.cache_dir={tmp_path / 'cache'}",
        *FLAGS,
    ]

    def start():
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "sweep.py"), *command],
            cwd=tmp_path,
            env=xla_flags.environment(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.split("\n"), done.stderr

    # The files of a run that was killed before its first checkpoint.
    overrides = [tuple(flag[9:].split("=", 1)) for flag in command[2:]]
    run = run_specs.Trial("ew", "ew", "new_synthetic", 0)
    begun = workdir / run.directory
    begun.mkdir(parents=True)
    values = configs.to_dict(run_specs.config_of(run, overrides))
    (begun / "config.json").write_text(json.dumps(values))

    output, bars = start()
    assert output[:2] == [
        "2 runs: 0 finished, 1 begun, 1 new",
        "[1/2] ew, seed 0: continues",
    ]
    assert "sweep:" not in bars
    assert ", epoch 1/1, " in bars
    ew, mtra = lines_of(workdir)
    for line in (ew, mtra):
        directory = workdir / line["name"] / "seed0"
        for name in ("results", "environment"):
            assert line[name] == json.loads((directory / f"{name}.json").read_text())
        avg = metrics.average(line["results"]["test"], TASKS)
        assert line["results"]["test"]["avg"] == pytest.approx(avg, rel=1e-12)
        assert any(f"Avg. {avg:.2f}, " in text for text in output)

    def files():
        return {
            path: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in workdir.rglob("*")
            if path.is_file() and path.name != locks.LOCK
        }

    before = files()
    output, _ = start()
    assert output[0] == "2 runs: 2 finished, 0 begun, 0 new"
    assert output[1].startswith("[1/2] ew, seed 0: finished before, Avg. ")
    assert files() == before
