"""Equal weighting: L = (1/T) Σ_t ℓ_t.

Source: Hu et al. 2026 (MTRA), section 2, λ_t = 1/T. With a BERT encoder it is MT-DNN
(Liu et al. 2019).
"""

from mtra_jax import balancing
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.methods import balanced, contract
from mtra_jax.methods.model import Model

REDUCTIONS = ("mean", "sum")


def make(model: Model, *, reduction: str = "mean") -> contract.Method:
    """Makes EW. The weight is 1/T, however many of the T tasks a step holds.

    `reduction="sum"` has the weight 1 in place of 1/T. Adamax does not see the scale of
    the loss, but clipping does: a gradient of the mean is seldom as long as `clip_norm`,
    while those of SI and MTRA, which have the sum of logarithms, are clipped. The paper
    states 1/T; code that adds up the losses of one-task batches trains on the sum.

    Raises:
      InputError: `reduction` is not one of `REDUCTIONS`.
    """
    if reduction not in REDUCTIONS:
        raise InputError(
            f"method.reduction is {reduction!r}; {did_you_mean(reduction, REDUCTIONS)}"
        )
    return balanced.make(model, balancing.ew(reduction))
