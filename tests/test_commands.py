"""The command `mtra-jax`: its verbs and helps, its flags, and the wheel that installs it."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from messages import assert_mentions

from mtra_jax import cli, config_files, config_help, preset_files
from mtra_jax.commands import config as config_command
from mtra_jax.commands import train, verbs
from mtra_jax.errors import InputError
from mtra_jax.methods import registry
from mtra_jax.runs.processes import group
from mtra_jax.version import VERSION

ROOT = Path(__file__).resolve().parents[1]


def started(monkeypatch, capsys, *arguments):
    """Exit code, standard output and standard error of `mtra-jax ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["/any/bin/mtra-jax", *arguments])
    # Once another test has joined processes, a run leaves by it, and waits for the others.
    monkeypatch.setattr(os, "_exit", sys.exit)
    if group := sys.modules.get("mtra_jax.runs.processes.group"):
        monkeypatch.setattr(group, "GRACE_SECONDS", 0)
    code = 0
    try:
        verbs.main()
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


# ---- verbs


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_command_lists_its_verbs_with_a_line_each(monkeypatch, capsys, arguments):
    code, output, errors = started(monkeypatch, capsys, *arguments)
    assert (code, errors) == (0, "")
    first, _, *rows = output.splitlines()
    assert first.startswith("usage: mtra-jax VERB")
    assert [row.split()[0] for row in rows] == list(verbs.VERBS)
    for row, verb in zip(rows, verbs.VERBS.values(), strict=True):
        assert row.endswith(verb.module.__doc__.splitlines()[0])


def test_an_unknown_verb_is_answered_with_the_nearest(monkeypatch, capsys):
    code, output, errors = started(monkeypatch, capsys, "trian", "--workdir=x")
    assert (code, output) == (2, "")
    assert errors == "error: unknown command trian; did you mean train?\n"


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    answer = started(monkeypatch, capsys, "--version")
    assert answer == (0, f"mtra-jax {VERSION}\n", "")


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_every_verb_has_a_help_that_starts_with_its_name(monkeypatch, capsys, verb):
    code, output, errors = started(monkeypatch, capsys, verb, "--help")
    assert (code, errors) == (0, "")
    assert output.startswith(f"usage: mtra-jax {verb} [-h]")


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_a_wrong_flag_of_every_verb_is_one_line(monkeypatch, capsys, verb):
    code, output, errors = started(monkeypatch, capsys, verb, "--no_such_flag")
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


@pytest.mark.processes
def test_no_help_imports_jax():
    """In one process: what the first of them imports stays."""
    program = f"""
import sys
from mtra_jax.commands import verbs
for verb in {[v for v in verbs.VERBS if v != "benchmark"]!r}:
    try:
        verbs.VERBS[verb].module.main(["--help"])
    except SystemExit:
        pass
    assert "jax" not in sys.modules, verb
verbs.show([])
assert "jax" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


SCRIPTS = {"prepare_data": "prepare"}


def test_scripts_call_the_functions_of_the_command():
    """A docstring with the command, an import and a call."""
    named = {}
    for path in sorted((ROOT / "scripts").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "verbs.run(" in text:
            named[path.stem] = text.split('verbs.run("')[1].split('"')[0]
            assert f"python scripts/{path.name} " in text
            assert len(text.splitlines()) <= 9
    expected = set(verbs.VERBS) - {"benchmark", "config"}
    assert expected == set(named.values())
    assert all(SCRIPTS.get(name, name) == verb for name, verb in named.items())


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/any/bin/mtra-jax", ["mtra-jax", "predict"]),
        ("mtra-jax train", ["mtra-jax", "predict"]),
        ("scripts/train.py", ["python", "scripts/predict.py"]),
    ],
)
def test_another_command_is_started_in_the_same_way(monkeypatch, program, expected):
    monkeypatch.setattr(sys, "argv", [program])
    assert cli.command("predict") == expected


@pytest.mark.parametrize(
    ("path", "here", "expected"),
    [
        ("{bin}", "/", "mtra-jax"),
        ("", "/usr", "{bin}/mtra-jax"),
        ("", "{bin}", "./mtra-jax"),
        ("", "{bin}/..", "bin/mtra-jax"),
    ],
)
def test_a_program_of_this_environment_is_named_so_that_it_starts(
    tmp_path, monkeypatch, path, here, expected
):
    place = tmp_path / "bin"
    place.mkdir()
    (place / "mtra-jax").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(place / "python"))
    monkeypatch.setenv("PATH", path.format(bin=place))
    monkeypatch.chdir(Path(here.format(bin=place)).resolve())
    assert cli.executable("mtra-jax") == expected.format(bin=place)


# ---- flags of train


def flags(*arguments):
    return train.make_parser().parse_args(["--workdir=w", *arguments])


def test_own_tasks_are_a_preset_and_flags_are_overrides():
    given = flags("--tasks=my/tasks.toml", "--backbone=minilm", "--method=ew")
    assert train.config_of(given) == "configs/own.py:tasks=my/tasks.toml"
    assert train.overrides_of(given) == [
        ("backbone.path", "minilm"),
        ("method.name", "ew"),
    ]
    assert train.config_of(flags("--config=configs/mtra.py:x")) == "configs/mtra.py:x"
    assert train.overrides_of(flags("--tasks=t.toml")) == []


@pytest.mark.parametrize("arguments", [(), ("--tasks=t.toml", "--config=a.py:b")])
def test_either_tasks_or_a_preset(arguments):
    with pytest.raises(InputError) as error:
        train.config_of(flags(*arguments))
    assert_mentions(error.value, "--tasks FILE", "--config FILE:NAME")


def test_train_ends_as_the_processes_of_its_run_once_they_are_imported(monkeypatch):
    codes = []
    monkeypatch.setattr(group, "leave", codes.append)
    train.leave(3)
    assert codes == [3]
    monkeypatch.delitem(sys.modules, group.__name__)
    with pytest.raises(SystemExit) as stop:
        train.leave(2)
    assert (stop.value.code, codes) == (2, [3])


def test_the_help_of_train_names_presets_methods_and_keys():
    text = " ".join(train.epilog().split())
    presets = config_files.execute(str(ROOT / "configs" / "mtra.py"))
    assert f"NAME one of {', '.join(presets.TABLE_10)} configs/" in text
    assert f"METHOD one of {', '.join(registry.METHODS)} keys" in text
    assert f"keys of --config.KEY=VALUE: {', '.join(config_help.KEYS)} `mtra" in text


