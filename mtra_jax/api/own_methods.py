"""A balancer of your own -> a method of this process, which runs and sweeps train."""

import inspect
from collections.abc import Callable

from mtra_jax.balancing import Balancer
from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.methods import balanced, registry


def add_method(
    name: str,
    make_balancer: Callable[..., Balancer],
    *,
    title: str = "",
    sampling: str = "joint",
    rate: float | None = None,
    decay: float = 0.0,
) -> None:
    """Adds a method: hard parameter sharing with the balancer of `make_balancer`.

    Only this process has it. A script, or a configuration or sweep file, that trains or
    reads its runs calls this function first; for other commands, as `mtra-jax predict`, and
    the workers of `--jobs`, the environment variable MTRA_JAX_METHODS names a Python file
    that does, and nothing else: each command executes it. A second call with its name
    replaces it.

    `name`: an identifier, the value of `method.name`.
    `make_balancer`: returns the balancer, as `balancing.cagrad` does. Its arguments with a
      number or a text as default are the options `method.OPTION`; it has no others.
    `title`: the name in model cards; by default `name`.
    `sampling`: the default of the key: "joint", every batch has examples of all tasks;
      "per_task", each batch is of one task; or "temperature".
    `rate`, `decay`: of Adam, which moves the numbers that the balancer learns; both become
      options too. None for a balancer that learns nothing.

    Raises:
      InputError: the name is not an identifier, or that of a method of this package;
        `sampling` is unknown; `decay` is given without `rate`; an argument of
        `make_balancer` has the name of another key; `make_balancer` raises a TypeError or
        ValueError, or its result does not fit.

    >>> from mtra_jax import balancing
    >>> add_method("halves", lambda factor=0.5: balancing.ew(weights=[factor, factor]))
    >>> registry.options("halves")
    {'factor': 0.5}
    >>> del registry.METHODS["halves"]
    """
    before = registry.METHODS.get(name) if isinstance(name, str) else None
    is_name = isinstance(name, str) and name.isidentifier()
    if not is_name or (before and not before.is_added):
        rule = "an identifier that is not the name of a method of this package"
        raise InputError(f"name is {shown(name)}; expected {rule}")
    if sampling not in registry.SAMPLINGS:
        hint = did_you_mean(str(sampling), registry.SAMPLINGS)
        raise InputError(f"sampling is {shown(sampling)}; {hint}")
    if rate is None and decay:
        raise InputError(f"decay is {decay} without rate; expected both, or neither")
    if not callable(make_balancer):
        raise InputError(
            f"make_balancer is {shown(make_balancer)}; expected the function itself, not "
            "its result"
        )
    if not isinstance(title, str):
        raise InputError(f"title is {shown(title)}; expected a text")
    try:
        rates = None if rate is None else balanced.Rates(float(rate), float(decay))
        make = balanced.factory(make_balancer, rates)
        options = inspect.signature(make_balancer).parameters
        make(registry.small_model())
    except (TypeError, ValueError) as error:
        raise InputError(f"method {name}: {error}") from error
    reserved = {"name", "model"} | (
        set() if rates is None else {*balanced.Rates._fields}
    )
    if clash := next((option for option in options if option in reserved), ""):
        raise InputError(
            f"method {name}: the argument {clash} of its function would be the option "
            f"method.{clash}, which has another meaning; expected another name"
        )
    registry.METHODS[name] = registry.Entry(
        make, title or name, sampling, in_papers=False, is_added=True
    )
