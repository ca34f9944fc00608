"""Impartial loss scaling: L = Σ_t exp(s_t) ℓ_t − s_t, s_t learned.

Source: Liu et al. 2021, "Towards Impartial Multi-task Learning", section 3.2 (IMTL-L,
with base e).
"""

import jax
import jax.numpy as jnp

from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.types import Params


def make(model: Model) -> contract.Method:
    """Makes IMTL-L. At the optimum of s, exp(s)·ℓ = 1 for every task.

    s starts at 0 and has the learning rate of all parameters. It does not change in steps
    without its task. At the papers' rate of 5e-5 Adamax moves it by at most 5e-5 a step, so
    that the weights of a fine-tuned model stay near 1.
    """
    names = model.space.names

    def init(rng: jax.Array) -> Params:
        del rng
        return {"tasks": {name: {"log_scale": jnp.zeros(())} for name in names}}

    def objective(
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, contract.State]:
        del rng
        scales = jnp.stack([params["tasks"][name]["log_scale"] for name in names])
        return task_losses.total(jnp.exp(scales) * losses - scales, present), state

    return contract.Method(init, task_losses.plain(model), contract.Weighted(objective))
