"""A state and its record -> CRC-32 checksums, which detect damage at reading."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mtra_jax.errors import InputError


class DamagedError(InputError):
    """A checkpoint cannot be read, or its content is not what was written."""


def by_name(tree: Any) -> dict[str, Any]:
    """The leaves of `tree` by path, in its order, with the path names of Orbax."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in flat
    }


def sign(state: Any, record: dict[str, Any], score: float) -> dict[str, Any]:
    """The values to store beside `state`: record, score and all checksums."""
    return {
        "record": record,
        "score": score,
        "record_checksum": _of_record(record, score),
        "checksums": _of_arrays(state),
    }


def check_record(signed: Any, place: str) -> None:
    """Raises DamagedError if record or score differ from those passed to `sign`."""
    try:
        expected = _of_record(signed["record"], signed["score"])
        is_whole = signed["record_checksum"] == expected
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{place} is damaged: no record of a run") from error
    if not is_whole:
        raise DamagedError(f"{place} is damaged: record is not what was saved")


def check_state(state: Any, signed: Mapping[str, Any], place: str) -> None:
    """Raises DamagedError if an array differs from the one passed to `sign`."""
    read, written = _of_arrays(state), signed.get("checksums", {})
    for name in sorted(read.keys() | written.keys()):
        if read.get(name) != written.get(name):
            raise DamagedError(f"{place} is damaged: {name} is not what was saved")


def _of_arrays(state: Any) -> dict[str, int]:
    # The file formats check only their headers.
    return {
        name: zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
        for name, leaf in by_name(state).items()
    }


def _of_record(record: dict[str, Any], score: float) -> int:
    return zlib.crc32(json.dumps([record, score], sort_keys=True).encode())
