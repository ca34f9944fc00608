"""The methods by name. Tests, tables and option checks follow these rows."""

import inspect
from collections.abc import Callable
from typing import Any

from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.methods import base, ew, mtra

METHODS: dict[str, Callable[..., base.Method]] = {
    "ew": ew.make,
    "mtra": mtra.make,
}


def options(name: str) -> dict[str, Any]:
    """The options of method `name` with their defaults: the keywords of its factory.

    Raises:
      InputError: an unknown method.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; {did_you_mean(name, METHODS)}")
    parameters = inspect.signature(METHODS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
