"""A balancer of `balancing` -> hard parameter sharing that trains with it."""

import jax
import jax.numpy as jnp

from mtra_jax import balancing
from mtra_jax.balancing import Balancer, Inputs, Reads, State
from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.types import Params


def make(model: Model, balancer: Balancer, learned: str = "") -> contract.Method:
    """Makes hard parameter sharing with `balancer`.

    `learned`: the name of the numbers [T] that the balancer learns. Each task owns its
    number as the parameter `tasks/TASK/learned`: it has the learning rate of all
    parameters, and does not change in steps without its task.
    """
    names = model.space.names
    start = balancer.init(len(names))

    def init(rng: jax.Array) -> Params:
        del rng
        if not learned:
            return {}
        values = zip(names, start.learned, strict=True)
        return {"tasks": {name: {learned: value} for name, value in values}}

    def state_of(params: Params, memory: contract.State) -> State:
        if not learned:
            return State(memory=memory)
        own = [params["tasks"][name][learned] for name in names]
        return State(jnp.stack(own), memory)

    def objective(
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, contract.State]:
        inputs = Inputs(losses, present, rng)
        result = balancer.combine(inputs, state_of(params, state))
        return result.value, result.memory

    is_gramian = balancer.reads is Reads.GRAMIAN
    gradient: contract.Combined | contract.Weighted = contract.Weighted(objective)
    if is_gramian:
        gradient = contract.Combined(combine(balancer))
    return contract.Method(init, task_losses.plain(model), gradient, start.memory)


def combine(balancer: Balancer) -> contract.Combine:
    """The weights of a balancer that reads the Gramian and learns no numbers."""

    def weigh(
        gram: jax.Array,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, contract.State]:
        inputs = balancing.Inputs(losses, present, rng, gram)
        result = balancer.combine(inputs, State(memory=state))
        return result.value, result.memory

    return weigh
