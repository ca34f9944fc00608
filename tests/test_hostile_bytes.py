"""Random bytes and small changes of valid files, at every reader: read right or refused.

Each reader stands beside an independent reading of the same bytes. A refusal is an
InputError that begins with the name of the file. The examples are the same in every run;
HOSTILE_EXAMPLES=5000 in the environment tries 5,000 others.
"""

import contextlib
import copy
import csv
import dataclasses
import io
import json
import math
import os
import re
import signal
import struct
import types

import jax
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from mtra_jax import cli, files
from mtra_jax import config as configs
from mtra_jax.commands import predict
from mtra_jax.data.built_in import sources
from mtra_jax.data.packed import batches, plans
from mtra_jax.data.tokenizing import plain_tokenizers, tokens
from mtra_jax.errors import InputError
from mtra_jax.models import encoder, pretrained, safetensors_files
from mtra_jax.reports.comparisons import comparison
from mtra_jax.reports.predicted import predictions
from mtra_jax.runs.directory import best_model, layout
from mtra_jax.runs.training import choices, inputs
from mtra_jax.tasks import AFFECTEVAL, SYNTHETIC, TWEETEVAL, Benchmark
from mtra_jax.train import build

pytestmark = [pytest.mark.hostile, pytest.mark.nightly]
NUM_EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "50"))
every_reader = settings(
    derandomize="HOSTILE_EXAMPLES" not in os.environ,
    max_examples=NUM_EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TASKS = {task.name: task for task in (*TWEETEVAL.tasks, *AFFECTEVAL.tasks)}
MARK = b"\xef\xbb\xbf"
FLOAT32_MAX = float(np.finfo(np.float32).max)

# What files of other programs, and of people, hold where one does not look for it.
PIECES = [
    MARK,
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b",",
    b'"',
    b'""',
    b"\xff",
    b"\xed\xa0\x80",  # half of a surrogate pair
    b"\xf0\x9f\x98",  # three quarters of an emoji
    "\U0001f44d\U0001f3fd\u200d".encode(),
    "\u202e\u05e9\u05dc\u05d5\u05dd".encode(),
    "\u2028\u0085\u00a0".encode(),
    "\u0661".encode(),
    b"0",
    b"1",
    b"-",
    b".",
    b"e9",
    b"1e999",
    b"nan",
    b"9" * 30,
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    rb"\ud800",
    rb"\u0000",
    b"[" * 5000,
]


@st.composite
def changed(draw, *bases: bytes):
    """A valid file with up to two changes; one in five is cut off."""
    content = bytearray(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 0, 1, 3]))
        content[start : start + length] = draw(
            st.sampled_from(PIECES) | st.binary(max_size=2)
        )
    is_cut = draw(st.sampled_from([False, False, False, False, True]))
    end = draw(st.integers(0, len(content))) if is_cut else len(content)
    return bytes(content[:end])


@st.composite
def hostile(draw, *bases: bytes):
    """Mostly changes of `bases`; random pieces and bytes as well."""
    kind = draw(st.sampled_from(["changed"] * 8 + ["pieces", "bytes"]))
    if kind == "changed":
        return draw(changed(*bases))
    if kind == "pieces":
        return b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=6)))
    return draw(st.binary(max_size=40))


ODD_VALUES = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        2**31,
        10**400,
        1.5,
        -1e-12,
        math.nan,
        math.inf,
        "",
        "x",
        "1",
        "../x",
        "a\0b",
        "\ud800",
        "e\nw",
        "a" * 100_000,
        [],
        ["irony", 1],
        {},
        {"name": "ew"},
    ]
)


@st.composite
def altered(draw, *bases):
    """JSON of a valid value in which one or two members are odd, gone or new."""
    value = copy.deepcopy(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(1, 2))):
        node = value
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = draw(st.sampled_from(keys)) if keys else None
            is_inner = keys and isinstance(node[key], dict | list)
            deed = draw(st.sampled_from(["deeper", "deeper", "odd", "gone", "new"]))
            if deed != "deeper" or not is_inner:
                break
            node = node[key]
        if deed == "new" and isinstance(node, dict):
            key = draw(st.sampled_from(["", "x", "\0", "epoch"]))
            node[key] = copy.deepcopy(draw(ODD_VALUES))
        elif deed == "gone" and keys:
            del node[key]
        elif keys:
            node[key] = copy.deepcopy(draw(ODD_VALUES))
    return json.dumps(value).encode()


