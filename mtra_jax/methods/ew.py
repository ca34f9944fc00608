"""Equal weighting: L = (1/T) Σ_t ℓ_t.

Source: the baseline of MTRA, section 2 (λ_t = 1/T); MT-DNN (Liu et al. 2019) is this
with a BERT encoder.
"""

from typing import Any

import jax
import jax.numpy as jnp

from mtra_jax.methods import base


def make(model: base.Model) -> base.Method:
    """Every task weighs 1/T, whether the step holds one task or all."""
    del model

    def objective(
        params: Any, losses: jax.Array, present: jax.Array, state: Any, rng: jax.Array
    ) -> tuple[jax.Array, Any]:
        del params, rng
        return jnp.sum(jnp.where(present, losses, 0)) / losses.shape[0], state

    return base.Method(
        init=lambda rng: {},
        losses=base.plain_losses,
        gradient=base.Weighted(objective),
    )
