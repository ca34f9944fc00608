"""The pretrained encoder and tokenizer of a run: misfits and unused weights."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import safetensors.numpy

from mtra_jax import config as configs
from mtra_jax.data.splits.examples import Examples
from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError
from mtra_jax.models import encoder, pretrained
from mtra_jax.runs.training import display, inputs, loop, selection
from mtra_jax.tasks import BENCHMARKS

SMALL = encoder.EncoderConfig(
    vocab_size=40,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=1,
    intermediate_size=8,
    max_position_embeddings=32,
)
TEXTS = ["so good", "so bad"]
HEADS = {"qa_outputs.weight": np.ones((2, 8), np.float32)}


def write(directory, config=SMALL, heads=HEADS):
    """A BERT with a head, and a tokenizer trained on `TEXTS`."""
    params = pretrained.init_encoder(config, jax.random.key(0))
    tensors = {
        f"bert.{n}": v for n, v in pretrained.to_huggingface(params, config).items()
    }
    safetensors.numpy.save_file({**tensors, **heads}, directory / "model.safetensors")
    pretrained.save_config(directory, config)
    tokens.save_tokenizer(tokens.train_tokenizer(TEXTS, 40), directory, 32)


def load(directory, texts):
    config = configs.preset("new_synthetic", "ew")
    config.backbone.path = str(directory)
    config.data.max_length = 16
    return inputs.load_backbone(config, texts)


def test_weights_of_heads_are_named(tmp_path):
    write(tmp_path)
    result = load(tmp_path, TEXTS)
    assert result.dropped == ("qa_outputs.weight",)
    assert result.config == SMALL
    assert result.tokenizer.encode("so good").ids[0] == 2
    write(tmp_path, heads={})
    assert load(tmp_path, TEXTS).dropped == ()


def test_a_new_encoder_drops_nothing():
    assert load("", TEXTS).dropped == ()


def test_texts_in_another_language_are_refused(tmp_path):
    write(tmp_path)
    load(tmp_path, [*TEXTS, "你好"])
    with pytest.raises(InputError) as caught:
        load(tmp_path, [*TEXTS, "世界 " * 9])
    assert str(caught.value).startswith(
        f"{tmp_path}: the tokenizer gives mostly unknown tokens, or none, to the "
        "training texts: it has tokens for 38% of the characters of 3 texts"
    )


def test_the_tokenizer_of_a_small_vocabulary_is_refused(tmp_path):
    write(tmp_path, dataclasses.replace(SMALL, vocab_size=1000))
    size = tokens.load_tokenizer(tmp_path).get_vocab_size()
    with pytest.raises(
        InputError, match=f"has {size} tokens, the encoder rows for 1000"
    ):
        load(tmp_path, TEXTS)


@pytest.mark.parametrize("more", [["so", "good", "bad"], ["", "", "bad"], [" ", "bad"]])
def test_a_vocabulary_with_gaps_needs_rows_for_its_last_line(tmp_path, more):
    lines = [*tokens.SPECIAL_TOKENS, "so", "good", *more]
    write(tmp_path, dataclasses.replace(SMALL, vocab_size=len(lines)))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = load(tmp_path, TEXTS)
    last = len(lines) - 1
    assert result.tokenizer.encode("bad").ids == [2, last, 3]
    write(tmp_path, dataclasses.replace(SMALL, vocab_size=last))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    with pytest.raises(
        InputError, match=f"'bad' .* the id {last}; the encoder has rows"
    ):
        load(tmp_path, TEXTS)


def lines_at_start(backbone):
    """The lines of the terminal before the first step."""
    run = SimpleNamespace(
        schedule=SimpleNamespace(steps_per_epoch=1, epochs=1, patience=1),
        benchmark=BENCHMARKS["tweeteval"].select(["irony"]),
        train=SimpleNamespace(corpus=SimpleNamespace(sizes=(2,)), shapes=[1]),
        selection=selection.Selection(),
    )
    lines = []
    shown = display.Display(lines.append)
    part = Examples(["a", "b"], np.array([0, 1]))
    examples = {"irony": dict.fromkeys(("train", "validation", "test"), part)}
    read = SimpleNamespace(backbone=backbone, examples=examples, cut="")
    prepared = SimpleNamespace(run=run, inputs=read, origin="")
    shown.watch(prepared, loop.Progress())
    shown.close()
    return lines[:-1]  # the last announces the compiler


def test_unused_weights_are_listed_at_the_start(tmp_path):
    write(tmp_path)
    line = "weights of the checkpoint that are not used: qa_outputs.weight"
    examples = "training examples: irony 2; 1 steps an epoch"
    assert lines_at_start(load(tmp_path, TEXTS)) == [line, examples]
    assert lines_at_start(load("", TEXTS)) == [examples]


def test_a_page_in_place_of_the_settings_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("<!DOCTYPE html>\n")
    with pytest.raises(
        InputError, match=r"tokenizer_config\.json: a web page, not the"
    ):
        load(tmp_path, TEXTS)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({}))
    load(tmp_path, TEXTS)
