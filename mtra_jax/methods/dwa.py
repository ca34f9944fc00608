"""Dynamic weight average: L = Σ_t λ_t ℓ_t, λ from how fast the tasks' losses fell.

Source: Liu et al. 2019, "End-to-End Multi-Task Learning with Attention", Eq. 7:
λ = T softmax(w / temperature), w_t the ratio of the mean losses of the last two epochs.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax.methods import contract, options, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.types import Array, Params


class Averages(NamedTuple):
    """The state of DWA; arrays are [T], `steps` is a scalar."""

    total: Array
    """Sum of the losses in this epoch so far."""
    count: Any  # an array; `tuple` has a method of this name with another type
    """Steps of this epoch with the task."""
    last: Array
    """Mean loss of the last complete epoch; 0 in the first."""
    second_last: Array
    """Mean loss of the epoch before `last`; 0 in the first two."""
    steps: Array
    """Steps since the start of training."""


def make(model: Model, *, temperature: float = 2.0) -> contract.Method:
    """Makes DWA. The weights sum to T; in the first two epochs all are 1, as in the paper.

    The compiled step starts new averages every `model.space.steps_per_epoch` steps. The
    averages are part of the checkpoint.

    Raises:
      InputError: `temperature` is not positive.
    """
    options.check_positive("temperature", temperature)
    steps_per_epoch = model.space.steps_per_epoch
    zeros = np.zeros(model.space.num_tasks, np.float32)

    def objective(
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: Averages,
        rng: jax.Array,
    ) -> tuple[jax.Array, Averages]:
        del params, rng
        is_first = state.steps % steps_per_epoch == 0
        state = jax.tree.map(
            lambda rolled, old: jnp.where(is_first, rolled, old), roll(state), state
        )
        weights = weigh(state.last, state.second_last, temperature)
        addend = jax.lax.stop_gradient(jnp.where(present, losses, 0))
        addend = addend.astype(jnp.float32)
        state = state._replace(
            total=state.total + addend,
            count=state.count + present,
            steps=state.steps + 1,
        )
        return task_losses.total(weights * losses, present), state

    return contract.Method(
        contract.no_params,
        task_losses.plain(model),
        contract.Weighted(objective),
        Averages(zeros, zeros, zeros, zeros, np.zeros((), np.int32)),
    )


def roll(state: Averages) -> Averages:
    """Returns the averages at the start of the next epoch."""
    mean = state.total / jnp.maximum(state.count, 1)
    empty = jnp.zeros_like(mean)
    return Averages(empty, empty, mean, state.last, state.steps)


def weigh(last: Array, second_last: Array, temperature: float) -> jax.Array:
    """Returns λ [T] from the mean losses of two epochs; a missing ratio counts as 1."""
    has_both = (last > 0) & (second_last > 0)
    ratios = jnp.where(has_both, last / jnp.where(has_both, second_last, 1), 1)
    return last.shape[0] * jax.nn.softmax(ratios / temperature)
