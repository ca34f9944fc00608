"""Runs of a sweep -> how long they take on this machine.

The work of a run is counted in forward passes of one example: a training step has a
forward and a backward pass, and the latter takes as long as two of the former. The time of
such a pass comes from finished runs, or from a measured step.
"""

import heapq
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtra_jax.data.splits.examples import Data
from mtra_jax.methods import registry
from mtra_jax.reports.formatting import times
from mtra_jax.reports.progress import bars
from mtra_jax.runs.trained.analyses import FORWARD_AND_BACKWARD, Analysis
from mtra_jax.runs.training import inputs, step_cost, task_gradients

FEW_STEPS = 3
"""Measured for an estimate, which should be there soon."""
Examples = Mapping[str, Mapping[str, int]]
"""The number of examples by task and split, as in results.json."""


class Rates(NamedTuple):
    """Seconds of a forward pass of one example. `default`: of methods without a rate."""

    by_method: Mapping[str, float]
    default: float
    origin: str
    """Where the rates are from, for a line of text."""
    compilation: float = 0.0
    """Seconds that each run compiles, if the rates do not include them."""

    def of(self, method: str) -> float:
        """The rate of `method`."""
        return self.by_method.get(method, self.default)


def passes(config: ConfigDict) -> int:
    """Forward and backward passes of a training step of `config`."""
    options = {key: value for key, value in config.method.items() if key != "name"}
    return registry.example(config.method.name, **options).passes


def work(examples: Examples, epochs: int | Mapping[str, int], num_passes: int) -> float:
    """The work of training `epochs` (all tasks, or each), and of scoring at the end.

    >>> work({"irony": {"train": 100, "validation": 10, "test": 20}}, 2, 1)
    640.0
    """
    total = 0.0
    for task, counts in examples.items():
        own = epochs if isinstance(epochs, int) else epochs[task]
        step = FORWARD_AND_BACKWARD * num_passes * counts["train"]
        total += own * (step + counts["validation"]) + counts["test"]
    return total


def from_results(
    finished: Sequence[tuple[str, Mapping[str, Any], int]],
) -> Rates | None:
    """The rates of finished runs: (method, results, passes); None without any.

    A method's rate is the median over its runs, the default that over all methods.
    """
    rates: dict[str, list[float]] = {}
    for method, results, num_passes in finished:
        units = work(results["examples"], results["epochs"], num_passes)
        seconds = results["train_seconds"] + results.get("scoring_seconds", 0)
        rates.setdefault(method, []).append(seconds / units)
    if not rates:
        return None
    medians = {method: statistics.median(values) for method, values in rates.items()}
    default = statistics.median(medians.values())
    return Rates(medians, default, f"from {len(finished)} finished runs")


def from_step(config: ConfigDict) -> Rates:
    """The rate of a measured training step of `config`, for all methods.

    Raises:
      InputError: data, weights or devices are missing, or values do not fit together.
    """
    cost = step_cost.of(config, FEW_STEPS, bars.write_log_line)
    units = FORWARD_AND_BACKWARD * passes(config) * cost.num_texts
    origin = (
        f"from a step of {config.method.name}: {cost.seconds:.3f} s, "
        f"{cost.compile_seconds:.0f} s to compile"
    )
    return Rates({}, cost.seconds / units, origin, cost.compile_seconds)


def planned(config: ConfigDict, data: Data) -> float:
    """The most work that a run of `config` has: all its epochs."""
    return work(_counts(config, data), config.epochs, passes(config))


def analysed(
    config: ConfigDict, data: Data, analysis: Analysis, most_texts: int = 0
) -> float:
    """The most work of an analysis of a run of `config`, without the training of critics.

    `most_texts`: see `Trained`.
    """
    trained = _counts(config, data)
    counts = {
        task: {split: min(n, most_texts or n) for split, n in own.items()}
        for task, own in trained.items()
    }
    for own in counts.values():
        most = task_gradients.NUM_BATCHES * config.batch_size
        own["gradients"] = min(own["train"], most)
    once = sum(
        num_passes * own[split]
        for split, num_passes in analysis.passes.items()
        for own in counts.values()
    )
    if not analysis.is_of_epochs:
        return once
    # Before the first epoch and after each, in a run that is trained again.
    return (config.epochs + 1) * once + work(trained, config.epochs, passes(config))


def _counts(config: ConfigDict, data: Data) -> dict[str, dict[str, int]]:
    return {
        task: {split: len(part.texts) for split, part in parts.items()}
        for task, parts in inputs.examples_of(config, data).items()
    }


def seconds(config: ConfigDict, data: Data, rates: Rates) -> float:
    """The time of a run of `config` that does not end early."""
    return rates.compilation + planned(config, data) * rates.of(config.method.name)


def of_jobs(batches: Sequence[Sequence[float]], num_workers: int, work: str) -> str:
    """The time of `work`, one after the other or several at once.

    `batches`: the seconds of each run in their order. A batch starts when that before has
    ended.

    >>> of_jobs([[3600, 7200]], 1, "run")
    '3 h 0 min, one run after the other'
    >>> of_jobs([[3600, 7200]], 2, "run")
    '3 h 0 min, one run after the other, or 2 h 0 min if 2 at a time do not slow each other'
    """
    line = f"{times.duration(sum(map(sum, batches)))}, one {work} after the other"
    at_once = min(num_workers, max(map(len, batches), default=0))
    if at_once <= 1:
        return line
    shorter = times.duration(sum(at_a_time(seconds, at_once) for seconds in batches))
    return f"{line}, or {shorter} if {at_once} at a time do not slow each other"


def at_a_time(seconds: Sequence[float], num_workers: int) -> float:
    """The time of runs of `seconds`, each by the worker that is free first.

    >>> at_a_time([3, 1, 1, 4], 2)
    6.0
    """
    ends = [0.0] * num_workers
    for own in seconds:
        heapq.heapreplace(ends, ends[0] + own)
    return max(ends)
