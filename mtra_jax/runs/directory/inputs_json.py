"""Data and encoder of a run -> `inputs.json` in its directory, and later differences.

The file holds counts and hashes of every split, and hashes of the encoder's tokenizer,
configuration and weights. A run may only be continued or scored with the same content;
the paths of the files may change.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tokenizers import Tokenizer

from mtra_jax import files
from mtra_jax.data.splits import fingerprints
from mtra_jax.errors import InputError, shown
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.types import Params

FILE = "inputs.json"
_SHA256 = re.compile("[0-9a-f]{64}")


class Fingerprints(NamedTuple):
    """Hashes of the data and the encoder of a run.

    `data`: task -> split -> {"examples", "sha256"}, before examples are drawn from it.
    `encoder`: SHA-256 of the "tokenizer", the "configuration" and the first "weights".
    """

    data: dict[str, dict[str, dict[str, Any]]]
    encoder: dict[str, str]


def of_encoder(
    configuration: EncoderConfig, tokenizer: Tokenizer, weights: Params
) -> dict[str, str]:
    """The hashes of `Fingerprints.encoder`; `weights` are empty for a new encoder.

    New weights are left out: the seed determines them except for their last bits, which
    depend on the processor.
    """
    return {
        "tokenizer": fingerprints.of_tokenizer(tokenizer),
        "configuration": of_configuration(configuration),
        "weights": _of_arrays(weights),
    }


def of_configuration(configuration: EncoderConfig) -> str:
    """SHA-256 of all values of `configuration`."""
    return hashlib.sha256(repr(configuration).encode()).hexdigest()


def _of_arrays(tree: Any) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        value = np.ascontiguousarray(leaf)
        name = jax.tree_util.keystr(path)
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def write(directory: Path, inputs: Fingerprints) -> None:
    """Writes `inputs.json`."""
    files.write_json(directory / FILE, inputs._asdict())


def read(directory: Path) -> Fingerprints:
    """Reads `inputs.json` of the run in `directory`.

    Raises:
      InputError: it is missing or damaged.
    """
    path = directory / FILE
    try:
        values = files.read_json(path)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file, so data and encoder cannot be compared with those of "
            "the run; expected a new --workdir"
        ) from None
    try:
        return _checked(values)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path}: damaged: {shown(values)}; expected counts and hashes"
        ) from error


def hashes(directory: Path, tasks: Sequence[str], split: str) -> dict[str, str]:
    """The hashes of the examples of `split`, by task; without those that are missing.

    Tasks that were trained separately have their own directories in that of the run.

    Raises:
      InputError: a file is damaged.
    """
    return {
        name: stored.data[name][split]["sha256"]
        for stored in _stored(directory, tasks)
        for name in tasks
        if split in stored.data.get(name, {})
    }


def encoder_hash(directory: Path, tasks: Sequence[str]) -> str | None:
    """A hash of the weights and sizes that a run started from; None without the files.

    The tokenizer does not count. Of tasks that were trained separately the first counts.

    Raises:
      InputError: a file is damaged.
    """
    stored = _stored(directory, tasks)
    if not stored:
        return None
    parts = (stored[0].encoder[name] for name in ("configuration", "weights"))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _stored(directory: Path, tasks: Sequence[str]) -> list[Fingerprints]:
    """The inputs of a run, or of each of its tasks that were trained separately."""
    places = (directory, *(directory / name for name in tasks))
    return [read(place) for place in places if (place / FILE).exists()]


def _checked(values: Any) -> Fingerprints:
    data, encoder = values["data"], values["encoder"]
    for parts in data.values():
        for split in parts.values():
            if type(split["examples"]) is not int:
                raise ValueError(split)
            _check_hash(split["sha256"])
    for name in ("tokenizer", "configuration", "weights"):
        _check_hash(encoder[name])
    return Fingerprints(data, encoder)


def _check_hash(value: Any) -> None:
    if not _SHA256.fullmatch(value):
        raise ValueError(value)


def check(directory: Path, now: Fingerprints) -> None:
    """Raises InputError if the run in `directory` is made from other inputs."""
    then = read(directory)
    check_data(directory, then, now.data)
    check_encoder(directory, then, now.encoder)


def check_data(directory: Path, then: Fingerprints, now: dict[str, Any]) -> None:
    """Raises InputError if the data changed, and names the first split that did.

    `now`: as `Fingerprints.data`, for the same tasks; absent splits are not compared.
    """
    difference = data_difference(then, now)
    if difference is not None:
        raise InputError(
            f"{directory}: {difference}; expected the data of the run, or a new --workdir"
        )


def data_difference(then: Fingerprints, now: dict[str, Any]) -> str | None:
    """The difference in the first split that changed; None if the data are the same."""
    for task, parts in now.items():
        for split, new in parts.items():
            old = then.data.get(task, {}).get(split)
            if old is None:
                return f"{task}, {split}: not among the data of the run"
            if old["examples"] != new["examples"]:
                return (
                    f"{task}, {split}: {new['examples']} examples here, "
                    f"{old['examples']} when the run began"
                )
            if old["sha256"] != new["sha256"]:
                return (
                    f"{task}, {split}: as many examples as when the run began, but "
                    "other texts or labels"
                )
    return None


def check_encoder(directory: Path, then: Fingerprints, now: dict[str, str]) -> None:
    """Raises InputError if the encoder changed, and names the first part that did.

    `now`: as `Fingerprints.encoder`; absent parts are not compared.
    """
    for name, value in now.items():
        if then.encoder[name] != value:
            raise InputError(
                f"{directory}: the {name} of the encoder changed since the run began; "
                "expected the same backbone.path or warm_start, or a new --workdir"
            )
