"""Equal weighting: L = (1/T) Σ_t ℓ_t.

Source: Hu et al. 2026 (MTRA), section 2, λ_t = 1/T. With a BERT encoder it is MT-DNN
(Liu et al. 2019).
"""

import math
from collections.abc import Sequence

from mtra_jax import balancing
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.methods import balanced, contract
from mtra_jax.methods.model import Model

REDUCTIONS = ("mean", "sum")


def make(
    model: Model, *, reduction: str = "mean", weights: str = ""
) -> contract.Method:
    """Makes EW. The weight is 1/T, however many of the T tasks a step holds.

    `reduction="sum"` has the weight 1 in place of 1/T. Adamax does not see the scale of
    the loss, but clipping does: a gradient of the mean is seldom as long as `clip_norm`,
    while those of SI and MTRA, which have the sum of logarithms, are clipped. The paper
    states 1/T; code that adds up the losses of one-task batches trains on the sum.

    `weights`: constants of your own, such as "reviews=2,stars=0.5", by which the losses of
    these tasks are multiplied, those of the others by 1.

    Raises:
      InputError: `reduction` is not one of `REDUCTIONS`, or `weights` has an unknown task,
        or a number that is negative or not finite.
    """
    if reduction not in REDUCTIONS:
        raise InputError(
            f"method.reduction is {reduction!r}; {did_you_mean(reduction, REDUCTIONS)}"
        )
    factors = weights_of(weights, model.space.names) if weights else None
    return balanced.make(model, balancing.ew(reduction, factors))


def weights_of(text: str, tasks: Sequence[str]) -> list[float]:
    """The weight of each of `tasks`, 1 for those that `text` does not name.

    Raises:
      InputError: `text` is not NAME=NUMBER,…, or has an unknown task, or one twice, or a
        number that is negative or not finite.

    >>> weights_of("stars=0.5", ["reviews", "stars"])
    [1.0, 0.5]
    """
    pairs = [part.partition("=") for part in text.split(",")]
    given = {name.strip(): _number(value) for name, _, value in pairs}
    for name in given:
        if name not in tasks:
            raise InputError(
                f"method.weights: task {name!r}; {did_you_mean(name, tasks)}"
            )
    is_once = len(given) == len(pairs)
    if not is_once or not all(0 <= weight < math.inf for weight in given.values()):
        raise InputError(
            f"method.weights is {text!r}; expected a number of 0 or more for each task, "
            f"once, as in {tasks[0]}=2"
        )
    return [given.get(name, 1.0) for name in tasks]


def _number(text: str) -> float:
    """`text` as a number; NaN, which is in no range, if it is not one."""
    try:
        return float(text)
    except ValueError:
        return math.nan
