"""Searches: the points of each method, what ends a trial, `found.toml` and who reads it."""

import contextlib
import json
import math
import shlex
import sys
import tomllib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from messages import assert_mentions

from mtra_jax import config as configs
from mtra_jax import config_values
from mtra_jax.commands import search as command
from mtra_jax.commands import sweep as sweep_command
from mtra_jax.errors import InputError, RunError
from mtra_jax.methods import registry
from mtra_jax.reports.comparisons import comparison, formats
from mtra_jax.reports.formatting import times
from mtra_jax.runs.search import listing as search_listing
from mtra_jax.runs.search import optuna_points
from mtra_jax.runs.search import plan as search
from mtra_jax.runs.search import results as search_results
from mtra_jax.runs.search import run as searching
from mtra_jax.runs.studies import experiments
from mtra_jax.runs.sweeps import estimates, sweep
from mtra_jax.runs.training import interfaces, loop, same_inputs, selection
from mtra_jax.runs.trials import (
    found_toml,
    run_specs,
    spaces,
    tuned_rows,
    validation_run,
)
from mtra_jax.runs.trials.found_toml import Chosen, Tuning

ROOT = Path(__file__).resolve().parents[3]
MINILM = spaces.load("minilm_tweeteval")
NAMES = [*MINILM]


def answer(call, *arguments, **options):
    """The InputError of a call, one line."""
    with pytest.raises(InputError) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def points_of(name, preset="minilm_tweeteval", seed=0):
    """All points of a space, as floats by key."""
    space = spaces.load(preset)[name]
    base = config_values.flat(configs.preset(preset, space.method))
    points = spaces.ordered(space, base, seed)
    return [{key: float(text) for key, text in point} for point in points]


# ---- the points


def test_every_method_has_a_space_and_ew_has_four():
    assert {s.method for s in MINILM.values()} == {*registry.METHODS}
    assert NAMES[:4] == ["ew", "ew_tuned", "ew_sum", "ew_joint"]
    fixed = {name: s.fixed for name, s in MINILM.items() if s.fixed}
    assert fixed == {
        "ew_sum": (("method.reduction", "sum"),),
        "ew_joint": (("sampling", "joint"),),
    }
    keys = {name: [axis.key for axis in s.axes] for name, s in MINILM.items()}
    assert keys["ew"] == keys["uw"] == ["learning_rate", "clip_norm"]
    assert keys["ew_tuned"] == [*keys["ew"], "weight_decay", "head_dropout"]
    assert keys["mtra"] == [*keys["ew"], "method.beta", "method.epsilon"]


