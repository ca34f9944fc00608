"""Labels and figures of steps -> what the bound of a method does in an epoch."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np

from mtra_jax.analysis import information
from mtra_jax.data.packed.batches import Corpus
from mtra_jax.reports.progress import bounds
from mtra_jax.reports.progress.bounds import Bound
from mtra_jax.tasks import Benchmark

MI, FLOORED = "mi", "floored"
"""The terms of a method that are read: the bound I(Z; Y_t), and if ℓ_t is floored."""
CEILING, FLOOR = "ceiling", "floor"
"""The kinds of lines that a run says once."""


def ceilings(benchmark: Benchmark, corpus: Corpus) -> dict[str, float]:
    """H(Y_t) of the labels in `corpus`, in nats, of each task but regression.

    The bound of MTRA estimates I(Z; Y_t) ≤ H(Y_t). For a multi-label task Y_t is the
    whole set of an example's labels.
    """
    return {
        task.name: information.entropy(labels)
        for task, labels in zip(benchmark.tasks, corpus.labels, strict=True)
        if task.kind != "regression"
    }


def label_entropies(benchmark: Benchmark, corpus: Corpus) -> np.ndarray:
    """`Space.label_entropies`: the ceiling of each task [T], infinite for regression."""
    limits = ceilings(benchmark, corpus)
    return np.array([limits.get(name, math.inf) for name in benchmark.task_names])


class Steps:
    """The bounds and floors of an epoch's steps.

    An epoch that continues after an interruption has those of its later steps only.
    `corpus` and `validation`: the examples of either split.
    """

    def __init__(
        self, benchmark: Benchmark, corpus: Corpus, validation: Corpus
    ) -> None:
        self.ceilings, self._validation_ceilings = (
            ceilings(benchmark, own) if own.labels else {}
            for own in (corpus, validation)
        )
        self._tasks = benchmark.task_names
        self._figures: dict[str, list[float]] = defaultdict(list)

    def first_line(self) -> dict[str, float]:
        """The ceilings as `ceiling/<task>`, for the first line of a log."""
        return {f"ceiling/{task}": value for task, value in self.ceilings.items()}

    def add(self, flat: Mapping[str, float]) -> None:
        """Reads `mi/<task>` and `floored/<task>` of a step that was not skipped."""
        if flat.get("bad_steps"):
            return
        for name in (MI, FLOORED):
            for task in self._tasks:
                key = f"{name}/{task}"
                if key in flat:
                    self._figures[key].append(flat[key])

    def end(
        self, validation: Mapping[str, float]
    ) -> tuple[dict[str, Bound], dict[str, float]]:
        """The bounds of the epoch and the shares of steps at the floor, by task.

        `validation`: the bound of each task; empty for a method without one. The next
        epoch starts empty.
        """
        means = {key: float(np.mean(values)) for key, values in self._figures.items()}
        self._figures.clear()
        measured = {
            task: Bound(
                means.get(f"{MI}/{task}"),
                value,
                self.ceilings.get(task),
                self._validation_ceilings.get(task),
            )
            for task, value in validation.items()
        }
        shares = {
            task: means[f"{FLOORED}/{task}"]
            for task in self._tasks
            if f"{FLOORED}/{task}" in means
        }
        return measured, shares


def findings(
    epoch: int,
    measured: Mapping[str, Bound],
    shares: Mapping[str, float],
    said: Collection[str],
) -> tuple[str, list[str]]:
    """A line about `epoch` (from 1) with a remedy, and the kinds of lines said by now.

    The line is empty if the bounds are below their ceilings and the losses above the
    floor, or if a line of that kind is among `said`.
    """
    parts = {CEILING: bounds.past_ceiling(measured), FLOOR: bounds.at_floor(shares)}
    new = {kind: part for kind, part in parts.items() if part and kind not in said}
    kinds = sorted({*said, *new})
    if not new:
        return "", kinds
    remedy = bounds.REMEDY if measured else bounds.WITHOUT_BOUND
    return f"epoch {epoch}: {'; '.join(new.values())}; {remedy}", kinds
