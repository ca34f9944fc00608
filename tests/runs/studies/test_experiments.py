"""Experiments: the trials of each table, what they share, and the estimate of their time."""

import numpy as np
import pytest

from mtra_jax import config as configs
from mtra_jax.data.built_in import sources
from mtra_jax.data.splits.examples import Data
from mtra_jax.errors import InputError
from mtra_jax.methods import registry
from mtra_jax.reports.formatting import times
from mtra_jax.runs.studies import experiments
from mtra_jax.runs.sweeps import estimates
from mtra_jax.runs.trained import analyses
from mtra_jax.runs.trials import run_specs
from mtra_jax.tasks import SYNTHETIC

CATALOGUE = experiments.load()


def study(name, scale="paper", **options):
    return experiments.make(CATALOGUE, name, scale, **options)


def values_of(name, key, scale="paper", **options):
    """The value of `key` in the configuration of each row, by its name in the table."""
    result = {}
    for table in study(name, scale, **options).tables:
        trials = {trial.name: trial for trial in table.sweep.trials}
        for label, trial in table.rows:
            config = run_specs.config_of(trials[trial])
            result[table.directory, label] = configs.to_dict(config)[key]
    return result


def refusal(*arguments, **options):
    with pytest.raises(InputError) as error:
        study(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def rows(name, **options):
    return dict(study(name, **options).tables[0].rows)


# ---- the trials


def test_all_methods_of_table_1_are_there_with_three_seeds():
    main = study("main")
    assert (main.preset, main.seeds) == ("roberta_tweeteval", (0, 1, 2))
    trials = main.tables[0].sweep.trials
    names = [name for name in registry.of_papers() if not name.startswith("stl")]
    rows = ["ew", "ew joint", "ew sum", *names[1:]]
    assert [t.name for t in trials if t.seed == 2] == rows
    changed = {t.name: t.overrides for t in trials if t.overrides}
    assert changed == {
        "ew joint": (("sampling", "joint"),),
        "ew sum": (("method.reduction", "sum"),),
    }
    own = {t.name: main.tables[0].sweep.baseline_of(t) for t in trials}
    assert own["uw"] == own["pcgrad"] == own["ew joint"] == "ew joint"
    assert own["mtra"] == own["infomtl"] == own["ew"] == "ew"


def test_ablations_switch_off_the_parts_in_their_names():
    own = values_of("ablations", "method", backbone="bert", benchmark="affecteval")
    parts = ("task_alignment", "self_alignment", "logarithm", "simax", "timin")
    on = {
        name: tuple(method.get(part) for part in parts)
        for (_, name), method in own.items()
    }
    none = (None,) * 3
    assert on == {
        "ew": (None,) * 5,
        "mtra": (True, True, True, None, None),
        "mtra w/o TA": (False, True, True, None, None),
        "mtra w/o SA": (True, False, True, None, None),
        "mtra w/o SI": (True, True, False, None, None),
        "mtra w/o TA & SA": (False, False, True, None, None),
        "mtra w/o all": (False, False, False, None, None),
        "infomtl": (*none, True, True),
        "infomtl w/o SIMax": (*none, False, True),
        "infomtl w/o TIMin": (*none, True, False),
        "infomtl w/o SIMax & TIMin": (*none, False, False),
    }


@pytest.mark.parametrize(
    ("name", "key", "word", "expected"),
    [
        ("data_size", "fraction", "data", {"20": 0.2, "60": 0.6, "80": 0.8, "100": 1}),
        (
            "label_noise",
            "label_noise",
            "noise",
            {"0": 0, "20": 0.2, "40": 0.4, "60": 0.6},
        ),
    ],
)
def test_levels_of_the_data_are_the_papers(name, key, word, expected):
    own = values_of(name, "data")
    methods = ("ew", "ew joint", "si", "uw", "mt_vib", "infomtl", "mtra")
    assert {label: data[key] for (_, label), data in own.items()} == {
        f"{method} {word} {percent} %": value
        for method in methods
        for percent, value in expected.items()
    }
    table = study(name).tables[0]
    for trial in table.sweep.trials:
        own = run_specs.config_of(trial)
        base = next(
            t for t in table.sweep.trials if t.name == table.sweep.baseline_of(trial)
        )
        assert run_specs.config_of(base).data[key] == own.data[key]
        assert run_specs.config_of(base).sampling == own.sampling


def test_the_pairs_are_those_of_tables_11_and_12():
    own = values_of("pairs", "tasks", benchmark="affecteval")
    assert {tuple(tasks) for tasks in own.values()} == {
        ("goemotions", "emobank"),
        ("emotion", "ei-reg"),
        ("emobank", "ei-reg"),
        ("goemotions", "emotion"),
    }
    assert study("pairs").benchmark == "affecteval"
    assert study("pairs", "smoke").benchmark == "synthetic"


def test_sensitivity_changes_one_value_at_a_time():
    own = values_of("sensitivity", "method")
    changed = {}
    for (_, label), method in own.items():
        default = configs.preset("roberta_tweeteval", method["name"]).method
        changed[label] = {k: v for k, v in method.items() if v != default[k]}
    assert {label: c for label, c in changed.items() if label.startswith("mtra")} == {
        "mtra": {},
        "mtra beta=0.5": {"beta": 0.5},
        "mtra beta=1": {},
        "mtra beta=2": {"beta": 2.0},
        "mtra epsilon=0.1": {"epsilon": 0.1},
        "mtra epsilon=1": {"epsilon": 1.0},
        "mtra epsilon=5": {},
    }
    assert changed["infomtl temperature=0.5"] == {"temperature": 0.5}


# ---- sharing


def test_rows_with_the_values_of_the_preset_share_its_runs():
    assert rows("sensitivity")["mtra beta=1"] == "mtra"
    own = rows("sensitivity", backbone="bert", benchmark="affecteval")
    assert (own["mtra beta=1"], own["mtra beta=2"]) == ("mtra beta=1", "mtra")
    sizes, noise = rows("data_size"), rows("label_noise")
    assert sizes["ew joint data 100 %"] == noise["ew joint noise 0 %"] == "ew joint"
    assert sizes["mtra data 100 %"] == noise["mtra noise 0 %"] == "mtra"
    assert sizes["mtra data 20 %"] == "mtra data 20 %"


@pytest.mark.parametrize("scale", CATALOGUE.scales)
def test_trials_of_one_name_are_the_same_in_all_experiments(scale):
    first, place = {}, {"benchmark": "affecteval"}
    if scale == "smoke":
        place["backbone"] = "new"  # its own reads the synthetic benchmark alone
    for name in CATALOGUE.experiments:
        for table in study(name, scale, **place).tables:
            for trial in table.sweep.trials:
                if trial.seed:
                    continue
                path = f"{table.directory}/{trial.directory}"
                config = run_specs.config_of(trial)
                assert first.setdefault(path, config) == config, (name, trial)
    assert "/ew/seed0" in first


def test_a_share_of_the_data_is_one_of_the_scale():
    own = values_of("data_size", "data", "small")
    assert own["", "mtra data 60 %"]["fraction"] == 0.12
    assert own["", "mtra data 100 %"]["fraction"] == 0.2


# ---- refusals


def test_wrong_names_are_refused():
    assert refusal("mian") == "experiment mian: did you mean main?"
    assert refusal("main", "tiny").startswith("--scale tiny: ")
    message = refusal("main", backbone="robert")
    assert message == "--backbone robert: did you mean roberta or bert?"
    assert refusal("main", benchmark="glue").startswith("--benchmark glue: ")
    assert refusal("pairs", benchmark="tweeteval") == (
        "--benchmark tweeteval: pairs has no groups of its tasks; expected affecteval or "
        "synthetic"
    )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sensitivity", "method.beta"),
        ("data_size", "data.fraction"),
        ("pairs", "tasks"),
        ("main", "sampling"),
    ],
)
def test_a_key_in_which_the_rows_differ_is_refused(name, key):
    with pytest.raises(InputError, match=f"--config.{key}: set by the rows of {name}"):
        experiments.check_overrides(study(name), [(key, "1")])
    experiments.check_overrides(study(name), [("epochs", "1")])


