"""Layer normalisation: states of any scale -> mean 0 and variance 1, scaled and shifted."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Norm(nn.Module):
    """Layer normalisation of the last axis, with statistics in at least float32.

    With this order of products the backward pass stores less than that of `nn.LayerNorm`,
    which also stores the scale broadcast over all tokens.

    Source: Ba et al. 2016, Eq. 3-4.
    """

    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        # E[x²] − E[x]² would lose digits that the comparison with PyTorch needs.
        variance = jnp.mean(centred**2, axis=-1, keepdims=True)
        normal = centred * jax.lax.rsqrt(variance + self.epsilon)
        return (normal * scale + bias).astype(self.dtype)
