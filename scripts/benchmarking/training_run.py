"""A method and a batch size -> the real train step, real batches of one shape, times."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import workload_files
from jax.experimental.compilation_cache import compilation_cache

from mtra_jax.benchmark import cost, measure, workload
from mtra_jax.runs import preparation
from mtra_jax.train.backbone import Backbone
from mtra_jax.train.devices import replicate, start_devices
from mtra_jax.types import Batch

memory = cost.memory
TRACE = "/jax/core/compile/jaxpr_trace_duration"
LOWER = "/jax/core/compile/jaxpr_to_mlir_module_duration"
COMPILE = "/jax/core/compile/backend_compile_duration"
READ = "/jax/compilation_cache/cache_retrieval_time_sec"
SAVED = "/jax/compilation_cache/compile_time_saved_sec"
NUM_BATCHES = 48
"""That are packed to find the shape most of them have."""
NUM_KEPT = 16
"""Batches of that shape that the steps go round."""
GROUP_SECONDS = 0.4
"""About how long a group of steps takes that is waited for together."""


class Loaded(NamedTuple):
    """A prepared run with batches of one shape, and means over these batches."""

    prepared: preparation.Prepared
    state: Any
    items: list[workload.Item]
    mean_texts: float
    mean_real: float
    processed: int
    """Tokens of a batch with its padding."""
    mean_flops: float
    """Matrix products of the encoder on real tokens, all passes of a step."""
    dtype: str
    num_shapes: int
    """Distinct shapes of the batches that were packed."""

    @property
    def batches(self) -> list[Batch]:
        return [item.batch for item in self.items]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and their length."""
        return self.batches[0].tokens.shape[-2:]


def load(
    options: dict[str, Any],
    method: str,
    scale: int = 1,
    backbone: Backbone | None = None,
) -> Loaded:
    """Prepares a run; its programs are cached apart from those of all others.

    So the first measurement of a program finds nothing in the cache, not even the
    autotuning of another program, and the second one finds all.
    """
    start_devices()
    kind = f"{method}-{scale}-{options.get('unroll', '')}"
    directory = workload_files.of(options).programs / kind
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    compilation_cache.reset_cache()  # else the first directory of a process is kept
    config = workload_files.configuration(options, method, scale)
    prepared = preparation.prepare(config, backbone, options.get("unroll"))
    run = prepared.run
    plan = run.schedule.plan(0)
    chosen = workload.choose(run.train.corpus.tasks, plan, NUM_BATCHES)
    items = [workload.describe(batch) for batch in run.train.batches(plan[chosen])]
    shapes = Counter(item.batch.tokens.shape for item in items)
    (shape, _), *_ = shapes.most_common()
    kept = [item for item in items if item.batch.tokens.shape == shape][:NUM_KEPT]
    passes = measure.passes(config)
    flops = [
        cost.step_flops(prepared.backbone.config, measure.lengths_of(item), passes)
        for item in kept
    ]
    return Loaded(
        prepared,
        replicate(run.state, prepared.devices),
        kept,
        float(np.mean([item.num_texts for item in kept])),
        float(np.mean([item.real_tokens for item in kept])),
        kept[0].processed_tokens,
        float(np.mean(flops)),
        np.dtype(preparation.compute_dtype(config)).name,
        len(shapes),
    )


class Steps:
    """Steps in a row on the batches of `loaded`, whose state they take."""

    def __init__(self, loaded: Loaded) -> None:
        self._update = loaded.prepared.run.update
        self._batches = loaded.batches
        self._state = loaded.state
        self._next = 0

    def take(self, count: int) -> float:
        """Seconds of `count` steps: the host waits once, for the last of them."""
        started = time.perf_counter()
        jax.block_until_ready(self._launch(count))
        return time.perf_counter() - started

    def launch_seconds(self, count: int = 4) -> float:
        """Seconds that the host takes to launch a step on a device that is idle before.

        On a CPU the device is the host, so that steps may be counted with it.
        """
        started = time.perf_counter()
        result = self._launch(count)
        seconds = time.perf_counter() - started
        jax.block_until_ready(result)
        return seconds / count

    def _launch(self, count: int) -> Any:
        for _ in range(count):
            batch = self._batches[self._next % len(self._batches)]
            self._state, measured = self._update(self._state, batch)
            self._next += 1
        return self._state, measured


class Times(NamedTuple):
    """Seconds of a step, the mean of each group of `steps`."""

    seconds: list[float]
    steps: int


def timed(steps: Any, seconds: float) -> Times:
    """Times groups of steps for about `seconds`, at least three groups."""
    count = group_size(steps)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        times.append(steps.take(count) / count)
    return Times(times, count)


def group_size(steps: Any) -> int:
    """As many steps as take about `GROUP_SECONDS`, after two of warm-up."""
    steps.take(2)
    return max(1, min(64, round(GROUP_SECONDS / (steps.take(2) / 2))))


class Events:
    """Seconds of tracing, lowering and compiling, as JAX reports them.

    Traces and compilations of parts lie within the longest one or before it, so that of
    each kind the longest counts.
    """

    def __init__(self) -> None:
        self.trace = self.lower = self.compile = self.read = self.saved = 0.0
        self.num_compiled = self.num_read = 0

    def note(self, event: str, duration: float) -> None:
        if event == TRACE:
            self.trace = max(self.trace, duration)
        elif event == LOWER:
            self.lower = max(self.lower, duration)
        elif event == COMPILE:
            self.compile = max(self.compile, duration)
            self.num_compiled += 1
        elif event == READ:
            self.read = max(self.read, duration)
            self.num_read += 1
        elif event == SAVED:
            self.saved = max(self.saved, duration)

    def values(self) -> dict[str, Any]:
        """The seconds by name; None for compiling what was read, and the reverse."""
        is_read = self.num_read > 0
        return {
            "trace_seconds": self.trace,
            "lower_seconds": self.lower,
            "compile_seconds": None if is_read else self.compile,
            "read_seconds": self.read if is_read else None,
            "stored_compile_seconds": self.read + self.saved if is_read else None,
            "num_compiled": self.num_compiled,
            "num_read": self.num_read,
        }


@contextlib.contextmanager
def compilations(
    on_lowered: Callable[[Events], None] | None = None,
) -> Iterator[Events]:
    """Collects JAX's reports; `on_lowered` is called after the longest lowering."""
    events = Events()

    def note(event: str, duration: float, **_: Any) -> None:
        before = events.lower
        events.note(event, duration)
        if on_lowered is not None and event == LOWER and events.lower > before:
            on_lowered(events)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