@pytest.fixture(autouse=True)
def no_hang():
    """A reader that waits for ever fails instead."""

    def interrupt(number, frame):
        raise TimeoutError("no answer")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(600)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


def write(path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class Refused(Exception):
    """The exception of the independent reading."""


def read_or_refused(read, path):
    """The result of `read()`; None where it is refused as it should be."""
    try:
        result = read()
        event("read")
        return result
    except InputError as error:
        event("refused")
        message = str(error)
        assert message.startswith(str(path)), message
        line = cli.one_line(message)
        assert line.isprintable()
        assert len(line) < 10_000
        return None


def expected_or_refused(read):
    with contextlib.suppress(Refused, UnicodeDecodeError):
        return read()
    return None


# ---- data


def lines_of(content: bytes) -> list[str]:
    """The lines by their bytes; a byte-order mark is not part of the first."""
    content = content.removeprefix(MARK)
    if not content:
        raise Refused
    return [str(line, "utf-8") for line in content.removesuffix(b"\n").split(b"\n")]


def class_id(field: str, count: int) -> int:
    field = field.strip(" \t\r")
    if not 0 < len(field) < 10 or set(field) - set("0123456789"):
        raise Refused
    if int(field) >= count:
        raise Refused
    return int(field)


def number(field: str) -> float:
    field = field.strip(" \t\r")
    if set(field) - set("0123456789+-.eE"):
        raise Refused
    try:
        value = float(field)
    except ValueError:
        raise Refused from None
    if abs(value) > FLOAT32_MAX:
        raise Refused
    return value


def examples_of(task, root, split):
    """As plain lists."""
    loaded = sources.load_benchmark(Benchmark("one", (TASKS[task],)), root)
    result = loaded[task][split]
    return result.texts, result.labels.tolist()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Whole files of two tasks; the tests replace some of them."""
    root = tmp_path_factory.mktemp("data")
    for part in ("train", "test"):
        write(root / IRONY / f"{part}_text.txt", b"so\n")
        write(root / IRONY / f"{part}_labels.txt", b"1\n")
    content = "\t".join(HEADER) + "\nid\tso\tjoy\t0.5\n"
    for split, name in EI_REG_FILES.items():
        for emotion in ("anger", "fear", "joy", "sadness"):
            write(root / EI_REG / split / name.format(emotion), content.encode())
    return root


IRONY = "tweeteval/datasets/irony"
EI_REG = "affecteval/ei-reg/EI-reg"
EI_REG_FILES = {
    "training": "EI-reg-En-{}-train.txt",
    "development": "2018-EI-reg-En-{}-dev.txt",
    "test-gold": "2018-EI-reg-En-{}-test-gold.txt",
}
HEADER = ["ID", "Tweet", "Affect Dimension", "Intensity Score"]


@every_reader
@given(
    texts=hostile("so good\nשלום 😭\n\nah\r\n".encode()),
    labels=hostile(b"0\n1\n1\n0\n", b"1\r\n0\r\n1\r\n0"),
)
@example(texts=b"a\0b\r\n\xe2\x80\xa8c", labels=b"1\n0")
@example(texts=b"a\n\xed\xa0\x80\n", labels=b"1\n0\n")
def test_tweets(data, texts, labels):
    write(data / IRONY / "val_text.txt", texts)
    write(data / IRONY / "val_labels.txt", labels)

    def expected():
        actual = [text.strip() for text in lines_of(texts)]
        ids = [class_id(label, 2) for label in lines_of(labels)]
        if len(actual) != len(ids):
            raise Refused
        return actual, ids

    actual = read_or_refused(lambda: examples_of("irony", data, "validation"), data)
    assert actual == expected_or_refused(expected)


def records_of(content: bytes, delimiter: str) -> list[list[str]]:
    """Fields of CSV with quotes, by a grammar; a record ends at a line feed or the end."""
    text = str(content, "utf-8").removeprefix("\ufeff")
    if not text:
        raise Refused
    quoted = r'"((?:[^"]|"")*)"'
    plain = rf'([^{delimiter}\r\n"][^{delimiter}\r\n]*|)'
    field = re.compile(rf"(?:{quoted}|{plain})({delimiter}|\r*\n|\r*\Z)")
    records, fields, place = [], [], 0
    while place < len(text) or fields:
        result = field.match(text, place)
        if not result:
            raise Refused
        was_quoted, was_plain, end = result.groups()
        if was_quoted is None:
            fields.append(was_plain)
        else:
            fields.append(was_quoted.replace('""', '"'))
        place = result.end()
        if end != delimiter:
            is_empty = fields == [""] and was_quoted is None
            records.append([] if is_empty else fields)
            fields = []
    return records


@every_reader
@given(
    content=hostile(
        b'"He said ""no"".\n"\t1\tid\nboth\t1,2\tid\n\t27\tid\r\nplain "x"\t0\tid',
        "😭 שלום\t3\tid\n".encode(),
    )
)
@example(content=b'a\t1\tid\n"b\tc"\t2\tid\r\r\n')
@example(content=b'a\t1\tid\n"b" \t2\tid\n')
def test_goemotions(place, content):
    for part in ("train", "dev", "test"):
        write(place / "affecteval" / "goemotions" / f"{part}.tsv", content)

    def expected():
        rows = []
        for fields in records_of(content, "\t"):
            if len(fields) != 3:
                raise Refused
            ids = [class_id(field, 28) for field in fields[1].split(",")]
            if len(ids) == 1:
                rows.append((fields[0].strip(), ids[0]))
        if not rows:
            raise Refused
        return [text for text, _ in rows], [label for _, label in rows]

    actual = read_or_refused(lambda: examples_of("goemotions", place, "test"), place)
    assert actual == expected_or_refused(expected)


@every_reader
@given(
    content=hostile(
        b"id,split,V,A,D,text\n"
        b'x,train,1,2.5,3e0,"a, ""b"""\nx,dev,1,2,3,\xd7\xa9\nx,test,-.5,2.,3,c\r\n'
        b"x,test,1,2,3,d\n"
    )
)
def test_emobank(place, content):
    write(place / "affecteval" / "emobank" / "emobank.csv", content)

    def expected():
        header, *records = records_of(content, ",")
        names = ["split", "V", "A", "D", "text"]
        if any(header.count(name) != 1 for name in names):
            raise Refused
        where = [header.index(name) for name in names]
        parts = {"train": [], "dev": [], "test": []}
        for fields in records:
            if len(fields) != len(header) or fields[where[0]] not in parts:
                raise Refused
            values = [number(fields[i]) for i in where[1:4]]
            parts[fields[where[0]]].append((fields[where[4]].strip(), values))
        if not all(parts.values()):
            raise Refused
        rows = parts["test"]
        return [text for text, _ in rows], [values for _, values in rows]

    actual = read_or_refused(lambda: examples_of("emobank", place, "test"), place)
    assert actual == expected_or_refused(expected)


