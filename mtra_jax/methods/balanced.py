"""A balancer of `balancing` -> hard parameter sharing that trains with it."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtra_jax.balancing import Balancer, Combined, Inputs, Reads, State, checks, rows
from mtra_jax.methods import contract, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.types import Params


class Rates(NamedTuple):
    """Adam that moves the numbers that a balancer learns, with its usual betas.

    `decay` times the numbers is added to their gradient. The rate has no warm-up.
    """

    rate: float | jax.Array
    decay: float | jax.Array = 0.0


class Learning(NamedTuple):
    """The memory of a balancer whose numbers Adam moves."""

    learned: Any
    memory: Any
    moments: Any


def make(model: Model, balancer: Balancer, learned: str = "") -> contract.Method:
    """Makes hard parameter sharing with `balancer`.

    `learned`: the name of the numbers [T] that the balancer learns. Each task owns its
    number as the parameter `tasks/TASK/learned`: it has the learning rate of all
    parameters, and does not change in steps without its task.

    Raises:
      TypeError: `balancer` is not a `Balancer`, or its `init` does not return a `State`.
      ValueError: `learned` with a balancer that reads gradients, see `learning`, or that
        learns nothing; no `learned` with one that does.
    """
    checks.balancer(balancer)
    names = model.space.names
    _check_learned(balancer, learned, len(names))

    def init(rng: jax.Array) -> Params:
        del rng
        if not learned:
            return {}
        values = zip(names, balancer.init(len(names)).learned, strict=True)
        return {"tasks": {name: {learned: value} for name, value in values}}

    return contract.Method(init, task_losses.plain(model), balancer, learned)


def _check_learned(balancer: Balancer, learned: str, count: int) -> None:
    if learned and balancer.reads is not Reads.LOSSES:
        raise ValueError(
            "`learned` must be empty for a balancer that reads gradients, whose numbers "
            f"`balanced.learning` moves; found {learned!r}."
        )
    if balancer.reads is Reads.GRADIENTS:  # the shapes of its state are the parameters'
        return
    start = jax.eval_shape(lambda: balancer.init(count))
    if not isinstance(start, State):
        raise TypeError(f"`init` must return a State; found {type(start).__name__}.")
    if bool(jax.tree.leaves(start.learned)) != bool(learned):
        rule = "be empty for a balancer that learns nothing"
        if not learned:
            rule = (
                "name what the balancer learns, unless Adam moves it: `balanced.learning`, or "
                "`rate` of `add_method`"
            )
        raise ValueError(f"`learned` must {rule}; found {learned!r}.")


def learning(balancer: Balancer, rates: Rates) -> Balancer:
    """The balancer that moves the learned numbers of `balancer` itself, in its memory.

    Adam moves them in every step.
    """
    optimise = optax.chain(
        optax.add_decayed_weights(rates.decay), optax.adam(rates.rate)
    )
    is_of_losses = balancer.reads is Reads.LOSSES

    def init(count: int, *like: Any) -> State:
        start = balancer.init(count, *like)
        moments = optimise.init(start.learned)
        return State(memory=Learning(start.learned, start.memory, moments))

    def combine(inputs: Inputs, state: State) -> Combined:
        old: Learning = state.memory

        def penalty(learned: Any) -> tuple[jax.Array, Any]:
            result = rows.combined(balancer, inputs, State(learned, old.memory))
            scalar = result.value if is_of_losses else result.penalty
            return jnp.asarray(scalar), result

        gradient, result = jax.grad(penalty, has_aux=True)(old.learned)
        gradient = jax.lax.stop_gradient(gradient)
        updates, moments = optimise.update(gradient, old.moments, old.learned)
        learned = optax.apply_updates(old.learned, updates)
        # FAMO has no gradient in its first step, which must not count in Adam's means.
        is_first = optax.tree_utils.tree_get(old.moments, "count") == 0
        has_none = jnp.array([jnp.all(g == 0) for g in jax.tree.leaves(gradient)]).all()
        learned, moments = jax.tree.map(
            lambda new, before: jnp.where(is_first & has_none, before, new),
            (learned, moments),
            (old.learned, old.moments),
        )
        return result._replace(memory=Learning(learned, result.memory, moments))

    return Balancer(init, combine, balancer.reads)


def factory(
    make_balancer: Callable[..., Balancer], rates: Rates | None = None
) -> contract.Factory:
    """The factory of hard parameter sharing with the balancer of `make_balancer`.

    Its options are the arguments of `make_balancer` that are one number or one text; with
    `rates` also `rate` and `decay` of the learned numbers, by default those. Its docstring
    and module are those of `make_balancer`.

    The factory raises OptionError where `make_balancer` refuses an option.
    """
    signature = _signature(make_balancer, rates)

    def make_method(model: Model, /, *args: Any, **options: Any) -> contract.Method:
        bound = signature.bind(model, *args, **options)
        bound.apply_defaults()
        values, own = bound.kwargs, None
        if rates is not None:
            own = Rates(*(values.pop(name) for name in Rates._fields))
            checks.positive("rate", own.rate)
            checks.not_negative("decay", own.decay)
        balancer = make_balancer(**values)
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise checks.OptionError(name, value, "a number, finite")
        return make(model, balancer if own is None else learning(balancer, own))

    functools.update_wrapper(make_method, make_balancer)
    make_method.__signature__ = signature  # type: ignore[attr-defined]
    return make_method


def _plain(default: Any) -> Any:
    """A default as a number or text of Python."""
    return default.item() if isinstance(default, np.generic) else default


def _signature(
    make_balancer: Callable[..., Balancer], rates: Rates | None
) -> inspect.Signature:
    defaults = {
        parameter.name: _plain(parameter.default)
        for parameter in inspect.signature(make_balancer).parameters.values()
        if isinstance(parameter.default, bool | int | float | str | np.generic)
    }
    if rates is not None:
        defaults |= rates._asdict()
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in defaults.items()
    ]
    model = inspect.Parameter("model", inspect.Parameter.POSITIONAL_ONLY)
    return inspect.Signature([model, *options])
