"""Shared representations -> the outputs of all tasks in the joint label space."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtra_jax.models.dropout import dropout


class Head(nn.Module):
    """The weights of one task's linear layer: kernel [H, d] and bias [d]."""

    num_inputs: int
    num_outputs: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        init = nn.initializers.normal(0.02)
        kernel = self.param("kernel", init, (self.num_inputs, self.num_outputs))
        bias = self.param("bias", nn.initializers.zeros, (self.num_outputs,))
        return kernel, bias


class Heads(nn.Module):
    """Linear(dropout(relu(z))) of every task, side by side: [B, H] -> [B, L].

    `tasks`: (name, number of outputs) of each task. Each task has separate parameters,
    `{name: {kernel, bias}}`, but one matrix product computes all outputs.

    Source: the released code of CIFM (Hu et al. 2024), on which MTRA builds; the paper
    states only "linear head". Weights start from N(0, 0.02²), like BERT's new layers;
    biases start from 0. That code starts both from U(±1/√H), PyTorch's default.
    """

    tasks: Sequence[tuple[str, int]]
    dropout: float = 0.0

    def features(self, z: jax.Array, *, deterministic: bool) -> jax.Array:
        """Returns dropout(relu(z)): [B, H] -> [B, H]."""
        hidden = nn.relu(z)
        if deterministic or self.dropout == 0:
            return hidden
        return dropout(hidden, self.make_rng("dropout"), self.dropout)

    @nn.compact
    def __call__(self, z: jax.Array, *, deterministic: bool) -> jax.Array:
        """Returns the outputs [B, L] for `z` [B, H]."""
        hidden = self.features(z, deterministic=deterministic)
        layers = [Head(z.shape[-1], size, name=name)() for name, size in self.tasks]
        kernel = jnp.concatenate([kernel for kernel, _ in layers], axis=1)
        bias = jnp.concatenate([bias for _, bias in layers])
        # Outputs and losses are in at least float32; that costs little, [B, L] is small.
        wide = jnp.promote_types(z.dtype, jnp.float32)
        return hidden.astype(wide) @ kernel.astype(wide) + bias.astype(wide)
