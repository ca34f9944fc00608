"""Representations and targets -> scores of the MINE critic."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class StatisticsNetwork(nn.Module):
    """V(y|z) = w₃ᵀ relu(W₁ z + W₂ y + b), shared by all tasks.

    `z` [..., H] and `y` [..., L] in the joint label space may broadcast: z[:, None] and
    y[None] give the scores of all pairs. The output has no bias, because the bound does
    not depend on it.

    Source: MTRA, Eq. 2. The network is that of the released code, which follows Hu et al.
    2024.
    """

    width: int = 128

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array) -> jax.Array:
        wide = jnp.promote_types(z.dtype, jnp.float32)
        z, y = z.astype(wide), y.astype(wide)
        hidden = nn.Dense(self.width, name="from_z", dtype=wide)(z)
        hidden += nn.Dense(self.width, name="from_y", use_bias=False, dtype=wide)(y)
        scores = nn.Dense(1, name="score", use_bias=False, dtype=wide)
        return scores(nn.relu(hidden))[..., 0]