# ---- presets


def test_a_preset_file_is_found_here_first_and_then_in_the_package(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shipped = str(ROOT / "configs" / "mtra.py")
    assert preset_files.find("configs/mtra.py") == shipped
    assert preset_files.find("mtra") == shipped
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mtra.py").touch()
    assert preset_files.find("configs/mtra.py") == "configs/mtra.py"
    assert preset_files.find("mtra") == shipped
    (tmp_path / "mtra").touch()
    assert preset_files.find("mtra") == "mtra"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "configs/mtar.py",
            "no such configuration file; did you mean configs/mtra.py",
        ),
        ("mtar", "no such configuration file; did you mean configs/mtra.py"),
        ("mtra.py", "no such configuration file"),
        ("own/configs/mtra.py", "no such configuration file"),
        ("configs/../mtra.py", "no such configuration file"),
    ],
)
def test_a_missing_preset_file_is_answered_with_the_nearest(
    tmp_path, monkeypatch, path, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        preset_files.find(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert ";" in message or str(error.value) == f"{path}: {message}"


def test_the_keys_of_a_table_are_read_without_running_its_file(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        'B = {"no": 1}\nA: dict = {"a": 1 / 0, "b": {"c": 2}}\nraise OSError'
    )
    assert preset_files.keys(path, "A") == ["a", "b"]
    with pytest.raises(LookupError, match="no C"):
        preset_files.keys(path, "C")


# ---- mtra-jax config


def test_config_lists_every_key_with_its_default(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "500")
    code, output, _ = started(monkeypatch, capsys, "config")
    assert code == 0
    head, *rows, own = output.splitlines()
    assert own == (
        "own tasks (--tasks): benchmark=own, heads.start=base_rate, "
        "backbone.path=FacebookAI/roberta-base, data.standardize=true, "
        "method.epsilon=1.0"
    )
    meaning = head.index("meaning")
    assert [row.split()[0] for row in rows] == list(config_help.KEYS)
    assert [row[meaning:] for row in rows] == list(config_help.KEYS.values())
    assert {row.split()[0]: row.split()[1] for row in rows}["learning_rate"] == "5e-05"


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("learning_rate", ["default", "5e-05", "a number, more than 0", "warm-up"]),
        ("--config.epochs", ["default", "20", "a whole number, at least 1", "Passes"]),
        ("head_dropout", ["a number, at least 0 and less than 1"]),
        ("mapping", ["default", "pmap", "one of pmap, shard_map"]),
        (
            "backbone.path",
            ["(empty)", "a path, a hub name, or builtin:tiny; empty", "Encoder"],
        ),
        ("data.tasks", ["(empty)", "expected  a path\n", "TOML file"]),
        ("heads.start", ["zero", "own tasks (--tasks)  base_rate", "one of zero"]),
        ("data.standardize", ["false", "own tasks (--tasks)  true", "true or false"]),
        ("class_weights", ["none", "one of none", "{ label = weight }"]),
        ("method.name", ["mtra", "mtra-jax config method"]),
        ("method", [f"\n{name} " for name in registry.METHODS]),
        ("method.marginal", ["mtra", "shuffle", "one of shuffle, all_pairs"]),
        ("method.bound", ["mtra", "mine", "one of mine, smile, info_nce, jsd"]),
        ("method.balance", ["mtra", "none", "one of none, pull"]),
        ("method.epsilon", ["mtra", "5.0", "mtra, own tasks (--tasks): 1.0"]),
        ("method.beta", ["  mtra", "1.0", "0 or more, finite", "\n  mt_vib", "0.01"]),
        (
            "method.ew",
            [
                "Equal weighting",
                "method.reduction",
                "mean, sum",
                "`sampling`: per_task",
            ],
        ),
        (
            "method.epsilon",
            ["mtra, own tasks (--tasks): 1.0", "`epsilon` the L2 norm of the pert"],
        ),
        (
            "method.mtra",
            ["`beta` is the weight", "method.floor", "0.01", "more than 0"],
        ),
    ],
)
def test_config_explains_a_key(monkeypatch, capsys, key, parts):
    code, output, errors = started(monkeypatch, capsys, "config", key)
    assert (code, errors) == (0, "")
    for part in parts:
        assert part in output
        output = output[output.index(part) + len(part) :]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("batchsize", "unknown key batchsize; did you mean batch_size?"),
        ("max_grad_norm", "unknown key max_grad_norm; did you mean clip_norm?"),
        ("method.mtar", "unknown key method.mtar; did you mean method.mtra"),
        ("method.espilon", "unknown key method.espilon; did you mean method.epsilon"),
        ("mtra", "unknown key mtra; did you mean method.mtra?"),
        ("beta", "unknown key beta; did you mean method.beta?"),
        ("nonsense", "unknown key nonsense; `mtra-jax config` lists them\n"),
    ],
)
def test_config_answers_an_unknown_key_with_the_nearest(
    monkeypatch, capsys, key, expected
):
    code, output, errors = started(monkeypatch, capsys, "config", key)
    assert (code, output) == (2, "")
    assert errors.startswith(f"error: {expected}")


