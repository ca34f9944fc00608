"""Scale-invariant loss: L = Σ_t log ℓ_t.

Source: Hu et al. 2026 (MTRA), section 2 (SI); the logarithm makes the gradient
independent of a loss's scale.
"""

from typing import Any

import jax

from mtra_jax import objectives
from mtra_jax.methods import base, options


def make(model: base.Model, *, floor: float = 1e-2) -> base.Method:
    """The sum of the logarithms, continued linearly below `floor` as in MTRA.

    Raises:
      InputError: `floor` is not positive.
    """
    del model
    options.check_positive("floor", floor)

    def objective(
        params: Any, losses: jax.Array, present: jax.Array, state: Any, rng: jax.Array
    ) -> tuple[jax.Array, Any]:
        del params, rng
        return objectives.log_sum(losses, floor, present), state

    return base.Method(base.no_params, base.plain_losses, base.Weighted(objective))
