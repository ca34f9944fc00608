"""Multi-Task Representation Alignment: L = Σ_t log(ℓ_TA,t + ℓ_SA,t).

ℓ_TA = ℓ_Task − β I(Z; Y_t), with a MINE bound on the information; ℓ_SA is ℓ_TA at word
embeddings moved by ε along its gradient.

Source: Hu et al. 2026 (ACL), Eq. 2-4, 7, 9 and Algorithm 1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mtra_jax import balancing, objectives
from mtra_jax.balancing import checks
from mtra_jax.methods import alignment, contract, randomness, task_losses
from mtra_jax.methods.model import CRITIC, Model
from mtra_jax.models import statistics
from mtra_jax.models.network import Network
from mtra_jax.types import Array, Batch, Params, Rngs


def make(
    model: Model,
    *,
    beta: float = 1.0,
    epsilon: float = 5.0,
    width: int = 128,
    bound: str = "mine",
    clip: float = 5.0,
    marginal: str = "shuffle",
    cap: bool = False,
    balance: str = "none",
    critic_rate: float = 1.0,
    task_alignment: bool = True,
    self_alignment: bool = True,
    logarithm: bool = True,
    floor: float = 1e-2,
) -> contract.Method:
    """Makes MTRA or, with one of the flags off, an ablation of it (Table 4).

    `beta` is the weight of the bound, `epsilon` the L2 norm of the perturbation, `width`
    the number of hidden units of the statistics network. `task_alignment=False` is "w/o
    TA", `self_alignment=False` "w/o SA", `logarithm=False` "w/o SI". `floor`: see
    `objectives.floored_log`.

    The other options are not in the paper, which has their defaults:

    `bound` is the estimate of I(Z; Y_t): "mine", the Donsker-Varadhan bound; "smile",
    which clips the scores of marginal pairs at ±`clip`; "info_nce", which contrasts the
    targets of a batch for each z and is at most log N for N texts; "jsd", twice the
    Jensen-Shannon divergence of joint and marginal pairs, at most 2 log 2. See
    `objectives.dv_bound`, `smile_bound`, `info_nce_bound` and `jsd_bound`.
    `marginal="shuffle"` pairs each z with the target of one other text. `"all_pairs"`
    takes the exact expectation under the product of the batch's marginals, which has a
    lower variance; "info_nce" always scores all pairs.

    `cap=True` limits the bound to the entropy of the training labels, H(Y_t) in nats,
    which I(Z; Y_t) cannot pass: no gradient above it. Tasks of regression have no cap.

    `balance="pull"` scales β down for a task in whose batch the bound pulls harder on z
    than the task's loss: β min(1, ‖∂ℓ_Task/∂z‖ / ‖∂I/∂z‖), see `objectives.pull_share`.
    Each of the two passes has its share. Evaluation takes no gradient and has β itself.

    `critic_rate` multiplies the learning rate of the statistics network; the optimiser
    reads it.

    Raises:
      OptionError: an option is out of its range, or not one of its choices.
    """
    checks.not_negative("beta", beta)
    checks.not_negative("epsilon", epsilon)
    checks.positive("floor", floor)
    checks.positive("clip", clip)
    checks.positive("critic_rate", critic_rate)
    checks.integer("width", width)
    checks.choice("bound", bound, alignment.BOUNDS)
    checks.choice("marginal", marginal, alignment.MARGINALS)
    checks.choice("balance", balance, alignment.BALANCES)
    network: Network = statistics.StatisticsNetwork(width)
    estimate = alignment.Estimate(bound, marginal, clip)
    balancer = balancing.si(floor) if logarithm else balancing.ew("sum")

    def init(rng: jax.Array) -> Params:
        if not task_alignment:
            return {}
        z = jnp.zeros((1, model.hidden_size))
        y = jnp.zeros((1, len(model.space.slot_tasks)))
        return {CRITIC: network.init(rng, z, y)["params"]}

    def bounds_of(
        params: Params, z: jax.Array, batch: Batch, axis_name: str | None
    ) -> jax.Array:
        def score(z: jax.Array, y: Array) -> jax.Array:
            return network.apply({"params": params["method"][CRITIC]}, z, y)

        return alignment.bound_per_task(
            score, z, batch, model.space.num_tasks, estimate, axis_name
        )

    def forward(
        params: Params,
        batch: Batch,
        rngs: Rngs | None,
        axis_name: str | None,
    ) -> contract.Losses:
        z, outputs = model.represent_and_predict(params, batch, rngs)
        task = task_losses.of_outputs(model.space, outputs, batch, axis_name)
        if not task_alignment:
            return contract.Losses(task, {"task": task}, outputs)
        bounds = bounds_of(params, z, batch, axis_name)
        terms = {"task": task, "mi": bounds}
        ceilings = _ceilings(model, is_training=rngs is not None) if cap else None
        if ceilings is not None:
            bounds = objectives.capped_bound(bounds, ceilings)
        if balance == "pull" and rngs is not None:
            terms["pull"] = _shares(
                model, bounds_of, ceilings, params, z, batch, rngs, axis_name
            )
            bounds = terms["pull"] * bounds
        # Eq. 4 prints −E[E[V] − log E[e^V]] with a misplaced bracket; this is −I of Eq. 2.
        return contract.Losses(task - beta * bounds, terms, outputs)

    return contract.Method(
        init=init,
        losses=forward,
        rule=contract.AlignedPasses(epsilon) if self_alignment else balancer,
        floor=floor if logarithm else None,
        passes=2 if self_alignment else 1,
    )


def _ceilings(model: Model, *, is_training: bool) -> jax.Array | None:
    """H(Y_t) of each task [T]; None in the evaluation of a model without training data."""
    entropies = model.space.label_entropies
    if entropies is None and is_training:
        raise ValueError("`space` must have `label_entropies` for the option `cap`.")
    return None if entropies is None else jnp.asarray(entropies)


def _shares(
    model: Model,
    bounds_of: Callable[[Params, jax.Array, Batch, str | None], jax.Array],
    ceilings: jax.Array | None,
    params: Params,
    z: jax.Array,
    batch: Batch,
    rngs: Rngs,
    axis_name: str | None,
) -> jax.Array:
    """Returns the share of β that counts of each task [T], with the masks of this pass."""
    _, heads_rng = randomness.dropout_keys(rngs)
    # The gradient of the losses does not pass through that of the shares.
    params = jax.lax.stop_gradient({name: params[name] for name in ("heads", "method")})

    def losses(z: jax.Array) -> jax.Array:
        outputs = model.predict(params, z, heads_rng)
        return task_losses.of_outputs(model.space, outputs, batch, axis_name)

    def bounds(z: jax.Array) -> jax.Array:
        values = bounds_of(params, z, batch, axis_name)
        return values if ceilings is None else objectives.capped_bound(values, ceilings)

    num_tasks = model.space.num_tasks
    return alignment.shares_per_task(losses, bounds, z, batch, num_tasks, axis_name)
