"""A method and a batch size -> the real train step, real batches of one shape, times."""

import time
from collections import Counter
from typing import Any, NamedTuple

import jax
import numpy as np
import speeds
import step_costs
import workload
import workload_files
from jax.experimental.compilation_cache import compilation_cache

from mtra_jax.runs.sweeps import estimates
from mtra_jax.runs.training import preparation
from mtra_jax.train import build
from mtra_jax.train.backbone import Backbone
from mtra_jax.train.devices import start_devices
from mtra_jax.types import Batch

NUM_BATCHES = 48
"""Batches packed to find the most frequent shape."""
NUM_ITEMS = 16
"""Batches of that shape through which the steps cycle."""
GROUP_SECONDS = 0.4
"""About the time of a group of steps, for which the host waits once."""


class Loaded(NamedTuple):
    """A prepared run with batches of one shape, and means over these batches."""

    prepared: preparation.Prepared
    stepper: workload.Stepper
    items: list[workload.Item]
    mean_texts: float
    mean_real: float
    processed: int
    """Tokens of a batch with its padding."""
    mean_flops: float
    """Operations of the encoder's matrix products on real tokens, in all passes of a step."""
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
    """Prepares a run, with a separate cache for its programs.

    The first measurement of a program starts with an empty cache, without even the
    autotuning results of another program; the second starts with a full one.
    """
    start_devices()
    switches = options.get("unroll", ""), options.get("merged", "")
    kind = "-".join(map(str, (method, scale, *switches)))
    directory = workload_files.of(options).programs / kind
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    compilation_cache.reset_cache()  # otherwise JAX keeps its first directory
    config = workload_files.configuration(options, method, scale)
    prepared = preparation.prepare(config, backbone, options.get("unroll"))
    run = prepared.run
    plan = run.schedule.plan(0)
    chosen = workload.choose(run.train.corpus.tasks, plan, NUM_BATCHES)
    items = [workload.describe(batch) for batch in run.train.batches(plan[chosen])]
    shapes = Counter(item.batch.tokens.shape for item in items)
    (shape, _), *_ = shapes.most_common()
    chosen_items = [item for item in items if item.batch.tokens.shape == shape][
        :NUM_ITEMS
    ]
    passes = estimates.passes(config)
    flops = [
        step_costs.step_flops(
            prepared.inputs.backbone.config, speeds.lengths_of(item), passes
        )
        for item in chosen_items
    ]
    return Loaded(
        prepared,
        workload.stepper_of(prepared),
        chosen_items,
        float(np.mean([item.num_texts for item in chosen_items])),
        float(np.mean([item.real_tokens for item in chosen_items])),
        chosen_items[0].processed_tokens,
        float(np.mean(flops)),
        np.dtype(build.compute_dtype(config.compute_dtype)).name,
        len(shapes),
    )


def steps_of(loaded: Loaded) -> workload.Steps:
    """The steps of our program on the batches of `loaded` in turn."""
    stepper = loaded.stepper
    return workload.Steps(stepper.launch, jax.block_until_ready, loaded.batches)


class Times(NamedTuple):
    """Seconds of a step, the mean of each group of `steps`."""

    seconds: list[float]
    steps: int


def timed(steps: workload.Steps, seconds: float) -> Times:
    """Times groups of steps for about `seconds`, at least three groups."""
    count = group_size(steps)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        times.append(steps.take(count) / count)
    return Times(times, count)


def group_size(steps: workload.Steps) -> int:
    """The number of steps that take about `GROUP_SECONDS`, after two for warm-up."""
    steps.take(2)
    return max(1, min(64, round(GROUP_SECONDS / (steps.take(2) / 2))))
