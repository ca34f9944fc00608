"""Texts and a tokenizer in, ragged token ids out; trains tokenizers too."""

import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

from mtra_jax import files
from mtra_jax.data.tokenizer_files import (
    SPECIAL_TOKENS,
    load_tokenizer,
    save_tokenizer,
)
from mtra_jax.errors import InputError, refusing

__all__ = [
    "SPECIAL_TOKENS",
    "Tokens",
    "cached_encode",
    "check_fit",
    "encode",
    "load_tokenizer",
    "save_tokenizer",
    "train_tokenizer",
]

_LOOKED_AT = 300
"""Texts that `check_fit` encodes, about."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokens(NamedTuple):
    """Texts of unequal lengths, end to end.

    `ids`: int32 [sum of lengths]. `offsets`: int64 [N + 1]; text i is
    `ids[offsets[i]:offsets[i + 1]]`, with its special tokens, and never empty.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text: int64 [N]."""
        return np.diff(self.offsets)


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Tokens:
    """Turns N texts into token ids with the tokenizer's special tokens.

    `max_length`: the longest text in tokens, the special ones included; they survive
    truncation, which is at the end of a text, or at its start where the tokenizer's own
    truncation is. Lone surrogates, which no tokenizer takes, are read as U+FFFD.

    Raises: InputError where `max_length` leaves no room for a token of the text, or the
    tokenizer lacks a token for what it does not know.
    """
    num_special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_length <= num_special:
        raise InputError(
            f"data.max_length must be above the {num_special} special tokens; "
            f"found {max_length}"
        )
    # Nothing here forks, so the library may use all cores and need not warn of forks.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    before = tokenizer.truncation
    side = before["direction"] if before else "right"
    tokenizer.enable_truncation(max_length, direction=side)
    try:
        with refusing("the tokenizer cannot encode a text"):
            encodings = tokenizer.encode_batch_fast(_without_surrogates(texts))
    finally:
        tokenizer.no_truncation()
        if before:
            tokenizer.enable_truncation(**before)
    rows = [encoding.ids for encoding in encodings]
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    ids = (token for row in rows for token in row)
    return Tokens(np.fromiter(ids, np.int32, count=offsets[-1]), offsets)


def _without_surrogates(texts: Sequence[str]) -> list[str]:
    return [_SURROGATE.sub("\ufffd", text) for text in texts]


def check_fit(tokenizer: Tokenizer, texts: Sequence[str], where: object) -> None:
    """Raises InputError where `tokenizer` has tokens for less than half of the texts.

    Half of their characters, blanks aside; that of another encoder gives the unknown
    token, or none, for most of them. About 300 training texts, evenly spaced, are
    looked at. `where` begins the message.
    """
    step = max(1, len(texts) // _LOOKED_AT)
    texts = _without_surrogates(texts[::step])
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model.get("unk_id")
    if model.get("unk_token") is not None:
        unknown = tokenizer.token_to_id(model["unk_token"])
    with refusing("the tokenizer cannot encode a text"):
        encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    total = known = 0
    for text, encoding in zip(texts, encodings, strict=True):
        places = {place for place, character in enumerate(text) if character.strip()}
        total += len(places)
        spans = list(zip(encoding.ids, encoding.offsets, strict=True))
        covered = {i for token, span in spans if token != unknown for i in range(*span)}
        lost = {i for token, span in spans if token == unknown for i in range(*span)}
        known += len(places & covered - lost)
    if 2 * known < total:
        raise InputError(
            f"{where}: the tokenizer gives mostly unknown tokens, or none, to the "
            f"training texts: it has tokens for {known / total:.0%} of the characters of "
            f"{len(texts)} texts; expected the encoder's own tokenizer, and one for the "
            "language of the texts"
        )


def num_ids(tokenizer: Tokenizer) -> int:
    """One more than the largest id; vocabularies have gaps, so no number of tokens."""
    vocabulary = tokenizer.get_vocab().values()
    return 1 + max(*vocabulary, *tokenizer.encode("").ids, 0, 0)


def cached_encode(
    cache_dir: str | Path | None,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    max_length: int,
) -> Tokens:
    """Does what `encode` does, once: later calls map the arrays from `cache_dir`.

    The key is a hash of the tokenizer, `max_length`, the library's version and the
    texts, so a stale file is never read. A damaged one is rebuilt. `cache_dir` None
    means no cache.

    Raises: InputError where the directory cannot be made, and as `encode` does. A file
    that cannot be written is a warning.
    """
    if cache_dir is None:
        return encode(tokenizer, texts, max_length)
    cache_dir = Path(cache_dir)
    key = _key(tokenizer, texts, max_length)
    paths = Tokens(cache_dir / f"{key}.ids.npy", cache_dir / f"{key}.offsets.npy")
    tokens = _read(paths, len(texts), num_ids(tokenizer))
    if tokens is None:
        tokens = encode(tokenizer, texts, max_length)
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{cache_dir}: cannot write the cache: {error.strerror}"
            ) from error
        try:
            for path, array in zip(paths, tokens, strict=True):
                _write(path, array)
        except OSError as error:  # a full disk, say: the tokens are here
            warnings.warn(
                f"{cache_dir}: cannot write the cache: {error.strerror}", stacklevel=2
            )
    return tokens


def _key(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> str:
    digest = hashlib.sha256()
    header = [tokenizers.__version__, str(max_length), tokenizer.to_str()]
    if tokenizer.encode_special_tokens:  # which `to_str` leaves out
        header.append("special tokens are split")
    for part in (*header, *texts):
        data = part.encode("utf-8", "surrogatepass")
        # The length keeps ["a", "b"] and ["ab"] apart.
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _read(paths: Tokens, num_texts: int, num_ids: int) -> Tokens | None:
    """Maps the cached arrays, or gives None where they are absent or damaged."""
    try:
        ids, offsets = (
            np.load(path, mmap_mode="r", allow_pickle=False) for path in paths
        )
    except Exception:  # of some ten types: the header passes through three parsers
        return None
    well_formed = (
        isinstance(ids, np.ndarray)  # and no archive of several
        and isinstance(offsets, np.ndarray)
        and ids.dtype == np.int32
        and offsets.dtype == np.int64
        and ids.ndim == 1
        and offsets.shape == (num_texts + 1,)
        and offsets[0] == 0
        and offsets[-1] == len(ids)
        and np.all(np.diff(offsets) > 0)
        and np.all((ids >= 0) & (ids < num_ids))
    )
    return Tokens(ids, offsets) if well_formed else None


def _write(path: Path, array: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, array)
    files.write_bytes(path, file.getvalue())


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Trains a lower-casing BERT WordPiece tokenizer on `texts`.

    The ids of [PAD], [UNK], [CLS], [SEP], [MASK] are 0 to 4, then come the characters,
    alone and as continuations, then the merged pieces. Deterministic, ties included.

    Raises: InputError where `vocab_size` has no room for the characters.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    normalized = [normalizer.normalize_str(text) for text in texts]
    characters = sorted({c for text in normalized for c in text if not c.isspace()})
    # The trainer numbers unseen continuations in the order of a hash table that each
    # process seeds anew, and breaks ties of the merges by these numbers. Naming all of
    # them beforehand, as if they were special, fixes both.
    pieces = [*SPECIAL_TOKENS, *characters, *(f"##{c}" for c in characters)]
    if vocab_size < len(pieces):
        raise InputError(
            f"vocab_size must be at least {len(pieces)}, the characters of the texts; "
            f"found {vocab_size}"
        )
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.pre_tokenizer = splitter
    trainer = WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=pieces, show_progress=False
    )
    learner.train_from_iterator(normalized, trainer)

    tokenizer = Tokenizer(models.WordPiece(learner.get_vocab(), unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[
            (token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")
        ],
    )
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    return tokenizer
