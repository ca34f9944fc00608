"""Scores and representations -> information-theoretic terms, in nats."""

import math
import numbers

import jax
import jax.numpy as jnp

from mtra_jax.objectives import masked


def dv_bound(
    joint: jax.Array,
    marginal: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
    marginal_where: jax.Array | None = None,
) -> jax.Array:
    """Returns the Donsker-Varadhan lower bound on I(Z; Y): E[joint] − log E[exp marginal].

    `joint` [B]: scores V(y_i|z_i) of true pairs. `marginal` [B]: scores V(y_π(i)|z_i) of
    independent pairs. `where`: [B] bool. With `marginal_where` [M] bool there may be
    another number of independent pairs, `marginal` [M], such as all pairs of a batch. The
    bound is to be maximised.

    The value for a sample is above the bound in expectation, because the logarithm of a
    mean over few pairs is too low, and its variance grows as exp I. A constant added to
    all scores does not change it.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: a mask is not boolean, or scores are not real numbers.

    Source: Belghazi et al. 2018, Eq. 5; MTRA, Eq. 2.

    >>> dv_bound(jnp.full(3, 2.0), jnp.full(3, 0.5))
    Array(1.5, dtype=float32)
    """
    joint, marginal = _scores(joint, marginal, marginal_where)
    if marginal_where is None:
        marginal_where = where
    mean = masked.masked_mean(joint, where, axis_name)
    return mean - masked.log_mean_exp(marginal, marginal_where, axis_name)


def smile_bound(
    joint: jax.Array,
    marginal: jax.Array,
    clip: float,
    where: jax.Array | None = None,
    axis_name: str | None = None,
    marginal_where: jax.Array | None = None,
) -> jax.Array:
    """Returns E[joint] − log E[clip(exp marginal, e^−τ, e^τ)], SMILE's estimate of I(Z; Y).

    The arguments are those of `dv_bound`, and `clip` is τ. The value is that of the
    formula, the gradient is that of `jsd_bound`: see below.

    Clipping bounds the variance of the second term. The price is a bias that does not
    vanish with the number of pairs: the estimate is too high where scores above τ are
    clipped, too low where scores below −τ are, and not a bound. It is the
    Donsker-Varadhan bound where no score is clipped. The best scores are the logarithm of
    the density ratio itself; a constant added to them changes the value.

    The formula has no maximum: once all scores are above τ, larger ones raise the first
    term alone. The authors' code therefore takes the gradient of the Jensen-Shannon bound,
    whose best scores are the same, and so does this function.

    Raises:
      ValueError: the shapes do not fit, or `clip` is not positive.
      TypeError: a mask is not boolean, or scores are not real numbers.

    Source: Song & Ermon 2020, "Understanding the Limitations of Variational Mutual
    Information Estimators", section 5, with the gradient of their released code.

    >>> smile_bound(jnp.full(3, 2.0), jnp.full(3, 9.0), clip=1.5)
    Array(0.5, dtype=float32)
    """
    if isinstance(clip, numbers.Real) and not clip > 0:
        raise ValueError(f"`clip` must be positive; found {clip}.")
    joint, marginal = _scores(joint, marginal, marginal_where)
    clipped = jnp.clip(marginal, -clip, clip).astype(marginal.dtype)
    value = dv_bound(joint, clipped, where, axis_name, marginal_where)
    slope = jsd_bound(joint, marginal, where, axis_name, marginal_where)
    return jax.lax.stop_gradient(value) + (slope - jax.lax.stop_gradient(slope))


def jsd_bound(
    joint: jax.Array,
    marginal: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
    marginal_where: jax.Array | None = None,
) -> jax.Array:
    """Returns 2 log 2 − E[softplus(−joint)] − E[softplus(marginal)].

    The arguments are those of `dv_bound`. This is a lower bound on twice the
    Jensen-Shannon divergence of the joint distribution from the product of its marginals,
    and so on I(Z; Y), which is at least twice the divergence. With the constant 2 log 2,
    which the source leaves out, scores of 0 give 0, as independent variables do at best,
    and no scores give more than 2 log 2.

    It is a mean over pairs: unbiased for any number of them, with a variance that does
    not grow with I. In return it hardly tells large I apart, at most 2 log 2 = 1.39 nats.
    The best scores are the logarithm of the density ratio.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: a mask is not boolean, or scores are not real numbers.

    Source: Hjelm et al. 2019, "Learning Deep Representations by Mutual Information
    Estimation and Maximization", Eq. 4.

    >>> jsd_bound(jnp.zeros(3), jnp.zeros(3))
    Array(0., dtype=float32)
    """
    joint, marginal = _scores(joint, marginal, marginal_where)
    if marginal_where is None:
        marginal_where = where
    # The constant is within the means, which are 0 without a valid pair.
    of_joint = math.log(2) - jax.nn.softplus(-_valid(joint, where))
    of_marginal = math.log(2) - jax.nn.softplus(_valid(marginal, marginal_where))
    return masked.masked_mean(of_joint, where, axis_name) + masked.masked_mean(
        of_marginal, marginal_where, axis_name
    )


