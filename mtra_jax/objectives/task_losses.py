"""Outputs and targets of a task -> its loss (Hu et al. 2026, MTRA, section 3.1)."""

import numbers

import jax
import jax.numpy as jnp

from mtra_jax.objectives import masked


def cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
    *,
    weights: jax.Array | None = None,
    smoothing: float | jax.Array | None = None,
) -> jax.Array:
    """Returns the mean cross-entropy in nats over the valid rows.

    `logits` [B, C]; `targets` [B, C], one-hot or probabilities; `where` [B] bool.
    `weights` [C]: the mean is Σ w_y ℓ / Σ w_y over the global batch, with w_y the weight
    of a row's class; 0 if no row has a weight. `smoothing` in [0, 1): that share of each
    target is spread evenly over the classes. For one-hot targets both, also together, are
    the options `weight` and `label_smoothing` of PyTorch's `CrossEntropyLoss`.

    Raises:
      ValueError: the shapes do not fit, or `smoothing`, a number, is not in [0, 1).
      TypeError: `where` is not boolean, or outputs or targets are not real numbers.

    Source: label smoothing is that of Szegedy et al. 2016, "Rethinking the Inception
    Architecture for Computer Vision", section 7.

    >>> cross_entropy(jnp.zeros((2, 4)), jnp.eye(4)[:2])  # log 4
    Array(1.3862944, dtype=float32)
    """
    logits, targets = _classes(logits, targets)
    where = masked.as_mask(where, logits.shape[0])
    logits, targets = (masked.mask_rows(x, where) for x in (logits, targets))
    terms = cross_entropy_terms(logits, targets, weights=weights, smoothing=smoothing)
    if weights is None:
        return masked.masked_mean(terms, where, axis_name)
    row_weights = jnp.sum(targets * _as_weights(weights, targets), axis=-1)
    return masked.masked_ratio(terms, row_weights, where, axis_name)


def cross_entropy_terms(
    logits: jax.Array,
    targets: jax.Array,
    columns: jax.Array | None = None,
    *,
    weights: jax.Array | None = None,
    smoothing: float | jax.Array | None = None,
) -> jax.Array:
    """Returns the cross-entropy of each row in nats: [B].

    `logits` [B, C]; `targets` [B, C], one-hot or probabilities; `columns` [B, C] bool
    selects each row's own classes where rows of several tasks share a label space.
    `weights` [C]: each class's part is multiplied by its weight. `smoothing`, a number or
    [B]: as in `cross_entropy`, over the row's own classes.

    Raises:
      ValueError: the shapes do not fit, or `smoothing`, a number, is not in [0, 1).
      TypeError: `columns` is not boolean, or outputs or targets are not real numbers.

    >>> cross_entropy_terms(jnp.zeros((2, 4)), jnp.eye(4)[:2])  # log 4
    Array([1.3862944, 1.3862944], dtype=float32)
    """
    logits, targets = _classes(logits, targets)
    if columns is not None:
        columns = _as_columns(columns, logits)
        targets = jnp.where(columns, targets, 0)
    if smoothing is not None:
        targets = _smooth(targets, columns, smoothing)
    if weights is not None:
        targets = targets * _as_weights(weights, targets)
    has_probability = targets != 0
    if columns is not None:
        # No share of the softmax; finite, for rows without any class.
        logits = jnp.where(columns, logits, jnp.finfo(logits.dtype).min)
    # A class without probability adds 0, even if its logit is −inf.
    log_probabilities = jnp.where(has_probability, jax.nn.log_softmax(logits), 0)
    return -jnp.sum(targets * log_probabilities, axis=-1)


