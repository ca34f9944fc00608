"""Presets against Table 10, every kind of override, and refusal of wrong values."""

import importlib
import json
import py_compile
import sys
from pathlib import Path

import numpy as np
import pytest
from messages import assert_mentions

from mtra_jax import config, config_files, config_help, config_values, preset_files
from mtra_jax.api import training
from mtra_jax.commands import sweep, train
from mtra_jax.errors import InputError
from mtra_jax.methods import registry
from mtra_jax.runs.studies import experiments
from mtra_jax.runs.trials import spaces

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MTRA, BASELINES = str(CONFIGS / "mtra.py"), str(CONFIGS / "baselines.py")
TINY = f"{MTRA}:tiny_synthetic"

PATHS = {
    "roberta": "FacebookAI/roberta-base",
    "bert": "google-bert/bert-base-uncased",
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "tiny": "builtin:tiny",
    "new": "",
}
# Table 10: the heads' dropout, β, ε. MiniLM is like BERT, synthetic like TweetEval.
TABLE_10 = {
    "roberta_tweeteval": (0.2, 1.0, 5.0),
    "roberta_affecteval": (0.0, 1.0, 5.0),
    "roberta_synthetic": (0.2, 1.0, 5.0),
    "bert_tweeteval": (0.2, 1.0, 1.0),
    "bert_affecteval": (0.0, 2.0, 1.0),
    "bert_synthetic": (0.2, 1.0, 1.0),
    "minilm_tweeteval": (0.2, 1.0, 1.0),
    "minilm_affecteval": (0.0, 2.0, 1.0),
    "minilm_synthetic": (0.2, 1.0, 1.0),
    "tiny_synthetic": (0.0, 0.1, 0.01),
    "new_tweeteval": (0.0, 0.1, 0.01),
    "new_affecteval": (0.0, 0.1, 0.01),
    "new_synthetic": (0.0, 0.1, 0.01),
}
# Table 10 and appendix B.4 for all.
COMMON = {
    "epochs": 20,
    "patience": 3,
    "batch_size": 128,
    "sampling": "per_task",
    "learning_rate": 5e-5,
    "warm_up": 0.1,
    "clip_norm": 1.0,
    "data.max_length": 256,
    "data.fraction": 1.0,
    "data.label_noise": 0.0,
    "data.limit": 0,
    "seed": 0,
    "tasks": (),
}
# Small encoders: larger steps, short texts; no dropout.
SMALL = {"learning_rate": 2e-3, "data.max_length": 64, "data.max_shapes": 1}
OWN = {
    "tiny": {**SMALL, "epochs": 5, "batch_size": 32, "selection": "average"},
    "new": {**SMALL, "backbone.dropout": 0.0},
}


def value(values, key):
    for part in key.split("."):
        values = values[part]
    return values


