"""Projecting conflicting gradients: what points against another task is taken away.

Source: Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", Algorithm 1.
"""

import jax
import jax.numpy as jnp

from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model


def make(model: Model) -> contract.Method:
    """Makes PCGrad: Σ_t g_t', where g_t' is g_t less its projections on conflicting g_j.

    The gradients are those of the global batch with respect to the shared parameters.
    They are combined after the mean over the devices, because projection is not linear.
    All T are in memory at once. Each task is packed in separate rows, so all gradients
    take one forward and one backward pass. A head takes the gradient of its task's loss.
    The sampling is `joint`: with one task per step there is nothing to project.
    """

    def combine(
        gram: jax.Array, present: jax.Array, state: contract.State, rng: jax.Array
    ) -> tuple[jax.Array, contract.State]:
        num_tasks = gram.shape[0]
        keys = jax.random.split(rng, num_tasks)
        orders = jax.vmap(lambda key: jax.random.permutation(key, num_tasks))(keys)
        projected = project(gram, orders)
        return jnp.sum(jnp.where(present[:, None], projected, 0), axis=0), state

    return contract.Method(
        contract.no_params, task_losses.plain(model), contract.Combined(combine)
    )


def project(gram: jax.Array, orders: jax.Array) -> jax.Array:
    """Returns the coefficients [T, T] of the projected gradients: g_i' = Σ_j c_ij g_j.

    `gram` [T, T] holds g_i · g_j. `orders`: int [T, T]; row i is the order in which g_i is
    projected on the others (g_i itself is skipped). The inner products of g_i' follow
    from those of the g_j, so the projections need only `gram`, not the gradients.
    """
    num_tasks = gram.shape[0]

    def one(task: jax.Array, order: jax.Array) -> jax.Array:
        def meet(place: jax.Array, coefficients: jax.Array) -> jax.Array:
            other = order[place]
            dot = coefficients @ gram[:, other]
            square = gram[other, other]
            # The square of a tiny gradient may round to 0.
            is_conflict = (other != task) & (dot < 0) & (square > 0)
            square = jnp.where(is_conflict, square, 1)
            share = jnp.where(is_conflict, dot / square, 0)
            return coefficients.at[other].add(-share)

        start = jax.nn.one_hot(task, num_tasks, dtype=gram.dtype)
        return jax.lax.fori_loop(0, num_tasks, meet, start)

    return jax.vmap(one)(jnp.arange(num_tasks), orders)