# ---- the estimate

EXAMPLES = {
    "irony": {"train": 100, "validation": 10, "test": 20},
    "stance": {"train": 40, "validation": 5, "test": 5},
}


def test_work_counts_forward_passes():
    # Two passes of 3 each over 140 examples, and one over 15, in each of two epochs.
    assert estimates.work(EXAMPLES, 2, 2) == 2 * (6 * 140 + 15) + 25
    own = estimates.work(EXAMPLES, {"irony": 2, "stance": 4}, 1)
    assert own == 2 * 310 + 20 + 4 * 125 + 5


def test_rates_are_medians_of_finished_runs():
    def results(seconds):
        return {
            "examples": EXAMPLES,
            "epochs": 2,
            "train_seconds": seconds - 1,
            "scoring_seconds": 1,
        }

    one, two = estimates.work(EXAMPLES, 2, 1), estimates.work(EXAMPLES, 2, 2)
    rates = estimates.from_results(
        [
            ("ew", results(0.1 * one), 1),
            ("ew", results(0.2 * one), 1),
            ("ew", results(0.9 * one), 1),
            ("mtra", results(0.4 * two), 2),
        ]
    )
    assert rates.of("ew") == pytest.approx(0.2)
    assert rates.of("mtra") == pytest.approx(0.4)
    assert rates.of("uw") == pytest.approx(0.3)
    assert estimates.from_results([]) is None


