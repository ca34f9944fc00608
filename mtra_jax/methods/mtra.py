"""Multi-Task Representation Alignment: L = Σ_t log(ℓ_TA,t + ℓ_SA,t).

ℓ_TA = ℓ_Task − β I(Z; Y_t), with a MINE bound on the information; ℓ_SA is ℓ_TA at word
embeddings moved by ε along its gradient.

Source: Hu et al. 2026 (ACL), Eq. 2-4, 7, 9 and Algorithm 1.
"""

from typing import Protocol

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.methods import contract, layout, options, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.models import statistics
from mtra_jax.models.network import Network
from mtra_jax.types import Array, Batch, Params, Rngs

MARGINALS = ("shuffle", "all_pairs")


class Critic(Protocol):
    """Scores pairs of representations [..., H] and targets [..., L]: [...]."""

    def __call__(self, z: jax.Array, y: Array, /) -> jax.Array: ...


def make(
    model: Model,
    *,
    beta: float = 1.0,
    epsilon: float = 5.0,
    width: int = 128,
    marginal: str = "shuffle",
    task_alignment: bool = True,
    self_alignment: bool = True,
    logarithm: bool = True,
    floor: float = 1e-2,
) -> contract.Method:
    """Makes MTRA or, with one of the flags off, an ablation of it (Table 4).

    `beta` is the weight of the bound, `epsilon` the L2 norm of the perturbation, `width`
    the number of hidden units of the statistics network. `marginal="shuffle"` pairs each
    z with the target of one other text, as in the paper. `"all_pairs"` takes the exact
    expectation under the product of the batch's marginals, which has a lower variance
    (not in the paper). `task_alignment=False` is "w/o TA", `self_alignment=False` "w/o
    SA", `logarithm=False` "w/o SI". `floor`: see `objectives.floored_log`.

    Raises:
      InputError: `beta` or `epsilon` is negative, `width` or `floor` is not positive, or
        `marginal` is not one of `MARGINALS`.
    """
    options.check_weight("beta", beta)
    options.check_weight("epsilon", epsilon)
    options.check_positive("floor", floor)
    if width < 1:
        raise InputError(f"method.width is {width}; expected at least 1")
    if marginal not in MARGINALS:
        raise InputError(
            f"method.marginal is {marginal!r}; {did_you_mean(marginal, MARGINALS)}"
        )
    network: Network = statistics.StatisticsNetwork(width)

    def init(rng: jax.Array) -> Params:
        if not task_alignment:
            return {}
        z = jnp.zeros((1, model.hidden_size))
        y = jnp.zeros((1, len(model.space.slot_tasks)))
        return {"statistics": network.init(rng, z, y)["params"]}

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

        def score(z: jax.Array, y: Array) -> jax.Array:
            return network.apply({"params": params["method"]["statistics"]}, z, y)

        bounds = bound_per_task(
            score, z, batch, model.space.num_tasks, marginal, axis_name
        )
        # Eq. 4 prints −E[E[V] − log E[e^V]] with a misplaced bracket; this is −I of Eq. 2.
        return contract.Losses(
            task - beta * bounds, {"task": task, "mi": bounds}, outputs
        )

    return contract.Method(
        init=init,
        losses=forward,
        gradient=_gradient(epsilon, floor, self_alignment, logarithm),
        passes=2 if self_alignment else 1,
    )


def bound_per_task(
    score: Critic,
    z: jax.Array,
    batch: Batch,
    num_tasks: int,
    marginal: str,
    axis_name: str | None,
) -> jax.Array:
    """Returns the Donsker-Varadhan bound on I(Z; Y_t) of each task [T], in nats.

    The bound of an absent task is 0. `z`: [B, H]. The targets of the marginal pairs come
    from the global batch.
    """
    targets = layout.gather(jnp.asarray(batch.targets), axis_name)
    membership = task_losses.members(batch, num_tasks)
    joint = score(z, batch.targets)
    if marginal == "shuffle":
        bound = jax.vmap(objectives.dv_bound, in_axes=(None, None, 0, None))
        return bound(joint, score(z, targets[batch.partners]), membership, axis_name)
    pairs = score(z[:, None], targets[None])
    columns = layout.gather(membership.T, axis_name).T
    valid = membership[:, :, None] & columns[:, None, :]
    mean = jax.vmap(objectives.masked_mean, in_axes=(None, 0, None))
    log_mean = jax.vmap(objectives.log_mean_exp, in_axes=(None, 0, None))
    valid = valid.reshape(num_tasks, -1)
    return mean(joint, membership, axis_name) - log_mean(
        pairs.reshape(-1), valid, axis_name
    )


def _gradient(
    epsilon: float, floor: float, self_alignment: bool, logarithm: bool
) -> contract.AlignedGradient | contract.Weighted:
    if self_alignment:
        return contract.AlignedGradient(epsilon, floor, logarithm)
    if not logarithm:
        return contract.Weighted(task_losses.unweighted)

    def objective(
        params: Params,
        losses: jax.Array,
        present: jax.Array,
        state: contract.State,
        rng: jax.Array,
    ) -> tuple[jax.Array, contract.State]:
        del params, rng
        return objectives.log_sum(losses, floor, present), state

    return contract.Weighted(objective, floor=floor)
