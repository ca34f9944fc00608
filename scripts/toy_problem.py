"""Two objectives of two numbers -> which balancer reaches the Pareto front, and when.

    python scripts/toy_problem.py --to results/toy [--only mgda,cagrad] [--steps 1000]

The problem is that of CAGrad (Liu et al. 2021, figure 1; three starts, 100,000 steps),
which Nash-MTL (Navon et al. 2022, figure 1) takes with a tenth of the first loss, five
starts and 35,000 steps. Both papers move x by Adam at a rate of 1e-3; constants are those
of their released code. With Nash-MTL's setting every balancer of `mtra_jax.balancing` is
tried, with CAGrad's those of its figure; `--only` names others. All is in float64.

The losses are negative where they are small. They are shifted by a constant to at least 1
(Nash-MTL: the first to 0.1), because some weightings read logarithms or ratios; methods
that read gradients do not notice. Numbers that a balancer learns are moved by Adam at a
rate of 0.025, as in Nash-MTL's code, and without FAMO's weight decay of 1e-3: the losses
change so little in a step that the decay would hold its logits at 0.

Written are `toy.jsonl`, a line for each balancer as soon as it is done, the tables `toy.md`,
and a picture of some balancers for each setting, PNG and PDF. A command that was stopped
continues: what `toy.jsonl` has is not computed again.
"""

import functools
import inspect
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtra_jax import balancing, cli, files
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.reports.pictures import drawing
from mtra_jax.runs.directory import metrics_log

RATE, LEARNED_RATE = 1e-3, 0.025
SHIFT = 21.0
"""The losses are at least -20, before the first is scaled."""
EVERY = 10
"""Steps between the points of a way that are examined."""
TOLERANCE = 0.01
"""A point is at the front if no loss exceeds that of a front point by more."""
POINTS = 100
"""Points of a way that are stored, besides its start."""
DRAWN = "ew,famo,pcgrad,mgda,cagrad,nash_mtl,fairgrad,upgrad,aligned_mtl"


class Problem(NamedTuple):
    """A published setting. `scale` multiplies the first loss.

    `names`: the balancers that are tried by default; all for an empty one.
    """

    title: str
    scale: float
    starts: tuple[tuple[float, float], ...]
    num_steps: int
    names: str = ""


PROBLEMS = {
    "nash_mtl": Problem(
        "Nash-MTL",
        0.1,
        ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0)),
        35_000,
    ),
    "cagrad": Problem(
        "CAGrad",
        1.0,
        ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0)),
        100_000,
        "ew,pcgrad,mgda,cagrad",
    ),
}
# What has no default: the tasks have equal sizes; there are no epochs.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "tw": {"counts": (1, 1)},
    "dwa": {"steps_per_epoch": 100},
}


def losses(x: jax.Array, scale: float | jax.Array = 1.0) -> jax.Array:
    """The two losses [2] at `x` [2], the first times `scale`.

    Above the line x_2 = 0 there is a valley for each task, below it a bowl.
    """
    x1, x2 = x
    valleys = jnp.array(
        [(-x1 - 7) / 2 - jnp.tanh(-x2), (-x1 + 3) / 2 + jnp.tanh(-x2) + 2]
    )
    valleys = jnp.log(jnp.maximum(jnp.abs(valleys), 5e-6)) + 6
    bowls = (jnp.array([7 - x1, -x1 - 7]) ** 2 + 0.1 * (x2 + 8) ** 2) / 10 - 20
    up, down = jnp.tanh(x2 / 2), jnp.tanh(-x2 / 2)
    # At 0 both slopes count, as in PyTorch's clamp; else the start (0, 0) never moves.
    mixed = valleys * jnp.where(up >= 0, up, 0) + bowls * jnp.where(down >= 0, down, 0)
    return mixed * jnp.array([scale, 1.0])


def front(count: int = 20_001) -> np.ndarray:
    """Points [N, 2] of the Pareto set, x_1 from -7 (best for task 2) to 7 (for task 1).

    There w ∇ℓ_1 + (1 - w) ∇ℓ_2 = 0 with w = (7 + x_1) / 14, which leaves one equation for
    x_2, solved by bisection. The scale of a loss does not matter.
    """
    x1 = np.linspace(-7, 7, count)
    bowl = (49 - x1**2) / 10 - 20
    low, high = np.full(count, -12.0), np.full(count, -6.0)
    for _ in range(60):
        x2 = (low + high) / 2
        down = np.tanh(-x2 / 2)
        slope = -(1 - down**2) / 2 * (bowl + 0.01 * (x2 + 8) ** 2)
        slope += down * 0.02 * (x2 + 8)
        low, high = np.where(slope < 0, x2, low), np.where(slope < 0, high, x2)
    return np.stack([x1, (low + high) / 2], axis=1)


