"""Uncertainty weighting: L = Σ_t exp(−s_t) ℓ_t + s_t/2, s_t the learned log-variance.

Source: Kendall et al. 2018, Eq. 7 and 10, by which ℓ_t of a regression counts half.
"""

import numpy as np

from mtra_jax import balancing
from mtra_jax.methods import balanced, contract
from mtra_jax.methods.model import Model


def make(model: Model) -> contract.Method:
    """Makes UW: exp(−s)·ℓ + s/2 for cross-entropy, exp(−s)·ℓ/2 + s/2 for squared error.

    The binary cross-entropy of a multi-label task has the factor of cross-entropy. The
    factors are the paper's; LibMTL takes 1/2 for both and starts at s = −0.5. Here
    s = log σ² starts at 0, see `balanced.make`. At the papers' rate of 5e-5 Adamax moves
    it by at most 5e-5 a step, so that the weights of a fine-tuned model stay near their
    start.
    """
    factors = np.where(model.space.has_cross_entropy, 1.0, 0.5)
    return balanced.make(model, balancing.uw(factors), learned="log_variance")
