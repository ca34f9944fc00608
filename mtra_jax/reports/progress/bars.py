"""Steps, batches and runs -> bars on a terminal, or short lines in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import tqdm
import tqdm.asyncio
import tqdm.auto

from mtra_jax.reports.formatting import tables
from mtra_jax.reports.progress import bounds as bound_tables
from mtra_jax.reports.progress.bounds import Bound
from mtra_jax.reports.progress.pace import Pace
from mtra_jax.tasks import Task

LINE_SECONDS = 5.0
"""Minimum time between two lines of a log."""


class TrainingView(Protocol):
    """Shows the steps and epochs of one training run."""

    def step(
        self, step: int, epoch: int, flat: Mapping[str, float], examples: int
    ) -> None:
        """Takes the metrics of a step, and the number of examples in its batch."""

    def epoch(
        self,
        epoch: int,
        loss: float,
        summary: Mapping[str, Any],
        note: str,
        bounds: Mapping[str, Bound],
    ) -> None:
        """Shows the validation figures of an epoch, and the bounds by task, if any."""

    def close(self) -> None:
        """Ends the view."""


def write_line(text: str) -> None:
    """Writes `text` to standard output, above any bars."""
    with tqdm.tqdm.external_write_mode(sys.stdout):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def write_log_line(text: str) -> None:
    """Writes `text` to standard error, where bars would be drawn."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def has_terminal() -> bool:
    """Whether bars can be drawn: on a terminal at standard error, or in a notebook.

    In a notebook tqdm needs `ipywidgets`; without it the movements of a terminal's cursor
    would leave two new lines for each step.
    """
    return sys.stderr.isatty() or tqdm.auto.tqdm is not tqdm.asyncio.tqdm


def evaluation_bar(items: Iterable, total: int, *, position: int = 0) -> Iterable:
    """Yields `items` and shows how many of the `total` batches are evaluated.

    On a terminal this is a bar on line `position` below the top one, which disappears at
    the end. In a log it is a line at the start, and one every `LINE_SECONDS`.
    """
    if not has_terminal():
        return _evaluation_lines(items, total)
    return tqdm.auto.tqdm(
        items,
        total=total,
        desc="evaluating",
        unit="batch",
        dynamic_ncols=True,
        leave=False,
        position=position,
    )


def _evaluation_lines(items: Iterable, total: int) -> Iterator:
    write_log_line(f"evaluating {total} batches")
    written = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        if number < total and time.monotonic() - written >= LINE_SECONDS:
            write_log_line(f"evaluated {number} of {total} batches")
            written = time.monotonic()


def sweep_bar(
    total: int, initial: int, name: str = "sweep", *, is_shown: bool = True
) -> tqdm.tqdm:
    """A bar of runs on the top line, `initial` of which have already finished.

    In a log it shows nothing: a sweep writes a line for each run anyway. Nor does it with
    `is_shown=False`.
    """
    return tqdm.tqdm(
        total=total,
        initial=initial,
        desc=name,
        unit="run",
        dynamic_ncols=True,
        leave=False,
        position=0,
        disable=not (is_shown and has_terminal()),
        smoothing=0,  # the mean over all runs: they take minutes and differ
    )


def loss_line(losses: Mapping[str, float], width: int) -> str:
    """The losses of all tasks on one line of at most `width` characters.

    Task names are cut to the longest common length that fits, but never so short that
    two become equal. If even these do not fit, the losses are shown without names, in the
    order of the tasks. The form depends on the names and `width` alone, so that it does
    not change between steps.

    >>> losses = {"polarity": 1.08, "target": 1.4, "irony": 0.69, "intensity": 4.1}
    >>> loss_line(losses, 80)
    'polarity 1.08 target 1.40 irony 0.69 intensity 4.10'
    >>> loss_line(losses, 45)
    'pola 1.08 targ 1.40 iron 0.69 inte 4.10'
    >>> loss_line(losses, 24)
    '1.08 1.40 0.69 4.10'
    """
    # A space, five characters such as "10.25", and a space before the next name.
    figures = 7 * len(losses) - 1
    shortest = _distinct_lengths(list(losses))
    for length in range(max(map(len, losses), default=0), 0, -1):
        names = [name[: max(length, shortest[name])] for name in losses]
        if sum(map(len, names)) + figures <= width:
            items = zip(names, losses.values(), strict=True)
            return " ".join(f"{name} {loss:.2f}" for name, loss in items)
    return " ".join(f"{loss:.2f}" for loss in losses.values())


