"""Losses or gradients of T tasks -> one objective, or weights, as typed functions."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Tree = Any
"""A pytree of arrays."""


class Reads(enum.Enum):
    """The cheapest input that a balancer needs."""

    LOSSES = "losses"
    """The losses [T]. A step costs one backward pass."""
    GRAMIAN = "Gramian"
    """The inner products [T, T] of the tasks' gradients. A step costs T backward passes."""
    GRADIENTS = "gradients"
    """The tasks' gradients themselves, a tree of arrays [T, ...]."""


class State(NamedTuple):
    """The state of a balancer between steps.

    `learned`: numbers that are learned by gradient, which the user's optimiser moves;
    () without any. `memory`: everything else, replaced in each step.
    """

    learned: Tree = ()
    memory: Tree = ()


class Units(NamedTuple):
    """Gradients [T, ...] of the units of a representation z, sums over all its rows.

    `sums`: Σ g. `signed`: Σ sgn(z) g.
    """

    sums: Tree
    signed: Tree


class Inputs(NamedTuple):
    """The inputs of `Balancer.combine`, of the global batch.

    `losses`: [T]. `present`: bool [T], the tasks with examples in the batch; the losses,
    rows and gradients of the others are 0. `rng`: a key that is the same on all devices.
    `gramian`: [T, T] for `Reads.GRAMIAN`. `gradients`: arrays [T, ...] for
    `Reads.GRADIENTS`; with `represent` those of the rows that the device has, and `units`
    are sums over all rows.
    """

    losses: jax.Array
    present: jax.Array
    rng: jax.Array | None = None
    gramian: jax.Array | None = None
    gradients: Tree = None
    units: Units | None = None

    @property
    def key(self) -> jax.Array:
        """`rng`, for balancers that draw numbers.

        Raises:
          ValueError: it is missing.
        """
        if self.rng is None:
            raise ValueError("`rng` must be a key for this step; found None.")
        return self.rng

    @property
    def gram(self) -> jax.Array:
        """`gramian`, for balancers that read it.

        Raises:
          ValueError: it is missing.
        """
        if self.gramian is None:
            raise ValueError("`gramian` must be [T, T] for this balancer; found None.")
        return self.gramian


class Combined(NamedTuple):
    """The result of `Balancer.combine`.

    `value`: for `Reads.LOSSES` the objective, whose derivatives with respect to the losses
    are the weights; for `Reads.GRAMIAN` the weights [T] of the gradients; for
    `Reads.GRADIENTS` the gradient to take. `memory`: the next memory. `penalty`: a scalar
    whose derivative with respect to `State.learned` moves the learned numbers, for
    balancers that do not read losses alone. `own_weights`: for
    `Reads.GRAMIAN` and `Reads.GRADIENTS` the weights [T] of the gradients of parameters
    that a single task owns, such as its head; None for 1 each.
    """

    value: Any
    memory: Tree = ()
    penalty: jax.Array | float = 0.0
    own_weights: jax.Array | None = None


class Balancer(NamedTuple):
    """A method of balancing, as an optax transformation is `init` and `update`.

    `init(T)` returns the first `State`; with `Reads.GRADIENTS` it takes as a second
    argument the variables that gradients are taken with respect to: the parameters, or with
    `represent` a row of the representation. `combine(inputs, state)` is pure and works
    under `jit`: it is always compiled, so that what it reads from other objects stays as it
    was then.
    """

    init: Callable[..., State]
    combine: Callable[[Inputs, State], Combined]
    reads: Reads = Reads.LOSSES


def stateless(*_: Any) -> State:
    """The `init` of balancers without a state."""
    return State()


def wide(x: jax.Array) -> jax.Array:
    """Returns `x` in float32 or wider: squares of narrow floats overflow and underflow."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def root(square: jax.Array) -> jax.Array:
    """The root; 0 with a derivative of 0, not NaN, for squares that round to 0 or less."""
    is_positive = square > 0
    return jnp.where(is_positive, jnp.sqrt(jnp.where(is_positive, square, 1)), 0)


SMALLEST_LOSS = 1e-8
"""Losses that divide count as at least this: those of learned tasks round to 0."""


def total(values: jax.Array, present: jax.Array) -> jax.Array:
    """Returns the sum of `values` [T] over the tasks that are present."""
    return jnp.sum(jnp.where(present, values, 0))
