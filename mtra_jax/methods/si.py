"""Scale-invariant loss: L = Σ_t log ℓ_t.

Source: Hu et al. 2026 (MTRA), section 2 (SI); the logarithm makes the gradient
independent of a loss's scale.
"""

import jax

from mtra_jax import objectives
from mtra_jax.methods import contract, options, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.types import Params


def make(model: Model, *, floor: float = 1e-2) -> contract.Method:
    """Makes SI. Below `floor` the logarithm is continued by its tangent, as in MTRA.

    Raises:
      InputError: `floor` is not positive.
    """
    options.check_positive("floor", floor)

    def objective(
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, contract.State]:
        del params, rng
        return objectives.log_sum(losses, floor, present), state

    return contract.Method(
        contract.no_params,
        task_losses.plain(model),
        contract.Weighted(objective, floor=floor),
    )
