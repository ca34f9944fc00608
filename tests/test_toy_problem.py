"""scripts/toy_problem.py: the published losses, the Pareto front, who reaches it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from tiers import nightly_only

from mtra_jax import balancing, config_files
from mtra_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
script = config_files.execute(str(ROOT / "scripts/toy_problem.py"))
NASH, CAGRAD = script.PROBLEMS["nash_mtl"], script.PROBLEMS["cagrad"]
FAST = 2e-2
"""Twenty times the papers' rate: fewer steps, the same ways."""


def by_hand(x1, x2):
    """The two losses as the papers define them, one after the other."""
    f1 = np.log(np.maximum(np.abs(0.5 * (-x1 - 7) - np.tanh(-x2)), 0.000005)) + 6
    f2 = np.log(np.maximum(np.abs(0.5 * (-x1 + 3) + np.tanh(-x2) + 2), 0.000005)) + 6
    c1 = np.maximum(np.tanh(0.5 * x2), 0)
    c2 = np.maximum(np.tanh(-0.5 * x2), 0)
    g1 = ((-x1 + 7) ** 2 + 0.1 * (-x2 - 8) ** 2) / 10 - 20
    g2 = ((-x1 - 7) ** 2 + 0.1 * (-x2 - 8) ** 2) / 10 - 20
    return np.stack([f1 * c1 + g1 * c2, f2 * c1 + g2 * c2], axis=-1)


def differences(at, size=1e-6):
    steps = size * np.eye(2)
    pairs = [by_hand(*(at + step)) - by_hand(*(at - step)) for step in steps]
    return np.stack(pairs, axis=-1) / (2 * size)


POINTS = np.array([[-8.5, 7.5], [9, 9], [-7.5, -0.5], [9, -1], [2, -8], [3.0, 1e-3]])


def test_losses_and_gradients_are_the_published_ones():
    with jax.enable_x64(True):
        points = jnp.array(POINTS)
        values = jax.jit(jax.vmap(script.losses))(points)
        jacobians = jax.jit(jax.vmap(jax.jacobian(script.losses)))(points)
        scaled = jax.jit(script.losses)(points[0], 0.1)
    np.testing.assert_allclose(values, by_hand(*POINTS.T), rtol=1e-12)
    expected = np.stack([differences(point) for point in POINTS])
    np.testing.assert_allclose(jacobians, expected, rtol=1e-6, atol=1e-7)
    expected = by_hand(*POINTS[0]) * np.array([0.1, 1])
    np.testing.assert_allclose(scaled, expected, rtol=1e-12)


def test_a_start_between_both_regions_moves_as_in_pytorch():
    """At (0, 0) the slope of both factors is 1/2; PyTorch's clamp passes it there."""
    with jax.enable_x64(True):
        jacobian = jax.jit(jax.jacobian(script.losses))(jnp.zeros(2))
    valleys = np.log([3.5, 3.5]) + 6
    bowls = 5.54 - 20
    expected = np.stack([np.zeros(2), (valleys - bowls) / 2], axis=-1)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-12)


def test_the_front_minimises_every_weighted_sum():
    """Against a general minimiser, and no point of a grid is better in both losses."""
    for weight in (0.0, 0.1, 0.35, 0.5, 0.8, 1.0):
        result = optimize.minimize(
            lambda x, w=weight: by_hand(*x) @ [w, 1 - w],
            np.array([14 * weight - 6, -7.0]),
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 2_000},
        )
        x1, x2 = script.front().T
        assert result.x[0] == pytest.approx(14 * weight - 7, abs=1e-4)
        assert result.x[1] == pytest.approx(np.interp(result.x[0], x1, x2), abs=1e-4)
        assert script.gaps(result.x[None])[0] == pytest.approx(0, abs=1e-6)
    axis = np.linspace(-11, 11, 301)
    grid = by_hand(*np.meshgrid(axis, axis)).reshape(-1, 2)
    for own in by_hand(*script.front(29).T):
        assert not (grid < own - 1e-9).all(axis=1).any()


def test_the_gap_is_what_both_losses_have_too_much():
    points = np.array([[-8.5, 7.5], [0, -7.0], [8, -8], [-9, -8.4]])
    dense = by_hand(*script.front(40_001).T)
    expected = [(by_hand(*x) - dense).max(axis=1).min() for x in points]
    np.testing.assert_allclose(script.gaps(points), expected, atol=2e-3)


def reached(name, problem, num_steps):
    ends = script.outcomes(script.ways_of(name, problem, num_steps, rate=FAST))
    return [end["steps"] is not None for end in ends], [end["x"][0] for end in ends]


@pytest.mark.slow
def test_nash_mtl_reaches_the_front_from_all_starts_and_the_mean_does_not():
    at_front, x1 = reached("nash_mtl", NASH, 1_000)
    assert all(at_front)
    # Neither task is favoured, though the second loss is ten times as large.
    assert min(x1) < -2 < 2 < max(x1)
    at_front, x1 = reached("ew", NASH, 1_000)
    assert not any(at_front)


