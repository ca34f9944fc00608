"""Flags and overrides of the scripts; errors as one line with exit code 2."""

import sys
import warnings
from pathlib import Path

import pytest
from messages import assert_mentions

from mtra_jax import cli, config_help
from mtra_jax.errors import InputError

MTRA = str(Path(__file__).resolve().parents[1] / "configs" / "mtra.py")


def make_parser():
    parser = cli.Parser(prog="train")
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--distributed", action="store_true")
    return parser


@pytest.mark.parametrize(
    ("arguments", "rest", "overrides"),
    [
        ([], [], []),
        (["--workdir", "w"], ["--workdir", "w"], []),
        (["--config.seed=1"], [], [("seed", "1")]),
        (["--config.seed", "1"], [], [("seed", "1")]),
        (["--config.seed", "-1"], [], [("seed", "-1")]),
        (["--config.data.dir="], [], [("data.dir", "")]),
        (["--config.data.dir=a=b"], [], [("data.dir", "a=b")]),
        (["--config.data.dir=--odd"], [], [("data.dir", "--odd")]),
        (
            ["a", "--config", "f.py:x", "--config.seed", "1", "b", "--config.seed=2"],
            ["a", "--config", "f.py:x", "b"],
            [("seed", "1"), ("seed", "2")],
        ),
        (["--configs.seed=1"], ["--configs.seed=1"], []),
    ],
)
def test_overrides_are_taken_out_in_order(arguments, rest, overrides):
    assert cli.split_overrides(arguments) == (rest, overrides)


@pytest.mark.parametrize("after", [[], ["--workdir", "w"], ["--config.epochs=1"]])
def test_an_override_without_a_value_is_refused(after):
    with pytest.raises(InputError) as error:
        cli.split_overrides(["--config.seed", *after])
    assert_mentions(error.value, "--config.seed", "--config.seed=VALUE")


def test_flags_are_parsed():
    result = cli.parse(make_parser(), ["--workdir", "w", "--distributed"])
    assert (result.workdir, result.split, result.distributed) == ("w", "test", True)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (["--wrokdir=x"], "unknown argument --wrokdir; did you mean --workdir?"),
        (["--wrokdir", "x"], "unknown argument --wrokdir; did you mean --workdir?"),
        (
            ["extra"],
            "unknown argument extra; "
            "known: -h, --help, --workdir, --split, --distributed",
        ),
    ],
)
def test_unknown_flags_are_answered_with_the_nearest(rest, expected):
    with pytest.raises(InputError) as error:
        cli.parse(make_parser(), ["--workdir", "w", *rest])
    assert str(error.value) == expected


def test_a_misspelt_flag_that_is_required_is_unknown_before_it_is_missing():
    with pytest.raises(InputError) as error:
        cli.parse(make_parser(), ["--wrokdir=x"])
    assert str(error.value) == "unknown argument --wrokdir; did you mean --workdir?"
    with pytest.raises(InputError, match="required: --workdir"):
        cli.parse(make_parser(), ["--distributed"])


def test_the_help_shows_required_flags_as_required(capsys):
    with pytest.raises(SystemExit):
        cli.parse(make_parser(), ["--help"])
    usage = capsys.readouterr().out
    assert "--workdir WORKDIR" in usage
    assert "[--workdir" not in usage


def test_a_flag_of_another_command_is_answered_with_its_place_in_this_one():
    others = {"--distributet": "--workdir"}
    with pytest.raises(InputError, match=r"did you mean --workdir\?$"):
        cli.parse(make_parser(), ["--workdir=w", "--distributet=x"], others=others)


@pytest.mark.parametrize(
    ("flag", "key"),
    [
        *((f"--{key}=3", key) for key in config_help.KEYS),
        ("--epochs", "epochs"),
        ("--batch-size=16", "batch_size"),
        ("--max_length=64", "data.max_length"),
        ("--fraction", "data.fraction"),
    ],
)
def test_a_key_without_its_prefix_is_answered_with_the_key(flag, key):
    with pytest.raises(InputError) as error:
        cli.parse(make_parser(), ["--workdir", "w", flag], has_keys=True)
    name = flag.partition("=")[0]
    assert str(error.value) == (
        f"unknown argument {name}; did you mean --config.{key}?"
    )


