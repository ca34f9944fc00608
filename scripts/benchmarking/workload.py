"""A configuration -> its train step, and batches of all its tasks to run it on."""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mtra_jax.runs.training import choices, preparation
from mtra_jax.train.devices import Program, replicate
from mtra_jax.types import Batch


class Item(NamedTuple):
    """A packed batch on the host, with its counts."""

    batch: Batch
    task: int
    """The task of its first text."""
    num_texts: int
    real_tokens: int
    processed_tokens: int
    """Tokens with padding."""


class Workload(NamedTuple):
    """A prepared run and some of the batches of its first epoch."""

    config: ConfigDict
    prepared: preparation.Prepared
    items: list[Item]
    host_seconds: np.ndarray
    """Seconds of packing each item."""


def load(config: ConfigDict, num_batches: int, unroll: int | None = None) -> Workload:
    """Prepares the run, and packs `num_batches` full batches of its first epoch.

    `unroll`: see `encoder.Encoder`.

    Raises:
      InputError: data, weights or devices of the configuration are missing or do not fit.
    """
    choices.use_compilation_cache(config)
    prepared = preparation.prepare(config, unroll=unroll)
    run = prepared.run
    plan = run.schedule.plan(0)
    items, seconds = [], []
    for index in choose(run.train.corpus.tasks, plan, num_batches):
        started = time.perf_counter()
        (batch,) = run.train.batches(plan[index : index + 1])
        seconds.append(time.perf_counter() - started)
        items.append(describe(batch))
    return Workload(config, prepared, items, np.array(seconds))


def choose(tasks: np.ndarray, plan: np.ndarray, number: int) -> list[int]:
    """Full batches of `plan`, in its order: a proportional number per task, at least one.

    `tasks` [N] are the tasks of the examples; the first text gives that of a batch. If no
    batch is full, all batches are candidates.
    """
    full = np.flatnonzero(np.all(plan >= 0, axis=1))
    full = full if len(full) else np.arange(len(plan))
    owners = tasks[plan[full, 0]]
    chosen: list[int] = []
    for task in np.unique(owners):
        own = full[owners == task]
        count = min(max(1, round(number * len(own) / len(full))), len(own))
        chosen.extend(own[np.linspace(0, len(own) - 1, count).astype(int)].tolist())
    return sorted(chosen)


def describe(batch: Batch) -> Item:
    """The batch, arrays [D, ...] on the host, with its counts."""
    return Item(
        batch,
        int(batch.tasks.flat[0]),
        int(batch.where.sum()),
        int(np.sum(batch.segments > 0)),
        batch.tokens.size,
    )


class Stepper:
    """A train step and its state, which each step replaces."""

    def __init__(self, update: Program, state: Any) -> None:
        self._update, self.state = update, state

    def launch(self, batch: Batch) -> Any:
        """Launches a step; returns the new state and the metrics, for waiting."""
        self.state, measured = self._update(self.state, batch)
        return self.state, measured

    def __call__(self, item: Item) -> Any:
        """Runs a step, waits for all results and returns the metrics."""
        return jax.block_until_ready(self.launch(item.batch))[1]

    def compiled(self, batch: Batch) -> jax.stages.Compiled:
        """The program of the batch's shape."""
        return self._update.compiled(self.state, batch)


def stepper_of(prepared: preparation.Prepared) -> Stepper:
    """The train step of a prepared run, from its first state."""
    state = replicate(prepared.run.state, prepared.devices)
    return Stepper(prepared.run.update, state)


class Steps:
    """Steps in a row on batches that take turns, ours or PyTorch's.

    `launch(batch)` starts a step and returns what `wait` waits for.
    """

    def __init__(
        self,
        launch: Callable[[Batch], Any],
        wait: Callable[[Any], Any],
        batches: Iterable[Batch],
    ) -> None:
        self._launch, self._wait = launch, wait
        self._batches = itertools.cycle(batches)

    def take(self, count: int) -> float:
        """Seconds of `count` steps: the host waits once, for the last of them."""
        started = time.perf_counter()
        self._wait(self._launched(count))
        return time.perf_counter() - started

    def launch_seconds(self, count: int = 4) -> float:
        """Seconds that the host takes to launch a step on a device that was idle before.

        On a CPU the device is the host, so the steps may be counted too.
        """
        started = time.perf_counter()
        result = self._launched(count)
        seconds = time.perf_counter() - started
        self._wait(result)
        return seconds / count

    def _launched(self, count: int) -> Any:
        result = None
        for batch in itertools.islice(self._batches, count):
            result = self._launch(batch)
        return result


def one_of_each_shape(items: Sequence[Item]) -> list[Item]:
    """The first item of every shape, to compile all shapes before timing."""
    return list({item.batch.tokens.shape: item for item in reversed(items)}.values())
