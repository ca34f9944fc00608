"""Scale-invariant loss: L = Σ_t log ℓ_t.

Source: Hu et al. 2026 (MTRA), appendix B.2 (SI), which is Eq. 3 with β = 0. The logarithm
makes the gradient independent of a loss's scale.
"""

from mtra_jax.methods import contract, options, task_losses
from mtra_jax.methods.model import Model


def make(model: Model, *, floor: float = 1e-2) -> contract.Method:
    """Makes SI. Below `floor` the logarithm is continued by its tangent, as in MTRA.

    Raises:
      InputError: `floor` is not positive.
    """
    options.check_positive("floor", floor)
    return contract.Method(
        contract.no_params, task_losses.plain(model), task_losses.log_sum(floor)
    )
