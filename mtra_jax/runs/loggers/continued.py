"""A tracker -> one that continues its run after an interruption, with each step once."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from mtra_jax.runs.loggers.contract import Logger, RunDescription

DIRECTORY = "loggers"
"""Folder of the work directory with one file for each tracker."""
SIZE = 400
"""Bytes of a file, padded with spaces, so that each write replaces all of the last one."""
KINDS = ("validation", "test")
"""Prefixes of the figures of a validation and of the test, beside those of training."""


class Continued:
    """Keeps the id of `logger`'s run, and its last steps, in the work directory.

    A run that is killed repeats the steps after its last checkpoint. Their figures are the
    same; those that `logger` took before are not passed to it again. What a client had
    taken but not sent when the process was killed is missing in the tracker.
    """

    def __init__(self, name: str, logger: Logger) -> None:
        self._name, self._logger = name, logger
        self._record: dict[str, Any] = {}
        self._file: IO[bytes] | None = None

    def start(self, run: RunDescription) -> str:
        """As `Logger.start`, with the id of an earlier part of the run."""
        path = run.directory / DIRECTORY / f"{self._name}.json"
        self._record = _read(path)
        run = run._replace(id=self._record["id"])
        self._record["id"] = self._logger.start(run)
        path.parent.mkdir(exist_ok=True)
        self._file = path.open("wb", buffering=0)
        self._write()
        return self._record["id"]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """As `Logger.log`; figures that an earlier part of the run passed are left out."""
        kind = _kind(values)
        if step > self._record["last"].get(kind, -1):
            self._logger.log(step, values)
            self._record["last"][kind] = step
            self._write()

    def flush(self) -> None:
        """As `Logger.flush`."""
        self._logger.flush()

    def close(self) -> None:
        """As `Logger.close`."""
        self._logger.close()
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        # In place: a temporary file and a renaming at each step would take longer than a
        # small model's step.
        content = json.dumps(self._record).encode().ljust(SIZE - 1) + b"\n"
        assert self._file is not None
        os.pwrite(self._file.fileno(), content, 0)


def _kind(values: Mapping[str, float]) -> str:
    for kind in KINDS:
        if any(name.startswith(f"{kind}/") for name in values):
            return kind
    return "training"


def _read(path: Path) -> dict[str, Any]:
    """The id of the tracker's run, and its last step of each kind."""
    record: dict[str, Any] = {"id": "", "last": {}}
    try:
        content = json.loads(path.read_bytes())
        return {"id": str(content["id"]), "last": dict(content["last"])}
    except (OSError, ValueError, TypeError, KeyError):
        return record  # a new run, or a file that a full disk cut off
