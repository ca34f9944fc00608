"""Representations and targets -> scores of the MINE critic."""

import flax.linen as nn
import jax
import jax.numpy as jnp

# U(±1/√fan_in), PyTorch's default for linear layers. Flax's default is √3 times as wide in
# each of two layers: shuffled pairs then score nine times as much variance as they carry
# information, and the bound holds the tasks back for the first hundreds of steps.
_KERNEL = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def _bias_of(fan_in: int) -> nn.initializers.Initializer:
    """U(±1/√fan_in) for the bias of a layer with `fan_in` inputs."""
    limit = fan_in**-0.5

    def draw(
        rng: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32
    ) -> jax.Array:
        return jax.random.uniform(rng, shape, dtype, -limit, limit)

    return draw


class StatisticsNetwork(nn.Module):
    """V(y|z) = w₃ᵀ relu(W₁ z + W₂ y + b), shared by all tasks.

    `z` [..., H] and `y` [..., L] in the joint label space may broadcast: z[:, None] and
    y[None] give the scores of all pairs. The output has no bias; see
    `objectives.critic_scores`.

    Every weight and bias starts from U(±1/√fan_in), as the authors' networks do in
    PyTorch.

    Source: MTRA, Eq. 2, whose text has two hidden layers; the form, with one, follows the
    released code of CIFM (Hu et al. 2024), on which MTRA builds.
    """

    width: int = 128

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array) -> jax.Array:
        wide = jnp.promote_types(z.dtype, jnp.float32)
        z, y = z.astype(wide), y.astype(wide)

        def dense(width: int, name: str, fan_in: int | None = None) -> nn.Dense:
            """A layer; with `fan_in` it has a bias."""
            return nn.Dense(
                width,
                use_bias=fan_in is not None,
                kernel_init=_KERNEL,
                bias_init=_bias_of(fan_in or 1),
                name=name,
                dtype=wide,
            )

        hidden = dense(self.width, "from_z", fan_in=z.shape[-1])(z)
        hidden += dense(self.width, "from_y")(y)
        return dense(1, "score")(nn.relu(hidden))[..., 0]
