"""Random loss weighting: L = Σ_t λ_t ℓ_t, λ the softmax of normal draws of each step.

Source: Lin et al. 2022, "Reasonable Effectiveness of Random Weighting", section 3 (RLW
with the normal distribution).
"""

from typing import Any

import jax
import jax.numpy as jnp

from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model


def make(model: Model) -> contract.Method:
    """Makes RLW: λ = softmax(ξ) with a new ξ ~ N(0, I) in each step.

    The weights sum to 1 over all tasks, as in the paper (LibMTL's weights sum to T).
    """

    def objective(
        params: Any, losses: jax.Array, present: jax.Array, state: Any, rng: jax.Array
    ) -> tuple[jax.Array, Any]:
        del params
        weights = jax.nn.softmax(jax.random.normal(rng, losses.shape, jnp.float32))
        return task_losses.total(weights * losses, present), state

    return contract.Method(
        contract.no_params, task_losses.plain(model), contract.Weighted(objective)
    )