def test_the_grid_of_mtra_has_the_values_of_tables_17_and_18():
    points = points_of("mtra")
    assert len(points) == len({tuple(p.values()) for p in points}) == 6 * 4 * 3 * 3
    assert {p["method.beta"] for p in points} == {0.5, 1, 2}
    assert {p["method.epsilon"] for p in points} == {0.1, 1, 5}
    assert {p["clip_norm"] for p in points} == {0.5, 1, 2, 5}
    rates = sorted({p["learning_rate"] for p in points})
    assert rates == [1e-5, 2.5e-5, 5e-5, 1e-4, 2e-4, 5e-4]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_trial_is_the_preset_and_each_method_tries_each_rate_as_often(name):
    points = points_of(name)
    base = config_values.flat(configs.preset("minilm_tweeteval", MINILM[name].method))
    assert points[0] == {key: base[key] for key in points[0]}
    for trials in (6, 12, 18):
        rates = Counter(p["learning_rate"] for p in points[:trials])
        assert set(rates.values()) == {trials // 6}
        assert len(rates) == 6


def test_the_order_is_the_same_on_every_machine_and_another_for_another_seed():
    first = [(p["learning_rate"], p["clip_norm"]) for p in points_of("uw")[:6]]
    assert first == FIRST
    other = points_of("uw", seed=1)
    assert other != points_of("uw")
    assert sorted(map(str, other)) == sorted(map(str, points_of("uw")))


# A round has each rate once, ordered by the output of `sha256sum` for "0
# learning_rate=0.0005 clip_norm=1" and so on.
FIRST = [(5e-5, 1), (5e-4, 1), (1e-5, 5), (2e-4, 2), (2.5e-5, 1), (1e-4, 5)]


def test_a_first_trial_beside_the_grid_is_one_more_point():
    space = spaces.Space("mtra", (spaces.Axis("method.beta", (1, 2)),))
    points = spaces.ordered(space, {"method.beta": 0.30000000000000004}, 0)
    assert points[0] == (("method.beta", "0.30000000000000004"),)
    assert sorted(points[1:]) == [(("method.beta", "1"),), (("method.beta", "2"),)]


def test_the_options_of_mtra_on_a_small_encoder_are_multiples_of_the_presets():
    epsilon = {p["method.epsilon"] for p in points_of("mtra", "new_synthetic")}
    assert sorted(epsilon) == [0.002, 0.01, 0.05]


# ---- what is trained, with a training that takes no time

TINY = (("tasks", "irony,intensity"), ("epochs", "3"), ("patience", "3"))


class Trainer:
    """A stand-in for `training.train` that calls the callbacks of a run.

    The loss of epoch n is `loss(config) + 1/n`. `stop_before`: the run with this number is
    interrupted after its first epoch, and continues there.
    """

    def __init__(self):
        self.runs, self.stop_before, self.loss = [], None, self.quadratic
        self.bad_steps, self.fails = 0, False
        self.begun = {}

    @staticmethod
    def quadratic(config):
        return (math.log10(config.learning_rate) + 2) ** 2 + 0.1 * config.clip_norm

    def train(self, config, directory, watch_of):
        self.runs.append((directory.parent.name, directory.name))
        (directory / "checkpoints").mkdir(parents=True, exist_ok=True)
        (directory / "environment.json").write_text('{"git_revision": "abc"}')
        if self.fails:
            raise RunError("out of memory")
        schedule = SimpleNamespace(epochs=config.epochs, patience=config.patience)
        schedule.max_bad_steps = config.max_bad_steps
        run = SimpleNamespace(schedule=schedule, selection=selection.Selection())
        at = self.begun.pop(directory, loop.Progress())
        watch = watch_of(SimpleNamespace(run=run), at)
        watch.step(1, 1, {"bad_steps": float(self.bad_steps)}, 8)
        for epoch in range(at.validated, config.epochs):
            loss = self.loss(config) + 1 / (epoch + 1)
            at = at.after_epoch(epoch, loss, {}, loss)
            watch.epoch(epoch + 1, loss, {}, at, {})
            if len(self.runs) == self.stop_before:
                self.stop_before = None
                self.begun[directory] = at
                raise loop.Stopped(1)
        raise AssertionError("the test set would be scored now")


@pytest.fixture
def trainer(monkeypatch):
    trainer = Trainer()
    display = SimpleNamespace(
        Display=lambda **_: contextlib.nullcontext(
            SimpleNamespace(watch=lambda *_: interfaces.Watch())
        )
    )
    monkeypatch.setattr(validation_run.training, "train", trainer.train)
    monkeypatch.setattr(validation_run, "display", display)
    return trainer


def made(workdir, names=("ew",), trials=4, kind="grid", seed=0, overrides=TINY):
    return search.make(
        names, "new_synthetic", workdir, trials, kind, seed, overrides, "the command"
    )


def run_all(planned, lines=None):
    return searching.run_all(
        planned, lambda line: lines is not None and lines.append(line)
    )


def described(ended):
    return {
        name: [(t.number, t.point, t.record._replace(seconds=0.0)) for t in tries]
        for name, tries in ended.items()
    }


@pytest.mark.parametrize("selection", ["loss", "log_sum"])
def test_losses_that_contain_what_is_varied_compare_nothing(tmp_path, selection):
    own = (*TINY, ("selection", selection))
    planned = made(tmp_path, ("ew", "ew_sum", "ew_tuned"), overrides=own)
    assert planned.selection("ew_sum") == selection
    message = answer(made, tmp_path, ("ew", "mtra"), overrides=own)
    parts = (f"--config.selection={selection}", "mtra", "method.beta", "TASK/METRIC")
    assert_mentions(message, *parts)
    figure = (*TINY, ("selection", "irony/macro_f1"))
    planned = made(tmp_path, ("mtra",), overrides=figure)
    assert planned.selection("mtra") == "irony/macro_f1"


def test_each_method_gets_as_many_trials_and_the_best_is_written(tmp_path, trainer):
    ended = run_all(made(tmp_path, ("ew", "ew_tuned", "mtra")))
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    stored = [json.loads(line) for line in lines]
    assert [(v["name"], v["trial"]) for v in stored] == [
        (name, number) for name in ended for number in range(4)
    ]
    tries = [each for own in ended.values() for each in own]
    for values, each in zip(stored, tries, strict=True):
        assert values["values"] == {key: float(text) for key, text in each.point}
        assert values["validation"] == each.record.figure
        assert (values["selection"], values["epochs"]) == ("average", 3)
    assert [len(tries) for tries in ended.values()] == [4, 4, 4]
    assert len(trainer.runs) == 12
    content = tomllib.loads((tmp_path / "found.toml").read_text())
    assert content["search"]["preset"] == "new_synthetic"
    # The encoder is the preset's; trials are not compared by its losses.
    others = {"backbone.path": "", "selection": "average"}
    assert content["search"]["overrides"] == dict(TINY) | others
    for name, method in (("ew", "ew"), ("ew_tuned", "ew"), ("mtra", "mtra")):
        losses = []
        for number in range(4):
            stored = json.loads(
                (tmp_path / f"{name}/trial0{number}/config.json").read_text()
            )
            assert stored["method"]["name"] == method
            rate, clip = stored["learning_rate"], stored["clip_norm"]
            losses.append((math.log10(rate) + 2) ** 2 + 0.1 * clip + 1 / 3)
        assert content[name]["best_trial"] == losses.index(min(losses))
        assert content[name]["validation"] == pytest.approx(min(losses), abs=1e-6)
        best = json.loads(
            (
                tmp_path / f"{name}/trial0{losses.index(min(losses))}/config.json"
            ).read_text()
        )
        flat = {**best, **{f"method.{k}": v for k, v in best["method"].items()}}
        assert content[name]["values"] == {k: flat[k] for k in content[name]["values"]}
        assert (content[name]["trials"], content[name]["commit"]) == (4, "abc")
    assert not list(tmp_path.glob("**/checkpoints"))


def test_a_listing_counts_the_trials_that_have_not_ended(
    tmp_path, trainer, monkeypatch
):
    rates = estimates.Rates({}, 0.25, "from a step", compilation=7)
    monkeypatch.setattr(estimates, "from_step", lambda config: rates)
    run_all(made(tmp_path, trials=1))
    before = sorted(tmp_path.rglob("*"))
    planned = made(tmp_path, ("ew", "mtra"), trials=3)
    lines = search_listing.listing(planned, 4).splitlines()
    assert sorted(tmp_path.rglob("*")) == before
    rows = [line.split()[:4] for line in lines[1:3]]
    assert rows == [["ew", "3", "1", "3"], ["mtra", "3", "0", "3"]]
    ew, mtra = (
        estimates.seconds(config, same_inputs.Current().data(config)[0], rates)
        for config in (
            run_specs.config_of(planned.trial(name, ())) for name in ("ew", "mtra")
        )
    )
    total = 2 * ew + 3 * mtra
    assert f"about {times.duration(total)}, one trial" in lines[3]
    # The last trial of mtra waits for one of ew.
    assert f" {times.duration(ew + mtra)} if 4 at a time" in lines[3]
    assert times.duration(ew + mtra) != times.duration(total / 4)


def test_what_a_space_has_fixed_is_in_all_its_trials_and_in_the_rows_with_its_values(
    tmp_path, trainer
):
    run_all(made(tmp_path, ("ew", "ew_sum")))
    for name, reduction in (("ew", "mean"), ("ew_sum", "sum")):
        configs_of = list(tmp_path.glob(f"{name}/*/config.json"))
        stored = [json.loads(path.read_text()) for path in configs_of]
        assert [s["method"]["reduction"] for s in stored] == [reduction] * 4
    path = tmp_path / "found.toml"
    tuning = found_toml.read(str(path))
    assert dict(tuning.rows["ew_sum"].values)["method.reduction"] == "sum"
    alone = run_specs.Sweep(run_specs.grid(["ew"], "new_synthetic", (0, 1)))
    there = run_specs.variants(
        "ew", {"ew sum": (("method.reduction", "sum"),)}, "new_synthetic", (0, 1)
    )
    for chosen in (alone, alone._replace(trials=(*alone.trials, *there))):
        trials = tuned_rows.tuned(chosen, tuning).trials
        assert [t.name for t in trials] == ["ew", "ew", "ew sum", "ew sum"]
        for trial in trials:
            config = run_specs.config_of(trial)
            own = tuning.rows[trial.name.replace(" ", "_")]
            assert config.learning_rate == float(dict(own.values)["learning_rate"])
            expected = "sum" if trial.name == "ew sum" else "mean"
            assert config.method.reduction == expected
    assert answer(
        made,
        tmp_path / "x",
        ("ew_sum",),
        overrides=(("method.reduction", "mean"),),
    ) == (
        "--config.method.reduction: ew_sum is the search with 'sum'; expected another key, "
        "or no ew_sum"
    )
    path.write_text(path.read_text().replace('"sum"', '"mean"'))
    assert answer(found_toml.read, str(path)).endswith(
        ": ew_sum.values.method.reduction is 'mean'; expected 'sum', which this section is of"
    )


def test_an_interrupted_search_ends_as_one_that_was_not(tmp_path, trainer):
    expected = described(run_all(made(tmp_path / "whole", ("ew", "mtra"))))
    trainer.runs.clear()
    trainer.stop_before = 3
    planned = made(tmp_path / "parts", ("ew", "mtra"))
    with pytest.raises(loop.Stopped):
        run_all(planned)
    assert not (tmp_path / "parts/found.toml").exists()
    assert len(trainer.runs) == 3
    lines = []
    assert described(run_all(planned, lines)) == expected
    assert trainer.runs[3:] == [
        *(("ew", f"trial0{n}") for n in (2, 3)),
        *(("mtra", f"trial0{n}") for n in range(4)),
    ]
    assert [line.rpartition(": ")[2] for line in lines[2:3]] == ["continues"]
    whole, parts = (
        tomllib.loads((tmp_path / name / "found.toml").read_text())
        for name in ("whole", "parts")
    )
    for name in ("ew", "mtra"):
        whole[name].pop("date"), parts[name].pop("date")
    assert whole == parts
    trainer.runs.clear()
    assert described(run_all(planned)) == expected
    assert trainer.runs == []
    more = described(run_all(made(tmp_path / "parts", ("ew", "mtra"), trials=5)))
    assert {name: tries[:4] for name, tries in more.items()} == expected


def test_a_trial_killed_after_its_last_validation_trains_no_more(tmp_path, trainer):
    planned = made(tmp_path, trials=1)
    last = loop.Progress(step=9, validated=3, best_score=2.5, best_epoch=2)
    trainer.begun[tmp_path / "ew/trial00"] = last
    record = run_all(planned)["ew"][0].record
    assert record[:4] == ("finished", 2.5, 2.5, 3)


def test_trials_that_diverge_or_fail_count_as_the_worst(tmp_path, trainer):
    plain = trainer.loss
    trainer.loss = lambda config: (
        math.nan if config.learning_rate > 4e-3 else plain(config)
    )
    planned = made(tmp_path, trials=6)
    ended = run_all(planned)["ew"]
    lost = [float(dict(t.point)["learning_rate"]) > 4e-3 for t in ended]
    assert sum(lost) == 2
    assert [t.record.state == "diverged" for t in ended] == lost
    assert [math.isinf(t.record.score) for t in ended] == lost
    text = search_results.table("ew", planned.selection("ew"), ended)
    assert text.count("diverged: no finite validation in 3 epochs") == 2
    assert text.count("finished, best") == 1
    content = tomllib.loads((tmp_path / "found.toml").read_text())["ew"]
    assert (content["lost_trials"], content["trials"]) == (2, 6)
    trainer.runs.clear()
    assert described(run_all(planned))["ew"] == described({"ew": ended})["ew"]
    assert trainer.runs == []


def test_a_trial_that_diverges_after_a_sound_epoch_counts_by_its_best(
    tmp_path, trainer
):
    """As the run would end that is trained with these values."""
    planned = made(tmp_path, trials=1)
    best = loop.Progress(step=9, validated=2, best_score=2.5, best_epoch=1)
    trainer.begun[tmp_path / "ew/trial00"], trainer.bad_steps = best, 10
    tried = run_all(planned)["ew"][0]
    assert tried.record[:4] == ("finished", 2.5, 2.5, 2)
    assert search_results.best([tried]) is tried


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"bad_steps": 10},
            "trial 0 diverged: step 1: 10 steps in a row are not finite",
        ),
        ({"fails": True}, "trial 0 failed: out of memory"),
    ],
)
def test_a_method_without_a_finished_trial_has_no_values(
    tmp_path, trainer, change, expected
):
    planned = made(tmp_path, ("ew", "mtra"), trials=1)
    run_all(planned)
    assert [*found_toml.read(str(tmp_path / "found.toml")).rows] == ["ew", "mtra"]
    for path in tmp_path.glob("mtra/*/trial.json"):
        path.unlink()
    vars(trainer).update(change)
    ended = run_all(planned)
    assert search_results.best(ended["mtra"]) is None
    assert expected in search_results.table("mtra", "loss", ended["mtra"])
    assert [*found_toml.read(str(tmp_path / "found.toml")).rows] == ["ew"]
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    stored = {v["name"]: v["validation"] for v in map(json.loads, lines)}
    assert stored["ew"] > 0
    assert (len(lines), stored["mtra"]) == (2, None)
    # What failed may pass the next time; what diverged will not.
    vars(trainer).update(dict.fromkeys(change, 0))
    again = search_results.best(run_all(planned)["mtra"])
    assert (again is None) == ("bad_steps" in change)


