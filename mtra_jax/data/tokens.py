"""Texts and a tokenizer -> ragged token ids; texts -> a new tokenizer."""

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

_NUM_SAMPLES = 300
"""Approximate number of texts that `check_fit` encodes."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokens(NamedTuple):
    """Texts of unequal lengths, end to end.

    `ids`: int32 [sum of lengths]. `offsets`: int64 [N + 1]; text i is
    `ids[offsets[i]:offsets[i + 1]]`, which includes special tokens and is never empty.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each text: int64 [N]."""
        return np.diff(self.offsets)


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Tokens:
    """Turns N texts into token ids with the tokenizer's special tokens.

    `max_length`: the largest number of tokens of a text, including the special tokens,
    which truncation preserves. Texts are cut at the end, or at the start if the
    tokenizer's own truncation is at the left. Lone surrogates, which tokenizers refuse,
    become U+FFFD.

    Raises:
      InputError: `max_length` leaves no room for a token of the text, or the tokenizer
        needs an unknown token and has none.
    """
    num_special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_length <= num_special:
        raise InputError(
            f"data.max_length must be above the {num_special} special tokens; "
            f"found {max_length}"
        )
    # Nothing here forks, so the library may use all cores without warning about forks.
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
    """Checks that `tokenizer` has tokens for at least half of the texts' characters.

    White space does not count. A tokenizer of another encoder turns most characters into
    the unknown token, or drops them. The check encodes about 300 evenly spaced texts.

    Raises:
      InputError: the tokens cover fewer characters. The message begins with `where`.
    """
    step = max(1, len(texts) // _NUM_SAMPLES)
    texts = _without_surrogates(texts[::step])
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model.get("unk_id")
    if model.get("unk_token") is not None:
        unknown = tokenizer.token_to_id(model["unk_token"])
    with refusing("the tokenizer cannot encode a text"):
        encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    total = num_covered = 0
    for text, encoding in zip(texts, encodings, strict=True):
        places = {place for place, character in enumerate(text) if character.strip()}
        total += len(places)
        spans = list(zip(encoding.ids, encoding.offsets, strict=True))
        covered = {i for token, span in spans if token != unknown for i in range(*span)}
        lost = {i for token, span in spans if token == unknown for i in range(*span)}
        num_covered += len(places & covered - lost)
    if 2 * num_covered < total:
        raise InputError(
            f"{where}: the tokenizer gives mostly unknown tokens, or none, to the "
            f"training texts: it has tokens for {num_covered / total:.0%} of the characters of "
            f"{len(texts)} texts; expected the encoder's own tokenizer, and one for the "
            "language of the texts"
        )


def num_ids(tokenizer: Tokenizer) -> int:
    """One more than the largest id. The number of tokens may be smaller: ids have gaps."""
    vocabulary = tokenizer.get_vocab().values()
    return 1 + max(*vocabulary, *tokenizer.encode("").ids, 0, 0)


def cached_encode(
    cache_dir: str | Path | None,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    max_length: int,
) -> Tokens:
    """Returns the result of `encode`, which later calls map from files in `cache_dir`.

    The key is a hash of the tokenizer, `max_length`, the library's version and the
    texts, so a stale file is never read. A damaged file is rebuilt. `cache_dir` None
    disables the cache. A file that cannot be written only causes a warning.

    Raises:
      InputError: the directory cannot be made; and the errors of `encode`.
    """
    if cache_dir is None:
        return encode(tokenizer, texts, max_length)
    cache_dir = Path(cache_dir)
    key = _key(tokenizer, texts, max_length)
    paths = (cache_dir / f"{key}.ids.npy", cache_dir / f"{key}.offsets.npy")
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
        except OSError as error:  # for example a full disk; the tokens are in memory
            warnings.warn(
                f"{cache_dir}: cannot write the cache: {error.strerror}", stacklevel=2
            )
    return tokens


def _key(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> str:
    digest = hashlib.sha256()
    header = [tokenizers.__version__, str(max_length), tokenizer.to_str()]
    if tokenizer.encode_special_tokens:  # `to_str` leaves this out
        header.append("special tokens are split")
    for part in (*header, *texts):
        data = part.encode("utf-8", "surrogatepass")
        # The length distinguishes ["a", "b"] from ["ab"].
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _read(paths: tuple[Path, Path], num_texts: int, num_ids: int) -> Tokens | None:
    """Maps the cached `ids` and `offsets`; None if they are absent or damaged."""
    try:
        ids, offsets = (
            np.load(path, mmap_mode="r", allow_pickle=False) for path in paths
        )
    except Exception:  # some ten types: three parsers read the header
        return None
    well_formed = (
        isinstance(ids, np.ndarray)  # not an archive of arrays
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

    [PAD], [UNK], [CLS], [SEP] and [MASK] have the ids 0 to 4. The characters follow,
    alone and as continuations, then the merged pieces. Deterministic, even for ties.

    Raises:
      InputError: `vocab_size` has no room for the characters.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    normalized = [normalizer.normalize_str(text) for text in texts]
    characters = sorted({c for text in normalized for c in text if not c.isspace()})
    # The trainer numbers new continuations in the order of a hash table, whose seed
    # differs between processes, and breaks ties of merges by these numbers. Listing all
    # continuations as special tokens makes both deterministic.
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
