"""Runs that differ only in numbers share their programs, which compile once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiers import NIGHTLY_ONLY

from mtra_jax import config as configs
from mtra_jax.methods import registry
from mtra_jax.runs.training import preparation
from mtra_jax.train.devices import replicate

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    ("tasks", "irony,intensity"),
    ("data.fraction", "0.3"),
    ("batch_size", "64"),
    ("backbone.hidden_size", "16"),
    ("backbone.intermediate_size", "32"),
    ("backbone.num_hidden_layers", "1"),
    ("data.cache_dir", ""),
    ("devices", "1"),
]
PRESET = str(ROOT / "configs/mtra.py:new_synthetic")
# With data that depend on the seed, which draws a share of the examples.
WHOLE = [pair for pair in SMALL if pair[0] != "data.fraction"]


def prepare(*overrides, small=SMALL):
    return preparation.prepare(configs.load(PRESET, [*small, *overrides]))


def texts(prepared):
    """The programs of a run before compilation."""
    run = prepared.run
    state = replicate(run.state, prepared.devices)
    trains = run.train.blanks(run.schedule.plan(0)[0])
    split = run.validation
    evaluates = split.batcher.blanks(split.plan[0])
    return [
        *(run.update.lowered(state, batch).as_text() for batch in trains),
        *(run.forward.lowered(state.params, batch).as_text() for batch in evaluates),
    ]


def numbers_of(method):
    """The real-valued options, but for one that is part of the program unless it is 1."""
    options = registry.options(method).items()
    return {k: v for k, v in options if type(v) is float and k != "critic_rate"}


# One of each family; the others take the same ways.
FAMILIES = {"mtra", "samo", "gradnorm"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        method if method in FAMILIES else pytest.param(method, marks=NIGHTLY_ONLY)
        for method in ("ew", *filter(numbers_of, registry.METHODS))
    ],
)
def test_no_number_is_a_constant_of_a_program(method):
    changes = {f"method.{name}": 0.7 * v for name, v in numbers_of(method).items()}
    changes |= {
        "learning_rate": 3e-4,
        "warm_up": 0.35,
        "clip_norm": 0.25,
        "epochs": 3,
        "patience": 1,
    }
    overrides = [(key, str(value)) for key, value in changes.items()]
    own = [("method.name", method)]
    assert texts(prepare(*own)) == texts(prepare(*own, *overrides))


@pytest.mark.slow
def test_no_seed_is_a_constant_of_a_program():
    many = [("data.max_shapes", "0")]
    first, second = (
        prepare(("seed", str(seed)), *many, small=WHOLE) for seed in (0, 7)
    )
    assert first.run.train.shapes == second.run.train.shapes
    assert texts(first) == texts(second)


DECAYING = [
    ("optimiser", "adamw"),
    ("schedule", "cosine"),
    ("weight_decay", "0.1"),
    ("layer_decay", "0.9"),
    ("method.critic_rate", "3"),
    ("method.bound", "smile"),
]


@pytest.mark.slow
def test_no_number_of_the_optimiser_is_a_constant_of_a_program():
    """Another number of epochs, of a schedule that decays, compiles nothing either."""
    changes = [
        ("epochs", "3"),
        ("weight_decay", "0.2"),
        ("layer_decay", "0.5"),
        ("method.critic_rate", "2"),
        ("method.clip", "0.5"),
    ]
    first = texts(prepare(*DECAYING))
    assert first == texts(prepare(*DECAYING, *changes))
    switches = ("weight_decay", "0"), ("layer_decay", "1"), ("method.critic_rate", "1")
    for key, value in switches:
        fewer = texts(prepare(*DECAYING, (key, value)))
        assert len(fewer[0]) < len(first[0])
        assert fewer[1:] == first[1:]


@pytest.mark.slow
def test_sizes_of_the_network_change_the_programs():
    """The comparison detects a program that differs."""
    assert texts(prepare()) != texts(prepare(("head_dropout", "0.3")))


RUN = """
import sys, jax
from mtra_jax import config
from mtra_jax.runs.training import interfaces, run
from pathlib import Path
counts = {"cache_hits": 0, "cache_misses": 0}
def listen(event, **_):
    name = event.rpartition("/")[2]
    counts[name] = counts.get(name, 0) + 1
jax.monitoring.register_event_listener(listen)
preset, workdir, *overrides = sys.argv[1:]
pairs = [tuple(text.split("=")) for text in overrides]
watch = interfaces.Watch(lambda *_: None, lambda *_: None)
run.train(config.load(preset, pairs), Path(workdir), lambda *_: watch)
print(counts["cache_hits"], counts["cache_misses"])
"""


def train(workdir, *overrides):
    """Returns the programs read from disk and compiled by a run in a new process."""
    texts = [f"{key}={value}" for key, value in (*WHOLE, *overrides)]
    done = subprocess.run(
        [sys.executable, "-c", RUN, PRESET, str(workdir), *texts],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


@pytest.mark.processes
def test_a_second_run_with_other_numbers_compiles_nothing(tmp_path):
    cache = ("data.cache_dir", tmp_path / "cache")
    own = [cache, ("data.max_shapes", "0")]
    hits, misses = train(tmp_path / "first", *own, ("epochs", "1"))
    assert hits == 0
    assert misses > 3
    again = train(
        tmp_path / "second",
        *own,
        ("seed", "3"),
        ("epochs", "2"),
        ("learning_rate", "1e-3"),
        ("warm_up", "0.3"),
        ("clip_norm", "0.5"),
        ("method.beta", "0.3"),
        ("method.epsilon", "0.05"),
        ("method.floor", "0.02"),
    )
    assert again == (misses, 0)
