"""Parameters -> the same, whose gradient is averaged over devices as soon as it is made."""

import functools
from typing import Any

import jax

from mtra_jax.types import Params


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def with_mean_gradient(params: Params, axis_name: str) -> Params:
    """Returns `params`; the backward pass averages their gradient over `axis_name`.

    Applied to the parameters of one layer, it lets the mean of a layer's gradient start
    while the backward pass computes the layers below. Each use of the result is averaged
    by itself. Leaves that have no gradient, such as keys, are left alone.
    """
    del axis_name
    return params


def _forward(params: Params, axis_name: str) -> tuple[Params, None]:
    del axis_name
    return params, None


def _backward(axis_name: str, _: None, gradient: Any) -> tuple[Any]:
    def mean(leaf: Any) -> Any:
        return (
            leaf if leaf.dtype == jax.dtypes.float0 else jax.lax.pmean(leaf, axis_name)
        )

    return (jax.tree.map(mean, gradient),)


with_mean_gradient.defvjp(_forward, _backward)
