"""A checkpoint's directory -> the tokenizer that `transformers` reads from it, and back."""

import contextlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from mtra_jax import downloads, files
from mtra_jax.data.tokenizing import auto_tokenizers, pairs, plain_tokenizers
from mtra_jax.errors import InputError, refusing, shown

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
_ROBERTA_TOKENS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")

_INPUTS_WITH_TYPES = ["input_ids", "token_type_ids", "attention_mask"]

_WHOLE = "tokenizer.json"
_SETTINGS = "tokenizer_config.json"
_ADDED = "added_tokens.json"
_SPECIAL = "special_tokens_map.json"
_CONFIG = "config.json"
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt")
# Tokenizers that truncate at the left keep a truncation of this length, beyond any text:
# `tokens.encode` reads the side from it.
_NO_LIMIT = 2**31 - 1
# Word tables are padded to multiples of 8 to 128, large ones by hundreds of rows. A
# tokenizer with tokens for less than half of the rows belongs to another encoder.
_LEAST_SHARE = 0.5
_PADDING_ROWS = 128


def load_tokenizer(directory: str | Path, num_rows: int | None = None) -> Tokenizer:
    """Reads the tokenizer of a checkpoint as `transformers.AutoTokenizer` does.

    The ids are equal, including those of special tokens inside a text and of texts that
    `tokens.encode` truncates. Padding and length settings of the files are ignored.
    `transformers` is not imported if `tokenizer.json` agrees with the other files, as in
    the directory of a run and in most checkpoints.

    `num_rows`: the rows of the encoder's word table, which must fit the ids.

    Raises:
      InputError: the tokenizer is missing or damaged; the files belong to another class;
        the class has no fast form; the tokenizer does not add special tokens (the
        encoder reads the first one); or it has ids beyond `num_rows`, or far fewer
        tokens.
    """
    directory = Path(directory)
    _check_files(directory)
    texts = {
        name: _read_json(directory / name)
        for name in (_SETTINGS, _SPECIAL, _ADDED, _CONFIG)
    }
    settings, config = texts[_SETTINGS], texts[_CONFIG]
    spec = _read_whole(directory / _WHOLE)
    if (
        spec is not None
        and not (directory / _ADDED).exists()
        and plain_tokenizers.is_whole(spec, settings, texts[_SPECIAL], config)
    ):
        with refusing(f"{directory / _WHOLE}: not a tokenizer"):
            tokenizer = Tokenizer.from_str(json.dumps(spec))
        tokenizer.encode_special_tokens = settings.get("split_special_tokens", False)
        side = settings.get("truncation_side", "right")
    else:
        tokenizer, side = auto_tokenizers.load(directory, spec, settings, config)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if side == "left":
        tokenizer.enable_truncation(_NO_LIMIT, direction="left")
    _check(tokenizer, directory)
    if num_rows is not None:
        _check_rows(tokenizer, num_rows, directory)
    return tokenizer


