"""Texts and a checkpoint's tokenizer in, ragged token ids out; trains tokenizers too."""

import contextlib
import hashlib
import io
import json
import os
import re
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

from mtra_jax.errors import InputError, naming, shown

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
_ROBERTA_TOKENS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
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


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Reads the tokenizer of a checkpoint, without the padding and truncation in it.

    Takes `tokenizer.json`; where there is none, `vocab.txt` (BERT) or `vocab.json` with
    `merges.txt` (RoBERTa), which `transformers` turns into the same thing.

    Raises: InputError where the directory holds neither, where a file is damaged,
    where the tokenizer adds no special tokens (the encoder reads the first of them), or
    gives ids that are not below the number of its tokens.
    """
    directory = Path(directory)
    path = directory / "tokenizer.json"
    if path.is_file():
        with _refusing(f"{path}: not a tokenizer"):
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    elif (directory / "vocab.txt").is_file() or (
        (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file()
    ):
        tokenizer = _from_vocabulary(directory)
    else:
        raise InputError(
            f"{directory}: no tokenizer found; expected tokenizer.json, or vocab.txt, "
            "or vocab.json and merges.txt"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if not tokenizer.num_special_tokens_to_add(is_pair=False):
        raise InputError(
            f"{directory}: the tokenizer adds no special tokens; expected one that puts "
            "[CLS] or <s> before a text"
        )
    _check_ids(tokenizer, directory)
    return tokenizer


def _check_ids(tokenizer: Tokenizer, directory: Path) -> None:
    """Raises InputError where a text cannot be encoded, or an id is out of range."""
    size = tokenizer.get_vocab_size()
    for name, number in tokenizer.get_vocab().items():
        if number >= size:
            raise InputError(
                f"{directory}: token {shown(name)} of the tokenizer has the id {number}; "
                f"expected one below {size}, the number of tokens"
            )
    _check_template(json.loads(tokenizer.to_str())["post_processor"], directory)
    with _refusing(f"{directory}: the tokenizer cannot encode a text"):
        # The empty one is its special tokens; few vocabularies hold a rune.
        ids = [*tokenizer.encode("").ids, *tokenizer.encode("a \u16a0").ids]
    if max(ids) >= size:
        raise InputError(
            f"{directory}: the tokenizer gives the id {max(ids)} to a special token; "
            f"expected one below {size}, the number of tokens"
        )


def _check_template(processor: dict[str, Any], directory: Path) -> None:
    """Raises InputError where a template names a token that it does not define.

    The library would panic, with lines of its own on standard error.
    """
    for part in processor.get("processors", ()):
        _check_template(part, directory)
    if processor["type"] != "TemplateProcessing":
        return
    for piece in (*processor["single"], *processor["pair"]):
        name = piece.get("SpecialToken", {}).get("id")
        if name is not None and name not in processor["special_tokens"]:
            raise InputError(
                f"{directory}: the tokenizer puts {shown(name)} around a text; expected "
                "one of its special_tokens"
            )


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turns what the Rust library raises, which has no narrower class, into InputError."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic is no Exception
        raise InputError(f"{what}: {error}") from error


def _from_vocabulary(directory: Path) -> Tokenizer:
    # Of a damaged one it says only that there is none.
    for path in map(directory.joinpath, ("vocab.txt", "vocab.json", "merges.txt")):
        if path.is_file():
            with _refusing(f"{path}: not a vocabulary"):
                if not path.read_text(encoding="utf-8").strip():
                    raise ValueError("the file is empty")
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(
            str(directory),
            local_files_only=True,
            use_fast=True,
            trust_remote_code=False,
        )
        return loaded.backend_tokenizer
    except Exception as error:  # transformers raises whatever its parsers raise
        reason = " ".join(str(error).split())
        raise InputError(f"{directory}: cannot load the tokenizer: {reason}") from error


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Tokens:
    """Turns N texts into token ids with the tokenizer's special tokens.

    `max_length`: the longest text in tokens, the special ones included; they survive
    truncation. Lone surrogates, which no tokenizer takes, are read as U+FFFD.

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
    tokenizer.enable_truncation(max_length)
    try:
        with _refusing("the tokenizer cannot encode a text"):
            encodings = tokenizer.encode_batch_fast(
                [_SURROGATE.sub("\ufffd", text) for text in texts]
            )
    finally:
        tokenizer.no_truncation()
    rows = [encoding.ids for encoding in encodings]
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    ids = (token for row in rows for token in row)
    return Tokens(np.fromiter(ids, np.int32, count=offsets[-1]), offsets)


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
    tokens = _read(paths, len(texts), tokenizer.get_vocab_size())
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
    header = (tokenizers.__version__, str(max_length), tokenizer.to_str())
    for part in (*header, *texts):
        data = part.encode("utf-8", "surrogatepass")
        # The length keeps ["a", "b"] and ["ab"] apart.
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _read(paths: Tokens, num_texts: int, vocab_size: int) -> Tokens | None:
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
        and np.all((ids >= 0) & (ids < vocab_size))
    )
    return Tokens(ids, offsets) if well_formed else None


def _write(path: Path, array: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, array)
    _replace(path, file.getvalue())


def _replace(path: Path, data: bytes) -> None:
    # A name of its own, since two processes, or two hosts, may write this file at once.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with naming(path):
            temporary.write_bytes(data)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


def save_tokenizer(
    tokenizer: Tokenizer, directory: str | Path, max_length: int
) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`.

    `load_tokenizer` and `transformers.AutoTokenizer` read the directory. `max_length`
    is the longest text of the encoder, in tokens.

    Raises: InputError where the special tokens are neither BERT's nor RoBERTa's.
    """
    for names in (SPECIAL_TOKENS, _ROBERTA_TOKENS):
        if all(tokenizer.token_to_id(name) is not None for name in names):
            special = dict(zip(_ROLES, names, strict=True))
            break
    else:
        raise InputError(
            f"{directory}: cannot save a tokenizer that has the special tokens neither "
            "of BERT nor of RoBERTa"
        )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        **special,
    }
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("tokenizer.json", tokenizer.to_str(pretty=True)),
        ("tokenizer_config.json", json.dumps(config, indent=2)),
    ):
        _replace(directory / name, f"{text}\n".encode())
