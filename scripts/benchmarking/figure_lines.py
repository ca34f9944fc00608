"""Measured figures -> aligned lines for people, plain values for JSON."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import host_costs
import program_costs
import run_costs
import scaling
import speeds
import step_costs
import step_trace
import timing
import versus_torch

from mtra_jax.reports.formatting import tables

Lines = list[tuple[str, str]]
LABEL_WIDTH = 24
"""Width of the labels, so that parts printed one by one align."""


def plain(value: Any) -> Any:
    """Named tuples as objects with their computed properties; JSON's types unchanged."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        computed = {
            name: getattr(value, name)
            for name, member in vars(type(value)).items()
            if isinstance(member, property)
        }
        return plain({**value._asdict(), **computed})
    if isinstance(value, Mapping):
        return {str(key): plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    return value


def text(figures: Mapping[str, Any]) -> str:
    """All measured figures, a line each."""
    parts: list[str] = []
    lines: Lines = []
    for name, value in figures.items():
        shown = SHOWN[name](value)
        if isinstance(shown, str):
            parts.append(shown)
        else:
            lines += shown
    return "\n".join([*parts, _aligned(lines)] if lines else parts)


def _aligned(lines: Lines) -> str:
    width = max(LABEL_WIDTH, *(len(name) for name, _ in lines))
    return "\n".join(f"{name:{width}}  {value}" for name, value in lines)


def _machine(figures: Mapping[str, Any]) -> str:
    kinds = figures["devices"]
    return (
        f"{len(kinds)} x {kinds[0]}, {figures['cpu_count']} cores, {figures['platform']}, "
        f"jax {figures['packages']['jax']}, commit {str(figures['git_revision'])[:7]}"
    )


def _speed(figures: speeds.Speed) -> Lines:
    total = sum(figures.seconds)
    fill = figures.fill
    by_task = ", ".join(f"{n} {100 * s:.1f}" for n, s in fill.share_by_task.items())
    return [
        ("method, steps timed", f"{figures.method}, {len(figures.seconds)}"),
        ("examples/s", f"{fill.texts / total:.1f}"),
        ("real tokens/s", f"{fill.real_tokens / total:.0f}"),
        ("real of processed tokens", f"{100 * fill.share:.1f} % ({by_task})"),
        ("ms a step", _milliseconds(figures.seconds)),
        (
            "model on real tokens",
            f"{figures.flops / total / 1e9:.1f} GFLOP/s, {100 * figures.share_of_rate:.0f} % "
            f"of a matrix product's {figures.rate_of_products / 1e9:.0f}",
        ),
        ("memory of a step", _memory(figures.memory)),
        ("programs compiled", str(figures.num_compiled)),
    ]


def _milliseconds(seconds: Sequence[float]) -> str:
    low, median, high = timing.spread(1e3 * s for s in seconds)
    return f"{median:.1f} (quartiles {low:.1f}, {high:.1f})"


def _memory(figures: step_costs.Memory) -> str:
    return f"{_mebibytes(figures.peak)}, of them {_mebibytes(figures.state)} given"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


def _feeding(figures: run_costs.Feeding) -> Lines:
    return [
        ("host: plan an epoch", f"{1e3 * figures.plan:.1f} ms"),
        ("host: pack a batch", f"{1e3 * figures.pack:.2f} ms"),
        (
            "host: wait for a batch",
            f"{1e3 * figures.wait:.2f} ms; {100 * figures.hidden:.0f} % hidden by the steps",
        ),
    ]


def _saving(figures: run_costs.Saving) -> Lines:
    return [
        (
            "saving a checkpoint",
            f"training waits {1e3 * figures.wait:.0f} ms; on disk after "
            f"{1e3 * figures.written:.0f} ms; {_mebibytes(figures.num_bytes)}",
        )
    ]


def _starts(figures: run_costs.Starts) -> Lines:
    return [
        (
            "start to first step",
            f"{figures.cold:.1f} s, and {figures.warm:.1f} s with what the run before kept",
        ),
        (
            "of the latter, until",
            ", ".join(f"{name} {s:.1f}" for name, s in figures.warm_stages.items()),
        ),
    ]


def _methods(figures: Sequence[speeds.Speed]) -> str:
    heads = (
        ("", "ms a step"),
        ("", "of the first"),
        ("", "memory"),
        ("", "of the first"),
        ("", "real tokens"),
        ("", "parameters: training"),
        ("", "testing"),
    )
    first = figures[0]
    body = [
        [
            speed.method,
            f"{1e3 * timing.spread(speed.seconds).median:.0f}",
            f"{sum(speed.seconds) / sum(first.seconds):.2f}",
            _mebibytes(speed.memory.peak),
            f"{speed.memory.peak / first.memory.peak:.2f}",
            f"{100 * speed.fill.share:.1f} %",
            f"{speed.parameters['training']:,}",
            f"{speed.parameters['testing']:,}",
        ]
        for speed in figures
    ]
    return tables.grouped(heads, body)


def _versus(figures: versus_torch.Versus) -> str:
    pairs = timing.spread(figures.ratio.pairs)
    losses = ", ".join(f"{n} {a:.5f} / {b:.5f}" for n, (a, b) in figures.losses.items())
    lines = [
        ("losses, ours / PyTorch's", losses),
        ("ms a step, ours", _milliseconds(figures.ours)),
        ("ms a step, PyTorch's", _milliseconds(figures.theirs)),
        (
            "times as fast",
            f"{figures.ratio.total:.2f} by total time of {len(figures.ours)} batches, 95 % "
            f"of bootstrap draws in {figures.ratio.low:.2f} to {figures.ratio.high:.2f}",
        ),
        (
            "pair by pair",
            f"median {pairs.median:.2f} (quartiles {pairs.lower:.2f}, {pairs.upper:.2f})",
        ),
    ]
    return _aligned(lines)


def _resident(figures: versus_torch.Resident) -> Lines:
    return [
        (
            "most memory of a process",
            f"ours {_mebibytes(figures.ours)}, PyTorch's {_mebibytes(figures.theirs)}: "
            f"{figures.ratio:.2f}; {figures.num_steps} steps, libraries included",
        )
    ]


def _collectives(figures: Mapping[int, Mapping[str, step_costs.Collective]]) -> Lines:
    return [
        (
            f"{count} devices",
            ", ".join(
                f"{kind}: {c.count}, {c.num_large} of them large, "
                f"{_mebibytes(c.num_bytes)}"
                for kind, c in kinds.items()
            )
            or "no collective",
        )
        for count, kinds in figures.items()
    ]


def _tasks(figures: Sequence[scaling.TaskCost]) -> Lines:
    return [
        (
            f"{row.num_tasks} tasks",
            f"{1e3 * row.step_seconds:.0f} ms a step, {row.ratio:.2f} of the least; "
            f"compiled in {row.compile_seconds:.0f} s",
        )
        for row in figures
    ]


def _layers(figures: Sequence[scaling.LayerCost]) -> Lines:
    return [
        (
            f"{row.num_layers} layers, {row.unroll} an iteration",
            f"compiled in {row.compile_seconds:.1f} s, {1e3 * row.step_seconds:.0f} ms "
            f"a step, {row.total_seconds:.0f} s in all of 20 epochs of TweetEval",
        )
        for row in figures
    ]


def _programs(figures: Sequence[program_costs.ProgramCost]) -> str:
    heads = (
        ("", "instructions"),
        ("", "s to trace"),
        ("", "s to compile"),
        ("", "memory"),
    )
    body = [
        [
            str(program.unroll),
            f"{program.num_instructions:,}",
            f"{program.trace_seconds:.1f}",
            f"{program.compile_seconds:.1f}",
            _mebibytes(program.memory.peak),
        ]
        for program in figures
    ]
    return tables.grouped(heads, body)


def _throughput(figures: host_costs.Throughput) -> Lines:
    return [
        (
            f"host: {figures.num_texts:,} texts",
            f"{figures.texts_per_second:,.0f} texts/s of one core: plan "
            f"{1e3 * figures.plan_seconds:.1f} ms, shapes {1e3 * figures.shapes_seconds:.1f} "
            f"ms, pack {1e3 * figures.pack_seconds:.1f} ms",
        )
    ]


def _footprint(figures: host_costs.Footprint) -> Lines:
    mapped = (
        f", {_mebibytes(figures.mapped_bytes)} of it mapped"
        if figures.mapped_bytes
        else ""
    )
    return [
        (
            f"host: {figures.num_texts:,} texts",
            f"{_mebibytes(figures.peak_bytes)} resident at the peak{mapped}; plan "
            f"{figures.plan_seconds:.2f} s, pack a batch {1e3 * figures.pack_seconds:.2f} ms",
        )
    ]


SHOWN: dict[str, Callable[[Any], str | Lines]] = {
    "machine": _machine,
    "speed": _speed,
    "feeding": _feeding,
    "saving": _saving,
    "starts": _starts,
    "methods": _methods,
    "versus": _versus,
    "resident": _resident,
    "collectives": _collectives,
    "trace": step_trace.picture,
    "tasks": _tasks,
    "layers": _layers,
    "programs": _programs,
    "throughput": _throughput,
    "footprint": _footprint,
}
