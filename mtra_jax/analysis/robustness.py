"""A model and noise of growing size on some parameters -> a metric for each size.

The papers put the noise on the embedding layer: `select` the word embeddings of the
encoder. An attack moves a point (any pytree) by a step of L2 norm `size`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.types import Params

Point = Any
Attack = Callable[[Callable[[Point], Point], Point, jax.Array, jax.Array], Point]
"""(gradient of the loss, point, size, key) -> the moved point."""


def fgm(per_row: bool = False) -> Attack:
    """One step along the gradient of the loss.

    With `per_row` every leaf is [B, ...] and each of the B rows moves by `size`, such
    as the embeddings of each text; otherwise all leaves together do.

    Source: Miyato et al. 2017, Eq. 5; InfoMTL, figure 3.
    """
    step = _step(per_row)

    def attack(
        gradient: Callable[[Point], Point], point: Point, size: jax.Array, _: jax.Array
    ) -> Point:
        return _add(point, step(gradient(point), size))

    return attack


def pgd(steps: int = 10, rate: float = 0.25, per_row: bool = False) -> Attack:
    """`steps` steps of length `rate` × `size`, projected on the ball of radius `size`.

    It starts in the centre, and draws nothing. `per_row`: see `fgm`.

    Raises:
      ValueError: `steps` or `rate` is not positive.

    Source: Madry et al. 2018, section 2.1, for the L2 norm.
    """
    if not steps > 0 or not rate > 0:
        raise ValueError(
            f"`steps` and `rate` must be positive; found {steps} and {rate}."
        )
    step, project = _step(per_row), _projection(per_row)

    def attack(
        gradient: Callable[[Point], Point], point: Point, size: jax.Array, _: jax.Array
    ) -> Point:
        def ascend(_: jax.Array, delta: Point) -> Point:
            further = step(gradient(_add(point, delta)), rate * size)
            return project(_add(delta, further), size)

        start = jax.tree.map(jnp.zeros_like, point)
        return _add(point, jax.lax.fori_loop(0, steps, ascend, start))

    return attack


def noise(per_row: bool = False) -> Attack:
    """A step in a direction drawn from a Gaussian, of the same length as the others'.

    `per_row`: see `fgm`.

    Source: InfoMTL, figure 4.
    """
    step = _step(per_row)

    def attack(
        _: Callable[[Point], Point], point: Point, size: jax.Array, key: jax.Array
    ) -> Point:
        leaves, structure = jax.tree.flatten(point)
        keys = jax.random.split(key, len(leaves))
        drawn = [
            jax.random.normal(k, leaf.shape, leaf.dtype)
            for k, leaf in zip(keys, leaves, strict=True)
        ]
        return _add(point, step(jax.tree.unflatten(structure, drawn), size))

    return attack


def curve(
    apply: Callable[[Params, Any], Any],
    params: Params,
    batches: Sequence[Any],
    sizes: Sequence[float],
    *,
    loss: Callable[[Any, Any], jax.Array],
    metric: Callable[[list[Any]], float],
    attack: Attack,
    select: Callable[[Params], Any],
    seed: int = 0,
) -> list[float]:
    """Returns `metric` of the outputs under noise of each of the `sizes`.

    `apply(params, batch)` returns the outputs, without dropout. `loss(outputs, batch)`
    is the scalar that an adversary raises. `metric` takes the outputs of all batches,
    in their order. `select(params)` returns a pytree of booleans, or a prefix of one:
    the True leaves are moved, anew for each batch. Size 0 gives the figure without
    noise. Batch i has the same key for every size, so that a random direction only
    grows.

    Raises:
      ValueError: a size is negative, or `select` selects nothing.
    """
    if any(not size >= 0 for size in sizes):
        raise ValueError(f"`sizes` must not be negative; found {list(sizes)}.")
    leaves, structure = jax.tree.flatten(params)
    chosen = jax.tree.leaves(jax.tree.broadcast(select(params), params))
    if not any(chosen):
        raise ValueError("`select` must select at least one leaf; found none.")

    @jax.jit
    def outputs(leaves: list, batch: Any, size: jax.Array, key: jax.Array) -> Any:
        def at(point: list) -> Any:
            moved = iter(point)
            pairs = zip(leaves, chosen, strict=True)
            all_leaves = [next(moved) if hit else leaf for leaf, hit in pairs]
            return apply(jax.tree.unflatten(structure, all_leaves), batch)

        gradient = jax.grad(lambda point: loss(at(point), batch))
        start = [leaf for leaf, hit in zip(leaves, chosen, strict=True) if hit]
        return at(attack(gradient, start, size, key))

    keys = jax.random.split(jax.random.key(seed), max(1, len(batches)))
    pairs = list(zip(batches, keys, strict=False))
    return [
        float(metric([outputs(leaves, batch, size, key) for batch, key in pairs]))
        for size in map(float, sizes)
    ]


def _add(point: Point, delta: Point) -> Point:
    return jax.tree.map(jnp.add, point, delta)


def _step(per_row: bool) -> Callable[[Point, jax.Array], Point]:
    """Scales a direction to the length `size`; a direction of zero stays zero."""
    if per_row:
        return jax.vmap(objectives.fgm_perturbation, (0, None))
    return objectives.fgm_perturbation


def _projection(per_row: bool) -> Callable[[Point, jax.Array], Point]:
    def project(delta: Point, size: jax.Array) -> Point:
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(delta))
        return objectives.fgm_perturbation(delta, jnp.minimum(jnp.sqrt(squares), size))

    return jax.vmap(project, (0, None)) if per_row else project
