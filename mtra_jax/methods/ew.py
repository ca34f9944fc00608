"""Equal weighting: L = (1/T) Σ_t ℓ_t.

Source: Hu et al. 2026 (MTRA), section 2, λ_t = 1/T; MT-DNN (Liu et al. 2019) is this
with a BERT encoder.
"""

from typing import Any

import jax

from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model


def make(model: Model) -> contract.Method:
    """Every task weighs 1/T, whether the step holds one task or all."""

    def objective(
        params: Any, losses: jax.Array, present: jax.Array, state: Any, rng: jax.Array
    ) -> tuple[jax.Array, Any]:
        del params, rng
        return task_losses.total(losses, present) / losses.shape[0], state

    return contract.Method(
        contract.no_params, task_losses.plain(model), contract.Weighted(objective)
    )
