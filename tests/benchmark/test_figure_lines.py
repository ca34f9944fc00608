"""Figures as lines and as JSON, and the script as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import figure_lines
import host_costs
import jax
import program_costs
import pytest
import run_costs
import scaling
import speeds
import step_costs
import timing
import versus_torch
from tiers import nightly_only

from mtra_jax import config as configs
from mtra_jax.errors import InputError
from mtra_jax.methods import gradients
from mtra_jax.runs.training import preparation

ROOT = Path(__file__).resolve().parents[2]
SPEED = speeds.Speed(
    "mtra",
    [0.1, 0.2, 0.3, 0.2],
    speeds.Fill(512, 4000, 0.94, {"irony": 0.935, "stance": 0.95}),
    flops=8e9,
    rate_of_products=2e10,
    num_compiled=3,
    memory=step_costs.Memory(300 * 2**20, 100 * 2**20),
    parameters={"training": 1200, "testing": 1000},
)
VERSUS = versus_torch.Versus(
    [1.0, 1.0],
    [2.0, 3.0],
    timing.Ratio(2.5, 2.0, 3.0, [2.0, 3.0]),
    {"aligned": (0.5, 0.5001)},
)
FOUND = {
    # 512 texts, 4,000 tokens and 8e9 operations in 0.8 s.
    "speed": (SPEED, ["640.0", "5000", "94.0 % (irony 93.5, stance 95.0)", "10.0 GFLOP/s, 50 %"]),
    "methods": ([SPEED._replace(method="ew"), SPEED], ["ew", "mtra", "1.00", "1,200"]),
    "versus": (VERSUS, ["2.50 by total time of 2", "2.00 to 3.00", "0.50000 / 0.50010"]),
    "feeding": (run_costs.Feeding(0.005, 0.002, 0.0005), ["2.00 ms", "75 % hidden"]),
    "saving": (run_costs.Saving(0.1, 0.4, 3 * 2**20), ["waits 100 ms", "400 ms", "3 MiB"]),
    "resident": (
        versus_torch.Resident(3 * 2**20, 4 * 2**20, 6),
        ["ours 3 MiB, PyTorch's 4 MiB: 0.75; 6 steps"],
    ),
    "starts": (run_costs.Starts(31.0, 8.5, {"libraries": 1.25, "first step": 8.5}), ["31.0 s, and 8.5 s", "libraries 1.2, first step 8.5"]),
    "collectives": (
        {1: {}, 4: {"all-reduce": step_costs.Collective(2, 1, 5 * 2**20)}},
        ["1 devices", "no collective", "all-reduce: 2, 1 of them large, 5 MiB"],
    ),
    "trace": ({"norms": 1.0, "GELU": 3.0}, ["25.0 %", "75.0 %"]),
    "tasks": ([scaling.TaskCost(8, 20.0, 0.25, 1.07)], ["8 tasks", "250 ms", "1.07"]),
    "layers": ([scaling.LayerCost(6, 2, 4.0, 0.5, 900.0)], ["6 layers, 2 an it", "900 s"]),
    "programs": (
        [program_costs.ProgramCost(4, 12_345, 1.25, 60.0, step_costs.Memory(2**30, 2**20))],
        ["instructions", "4  ", "12,345", "1.2", "60.0", "1024 MiB"],
    ),
    "throughput": (host_costs.Throughput(1000, 9, 0.001, 0.002, 0.001, 9.0), ["250,000 texts/s"]),
    "footprint": (
        host_costs.Footprint(10, 9, 8, 0.1, 1.25, 0.1, 0.0015, 0, 2 * 2**30, 2**30),
        ["2048 MiB", "1024 MiB of it mapped", "plan 1.25 s", "1.50 ms"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_figures_are_shown(name):
    value, expected = FOUND[name]
    text = figure_lines.text({name: value})
    for part in expected:
        assert part in text
    json.dumps(figure_lines.plain({name: value}), allow_nan=False)


def test_every_kind_of_figure_has_a_test():
    assert FOUND.keys() | {"machine"} == figure_lines.SHOWN.keys()


def test_computed_properties_are_in_the_json():
    assert figure_lines.plain(SPEED)["share_of_rate"] == 0.5
    assert figure_lines.plain(FOUND["feeding"][0])["hidden"] == 0.75


PRESET = f"{ROOT}/configs/mtra.py:new_synthetic"
OVERRIDES = {
    "tasks": "irony,intensity",
    "data.fraction": "0.3",
    "backbone.num_hidden_layers": "1",
    "backbone.hidden_size": "32",
}
SCRIPT = [
    sys.executable,
    f"{ROOT}/scripts/benchmark.py",
    f"--config={PRESET}",
    *(f"--config.{key}={value}" for key, value in OVERRIDES.items()),
]


def run_script(*flags):
    done = subprocess.run([*SCRIPT, *flags], capture_output=True, text=True, check=True)
    return done.stdout


@nightly_only
def test_the_script_measures_a_run(tmp_path):
    cache = f"--config.data.cache_dir={tmp_path}"
    measured = json.loads(run_script(cache, "--steps=2", "--json"))
    assert measured.keys() == {"machine", "speed", "feeding", "saving", "starts"}
    speed = measured["speed"]
    assert set(speed["fill"]["share_by_task"]) == {"irony", "intensity"}
    assert speed["num_compiled"] == 1
    assert speed["memory"]["peak"] > speed["memory"]["state"] > 0
    assert measured["starts"]["cold"] > 0
    assert measured["starts"]["warm"] > 0
    assert measured["saving"]["num_bytes"] > speed["parameters"]["training"] * 4


@nightly_only
def test_the_script_counts_what_devices_send(tmp_path):
    cache = f"--config.data.cache_dir={tmp_path}"
    measured = json.loads(run_script(cache, "--devices=1,2", "--json"))
    assert measured["machine"]["devices"] == ["cpu"] * 2
    sent = measured["collectives"]["2"]["all-reduce"]
    config = configs.load(PRESET, list(OVERRIDES.items()))
    params = preparation.prepare(config).run.state.params
    words = gradients.word_embeddings(params)
    # The gradient of everything, and before it that of the word embeddings.
    expected = sum(
        leaf.nbytes * (2 if is_word else 1)
        for leaf, is_word in zip(
            jax.tree.leaves(params), jax.tree.leaves(words), strict=True
        )
    )
    numbers = sent["num_bytes"] - expected
    assert 0 < numbers < 1000
    assert 2 <= sent["num_large"] <= 3


def test_a_process_alone_reports_its_stages_and_its_memory(tmp_path):
    cache = f"--config.data.cache_dir={tmp_path}"
    measured = run_costs.alone([*SCRIPT, cache, "--alone=ours", "--steps=1"])
    assert tuple(measured.stages) == run_costs.STAGES
    seconds = list(measured.stages.values())
    assert seconds[0] > 0
    assert seconds == sorted(seconds)
    # Python with JAX takes some 300 MiB before it does anything.
    assert 2e8 < measured.peak_bytes < 1e10


def test_a_process_that_takes_no_step_is_an_error(capfd):
    with pytest.raises(InputError, match="ended with 2 and no step"):
        run_costs.alone([*SCRIPT[:2], "--config=no.py:x"])
    assert "no.py" in capfd.readouterr().err
