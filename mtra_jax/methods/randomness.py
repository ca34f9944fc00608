"""The keys of a step -> dropout keys, and Gaussian noise equal on any number of devices."""

from typing import overload

import jax
import jax.numpy as jnp

from mtra_jax.methods import layout
from mtra_jax.types import Rngs


@overload
def dropout_keys(rngs: Rngs) -> tuple[jax.Array, jax.Array]: ...


@overload
def dropout_keys(
    rngs: Rngs | None,
) -> tuple[jax.Array, jax.Array] | tuple[None, None]: ...


def dropout_keys(
    rngs: Rngs | None,
) -> tuple[jax.Array, jax.Array] | tuple[None, None]:
    """Returns the dropout keys of encoder and heads; (None, None) in evaluation."""
    if rngs is None:
        return None, None
    encoder_rng, heads_rng = jax.random.split(rngs["dropout"])
    return encoder_rng, heads_rng


def reparameterize(
    mean: jax.Array, log_variance: jax.Array, rngs: Rngs | None, axis_name: str | None
) -> jax.Array:
    """Returns a draw from N(mean, exp(log_variance)) for each row; the mean in evaluation.

    `mean` and `log_variance`: [B, ...]. The noise of a row depends only on the row's place
    in the planned batch, so it is the same on any number of devices.
    """
    if rngs is None:
        return mean
    rng = rngs["method"]

    def draw(row: jax.Array) -> jax.Array:
        key = jax.random.fold_in(rng, row)
        return jax.random.normal(key, mean.shape[1:], mean.dtype)

    rows = layout.planned_places(mean.shape[0], axis_name)
    return mean + jnp.exp(0.5 * log_variance) * jax.vmap(draw)(rows)