def message(spec, *overrides):
    """The message for wrong overrides, one line."""
    with pytest.raises(InputError) as error:
        config.load(spec, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_preset_is_a_row_of_table_10():
    presets = config_files.execute(MTRA)
    assert presets.TABLE_10.keys() == TABLE_10.keys()
    assert PATHS == presets.BACKBONES


@pytest.mark.parametrize("name", TABLE_10)
def test_presets_hold_table_10(name):
    backbone, benchmark = name.split("_")
    dropout, beta, epsilon = TABLE_10[name]
    expected = {
        **COMMON,
        **OWN.get(backbone, {}),
        **({"epochs": 9} if name == "new_synthetic" else {}),
        "benchmark": benchmark,
        "backbone.path": PATHS[backbone],
        "head_dropout": dropout,
    }
    mtra = config.load(f"{MTRA}:{name}")
    assert {key: value(mtra, key) for key in expected} == expected
    assert mtra.method.to_dict() == {
        "name": "mtra",
        "beta": beta,
        "epsilon": epsilon,
        "width": 128,
        "bound": "mine",
        "clip": 5.0,
        "marginal": "shuffle",
        "cap": False,
        "balance": "none",
        "critic_rate": 1.0,
        "task_alignment": True,
        "self_alignment": True,
        "logarithm": True,
        "floor": 1e-2,
    }
    # The methods are compared under the same settings.
    ew = config.load(f"{BASELINES}:ew_{name}")
    assert ew.method.to_dict() == {"name": "ew", "reduction": "mean", "weights": ""}
    assert {**ew.to_dict(), "method": 0} == {**mtra.to_dict(), "method": 0}


@pytest.mark.parametrize("method", registry.METHODS)
def test_baselines_name_every_method(method):
    result = config.load(f"{BASELINES}:{method}_bert_affecteval")
    assert result == config.preset("bert_affecteval", method)


def test_presets_load_from_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.load(TINY) == config.preset("tiny_synthetic", "mtra")
    assert config.load(f"{BASELINES}:ew_tiny_synthetic").method.name == "ew"


TASKS = """
[mood]
files = "mood.tsv"
label = "mood"
"""


def test_files_of_another_project_are_not_executed_unasked(tmp_path, monkeypatch):
    """With `--tasks`, and for the tables of searches and experiments."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    for path in preset_files.names():
        Path(path).write_text("raise SystemExit('executed')\n")
    Path("tasks.toml").write_text(TASKS)
    lines = [f"{n} well\tgood\n{n} ill\tbad\n" for n in range(9)]
    Path("mood.tsv").write_text(f"text\tmood\n{''.join(lines)}")
    spaces.load("tiny_synthetic")
    experiments.load()
    training.configuration(None, "tasks.toml", "", None, {})
    flags = ["--tasks=tasks.toml", "--backbone=", "--workdir=runs"]
    with pytest.raises(InputError, match="epochs"):
        train.main([*flags, "--config.epochs=0"])
    sweep.main([*flags, "--only=ew", "--dry_run"])
    with pytest.raises(InputError, match=r"own\.py.*executed"):
        config.load("configs/own.py:tasks=tasks.toml")


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("method.task_alignment", "false", False),
        ("method.self_alignment", "False", False),
        ("method.logarithm", "0", False),
        ("method.logarithm", "no", False),
        ("method.logarithm", "true", True),
        ("method.logarithm", "1", True),
        ("method.logarithm", "Yes", True),
        ("epochs", "3", 3),
        ("seed", "0", 0),
        ("seed", str(2**32 - 1), 2**32 - 1),
        ("learning_rate", "1e-3", 1e-3),
        ("learning_rate", "2", 2.0),
        ("method.epsilon", "0", 0.0),
        ("warm_up", "0", 0.0),
        ("warm_up", "1", 1.0),
        ("head_dropout", "0", 0.0),
        ("data.fraction", "1", 1.0),
        ("data.label_noise", "1", 1.0),
        ("data.max_length", "3", 3),
        ("data.dir", "a/b=c", "a/b=c"),
        ("data.cache_dir", "", ""),
        ("sampling", "joint", "joint"),
        ("method.marginal", "all_pairs", "all_pairs"),
        ("tasks", "polarity,irony", ("polarity", "irony")),
        ("tasks", "('polarity','irony')", ("polarity", "irony")),
        ("tasks", '["polarity", "irony"]', ("polarity", "irony")),
        ("tasks", "('irony',)", ("irony",)),
        ("tasks", "irony", ("irony",)),
        ("tasks", "", ()),
    ],
)
def test_overrides_take_the_type_of_the_default(key, text, expected):
    actual = value(config.load(TINY, [(key, text)]), key)
    assert actual == expected
    assert type(actual) is type(expected)


def test_overrides_change_nothing_else():
    expected = config.load(TINY).to_dict()
    expected["data"]["fraction"], expected["seed"] = 0.5, 7
    actual = config.load(TINY, [("seed", "1"), ("data.fraction", "0.5"), ("seed", "7")])
    assert actual.to_dict() == expected


@pytest.mark.parametrize("first", [True, False])
def test_another_method_brings_its_own_options(first):
    """The position of the name among the overrides does not matter."""
    change = [("method.name", "mtra")]
    option = [("method.beta", "0.5")]
    overrides = change + option if first else option + change
    actual = config.load(f"{BASELINES}:ew_tiny_synthetic", overrides)
    expected = {"name": "mtra", **registry.options("mtra"), "beta": 0.5}
    assert actual.method.to_dict() == expected
    # Locked as before: a slip in code must not add a key.
    with pytest.raises(AttributeError):
        actual.method.epsilom = 1.0


@pytest.mark.parametrize("name", ["infomtl", "go4align", "mt_vib"])
def test_options_of_the_same_name_do_not_carry_over(name):
    """The weight of MTRA's bound is not that of another method's penalty."""
    assert "beta" in registry.options(name)
    actual = config.load(TINY, [("method.name", name)]).method.to_dict()
    assert actual == {"name": name, **registry.options(name)}
    same = config.load(TINY, [("method.name", "mtra")])
    assert same.method == config.load(TINY).method


@pytest.mark.parametrize("first", [True, False])
def test_another_method_brings_its_own_sampling(first):
    """A value that the user set is kept, before or after the method."""
    change, choice = [("method.name", "gls")], [("sampling", "per_task")]
    assert config.load(TINY, change).sampling == "joint"
    overrides = change + choice if first else choice + change
    assert config.load(TINY, overrides).sampling == "per_task"
    back = config.load(f"{BASELINES}:gls_tiny_synthetic", [("method.name", "mtra")])
    assert back.sampling == "per_task"


JOINT = {"uw", "gls", "dwa", "pcgrad", "imtl_l", "rlw", "vmtl"}


@pytest.mark.parametrize("method", registry.METHODS)
def test_sampling_of_each_method(method):
    result = config.preset("roberta_tweeteval", method)
    is_joint = method in JOINT or not registry.METHODS[method].in_papers
    assert result.sampling == ("joint" if is_joint else "per_task")


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("roberta", {"alpha": 0.1, "beta": 0.01, "temperature": 1.0, "dropout": 0.2}),
        ("bert", {"alpha": 0.01, "beta": 1.0, "temperature": 0.1, "dropout": 0.0}),
    ],
)
def test_infomtl_has_the_values_of_its_table_8(backbone, expected):
    actual = config.preset(f"{backbone}_tweeteval", "infomtl")
    values = {**actual.method.to_dict(), "dropout": actual.head_dropout}
    assert expected.items() <= values.items()


def test_another_method_drops_the_options_that_it_lacks():
    result = config.load(TINY, [("method.name", "ew")])
    assert result.method.to_dict() == {"name": "ew", "reduction": "mean", "weights": ""}
    answer = message(TINY, ("method.name", "ew"), ("method.beta", "1"))
    assert_mentions(
        answer, "--config.method.beta", "mtra", "not of ew", "method.weights"
    )


def test_the_same_method_keeps_the_values_of_the_preset():
    result = config.load(f"{MTRA}:bert_affecteval", [("method.name", "mtra")])
    assert (result.method.beta, result.method.epsilon) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            [("epoch", "3")],
            "unknown key --config.epoch; did you mean epochs?",
        ),
        (
            [("data.fractoin", "3")],
            "unknown key --config.data.fractoin; did you mean data.fraction?",
        ),
        (
            [("method.epsilom", "1")],
            "unknown key --config.method.epsilom; did you mean method.epsilon",
        ),
        ([("lr", "1")], "unknown key --config.lr; did you mean learning_rate?"),
        ([("bf16", "1")], "unknown key --config.bf16; did you mean compute_dtype?"),
        ([("method.lr", "1")], "unknown key --config.method.lr; known: method."),
        (
            [("data", "x")],
            "--config.data is 'x'; expected one of its keys: data.cache_dir, data.dir, ",
        ),
        ([("method.name", "mtr")], "unknown method 'mtr'; did you mean mtra?"),
        (
            [("method.name", "xyz")],
            "unknown method 'xyz'; MTRA_JAX_METHODS=FILE.py, or mtra_jax.add_method, adds it; "
            f"known: {', '.join(registry.METHODS)}",
        ),
        (
            [("tasks", "irony,polartiy")],
            "unknown task 'polartiy' of synthetic; did you mean polarity?",
        ),
        (
            [("benchmark", "tweet-eval")],
            "benchmark is 'tweet-eval'; did you mean tweeteval",
        ),
        (
            [("benchmark", "glue")],
            "benchmark is 'glue'; known: tweeteval, affecteval, synthetic",
        ),
        ([("sampling", "join")], "sampling is 'join'; did you mean joint?"),
        (
            [("optimiser", "lamb")],
            "optimiser is 'lamb', which scales the update of each layer by its norm; "
            "expected an elementwise one: adamax, ",
        ),
        ([("optimiser", "adamx")], "optimiser is 'adamx'; did you mean adamax"),
        ([("schedule", "cosin")], "schedule is 'cosin'; did you mean cosine"),
        (
            [("compute_dtype", "float16")],
            "compute_dtype is 'float16'; did you mean bfloat16 or float32?",
        ),
        # A task of the preset's benchmark, not of the chosen one.
        (
            [("tasks", "polarity"), ("benchmark", "tweeteval")],
            "unknown task 'polarity' of tweeteval; "
            "known: emotion, hate, irony, offensive, sentiment, stance",
        ),
    ],
)
def test_unknown_names_are_refused_with_similar_names(overrides, expected):
    # The nearest comes first; others may follow.
    assert message(TINY, *overrides).startswith(expected)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            f"{MTRA}:robrta_tweeteval",
            "unknown preset 'robrta_tweeteval'; did you mean roberta_tweeteval",
        ),
        (MTRA, "unknown preset ''; known: roberta_tweeteval, "),
        (
            f"{BASELINES}:ew_tiny_sinthetic",
            "unknown preset 'ew_tiny_sinthetic'; did you mean ew_tiny_synthetic",
        ),
        (
            f"{BASELINES}:e_tiny_synthetic",
            "unknown preset 'e_tiny_synthetic'; did you mean ew_tiny_synthetic",
        ),
    ],
)
def test_unknown_presets_are_refused_with_similar_names(spec, expected):
    assert message(spec).startswith(expected)


def test_invalid_configuration_files(tmp_path):
    assert message("no/such.py:x") == "no/such.py: no such configuration file"
    assert message(f"{tmp_path}:x") == f"{tmp_path}: no such configuration file"
    text = tmp_path / "values.txt"
    text.write_text("epochs: 3\n")
    assert message(f"{text}:x") == f"{text}: not a Python file"
    other = tmp_path / "other.py"
    other.write_text("EPOCHS = 3\n")
    assert message(f"{other}:x").startswith(f"{other}: no function get_config")


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("epochs", "1.5", "a whole number"),
        ("epochs", "many", "a whole number"),
        ("seed", "", "a whole number"),
        ("method.width", "1e2", "a whole number"),
        ("micro_batches", "two", "a whole number"),
        ("learning_rate", "fast", "a number"),
        ("data.fraction", "5%", "a number"),
        ("method.logarithm", "maybe", "true or false"),
        ("method.logarithm", "", "true or false"),
    ],
)
def test_values_of_a_wrong_type_are_refused(key, text, expected):
    assert message(TINY, (key, text)) == (
        f"--config.{key} is {text!r}; expected {expected}"
    )


@pytest.mark.parametrize(
    ("key", "rule", "wrong"),
    [
        ("epochs", "at least 1", "0 -1"),
        ("patience", "at least 1", "0 -2"),
        ("batch_size", "at least 1", "0 -128"),
        ("micro_batches", "at least 1", "0 -2"),
        ("devices", "at least 0", "-1"),
        ("checkpoint_every", "at least 0", "-1"),
        ("sampling_cap", "at least 0", "-1"),
        ("sampling_temperature", "at least 1", "0.5 nan"),
        ("weight_decay", "at least 0", "-0.1 nan"),
        ("layer_decay", "more than 0 and at most 1", "0.0 1.1 nan"),
        ("seed", f"at least 0 and at most {2**32 - 1}", f"-1 {2**32}"),
        ("data.limit", "at least 0", "-1"),
        ("data.limit", f"at most {2**31 - 1}", f"{2**31} {10**20}"),
        ("data.max_length", "at least 3", "2 0 -1"),
        ("data.max_shapes", "at least 0", "-1"),
        ("backbone.vocab_size", "at least 1", "0 -1"),
        ("backbone.hidden_size", "at least 1", "0 -1"),
        ("backbone.num_hidden_layers", "at least 1", "0 -1"),
        ("backbone.num_attention_heads", "at least 1", "0 -1"),
        ("backbone.intermediate_size", "at least 1", "0 -1"),
        ("backbone.dropout", "at least 0 and less than 1", "-0.1 1.0 1.5 nan inf"),
        ("head_dropout", "at least 0 and less than 1", "-0.1 1.0 1.5 nan inf -inf"),
        ("learning_rate", "more than 0", "0.0 -5e-05 nan -inf"),
        ("learning_rate", "more than 0, finite", "inf"),
        ("clip_norm", "more than 0", "0.0 -1.0 nan"),
        ("clip_norm", "more than 0, finite", "inf"),
        ("warm_up", "at least 0 and at most 1", "-0.1 1.1 nan inf"),
        ("data.fraction", "more than 0 and at most 1", "0.0 -0.5 1.5 nan inf"),
        ("data.label_noise", "at least 0 and at most 1", "-0.2 1.2 nan inf"),
    ],
)
def test_values_out_of_range_are_refused(key, rule, wrong):
    for text in wrong.split():
        assert message(TINY, (key, text)) == f"{key} is {text}; expected {rule}"


@pytest.mark.parametrize("key", ["learning_rate", "weight_decay", "method.epsilon"])
def test_numbers_are_those_that_float32_holds(key):
    """Others would be 0 or infinite on a device."""
    limits = np.finfo(np.float32)
    for value in (float(limits.tiny), float(limits.max)):
        config.load(TINY, [(key, repr(value))])
    for value in (np.nextafter(float(limits.tiny), 0), 2 * float(limits.max)):
        told = message(TINY, (key, repr(float(value))))
        assert_mentions(told, key, float(value), "1.175494e-38 to 3.402823e+38")


def test_every_number_is_checked():
    """A new key needs a range: NaN and -1 are always out of range."""
    values = config.load(TINY)
    for key, value in config_values.flat(values).items():
        kind = type(value)
        if kind in (int, float) and not key.startswith("method."):
            message(TINY, (key, "-1"))
        if kind is float and not key.startswith("method."):
            message(TINY, (key, "nan"))


def test_keys_are_all_values_by_dotted_names():
    result = list(config_values.flat(config.default_config("ew")))
    assert len(result) == len(set(result))
    assert {"seed", "epochs", "batch_size", "learning_rate", "tasks"} <= set(result)
    assert {"backbone.path", "data.dir", "data.fraction", "data.label_noise"} <= set(
        result
    )
    chosen = [key for key in result if key.startswith("method")]
    assert chosen == ["method.name", "method.reduction", "method.weights"]
    assert "data" not in result


@pytest.mark.parametrize("method", registry.METHODS)
@pytest.mark.parametrize("tasks", ["", "irony,intensity"])
def test_a_configuration_survives_json(method, tasks):
    saved = config.preset("tiny_synthetic", method)
    saved.tasks = tuple(tasks.split(",")) if tasks else ()
    text = json.dumps(config.to_dict(saved), allow_nan=False)
    assert json.loads(text) == config.to_dict(saved)
    result = config.from_dict(json.loads(text))
    assert result == saved
    # Equal and of the same type: a continued run compares each value.
    assert type(result.tasks) is tuple
    assert result.is_locked


@pytest.mark.parametrize(
    ("key", "wrong", "expected"),
    [
        ("epochs", 0, "epochs is 0; expected at least 1"),
        ("benchmark", "glue", "benchmark is 'glue'"),
        ("tasks", ["irnoy"], "unknown task 'irnoy' of synthetic; did you mean irony?"),
    ],
)
def test_stored_configurations_are_checked(key, wrong, expected):
    values = {**config.to_dict(config.load(TINY)), key: wrong}
    with pytest.raises(InputError) as error:
        config.from_dict(values)
    assert str(error.value).startswith(expected)


def test_a_configuration_of_an_earlier_run_has_the_defaults_of_later_keys():
    saved = config.load(TINY)
    values = config.to_dict(saved)
    for key in config.LATER:
        del values[key]
    assert config.from_dict(values) == saved
    for method, options in config.LATER_OPTIONS.items():
        saved = config.load(f"{BASELINES}:{method}_tiny_synthetic")
        values = config.to_dict(saved)
        for option in options:
            del values["method"][option]
        assert config.from_dict(values) == saved
        assert values["method"].keys().isdisjoint(options), "the caller's stay"


def test_a_stored_unknown_method_is_refused():
    values = config.to_dict(config.load(TINY))
    values["method"] = {"name": "mtar"}
    with pytest.raises(InputError, match=r"unknown method 'mtar'; did you mean mtra"):
        config.from_dict(values)


def test_values_are_set_by_dotted_key_and_nothing_else_changes():
    result = config.make("mtra", {"seed": 3, "method.beta": 0.5}).to_dict()
    expected = config.default_config("mtra").to_dict()
    expected["seed"], expected["method"]["beta"] = 3, 0.5
    assert result == expected


def test_a_preset_needs_the_directory_of_presets(tmp_path, monkeypatch):
    """An installed package has none; the message names the file."""
    monkeypatch.setattr(config, "PRESETS", tmp_path / "baselines.py")
    with pytest.raises(InputError) as error:
        config.preset("tiny_synthetic", "ew")
    assert str(error.value).startswith(f"{tmp_path / 'baselines.py'}: no such file; ")


@pytest.mark.parametrize(
    ("method", "tasks", "expected"),
    [
        ("stl", (), ("polarity", "target", "irony", "stance", "intensity")),
        ("stl", ("intensity", "irony"), ("irony", "intensity")),
        ("stl", ("irony",), ()),
        ("mtra", (), ()),
    ],
)
def test_tasks_with_a_run_each(method, tasks, expected):
    chosen = config.preset("tiny_synthetic", method)
    chosen.tasks = tasks
    assert config.separate_tasks(chosen) == expected


def test_the_configuration_of_a_task_differs_in_its_tasks_only():
    whole = config.preset("tiny_synthetic", "stl")
    result = config.of_task(whole, "irony")
    assert config.task_names(result) == ("irony",)
    assert {**result.to_dict(), "tasks": ()} == whole.to_dict()


def test_every_key_is_explained():
    options = {f"method.{name}" for name in registry.options("mtra")}
    keys = set(config_values.flat(config.default_config())) - options
    assert set(config_help.KEYS) == keys
    assert set(config_help.OTHER_NAMES.values()) <= keys
    assert not keys & set(config_help.OTHER_NAMES)


def test_a_file_is_executed_anew_and_as_it_is_now(tmp_path):
    """Its text is compiled once."""
    path = tmp_path / "mine.py"
    path.write_text("VALUES = []\nNAME = 'one'\n")
    first = config_files.execute(str(path))
    first.VALUES.append(1)
    assert config_files.execute(str(path)).VALUES == []
    path.write_text("NAME = 'two'\n")
    assert config_files.execute(str(path)).NAME == "two"
    assert not hasattr(config_files.execute(str(path)), "VALUES")


def test_a_file_imports_the_modules_beside_it(tmp_path, monkeypatch):
    """Also when its functions run; packages with the same names come first."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(config_files, "_own_directories", [])
    before = [*sys.path]
    (tmp_path / "beside_mine.py").write_text("VALUE = 3\n")
    (tmp_path / "numpy.py").write_text("1 / 0\n")
    path = tmp_path / "mine.py"
    path.write_text(
        "import beside_mine\nimport numpy\n"
        "def later():\n    import beside_mine_too\n    return beside_mine_too.VALUE\n"
    )
    (tmp_path / "beside_mine_too.py").write_text("VALUE = 4\n")
    for _ in range(2):
        module = config_files.execute(str(path))
        assert (module.beside_mine.VALUE, module.later()) == (3, 4)
    assert sys.path == [*before, str(tmp_path)]


def test_modules_of_one_name_beside_two_files_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(config_files, "_own_directories", [])
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "neighbour.py").write_text(f"WHO = '{name}'\n")
        (tmp_path / name / "mine.py").write_text(
            "from neighbour import WHO\n"
            "def later():\n    import neighbour\n    return neighbour.WHO\n"
        )
        (tmp_path / name / "whole").mkdir()
        (tmp_path / name / "whole/__init__.py").write_text("")
        (tmp_path / name / "whole/part.py").write_text(f"WHO = '{name}'\n")
        with (tmp_path / name / "mine.py").open("a") as file:
            file.write("from whole.part import WHO as PART\n")
    for name in "abba":
        module = config_files.execute(str(tmp_path / name / "mine.py"))
        assert (module.WHO, module.PART, module.later()) == (name, name, name)
    # Packages that lie below such a directory, as in its environment, are not touched.
    installed = tmp_path / "a/.venv/lib"
    installed.mkdir(parents=True)
    (installed / "installed_mine.py").write_text("")
    (tmp_path / "b/installed_mine.py").write_text("")
    (tmp_path / "b/__main__.py").write_text("")
    sys.path.insert(0, str(installed))
    package, main = importlib.import_module("installed_mine"), sys.modules["__main__"]
    for name in "ab":
        config_files.execute(str(tmp_path / name / "mine.py"))
    assert sys.modules["installed_mine"] is package
    assert sys.modules["__main__"] is main
    # One that the user has on the path keeps its place there, and its modules count.
    (tmp_path / "c").mkdir()
    (tmp_path / "c/neighbour.py").write_text("WHO = 'c'\n")
    (tmp_path / "c/mine.py").write_text("from neighbour import WHO\n")
    sys.path.insert(0, str(tmp_path / "c"))
    assert config_files.execute(str(tmp_path / "c/mine.py")).WHO == "c"
    assert sys.path[0] == str(tmp_path / "c")


def test_an_error_in_a_module_beside_a_file_is_placed_there(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(config_files, "_own_directories", [])
    (tmp_path / "faulty_neighbour.py").write_text("VALUE = 1\nVALUE / 0\n")
    path = tmp_path / "mine.py"
    path.write_text("import faulty_neighbour\n")
    expected = f"{tmp_path}/faulty_neighbour.py:2: ZeroDivisionError: "
    assert message(f"{path}:x").startswith(expected)


def test_a_compiled_module_beside_a_file_is_not_read(tmp_path):
    """It may be of an older text, or damaged."""
    path = tmp_path / "mine.py"
    path.write_text("NAME = 'old'\n")
    compiled = py_compile.compile(
        str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    path.write_text("NAME = 'new'\n")
    assert config_files.execute(str(path)).NAME == "new"
    Path(compiled).write_bytes(b"damaged")
    assert config_files.execute(str(path)).NAME == "new"