@every_reader
@given(
    content=hostile(
        "\t".join(HEADER).encode()
        + '\nid\t"so\\n 😭\tjoy\t0.5\r\nid\t\tjoy\t1e-3'.encode()
    )
)
def test_ei_reg(data, content):
    write(data / EI_REG / "training" / "EI-reg-En-anger-train.txt", content)

    def expected():
        header, *rows = (line.split("\t") for line in lines_of(content))
        if [name.strip() for name in header] != HEADER or not rows:
            raise Refused
        if any(len(row) != 4 for row in rows):
            raise Refused
        values = [[number(row[3])] for row in rows]
        texts = [row[1].strip() for row in rows]
        return [*texts, "so", "so", "so"], [*values, [0.5], [0.5], [0.5]]

    actual = read_or_refused(lambda: examples_of("ei-reg", data, "train"), data)
    assert actual == expected_or_refused(expected)


@every_reader
@given(content=hostile(b"1\n0\n1\n", b"\xef\xbb\xbf0\r\n1\r\n+1"))
def test_predicted_classes(place, content):
    write(place / "irony.txt", content)

    def expected():
        fields = [line.strip() for line in lines_of(content)]
        if any(set(field) - set("+-0123456789") for field in fields):
            raise Refused
        try:
            ids = [int(field) for field in fields]
        except ValueError:
            raise Refused from None
        if len(ids) != 3 or not set(ids) <= {0, 1}:
            raise Refused
        return ids

    task = TASKS["irony"]
    actual = read_or_refused(
        lambda: predictions.read_predictions(place, task, 3).tolist(), place
    )
    assert actual == expected_or_refused(expected)


