"""The directory of a run, or of an exported model -> a `Model`."""

import os
from pathlib import Path

from mtra_jax import config as configs
from mtra_jax.api.model import Model
from mtra_jax.errors import InputError, shown
from mtra_jax.exports import reading
from mtra_jax.runs import scoring, workdir
from mtra_jax.train.devices import start_devices


def load(directory: str | Path, *, cache_dir: str | None = None) -> Model:
    """Reads the best model of a run, or an exported model.

    The directory is untrusted: nothing in it is executed. `cache_dir`: of compiled
    programs; None for the default place, "" for none.

    Raises:
      InputError: `directory` is neither, or a file is missing or damaged.
    """
    path = Path(os.path.expanduser(directory))
    if not os.path.isdir(path):
        raise InputError(f"{shown(str(directory))}: no such directory")
    start_devices()
    if reading.is_export(path):
        results = reading.read_results(path)
        return Model([reading.read(path, cache_dir)], results)
    if not (path / workdir.CONFIG).is_file():
        raise InputError(
            f"{path}: expected the directory of a run or of an exported model, with "
            f"{workdir.CONFIG} or {reading.FILE}"
        )
    names = configs.separate_tasks(workdir.read_config(path))
    places = [path / name for name in names] or [path]
    saved = [scoring.load_one(place, cache_dir) for place in places]
    return Model(saved, workdir.read_results(path))
