"""Headers that lie, claims beyond the file, names of other files: one line each, cheaply."""

import dataclasses
import json
import os
import resource
import struct
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest

from mtra_jax.errors import InputError
from mtra_jax.models import pretrained, safetensors_files
from mtra_jax.models.encoder import EncoderConfig

SMALL = EncoderConfig(
    vocab_size=30,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=16,
)
WORDS = "embeddings.word_embeddings.weight"
DATA = np.array([1.5, -2.0], "<f4").tobytes()
SPARSE = 2**36  # bytes: more than the memory of most machines


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def write(file: Path, header: object, data: bytes = DATA, length: int | None = None):
    """A file with any header, and any claim of its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", size) + text + data)
    return file


def refusal(call, *arguments) -> str:
    """The message of the InputError: one short line without control characters."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000
    return message


def refusal_of_header(tmp_path: Path, *content, **options) -> str:
    file = write(tmp_path / "model.safetensors", *content, **options)
    message = refusal(safetensors_files.read_file, file)
    assert message.startswith(f"{file}: ")
    return message.removeprefix(f"{file}: ")


def test_a_file_written_by_hand_is_read(tmp_path):
    """What the hostile ones are mutations of."""
    header = {"__metadata__": {"format": "pt"}, "a": entry(), "../b": entry()}
    header["../b"]["data_offsets"] = [8, 16]
    file = write(tmp_path / "model.safetensors", header, data=DATA + DATA[::-1])
    result = safetensors_files.read_file(file)
    assert list(result) == ["a", "../b"]
    np.testing.assert_array_equal(result["a"], np.float32([1.5, -2.0]))
    assert result["../b"].tobytes() == DATA[::-1]
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


HEADERS = {
    "empty": b"",
    "not UTF-8": b'{"\xff": 1}',
    "not JSON": b"hello",
    "no object": [1],
    "deep array": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "deep extra field": json.dumps({"a": entry()}).encode()[:-2]
    + b', "x": '
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}}",
    "long number": json.dumps({"a": entry()}).encode()[:-2]
    + b', "x": '
    + b"1" * 5000
    + b"}}",
    "entry is a number": {"a": 3},
    "no shape": {"a": {"dtype": "F32", "data_offsets": [0, 8]}},
    "negative offset": {"a": entry(offsets=(-8, 0))},
    "reversed offsets": {"a": entry(offsets=(8, 0))},
    "three offsets": {"a": entry(offsets=(0, 4, 8))},
    "beyond the end": {"a": entry(offsets=(0, 800))},
    "huge offset": {"a": entry(offsets=(0, 2**64 - 1))},
    "gap before": {"a": entry(shape=(1,), offsets=(4, 8))},
    "rest after": {"a": entry(shape=(1,), offsets=(0, 4))},
    "overlapping": {
        "a": entry(shape=(1,), offsets=(0, 4)),
        "b": entry(shape=(1,), offsets=(2, 6)),
        "c": entry(dtype="I8", offsets=(6, 8)),
    },
    "the same bytes twice": {"a": entry(), "b": entry()},
    "shape says more": {"a": entry(shape=(3,))},
    "shape says less": {"a": entry(shape=(1,))},
    "type says more": {"a": entry(dtype="F64")},
    "huge shape": {"a": entry(shape=(2**62, 8))},
    "shape that wraps around": {"a": entry(shape=(2**62 + 1, 2))},
    "number beyond 64 bits": {"a": entry(shape=(2**64,))},
    "negative shape": {"a": entry(shape=(-2,))},
    "two negatives": {"a": entry(shape=(-2, -1))},
    "fraction": {"a": entry(shape=(2.0,))},
    "text as a size": {"a": entry(shape=("2",))},
    "truth as a size": {"a": entry(shape=(True, 2))},
    "unknown type": {"a": entry(dtype="F33")},
    "type with control characters": {"a": entry(dtype="F\n\x1b[2J")},
    "type is a number": {"a": entry(dtype=32)},
    "a field twice": b'{"a": {"dtype": "F32", "shape": [1], "shape": [2],'
    b' "data_offsets": [0, 8]}}',
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_hostile_header_is_one_line(tmp_path, header):
    message = refusal_of_header(tmp_path, header)
    assert message.startswith("not a readable safetensors file: ")


