"""Impartial loss scaling: L = Σ_t exp(s_t) ℓ_t − s_t, s_t learned.

Source: Liu et al. 2021, "Towards Impartial Multi-task Learning", section 3.2 (IMTL-L,
with base e).
"""

from mtra_jax import balancing
from mtra_jax.methods import balanced, contract
from mtra_jax.methods.model import Model


def make(model: Model) -> contract.Method:
    """Makes IMTL-L. At the optimum of s, exp(s)·ℓ = 1 for every task.

    s starts at 0, see `balanced.make`. At the papers' rate of 5e-5 Adamax moves it by at
    most 5e-5 a step, so that the weights of a fine-tuned model stay near 1.
    """
    return balanced.make(model, balancing.imtl_l(), learned="log_scale")
