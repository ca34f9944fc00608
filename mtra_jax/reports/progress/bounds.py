"""Bounds on the information of an epoch -> a table, and lines where they go too far."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mtra_jax.reports.formatting import tables
from mtra_jax.tasks import Task

REMEDY = (
    "a smaller method.beta or learning_rate, method.balance=pull or bound=jsd may help"
)
ROUNDING = 5e-4
"""Nats by which a bound may pass its ceiling, which the three decimals do not show."""
WITHOUT_BOUND = "a smaller method.floor or fewer epochs may help"
"""The remedy for losses at the floor of a method without a bound."""


class Bound(NamedTuple):
    """The bounds on I(Z; Y) of one task in one epoch, and H(Y), in nats.

    `training`: the mean over the steps; None without a step. `ceiling` and
    `validation_ceiling`: H(Y) of the labels of either split, which no bound on its I(Z; Y)
    passes in expectation; None for regression.
    """

    training: float | None
    validation: float
    ceiling: float | None
    validation_ceiling: float | None


def table(bounds: Mapping[str, Bound], tasks: Sequence[Task]) -> str:
    """The bounds by the name of the task, a column each, with lines for the ceilings.

    >>> from mtra_jax.tasks import BENCHMARKS
    >>> tasks = BENCHMARKS["synthetic"].select(["irony", "intensity"]).tasks
    >>> irony, intensity = Bound(0.25, 0.2, 0.693, 0.69), Bound(None, 1.5, None, None)
    >>> print(table({"irony": irony, "intensity": intensity}, tasks))
                              Irony  Intensity
                               nats       nats
    bound I, training         0.250          -
    ceiling H(Y), training    0.693          -
    bound I, validation       0.200      1.500
    ceiling H(Y), validation  0.690          -
    """
    shown = [task for task in tasks if task.name in bounds]
    values = [bounds[task.name] for task in shown]
    rows = (
        ("bound I, training", [own.training for own in values]),
        ("ceiling H(Y), training", [own.ceiling for own in values]),
        ("bound I, validation", [own.validation for own in values]),
        ("ceiling H(Y), validation", [own.validation_ceiling for own in values]),
    )
    body = [[name, *map(_figure, figures)] for name, figures in rows]
    return tables.grouped([(task.title, "nats") for task in shown], body)


def _figure(value: float | None) -> str:
    if value is None or math.isnan(value):
        return tables.MISSING
    return format(value, "z.3f")


def past_ceiling(bounds: Mapping[str, Bound]) -> str:
    """A line's part about the bounds above their ceilings; empty without any.

    >>> irony, stance = Bound(0.8, 0.7, 0.75, 0.75), Bound(0.1, 0.1, 1.0, 1.0)
    >>> past_ceiling({"irony": irony, "stance": stance})
    'a bound on I(Z; Y) passes its ceiling H(Y): irony 0.800 of 0.750 nats in training'
    """
    passed = [
        f"{name} {value:.3f} of {ceiling:.3f} nats in {split}"
        for name, bound in bounds.items()
        for split, value, ceiling in (
            ("training", bound.training, bound.ceiling),
            ("validation", bound.validation, bound.validation_ceiling),
        )
        if ceiling is not None and value is not None and value > ceiling + ROUNDING
    ]
    if not passed:
        return ""
    return f"a bound on I(Z; Y) passes its ceiling H(Y): {', '.join(passed)}"


def at_floor(shares: Mapping[str, float]) -> str:
    """A line's part about losses at the floor; empty without any.

    `shares`: by task, the share of the steps in which the argument of the logarithm is at
    or below its floor.

    >>> at_floor({"irony": 0.25, "stance": 0.0})
    'losses at the floor of the logarithm (harmless if learned): irony in 25.0 % of the steps'
    """
    met = [
        f"{name} in {100 * share:.1f} % of the steps"
        for name, share in shares.items()
        if share > 0
    ]
    if not met:
        return ""
    return (
        f"losses at the floor of the logarithm (harmless if learned): {', '.join(met)}"
    )
