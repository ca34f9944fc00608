"""The function of one layer, stacked parameters and states -> states after all layers."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from mtra_jax.models import averaged


class LayerFunction(Protocol):
    """Maps states [R, S, H] to new ones; with `wanted` [B] only to those [B, 1, H]."""

    def __call__(
        self, layer: Any, hidden: jax.Array, wanted: jax.Array | None = None, /
    ) -> jax.Array: ...


class Loop(NamedTuple):
    """How the `depth` layers are applied.

    All layers but the last run in a loop of `unroll` layers per iteration. There is no
    loop if one iteration would hold them all. With `mean_axis`, an axis of devices, each
    layer's gradient is averaged over it as soon as it is made.
    """

    depth: int
    unroll: int
    mean_axis: str | None = None


def apply(
    function: LayerFunction,
    layers: Any,
    hidden: jax.Array,
    wanted: jax.Array | None,
    loop: Loop,
) -> jax.Array:
    """Applies all layers in turn; only the last gets `wanted`.

    `layers`: a tree of arrays [`depth`, ...], and of keys for the dropout.
    """
    depth, unroll, mean_axis = loop
    if mean_axis is not None:
        function = _averaging(function, mean_axis)
    if unroll >= depth - 1:
        once = jax.jit(function)  # traced once for all layers
        *earlier, last = _split(layers, (1,) * depth)
        for layer in earlier:
            hidden = once(_only(layer), hidden)
        return function(_only(last), hidden, wanted)

    # For the backward pass the loop saves only the products of the dense layers and
    # recomputes the rest. Without a loop XLA makes a similar choice itself.
    policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable

    @functools.partial(jax.checkpoint, prevent_cse=False, policy=policy)
    def body(hidden: jax.Array, layer: Any) -> tuple[jax.Array, None]:
        return function(layer, hidden), None

    earlier, last = _split(layers, (depth - 1, 1))
    hidden, _ = jax.lax.scan(body, hidden, earlier, unroll=unroll)
    return function(_only(last), hidden, wanted)


def _averaging(function: LayerFunction, axis_name: str) -> LayerFunction:
    def apply(
        layer: Any, hidden: jax.Array, wanted: jax.Array | None = None
    ) -> jax.Array:
        layer = averaged.with_mean_gradient(layer, axis_name)
        return function(layer, hidden, wanted)

    return apply


def _split(layers: Any, sizes: Sequence[int]) -> list[Any]:
    """Splits all arrays along the leading axis into parts of `sizes`.

    The gradient of a split is one concatenation; that of an index would be a sum of
    padded arrays.
    """
    leaves, structure = jax.tree.flatten(layers)
    parts = zip(*(jax.lax.split(leaf, sizes) for leaf in leaves), strict=True)
    return [jax.tree.unflatten(structure, part) for part in parts]


def _only(layer: Any) -> Any:
    """Drops the leading axis of arrays [1, ...]."""
    return jax.tree.map(lambda leaf: jnp.squeeze(leaf, 0), layer)
