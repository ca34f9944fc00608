"""Frozen representations and targets -> estimates of their mutual information, in nats.

A fresh critic V(z, y) is trained on one part of the data and measured on another. The
bound that it raises is an argument: `of_pairs(objectives.dv_bound)` is MINE.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtra_jax import objectives
from mtra_jax.analysis import vectors
from mtra_jax.types import Params

Bound = Callable[[jax.Array, jax.Array], jax.Array]
"""(scores [B] of true pairs, scores [B, K] of z_i with K other y) -> nats."""
PAIRS = 64
"""Independent pairs for each row when a trained critic is measured."""


class Estimate(NamedTuple):
    """A critic's bound on the rows it was trained on, and on those it was not.

    `validation` of InfoNCE is a lower bound in expectation. MINE's is slightly above
    one, as the logarithm of a sample's mean is biased; SMILE is not a bound, as it is
    clipped. `training` may pass I by what the critic learned by heart. `step`: the
    number of steps of the critic that was chosen.
    """

    training: float
    validation: float
    step: int


class Budget(NamedTuple):
    """How a critic is trained: by Adam, on batches drawn without replacement.

    `widths`: units of the hidden layers. `held_out`: the share of the training rows
    that choose the best of `checks` equally spaced steps; 0 for the last step. `pairs`:
    independent y for each z of a batch, at most `batch_size` − 1.
    """

    widths: tuple[int, ...] = (128,)
    steps: int = 1000
    batch_size: int = 128
    pairs: int = PAIRS
    rate: float = 1e-3
    held_out: float = 0.1
    checks: int = 20


class _Data(NamedTuple):
    """`z` [N, H], `y` [N, L]."""

    z: Any
    y: Any


class _State(NamedTuple):
    params: Params
    moments: optax.OptState


@functools.cache
def of_pairs(bound: Callable[[jax.Array, jax.Array], jax.Array]) -> Bound:
    """A bound of `objectives` on (joint [N], marginal [N]) scores, for all K pairs."""

    def of_all(joint: jax.Array, marginals: jax.Array) -> jax.Array:
        repeated = jnp.broadcast_to(joint[:, None], marginals.shape)
        return bound(repeated.reshape(-1), marginals.reshape(-1))

    return of_all


def smile(joint: jax.Array, marginal: jax.Array) -> jax.Array:
    """The bound SMILE on (joint [N], marginal [N]) scores, with τ = 5."""
    return objectives.smile_bound(joint, marginal, clip=5.0)


def info_nce(joint: jax.Array, marginals: jax.Array) -> jax.Array:
    """InfoNCE of joint [N] and marginals [N, K] scores: at most log(K + 1)."""
    pairs = jnp.concatenate([joint[:, None], marginals], axis=1)
    columns = jnp.ones(pairs.shape[1], bool)
    return objectives.info_nce_bound(joint, pairs, columns=columns)


BOUNDS: dict[str, Bound] = {
    "mine": of_pairs(objectives.dv_bound),
    "smile": of_pairs(smile),
    "info_nce": info_nce,
}
"""By name."""


def entropy(labels: Any) -> float:
    """Returns H(Y) of `labels` [N] or [N, L] in nats, the ceiling of I(Z; Y).

    A row of [N, L] is one value of Y. Do not use it for values that are not discrete.

    Raises:
      ValueError: there is no label.

    >>> print(f"{entropy([0, 1, 1, 0]):.4f}")
    0.6931
    """
    labels = np.asarray(labels)
    if not len(labels):
        raise ValueError("`labels` must not be empty.")
    counts = np.unique(labels, axis=0, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-np.sum(shares * np.log(shares)) + 0.0)  # not -0.0 for one class


def estimate(
    bound: Bound,
    training: tuple[Any, Any],
    validation: tuple[Any, Any],
    *,
    seed: int,
    budget: Budget = Budget(),  # noqa: B008
) -> Estimate:
    """Trains a critic on `training` and returns `bound` on both parts.

    Each part is (z [N, H], y [N, L]); labels are one-hot. Both are standardised by the
    training part, which leaves the information as it is. Bounds are NaN if none of the
    critic's checks was finite.

    Raises:
      ValueError: shapes do not fit, a part has fewer than two rows, or an entry is not
        finite.

    Source: MTRA, section 4.4 and Table 6, which name the estimator alone. The critic's
    width (`widths`) is that of the method, in Table 10; its training and the choice of its
    step are ours.
    """
    rng = np.random.default_rng(seed)
    given = _shuffled(_data("training", training), rng)
    other = _shuffled(_data("validation", validation), rng)
    shapes = [array.shape for array in (*given, *other)]
    if [shape[1] for shape in shapes[:2]] != [shape[1] for shape in shapes[2:]]:
        raise ValueError(
            f"`training` and `validation` must have the same widths; found {shapes}."
        )
    given, other = (_standardised(part, given) for part in (given, other))
    num_held = int(budget.held_out * len(given.z))
    held = _rows(given, slice(num_held)) if num_held > 1 else None
    learned = _rows(given, slice(num_held, None)) if held else given
    keys = jax.random.split(jax.random.key(seed), budget.checks + 1)
    state = _start(keys[0], given, budget.widths)
    steps = max(1, budget.steps // budget.checks)
    best, best_value, best_check = state, -np.inf, 0
    for check, key in enumerate(keys[1:], start=1):
        state = _train(
            state,
            key,
            learned,
            bound,
            steps,
            min(budget.batch_size, len(learned.z)),
            budget.pairs,
            budget.rate,
        )
        value = float(_measure(state.params, held, bound)) if held else np.inf
        if value >= best_value:
            best, best_value, best_check = state, value, check
    if best_value == -np.inf:
        return Estimate(np.nan, np.nan, 0)
    return Estimate(
        float(_measure(best.params, learned, bound)),
        float(_measure(best.params, other, bound)),
        steps * best_check,
    )


def _data(name: str, part: tuple[Any, Any]) -> _Data:
    z, y = (vectors.matrix(name, array) for array in part)
    if len(z) != len(y) or len(z) < 2:
        raise ValueError(
            f"`{name}` must hold z and y of the same two or more rows; "
            f"found {z.shape} and {y.shape}."
        )
    return _Data(z, y)


def _shuffled(part: _Data, rng: np.random.Generator) -> _Data:
    """The rows in random order, so that row i and row i + k are independent."""
    return _rows(part, rng.permutation(len(part.z)))


def _rows(part: _Data, rows: slice | np.ndarray) -> _Data:
    return _Data(part.z[rows], part.y[rows])


def _standardised(part: _Data, by: _Data) -> _Data:
    def scaled(values: np.ndarray, by: np.ndarray) -> np.ndarray:
        deviation = by.std(axis=0)
        return (values - by.mean(axis=0)) / np.where(deviation > 0, deviation, 1)

    return _Data(
        *(scaled(values, source) for values, source in zip(part, by, strict=True))
    )


def _start(key: jax.Array, data: _Data, widths: tuple[int, ...]) -> _State:
    """A critic whose weights and biases are from U(±1/√fan_in), as in `objectives`.

    As there, the layer of y and the score have no bias.
    """
    first, *others = widths
    sizes = [(data.z.shape[1], first), (data.y.shape[1], first)]
    sizes += [*zip(widths, others, strict=False), (widths[-1], 1)]
    biased = [sizes[0], *sizes[2:-1]]
    keys = iter(jax.random.split(key, len(sizes) + len(biased)))

    def draw(shape: tuple[int, ...], fan_in: int) -> jax.Array:
        limit = fan_in**-0.5
        return jax.random.uniform(next(keys), shape, minval=-limit, maxval=limit)

    params = {
        "kernels": [draw(size, size[0]) for size in sizes],
        "biases": [draw((width,), fan_in) for fan_in, width in biased],
    }
    return _State(params, optax.adam(1).init(params))


def _scores(
    params: Params, z: jax.Array, y: jax.Array, pairs: int, each: Callable
) -> tuple[jax.Array, jax.Array]:
    """V of the true pairs [N], and of z_i with y_{i+1} to y_{i+pairs}: [N, pairs]."""
    from_z, from_y, *others = params["kernels"]
    first, *biases = params["biases"]
    of_z, of_y = z @ from_z + first, y @ from_y

    def shifted(shift: jax.Array | int) -> jax.Array:
        hidden = jax.nn.relu(of_z + jnp.roll(of_y, -shift, axis=0))
        for kernel, bias in zip(others[:-1], biases, strict=True):
            hidden = jax.nn.relu(hidden @ kernel + bias)
        return (hidden @ others[-1])[:, 0]

    return shifted(0), each(shifted, jnp.arange(1, pairs + 1)).T


def _in_parallel(function: Callable, values: jax.Array) -> jax.Array:
    return jax.vmap(function)(values)


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6, 7))
def _train(
    state: _State,
    key: jax.Array,
    data: _Data,
    bound: Bound,
    steps: int,
    batch_size: int,
    pairs: int,
    rate: float,
) -> _State:
    """Takes `steps` steps of Adam up the bound."""
    optimise = optax.adam(rate)

    def loss(params: Params, z: jax.Array, y: jax.Array) -> jax.Array:
        used = min(pairs, batch_size - 1)
        return -bound(*_scores(params, z, y, used, _in_parallel))

    def step(state: _State, key: jax.Array) -> tuple[_State, None]:
        rows = jax.random.permutation(key, len(data.z))[:batch_size]
        gradient = jax.grad(loss)(state.params, data.z[rows], data.y[rows])
        updates, moments = optimise.update(gradient, state.moments)
        return _State(optax.apply_updates(state.params, updates), moments), None

    return jax.lax.scan(step, state, jax.random.split(key, steps))[0]


@functools.partial(jax.jit, static_argnums=2)
def _measure(params: Params, data: _Data, bound: Bound) -> jax.Array:
    """The bound of a critic with `PAIRS` independent pairs for each row."""
    pairs = min(PAIRS, len(data.z) - 1)
    # One shift after the other: memory is N × width.
    return bound(*_scores(params, data.z, data.y, pairs, jax.lax.map))
