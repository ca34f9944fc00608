"""States of tokens -> their mixtures by multi-head attention within each text."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtra_jax.models.dropout import dropout

# Axes of queries and keys: tokens before heads, or heads before tokens.
AXES = {False: ("rqhd", "rkhd"), True: ("rhqd", "rhkd")}


class Weights(nn.Module):
    """Kernel and bias of a dense layer with as many outputs as inputs."""

    kernel_init: Callable
    dtype: Any

    @nn.compact
    def __call__(self, width: int) -> tuple[jax.Array, jax.Array]:
        """Returns the kernel [W, W] and the bias [W] in `dtype`."""
        kernel = self.param("kernel", self.kernel_init, (width, width))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        return kernel.astype(self.dtype), bias.astype(self.dtype)


class Attention(nn.Module):
    """Multi-head attention of tokens to the tokens of the same text.

    With `merged` queries, keys and values are one product of the states with all three
    kernels, see `encoder.Encoder`.

    Source: Vaswani et al. 2017, Eq. 1 and section 3.2.2.
    """

    num_heads: int
    dropout_rate: float
    kernel_init: Callable
    dtype: Any = jnp.float32
    merged: bool = False

    @nn.compact
    def __call__(
        self,
        asking: jax.Array,
        hidden: jax.Array,
        same_text: jax.Array,
        rows: jax.Array | None,
        key: jax.Array | None,
    ) -> jax.Array:
        """Returns the new states of `asking`, in its shape, from `hidden` [R, S, H].

        `asking`: `hidden` itself, with `same_text` bool [R, S, S]; or one token of each
        text, [B, 1, H], with the tokens' `rows` int32 [B] and `same_text` [B, 1, S].
        `key`: for the dropout of the attention weights; None disables it.
        """
        if rows is None:
            queries, keys, values = self._project(hidden, ("query", "key", "value"))
        else:
            (queries,) = self._project(asking, ("query",))
            keys, values = self._project(hidden, ("key", "value"))
            keys, values = keys[rows], values[rows]
        scores = attention_scores(queries, keys, self.merged)
        # The mask is finite and padding attends to padding, so no softmax is over an
        # empty row and no NaN arises.
        scaled = scores * queries.shape[-1] ** -0.5
        scores = jnp.where(same_text[:, None], scaled, jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        weights = dropout(weights, key, self.dropout_rate)
        mixed = jnp.einsum(f"rhqk,{AXES[self.merged][1]}->rqhd", weights, values)
        output = nn.Dense(
            asking.shape[-1],
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            name="output",
        )
        return output(mixed.reshape(asking.shape))

    def _project(
        self, states: jax.Array, names: tuple[str, ...]
    ) -> Sequence[jax.Array]:
        """Applies the dense layers `names` to states [R, S, H]: each [R, S, A, H / A].

        With `merged`: each [R, A, S, H / A], as the products of attention need them.
        """
        rows, length, width = states.shape
        heads, size = self.num_heads, width // self.num_heads
        weights = [
            Weights(self.kernel_init, self.dtype, name=name)(width) for name in names
        ]
        if not self.merged:
            return [
                (states @ kernel + bias).reshape(rows, length, heads, size)
                for kernel, bias in weights
            ]
        kernels, biases = zip(*weights, strict=True)
        merged = states @ jnp.concatenate(kernels, -1) + jnp.concatenate(biases)
        merged = merged.reshape(rows, length, len(names), heads, size)
        return list(merged.transpose(2, 0, 3, 1, 4))


def attention_scores(
    queries: jax.Array, keys: jax.Array, heads_first: bool = False
) -> jax.Array:
    """Returns the products q·k [R, A, Q, K] in at least float32, unscaled.

    `queries`: [R, Q, A, D]; `keys`: [R, K, A, D]; [R, A, Q, D] and [R, A, K, D] with
    `heads_first`. In the backward pass the gradient is rounded to the precision of the
    queries before its products with them, as PyTorch's autocast rounds it: in bfloat16
    JAX's own rule would multiply in float32, with copies of queries and keys.
    """
    is_wide = queries.dtype == jnp.promote_types(queries.dtype, jnp.float32)
    apply = _products if is_wide else _products_of_narrow
    return apply(queries, keys, heads_first)


def _products(queries: jax.Array, keys: jax.Array, heads_first: bool) -> jax.Array:
    asking, asked = AXES[heads_first]
    wide = jnp.promote_types(queries.dtype, jnp.float32)
    return jnp.einsum(
        f"{asking},{asked}->rhqk", queries, keys, preferred_element_type=wide
    )


_products_of_narrow = jax.custom_vjp(_products, nondiff_argnums=(2,))


def _scores_forward(queries: jax.Array, keys: jax.Array, heads_first: bool) -> tuple:
    return _products(queries, keys, heads_first), (queries, keys)


def _scores_backward(
    heads_first: bool, inputs: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    asking, asked = AXES[heads_first]
    queries, keys = inputs
    gradient = gradient.astype(queries.dtype)
    return (
        jnp.einsum(f"rhqk,{asked}->{asking}", gradient, keys),
        jnp.einsum(f"rhqk,{asking}->{asked}", gradient, queries),
    )


_products_of_narrow.defvjp(_scores_forward, _scores_backward)
