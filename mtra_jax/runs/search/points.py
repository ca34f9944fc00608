"""Where the points of a search's trials come from: a grid, or `optuna_points.Tree`."""

from collections.abc import Sequence
from typing import Protocol

from mtra_jax.runs.trials.spaces import Point
from mtra_jax.runs.trials.validation_run import Record


class Source(Protocol):
    """Where the points of the trials come from."""

    def point(self, number: int) -> Point:
        """The point of trial `number` (from 0); earlier trials have ended."""

    def is_hopeless(self, epoch: int, score: float) -> bool:
        """Whether the trial should end at `epoch`, with `score` the best so far."""

    def end(self, number: int, record: Record) -> None:
        """Takes the result of trial `number`."""


class Grid:
    """The points of a grid; each trial runs to its end."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = points

    def point(self, number: int) -> Point:
        """See `Source`."""
        return self._points[number]

    def is_hopeless(self, epoch: int, score: float) -> bool:
        """See `Source`."""
        return False

    def end(self, number: int, record: Record) -> None:
        """See `Source`."""
