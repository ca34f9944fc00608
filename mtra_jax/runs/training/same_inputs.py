"""Current data and encoders against those that a run in its directory was made from."""

import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax.data.splits import fingerprints
from mtra_jax.data.splits.examples import Data
from mtra_jax.models import pretrained
from mtra_jax.runs.directory import inputs_json, layout, tasks_json
from mtra_jax.runs.training import inputs, warm_start


class Current:
    """Fingerprints of current data and encoders, each computed once.

    `data` replaces the tasks and examples that configurations name.
    """

    def __init__(self, data: Data | None = None) -> None:
        self._given = data
        self._data: dict[Any, tuple[Data, dict[str, Any]]] = {}
        self._encoders: dict[Any, dict[str, str]] = {}

    def data(self, config: ConfigDict) -> tuple[Data, dict[str, Any]]:
        """The tasks with their examples, and `Fingerprints.data`."""
        names = configs.task_names(config)
        key = config.benchmark, names, config.data.dir, config.data.tasks
        if key not in self._data:
            data = self._given or inputs.load_data(config)
            self._data[key] = data, fingerprints.of_splits(data.splits)
        return self._data[key]

    def encoder(self, config: ConfigDict) -> dict[str, str]:
        """As `Fingerprints.encoder`."""
        # A run that trained tasks separately has an encoder for each.
        key = *_origin(config), config.tasks if config.warm_start else ()
        if key not in self._encoders:
            given = warm_start.read(config)
            backbone = inputs.load_backbone(config, [], given)
            self._encoders[key] = inputs.fingerprints_of(config, backbone, given)
        return self._encoders[key]


def check(config: ConfigDict, directory: Path, current: Current) -> None:
    """Raises InputError if the run in `directory` has other data or another encoder.

    Runs that have not begun are not compared.
    """
    names = configs.separate_tasks(config)
    own = {directory / name: configs.of_task(config, name) for name in names}
    for place, part in (own or {directory: config}).items():
        if layout.has_begun(place):
            check_run(part, place, current)


def check_run(config: ConfigDict, directory: Path, current: Current) -> None:
    """Raises InputError if the run in `directory`, which has begun, has other inputs."""
    made_from = inputs_json.read(directory)
    data, fingerprint = current.data(config)
    tasks_json.check(directory, data.benchmark)
    inputs_json.check_data(directory, made_from, fingerprint)
    tasks_json.check_losses(directory, inputs.resolved_tasks(config, data))
    # Data and configuration determine a new encoder. A hub name, or the path of a run that
    # was removed, is taken to stand for the same encoder as before.
    path = _origin(config)
    is_local = path[-1] in pretrained.BUILT_IN or os.path.isdir(
        os.path.expanduser(path[-1])
    )
    if is_local or path != _origin(layout.read_config(directory)):
        inputs_json.check_encoder(directory, made_from, current.encoder(config))


def _origin(config: ConfigDict) -> tuple[str, str]:
    """Where the first weights are from: the key of the configuration, and its value."""
    if config.warm_start:
        return "warm_start", config.warm_start
    return "backbone.path", config.backbone.path
