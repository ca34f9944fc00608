"""Equal weighting: L = (1/T) Σ_t ℓ_t.

Source: Hu et al. 2026 (MTRA), section 2, λ_t = 1/T. With a BERT encoder it is MT-DNN
(Liu et al. 2019).
"""

import jax

from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.types import Params


def make(model: Model) -> contract.Method:
    """Makes EW. The weight is 1/T, however many of the T tasks a step holds."""

    def objective(
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, contract.State]:
        del params, rng
        return task_losses.total(losses, present) / losses.shape[0], state

    return contract.Method(
        contract.no_params, task_losses.plain(model), contract.Weighted(objective)
    )
