"""Figures of a run -> a run of Weights & Biases.

The user's settings of `wandb` apply: WANDB_PROJECT, WANDB_MODE=offline, WANDB_DIR and
others. Without WANDB_DIR its files lie in the work directory. While `wandb` is offline,
each part of a continued run is a directory there with the same id; `wandb sync --append`
joins them.
"""

import os
from collections.abc import Mapping
from typing import Any

from mtra_jax.runs.loggers.contract import PROJECT, RunDescription


class Wandb:
    """Logs to one run."""

    _run: Any

    def start(self, run: RunDescription) -> str:
        """Begins or continues a run.

        Raises:
          RuntimeError: there is no API key; `wandb` itself would ask at the terminal.
        """
        import wandb

        is_online = wandb.setup().settings.mode == "online"
        if is_online and not wandb.login(prompt=False):
            raise RuntimeError(
                "no API key; expected `wandb login`, or WANDB_MODE=offline"
            )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            dir=os.environ.get("WANDB_DIR", str(run.directory)),
            config=dict(run.hyper_parameters),
            id=run.id or None,
            resume="allow" if run.id else None,
            reinit="create_new",  # the runs of a sweep follow each other in one process
            # Its messages, and its copies of the streams, would mix with the bars.
            settings=wandb.Settings(silent=True, console="off"),
        )
        return self._run.id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row, or extends that of the same step."""
        # A continued run may be one row ahead: wandb ends the row of a step at each end.
        self._run.log(dict(values), step=max(step, self._run.step))

    def flush(self) -> None:
        """Does nothing: another process of `wandb` sends the rows as they come."""

    def close(self) -> None:
        """Waits until all rows are sent or written."""
        self._run.finish()
