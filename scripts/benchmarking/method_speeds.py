"""Every method of the registry -> milliseconds of its step."""

import concurrent.futures
import gc
from collections.abc import Iterator
from typing import Any

import timing
import training_run
import workload_files

from mtra_jax.methods import registry
from mtra_jax.runs.training import inputs
from mtra_jax.train.backbone import Backbone

NUM_SMALL = 4
"""The number of methods with `--small`."""
AT_ONCE = 4
"""Programs that are compiled at the same time; timing starts after them."""
SECONDS = 2.0
"""Seconds of timed steps of each method."""


def measure(options: dict[str, Any], emit: Any) -> None:
    names = [name for name, entry in registry.METHODS.items() if not entry.is_separate]
    # The first two were measured before, so the cache has their programs.
    names.sort(key=lambda name: name not in ("ew", "mtra"))
    if options["small"]:
        names = names[:NUM_SMALL]
    config = workload_files.configuration(options, names[0])
    backbone = inputs.load_backbone(config, [])
    first = None
    for group in groups(names):
        for name, loaded in compiled(options, group, backbone, emit):
            steps = training_run.steps_of(loaded)
            seconds = SECONDS / 8 if options["small"] else SECONDS
            times = training_run.timed(steps, seconds)
            low, median, high = timing.spread(times.seconds)
            first = first or median
            emit(
                name,
                f"{1e3 * median:.2f} ms (quartiles {1e3 * low:.2f}, {1e3 * high:.2f}), "
                f"{median / first:.2f} times {names[0]}'s; "
                f"{loaded.mean_real:.0f} real tokens of {loaded.processed}, "
                f"{loaded.mean_real / median:,.0f} a second",
                method=name,
                group_seconds=times.seconds,
                median_seconds=median,
                ratio=median / first,
                real_tokens=loaded.mean_real,
                processed_tokens=loaded.processed,
            )
        gc.collect()  # parameters and programs of this group


def groups(names: list[str]) -> Iterator[list[str]]:
    """The first two methods alone, because a process reads one cache; then groups."""
    yield from ([name] for name in names[:2])
    for start in range(2, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]


def compiled(
    options: dict[str, Any], names: list[str], backbone: Backbone, emit: Any
) -> list[tuple[str, training_run.Loaded]]:
    """Loads the methods, and compiles their steps at the same time."""
    loads = [(name, training_run.load(options, name, 1, backbone)) for name in names]

    def compile_step(loaded: training_run.Loaded) -> None:
        loaded.stepper.compiled(loaded.batches[0])

    good = []
    with concurrent.futures.ThreadPoolExecutor(len(loads)) as pool:
        waits = [pool.submit(compile_step, loaded) for _, loaded in loads]
        for (name, loaded), wait in zip(loads, waits, strict=True):
            try:
                wait.result()
                good.append((name, loaded))
            except Exception as error:  # the other methods are still timed
                reason = " ".join(str(error).split())[:200]
                emit(name, f"failed: {type(error).__name__}: {reason}")
    return good
