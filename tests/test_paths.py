"""`~` in arguments and configurations, and the place of the default cache."""

import os
from pathlib import Path

import pytest

from mtra_jax import cli, config, paths
from mtra_jax.errors import InputError
from mtra_jax.runs.training import choices

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return home


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("~", "{home}"),
        ("~/run", "{home}/run"),
        ("--workdir=~/run", "--workdir={home}/run"),
        ("--workdir=~", "--workdir={home}"),
        ("--config=~/own.py:name", "--config={home}/own.py:name"),
        ("--config.data.dir=~/data", "--config.data.dir={home}/data"),
        ("MTRA=~/run", "MTRA={home}/run"),
        ("--workdir=a=~/run", "--workdir=a=~/run"),
        ("--workdir=./~/run", "--workdir=./~/run"),
        ("--workdir", "--workdir"),
        ("a~b", "a~b"),
        ("", ""),
    ],
)
def test_arguments_are_expanded(home, argument, expected):
    assert paths.expand_arguments([argument]) == [expected.format(home=home)]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--a.b=~nosuchuser/x", "--a.b=~nosuchuser/x: no user 'nosuchuser' here"),
        ("~nosuchuser", "~nosuchuser: no user 'nosuchuser' here"),
    ],
)
def test_an_unknown_user_is_refused(argument, message):
    with pytest.raises(InputError) as error:
        paths.expand_arguments([argument])
    assert str(error.value) == (
        f"{message}; expected a path without ~ (or ./~ for a ~)"
    )


@pytest.fixture
def homeless(monkeypatch):
    """No HOME, and no entry of this user in the list of users."""
    import pwd

    def unknown(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_a_home_that_is_unknown():
    with pytest.raises(InputError) as error:
        paths.expand("~/x")
    assert str(error.value).startswith("~/x: no home directory: set HOME; ")
    with pytest.warns(UserWarning, match="^no cache .*: no home directory: set HOME; "):
        assert paths.cache_directory(paths.DEFAULT_CACHE) is None
    assert paths.cache_directory("/own") == Path("/own")
    assert paths.cache_directory("") is None


def test_the_scripts_expand_what_they_are_given(home, monkeypatch):
    received = []
    monkeypatch.setattr(
        "sys.argv", ["x.py", "--workdir=~/run", "--config.data.dir=~/d"]
    )
    cli.run(received.extend)
    assert received == [f"--workdir={home}/run", f"--config.data.dir={home}/d"]


def test_a_configuration_holds_expanded_paths(home, tmp_path):
    """Those of the user's own file, too."""
    path = tmp_path / "own.py"
    path.write_text(
        "from mtra_jax import config\n\n"
        "def get_config(name):\n"
        '    found = config.preset("new_tweeteval", "ew")\n'
        '    found.data.dir = "~/data"\n'
        '    found.backbone.path = "~/model"\n'
        "    return found\n"
    )
    result = config.load(f"{path}:x")
    assert (result.data.dir, result.backbone.path) == (f"{home}/data", f"{home}/model")
    result = config.load(f"{path}:x", [("data.dir", "~/other")])
    assert result.data.dir == f"{home}/other"


# ---- the default cache


def test_the_default_cache_is_in_the_home_directory(home):
    expected = home / ".cache" / "mtra_jax"
    assert paths.cache_directory(paths.DEFAULT_CACHE) == expected
    assert expected.is_dir()


def test_the_default_cache_follows_xdg_cache_home(home, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    result = paths.cache_directory(paths.DEFAULT_CACHE)
    assert result == tmp_path / "xdg" / "mtra_jax"
    assert paths.cache_directory("~/own") == home / "own"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its author
    result = paths.cache_directory(paths.DEFAULT_CACHE)
    assert result == home / ".cache" / "mtra_jax"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda home: None, ": No such file or directory"),
        (lambda home: home.write_text(""), ": Not a directory"),
        (
            lambda home: (
                (home / ".cache").mkdir(parents=True)
                or (home / ".cache/mtra_jax").write_text("")
            ),
            "/.cache/mtra_jax: File exists",
        ),
    ],
    ids=["no home", "a file for a home", "a file for a cache"],
)
def test_without_a_writable_home_there_is_no_default_cache(
    tmp_path, monkeypatch, make, reason
):
    home = tmp_path / "nowhere"
    make(home)
    if not home.exists():
        home = Path("/proc/1/nowhere")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.warns(UserWarning, match="^no cache of tokens ") as received:
        assert paths.cache_directory(paths.DEFAULT_CACHE) is None
    (warning,) = received
    assert reason in str(warning.message)


def test_a_read_only_default_cache_is_not_used(home, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.warns(UserWarning, match=f"{home}/.cache/mtra_jax: not writable; "):
        assert paths.cache_directory(paths.DEFAULT_CACHE) is None


def test_a_warning_shows_the_line_that_called_the_package(home, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    chosen = config.load("configs/mtra.py:new_synthetic")
    with pytest.warns(UserWarning, match="not writable") as received:
        choices.use_compilation_cache(chosen)
    assert [warning.filename for warning in received] == [__file__]
