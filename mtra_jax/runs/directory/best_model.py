"""The directory of a run -> its best model, read back with what it was made from."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import paths
from mtra_jax.data.splits import fingerprints, targets
from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.models import pretrained
from mtra_jax.runs.directory import checkpoints, inputs_json, layout, tasks_json
from mtra_jax.tasks import Benchmark
from mtra_jax.train import build
from mtra_jax.train.backbone import Backbone
from mtra_jax.types import Params


class Saved(NamedTuple):
    """A model read back from the directory of a run."""

    config: ConfigDict
    benchmark: Benchmark
    backbone: Backbone
    params: Params
    inputs: inputs_json.Fingerprints


def load(directory: Path, task: str, cache_dir: str | None = None) -> Saved:
    """The best model of the run in `directory` for `task`.

    The run is untrusted, so the cache path in its configuration is ignored. `cache_dir`
    replaces it; None stands for the default cache.

    Raises:
      InputError: there is no run or no checkpoint, the run has no such task, or its
        tokenizer or encoder configuration was changed.
    """
    config = layout.read_config(directory)
    names = configs.task_names(config)
    if task not in names:
        hint = did_you_mean(task, names)
        raise InputError(f"unknown task {task!r} of this run; {hint}")
    is_separate = bool(configs.separate_tasks(config))
    return load_one(directory / task if is_separate else directory, cache_dir)


def load_one(directory: Path, cache_dir: str | None = None) -> Saved:
    """As `load`, for a run that trained all tasks together."""
    config = layout.read_config(directory)
    own = configs.default_config().data.cache_dir if cache_dir is None else cache_dir
    config.data.cache_dir = own
    build.use_compilation_cache(paths.cache_directory(own))
    encoder_dir = directory / layout.ENCODER
    encoder_config = pretrained.read_config(encoder_dir)
    tokenizer = tokens.load_tokenizer(encoder_dir, encoder_config.vocab_size)
    made_from = inputs_json.read(directory)
    for name, value in (
        ("tokenizer", fingerprints.of_tokenizer(tokenizer)),
        ("configuration", inputs_json.of_configuration(encoder_config)),
    ):
        if made_from.encoder[name] != value:
            raise InputError(
                f"{encoder_dir}: the {name} is not the one that the run was trained with"
            )
    params, record = load_best(directory)
    backbone = Backbone(encoder_config, params["encoder"], tokenizer)
    # The file has the thresholds of a finished run only.
    benchmark = targets.with_thresholds(
        tasks_json.read(directory), record["best_thresholds"]
    )
    return Saved(config, benchmark, backbone, params, made_from)


def load_best(directory: Path) -> tuple[Params, dict[str, Any]]:
    """The parameters of the best epoch, and the record of its checkpoint.

    Raises:
      InputError: there is no checkpoint, or the best one is not of the best epoch.
    """
    place = directory / layout.CHECKPOINTS
    finished = layout.read_results(directory)
    hint = "" if finished else "; the run has not finished an epoch"
    if not place.is_dir():
        raise InputError(f"{place}: no such directory{hint}")
    store = checkpoints.Checkpoints(place, read_only=True)
    with contextlib.closing(store):
        best = store.best_step()
        if best is None:
            raise InputError(f"{place}: no checkpoint{hint}")
        record = store.read_record(best)
        if finished is not None:
            check_epoch(record, finished["best_epoch"])
        return store.restore_params(best), record


def check_epoch(record: dict[str, Any], best_epoch: int) -> None:
    """Raises InputError if the checkpoint with this record is not of `best_epoch`."""
    if record["best_epoch"] != best_epoch:
        raise lost(best_epoch)


def lost(best_epoch: int) -> InputError:
    """The error of a run whose checkpoint of `best_epoch` is missing."""
    return InputError(
        f"the checkpoint of the best epoch, {best_epoch}, is missing; remove the "
        "run's checkpoints to train again"
    )
