"""Prompts -> the replies of a causal model in a local directory, through PyTorch.

`transformers` reads the directory; PyTorch is not a dependency of this package. Weights
are safetensors files, and no code of the directory is run.
"""

import copy
import functools
import hashlib
import importlib.util
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
SCALED = {"dynamic", "longrope"}
"""Kinds of rotary positions whose angles depend on the length of the text."""
_READ = ("*.json", "*.jinja", "*.model", "*.safetensors", "*.txt")
"""The files on which replies depend."""


class _Loaded(NamedTuple):
    """The tokenizer, the model, its tensors of ids, and the context without gradients."""

    tokenizer: Any
    model: Any
    tensor: Callable[[Sequence[Sequence[int]]], Any]
    inference: Callable[[], Any]


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
                f"{directory}: a local language model needs PyTorch, which is not "
                "installed; expected pip install torch"
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
            model, report = classes.AutoModelForCausalLM.from_pretrained(
                self._directory,
                dtype="auto",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        if absent := sorted(report["missing_keys"]):
            raise InputError(
                f"{self._directory}: {len(absent)} arrays of the model of config.json are "
                f"not in the weights, such as {absent[0]}; expected all of them"
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        tensor = functools.partial(torch.tensor, device=device)
        return _Loaded(tokenizer, model.to(device).eval(), tensor, torch.inference_mode)

    def replies(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        """See `asking.Model`. Prompts with as many tokens are continued together.

        So there is no padding, and no reply depends on the other prompts. Tokens that all
        prompts begin with, such as the question and the demonstrations of a task, are read
        once.

        Raises:
          InputError: the directory holds no such model, its template refuses a prompt, or
            a prompt and a reply are longer than the model can read.
        """
        if not prompts:
            return
        tokens = self._tokens(prompts)
        shared = self._read_once(tokens)
        by_length: dict[int, list[int]] = {}
        for place, own in enumerate(tokens):
            by_length.setdefault(len(own), []).append(place)
        for length in sorted(by_length):
            group = by_length[length]
            for start in range(0, len(group), BATCH):
                places = group[start : start + BATCH]
                texts = self._continued([tokens[i] for i in places], shared)
                for place, text in zip(places, texts, strict=True):
                    yield place, Reply(text)

    def _tokens(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The token ids of each prompt."""
        loaded = self._loaded
        has_chat = loaded.tokenizer.chat_template is not None
        with refusing(f"{self._directory}: its chat template refuses a prompt"):
            texts = [*map(self._chat if has_chat else text_of, prompts)]
        tokens: list[list[int]] = loaded.tokenizer(
            texts,
            add_special_tokens=not has_chat,  # a chat's template adds them
        )["input_ids"]
        rows = loaded.model.get_input_embeddings().weight.shape[0]
        largest = max((max(own, default=-1) for own in tokens), default=-1)
        if not all(tokens) or largest >= rows:
            made = f"token {largest}" if all(tokens) else "a prompt without tokens"
            raise InputError(
                f"{self._directory}: the tokenizer makes {made}, the model has {rows} "
                "embeddings; expected the tokenizer of this model"
            )
        length = max(map(len, tokens))
        limit = getattr(loaded.model.config, "max_position_embeddings", math.inf)
        new = self.settings["max_tokens"]
        if length + new > limit:
            raise InputError(
                f"a prompt of {length} tokens and {new} of the reply; {self.name} reads "
                f"at most {limit}, expected fewer --demonstrations or --max_tokens"
            )
        return tokens

    def _read_once(self, tokens: Sequence[Sequence[int]]) -> Any:
        """The keys and values of what all of `tokens` begin with; None without any.

        They are the same in each prompt if every layer keeps those of all tokens, and the
        angles of positions do not depend on the length of the text. The last token of the
        shortest prompt is not among them: generation starts from it.
        """
        from transformers import cache_utils

        loaded = self._loaded
        cache = cache_utils.DynamicCache(config=loaded.model.config)
        has_all = {*map(type, cache.layers)} == {cache_utils.DynamicLayer}
        prefix = _common([own[:-1] for own in tokens])
        if not prefix or not has_all or _rope_types(loaded.model.config) & SCALED:
            return None
        with loaded.inference():
            loaded.model(
                input_ids=loaded.tensor([prefix]), past_key_values=cache, use_cache=True
            )
        return cache

    def _continued(self, tokens: Sequence[list[int]], shared: Any) -> list[str]:
        """The texts after prompts of one length; `shared`: see `_read_once`."""
        loaded = self._loaded
        ids = loaded.tensor(tokens)
        cache = copy.deepcopy(shared)
        if cache is not None:
            cache.batch_repeat_interleave(len(tokens))
        pad = loaded.tokenizer.pad_token_id
        with loaded.inference():
            outputs = loaded.model.generate(
                input_ids=ids,
                attention_mask=ids.new_ones(ids.shape),
                past_key_values=cache,
                do_sample=False,
                num_beams=1,
                max_new_tokens=self.settings["max_tokens"],
                # After the end of a reply, where nothing is read.
                pad_token_id=loaded.tokenizer.eos_token_id if pad is None else pad,
            )
        return loaded.tokenizer.batch_decode(
            outputs[:, ids.shape[1] :], skip_special_tokens=True
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


def _rope_types(config: Any) -> set[Any]:
    """The kinds of rotary positions, of all layers or of each type of layer."""
    own = getattr(config, "rope_parameters", None) or {}
    return {
        part.get("rope_type") for part in (own, *own.values()) if isinstance(part, dict)
    }


def _digest(directory: Path) -> str:
    """SHA-256 of the names and contents of the files in `_READ`."""
    digest = hashlib.sha256()
    paths = {path for pattern in _READ for path in directory.glob(pattern)}
    for path in sorted(paths):
        with path.open("rb") as file:
            own = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name} {own}\n".encode())
    return digest.hexdigest()
