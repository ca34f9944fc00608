"""Shared representations -> outputs of all tasks through one hidden layer per task."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtra_jax.models.heads import Head


class HiddenHead(nn.Module):
    """The weights of one task: a hidden layer, and a layer of its outputs."""

    num_inputs: int
    width: int
    num_outputs: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        hidden = Head(self.num_inputs, self.width, name="hidden")()
        return (*hidden, *Head(self.width, self.num_outputs, name="output")())


class HiddenHeads(nn.Module):
    """Linear(relu(Linear(relu(z)))) of every task, side by side: [B, H] -> [B, L].

    `tasks`: (name, number of outputs) of each task. `width`: units of each hidden layer.
    Each task has separate parameters; all tasks together cost two matrix products. New
    layers start like `heads.Heads`.
    """

    tasks: Sequence[tuple[str, int]]
    width: int

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Returns the outputs [B, L] for `z` [B, H]."""
        layers = [
            HiddenHead(z.shape[-1], self.width, size, name=name)()
            for name, size in self.tasks
        ]
        kernels, biases, output_kernels, output_biases = zip(*layers, strict=True)
        wide = jnp.promote_types(z.dtype, jnp.float32)
        hidden = nn.relu(z).astype(wide) @ jnp.concatenate(kernels, axis=1)
        hidden = nn.relu(hidden + jnp.concatenate(biases))  # [B, T * width]
        output_kernel = jax.scipy.linalg.block_diag(*output_kernels)
        return hidden @ output_kernel + jnp.concatenate(output_biases)
