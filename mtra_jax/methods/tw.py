"""Task weighting: L = Σ_t λ_t ℓ_t, λ_t the task's share of all training examples.

Source: Hu et al. 2026 (MTRA), appendix B.2 (TW: "the ratio of task examples").
"""

from mtra_jax import balancing
from mtra_jax.methods import balanced, contract
from mtra_jax.methods.model import Model


def make(model: Model) -> contract.Method:
    """Makes TW: λ_t = N_t / Σ N. The weights of all tasks sum to 1, like EW's.

    With `per_task` sampling the number of a task's batches is proportional to N_t too, so
    that a task counts with N_t². With `joint` sampling it counts with N_t.
    """
    counts = model.space.num_examples
    # A finished run is read without examples, and is not trained.
    return balanced.make(
        model, balancing.tw(counts if any(counts) else (1,) * len(counts))
    )
