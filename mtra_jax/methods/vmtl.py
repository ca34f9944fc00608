"""Variational MTL: Gaussian z and classifiers, their priors mixed from the other tasks.

Source: Shen et al. 2021, "Variational Multi-Task Learning with Gumbel-Softmax Priors",
Eq. 4-9, with sums over i ≠ t:

    L = (1/T) Σ_t [ℓ_t + β KL(q(z|x) ‖ Σ_i b_ti q_i(z)) + γ KL(q(w_t) ‖ Σ_i a_ti q(w_i))]
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax import balancing, objectives
from mtra_jax.balancing import checks
from mtra_jax.methods import contract, randomness, task_losses
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import bottleneck
from mtra_jax.models.network import Network
from mtra_jax.types import Batch, Params, Rngs

TINY = 1e-12
"""Smallest variance of an output, for texts whose features are all 0."""


class Gaussian(NamedTuple):
    """A posterior: mean and log-variance, [B, H] for texts or [H, L] for classifiers."""

    mean: jax.Array
    log_variance: jax.Array


class Prior(NamedTuple):
    """A Gaussian for each task: mean and variance [T, H]."""

    mean: jax.Array
    variance: jax.Array


def make(
    model: Model,
    *,
    beta: float = 1e-2,
    gamma: float = 1e-2,
    temperature: float = 0.5,
) -> contract.Method:
    """Makes VMTL: z and classifiers are drawn in training, and their means in evaluation.

    `beta` and `gamma` are the weights of the KL terms of z and of the classifier w_t,
    which are means over dimensions. `temperature` is that of the Gumbel-softmax.

    In the paper all tasks have the same classes, and the prior of a class is mixed from
    the same class of the other tasks. Here classes differ. The prior of z is mixed from
    Gaussians with the moments of the other tasks' texts in the batch; that of each column
    of w_t from Gaussians with the moments of the other tasks' columns.

    The KL from a mixture has no closed form. As in the released code, a Gaussian with mean
    Σ c μ and variance Σ c² σ² replaces the mixture, and only its weights c have gradients.
    If the batch has no other task, the prior is N(0, I), as in the first steps of the
    released code. In evaluation the loss is ℓ_t without KL terms. A step draws z and w_t
    once for each text, where the released code takes the mean of ten draws and lowers the
    temperature from 1 to 0.5.

    Raises:
      OptionError: a weight is negative, or `temperature` is not positive.
    """
    checks.not_negative("beta", beta)
    checks.not_negative("gamma", gamma)
    checks.positive("temperature", temperature)
    network: Network = bottleneck.Bottleneck(model.hidden_size)
    space = model.space

    def init(rng: jax.Array) -> Params:
        def task(size: int) -> Params:
            shape = (model.hidden_size, size)
            start = bottleneck.INITIAL_LOG_VARIANCE
            return {
                "log_variance": jnp.full(shape, start),
                "z_logits": jnp.zeros(space.num_tasks),
                "w_logits": jnp.zeros(space.num_tasks),
            }

        z = jnp.zeros((1, model.hidden_size))
        sizes = map(int, space.num_outputs)
        tasks = {n: task(size) for n, size in zip(space.names, sizes, strict=True)}
        return {"bottleneck": network.init(rng, z)["params"], "tasks": tasks}

    def forward(
        params: Params,
        batch: Batch,
        rngs: Rngs | None,
        axis_name: str | None,
    ) -> contract.Losses:
        encoder_rng, _ = randomness.dropout_keys(rngs)
        z = model.represent(params, batch, encoder_rng)
        mean, log_variance = network.apply(
            {"params": params["method"]["bottleneck"]}, z
        )
        if rngs is None:
            outputs = model.predict(params, mean, None)
            task = task_losses.of_outputs(space, outputs, batch, axis_name)
            return contract.Losses(task, {"task": task}, outputs)
        return _training_losses(
            model,
            params,
            batch,
            Gaussian(mean, log_variance),
            rngs,
            weights=(beta, gamma),
            temperature=temperature,
            axis_name=axis_name,
        )

    return contract.Method(init, forward, balancing.ew())


def _training_losses(
    model: Model,
    params: Params,
    batch: Batch,
    posterior: Gaussian,
    rngs: Rngs,
    *,
    weights: tuple[float, float],
    temperature: float,
    axis_name: str | None,
) -> contract.Losses:
    space = model.space
    _, heads_rng = randomness.dropout_keys(rngs)
    keys = [{**rngs, "method": key} for key in jax.random.split(rngs["method"], 4)]
    sample = randomness.reparameterize(*posterior, keys[0], axis_name)
    kernel = Gaussian(
        jnp.concatenate([params["heads"][n]["kernel"] for n in space.names], axis=1),
        jnp.concatenate(_of_tasks(params, space, "log_variance"), axis=1),
    )
    features = model.head_features(params, sample, heads_rng)
    # With a new draw of the classifier for each text the outputs are Gaussian: draw them.
    variance = features**2 @ jnp.exp(kernel.log_variance)
    outputs = randomness.reparameterize(
        model.predict(params, sample, heads_rng),
        jnp.log(jnp.maximum(variance, TINY)),
        keys[1],
        axis_name,
    )
    task = task_losses.of_outputs(space, outputs, batch, axis_name)
    z_prior = mix(
        moments_of_texts(posterior, batch, space.num_tasks, axis_name),
        jnp.stack(_of_tasks(params, space, "z_logits")),
        task_losses.present(batch, space.num_tasks, axis_name),
        temperature,
        keys[2]["method"],
    )
    w_prior = mix(
        moments_of_columns(kernel, space),
        jnp.stack(_of_tasks(params, space, "w_logits")),
        jnp.ones(space.num_tasks, bool),
        temperature,
        keys[3]["method"],
    )
    z_kl = representation_kl(posterior, z_prior, batch, space.num_tasks, axis_name)
    w_kl = classifier_kl(kernel, w_prior, space)
    beta, gamma = weights
    return contract.Losses(
        task + beta * z_kl + gamma * w_kl,
        {"task": task, "z_kl": z_kl, "w_kl": w_kl},
        outputs,
    )


def _of_tasks(params: Params, space: Space, key: str) -> list[jax.Array]:
    """Returns the parameter `key` of each task, in the order of the space."""
    tasks = params["method"]["tasks"]
    return [tasks[name][key] for name in space.names]


def moments_of_texts(
    posterior: Gaussian, batch: Batch, num_tasks: int, axis_name: str | None
) -> Prior:
    """Returns the moments of z over each task's texts in the global batch."""
    mean, log_variance = posterior
    members = task_losses.members(batch, num_tasks).astype(mean.dtype)
    squares = jnp.exp(log_variance) + mean**2
    sums = (members @ mean, members @ squares, jnp.sum(members, axis=1, keepdims=True))
    if axis_name is not None:
        sums = jax.lax.psum(jax.lax.stop_gradient(sums), axis_name)
    first, second, count = jax.lax.stop_gradient(sums)
    count = jnp.maximum(count, 1)
    return Prior(first / count, _variance(first / count, second / count))


