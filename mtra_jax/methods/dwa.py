"""Dynamic weight average: L = Σ_t λ_t ℓ_t, λ from how fast the tasks' losses fell.

Source: Liu et al. 2019, "End-to-End Multi-Task Learning with Attention", Eq. 7:
λ = T softmax(w / temperature), w_t the ratio of the mean losses of the last two epochs.
"""

from mtra_jax import balancing
from mtra_jax.methods import balanced, contract, options
from mtra_jax.methods.model import Model


def make(model: Model, *, temperature: float = 2.0) -> contract.Method:
    """Makes DWA. The weights sum to T; in the first two epochs all are 1, as in the paper.

    The compiled step starts new averages every `model.space.steps_per_epoch` steps. The
    averages are part of the checkpoint. A step that is skipped, because it is not finite,
    does not count: the epochs of the weights then begin a step later than those of the run.

    Raises:
      InputError: `temperature` is not positive.
    """
    options.check_positive("temperature", temperature)
    steps_per_epoch = model.space.steps_per_epoch
    return balanced.make(model, balancing.dwa(steps_per_epoch, temperature))
