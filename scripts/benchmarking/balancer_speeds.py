"""Balancers on a network of 10 million parameters -> times of a step beside TorchJD's.

    python scripts/benchmarking/balancer_speeds.py [--tasks 2,8,32] [--only pcgrad,mgda] \
        [--steps 10] [--width 2048] [--threads 2] [--memory] [--out speeds.jsonl]

A step is one forward pass, the backward passes and the balancing, without an optimiser,
from the same parameters on one batch. Three hidden layers are shared; every task has a
linear head and a cross-entropy on all examples. Gradient methods compare the gradients of
the shared layers. Both sides, and the plain sum of the losses on both, take turns. The
gradients of both are compared first.

`--memory` starts a process for each method and side: the growth of its peak resident
memory over a few steps, above that of its parameters, data and compiled program (Linux).
Methods that TorchJD lacks are timed alone; those of its methods that need packages that
are not installed (cvxpy, clarabel, ecos) too.
"""

import argparse
import inspect
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import host_costs
import jax
import jax.numpy as jnp
import numpy as np
import timing

from mtra_jax import balancing, cli, objectives
from mtra_jax.errors import InputError, did_you_mean

try:
    import torchjd_step
except ImportError:  # PyTorch or TorchJD is missing
    torchjd_step = None

INPUTS, CLASSES, LAYERS = 512, 10, 3
ARGUMENTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "tw": lambda count: {"counts": (1,) * count},
    "dwa": lambda _: {"steps_per_epoch": 100},
    "uw": lambda _: {"factors": 0.5},  # as TorchJD
}
"""Arguments for T tasks that have no default, or another one in TorchJD."""
MEMORY_STEPS = 3


class Size(NamedTuple):
    """The sizes of the network and of its batch."""

    num_tasks: int
    width: int
    batch: int


def balancer_of(name: str, num_tasks: int) -> balancing.Balancer:
    """A balancer by its name in `mtra_jax.balancing`; "sum" is the plain sum."""
    if name == "sum":
        return balancing.ew("sum")
    arguments = ARGUMENTS.get(name, lambda _: {})(num_tasks)
    return getattr(balancing, name)(**arguments)


def names() -> list[str]:
    """The names of all balancers, after the plain sum."""
    functions = {name: getattr(balancing, name) for name in balancing.__all__}
    return ["sum"] + [
        name
        for name, function in functions.items()
        if inspect.isfunction(function)
        and inspect.signature(function).return_annotation is balancing.Balancer
    ]


def draw(size: Size, seed: int = 0) -> tuple[Any, np.ndarray, np.ndarray]:
    """Parameters, inputs [B, D] and labels [T, B], in NumPy."""
    draws = np.random.default_rng(seed)

    def layer(fan_in: int, width: int) -> dict[str, np.ndarray]:
        kernel = draws.standard_normal((fan_in, width), np.float32)
        kernel *= (2 / fan_in) ** 0.5
        return {"kernel": kernel, "bias": np.zeros(width, np.float32)}

    widths = [INPUTS] + [size.width] * LAYERS
    shared = [layer(*pair) for pair in itertools.pairwise(widths)]
    heads = [layer(size.width, CLASSES) for _ in range(size.num_tasks)]
    inputs = draws.standard_normal((size.batch, INPUTS), np.float32)
    labels = draws.integers(CLASSES, size=(size.num_tasks, size.batch))
    return {"shared": shared, "heads": heads}, inputs, labels


