"""InfoMTL: keep the shared information (InfoNCE), compress each task's (Gaussian heads).

Source: Hu et al. 2025 (AAAI), Eq. 2, 4 and 7:
L = Σ_t [ℓ_t(y | z_t) + β KL(q(z_t|z) ‖ N(0, I))] + α InfoNCE(z, z⁺; τ).
Eq. 2 and 4 have the mean over the tasks. The sum is that of the principle, Eq. 6, and does
not scale a batch of one task by the number of tasks.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax import balancing, objectives
from mtra_jax.balancing import checks
from mtra_jax.methods import contract, randomness, task_losses
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import heads, hidden_heads
from mtra_jax.models.network import Network
from mtra_jax.types import Batch, Params, Rngs

REDUCTIONS = ("texts", "classes")
POSITIVES = 2**31 - 2
"""Folded into the encoder's dropout key for z⁺; larger than any index of a layer."""


def make(
    model: Model,
    *,
    alpha: float = 0.1,
    beta: float = 0.01,
    temperature: float = 1.0,
    hidden: int = 128,
    kl: str = "texts",
    simax: bool = True,
    timin: bool = True,
) -> contract.Method:
    """Makes InfoMTL. Defaults are Table 8's for RoBERTa; the presets set those for BERT.

    SIMax: z⁺ comes from a second pass of the encoder with a different dropout mask. All
    other texts of the global batch are negatives, and both passes are differentiated.

    TIMin: each task has a Gaussian in its output space. The outputs are a draw from it in
    training and its mean in evaluation. The KL term is a mean over dimensions, as in the
    authors' code of probabilistic coding (Hu et al. 2024); the paper has the sum.
    `kl="texts"` is a mean over texts, as in the paper. `kl="classes"`, as in that code,
    adds up the means over the texts of each class, up to K times as much for K classes.
    The mean is the usual head. `hidden`: units of the hidden layer of each log-variance,
    which has no dropout; 0 for one linear layer. The paper gives mean and log-variance an
    MLP with one hidden layer each; that code has linear layers. Table 19 of MTRA counts
    576k parameters of InfoMTL on TweetEval: 6 × 768 × 128, one hidden layer of 128 in each
    log-variance and none in the means.

    `simax=False` and `timin=False` are the ablations of Table 4; with both the objective
    is the sum of the tasks' losses.

    Raises:
      OptionError: a weight or `hidden` is negative, `temperature` is not positive, or `kl`
        is not one of `REDUCTIONS`.
    """
    checks.not_negative("alpha", alpha)
    checks.not_negative("beta", beta)
    checks.positive("temperature", temperature)
    checks.integer("hidden", hidden, least=0)
    checks.choice("kl", kl, REDUCTIONS)
    space = model.space
    variances: Network = heads.Heads(model.heads.tasks)
    flags = {"deterministic": True}
    if hidden:
        variances, flags = hidden_heads.HiddenHeads(model.heads.tasks, hidden), {}

    def init(rng: jax.Array) -> Params:
        if not timin:
            return {}
        z = jnp.zeros((1, model.hidden_size))
        return {"tasks": variances.init(rng, z, **flags)["params"]}

    def forward(
        params: Params,
        batch: Batch,
        rngs: Rngs | None,
        axis_name: str | None,
    ) -> contract.Losses:
        z, mean = model.represent_and_predict(params, batch, rngs)
        batch_loss: jax.Array | None = None
        if simax and rngs is not None:
            encoder_rng, _ = randomness.dropout_keys(rngs)
            again = jax.random.fold_in(encoder_rng, POSITIVES)
            positives = model.represent(params, batch, again)
            where = jnp.asarray(batch.where)
            batch_loss = alpha * objectives.info_nce(
                z, positives, temperature, where, axis_name
            )
        if not timin:
            task = task_losses.of_outputs(space, mean, batch, axis_name)
            return contract.Losses(task, {"task": task}, mean, batch_loss)
        log_variance = variances.apply(
            {"params": params["method"]["tasks"]}, z, **flags
        )
        outputs = randomness.reparameterize(mean, log_variance, rngs, axis_name)
        task = task_losses.of_outputs(space, outputs, batch, axis_name)
        rows = kl_of_texts(space, mean, log_variance, batch)
        reduce = mean_over_texts if kl == "texts" else sum_over_classes
        kls = reduce(space, rows, batch, axis_name)
        terms = {"task": task, "kl": kls}
        return contract.Losses(task + beta * kls, terms, outputs, batch_loss)

    return contract.Method(
        init,
        forward,
        balancing.ew("sum"),
        passes=2 if simax else 1,
    )


def kl_of_texts(
    space: Space, mean: jax.Array, log_variance: jax.Array, batch: Batch
) -> jax.Array:
    """Returns KL(N(mean, exp log_variance) ‖ N(0, I)) of each text: [B].

    `mean` and `log_variance`: [B, L]. The result is a mean over the slots of the text's
    task.
    """
    own = jnp.asarray(space.slot_tasks) == batch.tasks[:, None]
    terms = jnp.where(own, objectives.gaussian_kl_terms(mean, log_variance), 0)
    sizes = jnp.asarray(np.maximum(space.num_outputs, 1))[batch.tasks]
    return jnp.sum(terms, axis=-1) / sizes


def mean_over_texts(
    space: Space, rows: jax.Array, batch: Batch, axis_name: str | None
) -> jax.Array:
    """Returns the mean of `rows` [B] over the texts of each task: [T]."""
    return task_losses.mean(rows, batch, space.num_tasks, axis_name)


def sum_over_classes(
    space: Space, rows: jax.Array, batch: Batch, axis_name: str | None
) -> jax.Array:
    """Returns the sum over classes of the mean of `rows` over the texts of a class: [T].

    A class without a text in the global batch counts as 0. Tasks other than
    classification have the mean over their texts.
    """
    own = jnp.asarray(space.slot_tasks) == batch.tasks[:, None]
    members = own & (jnp.asarray(batch.targets) > 0) & batch.where[:, None]  # [B, L]
    masked_mean = jax.vmap(objectives.masked_mean, in_axes=(None, 1, None))
    means = masked_mean(rows, members, axis_name)
    sums = jax.ops.segment_sum(means, space.slot_tasks, space.num_tasks)
    others = mean_over_texts(space, rows, batch, axis_name)
    return jnp.where(jnp.asarray(space.is_classification), sums, others)
