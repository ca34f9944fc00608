"""A directory of safetensors -> named arrays, and back."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from mtra_jax import downloads, files
from mtra_jax.errors import InputError, shown

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

# Files of weights in any format, and files that trainers write beside them.
_OF_WEIGHTS = re.compile(
    r"\.(bin|ckpt|gguf|h5|msgpack|npz|onnx|pt|pth|safetensors)$|\.ckpt\b", re.IGNORECASE
)
_OF_TRAINER = re.compile(
    r"(training_args|optimizer|scheduler|rng_state|scaler)", re.IGNORECASE
)

# Needed because the NumPy reader of the package `safetensors` lacks bfloat16.
DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read_file(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of one file, as read-only views of the memory-mapped file.

    Raises:
        InputError: the file cannot be read, is truncated, or has an invalid header.
    """
    downloads.check(path)
    try:
        # Checks lengths, types, shapes, and that the offsets cover the file exactly.
        with safetensors.safe_open(path, framework="numpy"):
            pass
        content = np.memmap(path, mode="r")
        start = 8 + int.from_bytes(content[:8].tobytes(), "little")
        header = json.loads(content[8:start].tobytes(), object_pairs_hook=_once_each)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{path}: not a readable safetensors file: {_printable(str(error))}"
        ) from error
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if not name.isprintable():
            raise InputError(
                f"{path}: the name {_printable(name)}; expected printable characters"
            )
        if entry["dtype"] not in DTYPES:
            raise InputError(
                f"{path}: {_printable(name)} is of type {entry['dtype']}; "
                "expected F32, F16 or BF16"
            )
        try:
            tensors[name] = np.ndarray(
                entry["shape"],
                DTYPES[entry["dtype"]],
                buffer=content,
                offset=start + entry["data_offsets"][0],
            )
        except ValueError as error:
            # Too many axes, or an empty array of impossible sizes.
            raise InputError(f"{path}: {_printable(name)}: {error}") from error
    return tensors


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes an object of the header; JSON readers would drop the first of equal names."""
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{name} occurs {count} times")
    return dict(pairs)


def read_directory(directory: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of `model.safetensors`, or of the shards that an index names.

    Raises:
        InputError: neither file exists, or a file cannot be read.
    """
    if (directory / SINGLE).exists():
        return read_file(directory / SINGLE)
    if (directory / INDEX).exists():
        return _read_shards(directory / INDEX)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory")
    _check_other_formats(directory)
    raise InputError(f"{directory}: no {SINGLE} and no {INDEX}")


def _check_other_formats(directory: Path) -> None:
    """Raises InputError if `directory` has weights in another format."""
    for path in sorted(directory.glob("pytorch_model*.bin")):
        downloads.check(path)
        raise InputError(
            f"{directory}: only safetensors are read; found pickled weights, which "
            "PyTorch converts: from transformers import AutoModel; "
            f"AutoModel.from_pretrained({str(directory)!r})"
            f".save_pretrained({str(directory)!r})"
        )
    others = sorted(
        path.name
        for path in directory.iterdir()
        if _OF_WEIGHTS.search(path.name) and not _OF_TRAINER.match(path.name)
    )
    if others:
        raise InputError(
            f"{directory}: no {SINGLE} and no {INDEX}; found {listed(others)}, which "
            "is not read"
        )


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{index}: no weight_map of names to files")
    tensors: dict[str, np.ndarray] = {}
    for shard in weight_map.values():
        if not _is_file_name(shard):
            raise InputError(
                f"{index}: expected a file beside it; found {shown(shard)}"
            )
    for shard in dict.fromkeys(weight_map.values()):
        tensors.update(read_file(index.parent / shard))
    if tensors.keys() != weight_map.keys():
        raise InputError(
            f"{index}: only in the index or only in the shards: "
            f"{listed(tensors.keys() ^ weight_map.keys())}"
        )
    return tensors


def _is_file_name(name: object) -> bool:
    """Whether `name` is the name of a file in the same directory."""
    return (
        isinstance(name, str)
        and name not in ("", "..")
        and Path(name).name == name
        and name.isprintable()
    )


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object of a JSON file.

    Raises:
        InputError: the file is missing, unreadable, or does not hold an object.
    """
    downloads.check(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a JSON file") from error
    except (ValueError, RecursionError) as error:
        # Bytes outside UTF-8, a number of thousands of digits, deep nesting.
        raise InputError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object; found {content!r:.40}")
    return content


def write_directory(
    directory: Path, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]
) -> None:
    """Writes `model.safetensors`, then `config.json`; each appears whole or not."""
    # Versions 4 of `transformers` require this mark of the framework.
    with files.replacing(directory / SINGLE) as temporary:
        safetensors.numpy.save_file(dict(tensors), temporary, {"format": "pt"})
    write_config(directory, config)


def write_config(directory: Path, config: Mapping[str, Any]) -> None:
    """Writes `config.json`, which appears whole or not."""
    files.write_json(directory / "config.json", dict(config))


def listed(names: Iterable[str], most: int = 5) -> str:
    """Returns the first names in order and the number of the others, for error messages.

    >>> listed({"b", "a", "c"}, most=2)
    'a, b and 1 more'
    """
    names = [_printable(name) for name in sorted(names)]
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _printable(text: str, most: int = 300) -> str:
    """Returns `text` on one line, with control characters escaped, cut at `most`."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= most else f"{shown[:most]}..."
