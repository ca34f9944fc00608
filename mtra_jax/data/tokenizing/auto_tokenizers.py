"""A checkpoint's directory -> the fast tokenizer of `transformers.AutoTokenizer`."""

import os
from pathlib import Path
from typing import Any, NoReturn

from tokenizers import Tokenizer

from mtra_jax.errors import InputError, refusing, shown

PROBES = ["", "a \u16a0", "So: caf\u00e9 isn't [MASK] <mask> </s> 42%\U0001f600 " * 3]
"""Texts that every tokenizer must encode; few vocabularies contain the rune."""

_WHOLE = "tokenizer.json"
_SETTINGS = "tokenizer_config.json"
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt")


def load(
    directory: Path,
    spec: dict[str, Any] | None,
    settings: dict[str, Any],
    config: dict[str, Any],
) -> tuple[Tokenizer, str]:
    """Returns the backend and the side at which it truncates, "left" or "right".

    `spec`, `settings` and `config`: the contents of `tokenizer.json` (None if it is
    absent), `tokenizer_config.json` and `config.json`. Nothing is fetched, and no code
    of the directory is run.

    Raises:
      InputError: `transformers` cannot read the directory, its class is not a fast
        tokenizer, or the vocabulary is of another kind than the class.
    """
    # Without this variable it prints advice about a missing PyTorch.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import transformers

    level = transformers.logging.get_verbosity()
    # Its warnings concern models, which are not loaded with it here.
    transformers.logging.set_verbosity_error()
    try:
        _check_class(settings, config, spec is not None, directory)
        of_kind = f" ({_WHOLE} is of the kind {_kind(spec)})" if spec else ""
        with refusing(f"{directory}: cannot load the tokenizer{of_kind}"):
            loaded = transformers.AutoTokenizer.from_pretrained(
                str(directory), local_files_only=True, trust_remote_code=False
            )
        backend = getattr(loaded, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            _refuse_slow(type(loaded).__name__, directory)
        _check_kind(loaded, backend, spec, directory)
        with refusing(f"{directory}: the tokenizer cannot encode a text"):
            expected = loaded(PROBES)["input_ids"]
            ids = [encoding.ids for encoding in backend.encode_batch(PROBES)]
        if ids != expected:
            raise InputError(
                f"{directory}: {type(loaded).__name__} changes texts before its fast "
                f"tokenizer reads them; {_advice(directory)}"
            )
    finally:
        transformers.logging.set_verbosity(level)
    return backend, loaded.truncation_side


def _check_class(
    settings: dict[str, Any], config: dict[str, Any], is_whole: bool, directory: Path
) -> None:
    """Raises InputError if the files name a class that is not a fast tokenizer.

    Called before anything is loaded: `AutoTokenizer` accepts any class of
    `transformers`. `is_whole`: whether `tokenizer.json` exists, which the generic class
    needs.
    """
    import transformers
    from transformers.models.auto import tokenization_auto

    name = settings.get("tokenizer_class") or config.get("tokenizer_class")
    if not name:
        return
    if not isinstance(name, str):
        raise InputError(f"{directory}: tokenizer_class is {shown(name)}")
    with refusing(f"{directory}: tokenizer_class is {shown(name)}"):
        chosen = tokenization_auto.tokenizer_class_from_name(name)
    # An unknown name, or that of the base class, means the generic fast tokenizer.
    generic = (None, transformers.PreTrainedTokenizerFast)
    if chosen in generic or name == "PreTrainedTokenizer":
        if not is_whole and not any(directory.glob("*.model")):
            raise InputError(
                f"{directory}: tokenizer_class is {shown(name)}, which reads {_WHOLE}; "
                "found a vocabulary only; expected that file, or the class of the "
                "vocabulary"
            )
        return
    if isinstance(chosen, type) and "dummy" in chosen.__module__:
        return  # it needs a package, which the error of loading names
    if not (
        isinstance(chosen, type)
        and issubclass(chosen, transformers.PreTrainedTokenizerBase)
    ):
        raise InputError(
            f"{directory}: tokenizer_class is {shown(name)}; expected a tokenizer"
        )
    if not issubclass(chosen, transformers.PreTrainedTokenizerFast):
        _refuse_slow(name, directory)


def _refuse_slow(name: str, directory: Path) -> NoReturn:
    raise InputError(
        f"{directory}: {name} is a tokenizer in Python, without a fast form; "
        f"{_advice(directory)}"
    )


def _advice(directory: Path) -> str:
    if (directory / _WHOLE).is_file():
        return (
            f"{_WHOLE} is read in its place if {_SETTINGS} has "
            '"tokenizer_class": "PreTrainedTokenizerFast"'
        )
    return f"expected a checkpoint with a fast one ({_WHOLE})"


def _check_kind(
    loaded: Any, backend: Tokenizer, spec: dict[str, Any] | None, directory: Path
) -> None:
    """Raises InputError if the vocabulary is not of the kind that the class reads.

    `transformers` would use an empty vocabulary, or read the files as another kind.
    """
    name = type(loaded).__name__
    if spec is not None:
        own = _kind(spec)
        kind = type(backend.model).__name__
        if own is not None and own != kind:
            raise InputError(
                f"{directory / _WHOLE}: a {own} tokenizer, which {name}, the class of "
                f"this checkpoint, would read as {kind}; expected the encoder's own, or "
                f"its tokenizer_class in {_SETTINGS}"
            )
        return
    files = [
        file
        for part, file in loaded.vocab_files_names.items()
        if part != "tokenizer_file"
    ]
    missing = [file for file in files if not (directory / file).is_file()]
    is_model = any(file.endswith(".model") for file in files)
    if missing and not (is_model and any(directory.glob("*.model"))):
        present = [file for file in _VOCABULARIES if (directory / file).is_file()]
        present += sorted(path.name for path in directory.glob("*.model"))
        raise InputError(
            f"{directory}: {name}, the class of this checkpoint, reads "
            f"{' and '.join(files)}; found {' and '.join(present)}, the vocabulary of "
            "another class"
        )


def _kind(spec: dict[str, Any]) -> str | None:
    model = spec.get("model")
    return model.get("type") if isinstance(model, dict) else None