def test_tasks_that_are_trained_separately_have_the_mean_loss(tmp_path, trainer):
    trainer.loss = lambda config: {"irony": 1.0, "intensity": 4.0}[config.tasks[0]]
    (tried,) = run_all(made(tmp_path, ("stl",), trials=1))["stl"]
    assert trainer.runs == [("trial00", "irony"), ("trial00", "intensity")]
    assert tried.record.score == pytest.approx(2.5 + 1 / 3)
    assert tried.record.epochs == 6


def test_a_figure_where_higher_is_better_is_shown_as_it_is():
    run = SimpleNamespace(
        schedule=SimpleNamespace(epochs=1, patience=1, max_bad_steps=10),
        selection=selection.Selection("average", higher_is_better=True),
    )
    with pytest.raises(validation_run._Ended) as ended:
        validation_run._watch(
            run,
            loop.Progress(validated=1, best_score=-61.5),
            interfaces.Watch(),
            lambda *_: False,
        )
    record = validation_run._record("average", [ended.value])
    assert record[:4] == ("finished", -61.5, 61.5, 1)


# ---- Optuna


def test_optuna_continues_where_it_was_and_never_trains_a_trial_twice(
    tmp_path, trainer
):
    pytest.importorskip("optuna")
    planned = made(tmp_path / "whole", trials=14, kind="optuna")
    expected = described(run_all(planned))
    trainer.runs.clear()
    trainer.stop_before = 12
    planned = made(tmp_path / "parts", trials=14, kind="optuna")
    with pytest.raises(loop.Stopped):
        run_all(planned)
    assert described(run_all(planned)) == expected
    assert Counter(trainer.runs) == {
        ("ew", f"trial{n:02d}"): 1 + (n == 11) for n in range(14)
    }
    tries = expected["ew"]
    first = {"learning_rate": "0.002", "clip_norm": "1"}
    assert dict(tries[0][1]) == first
    assert len({point for _, point, _ in tries}) == 14
    for _, point, _ in tries:
        assert 4e-4 <= float(dict(point)["learning_rate"]) <= 2e-2
    states = Counter(record.state for *_, record in tries)
    assert states["pruned"] + states["finished"] == 14
    assert states["pruned"] >= 1
    scores = [record.score for *_, record in tries if record.state == "finished"]
    content = tomllib.loads((tmp_path / "parts/found.toml").read_text())["ew"]
    assert content["validation"] == pytest.approx(min(scores), abs=1e-6)