@every_reader
@given(content=hostile(b"1\t2.5\t3\n.5\t-1e-3\t4.\n", b"0\t0\t0\r\n 1\t1 \t1"))
def test_predicted_values(place, content):
    write(place / "emobank.txt", content)

    def expected():
        rows = [line.strip().split("\t") for line in lines_of(content)]
        if [len(row) for row in rows] != [3, 3]:
            raise Refused
        return [[number(field.strip()) for field in row] for row in rows]

    task = TASKS["emobank"]
    actual = read_or_refused(
        lambda: predictions.read_predictions(place, task, 2).tolist(), place
    )
    assert actual == expected_or_refused(expected)


# ---- runs


def json_of(content: bytes):
    """The standard library's result; Refused where it reads nothing."""
    try:
        return json.loads(str(content, "utf-8"))
    except (ValueError, RecursionError):
        raise Refused from None


def same(actual, expected) -> bool:
    """Equality in which 1 is 1.0, a tuple a list, NaN NaN, and true not 1."""
    if isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(
            same(actual[key], expected[key]) for key in expected
        )
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(map(same, actual, expected))
    if isinstance(expected, bool) or isinstance(actual, bool):
        return actual is expected
    return actual == expected or (actual != actual and expected != expected)


CONFIG = configs.to_dict(configs.preset("new_synthetic", "mtra"))


@every_reader
@given(content=hostile(json.dumps(CONFIG).encode()) | altered(CONFIG))
def test_configurations_of_runs(place, content):
    write(place / "config.json", content)
    result = read_or_refused(lambda: layout.read_config(place), place)
    if result is not None:
        assert same(configs.to_dict(result), json_of(content))


def scores(figure):
    return {"irony": {"macro_f1": figure}, "avg": figure}


RESULTS = {"validation": scores(51.5), "test": scores(50.0), "majority": scores(3.25)}
RESULTS |= {"best_epoch": 2, "epochs": 3, "steps": 9, "train_seconds": 1.5}


@every_reader
@given(content=hostile(json.dumps(RESULTS).encode()) | altered(RESULTS))
def test_results_of_runs(place, content):
    write(place / "results.json", content)
    result = read_or_refused(lambda: layout.read_results(place), place)
    if result is not None:
        assert same(result, json_of(content))


LINES = [
    {
        "name": name,
        "seed": seed,
        "preset": "new_synthetic",
        "overrides": {"tasks": "irony"},
        "results": RESULTS,
    }
    for name, seed in (("ew", 0), ("ew", 1), ("mtra w/o \u05d0", 0))
]


@every_reader
@given(
    content=hostile(
        "".join(json.dumps(line) + "\n" for line in LINES).encode(),
        "\r\n".join(json.dumps(line, ensure_ascii=False) for line in LINES).encode(),
    )
    | altered(*LINES)
)
def test_results_of_sweeps(place, content):
    path = place / "results.jsonl"
    write(path, content)
    result = read_or_refused(lambda: comparison.read(path), place)
    if not result:  # refused, or no run at all
        assert result is None or content.removeprefix(MARK) == b""
        return
    values = [json_of(line.encode()) for line in lines_of(content)]
    assert len(result) == len(values)
    for entry, line in zip(result, values, strict=True):
        assert same(entry.values, line)
        assert (entry.name, entry.seed) == (line["name"], line["seed"])
        assert same(entry.results, line["results"])


