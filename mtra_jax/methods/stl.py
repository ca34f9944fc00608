"""Single-task learning: a model of its own for each task.

Source: Hu et al. 2026 (MTRA), Table 3 (STL: "single-task learning with a cross-entropy loss").
"""

from typing import Any

import jax

from mtra_jax.methods import base


def make(model: base.Model) -> base.Method:
    """The task's own loss; the registry has each task trained in a run of its own."""
    del model

    def objective(
        params: Any, losses: jax.Array, present: jax.Array, state: Any, rng: jax.Array
    ) -> tuple[jax.Array, Any]:
        del params, rng
        return base.sum_present(losses, present), state

    return base.Method(base.no_params, base.plain_losses, base.Weighted(objective))
