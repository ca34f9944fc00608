"""Task weighting: L = Σ_t λ_t ℓ_t, λ_t the task's share of all training examples.

Source: Hu et al. 2026 (MTRA), appendix B.2 (TW: "the ratio of task examples").
"""

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.types import Params


def make(model: Model) -> contract.Method:
    """Makes TW: λ_t = N_t / Σ N. The weights of all tasks sum to 1, like EW's.

    With `per_task` sampling the number of a task's batches is proportional to N_t too, so
    that a task counts with N_t². With `joint` sampling it counts with N_t.
    """
    counts = np.asarray(model.space.num_examples, np.float32)
    shares = counts / max(counts.sum(), 1)

    def objective(
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, contract.State]:
        del params, rng
        return task_losses.total(jnp.asarray(shares) * losses, present), state

    return contract.Method(
        contract.no_params, task_losses.plain(model), contract.Weighted(objective)
    )