def test_a_name_that_stands_twice_is_refused(tmp_path):
    """JSON readers keep the last of the two: what others see depends on theirs."""
    first, last = (json.dumps(entry(dtype=dtype)) for dtype in ("F32", "I32"))
    header = f'{{"a": {first}, "a": {last}}}'.encode()
    message = refusal_of_header(tmp_path, header)
    assert message == "not a readable safetensors file: a is there 2 times"


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((1,) * 65 + (2,), "maximum supported dimension"),
        ((0, 2**62), "array is too big"),
        ((0, 2**63), "Maximum allowed dimension exceeded"),
    ],
    ids=["too many axes", "empty and too big", "empty and beyond 63 bits"],
)
def test_a_shape_that_no_array_has_is_refused(tmp_path, shape, reason):
    size = 0 if 0 in shape else 8
    header = {"a": entry(shape=shape, offsets=(0, size))}
    message = refusal_of_header(tmp_path, header, data=DATA[:size])
    assert message.startswith(f"a: {reason}")


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("F8_E4M3", (8,)), ("F4", (16,)), ("C64", (1,)), ("U16", (4,)), ("U64", (1,))],
)
def test_a_type_that_is_not_read_is_named(tmp_path, dtype, shape):
    message = refusal_of_header(tmp_path, {"a": entry(dtype=dtype, shape=shape)})
    assert message == f"a is of type {dtype}; expected F32, F16 or BF16"


@pytest.mark.parametrize("name", ["a\nerror: b", "\x1b[2J", "\u202e", "\x00"])
def test_a_name_that_would_not_print_is_refused(tmp_path, name):
    message = refusal_of_header(tmp_path, {name: entry()})
    assert message == f"the name {ascii(name)[1:-1]}; expected printable characters"


def test_long_names_are_cut_in_messages(tmp_path):
    write(tmp_path / "model.safetensors", {"a" * 10**6: entry(dtype="U64", shape=(1,))})
    assert "aaa... is of type U64" in refusal(
        safetensors_files.read_directory, tmp_path
    )
    assert safetensors_files.listed(["b" * 10**6, "a\n"]) == f"a\\n, {'b' * 300}..."


# What a claim may cost.


def measured(call, *arguments) -> str:
    """The refusal; neither Python's and NumPy's memory nor the process has grown."""
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        message = refusal(call, *arguments)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert peak < 2**20
    assert grown < 2**18  # KiB: less than a thousandth of what is claimed
    return message


def write_config(directory: Path, **changes) -> None:
    values = {**dataclasses.asdict(SMALL), **changes}
    (directory / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    "length", [2, 9, 10**5, 99_999_999, 10**8 + 1, 2**63, 2**64 - 1]
)
@pytest.mark.parametrize("size", [0, SPARSE], ids=["small file", "sparse file"])
def test_a_claim_about_the_header_costs_no_memory(tmp_path, length, size):
    file = write(tmp_path / "model.safetensors", {"a": entry()}, length=length)
    if size:
        os.truncate(file, size)
    assert str(file) in measured(safetensors_files.read_file, file)


