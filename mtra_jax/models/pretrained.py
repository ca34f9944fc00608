"""A Hugging Face directory or hub name -> configuration and parameters, and back."""

import dataclasses
import functools
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.models import naming, safetensors_files
from mtra_jax.models.encoder import (
    MODEL_TYPES,
    Encoder,
    EncoderConfig,
    check_model_type,
)
from mtra_jax.models.naming import from_huggingface, to_huggingface

__all__ = [
    "from_huggingface",
    "init_encoder",
    "load_encoder",
    "load_pretrained",
    "read_config",
    "resolve",
    "save_encoder",
    "to_huggingface",
]

ARCHITECTURES = {
    "bert": "BertModel",
    "roberta": "RobertaModel",
    "xlm-roberta": "XLMRobertaModel",
    "camembert": "CamembertModel",
}
RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob")
CLASS_NAMES = re.compile(r"\b(?:Got: )?(?:[A-Za-z_]+\.)*[A-Z]\w*(?:Error|Timeout): ")
# Names that no directory and no model of the hub can have by accident.
BUILT_IN = {"builtin:tiny": Path(__file__).with_name("tiny")}
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def resolve(path: str) -> Path:
    """Returns the local directory of `path`, downloaded from the hub if necessary.

    An existing directory is returned unchanged. The names in `BUILT_IN` are directories of
    the package. Any other `path` of the form `name` or `organisation/name` is looked up on
    the hub. Only configurations, vocabularies and safetensors are downloaded.

    Raises:
        InputError: `path` is a file, or it is not a directory and the hub has no such
            model or cannot be reached.
    """
    if path in BUILT_IN:
        return BUILT_IN[path]
    # Not `Path.expanduser` and `Path.is_dir`: unknown users and long names make them raise.
    local = os.path.expanduser(path)
    if os.path.isdir(local):
        config = os.path.join(path, "config.json")
        if not os.path.exists(os.path.join(local, "config.json")):
            rule = f"expected {path} to be the directory of a BERT or RoBERTa model"
            raise InputError(f"{config}: no such file; {rule}")
        return Path(local)
    if os.path.exists(local):
        raise InputError(f"{path}: expected a directory with config.json; found a file")
    if not HUB_NAME.fullmatch(path):
        hint = (
            f"; {did_you_mean(path, BUILT_IN)}" if path.startswith("builtin:") else ""
        )
        raise InputError(f"{path!r}: no such directory{hint}")
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(
                path,
                allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"],
            )
        )
    except Exception as error:  # the client and its transport raise about thirty types
        raise InputError(
            f"{path}: no such directory, and not to be had from the hub: {_reason(error)}; "
            "expected a model there, or a directory of one (--backbone, or backbone.path)"
        ) from error


def _reason(error: Exception) -> str:
    """The message of an error of the hub's client, without the names of its classes."""
    text = " ".join(CLASS_NAMES.sub("", str(error)).split())
    return text or type(error).__name__