def test_optuna_ends_a_trial_that_is_worse_than_the_median(tmp_path):
    pytest.importorskip("optuna")
    space = MINILM["ew"]
    first = (("learning_rate", "5e-05"), ("clip_norm", "1"))
    tree = optuna_points.Tree(tmp_path / "journal", "ew", space, first, 0)
    for number in range(5):
        tree.point(number)
        assert not tree.is_hopeless(1, float(number))
        tree.end(number, validation_run.Record("finished", float(number), 1.0, 1, 0.0))
    tree.point(5)
    assert not tree.is_hopeless(1, 1.9)
    tree.end(5, validation_run.Record("finished", 1.9, 1.9, 1, 0.0))
    tree.point(6)
    assert tree.is_hopeless(1, 2.1)


def test_without_optuna_a_line_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert answer(made, tmp_path, kind="optuna") == (
        "--space optuna needs optuna, which is not installed; expected pip install "
        "optuna, or --space grid"
    )


# ---- refusals


def test_wrong_requests_are_refused(tmp_path, trainer):
    assert answer(made, tmp_path, ("mtraa",)) == "method mtraa: did you mean mtra?"
    assert answer(made, tmp_path, ("mtra", "uw"), trials=25) == (
        "--trials 25: the grid of uw has 24 points, and all methods get as many trials; "
        "expected at most 24, or --space optuna"
    )
    message = answer(made, tmp_path, overrides=(("seed", "3"),))
    assert (
        message
        == "--config.seed: set by the sweep; expected --seeds of `sweep` or `experiment`"
    )
    message = answer(made, tmp_path, overrides=(("epoch", "3"),))
    assert message == "ew: unknown key --config.epoch; did you mean epochs?"
    run_all(made(tmp_path, trials=1))
    assert answer(made, tmp_path, seed=1) == (
        f"{tmp_path}/search.json: seed is 0 there and 1 here; expected the same, or a new "
        "--workdir"
    )
    path = tmp_path / "found.toml"
    path.write_text(path.read_text().replace("trials = 1\n", "trials = 3\n"))
    (tmp_path / "ew/trial00/trial.json").unlink()
    before = path.read_text()
    assert answer(made, tmp_path, ("ew", "mtra"), trials=2) == (
        f"--trials 2: {path} has the best of 3 trials of ew; expected at least 3, or a new "
        "--workdir"
    )
    assert path.read_text() == before
    made(tmp_path, ("mtra",), trials=2)
    (tmp_path / "search.json").rename(tmp_path / "x.json")
    assert answer(made, tmp_path, trials=3) == (
        f"{path}: a search without its search.json; expected a whole search, or a new "
        "--workdir"
    )
    (tmp_path / "x.json").rename(tmp_path / "search.json")
    path.unlink()
    record = '{"format": 1, "state": "finished", "score": %s, "figure": %s, %s}'
    rest = '"epochs": 1, "seconds": 1.0'
    for damaged in (
        '{"format": 1, "state": "good"}',
        record % ("NaN", "0.5", rest),
        record % ("0.5", '"0.5"', rest),
    ):
        (tmp_path / "ew/trial00/trial.json").write_text(damaged)
        assert answer(run_all, made(tmp_path, trials=1)).startswith(
            f"{tmp_path}/ew/trial00/trial.json: damaged: "
        )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ew,ew"], "method 'ew,ew': expected different names, such as ew,mtra"),
        (["ew", "--trials=x"], "--trials x: expected a whole number, at least 1"),
        (["ew", "--trials=0"], "--trials 0: expected a whole number, at least 1"),
        (["ew", "--seed=-1"], "--seed -1: expected a whole number, at least 0"),
    ],
)
def test_wrong_flags_are_refused(tmp_path, arguments, expected):
    flags = ["--preset=new_synthetic", f"--workdir={tmp_path}/x"]
    assert answer(command.main, [*arguments, *flags]) == expected


