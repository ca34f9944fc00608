"""Hierarchical MTL: a shared bottleneck u, then a noisy channel u_t = u + n_t per task.

Source: de Freitas et al. 2022, "Compressed Hierarchical Representations for Multi-Task
Learning and Task Clustering": L = Σ_t [ℓ_t(u_t) + β KL(N(u, Σ_t) ‖ N(0, R_t))], with
learned diagonal Σ_t and R_t.
"""

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.methods import contract, options, randomness, task_losses
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

    In evaluation u_t = u. `beta` is the weight of each task's KL term, `shared_beta` that
    of the shared bottleneck, KL(q(u|z) ‖ N(0, I)). Both terms are means over texts and
    dimensions; the released code sums. That code has no shared term and uses u = z, as
    here with `shared_bottleneck=False`. Noise starts at log-variance −5 (0 in the released
    code), because larger noise drowns a pretrained encoder at a small learning rate. The
    prior's mean stays 0, as in the released code.

    Raises:
      InputError: a weight is negative.
    """
    options.check_weight("beta", beta)
    options.check_weight("shared_beta", shared_beta)
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
        shared_kl: jax.Array | float = 0.0
        if shared_bottleneck:
            mean, log_variance = network.apply(
                {"params": params["method"]["bottleneck"]}, u
            )
            where = jnp.asarray(batch.where)
            shared_kl = objectives.gaussian_kl(mean, log_variance, where, axis_name)
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
            task + beta * kl, {"task": task, "kl": kl}, outputs, shared_beta * shared_kl
        )

    return contract.Method(init, forward, contract.Weighted(task_losses.unweighted))


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
