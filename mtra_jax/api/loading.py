"""The directory of a run, or of an exported model -> a `Model`, or a `Predictor`."""

import os
import warnings
from pathlib import Path

from mtra_jax import config as configs
from mtra_jax.api.model import Model
from mtra_jax.errors import InputError, caller_level, did_you_mean, shown
from mtra_jax.exports import reading
from mtra_jax.runs.directory import best_model, layout, tasks_json
from mtra_jax.runs.directory.best_model import Saved
from mtra_jax.runs.trained.prediction import Predictor
from mtra_jax.train.devices import start_devices


def load(directory: str | Path, *, cache_dir: str | None = None) -> Model:
    """Reads the best model of a run, or an exported model.

    The directory is untrusted: nothing in it is executed. `cache_dir`: of compiled
    programs; None for the default place, "" for none.

    Raises:
      InputError: `directory` is neither, or a file is missing or damaged.
    """
    if not isinstance(directory, str | Path):
        raise InputError(f"directory is {shown(directory)}; expected a path")
    if not isinstance(cache_dir, str | None):
        raise InputError(f"cache_dir is {shown(cache_dir)}; expected a text, or None")
    path = Path(os.path.expanduser(directory))
    if not os.path.isdir(path):
        raise InputError(f"{shown(str(directory))}: no such directory")
    start_devices()
    saved = _saved(path, cache_dir)
    if reading.is_export(path):
        return Model(saved, reading.read_results(path), names_data=False)
    results = layout.read_results(path)
    if results is None:
        warnings.warn(
            f"{path}: not finished; this is the model of the best epoch so far",
            stacklevel=caller_level(),
        )
    return Model(saved, results)


def load_predictor(
    directory: Path, task: str = "", cache_dir: str | None = None
) -> Predictor:
    """As `load`, for the predictions of all tasks, or of `task` alone.

    Raises:
      InputError: as `load`, or the model has no such task.
    """
    if not task:
        return Predictor(_saved(directory, cache_dir))
    if not reading.is_export(directory):
        return Predictor([best_model.load(directory, task, cache_dir)], [task])
    names = tasks_json.read(directory).task_names
    if task not in names:
        hint = did_you_mean(task, names)
        raise InputError(f"unknown task {task!r} of this model; {hint}")
    return Predictor([reading.read(directory, cache_dir)], [task])


def _saved(path: Path, cache_dir: str | None) -> list[Saved]:
    """One model for all tasks, or one for each task."""
    if reading.is_export(path):
        return [reading.read(path, cache_dir)]
    if not os.path.isfile(path / layout.CONFIG):
        raise InputError(
            f"{path}: expected the directory of a run or of an exported model, with "
            f"{layout.CONFIG} or {reading.FILE}"
        )
    names = configs.separate_tasks(layout.read_config(path))
    places = [path / name for name in names] or [path]
    return [best_model.load_one(place, cache_dir) for place in places]
