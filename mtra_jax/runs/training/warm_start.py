"""The directory of a finished run -> its best epoch, for a new run to start from."""

import os
from pathlib import Path

from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax.errors import InputError
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.runs.directory import best_model, layout
from mtra_jax.train import starting

SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)
"""Sizes of a new encoder that a warm start must agree with."""


def read(config: ConfigDict) -> starting.Start | None:
    """The best epoch of the run at `config.warm_start`; None if that is empty.

    Raises:
      InputError: there is no such run, or it has not finished; it trained tasks separately
        and has no encoder for the tasks of `config`; the sizes in `config` differ.
    """
    if not config.warm_start:
        return None
    directory = _run_of(Path(config.warm_start), configs.task_names(config))
    if layout.read_results(directory) is None:
        raise InputError(
            f"warm_start: {directory}: a run that has not finished; expected the directory "
            "of a finished one"
        )
    saved = best_model.load_one(directory, config.data.cache_dir)
    _check_sizes(config, directory, saved.backbone.config)
    return starting.Start(
        str(directory),
        saved.backbone,
        saved.params,
        saved.benchmark.tasks,
        saved.config.method.name,
    )


def _run_of(directory: Path, names: tuple[str, ...]) -> Path:
    """The directory of the run with one encoder, in `directory` or below it."""
    if not os.path.isdir(directory):
        raise InputError(
            f"warm_start: {directory}: no such directory; expected that of a finished run"
        )
    there = layout.read_config(directory)
    separate = configs.separate_tasks(there)
    if not separate:
        return directory
    if len(names) == 1 and names[0] in separate:
        return directory / names[0]
    raise InputError(
        f"warm_start: {directory}: {there.method.name} trained a separate encoder for each "
        f"task; expected one of them, such as {directory / separate[0]}"
    )


def _check_sizes(config: ConfigDict, directory: Path, there: EncoderConfig) -> None:
    """Raises InputError if the encoder is not the new one that `config` describes.

    A pretrained encoder has the sizes of its checkpoint, which is not read.
    """
    if config.backbone.path:
        return
    for name in SIZES:
        if getattr(there, name) != config.backbone[name]:
            raise InputError(
                f"backbone.{name} is {config.backbone[name]}; expected "
                f"{getattr(there, name)}, that of warm_start={directory}"
            )
