"""The interface of a method: its parameters, losses and rule, as typed functions."""

from typing import Any, NamedTuple, Protocol

import jax

from mtra_jax.balancing import Balancer, Reads
from mtra_jax.balancing.sharpness import Sharpness
from mtra_jax.methods.model import Model
from mtra_jax.types import Batch, Params, Rngs

Memory = Any
"""A pytree of arrays that a method carries from step to step; see `balancing.State`."""


class Losses(NamedTuple):
    """The result of a forward pass: losses and named terms [T], outputs [B, L].

    The terms are logged as `NAME/TASK`. `batch_loss` is a loss of the global batch as a
    whole, such as InfoNCE, or None. Steps whose balancer reads the losses add it to the
    objective unweighted, and log it. The other rules and evaluation do not use it.
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


class AlignedPasses(NamedTuple):
    """The gradient of Σ log(ℓ_t(θ) + ℓ_t(θ + δ)); see `objectives.aligned`.

    `epsilon`: the length of δ. Without `Method.floor` there is no logarithm.
    """

    epsilon: float


class Method(NamedTuple):
    """A method: parameters that it adds to the model, losses, and a rule.

    `rule`: how the gradient of a step comes from the losses. For a balancer that does not
    read the losses alone, those of a task that is absent from a batch must be 0.
    `learned`: the name of the numbers [T] that the balancer learns; each task owns its
    number as the parameter `params["method"]["tasks"][TASK][learned]`.
    `sharpness`: a balancer that reads the Gramian then gets that of the gradients at the
    parameters that SAMO perturbs.
    `floor`: that of the logarithm of the losses, in a balancer that reads them or in the
    two passes; steps log which losses lie at or below it. None without a logarithm.
    `num_features` is the width of the heads' input where that differs from the width of z.
    `passes` counts the forward passes of the encoder in a training step, each with its
    backward pass.
    `in_pieces`: the losses average the gradients of the encoder's layers over the devices
    themselves. `registry.make` sets it to `Model.in_pieces`.
    """

    init: Init
    losses: LossFunction
    rule: Balancer | AlignedPasses
    learned: str = ""
    sharpness: Sharpness | None = None
    floor: float | None = None
    num_features: int | None = None
    passes: int = 1
    in_pieces: bool = False

    @property
    def reads(self) -> str:
        """The rule's inputs: a value of `balancing.Reads`, or two passes."""
        if isinstance(self.rule, AlignedPasses):
            return "aligned passes"
        return self.rule.reads.value

    @property
    def reads_gradients(self) -> bool:
        """Whether the rule reads each task's gradient, or the Gramian of all of them."""
        return isinstance(self.rule, Balancer) and self.rule.reads is not Reads.LOSSES


class Factory(Protocol):
    """Makes a method for a model; keyword-only arguments are the method's options.

    Options whose default is a float are arguments of the compiled programs: they are
    traced, and runs that differ in them alone share programs. A factory may compute with
    them, but not branch on them; `balancing.checks` checks them where they are numbers.
    Options of other types are constants of the program. A number that may be fractional
    therefore needs a default like 1.0.
    """

    # To type checkers `*args: Any, **options: Any` stands for any further parameters:
    # each factory has different ones.
    def __call__(self, model: Model, /, *args: Any, **options: Any) -> Method: ...
