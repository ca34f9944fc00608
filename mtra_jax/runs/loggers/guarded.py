"""A logger -> one whose first failure is a warning, and which then is switched off."""

from collections.abc import Callable, Mapping
from typing import Any

from mtra_jax import failures
from mtra_jax.runs.loggers.contract import Logger, RunDescription


class Guarded:
    """Calls `logger` until it fails, and reports the failure in one line to `say`."""

    def __init__(self, name: str, logger: Logger, say: Callable[[str], Any]) -> None:
        self._name, self._logger, self._say = name, logger, say
        self._is_on = True

    def start(self, run: RunDescription) -> str:
        """As `Logger.start`; empty if that failed."""
        return self._call(self._logger.start, run) or ""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """As `Logger.log`."""
        self._call(self._logger.log, step, values)

    def flush(self) -> None:
        """As `Logger.flush`."""
        self._call(self._logger.flush)

    def close(self) -> None:
        """As `Logger.close`."""
        self._call(self._logger.close)

    def _call(self, method: Callable, *arguments: Any) -> Any:
        if not self._is_on:
            return None
        try:
            return method(*arguments)
        except Exception as error:  # a tracker's client may raise any
            self._is_on = False
            self._say(
                f"warning: the logger {self._name} is switched off: "
                f"{failures.first_line(error)}; metrics.jsonl has all figures"
            )
            return None