def gaps(ways: np.ndarray) -> np.ndarray:
    """Points [..., 2] -> how far they are from the front [...], in units of unscaled loss.

    The smallest number that, taken off both losses, leads to the front. The difference of
    the losses does not change on the way there, and falls as x_1 grows along the front.
    """
    evaluate = jax.jit(jax.vmap(losses))
    with jax.enable_x64(True):
        own = np.asarray(evaluate(ways.reshape(-1, 2)))
        of_front = np.asarray(evaluate(front()[::-1]))
    differences = of_front[:, 0] - of_front[:, 1]
    best = [
        np.interp(own[:, 0] - own[:, 1], differences, of_front.T[t]) for t in (0, 1)
    ]
    return (own - np.stack(best, axis=1)).max(axis=1).reshape(ways.shape[:-1])


def balancers() -> dict[str, balancing.Balancer]:
    """Every balancer of the package by its name, with its defaults."""
    functions = {name: getattr(balancing, name) for name in balancing.__all__}
    return {
        name: function(**ARGUMENTS.get(name, {}))
        for name, function in functions.items()
        if inspect.isfunction(function)
        and inspect.signature(function).return_annotation is balancing.Balancer
    }


def ways_of(
    name: str, problem: Problem, num_steps: int, seed: int = 0, rate: float = RATE
) -> np.ndarray:
    """The way of a balancer from each start: x after every `EVERY` steps [starts, N, 2]."""
    with jax.enable_x64(True):
        starts = jnp.array(problem.starts)
        keys = jax.random.split(jax.random.key(seed), len(starts))
        way = functools.partial(
            _way, name, jnp.array(problem.scale), num_steps // EVERY, rate
        )
        ways = jax.jit(jax.vmap(way))(starts, keys)
        return np.concatenate([starts[:, None], ways], axis=1)


def _way(
    name: str,
    scale: jax.Array,
    num_points: int,
    rate: float,
    start: jax.Array,
    rng: jax.Array,
) -> jax.Array:
    balancer = balancers()[name]
    shift = SHIFT * jnp.stack([scale, jnp.ones(())])
    step = balancing.value_and_grad(lambda x: losses(x, scale) + shift, balancer)
    optimiser = optax.adam(rate)
    learner = optax.adam(LEARNED_RATE)
    extra = (start,) if balancer.reads is balancing.Reads.GRADIENTS else ()
    state = balancer.init(2, *extra)

    def move(index: jax.Array, carry: tuple) -> tuple:
        x, state, moments, learned_moments = carry
        (_, aux), gradient, state = step(x, state, rng=jax.random.fold_in(rng, index))
        updates, moments = optimiser.update(gradient, moments)
        changes, learned_moments = learner.update(aux.learned, learned_moments)
        learned = optax.apply_updates(state.learned, changes)
        x = optax.apply_updates(x, updates)
        return x, state._replace(learned=learned), moments, learned_moments

    def part(carry: tuple, index: jax.Array) -> tuple[tuple, jax.Array]:
        first = index * EVERY
        carry = jax.lax.fori_loop(first, first + EVERY, move, carry)
        return carry, carry[0]

    carry = start, state, optimiser.init(start), learner.init(state.learned)
    return jax.lax.scan(part, carry, jnp.arange(num_points))[1]


