"""Hierarchical MTL: a shared bottleneck u, then a noisy channel u_t = u + n_t per task.

    L = Σ_t [ℓ_t(u_t) + β KL(N(u, Σ_t) ‖ N(0, R_t))] + β_s KL(q(u|z) ‖ N(0, I))

u [B, H] is drawn from q(u|z) = N(μ(z), diag σ²(z)), and n_t from N(0, Σ_t). Σ_t and R_t
are diagonal and learned. The sum is over the tasks of the batch.

Source: de Freitas et al. 2022, "Compressed Hierarchical Representations for Multi-Task
Learning and Task Clustering", arXiv 2205.15882, and its released code, which has the sum
over the tasks with u = z. The Gaussian u and its term are ours.
"""

import jax
import jax.numpy as jnp

from mtra_jax import balancing, objectives
from mtra_jax.balancing import checks
from mtra_jax.methods import contract, randomness, task_losses
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import bottleneck
from mtra_jax.models.network import Network
from mtra_jax.types import Batch, Params, Rngs


def make(
    model: Model,
    *,
    beta: float = 1e-2,
    shared_beta: float = 1e-2,
    shared_bottleneck: bool = True,
) -> contract.Method:
    """Makes Hierarchical MTL: noise n_t ~ N(0, Σ_t) limits what task t can read from u.

    In evaluation u = μ(z) and u_t = u. `beta` is β, the weight of each task's KL term, and
    `shared_beta` is β_s. With `shared_bottleneck=False` u = z and the last term is 0, as
    in the released code. KL terms are in nats and means over the H dimensions; that of a
    task is a mean over its texts in the global batch, the shared one over all texts. The
    released code sums over dimensions and texts.

    Each task has log Σ_t [H] and log R_t [H]. log Σ_t starts at −5 (near 0 in the released
    code), because larger noise drowns a pretrained encoder at a small learning rate, and
    log R_t at 0. The prior's mean stays 0, as in the released code. The bias of log σ²(z)
    starts at −5.

    Logged terms: `task` (ℓ_t) and `kl` (without β) of each task; `batch_loss`, the shared
    term times β_s.

    Raises:
      OptionError: a weight is negative.
    """
    checks.not_negative("beta", beta)
    checks.not_negative("shared_beta", shared_beta)
    network: Network = bottleneck.Bottleneck(model.hidden_size)
    space = model.space

    def init(rng: jax.Array) -> Params:
        noise = jnp.full(model.hidden_size, bottleneck.INITIAL_LOG_VARIANCE)
        prior = jnp.zeros(model.hidden_size)
        tasks = {
            name: {"noise_log_variance": noise, "prior_log_variance": prior}
            for name in space.names
        }
        if not shared_bottleneck:
            return {"tasks": tasks}
        z = jnp.zeros((1, model.hidden_size))
        return {"tasks": tasks, "bottleneck": network.init(rng, z)["params"]}

    def forward(
        params: Params,
        batch: Batch,
        rngs: Rngs | None,
        axis_name: str | None,
    ) -> contract.Losses:
        encoder_rng, heads_rng = randomness.dropout_keys(rngs)
        shared_rngs, task_rngs = split(rngs)
        u = model.represent(params, batch, encoder_rng)
        batch_loss: jax.Array | None = None
        if shared_bottleneck:
            mean, log_variance = network.apply(
                {"params": params["method"]["bottleneck"]}, u
            )
            where = jnp.asarray(batch.where)
            shared_kl = objectives.gaussian_kl(mean, log_variance, where, axis_name)
            batch_loss = shared_beta * shared_kl
            u = randomness.reparameterize(mean, log_variance, shared_rngs, axis_name)
        noise, prior = own_log_variances(params["method"]["tasks"], space, batch)
        noisy = randomness.reparameterize(u, noise, task_rngs, axis_name)
        outputs = model.predict(params, noisy, heads_rng)
        task = task_losses.of_outputs(space, outputs, batch, axis_name)
        terms = objectives.gaussian_kl_terms(u, noise, 0.0, prior)
        kl = task_losses.mean(
            jnp.mean(terms, axis=-1), batch, space.num_tasks, axis_name
        )
        return contract.Losses(
            task + beta * kl, {"task": task, "kl": kl}, outputs, batch_loss
        )

    return contract.Method(init, forward, balancing.ew("sum"))


def split(rngs: Rngs | None) -> tuple[Rngs | None, Rngs | None]:
    """Returns the keys of the shared bottleneck's draws and of the tasks' channels."""
    if rngs is None:
        return None, None
    first, second = jax.random.split(rngs["method"])
    return {**rngs, "method": first}, {**rngs, "method": second}


def own_log_variances(
    tasks: Params, space: Space, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """Returns log Σ_t and log R_t of each text's task: [B, H] each."""

    def of_texts(key: str) -> jax.Array:
        return jnp.stack([tasks[name][key] for name in space.names])[batch.tasks]

    return of_texts("noise_log_variance"), of_texts("prior_log_variance")