def losses_fn(params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
    """The losses [T] of our network."""
    z = inputs
    for layer in params["shared"]:
        z = jax.nn.relu(z @ layer["kernel"] + layer["bias"])
    targets = jax.nn.one_hot(labels, CLASSES)
    return jnp.stack(
        [
            objectives.cross_entropy(z @ head["kernel"] + head["bias"], own)
            for head, own in zip(params["heads"], targets, strict=True)
        ]
    )


class Step:
    """Our step, compiled; a call waits for the gradient."""

    def __init__(
        self, name: str, params: Any, inputs: np.ndarray, labels: np.ndarray
    ) -> None:
        balancer = balancer_of(name, len(labels))
        step = balancing.value_and_grad(losses_fn, balancer, select=_is_shared)
        params = jax.tree.map(jnp.asarray, params)
        extra = (params,) if balancer.reads is balancing.Reads.GRADIENTS else ()
        self.state = balancer.init(len(labels), *extra)
        rest = params, jnp.asarray(inputs), jnp.asarray(labels), jax.random.key(0)

        def run(state: Any, params: Any, inputs: Any, labels: Any, rng: Any) -> Any:
            (_, aux), gradient, state = step(params, state, inputs, labels, rng=rng)
            return aux.losses, gradient, state

        self.program = jax.jit(run, donate_argnums=0).lower(self.state, *rest).compile()
        self.rest = rest

    def __call__(self) -> jax.Array:
        """The losses [T]; the gradient lies in `last`."""
        losses, self.last, self.state = self.program(self.state, *self.rest)
        return jax.block_until_ready((losses, self.last))[0]

    def gradient(self) -> list[np.ndarray]:
        """The gradients of the last step."""
        return [np.asarray(leaf) for leaf in jax.tree.leaves(self.last)]


def _is_shared(params: Any) -> Any:
    chosen = jax.tree.map(lambda _: False, params)
    chosen["shared"] = jax.tree.map(lambda _: True, params["shared"])
    return chosen


def step_of(side: str, name: str, size: Size) -> Any:
    """The step of one side, "ours" or "theirs".

    Raises:
      ImportError: TorchJD's method needs a package that is not installed.
      KeyError: TorchJD lacks the method.
    """
    params, inputs, labels = draw(size)
    make = Step if side == "ours" else torchjd_step.TorchStep
    return make(name, params, inputs, labels)


def theirs_of(name: str, size: Size) -> tuple[Any, str]:
    """TorchJD's step, or None and the reason."""
    if torchjd_step is None:
        return None, "not installed"
    try:
        return step_of("theirs", name, size), ""
    except KeyError:
        return None, "has none"
    except ImportError as error:
        return None, " ".join(str(error).split())


def difference(ours: Any, theirs: Any) -> float:
    """‖ours − theirs‖ / ‖theirs‖ of the first gradients of what is shared, by one step each.

    Heads take a multiple of their task's gradient with some of our methods.

    Raises:
      InputError: the losses differ.
    """
    losses = np.asarray(ours()), np.asarray(theirs())
    if not np.allclose(*losses, rtol=1e-4):
        raise InputError(f"the losses differ: {losses[0]} here, {losses[1]} in TorchJD")
    pairs = list(zip(ours.gradient(), theirs.gradient(), strict=True))
    pairs = pairs[2 * len(losses[0]) :]  # kernel and bias of each head come first
    squares = [sum(np.sum((a - b) ** 2) for a, b in pairs)]
    squares.append(sum(np.sum(b**2) for _, b in pairs))
    return float(np.sqrt(squares[0] / squares[1]))


def measure(name: str, size: Size, num_steps: int, sums: dict[str, Any]) -> dict:
    """Times of a method, in turns with TorchJD's and with both plain sums."""
    theirs, why = theirs_of(name, size)
    steps = {"ours": step_of("ours", name, size), "our sum": sums["ours"]}
    figures: dict[str, Any] = {"method": name, **size._asdict(), "why": why}
    if theirs is not None:
        steps |= {"theirs": theirs, "their sum": sums["theirs"]}
        figures["difference"] = difference(steps["ours"], theirs)
    for step in steps.values():
        step()  # the first call is slower
    calls = {key: lambda _, step=step: step() for key, step in steps.items()}
    seconds = timing.in_turns(calls, range(num_steps))
    figures["milliseconds"] = {
        key: [1e3 * value for value in timing.spread(values)]
        for key, values in seconds.items()
    }
    pairs = {"ours beside the sum": ("ours", "our sum")}
    if theirs is not None:
        pairs["theirs beside the sum"] = ("theirs", "their sum")
        pairs["theirs beside ours"] = ("theirs", "ours")
    figures["ratios"] = {
        key: timing.ratio(*(seconds[side] for side in pair))[:3]
        for key, pair in pairs.items()
    }
    return figures


# ---- memory


def growth(side: str, name: str, size: Size) -> int:
    """Bytes by which the peak resident memory of this new process grows over steps."""
    step = step_of(side, name, size)
    # Since now: compiling needs memory, too.
    Path("/proc/self/clear_refs").write_text("5")
    before = host_costs.peak_bytes()
    for _ in range(MEMORY_STEPS):
        step()
    return host_costs.peak_bytes() - before


def memory(side: str, name: str, size: Size, threads: int) -> int | None:
    """`growth` of a new process; None where the system does not report it."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    asked = json.dumps([side, name, *size])
    command = [sys.executable, __file__, "--child", asked, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{side}, {name}: {done.stderr.strip()[-200:]}")
    return int(done.stdout)


# ---- the command


def line_of(figures: dict[str, Any]) -> str:
    """A row of the table."""
    times, ratios = figures["milliseconds"], figures["ratios"]
    has_theirs = "theirs" in times

    def ratio(key: str, *, with_interval: bool = False) -> str:
        total, low, high = ratios[key]
        return f"{total:.2f}" + (f" ({low:.2f}, {high:.2f})" if with_interval else "")

    cells = [f"`{figures['method']}`", f"{times['ours'][1]:.1f}"]
    cells.append(f"{times['theirs'][1]:.1f}" if has_theirs else figures["why"] or "-")
    faster = ratio("theirs beside ours", with_interval=True) if has_theirs else "-"
    cells += [faster, ratio("ours beside the sum")]
    cells.append(ratio("theirs beside the sum") if has_theirs else "-")
    cells.append(f"{figures['difference']:.0e}" if has_theirs else "-")
    for side in ("ours", "theirs"):
        grown = figures.get("memory", {}).get(side)
        cells.append("-" if grown is None else f"{grown / 2**20:,.0f}")
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| method | ours, ms | TorchJD, ms | times as fast (95 %) | ours beside its sum | "
    "TorchJD beside its sum | difference | ours, MiB | TorchJD, MiB |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def numbers(flags: argparse.Namespace) -> list[int]:
    """The numbers of tasks in `--tasks`.

    Raises:
      InputError: one of them, or another number of `flags`, is not positive.
    """
    for name in ("steps", "width", "batch", "threads"):
        if (value := getattr(flags, name)) < 1:
            raise InputError(f"--{name} {value}: expected at least 1")
    counts = [int(part) if part.isdigit() else 0 for part in flags.tasks.split(",")]
    if min(counts) < 1:
        raise InputError(f"--tasks {flags.tasks}: expected numbers such as 2,8,32")
    return counts


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--tasks", default="2,8,32", help="numbers of tasks")
    parser.add_argument("--only", default="", help="some methods, by their names")
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    parser.add_argument("--width", type=int, default=2048, help="of the hidden layers")
    parser.add_argument("--batch", type=int, default=64, help="examples of a step")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="PyTorch's")
    parser.add_argument("--memory", action="store_true", help="measure it, too")
    parser.add_argument("--out", default="", help="a file for one JSON line a method")
    parser.add_argument("--child", default="", help="for --memory: side, method, sizes")
    flags = cli.parse(parser, arguments)
    if torchjd_step is not None:
        torchjd_step.start(flags.threads)
    if flags.child:
        side, name, *sizes = json.loads(flags.child)
        print(growth(side, name, Size(*sizes)))
        return
    counts = numbers(flags)
    chosen = [name for name in flags.only.split(",") if name] or names()
    for name in chosen:
        if name not in names():
            raise InputError(f"--only is {name!r}; {did_you_mean(name, names())}")
    for count in counts:
        size = Size(count, flags.width, flags.batch)
        params, *_ = draw(size)
        total = sum(leaf.size for leaf in jax.tree.leaves(params))
        print(f"\n{count} tasks, {total:,} parameters, batch {size.batch}\n\n{HEAD}")
        sums = {"ours": step_of("ours", "sum", size)}
        if torchjd_step is not None:
            sums["theirs"] = step_of("theirs", "sum", size)
        for name in chosen:
            figures = measure(name, size, flags.steps, sums)
            if flags.memory:
                sides = [
                    side
                    for side in ("ours", "theirs")
                    if side in figures["milliseconds"]
                ]
                figures["memory"] = {
                    side: memory(side, name, size, flags.threads) for side in sides
                }
            print(line_of(figures), flush=True)
            if flags.out:
                with open(flags.out, "a", encoding="utf-8") as file:
                    file.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    cli.run(main)
