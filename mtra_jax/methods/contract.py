"""The interface of a method: its parameters, losses and gradient, as typed functions."""

import enum
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import jax

from mtra_jax.balancing.sharpness import Sharpness
from mtra_jax.methods.model import Model
from mtra_jax.types import Batch, Params, Rngs

State = Any
"""A pytree of arrays that a method carries from step to step."""


class Needs(enum.Enum):
    """The input of a method's rule; `gradients.differentiate` branches on it."""

    LOSSES = "losses"
    """The losses [T] of one pass; the gradient is that of one scalar."""
    GRAMIAN = "Gramian"
    """The inner products [T, T] of the tasks' gradients, all in memory at once."""
    GRADIENTS = "gradients"
    """The tasks' gradients themselves, all in memory at once."""
    ALIGNMENT = "aligned passes"
    """The losses at θ and θ + δ, from two passes; δ comes from the first."""


class Losses(NamedTuple):
    """The result of a forward pass: losses and named terms [T], outputs [B, L].

    The terms are logged as `NAME/TASK`. `batch_loss` is a loss of the global batch as a
    whole, such as InfoNCE, or None. Steps of a `Weighted` rule add it to the objective
    unweighted, and log it. The other rules and evaluation do not use it.
    """

    losses: jax.Array
    terms: dict[str, jax.Array]
    outputs: jax.Array
    batch_loss: jax.Array | None = None


class Init(Protocol):
    """Makes `params["method"]`, the parameters that a method adds to the model."""

    def __call__(self, rng: jax.Array, /) -> Params: ...


class LossFunction(Protocol):
    """Computes the losses of one part of a batch, without the axis P of `types.Batch`.

    `rngs` holds "method" (the same key on all devices) and "dropout" (one key per device)
    in training; it is None in evaluation.
    """

    def __call__(
        self, params: Params, batch: Batch, rngs: Rngs | None, axis_name: str | None, /
    ) -> Losses: ...


class Objective(Protocol):
    """Turns the losses of a step into one scalar to differentiate, and the next state.

    `params` is `params["method"]`; `losses` and `present` are [T]; `rng` is the same on
    all devices.
    """

    def __call__(
        self,
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: State,
        rng: jax.Array,
        /,
    ) -> tuple[jax.Array, State]: ...


class Combine(Protocol):
    """Turns the Gramian of the tasks' gradients into weights, and gives the next state.

    `gram` [T, T] holds the inner products of the global batch's gradients with respect to
    the shared parameters, 0 for absent tasks; `losses` and `present` are [T]. The weights
    [T] of the shared parameters come first, then those of parameters of a single task.
    """

    def __call__(
        self,
        gram: jax.Array,
        losses: jax.Array,
        present: jax.Array,
        state: State,
        rng: jax.Array,
        /,
    ) -> tuple[jax.Array, jax.Array, State]: ...


class Merge(Protocol):
    """Turns the tasks' gradients into one gradient, and gives the next state.

    `gradients`: those of the global batch with respect to the shared parameters, leaves
    [T, ...], 0 for absent tasks; the result has the leaves [...]. `losses` and `present`
    are [T]; `rng` is the same on all devices.
    """

    def __call__(
        self,
        gradients: list[jax.Array],
        losses: jax.Array,
        present: jax.Array,
        state: State,
        rng: jax.Array,
        /,
    ) -> tuple[list[jax.Array], State]: ...


class Weighted(NamedTuple):
    """The gradient of one scalar function of the losses.

    Its derivatives with respect to the losses are logged as the tasks' weights.
    `floor`: that of its logarithm; the steps log which losses lie at or below it. None:
    no logarithm.
    """

    objective: Objective
    needs: Literal[Needs.LOSSES] = Needs.LOSSES
    floor: float | None = None


class AlignedPasses(NamedTuple):
    """The gradient of Σ log(ℓ_t(θ) + ℓ_t(θ + δ)); see `objectives.aligned`."""

    epsilon: float
    floor: float
    logarithm: bool
    needs: Literal[Needs.ALIGNMENT] = Needs.ALIGNMENT


class WeightedGradients(NamedTuple):
    """Σ_t w_t g_t with weights from the Gramian of the tasks' gradients g_t.

    Parameters of a single task have other weights, 1 for most methods. The losses and
    terms of a task that is absent from a batch must be 0. With `sharpness` the
    gradients are those at the parameters that SAMO perturbs.
    """

    combine: Combine
    needs: Literal[Needs.GRAMIAN] = Needs.GRAMIAN
    sharpness: Sharpness | None = None


class MergedGradients(NamedTuple):
    """One gradient of the tasks' gradients that is not a weighted sum of them.

    Parameters of a single task take the gradient of that task's loss. The logged weights
    are 1. The losses and terms of a task that is absent from a batch must be 0.
    """

    merge: Merge
    needs: Literal[Needs.GRADIENTS] = Needs.GRADIENTS


class Method(NamedTuple):
    """A method: parameters that it adds to the model, losses, and a rule.

    The `rule` says how the gradient of a step comes from the losses.
    `init_state` is the state before the first step; a method whose state has the shapes of
    the shared parameters has `state_like`, a function of their leaves, instead.
    `num_features` is the width of the heads' input where that differs from the width of z.
    `passes` counts the forward passes of the encoder in a training step, each with its
    backward pass.
    """

    init: Init
    losses: LossFunction
    rule: Weighted | AlignedPasses | WeightedGradients | MergedGradients
    init_state: State = ()
    num_features: int | None = None
    passes: int = 1
    state_like: Callable[[list[jax.Array]], State] | None = None

    @property
    def needs(self) -> Needs:
        """The input of the method's rule."""
        return self.rule.needs


class Factory(Protocol):
    """Makes a method for a model; keyword-only arguments are the method's options.

    Options whose default is a float are arguments of the compiled programs: they are
    traced, and runs that differ in them alone share programs. A factory may compute with
    them, but not branch on them; `options.check_...` checks them where they are numbers.
    Options of other types are constants of the program. A number that may be fractional
    therefore needs a default like 1.0.
    """

    # To type checkers `*args: Any, **options: Any` stands for any further parameters:
    # each factory has different ones.
    def __call__(self, model: Model, /, *args: Any, **options: Any) -> Method: ...


def no_params(rng: jax.Array) -> Params:
    """The `Method.init` of methods without parameters."""
    del rng
    return {}
