"""A run -> the cost of its start, its input, its checkpoints and its memory."""

import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from workload import Item, Stepper, Workload

from mtra_jax.data.packed import batches
from mtra_jax.errors import InputError
from mtra_jax.runs.directory import checkpoints
from mtra_jax.train.devices import to_host
from mtra_jax.types import Batch

STAGES = LIBRARIES, DATA, PROGRAM, FIRST_STEP = (
    "libraries",
    "data and parameters",
    "program",
    "first step",
)
"""Stages of a start, in order; `PROGRAM` traces the step and compiles or reads it."""
PEAK = "peak bytes"


class Alone(NamedTuple):
    """Figures of a process that only runs steps."""

    stages: dict[str, float]
    """Seconds from its start to the end of each of `STAGES`."""
    peak_bytes: int
    """Its peak resident memory, with libraries."""


class Starts(NamedTuple):
    """Seconds from a process's start to its first step."""

    cold: float
    """With an empty cache of programs and tokens."""
    warm: float
    """With the programs and tokens of the cold run on disk."""
    warm_stages: dict[str, float]
    """Seconds to the end of each of `STAGES` in the warm start."""


class Feeding(NamedTuple):
    """Seconds of the host to plan an epoch, to pack a batch, and to wait for one."""

    plan: float
    pack: float
    """Median over batches."""
    wait: float
    """Mean over batches of the loop's wait for the thread that packs them."""

    @property
    def hidden(self) -> float:
        """Share of the packing that overlaps with the device's work."""
        return max(0.0, 1 - self.wait / self.pack)


class Saving(NamedTuple):
    """Seconds that training waits for a checkpoint, seconds until it is on disk, bytes."""

    wait: float
    written: float
    num_bytes: int


def alone(command: Sequence[str]) -> Alone:
    """Runs `command`, which prints each of `STAGES` when it ends, then `PEAK` and bytes.

    Raises:
      InputError: the command fails.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [
            (line.strip(), time.perf_counter() - started) for line in process.stdout
        ]
    stages = dict(lines[:-1])
    if process.returncode or tuple(stages) != STAGES:
        raise InputError(f"{command[1]}: ended with {process.returncode} and no step")
    return Alone(stages, int(lines[-1][0].removeprefix(PEAK)))


def starts(command: Sequence[str]) -> Starts:
    """Runs `command`, see `alone`, with an empty and a filled cache.

    The directory of the cache is added to the command as `--config.data.cache_dir`.

    Raises:
      InputError: the command fails.
    """
    with tempfile.TemporaryDirectory() as cache:
        whole = [*command, f"--config.data.cache_dir={cache}"]
        cold, warm = alone(whole).stages, alone(whole).stages
    return Starts(cold[FIRST_STEP], warm[FIRST_STEP], warm)


def feeding(workload: Workload, stepper: Stepper, num_batches: int = 8) -> Feeding:
    """Trains on `num_batches` batches of one shape as the training loop does."""
    run = workload.prepared.run
    started = time.perf_counter()
    plan = run.schedule.plan(1)
    planned = time.perf_counter() - started
    # One shape, already compiled: compile time would be counted as waiting for input.
    item = workload.items[0]
    own = run.train.corpus.tasks[plan[:, 0]] == item.task
    wanted = plan[own & np.all(plan >= 0, axis=1)][:num_batches]
    stream = batches.prefetch(_of_shape(run.train.batches(wanted, epoch=1), item))
    waits, begun = [], time.perf_counter()
    for batch in stream:
        waits.append(time.perf_counter() - begun)
        stepper(Item(batch, 0, 0, 0, 0))
        begun = time.perf_counter()
    # The first one cannot be hidden behind a step.
    mean = float(np.mean(waits[1:])) if len(waits) > 1 else 0.0
    return Feeding(planned, float(np.median(workload.host_seconds)), mean)


def _of_shape(made: Iterable[Batch], item: Item) -> Iterator[Batch]:
    return (b for b in made if b.tokens.shape == item.batch.tokens.shape)


def saving(stepper: Stepper, step: int = 1) -> Saving:
    """Saves the state of `stepper` to a temporary directory, as training does."""
    with tempfile.TemporaryDirectory() as directory:
        store = checkpoints.Checkpoints(Path(directory) / "checkpoints")
        # Only the first checkpoint of a run is read back.
        store.save(step - 1, {"params": np.zeros(1)}, {}, 1.0)
        started = time.perf_counter()
        arrays = to_host(stepper.state)._asdict()
        store.save(step, arrays, {}, 0.0)
        waited = time.perf_counter() - started
        store.close()
        written = time.perf_counter() - started
        paths = Path(directory).rglob("*")
        num_bytes = sum(path.stat().st_size for path in paths if path.is_file())
    return Saving(waited, written, num_bytes)