def test_nash_mtl_goes_the_same_way_at_any_scale_of_a_loss():
    # At (0, 0) the gradients are parallel, and rounding decides.
    problem = NASH._replace(starts=NASH.starts[2:])

    def difference(name):
        ways = [
            script.ways_of(name, problem._replace(scale=scale), 300, rate=FAST)
            for scale in (0.1, 1.0)
        ]
        return np.abs(ways[0] - ways[1]).max()

    assert difference("nash_mtl") < 1e-6
    assert difference("ew") > 1


@pytest.mark.slow
def test_mgda_and_cagrad_leave_the_valley_in_which_the_mean_is_stuck():
    problem = CAGRAD._replace(starts=CAGRAD.starts[:1])
    assert reached("ew", problem, 3_300)[0] == [False]
    assert reached("mgda", problem, 1_700)[0] == [True]
    assert reached("cagrad", problem, 3_300)[0] == [True]


def test_famo_reaches_the_front_from_all_starts():
    """At the papers' rate: the logits have their own."""
    ends = script.outcomes(script.ways_of("famo", NASH, 21_000))
    assert all(end["steps"] is not None for end in ends)


@nightly_only
def test_the_starts_of_cagrads_paper():
    """100,000 steps: the mean stays in the valleys of two starts, the others leave."""
    ends = {
        name: script.outcomes(script.ways_of(name, CAGRAD, CAGRAD.num_steps))
        for name in ("ew", "mgda", "cagrad")
    }
    reached = {
        name: [end["steps"] is not None for end in own] for name, own in ends.items()
    }
    assert reached["ew"] == [False, True, False]
    assert reached["mgda"] == [True, True, True]
    assert reached["cagrad"] == [True, True, True]
    for end in ends["cagrad"]:
        assert end["x"][0] == pytest.approx(0, abs=0.05)
    assert abs(ends["mgda"][0]["x"][0]) > 1  # any point of the front


def test_every_balancer_is_tried():
    names = set(script.balancers())
    assert {"ew", "tw", "uw", "graddrop", "nash_mtl"} <= names
    assert not names & {"value_and_grad", "Balancer", "State"}
    assert names <= set(balancing.__all__)


def test_a_command_reports_and_continues(tmp_path, monkeypatch, capsys):
    at = script.front(3)[1]
    ways = np.array(
        [[at + 1, at + np.array([0, 1.5]), at, at], [at, at, at, [9.0, 9.0]]]
    )
    calls = []

    def fake(name, problem, num_steps):
        calls.append(name)
        return ways if name == "mgda" else ways[::-1]

    monkeypatch.setattr(script, "ways_of", fake)
    problem = CAGRAD._replace(starts=CAGRAD.starts[:2], num_steps=30)
    monkeypatch.setattr(script, "PROBLEMS", {"cagrad": problem})
    for names in ("mgda", "mgda,ew"):
        script.main(["--to", str(tmp_path), "--only", names, "--drawn", ""])
    assert calls == ["mgda", "ew"]
    mgda, equal = script.read(tmp_path / "toy.jsonl", "cagrad", 30)
    assert (mgda["balancer"], equal["balancer"]) == ("mgda", "ew")
    first, second = mgda["ends"]
    assert first["steps"] == 2 * script.EVERY
    assert first["gap"] == pytest.approx(0, abs=1e-6)
    assert first["way"] == ways[0].round(2).tolist()
    assert second["steps"] is None, "it left the front"
    assert second["x"] == [9, 9]
    (gap,) = script.gaps(np.array([[9.0, 9.0]]))
    table = (tmp_path / "toy.md").read_text()
    assert "| | (-8.5, 7.5) | (-8.5, -5) | at the front |" in table
    assert f"| `mgda` | 0.0 (+0.0) | gap {gap:.2f} | 1 of 2 |" in table
    assert mgda["origin"] in table
    assert f"jax {jax.__version__}" in mgda["origin"]
    assert "CAGrad, ew: [None, 20]" in capsys.readouterr().out
    script.main(["--to", str(tmp_path), "--only", "mgda", "--steps", "40", "--drawn="])
    assert calls[2:] == ["mgda"], "another number of steps is another result"


def test_unknown_names_are_one_line(tmp_path):
    with pytest.raises(InputError, match="--only is 'mgd'; did you mean mgda"):
        script.main(["--to", str(tmp_path), "--only", "mgd"])


def test_the_picture_has_a_panel_for_each_balancer(tmp_path):
    pytest.importorskip("matplotlib", reason="no matplotlib: the extra plots")
    ends = [{"way": [[9.0, 9.0], [1.0, 2.0]], "x": [0.0, -8.4]}]
    script.draw(CAGRAD, {"mgda": ends, "cagrad": ends}, tmp_path / "toy")
    assert (tmp_path / "toy.png").read_bytes().startswith(b"\x89PNG")


STORED = ROOT / "results/toy/toy.jsonl"


def test_the_stored_tables_are_those_of_the_stored_results():
    page = (ROOT / "results/toy/toy.md").read_text(encoding="utf-8")
    sections = [
        script.section(problem, script.read(STORED, key, problem.num_steps))
        for key, problem in script.PROBLEMS.items()
    ]
    assert page == "\n".join(sections)
    assert "dirty" not in page
    for key, problem in script.PROBLEMS.items():
        lines = script.read(STORED, key, problem.num_steps)
        names = {line["balancer"] for line in lines}
        assert names >= set(problem.names.split(",") if problem.names else [])
        assert len(lines) == len(names) >= 4
