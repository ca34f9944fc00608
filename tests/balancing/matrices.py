"""Gradients [T, D] of known structure, and the inputs of a balancer made of them."""

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax import balancing

_RNG = np.random.default_rng(0)
GRADIENTS = {
    "independent": _RNG.normal(size=(3, 7)),
    "eight": _RNG.normal(size=(8, 20)),
    "dependent": np.array([[1.0, 0.0, 2.0], [0.5, 1.0, 0.0], [1.5, 1.0, 2.0]]),
    "conflicting": np.array([[1.0, 0.0], [-1.0, 0.2]]),
    "uneven": _RNG.normal(size=(4, 9)) * np.array([[0.01], [1], [10], [100]]),
    "parallel": np.outer([1.0, 2.0, 3.0], [1.0, 1.0]),
    "single": _RNG.normal(size=(1, 5)),
}


def inputs_of(gradients, losses=None, seed=0, present=None, dtype=np.float64):
    """The `Inputs` of a step with these gradients; all losses are 1 by default."""
    gradients = np.asarray(gradients, dtype)
    count = len(gradients)
    losses = np.ones(count) if losses is None else losses
    present = np.ones(count, bool) if present is None else np.asarray(present)
    return balancing.Inputs(
        jnp.asarray(losses, dtype),
        jnp.asarray(present),
        jax.random.key(seed),
        jnp.asarray(gradients @ gradients.T),
        {"w": jnp.asarray(gradients)},
    )


def combine(balancer, inputs, state):
    """The result of the balancer's `combine`. Outside `jit` each loop compiles every time."""
    return jax.jit(balancer.combine)(inputs, state)


def direction(balancer, gradients, state=None, **options):
    """The gradient [D] that the balancer takes."""
    inputs = inputs_of(gradients, **options)
    if state is None:
        extra = ()
        if balancer.reads is balancing.Reads.GRADIENTS:
            extra = ({"w": gradients[0]},)
        state = balancer.init(len(gradients), *extra)
    result = combine(balancer, inputs, state).value
    if balancer.reads is balancing.Reads.GRADIENTS:
        return np.asarray(result["w"])
    return np.asarray(gradients).T @ np.asarray(result)
