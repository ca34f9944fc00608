"""Runs, steps and epochs -> bars and tables on a terminal."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tqdm

from mtra_jax.reports import tables
from mtra_jax.tasks import Task


def write_line(text: str) -> None:
    """Writes `text` to standard output, above whatever bars there are."""
    with tqdm.tqdm.external_write_mode(sys.stdout):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def evaluation_bar(items: Iterable, total: int, *, position: int = 0) -> Iterable:
    """Yields `items` with a bar on standard error that goes away at the end.

    `position`: the line of the bar, counted from the top one.
    """
    return tqdm.tqdm(
        items,
        total=total,
        desc="evaluating",
        unit="batch",
        leave=False,
        position=position,
    )


def sweep_bar(total: int, initial: int) -> tqdm.tqdm:
    """A bar of runs on the top line, `initial` of them finished before."""
    return tqdm.tqdm(
        total=total,
        initial=initial,
        desc="sweep",
        unit="run",
        dynamic_ncols=True,
        leave=False,
        position=0,
        smoothing=0,  # the mean over all runs; they take minutes, and not the same
    )


class TrainingBar:
    """A bar with step, epoch, loss per task and examples/s; a table after each epoch.

    The bar goes to standard error, on line `position`, the tables to `say`.
    """

    def __init__(
        self,
        tasks: tuple[Task, ...],
        *,
        total: int,
        initial: int,
        epochs: int,
        say: Callable[[str], None],
        position: int = 0,
    ) -> None:
        self._tasks = tasks
        self._epochs = epochs
        self._say = say
        self._losses: dict[str, float] = {}
        self._started = self._last_step = time.monotonic()
        self._examples = 0
        self._bar = tqdm.tqdm(
            total=total,
            initial=initial,
            unit="step",
            dynamic_ncols=True,
            leave=False,
            position=position,
        )

    def step(
        self, step: int, epoch: int, flat: Mapping[str, float], examples: int
    ) -> None:
        """Moves the bar to `step`."""
        self._examples += examples
        for task in self._tasks:
            if f"loss/{task.name}" in flat:
                self._losses[task.name] = flat[f"loss/{task.name}"]
        self._last_step = time.monotonic()
        rate = self._examples / (self._last_step - self._started)
        losses = " ".join(f"{name} {loss:.2f}" for name, loss in self._losses.items())
        self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(f"{rate:.0f} examples/s, {losses}", refresh=False)
        self._bar.update(step - self._bar.n)

    def epoch(
        self, epoch: int, loss: float, summary: Mapping[str, Any], note: str
    ) -> None:
        """Prints the validation figures of an epoch, whose time the rate leaves out."""
        self._started += time.monotonic() - self._last_step
        self._bar.refresh()
        table = tables.score_table({f"epoch {epoch}": summary}, self._tasks)
        self._bar.clear()
        self._say(f"{table}   loss {loss:.4f}{note}")

    def close(self) -> None:
        """Takes the bar away."""
        self._bar.close()
