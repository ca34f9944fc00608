"""The directory of an exported model -> the same model as that of the run."""

import os
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import files
from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError, shown
from mtra_jax.exports import weights
from mtra_jax.models import pretrained
from mtra_jax.runs.directory import best_model, inputs_json, layout, tasks_json
from mtra_jax.runs.training import choices
from mtra_jax.train import build
from mtra_jax.train.backbone import Backbone

FILE = "mtra_jax.json"
FORMAT = 1
FILES = {
    FILE,
    layout.ENCODER,
    layout.RESULTS,
    weights.FILE,
    tasks_json.FILE,
    inputs_json.FILE,
}
"""The files in the directory of an exported model, besides `OPTIONAL`."""
OPTIONAL = {"README.md", "model.onnx", "model.onnx.data"}
# The keys of the configuration that evaluation reads, besides the method.
KEYS = ("batch_size", "compute_dtype", "data.max_length")
IS_ADDED = "is_added"
"""Whether `add_method` has added the method."""


def is_export(directory: Path) -> bool:
    """Whether `directory` holds an exported model."""
    return os.path.isfile(directory / FILE)


def read_results(directory: Path) -> dict[str, Any]:
    """The content of `results.json`.

    Raises:
      InputError: it is missing or damaged.
    """
    path = directory / layout.RESULTS
    try:
        values = files.read_json(path)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; expected that of an exported model"
        ) from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: damaged: {shown(values)}; expected an object")
    return values


def read(directory: Path, cache_dir: str | None = None) -> best_model.Saved:
    """The model in `directory`, which `writing.export` wrote.

    `cache_dir`: of compiled programs; None stands for the default cache.

    Raises:
      InputError: a file is missing, damaged or of a newer version, or the files do not
        belong together.
    """
    config = _config(directory)
    if cache_dir is not None:
        config.data.cache_dir = cache_dir
    choices.use_compilation_cache(config)
    benchmark = tasks_json.read(directory)
    encoder_dir = directory / layout.ENCODER
    encoder_config, encoder_params = pretrained.load_encoder(encoder_dir)
    tokenizer = tokens.load_tokenizer(encoder_dir, encoder_config.vocab_size)
    model = choices.make_model(config, benchmark, encoder_config)
    method = build.make_method(model, choices.method_of(config))
    like = jax.eval_shape(
        lambda rng: build.init_params(model, method, {}, rng), jax.random.key(0)
    )
    try:
        parts = weights.from_tensors(weights.read(directory), like)
    except InputError as error:
        raise InputError(f"{directory / weights.FILE}: {error}") from error
    params = {"encoder": encoder_params, **parts}
    backbone = Backbone(encoder_config, encoder_params, tokenizer)
    return best_model.Saved(
        config, benchmark, backbone, params, inputs_json.read(directory)
    )


def _config(directory: Path) -> ConfigDict:
    """The configuration for evaluation; other keys have their defaults."""
    path = directory / FILE
    values = _content(path)
    try:
        method = dict(values["method"])
        name = method.pop("name")
        if values.get(IS_ADDED):  # by `add_method`: hard parameter sharing, as EW is
            name, method = "ew", {}
        options = {f"method.{key}": value for key, value in method.items()}
        evaluation = values["evaluation"]
        return configs.make(name, {**options, **{k: evaluation[k] for k in KEYS}})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: damaged: {shown(values)}; expected a method, its options and "
            f"{', '.join(KEYS)}"
        ) from error


def _content(path: Path) -> dict[str, Any]:
    try:
        values = files.read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected an exported model") from None
    number = values.get("format") if isinstance(values, dict) else None
    if type(number) is not int or number < 1:
        raise InputError(f"{path}: damaged: {shown(values)}; expected an object")
    if number > FORMAT:
        raise InputError(
            f"{path}: format {number}, written by a newer mtra_jax; expected at most "
            f"{FORMAT}"
        )
    return values
