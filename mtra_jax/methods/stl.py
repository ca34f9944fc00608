"""Single-task learning: a separate model for each task.

Source: Hu et al. 2026 (MTRA), Table 3 (STL: "single-task learning with a cross-entropy
loss").
"""

from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model


def make(model: Model) -> contract.Method:
    """Makes STL: the loss of the one task. Each task is trained in a separate run."""
    return contract.Method(
        contract.no_params,
        task_losses.plain(model),
        contract.Weighted(task_losses.unweighted),
    )
