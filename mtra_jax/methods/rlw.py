"""Random loss weighting: L = Σ_t λ_t ℓ_t, λ the softmax of normal draws of each step.

Source: Lin et al. 2022, "Reasonable Effectiveness of Random Weighting", section 3 (RLW
with the normal distribution).
"""

import jax
import jax.numpy as jnp

from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.types import Params


def make(model: Model) -> contract.Method:
    """Makes RLW: λ = softmax(ξ) with a new ξ ~ N(0, I) in each step.

    The weights sum to 1 over all tasks, as in the paper (LibMTL's weights sum to T).
    """

    def objective(
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, contract.State]:
        del params
        weights = jax.nn.softmax(jax.random.normal(rng, losses.shape, jnp.float32))
        return task_losses.total(weights * losses, present), state

    return contract.Method(
        contract.no_params, task_losses.plain(model), contract.Weighted(objective)
    )
