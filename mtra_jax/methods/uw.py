"""Uncertainty weighting: L = Σ_t exp(−s_t) c_t ℓ_t + s_t/2, s_t the learned log-variance.

Source: Kendall et al. 2018, Eq. 7 and 10: c_t = 1 for cross-entropy, 1/2 for squared
error.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model, Space
from mtra_jax.types import Params


def make(model: Model) -> contract.Method:
    """Makes UW: exp(−s)·ℓ + s/2 for cross-entropy, exp(−s)·ℓ/2 + s/2 for squared error.

    The binary cross-entropy of a multi-label task has the factor of cross-entropy. The
    factors are the paper's; LibMTL takes 1/2 for both and starts at s = −0.5. Here
    s = log σ² starts at 0 and has the learning rate of all parameters. It does not change
    in steps without its task. At the papers' rate of 5e-5 Adamax moves it by at most 5e-5
    a step, so that the weights of a fine-tuned model stay near their start.
    """
    space = model.space

    def objective(
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, contract.State]:
        del rng
        terms = uncertain(losses, log_variances(params, space), space.has_cross_entropy)
        return task_losses.total(terms, present), state

    return contract.Method(
        lambda rng: {"tasks": init_log_variances(space)},
        task_losses.plain(model),
        contract.Weighted(objective),
    )


def init_log_variances(space: Space) -> Params:
    """Returns s = 0 for each task, as a parameter of that task."""
    return {name: {"log_variance": jnp.zeros(())} for name in space.names}


def log_variances(params: Params, space: Space) -> jax.Array:
    """Returns s [T] from `params["method"]`."""
    return jnp.stack([params["tasks"][name]["log_variance"] for name in space.names])


def uncertain(
    losses: jax.Array, log_variance: jax.Array, has_cross_entropy: np.ndarray
) -> jax.Array:
    """Returns the losses [T] weighted by their uncertainties exp(`log_variance`) [T]."""
    factors = jnp.where(jnp.asarray(has_cross_entropy), 1.0, 0.5)
    return factors * jnp.exp(-log_variance) * losses + log_variance / 2
