"""Parameters of heads and method -> named tensors in PyTorch's layout, and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from mtra_jax import files
from mtra_jax.errors import InputError
from mtra_jax.methods import stl_cnn
from mtra_jax.models import safetensors_files
from mtra_jax.types import Params

FILE = "heads.safetensors"
PARTS = ("heads", "method")
"""The parts of the parameters in the file; `encoder/` holds the third."""
BOTTLENECK = "method.bottleneck.mean"
"""A linear layer between z and the heads, in methods with a bottleneck."""


def to_tensors(params: Params) -> dict[str, np.ndarray]:
    """Returns `heads.TASK.weight` [d, H], `heads.TASK.bias` [d], `method. ...`.

    Kernels have their axes reversed, as the weights of PyTorch's `Linear` and `Conv1d`.
    """
    parts = {name: params[name] for name in PARTS}
    tensors = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(parts):
        array = np.asarray(leaf)
        array = array.T if path[-1].key == "kernel" else array
        # `np.ascontiguousarray` would give scalars an axis.
        tensors[_name(path)] = np.array(array, order="C")
    return tensors


def from_tensors(tensors: Mapping[str, np.ndarray], like: Params) -> Params:
    """Returns the parameters of `PARTS`, the inverse of `to_tensors`.

    `like`: a tree with the shapes of all parameters.

    Raises:
      InputError: a tensor is missing, unexpected, or of another shape.
    """
    parts = {name: like[name] for name in PARTS}
    paths = jax.tree_util.tree_leaves_with_path(parts)
    names = {_name(path) for path, _ in paths}
    if names != tensors.keys():
        raise InputError(
            "missing or unexpected weights: "
            f"{safetensors_files.listed(names ^ tensors.keys())}"
        )

    def restored(path: tuple, leaf: Any) -> np.ndarray:
        array = np.asarray(tensors[_name(path)], np.float32)
        array = array.T if path[-1].key == "kernel" else array
        if array.shape != leaf.shape:
            raise InputError(
                f"{_name(path)} has shape {tensors[_name(path)].shape}; the method and "
                f"the tasks need {leaf.shape}"
            )
        return np.array(array, order="C")

    return jax.tree_util.tree_map_with_path(restored, parts)


def _name(path: tuple) -> str:
    keys = [entry.key for entry in path]
    return ".".join([*keys[:-1], "weight" if keys[-1] == "kernel" else keys[-1]])


def filters_of(task: str) -> list[str]:
    """The names of the filters of a text CNN, without `.weight` and `.bias`."""
    return [f"method.tasks.{task}.width_{width}" for width in stl_cnn.WIDTHS]


def write(directory: Path, params: Params) -> None:
    """Writes `heads.safetensors`."""
    with files.replacing(directory / FILE) as temporary:
        safetensors.numpy.save_file(to_tensors(params), temporary, {"format": "pt"})


def read(directory: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of `heads.safetensors`.

    Raises:
      InputError: the file is missing or damaged.
    """
    return safetensors_files.read_file(directory / FILE)
