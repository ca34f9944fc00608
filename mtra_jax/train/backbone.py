"""A pretrained directory, or sizes -> an encoder, its weights and its tokenizer."""

from pathlib import Path
from typing import NamedTuple

import jax
from tokenizers import Tokenizer

from mtra_jax.data.tokenizing import pairs, tokens
from mtra_jax.errors import InputError
from mtra_jax.models import encoder, pretrained
from mtra_jax.tasks import Benchmark
from mtra_jax.types import Params


class Backbone(NamedTuple):
    """An encoder's configuration and weights, and its tokenizer.

    `dropped`: names of the checkpoint's unused weights, which belong to heads.
    """

    config: encoder.EncoderConfig
    params: Params
    tokenizer: Tokenizer
    dropped: tuple[str, ...] = ()


class Sizes(NamedTuple):
    """Sizes and dropout rate of a new encoder; `vocab_size` is also the tokenizer's."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    dropout: float


def load(
    path: str, sizes: Sizes, train_texts: list[str], *, max_length: int, seed: int
) -> Backbone:
    """Loads the pretrained encoder at `path`; makes one of `sizes` if `path` is empty.

    The tokenizer of a new encoder is trained on `train_texts`; its weights are drawn with
    `seed`. `max_length`: tokens of the longest text.

    Raises:
      InputError: weights or tokenizer cannot be loaded, the tokenizer does not fit the
        encoder or the texts, or the encoder has fewer than `max_length` positions.
    """
    if path:
        loaded = _pretrained(path, train_texts)
    else:
        loaded = _new(sizes, train_texts, max_length, seed)
    _check_length(loaded, max_length)
    return loaded


def check(
    given: Backbone, train_texts: list[str], max_length: int, source: str
) -> None:
    """Raises InputError, naming `source`, if the texts do not fit the `given` encoder."""
    tokens.check_fit(given.tokenizer, train_texts, Path(source))
    _check_length(given, max_length)


def _check_length(given: Backbone, max_length: int) -> None:
    if max_length > given.config.max_length:
        raise InputError(
            f"data.max_length is {max_length}; expected at most "
            f"{given.config.max_length}, the positions of the encoder: "
            f"--config.data.max_length={given.config.max_length}"
        )


def check_pairs(backbone: Backbone, benchmark: Benchmark, where: object) -> None:
    """Checks that the backbone reads pairs of texts if a task has them: `pairs.check`."""
    if any(task.is_pair for task in benchmark.tasks):
        pairs.check(backbone.tokenizer, backbone.config.type_vocab_size, where)


def _pretrained(path: str, train_texts: list[str]) -> Backbone:
    directory = pretrained.resolve(path)
    config, params, dropped = pretrained.load_pretrained(directory)
    tokenizer = tokens.load_tokenizer(directory, config.vocab_size)
    tokens.check_fit(tokenizer, train_texts, directory)
    return Backbone(config, params, tokenizer, dropped)


def _new(sizes: Sizes, train_texts: list[str], max_length: int, seed: int) -> Backbone:
    tokenizer = tokens.train_tokenizer(train_texts, sizes.vocab_size)
    config = encoder.EncoderConfig(
        # A tokenizer trained on few texts is smaller than requested.
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.num_hidden_layers,
        num_attention_heads=sizes.num_attention_heads,
        intermediate_size=sizes.intermediate_size,
        max_position_embeddings=max_length,
        hidden_dropout_prob=sizes.dropout,
        attention_probs_dropout_prob=sizes.dropout,
    )
    return Backbone(
        config, pretrained.init_encoder(config, jax.random.key(seed)), tokenizer
    )
