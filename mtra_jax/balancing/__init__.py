"""Losses or gradients of T tasks -> one objective or one gradient, for any JAX code.

A `Balancer` is to the losses of several tasks what an optax transformation is to updates:
`init` and `combine`, pure, with explicit state. `value_and_grad` applies it to a function
that returns the losses [T] of any model:

    balancer = balancing.pcgrad()
    step = balancing.value_and_grad(losses_fn, balancer)
    state = balancer.init(num_tasks)
    (value, aux), gradient, state = step(params, state, batch, rng=rng)

`samo_value_and_grad` does the same with gradients at perturbed parameters, and
`combine_gradients` with gradients that the caller has.

Imports nothing of this package but `objectives`.
"""

from mtra_jax.balancing.apply import Aux, value_and_grad
from mtra_jax.balancing.bargains import (
    cagrad,
    db_mtl,
    fairgrad,
    gradnorm,
    mgda,
    nash_mtl,
)
from mtra_jax.balancing.contract import Balancer, Combined, Inputs, Reads, State
from mtra_jax.balancing.elementwise import excess_mtl, graddrop
from mtra_jax.balancing.given import combine_gradients
from mtra_jax.balancing.grouping import go4align
from mtra_jax.balancing.projections import (
    aligned_mtl,
    config,
    gradvac,
    imtl_g,
    pcgrad,
    upgrad,
)
from mtra_jax.balancing.sharpness import SHARED, samo_value_and_grad
from mtra_jax.balancing.weightings import (
    dwa,
    ew,
    famo,
    gls,
    imtl_l,
    rlw,
    si,
    stch,
    tw,
    uw,
    uw_so,
)

__all__ = [
    "SHARED",
    "Aux",
    "Balancer",
    "Combined",
    "Inputs",
    "Reads",
    "State",
    "aligned_mtl",
    "cagrad",
    "combine_gradients",
    "config",
    "db_mtl",
    "dwa",
    "ew",
    "excess_mtl",
    "fairgrad",
    "famo",
    "gls",
    "go4align",
    "graddrop",
    "gradnorm",
    "gradvac",
    "imtl_g",
    "imtl_l",
    "mgda",
    "nash_mtl",
    "pcgrad",
    "rlw",
    "samo_value_and_grad",
    "si",
    "stch",
    "tw",
    "upgrad",
    "uw",
    "uw_so",
    "value_and_grad",
]
