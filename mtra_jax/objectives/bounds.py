"""Scores and representations -> information-theoretic terms, in nats."""

import numbers

import jax
import jax.numpy as jnp

from mtra_jax.objectives import masked


def dv_bound(
    joint: jax.Array,
    marginal: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns the Donsker-Varadhan lower bound on I(Z; Y): E[joint] − log E[exp marginal].

    `joint` [B]: scores V(y_i|z_i) of true pairs. `marginal` [B]: scores V(y_π(i)|z_i) of
    independent pairs. `where`: [B] bool. The bound is to be maximised.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `where` is not boolean.

    Source: Belghazi et al. 2018, Eq. 5; MTRA, Eq. 2.

    >>> dv_bound(jnp.full(3, 2.0), jnp.full(3, 0.5))
    Array(1.5, dtype=float32)
    """
    joint = masked.as_floats("joint", joint)
    marginal = masked.as_floats("marginal", marginal)
    masked.check_ndim("joint", joint, 1)
    masked.check_same_shape("joint", joint, "marginal", marginal)
    mean = masked.masked_mean(joint, where, axis_name)
    return mean - masked.log_mean_exp(marginal, where, axis_name)


def info_nce(
    queries: jax.Array,
    keys: jax.Array,
    temperature: float,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns −mean_i log softmax_j(cos(q_i, k_j) / temperature) at j = i.

    `queries` and `keys`: [B, D]. Row i of `keys` is the positive of row i of `queries`;
    the other valid keys, with `axis_name` those of all devices, are the negatives.

    Raises:
      ValueError: the shapes do not fit, or `temperature` is not positive.
      TypeError: `where` is not boolean.

    Source: van den Oord et al. 2018, Eq. 4; with cosine similarity as in InfoMTL
    (Hu et al. 2025).

    >>> loss = info_nce(jnp.eye(2), jnp.eye(2), temperature=1.0)
    >>> print(f"{loss:.4f}")  # log(1 + exp(-1))
    0.3133
    """
    queries = masked.as_floats("queries", queries)
    keys = masked.as_floats("keys", keys)
    masked.check_ndim("queries", queries, 2)
    masked.check_same_shape("queries", queries, "keys", keys)
    if isinstance(temperature, numbers.Real) and not temperature > 0:
        raise ValueError(f"`temperature` must be positive; found {temperature}.")
    where = masked.as_mask(where, queries.shape[0])
    queries = _unit_rows(masked.mask_rows(queries, where))
    keys = _unit_rows(masked.mask_rows(keys, where))
    positive = jnp.sum(queries * keys, axis=-1) / temperature
    valid = where
    if axis_name is not None:
        keys = jax.lax.all_gather(keys, axis_name, tiled=True)
        valid = jax.lax.all_gather(where, axis_name, tiled=True)
    similarities = queries @ keys.T / temperature
    lowest = jnp.finfo(similarities.dtype).min
    # Finite, so that a batch without a valid key gives no NaN.
    similarities = jnp.where(valid[None, :], similarities, lowest)
    losses = jax.nn.logsumexp(similarities, axis=-1) - positive
    return masked.masked_mean(losses, where, axis_name)


def gaussian_kl(
    mean: jax.Array,
    log_variance: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns KL(N(mean, exp(log_variance)) ‖ N(0, I)), mean over rows and dimensions.

    `mean` and `log_variance` [B, D]; `where` [B] bool.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `where` is not boolean.

    Source: Kingma & Welling 2014, appendix B; divided by D.

    >>> gaussian_kl(jnp.ones((1, 2)), jnp.zeros((1, 2)))
    Array(0.5, dtype=float32)
    """
    mean = masked.as_floats("mean", mean)
    log_variance = masked.as_floats("log_variance", log_variance)
    masked.check_ndim("mean", mean, 2)
    masked.check_same_shape("mean", mean, "log_variance", log_variance)
    where = masked.as_mask(where, mean.shape[0])
    mean, log_variance = (masked.mask_rows(x, where) for x in (mean, log_variance))
    terms = gaussian_kl_terms(mean, log_variance)
    return masked.masked_mean(jnp.mean(terms, axis=-1), where, axis_name)


def gaussian_kl_terms(
    mean: jax.Array,
    log_variance: jax.Array,
    prior_mean: jax.Array | float = 0.0,
    prior_log_variance: jax.Array | float = 0.0,
) -> jax.Array:
    """Returns KL(N(m, exp s) ‖ N(p, exp r)) for each entry; all shapes broadcast.

    Source: Kingma & Welling 2014, appendix B, for any diagonal prior.

    >>> gaussian_kl_terms(jnp.ones(2), jnp.zeros(2), prior_mean=jnp.array([0.0, 1.0]))
    Array([0.5, 0. ], dtype=float32)
    """
    mean = masked.as_floats("mean", mean)
    log_variance = masked.as_floats("log_variance", log_variance)
    log_ratio = log_variance - prior_log_variance
    squares = (mean - prior_mean) ** 2 * jnp.exp(-jnp.asarray(prior_log_variance))
    # expm1 is exact for small differences, which exp(s) - 1 would round away.
    return 0.5 * (jnp.expm1(log_ratio) - log_ratio + squares)


def _unit_rows(x: jax.Array) -> jax.Array:
    """Scales rows to length 1; a row of zeros stays zero and has gradient zero."""
    squares = jnp.sum(x**2, axis=-1, keepdims=True)
    is_zero = squares == 0
    return jnp.where(is_zero, 0, x * jax.lax.rsqrt(jnp.where(is_zero, 1, squares)))
