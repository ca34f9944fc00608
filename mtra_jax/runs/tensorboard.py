"""Figures of a run -> TensorBoard event files, written by the calling thread.

`SummaryWriter` writes in another thread. A full disk would end that thread, and the run
would wait for it for ever.
"""

import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def is_available() -> bool:
    """Whether tensorboardX is installed."""
    return importlib.util.find_spec("tensorboardX") is not None


class Events:
    """Writes a new event file; TensorBoard then hides points from `step` on in older ones."""

    def __init__(self, directory: Path, step: int) -> None:
        from tensorboardX import event_file_writer
        from tensorboardX.proto import event_pb2, summary_pb2

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        directory.mkdir(parents=True, exist_ok=True)
        self._writer = event_file_writer.EventsWriter(str(directory / "events"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=step, session_log=start)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point for every value."""
        points = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
        ]
        self._write(step=step, summary=self._summary(value=points))

    def _write(self, **fields: Any) -> None:
        self._writer.write_event(self._event(wall_time=time.time(), **fields))

    def flush(self) -> None:
        """Writes all points to disk."""
        self._writer.flush()

    def close(self) -> None:
        """Flushes and closes."""
        self._writer.close()