def test_only_a_line_feed_ends_a_line_of_a_sweep(place):
    """As in the other files: JSON need not escape the separators of Unicode."""
    line = {**LINES[0], "command": "a\u2028b\u0085c"}
    content = json.dumps(line, ensure_ascii=False) + "\r\n" + json.dumps(LINES[1])
    write(place / "results.jsonl", MARK + content.encode())
    result = comparison.read(place / "results.jsonl")
    assert [entry.values for entry in result] == [line, LINES[1]]


# ---- encoders and tokenizers

SMALL = encoder.EncoderConfig(
    vocab_size=30,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=16,
)


@every_reader
@given(
    content=hostile(json.dumps(dataclasses.asdict(SMALL)).encode())
    | altered(dataclasses.asdict(SMALL))
)
def test_configurations_of_encoders(place, content):
    write(place / "config.json", content)
    actual = read_or_refused(lambda: pretrained.read_config(place), place)
    if actual is not None:
        values, defaults = json_of(content), dataclasses.asdict(encoder.EncoderConfig())
        if values["model_type"] != "bert":
            defaults["pad_token_id"] = 1
        if values["model_type"] == "roberta":
            defaults["vocab_size"] = 50265
        expected = {key: values.get(key, default) for key, default in defaults.items()}
        assert same(dataclasses.asdict(actual), expected)
        assert not any(type(value) is bool for value in vars(actual).values())


WEIGHTS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.float16([1, 2]),
    "empty": np.zeros((0, 4), np.float32),
    "ids": np.arange(2),
}


SAVED = safetensors.numpy.save(WEIGHTS, {"format": "pt"})
LENGTH = struct.unpack("<Q", SAVED[:8])[0]


def with_header(header: bytes) -> bytes:
    """The data of `SAVED` under another header."""
    return struct.pack("<Q", len(header)) + header + SAVED[8 + LENGTH :]


@every_reader
@given(
    content=hostile(SAVED) | altered(json.loads(SAVED[8 : 8 + LENGTH])).map(with_header)
)
def test_weights(place, content):
    # A new file each time: views of the previous one may still be in use.
    path = place / "model.safetensors"
    path.unlink(missing_ok=True)
    write(path, content)
    actual = read_or_refused(lambda: safetensors_files.read_file(path), path)
    if actual is None:
        return
    expected = safetensors.numpy.load(content)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (value.dtype, value.shape)
        assert actual[name].tobytes() == value.tobytes()


WORDS = ["so good", "so bad 😭", "שלום"]
TEXTS = [*WORDS, "", "a word \u16a0 of another script", "nul\0\r\n"]
TOKENIZER = tokens.train_tokenizer(WORDS, 60).to_str().encode()


@every_reader
@given(content=hostile(TOKENIZER) | altered(json.loads(TOKENIZER)))
def test_tokenizers(place, content):
    # Other files in its directory would decide how `tokenizer.json` is read.
    place = place / "tokenizer"
    place.mkdir(exist_ok=True)
    write(place / "tokenizer.json", content)

    def encoded():
        tokenizer = tokens.load_tokenizer(place)
        result = tokens.encode(tokenizer, TEXTS, 5)
        assert result.ids.max() < tokens.num_ids(tokenizer)
        return [part.tolist() for part in np.split(result.ids, result.offsets[1:-1])]

    result = read_or_refused(encoded, place)
    # Otherwise `transformers` adds parts that the file lacks, such as a pre-tokenizer;
    # tests/data/test_tokenizer_files.py compares with it.
    if result is not None and plain_tokenizers.is_whole(
        json.loads(content), {}, {}, {}
    ):
        reference = Tokenizer.from_str(str(content, "utf-8"))
        reference.no_padding()
        reference.enable_truncation(5)
        assert result == [reference.encode(text).ids for text in TEXTS]


# ---- texts


