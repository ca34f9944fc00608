"""Hugging Face's names and layouts -> the parameter tree of `Encoder`, and back."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax.errors import InputError
from mtra_jax.models import safetensors_files
from mtra_jax.models.encoder import EncoderConfig

# Names after the encoder's prefix: its parts, heads, and constants that some versions of
# `transformers` store.
_PARTS = ("embeddings.", "encoder.")
_HEADS = re.compile(r"(^|\.)(pooler|cls|lm_head|classifier)\.")
_CONSTANTS = re.compile(r"(^|\.)embeddings\.(position_ids|token_type_ids)$")
WORDS = "embeddings.word_embeddings.weight"


class Entry(NamedTuple):
    """One array: its name and shape in a checkpoint, and its place in the tree."""

    name: str
    shape: tuple[int, ...]
    path: tuple[str, ...]
    layer: int | None = None
    """Index on the leading axis of the array at `path`; None for the whole array."""

    @property
    def is_kernel(self) -> bool:
        """Whether it is (out, in) in checkpoints and (in, out) in the tree."""
        return self.path[-1] == "kernel"


def entries(config: EncoderConfig) -> Iterator[Entry]:
    """Yields an entry, without a prefix in its name, for each array of the encoder."""
    width, inner = config.hidden_size, config.intermediate_size
    for table, rows in (
        ("word_embeddings", config.vocab_size),
        ("position_embeddings", config.max_position_embeddings),
        ("token_type_embeddings", config.type_vocab_size),
    ):
        path = ("embeddings", table, "embedding")
        yield Entry(f"embeddings.{table}.weight", (rows, width), path)
    yield from _norm("embeddings.LayerNorm", width, "embeddings", "norm")
    for layer in range(config.num_hidden_layers):
        for entry in _layer_entries(width, inner):
            yield entry._replace(
                name=f"encoder.layer.{layer}.{entry.name}",
                path=("layers", *entry.path),
                layer=layer,
            )


def _layer_entries(width: int, inner: int) -> Iterator[Entry]:
    for name in ("query", "key", "value"):
        yield from _linear(f"attention.self.{name}", width, width, "attention", name)
    yield from _linear("attention.output.dense", width, width, "attention", "output")
    yield from _norm("attention.output.LayerNorm", width, "attention_norm")
    yield from _linear("intermediate.dense", width, inner, "intermediate")
    yield from _linear("output.dense", inner, width, "output")
    yield from _norm("output.LayerNorm", width, "output_norm")


def _linear(name: str, fan_in: int, fan_out: int, *path: str) -> Iterator[Entry]:
    yield Entry(f"{name}.weight", (fan_out, fan_in), (*path, "kernel"))
    yield Entry(f"{name}.bias", (fan_out,), (*path, "bias"))


def _norm(name: str, width: int, *path: str) -> Iterator[Entry]:
    yield Entry(f"{name}.weight", (width,), (*path, "scale"))
    yield Entry(f"{name}.bias", (width,), (*path, "bias"))


def from_huggingface(
    tensors: Mapping[str, np.ndarray], config: EncoderConfig, dtype: Any = None
) -> dict[str, Any]:
    """Returns the parameters of `Encoder`, as new arrays, from a checkpoint's tensors.

    `dtype`: of the result; by default arrays do not change their type. The tensors of N
    layers become one array [N, ...].

    The names may have a prefix (`bert.`, `roberta.`, ...), and those of norms may end in
    the older `gamma` and `beta`. Tensors that `split` drops are left out.

    Raises:
        InputError: a weight is missing, unexpected, not of floating point, or not of the
            shape that `config` requires.
    """
    weights = split(tensors).encoder
    expected = {entry.name: entry for entry in entries(config)}
    missing = expected.keys() - weights.keys()
    unexpected = weights.keys() - expected.keys()
    if missing or unexpected:
        parts = {"missing": missing, "unexpected": unexpected}
        raise InputError(
            "; ".join(
                f"{what} weights: {safetensors_files.listed(names)}"
                for what, names in parts.items()
                if names
            )
        )
    arrays: dict[tuple[str, ...], list[np.ndarray]] = {}
    for name, entry in expected.items():
        value = weights[name]
        if value.shape != entry.shape:
            raise InputError(
                f"{name} has shape {value.shape}; config.json says {entry.shape}"
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise InputError(f"{name} is {value.dtype}; expected floating point")
        arrays.setdefault(entry.path, []).append(value.T if entry.is_kernel else value)
    params: dict[str, Any] = {}
    for path, values in arrays.items():
        branch = params
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        kind = np.result_type(*values) if dtype is None else dtype
        shape = (len(values), *values[0].shape)
        # Without `out` the result would have the memory order of the transposed kernels.
        stacked = np.stack(values, out=np.empty(shape, kind))
        branch[path[-1]] = stacked if path[0] == "layers" else stacked[0].copy()
    return params


class Split(NamedTuple):
    """A checkpoint's tensors: the encoder's, without prefix; the others' names."""

    encoder: dict[str, np.ndarray]
    dropped: tuple[str, ...]


def split(tensors: Mapping[str, np.ndarray]) -> Split:
    """Separates the encoder's tensors, whose prefix is removed, from those of heads.

    The prefix of the word table is the encoder's. Tensors without this prefix belong to
    heads. Below the prefix, only heads with the names of `transformers` are dropped: any
    other weight there (an adapter, a surplus layer) would change the hidden states.

    Raises:
        InputError: not exactly one encoder, or a weight occurs twice.
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
    # Without a prefix, names outside the encoder's two parts are heads.
    return not prefix and not name.startswith(_PARTS)


def to_huggingface(
    params: Mapping[str, Any], config: EncoderConfig
) -> dict[str, np.ndarray]:
    """Returns the arrays of `Encoder` under Hugging Face's names, in their types."""
    arrays = jax.tree.map(np.asarray, params)  # one transfer from the device
    tensors = {}
    for entry in entries(config):
        value: Any = arrays
        for part in entry.path:
            value = value[part]
        value = value if entry.layer is None else value[entry.layer]
        tensors[entry.name] = np.ascontiguousarray(
            value.T if entry.is_kernel else value
        )
    return tensors