def test_keys_are_suggested_to_commands_that_take_them():
    with pytest.raises(InputError, match=r"^unknown argument --epochs; known: -h"):
        cli.parse(make_parser(), ["--workdir", "w", "--epochs=3"])


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ([], "the following arguments are required: --workdir"),
        (["--workdir"], "argument --workdir: expected one argument"),
        (["--workdir", "w", "--split", "train"], "argument --split: invalid choice"),
    ],
)
def test_wrong_flags_raise_instead_of_leaving(rest, expected, capsys):
    with pytest.raises(InputError) as error:
        cli.parse(make_parser(), rest)
    assert str(error.value).startswith(expected)
    assert capsys.readouterr() == ("", "")


def test_a_configuration_with_overrides():
    arguments = [
        "--config.epochs=3",
        f"--config={MTRA}:new_synthetic",
        "--workdir",
        "w",
        "--config.tasks",
        "irony,stance",
    ]
    flags, config = cli.with_config(make_parser(), arguments)
    assert flags.workdir == "w"
    assert (config.epochs, config.tasks) == (3, ("irony", "stance"))


def test_a_configuration_is_required():
    with pytest.raises(InputError, match="required: --config"):
        cli.with_config(make_parser(), ["--workdir", "w", "--config.epochs=3"])


def test_existing_directory(tmp_path):
    assert cli.existing_directory(str(tmp_path)) == tmp_path
    file = tmp_path / "file"
    file.write_text("")
    for path, fault in (
        (file, "not a directory"),
        (tmp_path / "none", "no such directory"),
        (tmp_path / ("long" * 99), "no such directory"),
    ):
        with pytest.raises(InputError) as error:
            cli.existing_directory(str(path))
        assert_mentions(error.value, path, fault)


def test_output_directory(tmp_path):
    for path in (tmp_path, tmp_path / "new" / "one"):
        assert cli.output_directory(str(path)) == path
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for path, fault in (
        ("", "'': an empty name"),
        (tmp_path / "file", f"{tmp_path}/file: not a directory"),
        (tmp_path / "file" / "one", f"{tmp_path}/file/one: Not a directory"),
    ):
        with pytest.raises(InputError) as error:
            cli.output_directory(str(path))
        assert_mentions(error.value, fault, "directory", "new")


def run(monkeypatch, main, arguments=()):
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    cli.run(main)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--config.epoch=3"], "unknown key --config.epoch; did you mean epochs?"),
        (["--config.epochs=0"], "epochs is 0; expected at least 1"),
        (["--wokdir=3"], "unknown argument --wokdir; did you mean --workdir?"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(monkeypatch, capsys, overrides, expected):
    def main(arguments):
        cli.with_config(make_parser(), arguments)

    config = f"--config={MTRA}:new_synthetic"
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, main, ["--workdir", "w", config, *overrides])
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", f"error: {expected}\n")


def test_an_error_of_several_lines_becomes_one(monkeypatch, capsys):
    def main(arguments):
        raise InputError("data.txt: line 3\n  is 'x';\n\nexpected 0 to 3\n")

    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, main)
    assert stop.value.code == 2
    line = "error: data.txt: line 3 is 'x'; expected 0 to 3\n"
    assert capsys.readouterr() == ("", line)


def test_what_a_terminal_would_obey_is_escaped_and_the_middle_of_a_long_line_cut():
    assert cli.one_line("a\0\x1b[2J\u202eb \U0001f600 ן") == (
        "a\\x00\\x1b[2J\\u202eb \U0001f600 ן"
    )
    result = cli.one_line("a" * 9999 + "b")
    assert result == "a" * 1500 + " ... " + "a" * 499 + "b"


def test_a_warning_is_shown_once_in_a_command(monkeypatch, capsys):
    def main(arguments):
        for text in ("one", "two", "one"):
            with warnings.catch_warnings():  # makes Python forget the ones before
                warnings.simplefilter("always")
                warnings.warn(text, stacklevel=1)

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    for _ in range(2):
        run(monkeypatch, main)
        assert capsys.readouterr().err == "warning: one\nwarning: two\n"


def test_an_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def main(arguments):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, main)
    assert stop.value.code == 130
    line = "interrupted; the same command continues\n"
    assert capsys.readouterr() == ("", line)


def test_own_faults_keep_their_traceback(monkeypatch, capsys):
    def main(arguments):
        raise ValueError("not the user's")

    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, main)
    assert stop.value.code == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("Traceback (most recent call last):\n")
    assert 'raise ValueError("not the user\'s")' in errors
    assert errors.splitlines()[-1].startswith(
        "internal error: ValueError: not the user's ("
    )


def test_main_gets_the_arguments(monkeypatch):
    received = []
    run(monkeypatch, received.append, ["--workdir", "w"])
    assert received == [["--workdir", "w"]]
