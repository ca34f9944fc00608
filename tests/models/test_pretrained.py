"""Hugging Face directories, read and written: each supported layout, each fault."""

import dataclasses
import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from messages import assert_mentions

from mtra_jax.errors import InputError
from mtra_jax.models.encoder import Encoder, EncoderConfig
from mtra_jax.models.pretrained import (
    from_huggingface,
    init_encoder,
    load_encoder,
    load_pretrained,
    read_config,
    resolve,
    save_encoder,
    to_huggingface,
)

SMALL = EncoderConfig(
    vocab_size=30,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=16,
)
WORDS = "embeddings.word_embeddings.weight"
QUERY = "encoder.layer.0.attention.self.query.weight"


def some_tensors(config=SMALL, dtype=np.float32):
    """Random weights under Hugging Face's names."""
    rng = np.random.default_rng(0)
    width, inner = config.hidden_size, config.intermediate_size
    shapes = {
        WORDS: (config.vocab_size, width),
        "embeddings.position_embeddings.weight": (
            config.max_position_embeddings,
            width,
        ),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, width),
    }
    norms = ["embeddings.LayerNorm"]
    for index in range(config.num_hidden_layers):
        layer = f"encoder.layer.{index}"
        for name, out, into in (
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ):
            shapes[f"{layer}.{name}.weight"] = (out, into)
            shapes[f"{layer}.{name}.bias"] = (out,)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for norm in norms:
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return {
        name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()
    }


def write(directory, tensors, config=SMALL, name="model.safetensors"):
    directory.mkdir(exist_ok=True)
    safetensors.numpy.save_file(tensors, directory / name)
    content = json.dumps(dataclasses.asdict(config))
    (directory / "config.json").write_text(content)
    return directory


def write_config(directory, **values):
    (directory / "config.json").write_text(json.dumps(values))
    return directory


