"""Geometric loss strategy: L = (Π_t ℓ_t)^(1/T).

Source: Chennupati et al. 2019, "MultiNet++", Eq. 2.
"""

import jax
import jax.numpy as jnp

from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.types import Params


def make(model: Model) -> contract.Method:
    """Makes GLS: the geometric mean of the losses of a step's tasks.

    It is computed from logarithms, because the product of many small losses leaves the
    range of float32. Losses must be positive, as cross-entropies and squared errors are.
    If a step holds one task, the objective is that task's loss.
    """

    def objective(
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, contract.State]:
        del params, rng
        tiny = jnp.finfo(losses.dtype).tiny
        logs = jnp.log(jnp.maximum(jnp.where(present, losses, 1), tiny))
        return jnp.exp(jnp.sum(logs) / jnp.maximum(jnp.sum(present), 1)), state

    return contract.Method(
        contract.no_params, task_losses.plain(model), contract.Weighted(objective)
    )
