"""Figures of a run -> a run of MLflow.

The user's settings of MLflow apply: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and
others. Without MLFLOW_TRACKING_URI the run lies in `mlruns` of the work directory.
"""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from mtra_jax.runs.loggers.contract import PROJECT, RunDescription

MOST_METRICS = 1000
MOST_PARAMS = 100
"""Limits on one call of MLflow's REST interface."""
SECONDS = 1.0
"""Figures are sent in calls at least this far apart."""


class Mlflow:
    """Logs to one run."""

    _client: Any
    _id: str

    def __init__(self) -> None:
        self._waiting: list[Any] = []
        self._sent_at = 0.0

    def start(self, run: RunDescription) -> str:
        """Begins or continues a run."""
        if "MLFLOW_TRACKING_URI" in os.environ:
            uri = None
        else:
            uri = (run.directory / "mlruns").absolute().as_uri()
            # MLflow 3 refuses files without it.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # Its addresses of the run would mix with the bars.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        hush_retries()
        from mlflow import MlflowClient

        self._client = MlflowClient(uri)
        if run.id:
            self._id = run.id
            self._client.update_run(run.id, status="RUNNING")
            return run.id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        self._id = self._create(name, run.name)
        self._log_params(run.hyper_parameters)
        return self._id

    def _create(self, experiment: str, name: str) -> str:
        existing = self._client.get_experiment_by_name(experiment)
        number = (
            existing.experiment_id
            if existing is not None
            else self._client.create_experiment(experiment)
        )
        return self._client.create_run(number, run_name=name).info.run_id

    def _log_params(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [
            Param(key, value if isinstance(value, str) else json.dumps(value))
            for key, value in values.items()
        ]
        for first in range(0, len(params), MOST_PARAMS):
            part = params[first : first + MOST_PARAMS]
            self._client.log_batch(self._id, params=part)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds figures; they are sent once a second."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for name, value in values.items():
            self._waiting.append(Metric(_allowed(name), float(value), now, step))
        is_due = time.monotonic() - self._sent_at >= SECONDS
        if is_due or len(self._waiting) >= MOST_METRICS:
            self.flush()

    def flush(self) -> None:
        """Sends all figures."""
        while self._waiting:
            self._client.log_batch(self._id, metrics=self._waiting[:MOST_METRICS])
            del self._waiting[:MOST_METRICS]
        self._sent_at = time.monotonic()

    def close(self) -> None:
        """Sends all figures and ends the run."""
        self.flush()
        self._client.set_terminated(self._id)


def hush_retries() -> None:
    """Drops the lines about each retry of a request that the calling thread makes.

    A server that stays away is one warning, of `Guarded`.
    """
    own = threading.get_ident()
    logger = logging.getLogger("urllib3.connectionpool")
    logger.addFilter(lambda record: record.thread != own)


def _allowed(name: str) -> str:
    """`name` with one folder, and without the characters that MLflow refuses.

    MLflow's files cannot hold both "validation/loss" and "validation/loss/irony".

    >>> _allowed("validation/loss/irony")
    'validation/loss.irony'
    """
    folder, slash, rest = name.partition("/")
    return re.sub(r"[^/\w.\- ]", "_", f"{folder}{slash}{rest.replace('/', '.')}")
