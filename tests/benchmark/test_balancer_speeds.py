"""Our balancers and TorchJD's on one small network: gradients, times, memory, the table."""

import json
from pathlib import Path

import balancer_speeds
import jax
import numpy as np
import pytest
from tiers import nightly_only

from mtra_jax.errors import InputError

pytest.importorskip("torchjd")
pytestmark = pytest.mark.torch

SIZE = balancer_speeds.Size(num_tasks=3, width=16, batch=8)
# Their draws differ; TorchJD's MGDA solves approximately.
OTHER = {"rlw", "pcgrad", "gradvac", "graddrop", "mgda"}


def paired():
    torchjd_step = balancer_speeds.torchjd_step
    return [*torchjd_step.SCALARIZERS, *torchjd_step.AGGREGATORS]


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem")
@pytest.mark.parametrize("name", paired())
def test_both_sides_have_the_same_losses_and_gradients(name):
    theirs, why = balancer_speeds.theirs_of(name, SIZE)
    if theirs is None:
        pytest.skip(why)
    ours = balancer_speeds.step_of("ours", name, SIZE)
    assert [leaf.shape for leaf in jax.tree.leaves(ours.rest[0])] == [
        tuple(leaf.shape) for leaf in theirs.leaves()
    ]
    distance = balancer_speeds.difference(ours, theirs)  # compares the losses, too
    assert name in OTHER or distance < 1e-4


def test_the_plain_sum_is_that_of_jax():
    params, inputs, labels = balancer_speeds.draw(SIZE)
    step = balancer_speeds.step_of("ours", "sum", SIZE)
    step()
    expected = jax.grad(lambda p: balancer_speeds.losses_fn(p, inputs, labels).sum())(
        params
    )
    for actual, leaf in zip(step.gradient(), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(actual, leaf, rtol=1e-5, atol=1e-6)


def test_the_default_network_has_ten_million_parameters():
    params, *_ = balancer_speeds.draw(balancer_speeds.Size(8, 2048, 1))
    total = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert 9e6 < total < 11e6


def test_the_command_prints_a_row_for_each_method(tmp_path, capsys):
    out = tmp_path / "speeds.jsonl"
    flags = "--tasks 2,3 --only ew,pcgrad,si --steps 2 --width 8"
    balancer_speeds.main([*flags.split(), "--batch", "4", "--out", str(out)])
    table = capsys.readouterr().out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(x["num_tasks"], x["method"]) for x in lines] == [
        (count, name) for count in (2, 3) for name in ("ew", "pcgrad", "si")
    ]
    for figures in lines:
        assert (
            f"| `{figures['method']}` | {figures['milliseconds']['ours'][1]:.1f} |"
            in table
        )
        total, low, high = figures["ratios"]["ours beside the sum"]
        assert 0 < low <= total <= high
        has_theirs = figures["method"] != "si"
        assert ("theirs beside ours" in figures["ratios"]) == has_theirs
    assert "| has none | - |" in table
    assert "2 tasks, 4,428 parameters, batch 4" in table


def test_unknown_methods_are_one_line():
    with pytest.raises(InputError, match="--only is 'pcgrd'; did you mean pcgrad"):
        balancer_speeds.main(["--only", "pcgrd"])


def test_every_method_of_torchjd_is_paired_with_one_of_ours():
    assert set(paired()) <= set(balancer_speeds.names())


@pytest.mark.processes
@nightly_only
def test_the_memory_of_t_gradients_is_seen():
    """A Jacobian of 6 tasks and half a million parameters is 14 MB, a gradient 2."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("no /proc")
    size = balancer_speeds.Size(6, 448, 4)
    for side in ("ours", "theirs"):
        alone = balancer_speeds.memory(side, "sum", size, 1)
        jacobian = balancer_speeds.memory(side, "imtl_g", size, 1)
        assert jacobian > alone + 8 * 2**20


@pytest.mark.parametrize("flag", ["--width=0", "--steps=0", "--batch=-1", "--tasks=0"])
def test_numbers_that_are_not_positive_are_one_line(flag):
    name, value = flag.split("=")
    with pytest.raises(InputError, match=f"{name} {value}: expected"):
        balancer_speeds.main([flag])
