"""SAMO: gradients of the tasks at perturbed parameters, combined by another method.

`balancing.samo_value_and_grad` has the formula. The registry has the row.
"""

from mtra_jax import balancing
from mtra_jax.balancing import checks
from mtra_jax.balancing.sharpness import Sharpness
from mtra_jax.methods import balanced, contract
from mtra_jax.methods.model import Model


def _sum() -> balancing.Balancer:
    """The plain sum of the gradients, as a balancer that reads the Gramian."""

    def combine(inputs: balancing.Inputs, state: balancing.State) -> balancing.Combined:
        ones = inputs.present.astype(inputs.losses.dtype)
        return balancing.Combined(ones, state.memory)

    return balancing.Balancer(
        lambda count: balancing.State(), combine, balancing.Reads.GRAMIAN
    )


BALANCERS = {
    "sum": _sum,
    "pcgrad": balancing.pcgrad,
    "cagrad": balancing.cagrad,
    "mgda": balancing.mgda,
    "fairgrad": balancing.fairgrad,
}
"""The methods that the released code combines with SAMO, with their default options."""


def make(
    model: Model,
    *,
    balancer: str = "fairgrad",
    rho: float = 1e-3,
    alpha: float = 0.5,
    mu: float = 1e-2,
) -> contract.Method:
    """SAMO: FairGrad, or another balancer, of gradients at parameters of higher loss.

    `rho`: the length of each task's perturbation of the shared parameters, and of that of
    its head. `alpha`: the share of the gradient of all tasks in its direction; the rest is
    an estimate of the task's own, from its losses at two points `mu` times a random
    direction away. `balancer`: sum, pcgrad, cagrad, mgda or fairgrad, with their default
    options.

    Each parameter of each layer of the encoder, and each other shared parameter, is
    normalised apart. A head moves along the gradient of its task's loss. The passes at the
    two points have no dropout, and need no backward pass; the passes at θ and at the
    perturbed parameters have the same dropout masks. The logged losses and the term `task`
    are those at θ.

    Source: Ban et al. 2025, "SAMO: A Lightweight Sharpness-Aware Approach for Multi-Task
    Optimization with Joint Global-Local Perturbation", and the code of the authors.

    Raises:
      OptionError: an option is out of its range, or not one of its choices.
    """
    checks.choice("balancer", balancer, BALANCERS)
    checks.positive("rho", rho)
    checks.share("alpha", alpha)
    checks.positive("mu", mu)
    shared = balanced.make(model, BALANCERS[balancer]())
    return shared._replace(sharpness=Sharpness(rho, alpha, mu), passes=2)
