"""A checkpoint's tokenizer files -> whether `tokenizer.json` alone gives the same ids.

`transformers` rebuilds the tokenizer from the vocabulary and the settings beside
`tokenizer.json`. Importing it takes seconds, and most checkpoints do not need it: their
`tokenizer.json` agrees with the settings already. This module checks that field by field.
A checkpoint with any unexpected value is left to `transformers`.
"""

from collections.abc import Mapping
from typing import Any

_CLASSES = {"bert": "BertTokenizer", "roberta": "RobertaTokenizer"}
# These classes use `tokenizer.json` unchanged.
_GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")
_ROLES = {
    "BertTokenizer": {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "RobertaTokenizer": {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "cls_token": "<s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    },
}
_ROLE_NAMES = frozenset().union(*_ROLES.values())
# Settings that do not change ids, since the caller chooses the length.
_WITHOUT_EFFECT = {
    "backend",
    "clean_up_tokenization_spaces",
    "errors",
    "is_local",
    "local_files_only",
    "max_length",
    "model_input_names",
    "model_max_length",
    "name_or_path",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "padding_side",
    "special_tokens_map_file",
    "stride",
    "tokenizer_class",
    "tokenizer_file",
    "trim_offsets",
    "truncation_strategy",
}
# Settings that change ids, and their expected values. `load_tokenizer` applies the
# first two.
_EFFECTS: Mapping[str, tuple[object, ...]] = {
    "split_special_tokens": (False, True),
    "truncation_side": ("right", "left"),
    "additional_special_tokens": ([],),
    "extra_special_tokens": ([], {}),
}
_EFFECTS_BY_CLASS: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "BertTokenizer": {
        "do_basic_tokenize": (True,),
        "do_lower_case": (False, True),
        "never_split": (None,),
        "strip_accents": (None, False, True),
        "tokenize_chinese_chars": (False, True),
    },
    "RobertaTokenizer": {"add_prefix_space": (False, True)},
}


def is_whole(
    spec: Mapping[str, Any],
    settings: Mapping[str, Any],
    roles: Mapping[str, Any],
    config: Mapping[str, Any],
) -> bool:
    """Whether `transformers` would read the tokenizer `spec` from the directory.

    `spec`, `settings`, `roles` and `config`: the contents of `tokenizer.json`,
    `tokenizer_config.json`, `special_tokens_map.json` and `config.json`, empty for an
    absent file. The directory must not hold `added_tokens.json`.
    """
    try:
        name = _class(settings, config)
        added = {token["content"]: token for token in spec["added_tokens"]}
        return (
            name is not None
            and len(added) == len(spec["added_tokens"])
            and _are_understood(name, settings, roles, added)
            and _truncates_right(spec)
            and (name in _GENERIC or _has_roles(name, settings, roles, spec, added))
            and _FITS[name](spec, settings)
        )
    except (KeyError, TypeError, AttributeError, ValueError):  # another layout
        return False


def _class(settings: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """The tokenizer class that `transformers` chooses; None if it is not checked here."""
    name = settings.get("tokenizer_class") or config.get("tokenizer_class")
    if not name:
        if not config:
            return "TokenizersBackend"
        name = _CLASSES.get(config.get("model_type", ""))
    if name not in _GENERIC and isinstance(name, str):
        name = name.removesuffix("Fast")
    return name if name in _FITS and "model_name" not in config else None


def _are_understood(
    name: str,
    settings: Mapping[str, Any],
    roles: Mapping[str, Any],
    added: Mapping[str, Any],
) -> bool:
    """Whether each key and value is expected, and all tokens with roles are special."""
    effects = {**_EFFECTS, **_EFFECTS_BY_CLASS.get(name, {})}
    for key, value in settings.items():
        if key == "added_tokens_decoder":
            understood = _are_the_same(value, added)
        elif key in _ROLE_NAMES:
            understood = isinstance(value, str) and added[value]["special"]
        elif key in effects:
            # Compares types too: 1 is not `true`.
            understood = any(
                type(value) is type(one) and value == one for one in effects[key]
            )
        else:
            understood = key in _WITHOUT_EFFECT
        if not understood:
            return False
    for key, value in roles.items():
        token = added[value["content"] if isinstance(value, dict) else value]
        if key not in _ROLE_NAMES or not token["special"]:
            return False
        if isinstance(value, dict) and not _is_part_of(value, token):
            return False
    return True


def _are_the_same(decoder: Mapping[str, Any], added: Mapping[str, Any]) -> bool:
    """Whether the settings list the added tokens of `tokenizer.json`, flags included."""
    listed = [{"id": int(number), **token} for number, token in decoder.items()]
    return sorted(listed, key=lambda token: token["id"]) == sorted(
        added.values(), key=lambda token: token["id"]
    )


def _is_part_of(value: Mapping[str, Any], token: Mapping[str, Any]) -> bool:
    # "__type" marks these objects in some files.
    return all(token[key] == value[key] for key in value if key != "__type")


def _truncates_right(spec: Mapping[str, Any]) -> bool:
    """Whether `tokenizer.json` truncates at the right, its default."""
    return (spec["truncation"] or {}).get("direction", "Right") == "Right"


def _has_roles(
    name: str,
    settings: Mapping[str, Any],
    roles: Mapping[str, Any],
    spec: Mapping[str, Any],
    added: Mapping[str, Any],
) -> bool:
    """Whether the special tokens are the usual ones, in the vocabulary and added."""
    vocabulary = spec["model"]["vocab"]
    if any(vocabulary[token] != added[token]["id"] for token in added):
        return False
    for role, token in _ROLES[name].items():
        stored = roles.get(role, token)
        stored = stored["content"] if isinstance(stored, dict) else stored
        if {settings.get(role, token), stored} != {token}:
            return False
        if not added[token]["special"]:
            return False
    return True


def _fits_generic(spec: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return spec["post_processor"] is not None


def _fits_bert(spec: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    vocabulary = spec["model"]["vocab"]
    cls, sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
    after = spec["post_processor"]
    template = after["type"] == "TemplateProcessing" and (
        after["single"]
        == [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        ]
        and after["special_tokens"]["[CLS]"]["ids"] == [cls]
        and after["special_tokens"]["[SEP]"]["ids"] == [sep]
    )
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": settings.get("tokenize_chinese_chars", True),
        "strip_accents": settings.get("strip_accents"),
        "lowercase": settings.get("do_lower_case", True),
    }
    return (
        _without(spec["model"], "vocab")
        == {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        }
        and spec["normalizer"] == normalizer
        and spec["pre_tokenizer"] == {"type": "BertPreTokenizer"}
        and template
    )


_UNUSUAL_IN_BPE = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
)


def _fits_roberta(spec: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    model, before, after = spec["model"], spec["pre_tokenizer"], spec["post_processor"]
    vocabulary = model["vocab"]
    return (
        model["type"] == "BPE"
        and not any(model.get(key) for key in _UNUSUAL_IN_BPE)
        and model.keys() <= {"type", "vocab", "merges", *_UNUSUAL_IN_BPE}
        and spec["normalizer"] is None
        and before["type"] == "ByteLevel"
        and before["add_prefix_space"] is settings.get("add_prefix_space", False)
        and before.get("use_regex", True)
        and after["type"] == "RobertaProcessing"
        and after["cls"] == ["<s>", vocabulary["<s>"]]
        and after["sep"] == ["</s>", vocabulary["</s>"]]
    )


def _without(values: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


_FITS = {
    **dict.fromkeys(_GENERIC, _fits_generic),
    "BertTokenizer": _fits_bert,
    "RobertaTokenizer": _fits_roberta,
}
