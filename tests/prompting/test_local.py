"""A tiny causal model in a local directory: its replies are those of greedy decoding."""

import itertools
import json
import shutil
import sys

import pytest
from tiers import NIGHTLY_ONLY

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
        pytest.param("llama", SHAPE, True, marks=NIGHTLY_ONLY),
        pytest.param(
            *("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 2, **ENDS}, True),
            marks=NIGHTLY_ONLY,
        ),
        # Every second layer sees the last 8 tokens.
        (
            "gpt_neo",
            {
                "hidden_size": 32,
                "num_layers": 2,
                "num_heads": 2,
                "attention_types": [[["global", "local"], 1]],
                "window_size": 8,
                **ENDS,
            },
            True,
        ),
        # A layer that forgets what is outside of its window.
        ("mistral", {**SHAPE, "sliding_window": 8}, False),
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
    ends = ("sea", "a longer text", "the", "tea")
    asked = [(start + end,) for end in ends]
    model = local.LocalModel(path, max_tokens=7)
    read = []
    model._loaded.model.register_forward_pre_hook(
        lambda _, own, named: read.append(named["input_ids"].numel()), with_kwargs=True
    )
    replies = dict(model.replies(asked))
    assert [replies[i].text for i in range(4)] == [
        by_hand(path, prompt, 7) for prompt in asked
    ]
    # Prompts of one length together, the shortest first; then a token of each at a time.
    sizes = [3 * len("sea"), len("a longer text")]
    if is_shared:
        expected = [len(start), *sizes]
    else:
        expected = [sizes[0] + 3 * len(start), sizes[1] + len(start)]
    assert [size for size in read if size > 3] == expected


@pytest.mark.torch
def test_a_reply_does_not_depend_on_the_other_prompts(directory, tmp_path):
    """Positions of this model turn by other angles in texts of more than 16 tokens."""
    import transformers

    path = tmp_path / "phi"
    shutil.copytree(directory, path)
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 8,
        "long_factor": [8.0] * 8,
        "original_max_position_embeddings": 16,
    }
    options = {**SHAPE, "num_key_value_heads": 2, "pad_token_id": 0}
    config = transformers.Phi3Config(
        **options, original_max_position_embeddings=16, rope_parameters=rope
    )
    write_model(path, config)
    asked = [("which " + end,) for end in ("sea", "one of the many texts", "so")]
    model = local.LocalModel(path, max_tokens=5)
    together = dict(model.replies(asked))
    for place, prompt in enumerate(asked):
        assert dict(model.replies([prompt])) == {0: together[place]}


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


@pytest.mark.torch
def test_weights_that_lack_arrays_are_refused(directory, tmp_path):
    path = tmp_path / "deeper"
    shutil.copytree(directory, path)
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**values, "n_layer": 3}))
    with pytest.raises(InputError, match=r"12 arrays .*, such as transformer\.h\.2\."):
        list(local.LocalModel(path).replies(PROMPTS))


@pytest.mark.torch
def test_a_tokenizer_of_another_model_is_refused(directory, tmp_path):
    import transformers

    small = tmp_path / "small"
    shutil.copytree(directory, small)
    write_model(small, transformers.LlamaConfig(**{**SHAPE, "vocab_size": 5}))
    with pytest.raises(
        InputError, match=r"makes token \d+, the model has 5 embeddings"
    ):
        list(local.LocalModel(small).replies(PROMPTS))
    bare = tmp_path / "bare"
    bare.mkdir()
    write_model(bare, transformers.LlamaConfig(**SHAPE))
    with pytest.raises(InputError, match=f"{bare}: "):
        list(local.LocalModel(bare).replies(PROMPTS))


@pytest.mark.torch
@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no assistant') }}", "{% for m in messages %}"]
)
def test_a_template_that_refuses_a_prompt_is_named(directory, template):
    model = local.LocalModel(directory)
    model._loaded.tokenizer.chat_template = template
    with pytest.raises(InputError, match=f"{directory}: its chat template refuses"):
        list(model.replies(PROMPTS))


@pytest.mark.torch
def test_a_tokenizer_may_have_no_token_for_an_end(directory):
    model = local.LocalModel(directory, max_tokens=9)
    expected = dict(model.replies(PROMPTS))
    model._loaded.tokenizer.eos_token = None
    assert dict(model.replies(PROMPTS)) == expected


def test_without_pytorch_one_line_names_the_package(tmp_path, monkeypatch):
    (tmp_path / "config.json").touch()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"needs PyTorch.*pip install torch"):
        local.LocalModel(tmp_path)
