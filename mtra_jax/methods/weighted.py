"""Hard parameter sharing with weighted losses, for the methods of the papers.

These need more than a balancer and its options, which a row of the registry has: the
tasks, the name of learned numbers, the floor of a logarithm, or other batches.
"""

import math
from collections.abc import Sequence

import numpy as np

from mtra_jax import balancing
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.methods import balanced, contract
from mtra_jax.methods.model import Model


def ew(model: Model, *, reduction: str = "mean", weights: str = "") -> contract.Method:
    """Equal weighting: L = (1/T) Σ_t ℓ_t.

    The weight is 1/T, however many of the T tasks a step holds.

    `reduction="sum"` has the weight 1 in place of 1/T. Adamax does not see the scale of
    the loss, but clipping does: a gradient of the mean is seldom as long as `clip_norm`,
    while those of SI and MTRA, which have the sum of logarithms, are clipped. The paper
    states 1/T; code that adds up the losses of one-task batches trains on the sum.

    `weights`: constants of your own, such as "reviews=2,stars=0.5", by which the losses of
    these tasks are multiplied, those of the others by 1.

    Source: Hu et al. 2026 (MTRA), section 2, λ_t = 1/T. With a BERT encoder it is MT-DNN
    (Liu et al. 2019).

    Raises:
      OptionError: `reduction` is not mean or sum.
      InputError: `weights` has an unknown task, or a number that is negative or not
        finite.
    """
    factors = weights_of(weights, model.space.names) if weights else None
    return balanced.make(model, balancing.ew(reduction, factors))


def si(model: Model, *, floor: float = 1e-2) -> contract.Method:
    """Scale-invariant loss: L = Σ_t log ℓ_t.

    Below `floor` the logarithm is continued by its tangent, as in MTRA; steps log which
    losses lie there.

    Source: Hu et al. 2026 (MTRA), appendix B.2 (SI), which is Eq. 3 with β = 0. The
    logarithm makes the gradient independent of a loss's scale.

    Raises:
      OptionError: `floor` is not positive.
    """
    return balanced.make(model, balancing.si(floor))._replace(floor=floor)


def tw(model: Model) -> contract.Method:
    """Task weighting: L = Σ_t λ_t ℓ_t, λ_t the task's share of all training examples.

    λ_t = N_t / Σ N: the weights of all tasks sum to 1, like EW's. With `per_task` sampling
    the number of a task's batches is proportional to N_t too, so that a task counts with
    N_t². With `joint` sampling it counts with N_t.

    Source: Hu et al. 2026 (MTRA), appendix B.2 (TW: "the ratio of task examples").
    """
    counts = model.space.num_examples
    # A finished run is read without examples, and is not trained.
    return balanced.make(
        model, balancing.tw(counts if any(counts) else (1,) * len(counts))
    )


def uw(model: Model) -> contract.Method:
    """Uncertainty weighting: L = Σ_t exp(−s_t) ℓ_t + s_t/2, s_t the learned log-variance.

    The term of a task is exp(−s)·ℓ + s/2 for cross-entropy, exp(−s)·ℓ/2 + s/2 for squared
    error. The binary cross-entropy of a multi-label task has the factor of cross-entropy.
    The factors are the paper's; LibMTL takes 1/2 for both and starts at s = −0.5. Here s =
    log σ² starts at 0, see `balanced.make`. At the papers' rate of 5e-5 Adamax moves it by
    at most 5e-5 a step, so that the weights of a fine-tuned model stay near their start.

    Source: Kendall et al. 2018, Eq. 7 and 10, by which ℓ_t of a regression counts half.
    """
    factors = np.where(model.space.has_cross_entropy, 1.0, 0.5)
    return balanced.make(model, balancing.uw(factors), learned="log_variance")


def imtl_l(model: Model) -> contract.Method:
    """Impartial loss scaling: L = Σ_t exp(s_t) ℓ_t − s_t, s_t learned.

    At the optimum of s, exp(s)·ℓ = 1 for every task. s starts at 0, see `balanced.make`.
    At the papers' rate of 5e-5 Adamax moves it by at most 5e-5 a step, so that the weights
    of a fine-tuned model stay near 1.

    Source: Liu et al. 2021, "Towards Impartial Multi-task Learning", section 3.2 (IMTL-L,
    with base e).
    """
    return balanced.make(model, balancing.imtl_l(), learned="log_scale")


def dwa(model: Model, *, temperature: float = 2.0) -> contract.Method:
    """Dynamic weight average: L = Σ_t λ_t ℓ_t, λ from how fast the tasks' losses fell.

    λ = T softmax(w / temperature), w_t the ratio of the mean losses of the last two
    epochs. The weights sum to T; in the first two epochs all are 1, as in the paper. The
    compiled step starts new averages every `model.space.steps_per_epoch` steps. The
    averages are part of the checkpoint. A step that is skipped, because it is not finite,
    does not count: the epochs of the weights then begin a step later than those of the run.

    Source: Liu et al. 2019, "End-to-End Multi-Task Learning with Attention", Eq. 7.

    Raises:
      OptionError: `temperature` is not positive.
    """
    steps_per_epoch = model.space.steps_per_epoch
    return balanced.make(model, balancing.dwa(steps_per_epoch, temperature))


def stl(model: Model) -> contract.Method:
    """Single-task learning: a separate model for each task.

    The objective is the loss of the one task. Each task is trained in a separate run.

    Source: Hu et al. 2026 (MTRA), Table 3 (STL: "single-task learning with a cross-entropy
    loss").
    """
    return balanced.make(model, balancing.ew("sum"))


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
