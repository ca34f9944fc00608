"""Prompts -> the replies of a causal model in a local directory, through PyTorch.

`transformers` reads the directory; PyTorch is not a dependency of this package. Weights
are safetensors files, and no code of the directory is run.
"""

import functools
import hashlib
import importlib.util
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
    """The tokenizer and the model, the device, and the context without gradients."""

    tokenizer: Any
    model: Any
    device: str
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
                padding_side="left",
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
        return _Loaded(tokenizer, model.to(device).eval(), device, torch.inference_mode)

    def replies(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        """See `asking.Model`. Prompts of about one length are continued together.

        Raises:
          InputError: the directory holds no such model, or a prompt and a reply are longer
            than the model can read.
        """
        order = sorted(range(len(prompts)), key=lambda i: len(text_of(prompts[i])))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            texts = self._continued([prompts[i] for i in places])
            for place, text in zip(places, texts, strict=True):
                yield place, Reply(text)

    def _continued(self, prompts: Sequence[Prompt]) -> list[str]:
        loaded = self._loaded
        has_chat = loaded.tokenizer.chat_template is not None
        inputs = loaded.tokenizer(
            [*map(self._chat if has_chat else text_of, prompts)],
            return_tensors="pt",
            padding=True,
            add_special_tokens=not has_chat,  # a chat's template adds them
        ).to(loaded.device)
        length = inputs["input_ids"].shape[1]
        limit = getattr(loaded.model.config, "max_position_embeddings", math.inf)
        new = self.settings["max_tokens"]
        if length + new > limit:
            raise InputError(
                f"a prompt of {length} tokens and {new} of the reply; {self.name} reads "
                f"at most {limit}, expected fewer --demonstrations or --max_tokens"
            )
        with loaded.inference():
            outputs = loaded.model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=False,
                num_beams=1,
                max_new_tokens=new,
                pad_token_id=loaded.tokenizer.pad_token_id,
            )
        new_tokens = outputs[:, length:]
        return loaded.tokenizer.batch_decode(new_tokens, skip_special_tokens=True)

    def _chat(self, prompt: Prompt) -> str:
        return self._loaded.tokenizer.apply_chat_template(
            messages_of(prompt), tokenize=False, add_generation_prompt=True
        )


def _digest(directory: Path) -> str:
    """SHA-256 of the names and contents of the files in `_READ`."""
    digest = hashlib.sha256()
    paths = {path for pattern in _READ for path in directory.glob(pattern)}
    for path in sorted(paths):
        with path.open("rb") as file:
            own = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name} {own}\n".encode())
    return digest.hexdigest()