def test_several_runs_at_a_time_take_at_least_as_long_as_the_longest():
    assert estimates.at_a_time([11.2] * 5 + [20.8] * 5, 10) == 20.8
    # 3 | 1, 1, 4: the last run follows the two short ones.
    assert estimates.at_a_time([3, 1, 1, 4], 2) == 6
    assert estimates.at_a_time([3, 1, 1, 4], 1) == 9
    # The second batch starts when the first has ended, and has a run for each of two.
    line = estimates.of_jobs([[60, 60, 60], [90, 30]], 3, "run")
    assert line.startswith(f"{times.duration(300)}, one run")
    assert f"or {times.duration(150)} if 3 at a time" in line
    assert " at a time" not in estimates.of_jobs([[60], [90]], 3, "run")


def test_an_estimate_follows_passes_epochs_and_examples():
    part = sources.Examples(["so"] * 10, np.zeros(10, np.int32))
    splits = {
        name: {"train": part, "validation": part, "test": part}
        for name in ("irony", "stance")
    }
    data = Data(SYNTHETIC.select(["irony", "stance"]), splits)
    rates = estimates.Rates({"mtra": 0.5}, 0.25, "", compilation=7)

    def analysed(name, most_texts=0, **changes):
        overrides = [("tasks", "irony,stance"), ("epochs", "2"), *changes.items()]
        config = configs.apply(configs.preset("new_synthetic", "mtra"), overrides)
        return estimates.analysed(config, data, analyses.ANALYSES[name], most_texts)

    def seconds(method, **changes):
        overrides = [("tasks", "irony,stance"), ("epochs", "2"), *changes.items()]
        config = configs.apply(configs.preset("new_synthetic", method), overrides)
        return estimates.seconds(config, data, rates)

    assert seconds("ew") == 7 + 0.25 * (2 * (3 * 20 + 20) + 20)
    assert seconds("mtra") == 7 + 0.5 * (2 * (6 * 20 + 20) + 20)
    assert seconds("ew", **{"data.fraction": "0.5"}) == 7 + 0.25 * (2 * 50 + 20)
    assert analysed("uniformity") == 4 * 20
    assert analysed("alignment") == 4 * (20 + 20)
    # Without noise; five sizes: a gradient and a score, ten gradients and a score, a score.
    assert analysed("robustness") == (1 + 5 * (2 + 1 + 20 + 1 + 1)) * 20
    # A run of 2 epochs again, the texts of 4 batches before, between and after them.
    again = 2 * (6 * 20 + 20) + 20
    assert analysed("conflicts") == 3 * 3 * 20 + again
    assert analysed("conflicts", batch_size="2") == 3 * 3 * 16 + again
    assert analysed("information_plane") == 3 * 4 * 20 + again
    # Two tasks; the run is trained on all texts.
    assert analysed("information_plane", most_texts=7) == 3 * 4 * 14 + again
    assert analysed("uniformity", most_texts=11) == analysed("uniformity")
    no_sa = seconds("mtra", **{"method.self_alignment": "false"})
    assert no_sa == 7 + 0.5 * (2 * (3 * 20 + 20) + 20)
