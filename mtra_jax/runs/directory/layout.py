"""A work directory -> the configuration and results of its run, and its file names."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import config_values, files
from mtra_jax.errors import InputError, shown
from mtra_jax.runs.directory import orbax_paths

CONFIG = "config.json"
FORMAT = 1
"""Format of the work directory: "format" in `config.json`."""
ENVIRONMENT = "environment.json"
RESULTS = "results.json"
PREDICTIONS = "predictions"
ENCODER = "encoder"
CHECKPOINTS = "checkpoints"
ANALYSES = "analysis"
LOG = "log.txt"
"""The lines of a run that `workers` trains."""
# Keys that may differ when a run is continued. Data and weights may move: their content
# is compared with `inputs.json`.
FREE_KEYS = (
    "backbone.path",
    "checkpoint_every",
    "data.cache_dir",
    "data.dir",
    "data.tasks",
    "devices",
    "diagnostics.every",
    "gradient_pieces",
    "loggers",
    "mapping",
    "merged_kernels",
    "warm_start",
)
# Each host may have its own.
OF_A_HOST = (
    "backbone.path",
    "data.cache_dir",
    "data.dir",
    "data.tasks",
    "warm_start",
)


def check(config: ConfigDict, workdir: Path) -> None:
    """Raises InputError if the run of `config` cannot be in `workdir`.

    That is so if the path is not a possible name, or Orbax could not read checkpoints from
    it; or if the directory holds the run of another configuration, or parts of a run
    without `config.json`.
    """
    path = workdir / CONFIG
    try:
        is_other = workdir.exists() and not workdir.is_dir()
    except OSError as error:
        raise InputError(
            f"{workdir}: {error.strerror}; expected a directory"
        ) from error
    if is_other:
        raise InputError(f"{workdir}: not a directory")
    orbax_paths.check(workdir)
    if not path.exists():
        if has_begun(workdir):
            raise InputError(
                f"{workdir}: results or checkpoints of a run without its {CONFIG}; "
                "expected a whole run, or a new --workdir"
            )
        return
    old, new = _flat(read_config(workdir)), _flat(config)
    keys = [
        key
        for key in sorted(old.keys() | new.keys())
        if key not in FREE_KEYS and old.get(key) != new.get(key)
    ]
    if keys:
        key, *others = keys
        more = f" (other values, too: {', '.join(others)})" if others else ""
        hint = (
            f"; --continue_from {workdir} (in Python continue_from=) trains a finished run "
            "for more epochs, in a new directory"
            if {*keys} <= {"epochs", "patience"}
            else ""
        )
        raise InputError(
            f"{path}: {key} is {old.get(key)!r} there and {new.get(key)!r} here{more}; "
            f"expected the same configuration, or a new --workdir{hint}"
        )


def has_begun(directory: Path) -> bool:
    """Whether the run in `directory` has a checkpoint, or results."""
    names = (path.name for path in (directory / CHECKPOINTS).glob("*"))
    return (directory / RESULTS).exists() or any(map(str.isdigit, names))


def _flat(config: ConfigDict) -> dict[str, Any]:
    """The values by their dotted keys; tasks by name, in the benchmark's order."""
    return {**config_values.flat(config), "tasks": configs.task_names(config)}


def read_config(workdir: Path) -> ConfigDict:
    """The configuration of the run in `workdir`.

    Raises:
      InputError: the file is missing, damaged, or of a newer version.
    """
    path = workdir / CONFIG
    try:
        values = files.read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a run's directory") from None
    if isinstance(values, dict) and "method" not in values and "model_type" in values:
        raise InputError(f"{workdir}: an encoder, not a run or an exported model")
    if isinstance(values, dict):
        _check_format(values.pop("format", FORMAT), path)
    try:
        return configs.from_dict(values)
    except InputError as error:  # as for a method that only another process has added
        raise InputError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged: {error}") from error


def _check_format(number: Any, path: Path) -> None:
    if type(number) is not int or number < 1:
        raise InputError(f"{path}: format is {shown(number)}; expected {FORMAT}")
    if number > FORMAT:
        raise InputError(
            f"{path}: format {number}, written by a newer mtra_jax; expected at most "
            f"{FORMAT}"
        )


def write_config(config: ConfigDict, workdir: Path) -> None:
    """Writes `config.json`, with the number of the format first."""
    values = {"format": FORMAT, **configs.to_dict(config)}
    files.write_json(workdir / CONFIG, values)


def read_results(workdir: Path) -> dict[str, Any] | None:
    """The results of the run in `workdir`; None if it has not finished.

    Raises:
      InputError: the file is damaged.
    """
    path = workdir / RESULTS
    try:
        results = files.read_json(path, "; remove it to score again")
    except FileNotFoundError:
        return None
    if not isinstance(results, dict):
        raise InputError(
            f"{path}: damaged: {shown(results)}; expected an object; remove it to score "
            "again"
        )
    return results
