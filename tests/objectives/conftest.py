"""The masked means beside NumPy float64 oracles, float64 mode, differences."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import pytest

from mtra_jax import objectives


class MaskedMean(NamedTuple):
    """A public function of two arrays [B, ...], and the same in NumPy float64."""

    name: str
    function: Callable[..., jax.Array]  # (a, b, where=None, axis_name=None)
    oracle: Callable[[np.ndarray, np.ndarray], float]  # all rows valid, at least one
    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]

    @property
    def compiled(self) -> Callable[..., jax.Array]:
        return _compiled(self.function)

    @property
    def gradients(self) -> Callable[..., tuple[jax.Array, tuple[jax.Array, jax.Array]]]:
        """The value, and its gradients by both arguments, compiled."""
        return _compiled_gradients(self.function)


# One compilation per set of shapes instead of one per test.
@functools.cache
def _compiled(function):
    return jax.jit(function, static_argnames="axis_name")


@functools.cache
def _compiled_gradients(function):
    return jax.jit(jax.value_and_grad(function, (0, 1)), static_argnames="axis_name")


TEMPERATURE = 0.3


def numpy_cross_entropy(logits, targets):
    log_total = np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return float(-(targets * (logits - log_total)).sum(1).mean())


WEIGHTS, SMOOTHING = np.array([0.5, 3.0, 1.0, 0.25]), 0.2


def weighted_cross_entropy(logits, targets, where=None, axis_name=None):
    return objectives.cross_entropy(
        logits, targets, where, axis_name, weights=WEIGHTS, smoothing=SMOOTHING
    )


def numpy_weighted_cross_entropy(logits, targets):
    log_total = np.logaddexp.reduce(logits, axis=1, keepdims=True)
    smoothed = (1 - SMOOTHING) * targets + SMOOTHING / logits.shape[1]
    total = -(WEIGHTS * smoothed * (logits - log_total)).sum()
    return float(total / (WEIGHTS * targets).sum())


def numpy_binary_cross_entropy(logits, targets):
    terms = targets * np.logaddexp(0, -logits) + (1 - targets) * np.logaddexp(0, logits)
    return float(terms.mean())


def numpy_mean_squared_error(outputs, targets):
    return float(((outputs - targets) ** 2).mean())


def numpy_dv_bound(joint, marginal):
    return float(joint.mean() - np.logaddexp.reduce(marginal) + np.log(len(marginal)))


def numpy_jsd_bound(joint, marginal):
    losses = np.logaddexp(0, -joint).mean() + np.logaddexp(0, marginal).mean()
    return float(np.log(4) - losses)


def numpy_gaussian_kl(mean, log_variance):
    terms = np.exp(log_variance) + mean**2 - 1 - log_variance
    return float(terms.mean() / 2)


def numpy_info_nce(queries, keys):
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    scores = queries @ keys.T / TEMPERATURE
    return float((np.logaddexp.reduce(scores, axis=1) - np.diag(scores)).mean())


def info_nce(queries, keys, where=None, axis_name=None):
    return objectives.info_nce(queries, keys, TEMPERATURE, where, axis_name)


def draw_logits(rng, n):
    """Soft, unnormalised targets: the definition is a plain weighted sum."""
    return 2 * rng.normal(size=(n, 4)), rng.uniform(0, 1, size=(n, 4))


def draw_matrices(rng, n):
    return rng.normal(size=(n, 3)), rng.normal(size=(n, 3))


def draw_scores(rng, n):
    return 2 * rng.normal(size=n), 2 * rng.normal(size=n)


MASKED_MEANS = (
    MaskedMean(
        "cross_entropy", objectives.cross_entropy, numpy_cross_entropy, draw_logits
    ),
    MaskedMean(
        "weighted_cross_entropy",
        weighted_cross_entropy,
        numpy_weighted_cross_entropy,
        draw_logits,
    ),
    MaskedMean(
        "binary_cross_entropy",
        objectives.binary_cross_entropy,
        numpy_binary_cross_entropy,
        draw_logits,
    ),
    MaskedMean(
        "mean_squared_error",
        objectives.mean_squared_error,
        numpy_mean_squared_error,
        draw_matrices,
    ),
    MaskedMean("dv_bound", objectives.dv_bound, numpy_dv_bound, draw_scores),
    MaskedMean("jsd_bound", objectives.jsd_bound, numpy_jsd_bound, draw_scores),
    MaskedMean("info_nce", info_nce, numpy_info_nce, draw_matrices),
    MaskedMean("gaussian_kl", objectives.gaussian_kl, numpy_gaussian_kl, draw_matrices),
)


@pytest.fixture(params=MASKED_MEANS, ids=lambda mean: mean.name)
def masked(request) -> MaskedMean:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def x64():
    """Float64 arrays during one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def central_difference(x64):
    """Gradient of a scalar function at a NumPy float64 array, entry by entry."""

    def difference(function, at, step=1e-5):
        # Error: step² f'''/6 from the series and eps f/step from rounding, both ~1e-10.
        gradient = np.empty_like(at)
        for index in np.ndindex(*at.shape):
            up, down = at.copy(), at.copy()
            up[index] += step
            down[index] -= step
            gradient[index] = (float(function(up)) - float(function(down))) / (2 * step)
        return gradient

    return difference
