"""Rows of the registry: names, options, tables, and the methods that they make."""

import inspect
from pathlib import Path

import jax
import method_tables
import numpy as np
import pytest

from mtra_jax.balancing import Reads
from mtra_jax.errors import InputError
from mtra_jax.methods import registry
from mtra_jax.methods.contract import Method
from mtra_jax.runs.trials import run_specs, spaces


def test_options_are_the_keywords_of_the_factory():
    assert registry.options("gls") == {}
    assert registry.options("mtra") == {
        "beta": 1.0,
        "epsilon": 5.0,
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


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mtr", "unknown method 'mtr'; did you mean mtra?"), ("", "unknown method ''; ")],
)
def test_an_unknown_method_is_reported_with_the_nearest_name(name, expected):
    with pytest.raises(InputError) as error:
        registry.options(name)
    assert str(error.value).startswith(expected)
    if not name:
        names = ", ".join(registry.METHODS)
        rest = "MTRA_JAX_METHODS=FILE.py, or mtra_jax.add_method, adds it; known: "
        assert str(error.value) == f"{expected}{rest}{names}"


def other_rows():
    """Rows of sweeps and spaces of searches that are not methods; the flags that they set."""
    rows = {}
    for name in ("synthetic", "ablations_synthetic"):
        for trial in run_specs.load(f"configs/sweep.py:{name}").trials:
            rows[trial.name] = [f"--config.{k}={text}" for k, text in trial.overrides]
    search = spaces.load("tiny_synthetic")
    shared = search["ew"].axes
    for name, space in search.items():
        axes = [f"--config.{axis.key}" for axis in space.axes if axis not in shared]
        rows[name] = axes + [f"--config.{key}={text}" for key, text in space.fixed]
    return {name: flags for name, flags in rows.items() if name not in registry.METHODS}


def test_rows_that_are_not_methods_are_refused_with_the_flags_that_make_them():
    rows = other_rows()
    assert {"ew sum", "ew joint", "ew_sum", "ew_tuned", "mtra w/o all"} <= rows.keys()
    for name, flags in (*rows.items(), ("EW-Sum", rows["ew_sum"])):
        with pytest.raises(InputError) as error:
            registry.options(name)
        start, hint = str(error.value).split("; ")
        assert start == f"unknown method {name!r}"
        words = hint.removesuffix("?").split()
        assert [word for word in words if word.startswith("--")] == flags
        assert name.lower().startswith(words[words.index("with") - 1])


@pytest.mark.parametrize("name", registry.METHODS)
def test_every_option_can_be_set_on_the_command_line(name):
    options = registry.options(name)
    for key, default in options.items():
        assert type(default) in (bool, int, float, str, tuple), key
    # `name` is the key of the method itself.
    assert "name" not in options
    model, *rest = inspect.signature(registry.METHODS[name].make).parameters.values()
    assert model.name == "model"
    assert {parameter.kind for parameter in rest} <= {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", registry.METHODS)
def test_every_row_makes_a_method(name):
    method = registry.example(name, **registry.options(name))
    assert isinstance(method, Method)
    assert method.reads in {"aligned passes", *(reads.value for reads in Reads)}
    params = jax.jit(method.init)(jax.random.key(0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    assert registry.METHODS[name].doc.count("Source:") == 1


@pytest.mark.parametrize(
    ("name", "options", "reads", "passes"),
    [
        ("ew", {}, "losses", 1),
        ("pcgrad", {}, "Gramian", 1),
        ("famo", {}, "losses", 1),
        ("graddrop", {}, "gradients", 1),
        ("infomtl", {}, "losses", 2),
        ("infomtl", {"simax": False}, "losses", 1),
        ("mtra", {}, "aligned passes", 2),
        ("mtra", {"self_alignment": False}, "losses", 1),
    ],
)
def test_what_is_read_and_passes_follow_from_the_options(name, options, reads, passes):
    method = registry.example(name, **options)
    assert (method.reads, method.passes) == (reads, passes)


@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("README.md", method_tables.overview),
        ("mtra_jax/methods/README.md", method_tables.details),
        ("mtra_jax/methods/README.md", lambda: method_tables.overview(in_papers=False)),
    ],
)
def test_the_tables_of_the_registry_are_in_their_files(file, table):
    text = (Path(__file__).parents[2] / file).read_text(encoding="utf-8")
    assert f"\n{table()}\n" in text


def rows_of(table):
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_every_row_of_the_overview_has_a_description_and_a_paper():
    rows = rows_of(method_tables.overview()) + rows_of(
        method_tables.overview(in_papers=False)
    )
    for name, row in zip(registry.METHODS, rows, strict=True):
        method, does, source = row
        assert method == f"`{name}`", row
        assert does.endswith("."), row
        assert source[-4:].isdigit(), row


def test_every_row_of_the_details_describes_its_method():
    folder = Path(__file__).parents[2] / "mtra_jax/methods"
    rows = rows_of(method_tables.details())
    for name, row in zip(registry.METHODS, rows, strict=True):
        method, title, reads, passes, sampling, runs = row
        assert (folder / method.partition("](")[2].removesuffix(")")).is_file(), row
        assert title, row
        made = registry.example(name)
        assert (reads, passes) == (made.reads, str(made.passes)), row
        assert sampling == registry.sampling(name)
        assert (runs == "one per task") == registry.METHODS[name].is_separate


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_method_averages_in_pieces_as_its_model_does(toy, in_pieces):
    model = toy.model._replace(in_pieces=in_pieces)
    assert registry.make("ew", model).in_pieces is in_pieces
