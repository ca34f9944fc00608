"""Projecting conflicting gradients: what points against another task is taken away.

Source: Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", Algorithm 1.
"""

from mtra_jax import balancing
from mtra_jax.methods import balanced, contract
from mtra_jax.methods.model import Model


def make(model: Model) -> contract.Method:
    """Makes PCGrad: Σ_t g_t', where g_t' is g_t less its projections on conflicting g_j.

    The gradients are those of the global batch with respect to the shared parameters.
    They are combined after the mean over the devices, because projection is not linear.
    All T are in memory at once. Each task is packed in separate rows, so all gradients
    take one forward and one backward pass. A head takes the gradient of its task's loss.
    The sampling is `joint`: with one task per step there is nothing to project.
    """
    return balanced.make(model, balancing.pcgrad())