def texts_before_fault(content: bytes) -> tuple[list[str], int | None]:
    """The texts up to the first line that is not UTF-8, and its number."""
    rows = content.removeprefix(MARK).split(b"\n")
    if rows[-1] == b"" and (len(rows) > 1 or not content):
        rows.pop()
    result = []
    for number, row in enumerate(rows, 1):
        try:
            result.append(str(row.removesuffix(b"\r"), "utf-8"))
        except UnicodeDecodeError:
            return result, number
    return result, None


@every_reader
@given(
    content=hostile("so good\n\r\nשלום 😭\r\n\0 \u2028x\n".encode()),
    is_file=st.booleans(),
)
@example(content=MARK, is_file=True)
@example(content=b"two\r\r\n\rone\n\r", is_file=True)
@example(content=MARK + b"\n" + MARK + b"\n", is_file=False)
def test_texts_to_label(place, content, is_file):
    path = place / "texts.txt"
    write(path, content)
    result, fault = [], None
    with pytest.MonkeyPatch.context() as patch:
        stdin = types.SimpleNamespace(buffer=io.BytesIO(content))
        patch.setattr("sys.stdin", stdin)
        try:
            result.extend(files.read_lines(str(path) if is_file else None))
        except InputError as error:
            fault = str(error)
    texts, number = texts_before_fault(content)
    if number is None:
        assert (result, fault) == (texts, None)
        return
    name = path if is_file else "standard input"
    assert fault.startswith(f"{name}:{number}: byte 0x")


ODD_TEXTS = [
    "so good",
    "",
    " ",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f44d\U0001f3fd so \U0001f62d",
    "\u202e\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627\u202c so",
    "nul\0 in it",
    "\0",
    "old\rmac",
    "\ufeffmark so\ufeff",
    "a\u2028b\u0085c\x0bd\x0ce\x1cf",
    "e\u0301\u0323 \u1100\u1161\u11a8 \ufdfd",
    "\U0010ffff\ufffe\ue000",
    '"a", b\tso',
    "so bad",
]
# 10 MB on one line, of which the beginning fills what a model takes.
LONG_TEXT = "so good " * 10 + "\U0001f62d" * 2_500_000 + " \u05e9\u05dc\u05d5\u05dd"


def reference_ids(tokenizer, text: str, max_length: int) -> list[int]:
    """The first tokens and the last special one; of a long text its beginning decides."""
    ids = tokenizer.encode(text[:5000]).ids
    return ids if len(ids) <= max_length else [*ids[: max_length - 1], ids[-1]]


def unpacked(batch, place: int, length: int) -> list[int]:
    start = batch.first_tokens[0, 0, 0, place]
    return batch.tokens[0].reshape(-1)[start : start + length].tolist()


@pytest.mark.parametrize("max_length", [3, 16])
def test_odd_and_long_texts_come_out_of_files_tokens_and_rows_in_order(
    place, max_length
):
    texts = [text.replace("\r", "") for text in [*ODD_TEXTS, LONG_TEXT, "so good"]]
    if max_length == 3:
        texts = [text[:1000] for text in texts]
    content = MARK + "\r\n".join(texts).encode()
    folder = place / "tweeteval" / "datasets" / "irony"
    for part in ("train", "val", "test"):
        write(folder / f"{part}_text.txt", content)
        labels = b"".join(b"%d\r\n" % (i % 2) for i in range(len(texts)))
        write(folder / f"{part}_labels.txt", labels)
    task = Benchmark("one", (TASKS["irony"],))
    examples = sources.load_benchmark(task, place)["irony"]["test"]
    assert examples.texts == [text.strip() for text in texts]
    assert list(files.read_lines(str(folder / "test_text.txt"))) == texts

    tokenizer = Tokenizer.from_str(TOKENIZER.decode())
    actual = tokens.encode(tokenizer, examples.texts, max_length)
    expected = [reference_ids(tokenizer, t, max_length) for t in examples.texts]
    assert [part.tolist() for part in np.split(actual.ids, actual.offsets[1:-1])] == (
        expected
    )
    assert actual.lengths.max() == max_length

    corpus = batches.build_corpus(task, {"irony": examples}, actual)
    plan = plans.plan_evaluation(corpus.sizes, 4)
    order = plan[plan >= 0]
    out, targets = [], []
    for batch in batches.Batcher(corpus).batches(plan):
        for i in np.flatnonzero(batch.where[0, 0]):
            out.append(unpacked(batch, i, len(expected[order[len(out)]])))
            targets.append(int(batch.targets[0, 0, i].argmax()))
    assert out == [expected[i] for i in order]
    assert targets == [i % 2 for i in order]


