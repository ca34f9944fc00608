"""The same batches -> our step and PyTorch's, eager or compiled, in turns."""

import time
from typing import Any

import timing
import torch
import training_run
import versus_torch
import workload
import workload_files
from training_run import Loaded

SECONDS = 8.0
"""Seconds of timed steps of both sides together."""


def measure(options: dict[str, Any], emit: Any) -> None:
    method = options["method"]
    torch.set_float32_matmul_precision("high")  # TF32 for float32 operations
    if options["small"]:
        torch.set_num_threads(1)
    loaded = training_run.load(options, method)
    ours = training_run.steps_of(loaded)
    started = time.perf_counter()
    ours.take(len(loaded.items))
    emit("ours", f"ready in {time.perf_counter() - started:.1f} s")
    config = workload_files.configuration(options, method)
    whole = workload.Workload(config, loaded.prepared, loaded.items, None)
    is_compiled = options["compile"]
    name = "compiled" if is_compiled else "eager"
    started = time.perf_counter()
    try:
        theirs = torch_steps(whole, loaded, is_compiled=is_compiled)
        theirs.take(1)
        # A separate figure: compiling may take all of the time that is left.
        seconds = time.perf_counter() - started
        emit(f"{name}, first step", f"{seconds:.1f} s", seconds=seconds)
        theirs.take(2 * len(loaded.items))
    except Exception as error:  # no compiler, or no memory
        reason = " ".join(str(error).split())[:200]
        emit(f"PyTorch {name}", f"failed: {type(error).__name__}: {reason}")
        return
    warm_up = time.perf_counter() - started
    seconds = SECONDS / 4 if options["small"] else SECONDS
    emit_turns(name, in_turns(ours, theirs, seconds), warm_up, emit)


def torch_steps(
    whole: workload.Workload, loaded: Loaded, *, is_compiled: bool
) -> workload.Steps:
    """PyTorch's steps on the batches of `loaded`, padded to the longest text.

    Copies of the batches to the device are part of a step.
    """
    trainer = versus_torch.torch_trainer(whole, compile_model=is_compiled, packed=False)
    return workload.Steps(
        lambda batch: trainer.launch(trainer.place(batch)),
        lambda loss: loss.item(),
        loaded.batches,
    )


def in_turns(
    ours: workload.Steps, theirs: workload.Steps, seconds: float
) -> tuple[list[float], list[float]]:
    """Seconds of a step of each, group by group, for about `seconds`."""
    counts = training_run.group_size(ours), training_run.group_size(theirs)
    times: tuple[list[float], list[float]] = ([], [])
    until = time.perf_counter() + seconds
    while len(times[0]) < 3 or time.perf_counter() < until:
        for steps, count, into in zip((ours, theirs), counts, times, strict=True):
            into.append(steps.take(count) / count)
    return times


def emit_turns(
    name: str, times: tuple[list[float], list[float]], warm_up: float, emit: Any
) -> None:
    ours, theirs = map(timing.spread, times)
    ratios = [late / early for early, late in zip(*times, strict=True)]
    ratio = timing.spread(ratios)
    emit(
        f"PyTorch {name}",
        f"{1e3 * theirs.median:.2f} ms (quartiles {1e3 * theirs.lower:.2f}, "
        f"{1e3 * theirs.upper:.2f}), ours {1e3 * ours.median:.2f} ms in turns: "
        f"{ratio.median:.2f} times as fast (quartiles {ratio.lower:.2f}, "
        f"{ratio.upper:.2f}); warmed up in {warm_up:.1f} s",
        theirs_seconds=times[1],
        ours_seconds=times[0],
        ratio=list(ratio),
        warm_up_seconds=warm_up,
    )
