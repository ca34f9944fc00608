"""Hugging Face's names and layouts in, the parameter tree of `Encoder` out, and back."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mtra_jax.errors import InputError
from mtra_jax.models import safetensors_files
from mtra_jax.models.encoder import EncoderConfig

# Below the encoder's prefix: its parts, the heads that may stand beside or in them, and
# the constants that some versions store.
_PARTS = ("embeddings.", "encoder.")
_HEADS = re.compile(r"(^|\.)(pooler|cls|lm_head|classifier)\.")
_CONSTANTS = re.compile(r"(^|\.)embeddings\.(position_ids|token_type_ids)$")
WORDS = "embeddings.word_embeddings.weight"


class Entry(NamedTuple):
    """One array: its name and shape at Hugging Face, and its place in the tree."""

    name: str
    shape: tuple[int, ...]
    path: tuple[str, ...]

    @property
    def is_kernel(self) -> bool:
        """Whether it is stored (out, in) there and (in, out) here."""
        return self.path[-1] == "kernel"


def entries(config: EncoderConfig) -> Iterator[Entry]:
    """Yields every array of the encoder, without a prefix to its name."""
    width, inner = config.hidden_size, config.intermediate_size
    for table, rows in (
        ("word_embeddings", config.vocab_size),
        ("position_embeddings", config.max_position_embeddings),
        ("token_type_embeddings", config.type_vocab_size),
    ):
        path = ("embeddings", table, "embedding")
        yield Entry(f"embeddings.{table}.weight", (rows, width), path)
    yield from _norm("embeddings.LayerNorm", width, "embeddings", "norm")
    for index in range(config.num_hidden_layers):
        there, here = f"encoder.layer.{index}.", f"layer_{index}"
        for name in ("query", "key", "value"):
            there_name = f"{there}attention.self.{name}"
            yield from _linear(there_name, width, width, here, "attention", name)
        there_name = f"{there}attention.output.dense"
        yield from _linear(there_name, width, width, here, "attention", "output")
        there_name = f"{there}attention.output.LayerNorm"
        yield from _norm(there_name, width, here, "attention_norm")
        there_name = f"{there}intermediate.dense"
        yield from _linear(there_name, width, inner, here, "intermediate")
        yield from _linear(f"{there}output.dense", inner, width, here, "output")
        yield from _norm(f"{there}output.LayerNorm", width, here, "output_norm")


def _linear(name: str, fan_in: int, fan_out: int, *path: str) -> Iterator[Entry]:
    yield Entry(f"{name}.weight", (fan_out, fan_in), (*path, "kernel"))
    yield Entry(f"{name}.bias", (fan_out,), (*path, "bias"))


def _norm(name: str, width: int, *path: str) -> Iterator[Entry]:
    yield Entry(f"{name}.weight", (width,), (*path, "scale"))
    yield Entry(f"{name}.bias", (width,), (*path, "bias"))


def from_huggingface(
    tensors: Mapping[str, np.ndarray], config: EncoderConfig
) -> dict[str, Any]:
    """Returns the parameters of `Encoder` under a checkpoint's names, types kept.

    The names may have a prefix (`bert.`, `roberta.`, ...) and the norms the names
    `gamma` and `beta` of old. What `split` drops is left out.

    Raises:
        InputError: a key is missing, unexpected, not of floating point, or of another
            shape than `config` says.
    """
    found = split(tensors).encoder
    expected = {entry.name: entry for entry in entries(config)}
    missing = expected.keys() - found.keys()
    unexpected = found.keys() - expected.keys()
    if missing or unexpected:
        parts = {"missing": missing, "unexpected": unexpected}
        raise InputError(
            "; ".join(
                f"{what} weights: {safetensors_files.listed(names)}"
                for what, names in parts.items()
                if names
            )
        )
    params: dict[str, Any] = {}
    for name, entry in expected.items():
        value = found[name]
        if value.shape != entry.shape:
            raise InputError(
                f"{name} has shape {value.shape}; config.json says {entry.shape}"
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise InputError(f"{name} is {value.dtype}; expected floating point")
        branch = params
        for part in entry.path[:-1]:
            branch = branch.setdefault(part, {})
        branch[entry.path[-1]] = value.T if entry.is_kernel else value
    return params


class Split(NamedTuple):
    """A checkpoint's tensors: the encoder's without a prefix, and names of the others."""

    encoder: dict[str, np.ndarray]
    dropped: tuple[str, ...]


def split(tensors: Mapping[str, np.ndarray]) -> Split:
    """Tells the encoder's tensors, whose names become plain, from those of heads.

    The prefix of the word table is the encoder's. Heads of any name stand beside it;
    below it, only those with names that `transformers` uses are dropped, since another
    weight there (an adapter, a layer too many) changes the hidden states.

    Raises:
        InputError: there is no encoder or more than one, or a weight is there twice.
    """
    words = [name for name in tensors if f".{name}".endswith(f".{WORDS}")]
    if len(words) != 1:
        raise InputError(
            f"expected one encoder, with one {WORDS}; found "
            f"{safetensors_files.listed(words) or 'none'}"
        )
    prefix = words[0].removesuffix(WORDS)
    plain: dict[str, np.ndarray] = {}
    dropped = []
    for name, value in tensors.items():
        if _CONSTANTS.search(name):
            continue
        if _is_head(name, prefix):
            dropped.append(name)
            continue
        short = name.removeprefix(prefix)
        short = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", short)
        short = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", short)
        if short in plain:
            raise InputError(f"{short} is there twice, once as {name}")
        plain[short] = value
    return Split(plain, tuple(dropped))


def _is_head(name: str, prefix: str) -> bool:
    if _HEADS.search(name) or not name.startswith(prefix):
        return True
    # Without a prefix, heads stand among the encoder's two parts.
    return not prefix and not name.startswith(_PARTS)


def to_huggingface(
    params: Mapping[str, Any], config: EncoderConfig
) -> dict[str, np.ndarray]:
    """Returns the arrays of `Encoder` under Hugging Face's names, types kept."""
    tensors = {}
    for entry in entries(config):
        value: Any = params
        for part in entry.path:
            value = value[part]
        value = np.asarray(value)
        tensors[entry.name] = np.ascontiguousarray(
            value.T if entry.is_kernel else value
        )
    return tensors
