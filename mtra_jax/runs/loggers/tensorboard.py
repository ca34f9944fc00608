"""Figures of a run -> TensorBoard event files, written by the calling thread.

`SummaryWriter` writes in another thread. A full disk would end that thread, and the run
would wait for it for ever.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from mtra_jax.errors import naming
from mtra_jax.runs.loggers.contract import RunDescription


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """tensorboardX does without PyTorch in this block, unless it is imported already.

    Where PyTorch is installed tensorboardX imports it: that takes a second, and loads its
    CUDA libraries beside those of JAX.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # an import raises ImportError
    try:
        yield
    finally:
        del sys.modules["torch"]


class TensorBoard:
    """Writes an event file for each part of a run, in `tensorboard` of its directory."""

    _writer: Any

    def start(self, run: RunDescription) -> str:
        """Opens the file; TensorBoard then hides later points in older files."""
        with _without_torch():
            from tensorboardX import event_file_writer, summary
            from tensorboardX.proto import event_pb2, summary_pb2

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._directory = run.directory / "tensorboard"
        self._directory.mkdir(parents=True, exist_ok=True)
        with naming(self._directory):
            path = str(self._directory / "events")
            self._writer = event_file_writer.EventsWriter(path)
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(step=run.step + 1, session_log=start)
            if run.step == 0:
                text = _table(run.hyper_parameters)
                self._write(step=0, summary=summary.text("hyper_parameters", text))
        return ""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point for every value."""
        points = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
        ]
        self._write(step=step, summary=self._summary(value=points))

    def _write(self, **fields: Any) -> None:
        with naming(self._directory):
            self._writer.write_event(self._event(wall_time=time.time(), **fields))

    def flush(self) -> None:
        """Writes all points to disk."""
        with naming(self._directory):
            self._writer.flush()

    def close(self) -> None:
        """Flushes and closes."""
        with naming(self._directory):
            self._writer.close()


def _table(values: Mapping[str, Any]) -> str:
    """A table in Markdown."""
    rows = "".join(f"| {key} | {value} |\n" for key, value in values.items())
    return f"| key | value |\n| --- | --- |\n{rows}"
