"""Multi-task variational information bottleneck: the heads read a compressed z.

Source: Qian et al. 2020, "Multi-Task Variational Information Bottleneck", Eq. 10-12:
L = Σ_t [exp(−s_t) ℓ_t + s_t/2] + β KL(q(u|z) ‖ N(0, I)).
"""

import jax
import jax.numpy as jnp

from mtra_jax import balancing, objectives
from mtra_jax.balancing import checks
from mtra_jax.methods import balanced, contract, randomness, task_losses, weighted
from mtra_jax.methods.model import Model
from mtra_jax.models import bottleneck
from mtra_jax.models.network import Network
from mtra_jax.types import Batch, Params, Rngs


def make(
    model: Model, *, beta: float = 1e-2, uncertainty: bool = True
) -> contract.Method:
    """Makes MT-VIB: heads read a draw of a Gaussian u as wide as z, its mean in evaluation.

    `beta` is the weight of the KL term, which is a mean over texts and dimensions (in the
    paper a sum over dimensions). With `uncertainty` the tasks' losses are weighted as in
    `uw`, which follows the paper. With `uncertainty=False` the objective is Σ ℓ_t + β KL:
    the papers of MTRA and InfoMTL mention only the bottleneck. No values of `beta` are
    published for these benchmarks.

    Raises:
      OptionError: `beta` is negative.
    """
    checks.not_negative("beta", beta)
    network: Network = bottleneck.Bottleneck(model.hidden_size)
    space = model.space
    if uncertainty:
        shared = weighted.uw(model)
    else:
        shared = balanced.make(model, balancing.ew("sum"))

    def init(rng: jax.Array) -> Params:
        z = jnp.zeros((1, model.hidden_size))
        params = {"bottleneck": network.init(rng, z)["params"]}
        return params | shared.init(rng)

    def forward(
        params: Params,
        batch: Batch,
        rngs: Rngs | None,
        axis_name: str | None,
    ) -> contract.Losses:
        encoder_rng, heads_rng = randomness.dropout_keys(rngs)
        z = model.represent(params, batch, encoder_rng)
        mean, log_variance = network.apply(
            {"params": params["method"]["bottleneck"]}, z
        )
        u = randomness.reparameterize(mean, log_variance, rngs, axis_name)
        outputs = model.predict(params, u, heads_rng)
        task = task_losses.of_outputs(space, outputs, batch, axis_name)
        where = jnp.asarray(batch.where)
        kl = objectives.gaussian_kl(mean, log_variance, where, axis_name)
        return contract.Losses(task, {"task": task}, outputs, beta * kl)

    return shared._replace(init=init, losses=forward)
