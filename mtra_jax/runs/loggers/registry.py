"""Names of loggers -> started loggers; which packages they need."""

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mtra_jax.errors import InputError
from mtra_jax.runs.loggers.background import Background
from mtra_jax.runs.loggers.continued import Continued
from mtra_jax.runs.loggers.contract import Logger, RunDescription
from mtra_jax.runs.loggers.guarded import Guarded
from mtra_jax.runs.loggers.mlflow_runs import Mlflow
from mtra_jax.runs.loggers.tensorboard import TensorBoard
from mtra_jax.runs.loggers.trackio_runs import Trackio
from mtra_jax.runs.loggers.wandb_runs import Wandb


class Row(NamedTuple):
    """How a logger is made."""

    package: str
    """The module that it imports, once it starts."""
    install: str
    """The name of the package for `pip install`."""
    make: Callable[[], Logger]


def _tracker(name: str, make: Callable[[], Logger]) -> Callable[[], Logger]:
    return lambda: Background(Continued(name, make()))


LOGGERS: dict[str, Row] = {
    "tensorboard": Row("tensorboardX", "tensorboardX", TensorBoard),
    "wandb": Row("wandb", "wandb", _tracker("wandb", Wandb)),
    "trackio": Row("trackio", "trackio", _tracker("trackio", Trackio)),
    "mlflow": Row("mlflow", "mlflow-skinny", _tracker("mlflow", Mlflow)),
}
"""The values of the key `loggers`; `config_values.LOGGERS` has the same names."""


def check(names: Iterable[str]) -> None:
    """Raises InputError if the package of a logger is not installed."""
    for name in names:
        row = LOGGERS[name]
        if importlib.util.find_spec(row.package) is None:
            raise InputError(
                f"loggers: {name} needs {row.package}, which is not installed; expected "
                f"pip install {row.install}"
            )


def start(
    names: Iterable[str], run: RunDescription, say: Callable[[str], Any]
) -> list[Logger]:
    """Starts each logger once; one that fails, now or later, is reported to `say`."""
    loggers: list[Logger] = [
        Guarded(name, LOGGERS[name].make(), say) for name in dict.fromkeys(names)
    ]
    for logger in loggers:
        logger.start(run)
    return loggers
