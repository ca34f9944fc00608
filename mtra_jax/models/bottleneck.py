"""Representations -> mean and log-variance of a Gaussian for each."""

import flax.linen as nn
import jax
import jax.numpy as jnp

INITIAL_LOG_VARIANCE = -5.0
"""Small initial noise: training starts near the network without a bottleneck."""


class Bottleneck(nn.Module):
    """q(u|z) = N(mean(z), diag exp(log_variance(z))), by two linear layers.

    z [B, H] -> (mean, log_variance), each [B, num_features], in float32 or wider.

    Source: Alemi et al. 2017, "Deep Variational Information Bottleneck", section 3, where
    the variance starts small too (softplus of x − 5).
    """

    num_features: int

    @nn.compact
    def __call__(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        wide = jnp.promote_types(z.dtype, jnp.float32)
        z = z.astype(wide)
        start = nn.initializers.constant(INITIAL_LOG_VARIANCE)
        mean = nn.Dense(self.num_features, name="mean", dtype=wide)
        log_variance = nn.Dense(
            self.num_features, name="log_variance", dtype=wide, bias_init=start
        )
        return mean(z), log_variance(z)
