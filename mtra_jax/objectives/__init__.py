"""Arrays -> losses, the critic and its bounds, the aligned gradient of MTRA.

Pure functions that import nothing else of this package. All work under `jit`, `grad` and
`vmap`, and inside `pmap`: with `axis_name` every mean, bound and norm is over the global
batch. To get the gradient of a global value, differentiate on each device and average the
gradients over the axis (`jax.lax.pmean`).
"""

from mtra_jax.objectives.aligned import (
    Aligned,
    aligned_tasks_value_and_grad,
    aligned_value_and_grad,
)
from mtra_jax.objectives.balance import floored_log, log_sum
from mtra_jax.objectives.bounds import (
    capped_bound,
    dv_bound,
    gaussian_kl,
    gaussian_kl_terms,
    info_nce,
    info_nce_bound,
    jsd_bound,
    smile_bound,
)
from mtra_jax.objectives.critic import critic_scores, init_critic
from mtra_jax.objectives.masked import log_mean_exp, masked_mean, masked_ratio
from mtra_jax.objectives.perturbation import fgm_perturbation
from mtra_jax.objectives.pull import pull_share
from mtra_jax.objectives.task_losses import (
    binary_cross_entropy,
    binary_cross_entropy_terms,
    cross_entropy,
    cross_entropy_terms,
    mean_squared_error,
    squared_error_terms,
)
from mtra_jax.objectives.trees import mean_over

__all__ = [
    "Aligned",
    "aligned_tasks_value_and_grad",
    "aligned_value_and_grad",
    "binary_cross_entropy",
    "binary_cross_entropy_terms",
    "capped_bound",
    "critic_scores",
    "cross_entropy",
    "cross_entropy_terms",
    "dv_bound",
    "fgm_perturbation",
    "floored_log",
    "gaussian_kl",
    "gaussian_kl_terms",
    "info_nce",
    "info_nce_bound",
    "init_critic",
    "jsd_bound",
    "log_mean_exp",
    "log_sum",
    "masked_mean",
    "masked_ratio",
    "mean_over",
    "mean_squared_error",
    "pull_share",
    "smile_bound",
    "squared_error_terms",
]