def assert_same(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def refusal(call, *arguments):
    """The message of the InputError that the call raises: one line."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Reading.


def test_each_weight_has_its_place_and_kernels_are_transposed():
    tensors = some_tensors()
    params = from_huggingface(tensors, SMALL)
    shapes = jax.eval_shape(lambda: init_encoder(SMALL, jax.random.key(0)))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    layer = jax.tree.map(lambda x: x[1], params["layers"])
    for actual, name in (
        (layer["attention"]["value"]["bias"], "attention.self.value.bias"),
        (layer["attention"]["output"]["bias"], "attention.output.dense.bias"),
        (layer["attention_norm"]["bias"], "attention.output.LayerNorm.bias"),
        (layer["output_norm"]["scale"], "output.LayerNorm.weight"),
    ):
        np.testing.assert_array_equal(actual, tensors[f"encoder.layer.1.{name}"])
    for actual, name in (
        (layer["attention"]["query"]["kernel"], "attention.self.query.weight"),
        (layer["attention"]["key"]["kernel"], "attention.self.key.weight"),
        (layer["intermediate"]["kernel"], "intermediate.dense.weight"),
        (layer["output"]["kernel"], "output.dense.weight"),
    ):
        np.testing.assert_array_equal(actual, tensors[f"encoder.layer.1.{name}"].T)
    words = params["embeddings"]["word_embeddings"]["embedding"]
    np.testing.assert_array_equal(words, tensors[WORDS])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", jnp.bfloat16])
def test_renaming_there_and_back_preserves_bits_and_types(dtype):
    tensors = some_tensors(dtype=dtype)
    back = to_huggingface(from_huggingface(tensors, SMALL), SMALL)
    assert {value.dtype for value in back.values()} == {np.dtype(dtype)}
    assert_same(back, tensors)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", jnp.bfloat16])
def test_weights_are_read_as_float32_whatever_their_type(tmp_path, dtype):
    tensors = some_tensors(dtype=dtype)
    write(tmp_path, tensors)
    config, params = load_encoder(tmp_path)
    assert config == SMALL
    expected = {name: value.astype(np.float32) for name, value in tensors.items()}
    for leaf in jax.tree.leaves(params):
        assert leaf.dtype == np.float32
        assert leaf.flags.c_contiguous
        assert leaf.flags.owndata
    assert_same(to_huggingface(params, SMALL), expected)


@pytest.mark.parametrize("prefix", ["bert.", "roberta.", "model.", "module.bert.", ""])
def test_prefixes_old_names_and_parts_beside_the_encoder_are_understood(
    tmp_path, prefix
):
    expected = some_tensors()
    tensors = {
        prefix
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in expected.items()
    }
    tensors[f"{prefix}embeddings.position_ids"] = np.arange(16)[None]
    for name in (
        f"{prefix}pooler.dense.weight",
        "cls.predictions.transform.LayerNorm.gamma",
        "lm_head.bias",
        "classifier.out_proj.weight",
    ):
        tensors[name] = np.ones(3, np.float32)
    _, params = load_encoder(write(tmp_path, tensors))
    assert_same(to_huggingface(params, SMALL), expected)


def write_shards(directory, tensors):
    names = list(tensors)
    weight_map = {}
    for shard in range(3):
        file = f"model-{shard + 1:05}-of-00003.safetensors"
        part = {name: tensors[name] for name in names[shard::3]}
        write(directory, part, name=file)
        weight_map |= dict.fromkeys(part, file)
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index, weight_map


def test_shards_are_read_through_their_index(tmp_path):
    tensors = some_tensors()
    write_shards(tmp_path, tensors)
    assert_same(to_huggingface(load_encoder(tmp_path)[1], SMALL), tensors)


def test_keys_that_the_configuration_leaves_out_have_hugging_faces_defaults(tmp_path):
    bert = read_config(write_config(tmp_path, model_type="bert", hidden_act="relu"))
    assert bert == EncoderConfig(hidden_act="relu")
    roberta = read_config(write_config(tmp_path, model_type="roberta"))
    expected = EncoderConfig(model_type="roberta", vocab_size=50265, pad_token_id=1)
    assert roberta == expected
    transformers = pytest.importorskip("transformers")
    for kind in ("bert", "roberta", "xlm-roberta", "camembert"):
        there = transformers.AutoConfig.for_model(kind)
        here = read_config(write_config(tmp_path, model_type=kind))
        for key, value in dataclasses.asdict(here).items():
            assert getattr(there, key) == value, (kind, key)


@pytest.mark.shared
def test_the_real_encoder_is_read(minilm):
    config, params = load_encoder(minilm)
    assert (config.model_type, config.hidden_size, config.max_length) == (
        "bert",
        384,
        512,
    )
    assert params["embeddings"]["word_embeddings"]["embedding"].shape == (30522, 384)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 22_565_376


# Writing.


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_saved_encoder_is_read_again_to_the_bit(tmp_path, kind):
    config = dataclasses.replace(SMALL, model_type=kind, layer_norm_eps=3e-7)
    params = from_huggingface(some_tensors(config), config)
    directory = tmp_path / "new" / "encoder"
    for _ in range(2):  # the second over the first
        save_encoder(directory, config, params)
    actual, again = load_encoder(directory)
    assert actual == config
    assert_same(again, params)
    names = sorted(path.name for path in directory.iterdir())
    assert names == ["config.json", "model.safetensors"]
    with safetensors.safe_open(directory / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_an_interrupted_save_leaves_the_old_files_whole(tmp_path, monkeypatch):
    params = from_huggingface(some_tensors(), SMALL)
    save_encoder(tmp_path, SMALL, params)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def cut_off(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", cut_off)
    with pytest.raises(OSError, match="no space"):
        save_encoder(tmp_path, SMALL, params)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "camembert"])
def test_pytorch_gives_the_same_hidden_states_from_a_saved_encoder(tmp_path, kind):
    torch = pytest.importorskip("torch")
    from transformers import AutoModel

    config = dataclasses.replace(SMALL, model_type=kind, layer_norm_eps=1e-3)
    params = from_huggingface(some_tensors(config), config)
    save_encoder(tmp_path, config, params)
    model, report = AutoModel.from_pretrained(
        tmp_path, add_pooling_layer=False, output_loading_info=True
    )
    assert not any(report.values()), report
    assert (
        type(model).__name__
        == json.loads((tmp_path / "config.json").read_text())["architectures"][0]
    )
    written = {name: value.numpy() for name, value in model.state_dict().items()}
    assert_same(written, to_huggingface(params, config))
    tokens = np.random.default_rng(0).integers(2, 30, (3, 14)).astype(np.int32)
    with torch.no_grad():
        expected = model.double().eval()(torch.tensor(tokens)).last_hidden_state.numpy()
    positions = np.arange(14, dtype=np.int32) + 0 * tokens
    with jax.enable_x64(True):
        actual = Encoder(config, jnp.float64).apply(
            {"params": jax.tree.map(np.float64, params)},
            tokens,
            np.ones_like(tokens),
            positions,
            deterministic=True,
        )
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


HEADS = ["qa_outputs.weight", "mlp.0.weight", "score.bias", "dense.weight", "logits.b"]


@pytest.mark.parametrize("prefix", ["bert.", "roberta.", "module.bert.", ""])
def test_heads_of_any_name_are_dropped_and_named(tmp_path, prefix):
    expected = some_tensors()
    tensors = {f"{prefix}{name}": value for name, value in expected.items()}
    heads = [*HEADS, f"{prefix}pooler.dense.bias", "cls.seq_relationship.weight"]
    tensors |= {name: np.ones(3, np.float32) for name in heads}
    for name in ("position_ids", "token_type_ids"):
        tensors[f"{prefix}embeddings.{name}"] = np.arange(16)[None]
    actual = load_pretrained(write(tmp_path, tensors))
    assert_same(to_huggingface(actual.params, SMALL), expected)
    assert sorted(actual.dropped) == sorted(heads)


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layer.2.attention.self.query.weight",
        "encoder.layer.0.attention.self.distance_embedding.weight",
        "encoder.layer.0.output.adapters.sst.adapter_down.0.weight",
        "encoder.layer.0.attention.self.query.lora_A.weight",
        "encoder.relative_attention_bias.weight",
        "embeddings.projection.weight",
    ],
)
@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_unknown_weights_within_the_encoder_are_refused(tmp_path, prefix, name):
    tensors = {f"{prefix}{name}": value for name, value in some_tensors().items()}
    tensors[f"{prefix}{name}"] = np.ones(3, np.float32)
    assert f"unexpected weights: {name}" in refusal(
        load_encoder, write(tmp_path, tensors)
    )


def test_unknown_weights_below_the_prefix_are_refused(tmp_path):
    tensors = {f"bert.{name}": value for name, value in some_tensors().items()}
    tensors["bert.invertible_adapters.sst.weight"] = np.ones(3, np.float32)
    assert "unexpected weights: invertible_adapters.sst.weight" in refusal(
        load_encoder, write(tmp_path, tensors)
    )


@pytest.mark.torch
def test_an_encoder_below_a_head_for_questions_is_read_from_pytorch(tmp_path):
    pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForQuestionAnswering

    sizes = dataclasses.asdict(SMALL)
    for key in ("model_type", "hidden_act"):
        del sizes[key]
    config = AutoConfig.for_model("bert", **sizes)
    model = AutoModelForQuestionAnswering.from_config(config)
    model.save_pretrained(tmp_path)
    actual = load_pretrained(tmp_path)
    expected = {
        name.removeprefix("bert."): value.numpy()
        for name, value in model.state_dict().items()
        if name.startswith("bert.")
    }
    assert_same(to_huggingface(actual.params, actual.config), expected)
    assert actual.dropped == ("qa_outputs.bias", "qa_outputs.weight")


@pytest.mark.torch
def test_a_classifier_that_pytorch_saved_is_read_without_its_head(tmp_path):
    pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = dataclasses.asdict(SMALL)
    for key in ("model_type", "hidden_act"):
        del sizes[key]
    model = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model("roberta", **sizes, num_labels=3)
    )
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    config, params = load_encoder(tmp_path)
    expected = {
        name.removeprefix("roberta."): value.numpy()
        for name, value in model.state_dict().items()
        if name.startswith("roberta.")
    }
    assert_same(to_huggingface(params, config), expected)


# A new encoder.


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_new_encoder_has_hugging_faces_initialisation(kind):
    config = dataclasses.replace(
        SMALL, model_type=kind, pad_token_id=3, hidden_size=64, initializer_range=0.05
    )
    tensors = to_huggingface(init_encoder(config, jax.random.key(0)), config)
    for name, value in tensors.items():
        assert value.dtype == np.float32
        if "LayerNorm.weight" in name:
            assert (value == 1).all(), name
        elif name.endswith("bias"):
            assert (value == 0).all(), name
        else:
            has_padding = "word_emb" in name or (
                "position_emb" in name and kind == "roberta"
            )
            rows_of_zeros = np.flatnonzero((value == 0).all(axis=1)).tolist()
            assert rows_of_zeros == [3] * has_padding, name
            drawn = np.delete(value, rows_of_zeros, axis=0)
            error = 0.05 / np.sqrt(2 * drawn.size)
            assert abs(drawn.std() - 0.05) < 4.5 * error, name
            assert abs(drawn.mean()) < 4.5 * 0.05 / np.sqrt(drawn.size), name
    other = to_huggingface(init_encoder(config, jax.random.key(1)), config)
    assert not np.array_equal(other[QUERY], tensors[QUERY])


# Refusals.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(QUERY), f"missing weights: {QUERY}"),
        (
            lambda t: t.update({"encoder.layer.2.output.dense.bias": np.ones(8)}),
            "unexpected weights: encoder.layer.2.output.dense.bias",
        ),
        (
            lambda t: t.update({QUERY + "_scale": t.pop(QUERY)}),
            f"missing weights: {QUERY}; unexpected weights: {QUERY}_scale",
        ),
        (
            lambda t: t.update({WORDS: np.ones((31, 8))}),
            f"{WORDS} has shape (31, 8); config.json says (30, 8)",
        ),
        (
            lambda t: t.update({QUERY: t[QUERY].ravel()}),
            f"{QUERY} has shape (64,); config.json says (8, 8)",
        ),
        (
            lambda t: t.update({QUERY: t[QUERY].astype(np.int8)}),
            f"{QUERY} is int8; expected floating point",
        ),
        (lambda t: t.pop(WORDS), f"one {WORDS}; found none"),
        (
            lambda t: t.update({f"teacher.{WORDS}": t[WORDS]}),
            f"one {WORDS}; found {WORDS}, teacher.{WORDS}",
        ),
        (
            lambda t: t.update({"embeddings.LayerNorm.gamma": np.ones(8)}),
            "embeddings.LayerNorm.weight is there twice",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    tensors = some_tensors()
    change(tensors)
    actual = refusal(load_encoder, write(tmp_path, tensors))
    assert actual.startswith(f"{tmp_path}: ")
    assert message in actual


def test_many_missing_weights_are_counted(tmp_path):
    config = dataclasses.replace(SMALL, num_hidden_layers=3)
    actual = refusal(load_encoder, write(tmp_path, some_tensors(), config))
    assert "missing weights: encoder.layer.2.attention.output.LayerNorm.bias" in actual
    assert actual.endswith("and 11 more")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no model_type; expected one of bert, roberta, xlm-roberta, camembert"),
        (
            {"model_type": None},
            "model_type is None; this architecture is not supported",
        ),
        ({"model_type": "robrta"}, "model_type is 'robrta'; did you mean roberta?"),
        ({"model_type": ["bert"]}, "model_type is ['bert']"),
        ({"position_embedding_type": "relative_key"}, "'relative_key'; expected 'abso"),
        ({"is_decoder": True}, "is_decoder is true"),
        ({"hidden_size": "768"}, "hidden_size is '768'; expected int"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True; expected int"),
        ({"vocab_size": 30522.0}, "vocab_size is 30522.0; expected int"),
        ({"layer_norm_eps": None}, "layer_norm_eps is None; expected float"),
        ({"hidden_size": 100}, "hidden_size 100 is not a multiple of"),
        ({"hidden_act": "prelu"}, "hidden_act is 'prelu', which is not supported; kno"),
        ({"hidden_act": ["gelu"]}, "hidden_act is ['gelu']; expected str"),
    ],
)
def test_a_configuration_of_another_model_is_refused(tmp_path, values, message):
    values = {"model_type": "bert", **values} if values else values
    actual = refusal(read_config, write_config(tmp_path, **values))
    assert actual.startswith(f"{tmp_path / 'config.json'}: ")
    assert message in actual


@pytest.mark.parametrize(
    "name",
    [
        "modernbert",
        "distilbert",
        "electra",
        "mpnet",
        "albert",
        "deberta-v2",
        "ibert",
        "xlm-roberta-xl",
        "roberta-prelayernorm",
        "bart",
        "gpt2",
        "megatron-bert",
    ],
)
def test_another_architecture_is_not_taken_for_a_typo(tmp_path, name):
    assert refusal(read_config, write_config(tmp_path, model_type=name)) == (
        f"{tmp_path}/config.json: model_type is {name!r}; this architecture is not "
        "supported; known: bert, roberta, xlm-roberta, camembert"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"model_type": "bert",\n\n oops}',
            "config.json, line 3: Expecting property",
        ),
        (b"[1, 2]", "config.json: expected an object; found [1, 2]"),
        (b"\xff\xfe", "config.json: not a readable JSON file"),
        (None, "config.json: No such file or directory; expected a JSON file"),
    ],
)
def test_an_unreadable_configuration_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    assert message in refusal(read_config, tmp_path)


@pytest.mark.parametrize(
    "file", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"]
)
def test_weights_in_pickles_are_refused_with_the_way_to_convert_them(tmp_path, file):
    write_config(tmp_path, model_type="bert")
    assert "no model.safetensors" in refusal(load_encoder, tmp_path)
    (tmp_path / file).write_bytes(b"\x80\x02")
    actual = refusal(load_encoder, tmp_path)
    assert "only safetensors are read" in actual
    assert f".save_pretrained('{tmp_path}')" in actual


@pytest.mark.parametrize(
    "file",
    [
        "training_args.bin",
        "optimizer.pt",
        "optimizer.bin",
        "scheduler.pt",
        "scaler.pt",
        "rng_state.pth",
        "rng_state_0.pth",
        "trainer_state.json",
        "vocab.txt",
    ],
)
def test_files_of_a_trainer_are_not_taken_for_weights(tmp_path, file):
    write_config(tmp_path, model_type="bert")
    (tmp_path / file).write_bytes(b"\x80\x02")
    assert refusal(load_encoder, tmp_path) == (
        f"{tmp_path}: no model.safetensors and no model.safetensors.index.json"
    )


@pytest.mark.parametrize(
    "file",
    [
        "flax_model.msgpack",
        "tf_model.h5",
        "adapter_model.safetensors",
        "last.ckpt",
        "model.ckpt.index",
        "adapter_model.bin",
        "model.onnx",
        "model.pt",
    ],
)
def test_weights_in_another_format_are_named(tmp_path, file):
    write_config(tmp_path, model_type="bert")
    for name in (file, "training_args.bin"):
        (tmp_path / name).write_bytes(b"\x80\x02")
    assert refusal(load_encoder, tmp_path) == (
        f"{tmp_path}: no model.safetensors and no model.safetensors.index.json; found "
        f"{file}, which is not read"
    )


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "a git-lfs pointer, not the file itself; git lfs pull in its "),
        (b"\n<!doctype HTML PUBLIC>\n", "a web page, not the file itself; download "),
    ],
    ids=["pointer", "page"],
)
@pytest.mark.parametrize(
    "file",
    [
        "model.safetensors",
        "config.json",
        "model-00002-of-00003.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
    ],
)
def test_an_incomplete_download_is_named(tmp_path, file, content, message):
    write_shards(tmp_path, some_tensors())
    if file == "pytorch_model.bin":
        (tmp_path / "model.safetensors.index.json").unlink()
    (tmp_path / file).write_bytes(content)
    assert refusal(load_encoder, tmp_path).startswith(f"{tmp_path / file}: {message}")


def test_a_message_of_the_hub_is_shown_whole(monkeypatch):
    import huggingface_hub

    long = "\n".join(f"Sentence {number} of the reason." for number in range(30))

    def snapshot_download(name, **options):
        raise OSError(long)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert refusal(resolve, "organisation/name") == (
        "organisation/name: no such directory, and not to be had from the hub: "
        + long.replace("\n", " ")
        + "; expected a model there, or a directory of one (--backbone, or backbone.path)"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.popitem(), "only in the index or only in the shards: "),
        (lambda m: m.update(extra=next(iter(m.values()))), "shards: extra"),
        (lambda m: m.update({WORDS: "../x.safetensors"}), "found '../x.safetensors'"),
        (lambda m: m.update({WORDS: 3}), "found 3"),
        (lambda m: m.update({WORDS: "gone.safetensors"}), "gone.safetensors: not a"),
        (lambda m: m.clear(), "no weight_map"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(tmp_path, change, message):
    index, weight_map = write_shards(tmp_path, some_tensors())
    change(weight_map)
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert message in refusal(load_encoder, tmp_path)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ({"a": entry()}, 2**62),
        ({"a": entry()}, 10**5),
        ({"a": entry()}, 9),
        ({"a": entry(), "b": entry(offsets=(4, 12))}, None),
        ({"a": entry(offsets=(0, 800))}, None),
        ({"a": entry(offsets=(8, 0))}, None),
        ({"a": entry(offsets=(-8, 0))}, None),
        ({"a": entry(shape=(3,))}, None),
        ({"a": entry(shape=(2**62, 8))}, None),
        ({"a": entry(shape=(-2,))}, None),
        ({"a": entry(dtype="F33")}, None),
        ({"a": entry(dtype="F8_E4M3", shape=(8,))}, None),
        ({"a": {"dtype": "F32"}}, None),
        ({"a": 3}, None),
        ([1], None),
    ],
)
def test_a_hostile_header_is_refused(tmp_path, header, length):
    write(tmp_path, {})
    text = json.dumps(header).encode()
    size = struct.pack("<Q", len(text) if length is None else length)
    file = tmp_path / "model.safetensors"
    file.write_bytes(size + text + bytes(8))
    assert refusal(load_encoder, tmp_path).startswith(f"{file}: ")


def test_a_file_that_is_cut_off_is_refused_wherever_the_cut_is(tmp_path):
    file = write(tmp_path, some_tensors()) / "model.safetensors"
    whole = file.read_bytes()
    for size in [0, 1, 7, 8, 9, 200, 4000, len(whole) // 2, len(whole) - 1]:
        file.write_bytes(whole[:size])
        assert str(file) in refusal(load_encoder, tmp_path)


def test_a_damaged_header_is_read_or_refused_but_nothing_else(tmp_path):
    file = write(tmp_path, some_tensors()) / "model.safetensors"
    whole = file.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(8 + header)] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            load_encoder(tmp_path)
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 200
    assert not any("\n" in message for message in messages)


# Places.


def test_a_directory_with_a_configuration_is_taken_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "organisation" / "name").mkdir(parents=True)
    (tmp_path / "organisation" / "name" / "config.json").touch()
    monkeypatch.chdir(tmp_path)
    assert resolve("organisation/name").is_dir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/organisation/name") == tmp_path / "organisation" / "name"
    with pytest.raises(InputError) as error:
        resolve("organisation")
    assert_mentions(error.value, "organisation/config.json: no such file", "RoBERTa")


def test_a_hub_name_is_fetched_without_code_and_pickles(tmp_path, monkeypatch):
    import huggingface_hub

    asked = {}

    def snapshot_download(name, **options):
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert resolve("organisation/no-such.model") == tmp_path
    assert asked == {
        "name": "organisation/no-such.model",
        "allow_patterns": ["*.json", "*.txt", "*.model", "*.safetensors"],
    }


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Got: ConnectError: [Errno -2] unknown name", "[Errno -2] unknown name"),
        ("httpx.ReadTimeout: slow\nGot: ProxyError: 407", "slow 407"),
        ("404 Client Error: Not Found", "404 Client Error: Not Found"),
        ("", "OSError"),
    ],
)
def test_names_of_classes_are_left_out_of_a_message_of_the_hub(
    message, shown, monkeypatch
):
    import huggingface_hub

    def snapshot_download(name, **options):
        raise OSError(message)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert f" from the hub: {shown}; expected a model" in refusal(resolve, "name")


def test_a_name_that_is_neither_local_nor_on_the_hub_is_refused(tmp_path):
    assert "no such directory, and not to be had from the hub: " in refusal(
        resolve, "organisation/no-such-model"
    )
    for path in (str(tmp_path / "gone"), "./gone", "a/b/c", "", "gone/", "a b"):
        assert refusal(resolve, path) == f"{path!r}: no such directory"
    assert refusal(resolve, "builtin:tin") == (
        "'builtin:tin': no such directory; did you mean builtin:tiny?"
    )
    file = tmp_path / "model.safetensors"
    file.touch()
    assert "found a file" in refusal(resolve, str(file))