def info_nce_bound(
    joint: jax.Array,
    pairs: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
    columns: jax.Array | None = None,
) -> jax.Array:
    """Returns mean_i (joint_i − log mean_j exp pairs_ij), the InfoNCE bound on I(Z; Y).

    `joint` [B]: scores V(y_i|z_i) of true pairs. `pairs` [B, N]: scores V(y_j|z_i) of each
    z with every y of the batch, the true one too; with `axis_name` the columns are those
    of all devices. `where` [B] and `columns` [N], bool: valid rows and columns. Without
    `columns` they are the rows in the order of the devices.

    In expectation over batches it is a lower bound, and its variance is low. It never
    passes log N for N valid columns, so it is far too low for I beyond that. It costs N
    scores for each row where shuffled pairs cost one. The mean over j makes a score that
    depends on z alone cancel out.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: a mask is not boolean, or scores are not real numbers.

    Source: van den Oord et al. 2018, Eq. 4 and section 2.3: log N − L_N, with scores of
    any critic.

    >>> pairs = 9.0 * jnp.eye(4)
    >>> print(f"{info_nce_bound(jnp.diag(pairs), pairs):.3f}")  # log 4 is 1.386
    1.386
    """
    joint, pairs = masked.as_floats("joint", joint), masked.as_floats("pairs", pairs)
    masked.check_ndim("joint", joint, 1)
    masked.check_ndim("pairs", pairs, 2)
    where = masked.as_mask(where, joint.shape[0])
    if columns is None:
        columns = where
        if axis_name is not None:
            columns = jax.lax.all_gather(where, axis_name, tiled=True)
    if pairs.shape != (len(where), len(columns)):
        raise ValueError(
            f"`pairs` must have shape {(len(where), len(columns))}; found {pairs.shape}."
        )
    # The true score is subtracted first: the difference of large ones loses digits.
    rows = masked.mask_rows(pairs, where) - masked.mask_rows(joint, where)[:, None]
    log_means = jax.vmap(masked.log_mean_exp, in_axes=(0, None))(rows, columns)
    return masked.masked_mean(-log_means, where, axis_name)


def capped_bound(bound: jax.Array, ceiling: jax.Array | float) -> jax.Array:
    """Returns min(bound, ceiling), with the gradient 0 from the ceiling on.

    I(Z; Y) is at most the entropy H(Y) of discrete labels, in nats. A bound that passes
    this ceiling measures its error, and its gradient teaches nothing about Y. Infinity
    means no ceiling, as for targets of regression. `ceiling` broadcasts to `bound`.

    Raises:
      TypeError: the entries of `bound` are not real numbers.

    Source: an option of this package, not in the MTRA paper. The ceiling follows from
    I(Z; Y) = H(Y) − H(Y|Z), MTRA, Eq. 11.

    >>> capped_bound(jnp.array([0.25, 0.75]), 0.5)
    Array([0.25, 0.5 ], dtype=float32)
    """
    bound = masked.as_floats("bound", bound)
    ceiling = jax.lax.stop_gradient(jnp.asarray(ceiling, bound.dtype))
    # In this order a bound that is not a number is returned, and so noticed.
    return jnp.where(bound >= ceiling, ceiling, bound)


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
      TypeError: `where` is not boolean, or vectors are not real.

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
    # By default a GPU rounds the inputs of products to 11 bits, which 1/temperature enlarges.
    products = jnp.matmul(queries, keys.T, precision=jax.lax.Precision.HIGHEST)
    similarities = products / temperature
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
      TypeError: `where` is not boolean, or means or log-variances are not real.

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
    """Returns KL(N(m, exp s) ‖ N(p, exp r)) for each entry in nats; all shapes broadcast.

    Raises:
      TypeError: an argument has entries that are not real numbers, or the shapes do not
        broadcast.

    Source: Kingma & Welling 2014, appendix B, for any diagonal prior.

    >>> gaussian_kl_terms(jnp.ones(2), jnp.zeros(2), prior_mean=jnp.array([0.0, 1.0]))
    Array([0.5, 0. ], dtype=float32)
    """
    mean = masked.as_floats("mean", mean)
    log_variance = masked.as_floats("log_variance", log_variance)
    # A Python number takes the type of the others.
    if not isinstance(prior_mean, int | float):
        prior_mean = masked.as_floats("prior_mean", prior_mean)
    if not isinstance(prior_log_variance, int | float):
        prior_log_variance = masked.as_floats("prior_log_variance", prior_log_variance)
    log_ratio = log_variance - prior_log_variance
    # In deviations of the prior before the square, and none of equal means: the variance
    # of the prior may underflow.
    difference = mean - prior_mean
    scaled_by = jnp.where(difference == 0, 0, jnp.asarray(prior_log_variance))
    squares = (difference * jnp.exp(-scaled_by / 2)) ** 2
    # expm1 is exact for small differences, which exp(s) - 1 would round away.
    return 0.5 * (jnp.expm1(log_ratio) - log_ratio + squares)


def _scores(
    joint: jax.Array, marginal: jax.Array, marginal_where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Checks the scores of true and of independent pairs; both have one axis."""
    joint = masked.as_floats("joint", joint)
    marginal = masked.as_floats("marginal", marginal)
    masked.check_ndim("joint", joint, 1)
    if marginal_where is None:
        masked.check_same_shape("joint", joint, "marginal", marginal)
    masked.check_ndim("marginal", marginal, 1)
    return joint, marginal


def _valid(scores: jax.Array, where: jax.Array | None) -> jax.Array:
    """Zeroes invalid scores, so that no NaN in them reaches a gradient."""
    return masked.mask_rows(scores, masked.as_mask(where, scores.shape[0]))


def _unit_rows(x: jax.Array) -> jax.Array:
    """Scales rows to length 1; a row of zeros stays zero and has gradient zero."""
    # Squares of entries of at most 1 do not overflow, and their sum is not tiny. XLA would
    # square a constant `x` before it divides.
    x = jax.lax.optimization_barrier(x / masked.scale_of(x, axis=-1, keepdims=True))
    squares = jnp.sum(x**2, axis=-1, keepdims=True)
    is_zero = squares == 0
    return jnp.where(is_zero, 0, x * jax.lax.rsqrt(jnp.where(is_zero, 1, squares)))
