"""Hierarchical MTL: a shared bottleneck u, then a noisy channel u_t = u + n_t per task.

Source: de Freitas et al. 2022, "Compressed Hierarchical Representations for Multi-Task
Learning and Task Clustering": L = Σ_t [ℓ_t(u_t) + β KL(N(u, Σ_t) ‖ N(0, R_t))], with
learned diagonal Σ_t and R_t.
"""

from typing import Any

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.methods import base, options
from mtra_jax.models import bottleneck
from mtra_jax.types import Batch, Params


def make(
    model: base.Model,
    *,
    beta: float = 1e-2,
    shared_beta: float = 1e-2,
    shared_bottleneck: bool = True,
) -> base.Method:
    """Additive noise n_t ~ N(0, Σ_t) limits what each task reads of u; u_t = u in evaluation.

    `beta` weighs the KL term of each task, `shared_beta` that of the shared bottleneck,
    KL(q(u|z) ‖ N(0, I)); both are means over texts and dimensions, where the released
    code sums. That code has no shared term, its u is z: `shared_bottleneck=False`.
    Noise starts small (log-variance −5; there 0), so that a pretrained encoder is not
    drowned at a small learning rate. The prior's mean stays 0, as there.

    Raises:
      InputError: a weight is negative.
    """
    options.check_weight("beta", beta)
    options.check_weight("shared_beta", shared_beta)
    network = bottleneck.Bottleneck(model.hidden_size)
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

    def losses(
        model: base.Model,
        params: Params,
        batch: Batch,
        rngs: base.Rngs | None,
        axis_name: str | None,
    ) -> base.Losses:
        encoder_rng, heads_rng = base.dropout_keys(rngs)
        shared_rngs, task_rngs = split(rngs)
        u = model.represent(params, batch, encoder_rng)
        shared_kl = 0.0
        if shared_bottleneck:
            mean, log_variance = network.apply(
                {"params": params["method"]["bottleneck"]}, u
            )
            shared_kl = objectives.gaussian_kl(
                mean, log_variance, batch.where, axis_name
            )
            u = base.reparameterize(mean, log_variance, shared_rngs, axis_name)
        noise, prior = own_log_variances(params["method"]["tasks"], space, batch)
        noisy = base.reparameterize(u, noise, task_rngs, axis_name)
        outputs = model.predict(params, noisy, heads_rng)
        task = base.task_losses(space, outputs, batch, axis_name)
        terms = objectives.gaussian_kl_terms(u, noise, 0.0, prior)
        kl = base.mean_per_task(
            jnp.mean(terms, axis=-1), batch, space.num_tasks, axis_name
        )
        return base.Losses(
            task + beta * kl, {"task": task, "kl": kl}, outputs, shared_beta * shared_kl
        )

    def objective(
        params: Any, losses: jax.Array, present: jax.Array, state: Any, rng: jax.Array
    ) -> tuple[jax.Array, Any]:
        del params, rng
        return base.sum_present(losses, present), state

    return base.Method(init, losses, base.Weighted(objective))


def split(rngs: base.Rngs | None) -> tuple[base.Rngs | None, base.Rngs | None]:
    """Keys for two draws of each text."""
    if rngs is None:
        return None, None
    first, second = jax.random.split(rngs["method"])
    return {**rngs, "method": first}, {**rngs, "method": second}


def own_log_variances(
    tasks: Params, space: base.Space, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """log Σ_t and log R_t of each text's own task: [B, H] each."""
    return tuple(
        jnp.stack([tasks[name][key] for name in space.names])[batch.tasks]
        for key in ("noise_log_variance", "prior_log_variance")
    )
