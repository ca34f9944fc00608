"""The interfaces of the training loop: callbacks, a checkpoint store, a metrics log."""

from collections.abc import Callable
from typing import Any, Protocol

from mtra_jax.reports.progress.bounds import Bound
from mtra_jax.runs.training.progress import Progress
from mtra_jax.train import evaluate


class Callbacks(Protocol):
    """Functions that the loop calls as training proceeds; `loop.Watch` has defaults."""

    @property
    def step(self) -> Callable[[int, int, dict[str, float], int], Any]:
        """(step, epoch, flat metrics, number of examples)"""

    @property
    def epoch(
        self,
    ) -> Callable[[int, float, dict[str, Any], Progress, dict[str, Bound]], Any]:
        """(epoch, validation loss, validation figures, progress, bounds)

        The figures are as in `results.json`. The bounds are by task; empty for a method
        without a bound.
        """

    @property
    def bar(self) -> evaluate.Bar:
        """Shows the progress of an evaluation."""

    @property
    def say(self) -> Callable[[str], Any]:
        """Reports a recovered problem in one line."""

    @property
    def should_stop(self) -> Callable[[int | None], bool]:
        """Called after each step, and with None after each batch of an evaluation."""


class Store(Protocol):
    """Checkpoints, each with a state (a tree of host arrays) and a record of plain values.

    `checkpoints.Checkpoints` implements it in a directory and documents the methods.
    """

    def save(
        self, step: int, state: Any, record: dict[str, Any], score: float
    ) -> None: ...

    def best_step(self) -> int | None: ...

    def restore(self, step: int, target: Any) -> tuple[Any, dict[str, Any]]: ...

    def restore_latest(
        self, target: Any, say: Callable[[str], Any]
    ) -> tuple[int, Any, dict[str, Any]] | None: ...


class Log(Protocol):
    """Records figures of steps and epochs, and diagnostics.

    `metrics_log.MetricsLog` writes them to files.
    """

    def add(self, step: int, values: dict[str, Any]) -> None: ...

    def diagnose(self, step: int, values: dict[str, Any]) -> None: ...

    def flush(self) -> None: ...
