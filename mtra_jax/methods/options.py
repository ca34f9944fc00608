"""The value of a method's option -> an InputError unless it is in its range."""

import math

import jax

from mtra_jax.errors import InputError

Number = float | jax.Array


def check_weight(name: str, value: Number) -> None:
    """Raises InputError unless `value` is finite and at least 0."""
    _check(name, value, is_positive=False)


def check_positive(name: str, value: Number) -> None:
    """Raises InputError unless `value` is finite and more than 0."""
    _check(name, value, is_positive=True)


def check_share(name: str, value: Number) -> None:
    """Raises InputError unless `value` is in [0, 1]."""
    if not isinstance(value, jax.core.Tracer) and not 0 <= value <= 1:
        raise InputError(f"method.{name} is {value}; expected at least 0 and at most 1")


def _check(name: str, value: Number, *, is_positive: bool) -> None:
    # Programs take options as arguments, which have no value during tracing. Before,
    # `train.build` makes the method once with the values themselves.
    if isinstance(value, jax.core.Tracer):
        return
    is_low = value <= 0 if is_positive else value < 0
    if is_low or not math.isfinite(value):
        rule = "more than 0" if is_positive else "0 or more"
        raise InputError(f"method.{name} is {value}; expected {rule}, finite")
