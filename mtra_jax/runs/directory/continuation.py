"""A finished run and more epochs -> a new work directory in which training continues."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import config_values, files
from mtra_jax.errors import InputError, naming
from mtra_jax.reports.pictures import drawing
from mtra_jax.runs.directory import layout
from mtra_jax.runs.processes import group
from mtra_jax.tasks import OWN

CHANGEABLE = ("epochs", "patience", "max_bad_steps", *layout.FREE_KEYS)
"""Keys that may differ from those of the finished run."""
# Files of the end of a run, what was made from its model, and its old configuration.
NOT_COPIED = (
    drawing.DIRECTORY,
    layout.ANALYSES,
    layout.CONFIG,
    layout.ENVIRONMENT,
    layout.LOG,
    layout.PREDICTIONS,
    layout.RESULTS,
    ".*",
)


def configuration(
    source: Path, overrides: Sequence[tuple[str, str]], *, has_data: bool = False
) -> ConfigDict:
    """The configuration of the run in `source` with `overrides`, for more epochs.

    `has_data`: whether the caller has the examples, which a list of tasks in Python needs.

    The warm-up keeps its length: `warm_up`, its share of all planned steps, shrinks as
    `epochs` grows. A schedule that decays is that of all the epochs, so its rate rises
    where the finished run had ended.

    Raises:
      InputError: there is no such run, or it has not finished; a key is set that is not
        `CHANGEABLE`; `epochs` is not more than the run has; early stopping ended the run
        and `patience` is not larger; its tasks were a list in Python, or their file is not
        there.
    """
    if not os.path.isdir(source):
        raise InputError(
            f"--continue_from {source}: no such directory; expected that of a finished run"
        )
    old = layout.read_config(source)
    parts = [source / name for name in configs.separate_tasks(old)] or [source]
    finished = [layout.read_results(part) for part in (source, *parts)]
    if None in finished:
        raise InputError(
            f"--continue_from {source}: a run that has not finished; the command that began "
            "it continues it"
        )
    path = dict(overrides).get("data.tasks") or old.data.tasks
    if path and not os.path.isfile(os.path.expanduser(path)):
        raise InputError(
            f"--continue_from {source}: its file of tasks, {path}, is not here; expected "
            "--config.data.tasks=FILE, where it is now"
        )
    new = configs.apply(configs.from_dict(configs.to_dict(old)), overrides)
    _check_keys(source, old, new)
    if new.benchmark == OWN and not (new.data.tasks or has_data):
        raise InputError(
            f"--continue_from {source}: its tasks were a list in Python; expected "
            f"mtra_jax.train(continue_from={str(source)!r}, tasks=…)"
        )
    if not new.epochs > old.epochs:
        raise InputError(
            f"--config.epochs is {new.epochs}; expected more than {old.epochs}, the epochs "
            f"of {source}"
        )
    _check_patience(source, [results for results in finished[1:] if results], new)
    new.warm_up = old.warm_up * old.epochs / new.epochs
    return new


def _check_keys(source: Path, old: ConfigDict, new: ConfigDict) -> None:
    before, after = config_values.flat(old), config_values.flat(new)
    for key in sorted(before.keys() | after.keys()):
        there, here = before.get(key), after.get(key)
        if key not in CHANGEABLE and there != here:
            raise InputError(
                f"--config.{key} is {here!r}, and {there!r} in {source}; expected the same, "
                "or a new run with --warm_start"
            )


def _check_patience(
    source: Path, finished: Sequence[dict[str, Any]], new: ConfigDict
) -> None:
    """Raises InputError if training would end before its first step.

    `finished`: results of the run, or of each of its tasks.
    """
    stale = min(results["epochs"] - results["best_epoch"] for results in finished)
    if stale >= new.patience:
        raise InputError(
            f"--config.patience is {new.patience}; expected more than {stale}, the epochs "
            f"since the best one of {source}"
        )


def begin(source: Path, directory: Path, config: ConfigDict) -> None:
    """Copies the run in `source`, without its end, to `directory`, once.

    `config`: see `configuration`. `training.run.train(config, directory, …)` then continues
    from its last checkpoint, to the same end as a run of as many epochs from the start,
    and no longer needs `source`. A directory with a run is left as it is.

    Raises:
      InputError: `directory` has other files.
    """
    if group.is_writer() and not (directory / layout.CONFIG).exists():
        if directory.is_dir() and any(directory.iterdir()):
            raise InputError(f"{directory}: not empty; expected a new --workdir")
        with naming(directory), files.replacing_directory(directory) as temporary:
            _copy(source, temporary, config)
    group.wait_for_all("run copied")


def _copy(source: Path, directory: Path, config: ConfigDict) -> None:
    ignored = shutil.ignore_patterns(*NOT_COPIED)
    tasks = configs.separate_tasks(config)

    def ignore(folder: str, names: list[str]) -> set[str]:
        # Checkpoints are copied whole, and so is a task that is called "figures".
        is_checkpoint = layout.CHECKPOINTS in Path(folder).relative_to(source).parts
        return set() if is_checkpoint else ignored(folder, names) - {*tasks}

    shutil.copytree(source, directory, ignore=ignore, dirs_exist_ok=True)
    layout.write_config(config, directory)
    for name in tasks:
        layout.write_config(configs.of_task(config, name), directory / name)