def outcomes(ways: np.ndarray) -> list[dict[str, Any]]:
    """For each start: the first step at the front, None if the end is not there; the gap
    and x at the end; `POINTS` points of the way."""
    result = []
    for way, distances in zip(ways, gaps(ways), strict=True):
        at_front = np.flatnonzero(distances <= TOLERANCE)
        stays = bool(distances[-1] <= TOLERANCE)
        points = way[:: max(1, (len(way) - 1) // POINTS)]
        result.append(
            {
                "steps": int(at_front[0]) * EVERY if stays else None,
                "gap": round(float(distances[-1]), 6),
                "x": way[-1].round(4).tolist(),
                "way": points.round(2).tolist(),
            }
        )
    return result


Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""The outcomes of each balancer, a list by start."""


def table(problem: Problem, results: Results) -> str:
    """A Markdown table: a row for each balancer, a column for each start."""
    heads = [f"({x1:g}, {x2:g})" for x1, x2 in problem.starts]
    lines = ["| | " + " | ".join([*heads, "at the front"]) + " |"]
    lines.append("| --- |" + " ---: |" * (len(heads) + 1))
    for name, own in sorted(results.items()):
        cells = [
            f"gap {end['gap']:.2f}"
            if end["steps"] is None
            else f"{end['steps'] / 1000:.1f} ({end['x'][0]:+.1f})"
            for end in own
        ]
        count = sum(end["steps"] is not None for end in own)
        lines.append(f"| `{name}` | {' | '.join(cells)} | {count} of {len(own)} |")
    return "\n".join(lines) + "\n"


def draw(problem: Problem, results: Results, path: Path) -> None:
    """A panel for each balancer: the mean of the losses, the front and the ways."""
    axis = np.linspace(-11, 11, 200)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    mean = jax.jit(jax.vmap(jax.vmap(lambda x: jnp.mean(losses(x)))))(grid)
    edge = front(100)
    with drawing.style():
        figure, panels = drawing.panels(len(results))
        for axes, (name, own) in zip(panels, results.items(), strict=True):
            axes.contour(axis, axis, np.asarray(mean), 12, colors="0.8", linewidths=0.5)
            axes.plot(*edge.T, color="0.6", linewidth=4)
            for place, end in enumerate(own):
                look, way = drawing.look(place), np.array([*end["way"], end["x"]])
                axes.plot(*way.T, color=look["color"], linewidth=1)
                axes.plot(*way[0], color=look["color"], marker=look["marker"])
                axes.plot(*way[-1], color=look["color"], marker="x")
            axes.set(title=name, xlim=(-11, 11), ylim=(-11, 11))
            axes.grid(visible=False)
        figure.suptitle(f"{problem.title}'s starts; grey: Pareto front; ×: end")
        drawing.save(figure, path)


def read(path: Path, key: str, num_steps: int) -> list[dict[str, Any]]:
    """The lines that commands wrote to `path` for the problem `key`."""
    if not path.exists():
        return []
    chosen = []
    for number, text in enumerate(files.read_lines(str(path)), 1):
        try:
            line = json.loads(text)
            own = line["problem"], line["num_steps"]
            _ = line["balancer"], line["origin"], line["ends"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}:{number}: damaged; expected a line of this script"
            ) from error
        if own == (key, num_steps):
            chosen.append(line)
    return chosen


def section(problem: Problem, lines: Sequence[Mapping[str, Any]]) -> str:
    """The part of `toy.md` about a problem, with the origin of its figures."""
    results = {line["balancer"]: line["ends"] for line in lines}
    origins = sorted({line["origin"] for line in lines})
    return f"## {problem.title}\n\n{table(problem, results)}\n{'; '.join(origins)}\n"


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--to", required=True, help="the directory to write")
    parser.add_argument("--only", default="", help="the balancers that are tried")
    parser.add_argument("--problem", default="", help=" or ".join(PROBLEMS))
    parser.add_argument("--steps", type=int, default=0, help="0: as published")
    parser.add_argument("--drawn", default=DRAWN, help="balancers; empty: no picture")
    flags = cli.parse(parser, arguments)
    if flags.steps < 0 or flags.steps % EVERY:
        raise InputError(f"--steps {flags.steps}: expected a multiple of {EVERY}, or 0")
    to = cli.output_directory(flags.to)
    all_names = list(balancers())
    chosen("only", flags.only, all_names)
    drawn = chosen("drawn", flags.drawn, all_names) if flags.drawn else []
    if drawn:
        with drawing.style():  # refused here without matplotlib, not after the runs
            pass
    to.mkdir(parents=True, exist_ok=True)
    path, sections = to / "toy.jsonl", []
    for key in chosen("problem", flags.problem, list(PROBLEMS)):
        problem = PROBLEMS[key]
        num_steps = flags.steps or problem.num_steps
        done = [line["balancer"] for line in read(path, key, num_steps)]
        for name in chosen("only", flags.only or problem.names, all_names):
            if name not in done:
                append(name, key, num_steps, path)
        lines = read(path, key, num_steps)
        sections.append(section(problem, lines))
        results = {line["balancer"]: line["ends"] for line in lines}
        files.write_text(to / "toy.md", "\n".join(sections))
        if pictures := {name: results[name] for name in drawn if name in results}:
            draw(problem, pictures, to / key)


def append(name: str, key: str, num_steps: int, path: Path) -> None:
    """Tries one balancer, and appends its line to `path`."""
    started = time.perf_counter()
    ends = outcomes(ways_of(name, PROBLEMS[key], num_steps))
    seconds = time.perf_counter() - started
    steps = [end["steps"] for end in ends]
    print(f"{PROBLEMS[key].title}, {name}: {steps} ({seconds:.0f} s)", flush=True)
    here = metrics_log.environment([])
    origin = (
        f"{here['cpu_count']} cores, jax {here['packages']['jax']}, "
        f"{datetime.now(UTC).date()}, commit {here['git_revision']}"
    )
    line = {"problem": key, "balancer": name, "num_steps": num_steps, "origin": origin}
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    files.write_text(path, before + json.dumps({**line, "ends": ends}) + "\n")


def chosen(flag: str, text: str, names: list[str]) -> list[str]:
    """The names in `text`, separated by commas; all of them for an empty one."""
    wanted = [name for name in text.split(",") if name]
    for name in wanted:
        if name not in names:
            raise InputError(f"--{flag} is {name!r}; {did_you_mean(name, names)}")
    return [name for name in names if name in wanted] if wanted else names


if __name__ == "__main__":
    cli.run(main)
