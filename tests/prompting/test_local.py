"""A tiny causal model in a local directory: its replies are those of greedy decoding."""

import itertools
import json
import shutil
import sys

import pytest

from mtra_jax.errors import InputError
from mtra_jax.prompting import local, prompts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A random GPT-2 whose tokens are characters."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import tokenizers
    import transformers

    path = tmp_path_factory.mktemp("toy")
    letters = ["<end>", *"abcdefghijklmnopqrstuvwxyz :.\n"]
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    characters = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(vocabulary, unk_token=".")
    )
    characters.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex("[^�]"), "isolated"
    )
    characters.decoder = tokenizers.decoders.Fuse()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=characters, eos_token="<end>", unk_token="."
    ).save_pretrained(path)
    write_model(
        path,
        transformers.GPT2Config(
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=2,
            initializer_range=0.5,
            **ENDS,
        ),
    )
    return path


ENDS = {"vocab_size": 31, "bos_token_id": 0, "eos_token_id": 0}
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
    **ENDS,
}


def write_model(path, config):
    """Random weights, the same for the same configuration."""
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(path)


PROMPTS = [
    ("the sea",),
    ("a longer text", "sea", "so"),
    ("so",),
]


def by_hand(directory, prompt, number, *, adds_chat=False):
    """One token after the other, without a batch, padding or cache."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
    if adds_chat:
        roles = itertools.cycle(("user", "assistant"))
        turns = zip(roles, prompt, strict=False)
        text = "".join(f"{role}: {content}\n" for role, content in turns) + "bot:"
    else:
        text = prompts.text_of(prompt)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(number):
            new = model(ids).logits[0, -1].argmax().reshape(1, 1)
            if new == 0:
                break
            ids = torch.cat([ids, new], dim=1)
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True)


@pytest.mark.torch
def test_replies_are_those_of_greedy_decoding(directory):
    model = local.LocalModel(directory, max_tokens=9)
    replies = dict(model.replies(PROMPTS))
    expected = {i: by_hand(directory, p, 9) for i, p in enumerate(PROMPTS)}
    assert {i: reply.text for i, reply in replies.items()} == expected
    assert len(set(expected.values())) == 3
    assert not any(reply.is_refused for reply in replies.values())


@pytest.mark.torch
@pytest.mark.parametrize(
    ("kind", "options", "is_shared"),
    [
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2, **ENDS}, True),
        ("llama", SHAPE, True),
        # A window counts the padding, and so do the distances of ALiBi.
        ("mistral", {**SHAPE, "sliding_window": 8}, False),
        ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 2, **ENDS}, False),
        # A state, not keys and values.
        (
            "mamba",
            {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, **ENDS},
            False,
        ),
    ],
)
def test_what_all_prompts_begin_with_is_read_once_where_that_changes_nothing(
    directory, tmp_path, kind, options, is_shared
):
    import transformers

    path = tmp_path / kind
    shutil.copytree(directory, path)
    write_model(
        path,
        transformers.AutoConfig.for_model(
            kind, **{"initializer_range": 0.5, **options}
        ),
    )
    start = "which word is it: "
    asked = [(start + end,) for end in ("sea", "a longer text", "so", "sea")]
    model = local.LocalModel(path, max_tokens=7)
    read = []
    model._loaded.model.register_forward_pre_hook(
        lambda _, own, named: read.append(named["input_ids"].numel()), with_kwargs=True
    )
    replies = dict(model.replies(asked))
    assert [replies[i].text for i in range(4)] == [
        by_hand(path, prompt, 7) for prompt in asked
    ]
    longest = len("a longer text")
    expected = [len(start), 4 * longest] if is_shared else [4 * (len(start) + longest)]
    assert read[: len(expected)] == expected


@pytest.mark.torch
def test_a_prompt_that_others_begin_with_keeps_its_last_token(directory):
    model = local.LocalModel(directory, max_tokens=5)
    asked = [("so",), ("so it is",), ("so",)]
    replies = dict(model.replies(asked))
    assert [replies[i].text for i in range(3)] == [
        by_hand(directory, prompt, 5) for prompt in asked
    ]
    assert [*model.replies([])] == []


@pytest.mark.torch
def test_the_template_of_a_chat_surrounds_the_prompt(directory, tmp_path):
    model = local.LocalModel(directory, max_tokens=9)
    model._loaded.tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}bot:{% endif %}"
    )
    replies = dict(model.replies(PROMPTS))
    assert [replies[i].text for i in range(3)] == [
        by_hand(directory, prompt, 9, adds_chat=True) for prompt in PROMPTS
    ]


@pytest.mark.torch
def test_settings_change_with_the_files_and_the_length_of_a_reply(directory):
    first = local.LocalModel(directory, max_tokens=9)
    assert first.name == directory.name
    assert first.settings == local.LocalModel(directory, max_tokens=9).settings
    assert first.settings != local.LocalModel(directory, max_tokens=8).settings
    path = directory / "config.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), "attn_pdrop": 0.2}))
    try:
        assert local.LocalModel(directory, max_tokens=9).settings != first.settings
    finally:
        path.write_text(before)


@pytest.mark.torch
def test_prompts_that_are_too_long_and_other_directories_are_refused(
    directory, tmp_path
):
    model = local.LocalModel(directory, max_tokens=9)
    with pytest.raises(InputError, match=r"60 tokens and 9 of the reply.* at most 64"):
        list(model.replies([("a" * 60,)]))
    with pytest.raises(InputError, match=f"{tmp_path}: no causal language model"):
        local.LocalModel(tmp_path)


def test_without_pytorch_one_line_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "config.json").touch()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        InputError, match=r"needs PyTorch; pip install 'mtra-jax\[local"
    ):
        local.LocalModel(tmp_path)