def test_lone_surrogates_of_other_callers_are_replaced_and_their_texts_kept():
    tokenizer = Tokenizer.from_str(TOKENIZER.decode())
    result = tokens.encode(tokenizer, ["so \ud83d good", "\udc80", "so"], 8)
    assert [part.tolist() for part in np.split(result.ids, result.offsets[1:-1])] == [
        tokenizer.encode(text).ids for text in ("so \ufffd good", "\ufffd", "so")
    ]


def test_tables_hold_texts_of_10_megabytes(place):
    """Beyond 131,072 characters the CSV reader has a limit."""
    text = LONG_TEXT
    folder = place / "affecteval"
    for part in ("train", "dev", "test"):
        rows = f'so\t1\tid\n"{text}"\t2\tid\n{text}\t3\tid\nah\t4\tid\n'
        write(folder / "goemotions" / f"{part}.tsv", rows.encode())
    rows = "".join(
        f'x,{part},1,2,3,"{t}"\n'
        for part in ("train", "dev", "test")
        for t in ("so", text, "ah")
    )
    write(folder / "emobank" / "emobank.csv", f"id,split,V,A,D,text\n{rows}".encode())
    before = csv.field_size_limit()
    result = examples_of("goemotions", place, "test")
    assert result == (["so", text, text, "ah"], [1, 2, 3, 4])
    result, _ = examples_of("emobank", place, "validation")
    assert result == ["so", text, "ah"]
    assert csv.field_size_limit() == before


@pytest.fixture(scope="module")
def saved():
    """A model as it is before training, of the size of a toy."""
    config = configs.preset("new_synthetic", "ew")
    config.tasks, config.batch_size, config.data.cache_dir = ("irony",), 16, ""
    config.backbone.update({"hidden_size": 8, "intermediate_size": 8})
    config.backbone.update({"num_hidden_layers": 1, "vocab_size": 60})
    benchmark = SYNTHETIC.select(config.tasks)
    backbone = inputs.load_backbone(config, WORDS)
    model = choices.make_model(config, benchmark, backbone.config, (0,))
    method = build.make_method(model, choices.method_of(config))
    rng = jax.random.key(0)
    params = build.init_params(model, method, backbone.params, rng)
    return best_model.Saved(config, benchmark, backbone, params, None)


def test_odd_texts_are_labelled_one_by_one(place, saved, monkeypatch, capsys):
    """From a file and from standard input, in order and backwards."""
    monkeypatch.setattr(best_model, "load", lambda *_: saved)
    flags = [f"--workdir={place}", "--task=irony"]

    def labelled(texts, *more):
        content = "\n".join(texts).encode()
        (place / "texts").write_bytes(content)
        stdin = types.SimpleNamespace(buffer=io.BytesIO(content))
        monkeypatch.setattr("sys.stdin", stdin)
        predict.main([*flags, *more])
        output = capsys.readouterr().out.splitlines()
        records = [json.loads(line) for line in output]
        return np.array([list(r["probabilities"].values()) for r in records])

    texts = [text for text in ODD_TEXTS if text]
    result = labelled(texts)
    assert result.shape == (len(texts), 2)
    assert len(np.unique(result[:, 0])) > 4
    np.testing.assert_allclose(result.sum(1), 1, atol=2e-6)  # six digits are written
    np.testing.assert_array_equal(labelled(texts, f"--input={place}/texts"), result)
    # The texts share other rows: float32 sums in another order, and the rounding.
    np.testing.assert_allclose(labelled(texts[::-1])[::-1], result, atol=3e-6)
