"""A tokenizer -> whether it makes pairs of texts, and the types of their tokens."""

from tokenizers import Tokenizer, models

from mtra_jax.errors import InputError


def num_types(tokenizer: Tokenizer) -> int:
    """One more than the largest type of a token of a pair.

    Raises:
      InputError: a pair lacks a text, or its first token, which the encoder reads, is not
        that of a single text.
    """
    # The post-processor alone makes pairs. This vocabulary gives every text a token.
    maker = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    maker.post_processor = tokenizer.post_processor
    one, pair = maker.encode("a"), maker.encode("a", "a")
    first, expected = ((e.ids[:1], e.sequence_ids[:1]) for e in (pair, one))
    if first != expected or not {0, 1} <= set(pair.sequence_ids):
        raise InputError(
            "the tokenizer makes no pair of two texts; expected a "
            "post_processor whose pair has both, after the first token of a single text"
        )
    return 1 + max(pair.type_ids)


def check(tokenizer: Tokenizer, num_rows: int, where: object) -> None:
    """Checks that `tokenizer` makes pairs that the encoder can read.

    `num_rows`: the rows of the encoder's table of types.

    Raises:
      InputError: as `num_types`; or a type has no row. The message begins with `where`.
    """
    try:
        count = num_types(tokenizer)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if count > num_rows:
        raise InputError(
            f"{where}: the tokenizer gives tokens of a pair the type {count - 1}; the "
            f"encoder has rows for {num_rows} types (type_vocab_size)"
        )
