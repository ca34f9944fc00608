"""A finished run -> the models after each of its epochs, by training it again.

A run keeps the checkpoints of its best and its last epoch only. Trained again on as many
cores of a CPU it ends in the same bits, so the models between are those that it had; on
other numbers of cores, and on accelerators, they are up to rounding.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtra_jax.runs.directory import inputs_json, layout
from mtra_jax.runs.training import choices, interfaces, loop, preparation, warm_start
from mtra_jax.train.devices import replicate, to_host
from mtra_jax.types import Params


class _Visitor:
    """A store that passes the parameters of each epoch on, and keeps the best state."""

    def __init__(self, visit: Callable[[int, Params], None]) -> None:
        self._visit = visit
        self._last = 0
        self._best: tuple[float, int, Any, dict[str, Any]] | None = None

    def save(self, step: int, state: Any, record: dict[str, Any], score: float) -> None:
        if record["validated"] == self._last:  # within an epoch
            return
        self._last = record["validated"]
        if self._best is None or score < self._best[0]:
            self._best = score, step, state, record
        self._visit(self._last, state["params"])

    def best_step(self) -> int | None:
        return None if self._best is None else self._best[1]

    def restore(self, step: int, target: Any) -> tuple[Any, dict[str, Any]]:
        del step, target
        assert self._best is not None
        return self._best[2:]

    def restore_latest(
        self, target: Any, say: Callable[[str], Any]
    ) -> tuple[int, Any, dict[str, Any]] | None:
        del target, say
        return None


class _Silent:
    """A log that records nothing."""

    def add(self, step: int, values: dict[str, Any]) -> None:
        """Records nothing."""

    def diagnose(self, step: int, values: dict[str, Any]) -> None:
        """Records nothing."""

    def flush(self) -> None:
        """Writes nothing."""


def visit(directory: Path, each: Callable[[int, Params], None]) -> None:
    """Calls `each(epoch, parameters on the host)` for all epochs, from 0 before training.

    Raises:
      InputError: there is no run, or its data or encoder are missing or have changed.
      loop.TrainingError: the run diverges.
    """
    config = layout.read_config(directory)
    config.diagnostics.every = 0
    choices.use_compilation_cache(config)
    prepared = preparation.prepare(config, given=warm_start.read(config))
    inputs_json.check(directory, prepared.inputs.fingerprints)
    run = prepared.run
    each(0, to_host(run.state.params))
    state = replicate(run.state, prepared.devices, prepared.mapping)
    store = _Visitor(each)
    loop.fit(
        run._replace(state=state), store, _Silent(), loop.Progress(), interfaces.Watch()
    )