@pytest.mark.parametrize("shape", [(SPARSE // 4,), (SPARSE // 32, 8)])
@pytest.mark.parametrize("name", ["other", WORDS])
def test_a_huge_tensor_that_does_not_fit_is_refused_unread(tmp_path, name, shape):
    write_config(tmp_path)
    header = {name: entry(shape=shape, offsets=(0, SPARSE))}
    file = write(tmp_path / "model.safetensors", header, data=b"")
    os.truncate(file, file.stat().st_size + SPARSE)
    assert measured(pretrained.load_encoder, tmp_path).startswith(f"{tmp_path}: ")


def test_layers_that_the_weights_cannot_hold_are_refused_before_they_are_made(tmp_path):
    write_config(tmp_path, num_hidden_layers=20_000)
    write(tmp_path / "model.safetensors", {WORDS: entry()})
    assert measured(pretrained.load_encoder, tmp_path) == (
        f"{tmp_path}: config.json says 20000 layers; found 1 weights"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 10**5, "not a readable JSON file: maximum recursion depth"),
        ('{"a":' * 10**5, "not a readable JSON file: maximum recursion depth"),
        ('{"vocab_size": ' + "1" * 5000 + "}", "not a readable JSON file: Exceeds"),
        (
            '{"model_type": "bert", "layer_norm_eps": 1' + "0" * 400 + "}",
            "layer_norm_eps: int too large to convert to float; expected float",
        ),
        ('{"model_type": "bert", "layer_norm_eps": NaN}', "layer_norm_eps is nan"),
    ],
    ids=["deep array", "deep object", "long number", "large number", "not a number"],
)
def test_a_hostile_configuration_is_one_line(tmp_path, content, message):
    file = tmp_path / "config.json"
    file.write_text(content)
    assert refusal(pretrained.read_config, tmp_path).startswith(f"{file}: {message}")


# Which files are read.


def write_encoder(directory: Path) -> dict[str, np.ndarray]:
    params = pretrained.init_encoder(SMALL, jax.random.key(0))
    pretrained.save_encoder(directory, SMALL, params)
    return pretrained.to_huggingface(params, SMALL)


ELSEWHERE = {
    "above": "../outside/model.safetensors",
    "absolute": "/etc/passwd",
    "below": "sub/model.safetensors",
    "through a directory": "sub/../model.safetensors",
    "the directory": ".",
    "the one above": "..",
    "nothing": "",
    "NUL": "model.safetensors\0.txt",
    "surrogate": "\ud800",
    "number": 3,
    "null": None,
    "list": ["model.safetensors"],
    "object": {"file": "model.safetensors"},
}


@pytest.mark.parametrize("shard", ELSEWHERE.values(), ids=ELSEWHERE)
def test_an_index_reads_no_file_but_those_beside_it(tmp_path, shard):
    """The file outside is whole and fits: only its place is wrong."""
    names = write_encoder(tmp_path / "outside")
    inside = tmp_path / "inside"
    inside.mkdir()
    write_config(inside)
    index = inside / safetensors_files.INDEX
    own = dict.fromkeys(names, "model.safetensors")
    for weight_map in (dict.fromkeys(names, shard), {**own, WORDS: shard}):
        index.write_text(json.dumps({"weight_map": weight_map}))
        message = refusal(pretrained.load_encoder, inside)
        assert message.startswith(f"{index}: expected a file beside it; found ")


def test_a_shard_that_is_missing_is_named(tmp_path):
    names = write_encoder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-1.safetensors")
    weight_map = dict.fromkeys(names, "model-1.safetensors")
    index = tmp_path / safetensors_files.INDEX
    index.write_text(json.dumps({"weight_map": weight_map}))
    pretrained.load_encoder(tmp_path)
    weight_map[WORDS] = "model-2.safetensors"
    index.write_text(json.dumps({"weight_map": weight_map}))
    message = refusal(pretrained.load_encoder, tmp_path)
    assert message.startswith(f"{tmp_path / 'model-2.safetensors'}: not a readable")


def test_a_name_of_the_index_that_would_not_print_is_escaped(tmp_path):
    names = write_encoder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-1.safetensors")
    weight_map = dict.fromkeys([*names, "\x1b[2J\n"], "model-1.safetensors")
    index = tmp_path / safetensors_files.INDEX
    index.write_text(json.dumps({"weight_map": weight_map}))
    message = refusal(pretrained.load_encoder, tmp_path)
    assert message.endswith(r"only in the shards: \x1b[2J\n")


def test_links_like_those_of_the_hubs_cache_are_followed(tmp_path):
    names = write_encoder(tmp_path / "blobs")
    snapshot = tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (snapshot / file).symlink_to(f"../../blobs/{file}")
    _, params = pretrained.load_encoder(snapshot)
    result = pretrained.to_huggingface(params, SMALL)
    np.testing.assert_array_equal(result[WORDS], names[WORDS])
