"""Geometric loss strategy: L = (Π_t ℓ_t)^(1/T).

Source: Chennupati et al. 2019, "MultiNet++", Eq. 2.
"""

from mtra_jax import balancing
from mtra_jax.methods import balanced, contract
from mtra_jax.methods.model import Model


def make(model: Model) -> contract.Method:
    """Makes GLS: the geometric mean of the losses of a step's tasks.

    Losses must be positive, as cross-entropies and squared errors are. If a step holds one
    task, the objective is that task's loss.
    """
    return balanced.make(model, balancing.gls())