def moments_of_columns(kernel: Gaussian, space: Space) -> Prior:
    """Returns the moments over the columns of each task's kernel [H, d]."""
    mean, log_variance = jax.lax.stop_gradient(kernel)
    own = np.arange(space.num_tasks)[:, None] == space.slot_tasks
    shares = jnp.asarray(own / np.maximum(space.num_outputs, 1)[:, None], mean.dtype)
    first = shares @ mean.T
    second = shares @ (jnp.exp(log_variance) + mean**2).T
    return Prior(first, _variance(first, second))


def _variance(mean: jax.Array, mean_square: jax.Array) -> jax.Array:
    # The released code adds 1e-6 too; the difference may round to less than 0.
    return jnp.maximum(mean_square - mean**2, 0) + 1e-6


def mix(
    parts: Prior,
    logits: jax.Array,
    present: jax.Array,
    temperature: float,
    rng: jax.Array,
) -> Prior:
    """Returns each task's prior, mixed from the other tasks present; N(0, I) without any.

    `logits` [T, T]: row t holds the weights of all tasks in the prior of task t, before a
    draw of the Gumbel-softmax (Jang et al. 2017, Eq. 2).
    """
    num_tasks = len(logits)
    is_part = present[None] & ~jnp.eye(num_tasks, dtype=bool)
    noise = jax.random.gumbel(rng, logits.shape, logits.dtype)
    scores = jax.nn.log_softmax(logits, where=is_part, axis=-1) + noise
    scores = jnp.where(is_part, scores / temperature, 0)
    has_any = jnp.any(is_part, axis=-1, keepdims=True)
    weights = jax.nn.softmax(scores, where=is_part, axis=-1)
    weights = jnp.where(is_part & has_any, weights, 0)
    return Prior(
        weights @ parts.mean,
        jnp.where(has_any, weights**2 @ parts.variance, 1.0),
    )


def representation_kl(
    posterior: Gaussian,
    prior: Prior,
    batch: Batch,
    num_tasks: int,
    axis_name: str | None,
) -> jax.Array:
    """Returns KL(q(z|x) ‖ the task's prior), mean over texts and dimensions: [T]."""
    terms = objectives.gaussian_kl_terms(
        *posterior,
        prior.mean[batch.tasks],
        jnp.log(prior.variance)[batch.tasks],
    )
    return task_losses.mean(jnp.mean(terms, axis=-1), batch, num_tasks, axis_name)


def classifier_kl(kernel: Gaussian, prior: Prior, space: Space) -> jax.Array:
    """Returns KL(q(w_t) ‖ prior), mean over the entries of each task's kernel: [T]."""
    terms = objectives.gaussian_kl_terms(
        *kernel,
        prior.mean[space.slot_tasks].T,
        jnp.log(prior.variance)[space.slot_tasks].T,
    )
    columns = jnp.mean(terms, axis=0)
    sums = jax.ops.segment_sum(columns, space.slot_tasks, space.num_tasks)
    return sums / np.maximum(space.num_outputs, 1)
