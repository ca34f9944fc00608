"""Layer normalisation: states of any scale -> mean 0 and variance 1, scaled and shifted."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Norm(nn.Module):
    """Layer normalisation of the last axis, with statistics in at least float32.

    With this order of products the backward pass stores less than that of `nn.LayerNorm`,
    which also stores the scale broadcast over all tokens. `stores_input`: see `normalise`.

    Source: Ba et al. 2016, Eq. 3-4.
    """

    epsilon: float
    dtype: Any
    stores_input: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        apply = normalise if self.stores_input else _normalise
        return apply(x, scale, bias, self.epsilon, self.dtype)


def _normalise(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: Any
) -> jax.Array:
    """Returns (x − μ) / √(σ² + ε) · `scale` + `bias` in `dtype`; μ, σ² over the last axis.

    `x`: [..., H]; `scale`, `bias`: [H].
    """
    return _forward(x, scale, bias, epsilon, dtype)[0]


normalise = jax.custom_vjp(_normalise, nondiff_argnums=(3, 4))
"""`_normalise` with a written backward pass, which reads `x` and two numbers of each row.

For JAX's own, XLA writes an array like `x` in float32 to GPU memory for the gradient of
`scale`, and reads it again.
"""


def _forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: Any
) -> tuple[jax.Array, tuple]:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(wide, axis=-1, keepdims=True)
    centred = wide - mean
    # E[x²] − E[x]² would lose digits that the comparison with PyTorch needs.
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(variance + epsilon)
    normal = centred * inverse
    return (normal * scale + bias).astype(dtype), (x, mean, inverse, scale)


def _backward(
    epsilon: float, dtype: Any, stored: tuple, gradient: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """With n = (x − μ)/σ and h = `gradient` · `scale`: (h − E[h] − n E[h n]) / σ for x."""
    # Without the barrier XLA would compute what is stored again, from the residual sum.
    x, mean, inverse, scale = jax.lax.optimization_barrier(stored)
    gradient = gradient.astype(mean.dtype)
    normal = (x.astype(mean.dtype) - mean) * inverse
    scaled = gradient * scale
    along = jnp.mean(scaled * normal, axis=-1, keepdims=True)
    centred = scaled - jnp.mean(scaled, axis=-1, keepdims=True) - normal * along
    rows = tuple(range(x.ndim - 1))
    return (
        (inverse * centred).astype(x.dtype),
        jnp.sum(gradient * normal, rows).astype(scale.dtype),
        jnp.sum(gradient, rows).astype(scale.dtype),
    )


normalise.defvjp(_forward, _backward)
