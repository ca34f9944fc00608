"""Random loss weighting: L = Σ_t λ_t ℓ_t, λ the softmax of normal draws of each step.

Source: Lin et al. 2022, "Reasonable Effectiveness of Random Weighting", Algorithm 2
(RLW), with the normal distribution.
"""

from mtra_jax import balancing
from mtra_jax.methods import balanced, contract
from mtra_jax.methods.model import Model


def make(model: Model) -> contract.Method:
    """Makes RLW: λ = softmax(ξ) with a new ξ ~ N(0, I) in each step.

    The weights sum to 1 over all tasks, as in the paper (LibMTL's weights sum to T).
    """
    return balanced.make(model, balancing.rlw())