def _distinct_lengths(names: Sequence[str]) -> dict[str, int]:
    """The length of the shortest prefix of each name that no other name begins with."""
    return {
        name: next(
            (
                length
                for length in range(1, len(name))
                if not any(
                    other.startswith(name[:length]) for other in names if other != name
                )
            ),
            len(name),
        )
        for name in names
    }


class _Losses:
    """The latest loss of each task, in the order of the tasks."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._names = [task.name for task in tasks]
        self._latest: dict[str, float] = {}

    def update(self, flat: Mapping[str, float]) -> dict[str, float]:
        """Reads `loss/<task>` of a step; returns the latest losses of all tasks."""
        for name in self._names:
            if f"loss/{name}" in flat:
                self._latest[name] = flat[f"loss/{name}"]
        return {n: self._latest[n] for n in self._names if n in self._latest}


def _epoch_lines(
    epoch: int,
    loss: float,
    summary: Mapping[str, Any],
    note: str,
    bounds: Mapping[str, Bound],
    tasks: Sequence[Task],
) -> str:
    table = tables.score_table({f"epoch {epoch}": summary}, tasks)
    lines = f"{table}   loss {loss:.4f}{note}"
    return f"{lines}\n{bound_tables.table(bounds, tasks)}" if bounds else lines


class TrainingBar:
    """A bar with step, epoch and examples/s, and below it the losses of all tasks.

    Both are drawn on standard error, on the lines `position` and `position` + 1. `say`
    writes the table after each epoch.
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
        self._pace, self._losses = Pace(), _Losses(tasks)
        self._bar = tqdm.auto.tqdm(
            total=total,
            initial=initial,
            unit="step",
            dynamic_ncols=True,
            leave=False,
            position=position,
        )
        self._loss_bar = tqdm.auto.tqdm(
            bar_format="{desc}",
            dynamic_ncols=True,
            leave=False,
            position=position + 1,
        )

    def step(
        self, step: int, epoch: int, flat: Mapping[str, float], examples: int
    ) -> None:
        """Moves the bar to `step`."""
        rate = self._pace.step(examples)
        losses = self._losses.update(flat)
        width = self._bar.format_dict["ncols"] or 80
        text = loss_line(losses, width - 1)
        self._loss_bar.set_description_str(text[: width - 1], refresh=False)
        self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(f"{rate:.0f} examples/s", refresh=False)
        if self._bar.update(step - self._bar.n):
            self._loss_bar.refresh()

    def epoch(
        self,
        epoch: int,
        loss: float,
        summary: Mapping[str, Any],
        note: str,
        bounds: Mapping[str, Bound],
    ) -> None:
        """Writes the validation figures of an epoch; the rate excludes its time."""
        self._pace.leave_out()
        self._bar.refresh()
        lines = _epoch_lines(epoch, loss, summary, note, bounds, self._tasks)
        self._bar.clear()
        self._say(lines)

    def close(self) -> None:
        """Removes both lines."""
        self._loss_bar.close()
        self._bar.close()


class TrainingLines:
    """The content of `TrainingBar` as a log line every `LINE_SECONDS`."""

    def __init__(
        self,
        tasks: tuple[Task, ...],
        *,
        total: int,
        epochs: int,
        say: Callable[[str], None],
        write: Callable[[str], None] = write_log_line,
    ) -> None:
        self._tasks = tasks
        self._total, self._epochs = total, epochs
        self._say, self._write = say, write
        self._pace, self._losses = Pace(), _Losses(tasks)
        self._started, self._written = time.monotonic(), float("-inf")

    def step(
        self, step: int, epoch: int, flat: Mapping[str, float], examples: int
    ) -> None:
        """Writes a line, unless the previous one is too recent."""
        rate = self._pace.step(examples)
        losses = self._losses.update(flat)
        now = time.monotonic()
        if now - self._written < LINE_SECONDS:
            return
        if self._written < 0:
            pace = f"after {now - self._started:.0f} s with compiling"
        else:
            pace = f"{rate:.0f} examples/s{self._pace.left(self._total - step)}"
        self._written = now
        named = " ".join(f"{name} {loss:.2f}" for name, loss in losses.items())
        self._write(
            f"step {step}/{self._total}, epoch {epoch}/{self._epochs}, {pace}, "
            f"losses: {named}"
        )

    def epoch(
        self,
        epoch: int,
        loss: float,
        summary: Mapping[str, Any],
        note: str,
        bounds: Mapping[str, Bound],
    ) -> None:
        """Writes the validation figures of an epoch; the rate excludes its time."""
        self._pace.leave_out()
        self._say(_epoch_lines(epoch, loss, summary, note, bounds, self._tasks))

    def close(self) -> None:
        """Does nothing: lines stay."""
