"""A run's parameters every N steps -> cosines and norms of the tasks' gradients."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from mtra_jax.analysis import conflicts
from mtra_jax.data.packed.batches import Corpus
from mtra_jax.methods.model import Model
from mtra_jax.runs.training import task_gradients
from mtra_jax.train import build, memory
from mtra_jax.train.devices import AXIS, Program, local_places, to_host
from mtra_jax.types import Batch, Params

ADVICE = (
    "expected --config.diagnostics.every=0, or a smaller batch_size or data.max_length"
)
"""Advice for a measurement that runs out of memory."""


class Diagnostics(NamedTuple):
    """A program for the Gramian of the tasks' gradients, and the batches that it reads."""

    every: int
    """Steps between two measurements."""
    program: Program
    """(parameters, batch) -> inner products [T, T]"""
    batch: Batch

    def at(self, step: int, params: Params) -> Callable[[], np.ndarray] | None:
        """Starts to measure after `step`; None for a step without a measurement.

        The result waits for the device and returns the Gramian [T, T].

        Raises:
          RunError: a measurement needs too much memory; the result raises it too.
        """
        if step % self.every:
            return None
        shapes = [memory.shape_of(self.batch)]
        with memory.naming(shapes, ADVICE):
            products = self.program(params, self.batch)

        def wait() -> np.ndarray:
            with memory.naming(shapes, ADVICE):
                return to_host(products)

        return wait


def make(
    every: int,
    model: Model,
    choice: build.MethodChoice,
    corpus: Corpus,
    devices: list[jax.Device],
    *,
    batch_size: int,
    micro_batches: int,
    mapping: str,
) -> Diagnostics | None:
    """The diagnostics of a run, every `every` steps; None for 0.

    The gradients are those of `task_gradients.make_gramian`, on the first batches of each
    task of `corpus`, the same ones every time. The program is separate from that of
    training, which stays the same.
    """
    if not every:
        return None
    batch = task_gradients.pack(
        corpus,
        batch_size,
        num_devices=len(devices),
        local_devices=local_places(devices),
        micro_batches=micro_batches,
    )

    def gramian(
        params: Params, batch: Batch, numbers: Mapping[str, ArrayLike]
    ) -> jax.Array:
        method = build.make_method(model, choice, numbers)
        return task_gradients.make_gramian(model, method, AXIS)(params, batch)

    numbers = (choice.numbers(),)
    program = Program(
        gramian, devices, donate_first=False, settings=numbers, mapping=mapping
    )
    return Diagnostics(every, program, batch)


def figures(
    products: np.ndarray, tasks: tuple[str, ...], flat: Mapping[str, float]
) -> dict[str, Any]:
    """A line of `diagnostics.jsonl`.

    `products`: inner products [T, T]. `flat`: the metrics of the step, of which the line
    has the weights of its tasks. `cosines` has rows and columns in the order of `tasks`;
    None stands for the pairs of a task whose gradient is 0.

    >>> line = figures(np.array([[4.0, -1.0], [-1.0, 1.0]]), ("a", "b"), {"weight/a": 0.5})
    >>> line["cosines"], line["conflict_share"], line["norm/a"], line["weight/a"]
    ([[1.0, -0.5], [-0.5, 1.0]], 1.0, 2.0, 0.5)
    """
    norms = np.sqrt(np.diagonal(np.asarray(products, np.float64)))
    return {
        "conflict_share": float(conflicts.conflict_share(products)),
        **{f"norm/{task}": float(n) for task, n in zip(tasks, norms, strict=True)},
        **{key: value for key, value in flat.items() if key.startswith("weight/")},
        "cosines": conflicts.cosines(products).tolist(),
    }
