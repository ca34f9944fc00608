"""Prompts -> the replies of a causal model in a local directory, through PyTorch.

`transformers` reads the directory; PyTorch is not a dependency of this package. Weights
are safetensors files, and no code of the directory is run.
"""

import copy
import functools
import hashlib
import importlib.util
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtra_jax.errors import InputError, refusing
from mtra_jax.prompting.answers import Reply
from mtra_jax.prompting.prompts import Prompt, messages_of, text_of

BATCH = 8
"""Prompts that are continued together."""
_READ = ("*.json", "*.jinja", "*.model", "*.safetensors", "*.txt")
"""The files on which replies depend."""


class _Loaded(NamedTuple):
    """The tokenizer, the model, its tensors of ids, and the context without gradients."""

    tokenizer: Any
    model: Any
    tensor: Callable[[Sequence[Sequence[int]]], Any]
    inference: Callable[[], Any]


class _Shared(NamedTuple):
    """Tokens that prompts begin with, and the keys and values of one row of them."""

    tokens: Sequence[int]
    cache: Any


class LocalModel:
    """The model and the tokenizer of a directory, on a GPU if PyTorch has one."""

    def __init__(self, directory: Path, max_tokens: int = 32) -> None:
        """Reads nothing but the bytes of the files. `max_tokens`: of a reply.

        Raises:
          InputError: there is no `config.json`, or PyTorch is not installed.
        """
        self.name = directory.resolve().name
        self.settings: Mapping[str, Any] = {
            "model": _digest(directory),
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        if not (directory / "config.json").is_file():
            raise InputError(
                f"{directory}: no causal language model can be read: no config.json"
            )
        if importlib.util.find_spec("torch") is None:
            raise InputError(
                f"{directory}: a local language model needs PyTorch; pip install "
                "'mtra-jax[local]'"
            )
        self._directory = directory

    @functools.cached_property
    def _loaded(self) -> _Loaded:
        """Read when the first reply is missing: it takes long, and the memory."""
        import torch
        import transformers

        # The types of their stubs do not fit each other.
        classes: Any = transformers
        with refusing(f"{self._directory}: no causal language model can be read"):
            tokenizer = classes.AutoTokenizer.from_pretrained(
                self._directory,
                local_files_only=True,
                trust_remote_code=False,
            )
            model = classes.AutoModelForCausalLM.from_pretrained(
                self._directory,
                dtype="auto",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        device = "cuda" if torch.cuda.is_available() else "cpu"
        tensor = functools.partial(torch.tensor, device=device)
        return _Loaded(tokenizer, model.to(device).eval(), tensor, torch.inference_mode)

    def replies(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        """See `asking.Model`. Prompts of about one length are continued together.

        Tokens that all prompts begin with, such as the question and the demonstrations of
        a task, are read once.

        Raises:
          InputError: the directory holds no such model, or a prompt and a reply are longer
            than the model can read.
        """
        if not prompts:
            return
        tokens = self._tokens(prompts)
        shared = self._read_once(tokens)
        order = sorted(range(len(prompts)), key=lambda i: len(tokens[i]))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            texts = self._continued([tokens[i] for i in places], shared)
            for place, text in zip(places, texts, strict=True):
                yield place, Reply(text)

    def _tokens(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The token ids of each prompt."""
        loaded = self._loaded
        has_chat = loaded.tokenizer.chat_template is not None
        tokens: list[list[int]] = loaded.tokenizer(
            [*map(self._chat if has_chat else text_of, prompts)],
            add_special_tokens=not has_chat,  # a chat's template adds them
        )["input_ids"]
        length = max(map(len, tokens))
        limit = getattr(loaded.model.config, "max_position_embeddings", math.inf)
        new = self.settings["max_tokens"]
        if length + new > limit:
            raise InputError(
                f"a prompt of {length} tokens and {new} of the reply; {self.name} reads "
                f"at most {limit}, expected fewer --demonstrations or --max_tokens"
            )
        return tokens

    def _read_once(self, tokens: Sequence[Sequence[int]]) -> _Shared:
        """The tokens that all of `tokens` begin with, but for the last of the shortest.

        Padding stands between them and the rest of a prompt. So nothing is shared unless
        each layer sees all tokens, and the model can be told the position of each.
        """
        from transformers import cache_utils

        loaded = self._loaded
        cache = cache_utils.DynamicCache(config=loaded.model.config)
        sees_all = {*map(type, cache.layers)} == {cache_utils.DynamicLayer}
        options = inspect.signature(loaded.model.forward).parameters
        prefix = _common([own[:-1] for own in tokens])
        if not prefix or not sees_all or "position_ids" not in options:
            return _Shared([], None)
        with loaded.inference():
            loaded.model(
                input_ids=loaded.tensor([prefix]), past_key_values=cache, use_cache=True
            )
        return _Shared(prefix, cache)

    def _continued(self, tokens: Sequence[list[int]], shared: _Shared) -> list[str]:
        loaded, prefix = self._loaded, shared.tokens
        pad = loaded.tokenizer.pad_token_id
        length = max(map(len, tokens))
        ids, masks = [], []
        for own in tokens:
            padding = length - len(own)
            ids.append([*prefix, *[pad] * padding, *own[len(prefix) :]])
            rest = length - len(prefix) - padding
            masks.append([1] * len(prefix) + [0] * padding + [1] * rest)
        cache = copy.deepcopy(shared.cache)
        if cache is not None:
            cache.batch_repeat_interleave(len(tokens))
        with loaded.inference():
            outputs = loaded.model.generate(
                input_ids=loaded.tensor(ids),
                attention_mask=loaded.tensor(masks),
                past_key_values=cache,
                do_sample=False,
                num_beams=1,
                max_new_tokens=self.settings["max_tokens"],
                pad_token_id=pad,
            )
        return loaded.tokenizer.batch_decode(
            outputs[:, length:], skip_special_tokens=True
        )

    def _chat(self, prompt: Prompt) -> str:
        return self._loaded.tokenizer.apply_chat_template(
            messages_of(prompt), tokenize=False, add_generation_prompt=True
        )


def _common(rows: Sequence[Sequence[int]]) -> list[int]:
    """The longest beginning that all rows have.

    >>> _common([[1, 2, 3], [1, 2], [1, 2, 4]])
    [1, 2]
    """
    columns = itertools.takewhile(lambda c: len(set(c)) == 1, zip(*rows, strict=False))
    return [column[0] for column in columns]


def _digest(directory: Path) -> str:
    """SHA-256 of the names and contents of the files in `_READ`."""
    digest = hashlib.sha256()
    paths = {path for pattern in _READ for path in directory.glob(pattern)}
    for path in sorted(paths):
        with path.open("rb") as file:
            own = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name} {own}\n".encode())
    return digest.hexdigest()
