"""A method and a batch size -> time to compile its train step, its speed, its memory."""

import statistics
import time
from typing import Any

import compile_events
import jax
import program_size
import step_costs
import timing
import training_run
from training_run import Loaded

FIRST_LOOK, LONG_LOOK = 2.0, 8.0
"""Seconds of timed steps: for a first figure, and for the final one."""


def measure(options: dict[str, Any], emit: Any) -> None:
    scale = options.get("scale", 1)
    started = time.perf_counter()
    loaded = training_run.load(options, options["method"], scale)
    emit(
        "batch",
        f"{loaded.mean_texts:.0f} texts, {loaded.mean_real:.0f} real tokens of "
        f"{loaded.processed} in rows {loaded.shape}; {loaded.dtype}; prepared in "
        f"{time.perf_counter() - started:.1f} s",
        shape=list(loaded.shape),
        texts=loaded.mean_texts,
        real_tokens=loaded.mean_real,
        processed_tokens=loaded.processed,
        dtype=loaded.dtype,
        num_shapes=loaded.num_shapes,
    )
    compiled = compile_step(loaded, emit)
    emit_size(compiled, emit)
    steps = training_run.steps_of(loaded)
    started = time.perf_counter()
    with compile_events.collected() as events:
        steps.take(1)
    emit(
        "first step",
        f"{time.perf_counter() - started:.2f} s, {events.num_compiled} programs "
        "compiled in it",
        seconds=time.perf_counter() - started,
        num_compiled=events.num_compiled,
    )
    for name, seconds in (("step, first look", FIRST_LOOK), ("step", LONG_LOOK)):
        seconds = seconds / 4 if options["small"] else seconds
        emit_speed(name, loaded, training_run.timed(steps, seconds), options, emit)
    launch = statistics.median(steps.launch_seconds() for _ in range(5))
    emit("host", f"{1e3 * launch:.2f} ms to launch a step", launch_seconds=launch)
    emit_memory(loaded, compiled, emit)


def compile_step(loaded: Loaded, emit: Any) -> jax.stages.Compiled:
    """Compiles, or reads, the step's program; its parts are emitted as they end."""

    def lowered(events: compile_events.Events) -> None:
        emit(
            "trace, lower",
            f"{events.trace:.1f} s, {events.lower:.1f} s",
            trace_seconds=events.trace,
            lower_seconds=events.lower,
        )

    started = time.perf_counter()
    with compile_events.collected(lowered) as events:
        compiled = loaded.stepper.compiled(loaded.batches[0])
    total = time.perf_counter() - started
    if events.num_read:
        text = (
            f"{events.read:.2f} s to read from the cache, where compiling it took "
            f"{events.read + events.saved:.1f} s; {total:.1f} s with trace and lowering"
        )
    else:
        text = (
            f"{events.compile:.1f} s, writing to the empty cache included; {total:.1f} "
            "s with trace and lowering"
        )
    emit(
        "compile",
        text,
        total_seconds=total,
        **events.values(),
    )
    return compiled


def emit_speed(
    name: str,
    loaded: Loaded,
    times: training_run.Times,
    options: dict[str, Any],
    emit: Any,
) -> None:
    """Milliseconds of a step and what follows from them."""
    low, median, high = timing.spread(times.seconds)
    per_second = 1 / median
    flops = loaded.mean_flops
    rate = options.get("product_rate")
    share = f", {flops * per_second / rate:.3f} of a product's" if rate else ""
    emit(
        name,
        f"{1e3 * median:.2f} ms (quartiles {1e3 * low:.2f}, {1e3 * high:.2f}; "
        f"{len(times.seconds)} groups of {times.steps}); "
        f"{loaded.mean_texts * per_second:,.0f} examples/s, "
        f"{loaded.mean_real * per_second:,.0f} real tokens/s, "
        f"{flops * per_second / 1e12:.3g} TFLOP/s{share}",
        median_seconds=median,
        lower_seconds=low,
        upper_seconds=high,
        group_seconds=times.seconds,
        steps_per_group=times.steps,
        examples_per_second=loaded.mean_texts * per_second,
        real_tokens_per_second=loaded.mean_real * per_second,
        flop_per_step=flops,
        share_of_product=flops * per_second / rate if rate else None,
    )


def emit_memory(loaded: Loaded, compiled: jax.stages.Compiled, emit: Any) -> None:
    """The peak of memory in use on the device, and the memory that the program requests."""
    stats = loaded.prepared.devices[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    needed = step_costs.memory(compiled)
    used = "not reported by the device"
    if peak is not None:
        used = f"{peak / 2**20:,.0f} MiB in use on the device"
    emit(
        "peak memory",
        f"{used}; the program needs {needed.peak / 2**20:,.0f} MiB, "
        f"{needed.state / 2**20:,.0f} MiB of it for state and batch",
        peak_bytes_in_use=peak,
        program_bytes=needed.peak,
        argument_bytes=needed.state,
    )


def emit_size(compiled: jax.stages.Compiled, emit: Any) -> None:
    """Instructions and kernels of the optimised program."""
    size = program_size.size(compiled.as_text())
    kinds = ", ".join(f"{name} {n}" for name, n in list(size.kinds.items())[:6])
    emit(
        "program",
        f"{size.instructions:,} instructions, {size.fusions:,} fusions; "
        f"{size.kernels:,} kernels ({kinds}), {size.started:,} started a step",
        **size._asdict(),
    )
