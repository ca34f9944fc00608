"""A configuration -> the time and memory of its compiled training step."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax.runs.training import choices, preparation
from mtra_jax.train.devices import replicate

MEASURED_STEPS = 10


class StepCost(NamedTuple):
    """The cost of a step on a full batch.

    `num_bytes`: arguments, results and temporaries on one device, as the compiler reports
    them, for the largest of the shapes of the batches. `seconds`: the median of the
    measured steps. `num_texts`: those of the batch.
    """

    num_bytes: int
    seconds: float
    compile_seconds: float
    num_texts: int


def of(
    config: ConfigDict,
    num_steps: int = MEASURED_STEPS,
    say: Callable[[str], None] | None = None,
) -> StepCost:
    """The cost of a training step of `config`; of its first task if trained separately.

    `say` receives a line before the step is compiled.

    Raises:
      InputError: data, weights or devices are missing, or values do not fit together.
    """
    if tasks := configs.separate_tasks(config):
        config = configs.of_task(config, tasks[0])
    choices.use_compilation_cache(config)
    prepared = preparation.prepare(config)
    if say is not None:
        say("measuring a training step, to estimate the time")
    run = prepared.run
    state = replicate(run.state, prepared.devices, prepared.mapping)
    plan = run.schedule.plan(0)
    sizes = []
    started = time.perf_counter()
    for blank in run.train.blanks(plan[0]):
        analysis = run.update.compiled(state, blank).memory_analysis()
        assert analysis is not None  # every backend of JAX has it
        sizes.append(
            analysis.argument_size_in_bytes
            + analysis.output_size_in_bytes
            + analysis.temp_size_in_bytes
            - analysis.alias_size_in_bytes
        )
    compiled = time.perf_counter() - started
    fullest = int((plan >= 0).sum(axis=1).argmax())
    batch = next(iter(run.train.batches(plan, epoch=0, start=fullest)))
    state, measured = run.update(state, batch)  # loads the program
    jax.block_until_ready(measured)
    times = []
    for _ in range(num_steps):
        started = time.perf_counter()
        state, measured = run.update(state, batch)
        jax.block_until_ready((state, measured))
        times.append(time.perf_counter() - started)
    num_texts = int((plan[fullest] >= 0).sum())
    jax.clear_caches()
    return StepCost(max(sizes), statistics.median(times), compiled, num_texts)
