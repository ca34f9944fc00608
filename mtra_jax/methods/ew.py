"""Equal weighting: L = (1/T) Σ_t ℓ_t.

Source: Hu et al. 2026 (MTRA), section 2, λ_t = 1/T; MT-DNN (Liu et al. 2019) is this
with a BERT encoder.
"""

from typing import Any

import jax

from mtra_jax.methods import base


def make(model: base.Model) -> base.Method:
    """Every task weighs 1/T, whether the step holds one task or all."""
    del model

    def objective(
        params: Any, losses: jax.Array, present: jax.Array, state: Any, rng: jax.Array
    ) -> tuple[jax.Array, Any]:
        del params, rng
        return base.sum_present(losses, present) / losses.shape[0], state

    return base.Method(base.no_params, base.plain_losses, base.Weighted(objective))