# ---- the file


ROWS = (
    Chosen("ew", "ew", 16, (("learning_rate", "0.0001"),)),
    Chosen(
        "ew_tuned", "ew", 16, (("learning_rate", "0.0002"), ("weight_decay", "0.1"))
    ),
    Chosen(
        "mtra",
        "mtra",
        16,
        (("learning_rate", "0.0002"), ("method.beta", "2.0")),
        *("loss", 0.5, 3, 1, "2026-11-27", "abc"),
    ),
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "found.toml"
    head = {"seed": 0, "command": 'a "b" \\ \x7f ü', "overrides": {"data.limit": "24"}}
    found_toml.write(path, head, ROWS, "minilm_tweeteval")
    return path


@pytest.fixture
def tuning(file):
    return found_toml.read(str(file))


def test_what_was_written_is_read(file, tuning):
    assert tuning == Tuning(
        str(file),
        "minilm_tweeteval",
        {row.name: row for row in ROWS},
        (("data.limit", "24"),),
    )
    head = tomllib.loads(file.read_text())["search"]
    assert head["command"] == 'a "b" \\ \x7f ü'
    assert head["overrides"] == {"data.limit": "24"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("format = 1", "format = 2", ":4: search.format is 2; expected 1"),
        ("[search]", "[serach]", ": no table [search]; expected the file of a search"),
        ('preset = "minilm', 'preset = "minilmm', ":5: search.preset: unknown preset "),
        ("trials = 16", "trials = 0", ":12: ew.trials is 0; expected a whole number"),
        ('method = "ew"', 'method = "eww"', ":11: ew.method is 'eww'; did you mean ew"),
        (
            "learning_rate = 0.0001",
            "learning_rat = 0.0001",
            ":13: ew.values: unknown key --config.learning_rat; did you mean",
        ),
        (
            "learning_rate = 0.0001",
            "learning_rate = -1",
            ":13: ew.values: learning_rate is -1.0; expected more than 0",
        ),
        (
            "learning_rate = 0.0001",
            'learning_rate = "x"',
            ":13: ew.values.learning_rate is 'x'; expected a number",
        ),
        (
            "learning_rate = 0.0001",
            "seed = 1",
            ":13: ew.values.seed is 1; expected a number, and no key but those",
        ),
        (
            "values = { learning_rate = 0.0001 }",
            "values = {}",
            ":13: ew.values is {}; ",
        ),
        ("best_trial = 0", "best_trail = 0", ":16: ew.best_trail: did you mean"),
        ("best_trial = 0", "best_trial = []", ":16: ew.best_trial is []; expected a"),
        ("trials = 16", "trials = ", ":12: Invalid value"),
        ("[ew]", "[eww]", ":10: unknown section 'eww'; did you mean ew"),
        ("[ew_tuned]", "[[x.y]]", ":21: unknown section 'x'; known: ew, ew_tuned, "),
        ("[ew]", "[uw]", ":11: uw.method is 'ew'; expected 'uw', which this section"),
        ("seed = 0", "sead = 0", ":6: search.sead: did you mean seed?"),
        ('"24"', "24", ":8: search.overrides is {'data.limit': 24}; expected a text"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(file, old, new, expected):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    assert answer(found_toml.read, str(file)).startswith(f"{file}{expected}")


def test_a_file_that_is_missing_or_has_no_method_is_refused(tmp_path):
    path = tmp_path / "found.toml"
    message = answer(found_toml.read, str(path))
    assert message == f"{path}: cannot be read: No such file or directory"
    path.write_text('[search]\nformat = 1\npreset = "own"\n')
    message = answer(found_toml.read, str(path))
    assert message == f"{path}: no table of a method; expected one such as [mtra]"


# ---- who reads it


def test_the_values_give_way_to_those_of_a_row_and_not_to_those_of_all_rows(tuning):
    chosen = run_specs.load(f"{ROOT}/configs/sweep.py:minilm_tweeteval_small")
    assert all(("learning_rate", "5e-4") in t.overrides for t in chosen.trials)
    made = tuned_rows.tuned(chosen, tuning)
    run_specs.check(made, "x")
    own = {trial.name: run_specs.config_of(trial) for trial in made.trials}
    names = [trial.name for trial in chosen.trials]
    assert [*own] == [names[0], "ew tuned", *names[1:]]
    assert own["ew sum"].method.reduction == "sum"
    assert own["ew sum"].learning_rate == 1e-4
    assert own["ew"].learning_rate == own["ew joint"].learning_rate == 1e-4
    assert own["ew joint"].sampling == "joint"
    assert (own["ew tuned"].learning_rate, own["ew tuned"].weight_decay) == (2e-4, 0.1)
    assert (own["mtra"].learning_rate, own["mtra"].method.beta) == (2e-4, 2.0)
    assert own["uw"].learning_rate == 5e-4
    assert {config.epochs for config in own.values()} == {2}
    half = run_specs.variants(
        "mtra",
        {"half": (("method.beta", "0.5"),)},
        "minilm_tweeteval",
        (0,),
    )
    made = tuned_rows.tuned(chosen._replace(trials=(*chosen.trials, *half)), tuning)
    config = run_specs.config_of(made.trials[-1])
    assert (config.learning_rate, config.method.beta) == (2e-4, 0.5)
    # A sweep of one row: what all of its trials have is the row's own.
    (alone,) = tuned_rows.tuned(run_specs.Sweep(half), tuning).trials
    assert run_specs.config_of(alone).method.beta == 0.5


def test_a_search_of_another_preset_or_a_key_set_twice_is_refused(tuning, tmp_path):
    other = run_specs.load(f"{ROOT}/configs/sweep.py:synthetic")
    assert answer(tuned_rows.tuned, other, tuning) == (
        f"{tuning.path}: search.preset is 'minilm_tweeteval'; expected 'tiny_synthetic', "
        "as in these runs"
    )
    chosen = run_specs.load(f"{ROOT}/configs/sweep.py:minilm_tweeteval")
    made = tuned_rows.tuned(chosen, tuning)
    assert answer(sweep.make_plan, made, tmp_path, [("weight_decay", "0.2")]) == (
        f"--config.weight_decay: {tuning.path} sets it for ew_tuned; expected the command "
        "without this flag, or without --found"
    )


def test_a_search_under_other_conditions_than_the_runs_is_one_line(tuning):
    def line(tuning, *overrides, name="minilm_tweeteval"):
        chosen = run_specs.load(f"{ROOT}/configs/sweep.py:{name}")
        made = tuned_rows.tuned(chosen, tuning)
        return tuned_rows.difference(made.trials, tuning, overrides)

    assert line(tuning) == (
        f"{tuning.path}: found with data.limit=24; these runs have data.limit=0"
    )
    assert line(tuning, ("data.limit", "24"), ("data.dir", "x")) == ""
    whole = tuning._replace(overrides=())
    assert line(whole) == line(whole, ("epochs", "20"), ("tasks", "")) == ""
    assert line(whole, ("data.fraction", "0.10"), ("epochs", "20")) == (
        f"{tuning.path}: found with data.fraction=1.0; these runs have data.fraction=0.1"
    )
    cut = tuning._replace(overrides=(("tasks", "irony,emotion"), ("epochs", "2")))
    assert line(cut) == (
        f"{tuning.path}: found with tasks=emotion,irony, epochs=2; these runs have "
        "tasks=all, epochs=20"
    )
    # What all rows of a sweep set counts; the rate that was searched does not.
    assert line(cut, name="minilm_tweeteval_small") == (
        f"{tuning.path}: found with data.fraction=1.0, batch_size=128, data.max_shapes=0; "
        "these runs have data.fraction=0.2, batch_size=64, data.max_shapes=3"
    )
    by_figures = tuning._replace(overrides=(("selection", "average"),))
    assert line(by_figures) == (
        f"{tuning.path}: found with selection=average; these runs have selection=loss; "
        "--config.selection=average chooses epochs as there"
    )
    assert line(by_figures, ("selection", "average")) == ""
    own = tuning._replace(preset="own", overrides=(("data.tasks", "a.toml"),))
    assert line(own, ("data.tasks", "a.toml"), name="own") == ""
    assert line(own, ("data.tasks", "b.toml"), name="own") == (
        f"{tuning.path}: found with data.tasks=a.toml; these runs have data.tasks=b.toml"
    )
    for there, here, told in (
        ("bert", "/models/bert", ""),  # moved
        ("bert", "/models/roberta", "bert; these runs have backbone.path=roberta"),
        ("", "bert", "new; these runs have backbone.path=bert"),
    ):
        tuned = tuning._replace(overrides=(("backbone.path", there),))
        start = f"{tuning.path}: found with backbone.path="
        assert line(tuned, ("backbone.path", here)) == (told and start + told)
    assert line(tuning._replace(overrides=()), ("backbone.path", "bert")) == ""
    old = own._replace(overrides=())
    assert line(old, ("data.tasks", "b.toml"), name="own") == ""
    wrong = tuning._replace(overrides=(("epoch", "2"),))
    assert answer(line, wrong).startswith(
        f"{tuning.path}: search.overrides: unknown key --config.epoch; did you mean epochs"
    )
    assert tuned_rows.difference((), None, (("epochs", "1"),)) == ""


CATALOGUE = experiments.load()


def study(name, tuning, scale="paper", **options):
    return experiments.make(
        CATALOGUE, name, scale, "minilm", "tweeteval", (0,), tuning=tuning, **options
    )


def test_an_experiment_has_the_values_of_the_search(tuning):
    table = study("ablations", tuning, "small").tables[0]
    own = {trial.name: run_specs.config_of(trial) for trial in table.sweep.trials}
    assert [*own][:3] == ["ew", "ew tuned", "mtra"]
    assert own["ew"].learning_rate == 1e-4
    assert own["ew tuned"].weight_decay == 0.1
    assert {own[n].method.beta for n in own if n.startswith("mtra")} == {2.0}
    assert not own["mtra w/o SA"].method.self_alignment
    assert own["infomtl"].learning_rate == 5e-4
    assert [*experiments_of(study("ablations", None, "small"))][:2] == ["ew", "mtra"]
    for name in ("cost", "alignment"):
        assert "ew tuned" not in experiments_of(study(name, tuning))
    assert answer(study, "main", tuning._replace(preset="tiny_synthetic")) == (
        f"{tuning.path}: search.preset is 'tiny_synthetic'; expected 'minilm_tweeteval', "
        "as in these runs"
    )


def experiments_of(study):
    return {trial.name: trial for trial in study.tables[0].sweep.trials}


def test_levels_have_a_tuned_ew_too_and_the_tuned_value_is_the_plain_row(tuning):
    own = dict(study("data_size", tuning).tables[0].rows)
    assert own["ew tuned data 100 %"] == "ew tuned"
    assert own["ew tuned data 20 %"] == "ew tuned data 20 %"
    trial = experiments_of(study("data_size", tuning))["ew tuned data 20 %"]
    config = run_specs.config_of(trial)
    assert (config.weight_decay, config.data.fraction) == (0.1, 0.2)
    assert trial.baseline == "ew data 20 %"
    own = dict(study("sensitivity", tuning).tables[0].rows)
    assert (own["mtra beta=2"], own["mtra beta=1"]) == ("mtra", "mtra beta=1")


def line(name, method, tuned):
    scores = {"irony": {"macro_f1": 50.0}, "avg": 50.0}
    values = {
        "name": name,
        "method": method,
        "seed": 0,
        "preset": "minilm_tweeteval",
        "overrides": {},
        "results": {"validation": scores, "test": scores},
    }
    return json.dumps(values if tuned is None else {**values, "tuned": tuned})


def test_a_table_says_how_its_rows_were_tuned(tuning):
    chosen = run_specs.load(f"{ROOT}/configs/sweep.py:minilm_tweeteval")
    trials = tuned_rows.tuned(chosen, tuning).trials
    lines = [
        line(t.name, t.method, tuned_rows.described(tuning, t))
        for t in trials
        if not t.seed and t.name in ("ew", "ew tuned", "ew joint", "mtra", "uw")
    ]
    entries = comparison.parse("\n".join(lines), "x")
    expected = (
        f"tuned: 16 trials each on validation, {tuning.path} (ew, ew_tuned, mtra); "
        "values of ew: ew joint; not tuned: uw"
    )
    compared = comparison.compare(entries)
    assert formats.text(compared).endswith(expected)
    for make in (formats.markdown, formats.latex):
        assert expected in make(compared)
    plain = [line(t.name, t.method, None) for t in chosen.trials if not t.seed]
    compared = comparison.compare(comparison.parse("\n".join(plain), "x"))
    assert "tuned" not in formats.text(compared)
    wrong = line("ew", "ew", {"name": "ew", "file": "x", "trials": "16"})
    assert answer(comparison.parse, wrong, "x") == (
        "x:1: damaged: 'trials' is '16'; expected a whole number"
    )


def test_the_next_command_has_the_spaces_with_values_and_a_sweep_that_exists(tmp_path):
    def command_of(preset, *names):
        planned = SimpleNamespace(
            preset=preset,
            workdir=tmp_path / "s",
            spaces=spaces.load(preset),
            overrides=(("data.dir", "data"), ("learning_rate", "2e-3")),
        )
        flags = SimpleNamespace(tasks=None, backbone=None, preset=preset)
        return shlex.split(command._sweep_command(planned, flags, names))

    words = command_of("minilm_tweeteval", "ew", "ew_sum", "mtra")
    assert words[2:] == [
        *("--config", "configs/sweep.py:minilm_tweeteval", "--only", "ew,ew sum,mtra"),
        *("--found", f"{tmp_path}/s/found.toml", "--workdir", f"{tmp_path}/s_sweep"),
        "--config.data.dir=data",
    ]
    assert command_of("new_tweeteval", "ew") == []


# ---- a real one


@pytest.mark.slow
def test_two_trials_of_a_small_run_and_the_sweep_that_reads_them(
    tmp_path, monkeypatch, capsys
):
    tiny = [
        "--config.tasks=irony,intensity",
        "--config.data.limit=24",
        "--config.data.fraction=0.1",
        "--config.batch_size=16",
        "--config.epochs=2",
        "--config.data.max_shapes=1",
        "--config.data.max_length=32",
        "--config.selection=loss",
        "--config.loggers=",
        f"--config.data.cache_dir={tmp_path}/cache",
    ]
    place = tmp_path / "search"
    finish = validation_run.training.results.finish

    def scores_test(*_):
        raise AssertionError("the test set was scored")

    monkeypatch.setattr(validation_run.training.results, "finish", scores_test)
    arguments = ["ew", "--preset=tiny_synthetic", "--trials=2", f"--workdir={place}"]
    command.main([*arguments, *tiny])
    losses = []
    for number in range(2):
        path = place / f"ew/trial0{number}/metrics.jsonl"
        logged = [json.loads(row) for row in path.read_text().splitlines()]
        assert not any("test" in key for row in logged for key in row)
        losses.append(
            min(row["validation/loss"] for row in logged if "validation/loss" in row)
        )
        record = validation_run.read(path.parent)
        assert (record.state, record.score) == ("finished", losses[-1])
    capsys.readouterr()
    command.main([*arguments, *tiny])  # reads the records and the data, trains nothing
    output = capsys.readouterr().out
    assert output.count(" before\n") == 2
    tuning = found_toml.read(str(place / "found.toml"))
    best = losses.index(min(losses))
    assert tuning.rows["ew"].best_trial == best
    *lines, next_line = output.splitlines()
    assert "finished, best" in lines[best - 4]

    monkeypatch.setattr(validation_run.training.results, "finish", finish)
    label, _, verb, *words = shlex.split(next_line)
    assert (label, verb) == ("next:", "sweep")
    sweep_command.main([*words, "--seeds=0"])
    trained = tmp_path / "search_sweep"
    results = json.loads((trained / "ew/seed0/results.json").read_text())
    assert results["best_validation_loss"] == losses[best]
    (stored,) = map(json.loads, (trained / "results.jsonl").read_text().splitlines())
    assert stored["tuned"] == {"name": "ew", "trials": 2, "file": tuning.path}
