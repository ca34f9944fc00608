"""The interface of a logger, and the description of a run that it starts with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

PROJECT = "mtra-jax"
"""Project or experiment of the runs, where the user names none."""


class RunDescription(NamedTuple):
    """A run that starts, or continues after `step`."""

    directory: Path
    """The work directory."""
    name: str
    hyper_parameters: Mapping[str, Any]
    """The configuration by dotted keys: texts, numbers, booleans, tuples of texts."""
    step: int
    """Steps up to this one are in earlier parts of the run; 0 at the start."""
    id: str = ""
    """The result of `Logger.start` for the first part; empty for a new run."""


class Logger(Protocol):
    """Takes the figures of one run; any method may raise any `Exception`."""

    def start(self, run: RunDescription) -> str:
        """Begins a run, or continues the one with `run.id`; returns its id."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds figures of a step; steps do not decrease, and one may come several times."""
        ...

    def flush(self) -> None:
        """Sends what `log` has collected."""
        ...

    def close(self) -> None:
        """Flushes and ends this part of the run."""
        ...
