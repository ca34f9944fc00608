"""The interfaces of the training loop: callbacks, a checkpoint store, a metrics log."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from mtra_jax.reports.progress.bounds import Bound
from mtra_jax.runs.training.progress import Progress
from mtra_jax.train import evaluate


def _ignore(*_: Any) -> None:
    """A callback that does nothing."""


class Watch(NamedTuple):
    """Functions that the loop calls as training proceeds; by default they do nothing.

    `step`: (step, epoch, flat metrics, number of examples). `epoch`: (epoch, validation
    loss, validation figures as in `results.json`, progress, bounds by task, {} for a method
    without a bound). `bar` shows the progress of an evaluation. `say`: reports a recovered
    problem in one line. `should_stop`: called after each step, and with None after each
    batch of an evaluation.
    """

    step: Callable[[int, int, dict[str, float], int], Any] = _ignore
    epoch: Callable[[int, float, dict[str, Any], Progress, dict[str, Bound]], Any] = (
        _ignore
    )
    bar: evaluate.Bar = evaluate.no_bar
    say: Callable[[str], Any] = _ignore
    should_stop: Callable[[int | None], bool] = lambda step: False


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