def test_config_names_a_rule_for_every_number():
    """The checks of every key and option answer the value that they cannot hold."""
    for name in registry.METHODS:
        for option, default in registry.options(name).items():
            if type(default) in (int, float):
                text = config_command.expected_option(name, option, default)
                assert ", " in text, (name, option)
    for key, default in config_command.defaults().items():
        if type(default) in (int, float) and key in config_help.KEYS:
            assert ", " in config_command.expected(key, default), key


def test_an_encoder_beside_that_of_a_run_is_refused(monkeypatch, capsys):
    flags = ["--tasks=t.toml", "--workdir=w", "--backbone=enc", "--warm_start=runs/a"]
    assert started(monkeypatch, capsys, "train", *flags) == (
        2,
        "",
        "error: --backbone enc with --warm_start runs/a: the encoder is that of the run; "
        "expected one of the two\n",
    )


# ---- the wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The directory of an installed wheel, with `bin/mtra-jax`."""
    for package in ("hatchling", "pip"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    place = tmp_path_factory.mktemp("installed")
    built = place / "built"
    for command in (
        ["hatchling", "build", "-t", "wheel", "-d", str(built)],
        ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target"],
    ):
        if command[0] == "pip":
            (wheel,) = built.glob("*.whl")
            command = [*command, str(place / "site"), str(wheel)]
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    return place / "site"


def run_installed(site, where, *arguments, text=None):
    return subprocess.run(
        [str(site / "bin" / "mtra-jax"), *arguments],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(site)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.processes
def test_the_wheel_holds_the_presets(installed):
    (wheel,) = (installed.parent / "built").glob(f"mtra_jax-{VERSION}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {
            name.removeprefix("mtra_jax/presets/"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("mtra_jax/presets/")
        }
    files = (ROOT / "configs").glob("*.py")
    assert shipped == {path.name: path.read_bytes() for path in files}


@pytest.mark.processes
def test_an_installed_wheel_trains_and_predicts_outside_the_clone(installed, tmp_path):
    trained = run_installed(
        installed,
        tmp_path,
        *("train", "--config", "configs/mtra.py:tiny_synthetic", "--workdir", "run"),
        *("--config.data.limit=20", "--config.epochs=1", "--config.data.max_shapes=1"),
        *("--config.tasks=irony,intensity", "--config.data.cache_dir="),
        *("--method", "ew"),
    )
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert "mtra-jax predict --workdir run" in trained.stdout
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["method"]["name"], config["epochs"]) == ("ew", 1)
    predicted = run_installed(
        installed,
        tmp_path,
        *("predict", "--workdir", "run", "--cache_dir="),
        text="so good\n",
    )
    (record,) = map(json.loads, predicted.stdout.splitlines())
    assert record["text"] == "so good"
    assert record["irony"]["label"] in ("sincere", "ironic")
    assert set(record["intensity"]["values"]) == {"intensity"}
    refused = run_installed(installed, tmp_path, "benchmark", "--config=mtra:x")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert_mentions(refused.stderr, "scripts/benchmark.py", "clone")


def test_a_command_executes_the_file_of_methods_first(tmp_path, monkeypatch, capsys):
    """Also one that names no method, as `config` of an option."""
    file = tmp_path / "own.py"
    file.write_text(
        "import mtra_jax\nfrom mtra_jax import balancing\n"
        "def plain(power=2.0):\n"
        "    '''L = Σ_t ℓ_t.'''\n"
        "    return balancing.ew('sum')\n"
        "mtra_jax.add_method('plain', plain)\n"
    )
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))
    monkeypatch.setattr(registry, "_executed", set())
    monkeypatch.setenv("MTRA_JAX_METHODS", str(file))
    code, output, _ = started(monkeypatch, capsys, "config", "method.power")
    assert (code, "plain" in output) == (0, True)
    monkeypatch.setenv("MTRA_JAX_METHODS", str(tmp_path / "none.py"))
    code, _, errors = started(monkeypatch, capsys, "config", "method.power")
    assert (code, errors) == (
        2,
        f"error: MTRA_JAX_METHODS: {tmp_path / 'none.py'}: no such configuration file\n",
    )
