"""Axes of values and a seed -> the points of a grid, in the order in which they are tried.

`configs/search.py` holds the axes of each method as a literal table.
"""

import hashlib
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from mtra_jax import config_files
from mtra_jax.errors import InputError, shown

SPEC = "configs/search.py"
Point = tuple[tuple[str, str], ...]
"""A value for each axis, as (dotted key, text)."""


class Axis(NamedTuple):
    """A key of the configuration and the values that are tried.

    `is_relative`: they are multiples of the value that the first trial has.
    """

    key: str
    values: tuple[float, ...]
    is_relative: bool = False

    def scaled(self, base: float) -> tuple[float, ...]:
        """The values, where the first trial has `base`.

        >>> Axis("learning_rate", (0.5, 2), is_relative=True).scaled(5e-5)
        (2.5e-05, 0.0001)
        """
        return tuple(v * base for v in self.values) if self.is_relative else self.values


class Space(NamedTuple):
    """A method, and the axes that a search varies.

    `fixed`: what all its trials have in common besides, as (dotted key, text).
    """

    method: str
    axes: tuple[Axis, ...]
    fixed: tuple[tuple[str, str], ...] = ()


def load(preset: str) -> Mapping[str, Space]:
    """The spaces for a preset by their names, from `get_spaces(PRESET)` of `SPEC`.

    Raises:
      InputError: no such file, or the file does not define them.
    """
    path, spaces = config_files.call(
        f"{SPEC}:{preset}", "get_spaces", SPEC, is_shipped=True
    )
    if not isinstance(spaces, Mapping) or not all(
        isinstance(space, Space) for space in spaces.values()
    ):
        raise InputError(
            f"{path}: get_spaces returns {shown(spaces)}; expected Spaces by name"
        )
    return spaces


def text(value: float) -> str:
    """A value of a point: six significant digits.

    >>> text(0.2 * 5e-5), text(1.0), text(0)
    ('1e-05', '1', '0')
    """
    return f"{value:.6g}"


def centre(space: Space, base: Mapping[str, Any]) -> Point:
    """The point of the first trial. `base`: its configuration by dotted key."""
    return tuple((axis.key, _exact(float(base[axis.key]))) for axis in space.axes)


def _exact(value: float) -> str:
    rounded = text(value)
    return rounded if float(rounded) == value else repr(value)


def ordered(space: Space, base: Mapping[str, Any], seed: int) -> list[Point]:
    """Every point of the grid once, the one of the first trial before all others.

    The others are ordered by a hash of the seed and their values, in rounds: each round
    has each value of the first axis once. So the first N points are a random sample of the
    grid with as many of every learning rate for each method, the same on every machine,
    and they are the beginning of any larger sample.

    >>> space = Space("ew", (Axis("learning_rate", (0.1, 0.2)), Axis("clip_norm", (1, 2))))
    >>> points = ordered(space, {"learning_rate": 0.2, "clip_norm": 1.0}, seed=0)
    >>> [tuple(dict(point).values()) for point in points]
    [('0.2', '1'), ('0.1', '1'), ('0.2', '2'), ('0.1', '2')]
    """
    first = centre(space, base)
    axes = [
        [(axis.key, text(value)) for value in axis.scaled(float(base[axis.key]))]
        for axis in space.axes
    ]
    numbers = _numbers(first)
    others = [p for p in itertools.product(*axes) if _numbers(p) != numbers]
    rounds: dict[float, int] = {numbers[0]: 1}
    places: dict[Point, tuple[int, bytes]] = {}
    for point in sorted(others, key=lambda point: _hash(point, seed)):
        group = _numbers(point)[0]
        places[point] = rounds.get(group, 0), _hash(point, seed)
        rounds[group] = rounds.get(group, 0) + 1
    return [first, *sorted(others, key=places.__getitem__)]


def _numbers(point: Point) -> list[float]:
    return [float(value) for _, value in point]


def _hash(point: Point, seed: int) -> bytes:
    values = " ".join(f"{key}={value}" for key, value in point)
    return hashlib.sha256(f"{seed} {values}".encode()).digest()
