"""A configuration -> the real train step, and real batches of all its tasks to run it on."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mtra_jax.runs import preparation
from mtra_jax.train.devices import replicate
from mtra_jax.types import Batch


class Item(NamedTuple):
    """A packed batch on the host, and what it holds."""

    batch: Batch
    task: int
    """Of its first text."""
    num_texts: int
    real_tokens: int
    processed_tokens: int
    """With the padding."""


class Workload(NamedTuple):
    """A prepared run and some of the batches of its first epoch."""

    config: ConfigDict
    prepared: preparation.Prepared
    items: list[Item]
    host_seconds: np.ndarray
    """Of packing each item."""


def load(config: ConfigDict, num_batches: int, unroll: int | None = None) -> Workload:
    """Prepares the run, and packs `num_batches` of its first epoch, full ones.

    `unroll`: see `encoder.Encoder`.

    Raises:
      InputError: what the configuration names cannot be had or does not fit.
    """
    preparation.use_compilation_cache(config)
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
    """Full batches of `plan`, in its order: each task's share, one of each at least.

    `tasks` [N] are those of the examples; a batch counts as its first text's. All batches
    are taken where none is full.
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
    """Counts of a batch of the host, arrays [D, ...]."""
    return Item(
        batch,
        int(batch.tasks.flat[0]),
        int(batch.where.sum()),
        int(np.sum(batch.segments > 0)),
        batch.tokens.size,
    )


class Stepper:
    """The train step of a workload with its state, one call a step."""

    def __init__(self, prepared: preparation.Prepared) -> None:
        self._update = prepared.run.update
        self.state = replicate(prepared.run.state, prepared.devices)

    def __call__(self, item: Item) -> Any:
        """Takes a step, and waits for all of it."""
        self.state, measured = self._update(self.state, item.batch)
        return jax.block_until_ready((self.state, measured))[1]

    def compiled(self, item: Item) -> jax.stages.Compiled:
        """The program of the item's shape."""
        return self._update.compiled(self.state, item.batch)


def one_of_each_shape(items: Sequence[Item]) -> list[Item]:
    """The first item of every shape: what is to be compiled before times count."""
    return list({item.batch.tokens.shape: item for item in reversed(items)}.values())