def _check_files(directory: Path) -> None:
    """Raises InputError if a vocabulary is missing, empty, or not text."""
    models = sorted(directory.glob("*.model"))
    named = [*_VOCABULARIES, _WHOLE, _SETTINGS, _SPECIAL, _ADDED, _CONFIG]
    for path in (*map(directory.joinpath, named), *models):
        downloads.check(path)
    if (directory / _WHOLE).is_file():
        return
    for path in map(directory.joinpath, _VOCABULARIES):
        if path.is_file():
            with refusing(f"{path}: not a vocabulary"):
                if not path.read_text(encoding="utf-8").strip():
                    raise ValueError("the file is empty")
    if (directory / "vocab.txt").is_file() or (
        (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file()
    ):
        return
    if not models:
        raise InputError(
            f"{directory}: no tokenizer found; expected tokenizer.json, or vocab.txt, "
            "or vocab.json and merges.txt"
        )
    if importlib.util.find_spec("sentencepiece") is None:
        raise InputError(
            f"{models[0]}: transformers reads it with the package sentencepiece, which "
            "is not installed; expected that, or tokenizer.json"
        )


def _read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file; an empty one if the file is absent."""
    if not path.is_file():
        return {}
    with refusing(f"{path}: not a readable JSON file"):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object; found {shown(content)}")
    return content


def _read_whole(path: Path) -> dict[str, Any] | None:
    """The content of `tokenizer.json`, or None if it is absent."""
    if not path.is_file():
        return None
    with refusing(f"{path}: not a tokenizer"):
        spec = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(spec, dict):
            raise ValueError(f"expected an object; found {shown(spec)}")
        _check_template(spec.get("post_processor"), path.parent)
    return spec


def _check(tokenizer: Tokenizer, directory: Path) -> None:
    """Raises InputError if a text cannot be encoded or gets no special token."""
    if not tokenizer.num_special_tokens_to_add(is_pair=False):
        raise InputError(
            f"{directory}: the tokenizer adds no special tokens; expected one that puts "
            "[CLS] or <s> before a text"
        )
    _check_template(json.loads(tokenizer.to_str())["post_processor"], directory)
    with refusing(f"{directory}: the tokenizer cannot encode a text"):
        for text in auto_tokenizers.PROBES:
            tokenizer.encode(text)


def _check_template(processor: Any, directory: Path) -> None:
    """Raises InputError if a template uses a token that it does not define.

    The library would panic, and print to standard error.
    """
    if not isinstance(processor, dict):
        return
    for part in processor.get("processors", ()):
        _check_template(part, directory)
    if processor.get("type") != "TemplateProcessing":
        return
    for piece in (*processor["single"], *processor["pair"]):
        name = piece.get("SpecialToken", {}).get("id")
        if name is not None and name not in processor["special_tokens"]:
            raise InputError(
                f"{directory}: the tokenizer puts {shown(name)} around a text; expected "
                "one of its special_tokens"
            )


def _check_rows(tokenizer: Tokenizer, num_rows: int, directory: Path) -> None:
    """Raises InputError if an id has no row, or most rows have no token."""
    vocabulary = tokenizer.get_vocab()
    last = max(vocabulary, key=vocabulary.__getitem__, default="")
    special = max(tokenizer.encode("").ids)
    for what, number in (
        (f"token {shown(last)} of the tokenizer has", vocabulary.get(last, 0)),
        ("the tokenizer gives a special token", special),
    ):
        if number >= num_rows:
            raise InputError(
                f"{directory}: {what} the id {number}; the encoder has rows for "
                f"{num_rows} tokens"
            )
    size = tokenizer.get_vocab_size()
    if size < _LEAST_SHARE * num_rows and num_rows - size > _PADDING_ROWS:
        raise InputError(
            f"{directory}: the tokenizer has {size} tokens, the encoder rows for "
            f"{num_rows}; expected the encoder's own tokenizer, with tokens for "
            f"{_LEAST_SHARE:.0%} of the rows and more"
        )


def save_tokenizer(
    tokenizer: Tokenizer, directory: str | Path, max_length: int
) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`.

    `load_tokenizer` and `transformers.AutoTokenizer` read a tokenizer with the same ids
    and types from the directory. `max_length`: the longest text of the encoder, in tokens.
    """
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    text = plain.to_str(pretty=True)
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
    }
    if tokenizer.truncation is not None:
        settings["truncation_side"] = tokenizer.truncation["direction"]
    with contextlib.suppress(InputError):  # it makes no pairs
        if pairs.num_types(tokenizer) > 1:
            # By default the generic class of `transformers` leaves out the types.
            settings["model_input_names"] = _INPUTS_WITH_TYPES
    if tokenizer.encode_special_tokens:
        settings["split_special_tokens"] = True
    # `transformers` makes every token with a role special, so others get no role.
    special = {t["content"] for t in json.loads(text)["added_tokens"] if t["special"]}
    for names in (SPECIAL_TOKENS, _ROBERTA_TOKENS):
        roles = zip(_ROLES, names, strict=True)
        own = {role: name for role, name in roles if name in special}
        if own:
            settings |= own
            break
    directory = Path(directory)
    files.write_text(directory / _WHOLE, f"{text}\n")
    files.write_json(directory / _SETTINGS, settings)
