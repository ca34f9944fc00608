"""A parsed JSON object -> one of its members, of the right type."""

from typing import Any

from mtra_jax.errors import InputError, shown

KINDS = {str: "a text", int: "a whole number", dict: "an object", list: "a list"}


def member(values: Any, key: str, kind: type) -> Any:
    """Returns `values[key]`, which must be of the type `kind`.

    Raises:
      InputError: `values` is not an object, has no such key, or another value there.
    """
    if not isinstance(values, dict):
        raise InputError(f"{shown(values)}; expected an object with {shown(key)}")
    if key not in values:
        raise InputError(f"no {shown(key)}; expected {KINDS[kind]}")
    if type(values[key]) is not kind:
        raise InputError(
            f"{shown(key)} is {shown(values[key])}; expected {KINDS[kind]}"
        )
    return values[key]
