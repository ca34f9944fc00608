"""Texts, or pairs of texts, and a tokenizer -> ragged token ids and types."""

import hashlib
import io
import json
import os
import re
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

from mtra_jax import files
from mtra_jax.data.tokenizing import pairs
from mtra_jax.data.tokenizing.tokenizer_files import (
    SPECIAL_TOKENS,
    load_tokenizer,
    save_tokenizer,
)
from mtra_jax.errors import InputError, caller_level, refusing

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
_TRUNCATING = threading.Lock()
"""Truncation is a state of a tokenizer, which other threads may share."""


class Tokens(NamedTuple):
    """Texts of unequal lengths, end to end; a pair of texts is one text.

    `ids`: int32 [sum of lengths]. `offsets`: int64 [N + 1]; text i is
    `ids[offsets[i]:offsets[i + 1]]`, which includes special tokens and is never empty.
    `types`: int32 [sum of lengths], of the tokens; None if all are 0, as without pairs.
    """

    ids: np.ndarray
    offsets: np.ndarray
    types: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each text: int64 [N]."""
        return np.diff(self.offsets)


def encode(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    max_length: int,
    second_texts: Sequence[str] = (),
) -> Tokens:
    """Turns N texts into token ids with the tokenizer's special tokens.

    With N `second_texts` each text and its second make a pair, which is one text of the
    result: [CLS] a [SEP] b [SEP] in BERT, <s> a </s></s> b </s> in RoBERTa.

    `max_length`: the largest number of tokens of a text, including the special tokens,
    which truncation preserves. Texts are cut at the end, or at the start if the
    tokenizer's own truncation is at the left. Of a pair the longer text is cut, and both
    to half of the room if both are longer than that. Lone surrogates, which tokenizers
    refuse, become U+FFFD.

    Raises:
      InputError: `max_length` leaves no room for a token of the text, or the tokenizer
        needs an unknown token and has none, or makes no pairs.
      ValueError: there are second texts, but not one for each text.
    """
    num_types = _num_types(tokenizer, second_texts)
    is_pair = len(second_texts) > 0
    inputs: list[Any] = _without_surrogates(texts)
    if is_pair:
        inputs = list(zip(inputs, _without_surrogates(second_texts), strict=True))
    num_special = tokenizer.num_special_tokens_to_add(is_pair)
    if max_length <= num_special:
        of_pair = " of a pair of texts" if is_pair else ""
        raise InputError(
            f"data.max_length must be above the {num_special} special tokens{of_pair}; "
            f"found {max_length}"
        )
    # Nothing here forks, so the library may use all cores without warning about forks.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    with _TRUNCATING:
        before = tokenizer.truncation
        side = before["direction"] if before else "right"
        tokenizer.enable_truncation(max_length, direction=side)
        try:
            with refusing("the tokenizer cannot encode a text"):
                encodings = tokenizer.encode_batch_fast(inputs)
        finally:
            tokenizer.no_truncation()
            if before:
                tokenizer.enable_truncation(**before)
    rows = [encoding.ids for encoding in encodings]
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    tokens = Tokens(_flat(rows, offsets), offsets)
    if num_types == 1:
        return tokens
    return tokens._replace(types=_flat([e.type_ids for e in encodings], offsets))


def _num_types(tokenizer: Tokenizer, second_texts: Sequence[str]) -> int:
    """One more than the largest type of a token."""
    return pairs.num_types(tokenizer) if second_texts else 1


def _flat(rows: list[list[int]], offsets: np.ndarray) -> np.ndarray:
    numbers = (number for row in rows for number in row)
    return np.fromiter(numbers, np.int32, count=offsets[-1])


def end_to_end(parts: Sequence[Tokens]) -> Tokens:
    """Lays the texts of all `parts` end to end."""
    ids = np.concatenate([part.ids for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    types = None
    if any(part.types is not None for part in parts):
        types = np.concatenate(
            [np.zeros_like(p.ids) if p.types is None else p.types for p in parts]
        )
    return Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]), types)


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
    second_texts: Sequence[str] = (),
) -> Tokens:
    """Returns the result of `encode`, which later calls map from files in `cache_dir`.

    The key is a hash of the tokenizer, `max_length`, the library's version and all
    texts, so a stale file is never read. A damaged file is rebuilt. `cache_dir` None
    disables the cache. A file that cannot be written only causes a warning.

    Raises:
      InputError: the directory cannot be made; and the errors of `encode`.
    """
    if cache_dir is None:
        return encode(tokenizer, texts, max_length, second_texts)
    cache_dir = Path(cache_dir)
    key = _key(tokenizer, texts, max_length, second_texts)
    num_types = _num_types(tokenizer, second_texts)
    names = Tokens._fields if num_types > 1 else Tokens._fields[:2]
    paths = [cache_dir / f"{key}.{name}.npy" for name in names]
    tokens = _read(paths, len(texts), num_ids(tokenizer), num_types)
    if tokens is None:
        tokens = encode(tokenizer, texts, max_length, second_texts)
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{cache_dir}: cannot write the cache: {error.strerror}"
            ) from error
        try:
            arrays = (array for array in tokens if array is not None)
            for path, array in zip(paths, arrays, strict=True):
                _write(path, array)
        except OSError as error:  # for example a full disk; the tokens are in memory
            warnings.warn(
                f"{cache_dir}: cannot write the cache: {error.strerror}",
                stacklevel=caller_level(),
            )
    return tokens


def _key(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    max_length: int,
    second_texts: Sequence[str],
) -> str:
    # A key of single texts begins with a small length, so no key of pairs equals it.
    digest = hashlib.sha256(b"pairs of texts" if second_texts else b"")
    header = [tokenizers.__version__, str(max_length), tokenizer.to_str()]
    if tokenizer.encode_special_tokens:  # `to_str` leaves this out
        header.append("special tokens are split")
    for part in (*header, *texts, *second_texts):
        data = part.encode("utf-8", "surrogatepass")
        # The length distinguishes ["a", "b"] from ["ab"].
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _read(
    paths: Sequence[Path], num_texts: int, num_ids: int, num_types: int
) -> Tokens | None:
    """Maps the cached arrays of `Tokens`; None if they are absent or damaged."""
    try:
        arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    except Exception:  # some ten types: three parsers read the header
        return None
    if not all(isinstance(a, np.ndarray) for a in arrays):  # an archive of arrays
        return None
    ids, offsets, *types = arrays
    well_formed = (
        offsets.dtype == np.int64
        and offsets.shape == (num_texts + 1,)
        and offsets[0] == 0
        and offsets[-1] == ids.size
        and np.all(np.diff(offsets) > 0)
        and _are_numbers(ids, ids.size, num_ids)
        and all(_are_numbers(array, ids.size, num_types) for array in types)
    )
    return Tokens(ids, offsets, *types) if well_formed else None


def _are_numbers(array: np.ndarray, size: int, limit: int) -> bool:
    """Whether `array` is int32 [size], of numbers in [0, limit)."""
    of_form = array.dtype == np.int32 and array.shape == (size,)
    return of_form and bool(np.all((array >= 0) & (array < limit)))


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
