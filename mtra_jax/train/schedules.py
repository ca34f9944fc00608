"""A rate, warm-up steps and planned steps -> the learning rate of each step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

DECAYS: dict[str, Callable[[Any], Any]] = {
    "constant": lambda remaining: 1,
    "linear": lambda remaining: remaining,
    "cosine": lambda remaining: (1 - _numpy(remaining).cos(np.pi * remaining)) / 2,
}
"""The remaining share of the steps after the warm-up -> the share of the full rate."""


def warm_up(learning_rate: ArrayLike, num_warm_up_steps: ArrayLike) -> optax.Schedule:
    """Returns a schedule with linear warm-up over n steps, and a constant rate after it.

    The rate at step k (from 0) is (k + 1)/n of `learning_rate`, so that the first step
    moves. Both arguments may be traced. Without JAX arrays the rate is computed by NumPy.
    """

    def rate(step: Any) -> Any:
        xp = _numpy(step)
        num_steps = xp.maximum(num_warm_up_steps, 1)
        # The share is exactly 1 after the last step of the warm-up.
        share = xp.minimum(step + 1, num_steps) / num_steps
        return xp.multiply(learning_rate, share)

    return rate


def warm_up_steps(share: float, num_steps: int) -> int:
    """The steps of the warm-up, `share` of all.

    Halves are rounded to even. Product and share may differ from them in the last bits,
    as those of a continued run do, whose share is a quotient.
    """
    return round(round(share * num_steps, 6))


def _numpy(value: Any) -> Any:
    """The module that computes with `value`: `jax.numpy` or `numpy`."""
    return jnp if isinstance(value, jax.Array) else np


def make(
    name: str,
    learning_rate: ArrayLike,
    num_warm_up_steps: ArrayLike,
    num_steps: ArrayLike | None = None,
) -> optax.Schedule:
    """Returns the schedule `name`, a key of `DECAYS`, over `num_steps` planned steps.

    After the warm-up of n steps, the share of the rate at step k (from 0) is r = (N − k) /
    (N − n) if linear, (1 − cos πr)/2 if cosine. The rate is 0 from step N on, so that the
    last planned step, N − 1, still moves. Only "constant" ignores `num_steps`. All numbers
    may be traced.

    Source: the schedules of Hugging Face Transformers, `get_linear_schedule_with_warmup`
    and `get_cosine_schedule_with_warmup`, but for the first step of the warm-up.

    Raises:
      ValueError: an unknown `name`, or a decay without `num_steps`.
    """
    if name not in DECAYS:
        raise ValueError(f"`name` must be one of {', '.join(DECAYS)}; found {name!r}.")
    rising = warm_up(learning_rate, num_warm_up_steps)
    if name == "constant":
        return rising
    if num_steps is None:
        raise ValueError(f"`num_steps` must be given for the schedule {name!r}.")

    def rate(step: Any) -> Any:
        xp = _numpy(step)
        num_falling = xp.maximum(xp.subtract(num_steps, num_warm_up_steps), 1)
        remaining = xp.clip(xp.subtract(num_steps, step) / num_falling, 0, 1)
        return rising(step) * DECAYS[name](remaining)

    return rate
