"""A balancer of `balancing` -> hard parameter sharing that trains with it."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mtra_jax.balancing import Balancer, Inputs, Reads, State, rows
from mtra_jax.balancing.checks import OptionError
from mtra_jax.errors import InputError
from mtra_jax.methods import contract, task_losses
from mtra_jax.methods import options as checks
from mtra_jax.methods.model import Model
from mtra_jax.types import Params


class Rates(NamedTuple):
    """Adam that moves the numbers that a balancer learns, with its usual betas.

    `decay` times the numbers is added to their gradient. The rate has no warm-up.
    """

    rate: float | jax.Array
    decay: float | jax.Array = 0.0


class Learning(NamedTuple):
    """The state of a balancer whose numbers Adam moves."""

    learned: Any
    memory: Any
    moments: Any


def make(
    model: Model, balancer: Balancer, learned: str = "", rates: Rates | None = None
) -> contract.Method:
    """Makes hard parameter sharing with `balancer`.

    `learned`: the name of the numbers [T] that the balancer learns. Each task owns its
    number as the parameter `tasks/TASK/learned`: it has the learning rate of all
    parameters, and does not change in steps without its task. With `rates` the numbers
    are in the method's state, and Adam moves them in every step.
    """
    names = model.space.names
    losses = task_losses.plain(model)
    if balancer.reads is Reads.GRADIENTS:
        return contract.Method(
            contract.no_params,
            losses,
            contract.MergedGradients(_merge(balancer)),
            state_like=lambda leaves: balancer.init(len(names), leaves).memory,
        )
    start = balancer.init(len(names))
    if rates is not None:
        balancer = _learning(balancer, rates)
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
        result = rows.combined(balancer, inputs, state_of(params, state))
        return result.value, result.memory

    is_gramian = balancer.reads is Reads.GRAMIAN
    rule: contract.WeightedGradients | contract.Weighted = contract.Weighted(objective)
    if is_gramian:
        rule = contract.WeightedGradients(combine(balancer))
    return contract.Method(init, losses, rule, start.memory)


def combine(balancer: Balancer) -> contract.Combine:
    """The weights of a balancer that reads the Gramian and learns no numbers."""

    def weigh(
        gram: jax.Array,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, jax.Array, contract.State]:
        inputs = Inputs(losses, present, rng, gram)
        result = rows.combined(balancer, inputs, State(memory=state))
        own_weights = result.own_weights
        if own_weights is None:
            own_weights = present.astype(gram.dtype)
        return result.value, own_weights, result.memory

    return weigh


def _merge(balancer: Balancer) -> contract.Merge:
    def merge(
        gradients: list[jax.Array],
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[list[jax.Array], contract.State]:
        inputs = Inputs(losses, present, rng, gradients=gradients)
        result = rows.combined(balancer, inputs, State(memory=state))
        return result.value, result.memory

    return merge


def _learning(balancer: Balancer, rates: Rates) -> Balancer:
    """The balancer that moves the learned numbers of `balancer` itself, in its memory."""
    optimise = optax.chain(
        optax.add_decayed_weights(rates.decay), optax.adam(rates.rate)
    )
    is_of_losses = balancer.reads is Reads.LOSSES

    def init(count: int) -> State:
        start = balancer.init(count)
        moments = optimise.init(start.learned)
        return State(memory=Learning(start.learned, start.memory, moments))

    def combine(inputs: Inputs, state: State) -> Any:
        old: Learning = state.memory

        def penalty(learned: Any) -> tuple[jax.Array, Any]:
            result = rows.combined(balancer, inputs, State(learned, old.memory))
            scalar = result.value if is_of_losses else result.penalty
            return jnp.asarray(scalar), result

        gradient, result = jax.grad(penalty, has_aux=True)(old.learned)
        gradient = jax.lax.stop_gradient(gradient)
        updates, moments = optimise.update(gradient, old.moments, old.learned)
        learned = optax.apply_updates(old.learned, updates)
        return result._replace(memory=Learning(learned, result.memory, moments))

    return Balancer(init, combine, balancer.reads)


def factory(
    make_balancer: Callable[..., Balancer], rates: Rates | None = None
) -> contract.Factory:
    """The factory of hard parameter sharing with the balancer of `make_balancer`.

    Its options are the arguments of `make_balancer` that are one number or one text; with
    `rates` also `rate` and `decay` of the learned numbers, by default those. Its docstring
    and module are those of `make_balancer`.

    The factory raises InputError where `make_balancer` refuses an option.
    """
    signature = _signature(make_balancer, rates)

    def make_method(model: Model, /, *args: Any, **options: Any) -> contract.Method:
        bound = signature.bind(model, *args, **options)
        bound.apply_defaults()
        values, own = bound.kwargs, None
        if rates is not None:
            own = Rates(*(values.pop(name) for name in Rates._fields))
            checks.check_positive("rate", own.rate)
            checks.check_weight("decay", own.decay)
        try:
            balancer = make_balancer(**values)
        except OptionError as error:
            raise InputError(
                f"method.{error.name} is {error.value!r}; expected {error.rule}"
            ) from error
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"method.{name} is {value}; expected a finite one")
        return make(model, balancer, rates=own)

    functools.update_wrapper(make_method, make_balancer)
    make_method.__signature__ = signature  # type: ignore[attr-defined]
    return make_method


def _signature(
    make_balancer: Callable[..., Balancer], rates: Rates | None
) -> inspect.Signature:
    defaults = {
        parameter.name: parameter.default
        for parameter in inspect.signature(make_balancer).parameters.values()
        if isinstance(parameter.default, bool | int | float | str)
    }
    if rates is not None:
        defaults |= rates._asdict()
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in defaults.items()
    ]
    model = inspect.Parameter("model", inspect.Parameter.POSITIONAL_ONLY)
    return inspect.Signature([model, *options])
