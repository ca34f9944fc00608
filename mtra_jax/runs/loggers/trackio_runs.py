"""Figures of a run -> a run of trackio.

The user's settings of trackio apply: TRACKIO_PROJECT, TRACKIO_DIR, TRACKIO_SPACE_ID and
others. `trackio show` shows the runs.
"""

import contextlib
import io
import os
import uuid
from collections.abc import Mapping
from typing import Any

from mtra_jax.runs.loggers.contract import PROJECT, RunDescription


class Trackio:
    """Logs to one run."""

    _run: Any

    def start(self, run: RunDescription) -> str:
        """Begins or continues a run."""
        # Runs are continued by name. Two work directories may have the same name.
        name = run.id or f"{run.name} {uuid.uuid4().hex[:6]}"
        with _silence():
            import trackio

            self._run = trackio.init(
                os.environ.get("TRACKIO_PROJECT", PROJECT),
                name=name,
                config=dict(run.hyper_parameters),
                resume="allow",
                embed=False,
            )
        return name

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row; a thread of trackio sends it."""
        self._run.log(dict(values), step=step)

    def flush(self) -> None:
        """Does nothing: trackio sends the rows twice a second."""

    def close(self) -> None:
        """Waits until all rows are sent."""
        with _silence():
            self._run.finish()


def _silence() -> contextlib.AbstractContextManager:
    """Drops what trackio prints, while the training thread waits for it."""
    return contextlib.redirect_stdout(io.StringIO())
