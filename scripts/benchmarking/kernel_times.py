"""A few steps under the profiler -> time by kernel, and the gaps between kernels.

Times of steps are those of unprofiled steps: under the profiler XLA uses no CUDA graphs.
"""

import gzip
import statistics
import tempfile
from pathlib import Path
from typing import Any

import jax
import kernel_events
import step_trace
import training_run
import workload
from kernel_events import Kernel, Share

NUM_STEPS = 5
NUM_SHOWN = 20
"""Rows of the table of the slowest kernels."""


def measure(options: dict[str, Any], emit: Any) -> None:
    loaded = training_run.load(options, options["method"])
    program = loaded.stepper.compiled(loaded.batches[0]).as_text()
    steps = training_run.steps_of(loaded)
    seconds = 0.5 if options["small"] else 3.0
    step = statistics.median(training_run.timed(steps, seconds).seconds)
    with tempfile.TemporaryDirectory(dir=options["work"]) as directory:
        path = profile(steps, Path(directory))
        kernels = kernel_events.read(path)
        keep(path, Path(options["out"]), emit)
    named = {m["name"]: m["op"] for m in step_trace.INSTRUCTION.finditer(program)}
    operations = kernel_events.by_kernel_name(named)
    emit_gaps(kernels, step, emit)
    busy = kernel_events.busy_seconds(kernels)
    for title, label in (
        ("by kind of kernel", lambda kernel: kernel_events.kind(kernel.name)),
        ("by part of the model", lambda kernel: part(kernel, operations)),
    ):
        shares = kernel_events.shares(kernels, label)
        emit_table(title, shares, busy, emit)
    shares = kernel_events.shares(kernels, lambda kernel: described(kernel, operations))
    emit_table("largest kernels", shares[:NUM_SHOWN], busy, emit)


def keep(path: Path, out: Path, emit: Any) -> None:
    """Writes the profile beside the figures, compressed."""
    target = out / "kernels.xplane.pb.gz"
    target.write_bytes(gzip.compress(path.read_bytes(), 4))
    size = target.stat().st_size / 2**20
    emit("profile", f"{size:.1f} MiB, {target}", layout=kernel_events.layout(path))


def profile(steps: workload.Steps, directory: Path) -> Path:
    """Takes `NUM_STEPS` steps under the profiler; returns its file."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(str(directory), profiler_options=options):
        steps.take(NUM_STEPS)
    (path,) = directory.rglob("*.xplane.pb")
    return path


def emit_gaps(kernels: list[Kernel], step: float, emit: Any) -> None:
    """Emits the time per step in which the device computes, and the time in which it waits."""
    busy = kernel_events.busy_seconds(kernels) / NUM_STEPS
    gaps = kernel_events.gaps(kernels)
    idle = sum(gaps) / NUM_STEPS
    largest = sorted(gaps, reverse=True)[: 2 * NUM_STEPS]
    emit(
        "busy and idle",
        f"{len(kernels) / NUM_STEPS:,.0f} kernels a step, busy {1e3 * busy:.2f} ms; "
        f"profiled, idle {1e3 * idle:.2f} ms ({100 * idle / (busy + idle):.0f} %); an "
        f"unprofiled step takes {1e3 * step:.2f} ms, {100 * (1 - busy / step):.0f} % of "
        "it idle",
        kernels_per_step=len(kernels) / NUM_STEPS,
        busy_seconds=busy,
        idle_seconds=idle,
        step_seconds=step,
        num_gaps=len(gaps) / NUM_STEPS,
        median_gap_seconds=statistics.median(gaps) if gaps else 0.0,
        largest_gaps_seconds=largest,
    )


def part(kernel: Kernel, operations: dict[str, str]) -> str:
    """The part of the model to which a kernel's instruction belongs."""
    operation = kernel_events.operation_of(kernel, operations)
    return step_trace.part_of(operation) if operation else "unknown instruction"


def described(kernel: Kernel, operations: dict[str, str]) -> str:
    """A kernel's name and its operation, without the numbers of copies."""
    operation = kernel_events.operation_of(kernel, operations)
    return kernel_events.described(kernel, operation)


def emit_table(title: str, shares: list[Share], busy: float, emit: Any) -> None:
    """Emits a line per group: share of the busy time, milliseconds and kernels per step."""
    rows = [
        f"{100 * share.seconds / busy:5.1f} %  "
        f"{1e3 * share.seconds / NUM_STEPS:8.3f} ms  "
        f"{share.count / NUM_STEPS:7.1f} kernels  "
        f"{1e6 * share.seconds / share.count:8.1f} us each  "
        f"{100 * share.idle:5.1f} % of the gaps  {share.name}"
        for share in shares
    ]
    head = f"share of {1e3 * busy / NUM_STEPS:.2f} ms, a step; gaps before the kernels"
    groups = [
        {
            "name": share.name,
            "seconds": share.seconds / NUM_STEPS,
            "kernels": share.count / NUM_STEPS,
            "share_of_gaps": share.idle,
        }
        for share in shares
    ]
    emit(title, "\n".join([head, *rows]), groups=groups)