def read_config(directory: str | Path) -> EncoderConfig:
    """Reads `config.json`; missing keys get Hugging Face's defaults.

    Raises:
        InputError: the file is missing or unreadable, or the encoder is not one of
            `MODEL_TYPES` with absolute positions and bidirectional attention.
    """
    path = Path(directory) / "config.json"
    content = safetensors_files.read_json(path)
    if "model_type" not in content:
        raise InputError(
            f"{path}: no model_type; expected one of {', '.join(MODEL_TYPES)}"
        )
    model_type = content["model_type"]
    try:
        check_model_type(model_type)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if content.get("position_embedding_type", "absolute") != "absolute":
        kind = content["position_embedding_type"]
        raise InputError(
            f"{path}: position_embedding_type is {shown(kind)}; expected 'absolute'"
        )
    if content.get("is_decoder"):
        raise InputError(f"{path}: is_decoder is true; expected an encoder")
    values: dict[str, Any] = {"pad_token_id": 0 if model_type == "bert" else 1}
    if model_type == "roberta":
        values["vocab_size"] = 50265
    for field in dataclasses.fields(EncoderConfig):
        if field.name in content:
            assert isinstance(field.type, type)  # not a string: they are not postponed
            values[field.name] = _typed(
                path, field.name, field.type, content[field.name]
            )
    try:
        return EncoderConfig(**values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _typed(path: Path, name: str, kind: type, value: Any) -> object:
    """Returns a value of `config.json` as `kind`; raises InputError if it has another."""
    kinds = (int, float) if kind is float else (kind,)
    is_kind = isinstance(value, kinds) and not isinstance(value, bool)
    if not is_kind:
        raise InputError(f"{path}: {name} is {shown(value)}; expected {kind.__name__}")
    if kind is not float:
        return value
    try:
        value = float(value)
    except OverflowError as error:
        raise InputError(f"{path}: {name}: {error}; expected float") from error
    # Python's parser accepts NaN and Infinity, although they are not JSON.
    if not math.isfinite(value) or (name not in RATES and value < 0):
        raise InputError(f"{path}: {name} is {value}; expected 0 or more, finite")
    return value


class Pretrained(NamedTuple):
    """A stored encoder. `params`: NumPy float32. `dropped`: names of unused weights."""

    config: EncoderConfig
    params: dict[str, Any]
    dropped: tuple[str, ...]


def load_pretrained(directory: str | Path) -> Pretrained:
    """Reads configuration and weights of a directory.

    Reads `model.safetensors` or the shards of `model.safetensors.index.json`, in
    float32, float16 or bfloat16.

    Raises:
        InputError: a file is missing or damaged, or the weights do not fit
            `config.json`.
    """
    config = read_config(directory)
    tensors = safetensors_files.read_directory(Path(directory))
    # Checked early: a corrupt number of layers would make the next step endless.
    if config.num_hidden_layers > len(tensors):
        raise InputError(
            f"{directory}: config.json says {config.num_hidden_layers} layers; "
            f"found {len(tensors)} weights"
        )
    try:
        params = from_huggingface(tensors, config, np.float32)
    except InputError as error:
        raise InputError(f"{directory}: {error}") from error
    return Pretrained(config, params, naming.split(tensors).dropped)


def load_encoder(directory: str | Path) -> tuple[EncoderConfig, dict[str, Any]]:
    """Returns the configuration and the weights that `load_pretrained` reads."""
    return load_pretrained(directory)[:2]


def save_config(directory: str | Path, config: EncoderConfig) -> None:
    """Writes `config.json` alone, which `read_config` reads."""
    safetensors_files.write_config(Path(directory), _config_content(config))


def save_encoder(
    directory: str | Path, config: EncoderConfig, params: Mapping[str, Any]
) -> None:
    """Writes a directory that `load_encoder` and `transformers` read.

    It has no pooler: `AutoModel.from_pretrained(directory, add_pooling_layer=False)`
    gives the same hidden states.
    """
    tensors = to_huggingface(params, config)
    content = _config_content(config)
    safetensors_files.write_directory(Path(directory), tensors, content)


def _config_content(config: EncoderConfig) -> dict[str, Any]:
    return {
        "architectures": [ARCHITECTURES[config.model_type]],
        **dataclasses.asdict(config),
    }


@functools.partial(jax.jit, static_argnums=0)
def init_encoder(config: EncoderConfig, rng: jax.Array) -> dict[str, Any]:
    """Returns random float32 parameters with Hugging Face's initialisation.

    Kernels and tables are normal with standard deviation `config.initializer_range`.
    Biases and the padding token's rows are 0, scales 1.
    """
    ids = jnp.zeros((1, 1), jnp.int32)
    params = Encoder(config).init(rng, ids, ids, ids, deterministic=True)["params"]
    tables = ["word_embeddings"]
    if config.model_type != "bert":
        tables.append("position_embeddings")
    for name in tables:
        table = params["embeddings"][name]
        table["embedding"] = table["embedding"].at[config.pad_token_id].set(0)
    return params
