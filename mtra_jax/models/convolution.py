"""Hidden states of packed texts -> the largest response of each filter in each text."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mtra_jax.types import Batch


def text_of_tokens(batch: Batch) -> jax.Array:
    """Returns the index of each token's text: int32 [R * S]; B for padding.

    `batch` is one part with one micro-batch.
    """
    num_texts = batch.where.shape[0]
    num_tokens = batch.tokens.size
    # Empty places point at token 0; out of bounds, their writes are dropped.
    firsts = jnp.where(batch.where, batch.first_tokens[0], num_tokens)
    texts = jnp.full(num_tokens, num_texts, jnp.int32)
    texts = texts.at[firsts].set(jnp.arange(num_texts, dtype=jnp.int32), mode="drop")
    starts = jnp.arange(num_tokens) - batch.positions.reshape(-1)
    is_token = batch.segments.reshape(-1) > 0
    return jnp.where(is_token, texts[starts], num_texts)


def window(hidden: jax.Array, segments: jax.Array, width: int) -> jax.Array:
    """Returns each token with the width − 1 after it: [R, S, H] -> [R, S, width * H].

    Tokens of the next text count as 0, like padding after the text.
    """
    columns = []
    for offset in range(width):
        space = ((0, 0), (0, offset))
        moved = jnp.pad(hidden, (*space, (0, 0)))[:, offset:]
        owner = jnp.pad(segments, space)[:, offset:]
        columns.append(jnp.where((owner == segments)[..., None], moved, 0))
    return jnp.concatenate(columns, axis=-1)


def max_over_time(responses: jax.Array, texts: jax.Array, num_texts: int) -> jax.Array:
    """Returns the largest response of each filter in each text: [R, S, F] -> [B, F].

    `responses`: at least 0, as after a relu. `texts` [R * S]: from `text_of_tokens`. The
    result is 0 at empty places.
    """
    rows = responses.reshape(-1, responses.shape[-1])
    largest = jax.ops.segment_max(rows, texts, num_segments=num_texts + 1)
    return jnp.maximum(largest[:num_texts], 0)


def convolve(
    hidden: jax.Array,
    batch: Batch,
    filters: Sequence[tuple[jax.Array, jax.Array]],
) -> jax.Array:
    """Returns the maximum over each text of relu(window @ kernel + bias): [B, Σ F].

    `filters`: (kernel [width, H, F], bias [F]) for each width. `hidden`: [R, S, H].

    Source: Kim 2014, "Convolutional Neural Networks for Sentence Classification", Eq. 2-4.
    """
    texts = text_of_tokens(batch)
    num_texts = batch.where.shape[0]
    maxima = []
    for kernel, bias in filters:
        width, _, num_filters = kernel.shape
        windows = window(hidden, batch.segments[0], width)
        responses = jax.nn.relu(windows @ kernel.reshape(-1, num_filters) + bias)
        maxima.append(max_over_time(responses, texts, num_texts))
    return jnp.concatenate(maxima, axis=-1)