def binary_cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns the mean binary cross-entropy in nats over the valid rows and all labels.

    `logits` [B, D], of independent labels; `targets` [B, D], 0 and 1 or probabilities;
    `where` [B] bool.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `where` is not boolean, or outputs or targets are not real numbers.

    Source: Nam et al. 2014, "Large-scale Multi-label Text Classification - Revisiting
    Neural Networks", section 3.2; PyTorch's `BCEWithLogitsLoss`.

    >>> binary_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]]))  # log 2
    Array(0.6931472, dtype=float32)
    """
    logits, targets = _pair("logits", logits, "targets", targets)
    where = masked.as_mask(where, logits.shape[0])
    logits, targets = (masked.mask_rows(x, where) for x in (logits, targets))
    terms = binary_cross_entropy_terms(logits, targets)
    return masked.masked_mean(terms, where, axis_name)


def binary_cross_entropy_terms(
    logits: jax.Array, targets: jax.Array, columns: jax.Array | None = None
) -> jax.Array:
    """Returns the binary cross-entropy of each row in nats, mean over its labels: [B].

    `logits` and `targets` [B, D]; `columns` [B, D] bool selects each row's own labels
    where rows of several tasks share an output space. A row without any has 0.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `columns` is not boolean, or outputs or targets are not real numbers.

    >>> binary_cross_entropy_terms(jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]]))  # log 2
    Array([0.6931472], dtype=float32)
    """
    logits, targets = _pair("logits", logits, "targets", targets)
    if columns is not None:
        columns = _as_columns(columns, logits)
        # Masked before as well as after: other tasks' values may overflow here.
        logits, targets = (jnp.where(columns, x, 0) for x in (logits, targets))
    # −log σ(x) = softplus(−x) and −log(1 − σ(x)) = softplus(x), without rounding σ to 1.
    terms = _expected(targets, jax.nn.softplus(-logits))
    terms += _expected(1 - targets, jax.nn.softplus(logits))
    return _mean_of_columns(terms, columns)


def _expected(probability: jax.Array, loss: jax.Array) -> jax.Array:
    """The product; 0 where the probability is 0 and the loss infinite."""
    return probability * jnp.where((probability == 0) & jnp.isinf(loss), 0, loss)


def mean_squared_error(
    outputs: jax.Array,
    targets: jax.Array,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns the mean squared error over the valid rows and all dimensions.

    `outputs` and `targets` [B, D]; `where` [B] bool.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `where` is not boolean, or outputs or targets are not real numbers.

    Source: MTRA, section 3.1, the loss of regression; PyTorch's `MSELoss`.

    >>> mean_squared_error(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]]))
    Array(2.5, dtype=float32)
    """
    outputs, targets = _pair("outputs", outputs, "targets", targets)
    where = masked.as_mask(where, outputs.shape[0])
    outputs, targets = (masked.mask_rows(x, where) for x in (outputs, targets))
    return masked.masked_mean(squared_error_terms(outputs, targets), where, axis_name)


def squared_error_terms(
    outputs: jax.Array, targets: jax.Array, columns: jax.Array | None = None
) -> jax.Array:
    """Returns the squared error of each row, mean over its dimensions: [B].

    `outputs` and `targets` [B, D]; `columns` [B, D] bool selects each row's own
    dimensions where rows of several tasks share an output space.

    Raises:
      ValueError: the shapes do not fit.
      TypeError: `columns` is not boolean, or outputs or targets are not real numbers.

    >>> squared_error_terms(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]]))
    Array([2.5], dtype=float32)
    """
    outputs, targets = _pair("outputs", outputs, "targets", targets)
    if columns is not None:
        columns = _as_columns(columns, outputs)
        # Masked before as well as after: NaN of other tasks would reach the gradient.
        outputs, targets = (jnp.where(columns, x, 0) for x in (outputs, targets))
    return _mean_of_columns((outputs - targets) ** 2, columns)


def _mean_of_columns(terms: jax.Array, columns: jax.Array | None) -> jax.Array:
    if columns is None:
        return jnp.mean(terms, axis=-1)
    terms = jnp.where(columns, terms, 0)
    count = jnp.sum(columns, axis=-1, dtype=terms.dtype)
    return jnp.sum(terms, axis=-1) / jnp.maximum(count, 1)


def _smooth(
    targets: jax.Array, columns: jax.Array | None, smoothing: float | jax.Array
) -> jax.Array:
    """Spreads a share of the targets [B, C] evenly over each row's classes."""
    if isinstance(smoothing, numbers.Real) and not 0 <= smoothing < 1:
        raise ValueError(f"`smoothing` must be in [0, 1); found {smoothing}.")
    smoothing = jnp.asarray(smoothing, targets.dtype)[..., None]
    is_class = jnp.ones_like(targets) if columns is None else columns
    is_class = is_class.astype(targets.dtype)
    count = jnp.maximum(jnp.sum(is_class, axis=-1, keepdims=True), 1)
    return (1 - smoothing) * targets + smoothing * is_class / count


def _as_weights(weights: jax.Array, targets: jax.Array) -> jax.Array:
    weights = jnp.asarray(weights, targets.dtype)
    if weights.shape != targets.shape[-1:]:
        raise ValueError(
            f"`weights` must have shape {targets.shape[-1:]}; found {weights.shape}."
        )
    return weights


def _classes(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    if jnp.ndim(logits) == 2 and jnp.ndim(targets) == 1:
        raise ValueError(
            "`targets` must be [B, C], as `jax.nn.one_hot(ids, C)` makes of the ids of "
            f"classes; found shape {jnp.shape(targets)}."
        )
    return _pair("logits", logits, "targets", targets)


def _pair(
    first: str, a: jax.Array, second: str, b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    a, b = masked.as_floats(first, a), masked.as_floats(second, b)
    masked.check_ndim(first, a, 2)
    masked.check_same_shape(first, a, second, b)
    if a.shape[1] == 0:
        raise ValueError(f"`{first}` must have a column; found shape {a.shape}.")
    return a, b


def _as_columns(columns: jax.Array, outputs: jax.Array) -> jax.Array:
    columns = jnp.asarray(columns)
    if columns.dtype != jnp.bool_:
        raise TypeError(f"`columns` must be boolean; found {columns.dtype}.")
    masked.check_same_shape("columns", columns, "outputs", outputs)
    return columns
