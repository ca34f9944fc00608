"""Bad flags and files, a row each: the one line that answers them, and exit code 2.

`{tmp}` stands for the directory of the test, `{root}` for that of the repository, and
" ..." at the end for the reason that a library gives, which differs with its version.
"""

import dataclasses
import functools
import importlib.util
import io
import json
import os
import re
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy

from mtra_jax import cli
from mtra_jax import config as configs
from mtra_jax.data import tokens
from mtra_jax.models import encoder, naming, pretrained
from mtra_jax.runs import loop, scoring
from mtra_jax.tasks import SYNTHETIC

ROOT = Path(__file__).resolve().parents[1]
PRESET = "--config={root}/configs/baselines.py:ew_tiny_"
TRAIN = (
    "train",
    f"{PRESET}tweeteval",
    "--workdir={tmp}/run",
    "--config.data.dir={tmp}",
    "--config.data.cache_dir=",
    "--config.tasks=irony",
)
AFFECT = (*TRAIN, "--config.benchmark=affecteval")
FLAGS = (*TRAIN, "--config.data.dir={tmp}/none")
GOEMOTIONS = (*AFFECT, "--config.tasks=goemotions")
EMOBANK = (*AFFECT, "--config.tasks=emobank")
EI_REG = (*AFFECT, "--config.tasks=ei-reg")
PRETRAINED = (*TRAIN, "--config.backbone.path={tmp}/bert")
SCORE = ("evaluate", "--predictions={tmp}", "--data_dir={tmp}", "--tasks=irony")
SCORE_VALUES = (*SCORE, "--benchmark=affecteval", "--tasks=emobank")
ITSELF = ("train", f"{PRESET}synthetic", "--workdir={tmp}/run")
PREDICT = ("predict", "--workdir={tmp}", "--task=irony")
TABLE = ("table", "EW={tmp}")
SWEEP = (
    "sweep",
    "--config={root}/configs/sweep.py:synthetic",
    "--workdir={tmp}/run",
)
REPORT = ("report", "{tmp}")
BENCHMARK = ("benchmark", f"{PRESET}synthetic", "--config.data.cache_dir=")
TEXT = "tweeteval/datasets/irony/train_text.txt"
LABELS = "tweeteval/datasets/irony/train_labels.txt"
TSV = "affecteval/goemotions/dev.tsv"
CSV = "affecteval/emobank/emobank.csv"
INTENSITY = "affecteval/ei-reg/EI-reg/training/EI-reg-En-fear-train.txt"
TEN_MEGABYTES = 10**7
LIBRARYS = " ..."
LONG = "a" * 300  # more than a file system takes

Write = Callable[[Path], None]


# ---- what is written


def put(file: str, content: bytes | str) -> Write:
    """Writes one file."""

    def write(root):
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def nothing(root):
    pass


def both(*writes: Write) -> Write:
    def write(root):
        for each in writes:
            each(root)

    return write


def irony(root):
    """A whole task of TweetEval: three examples a split."""
    for part in ("train", "val", "test"):
        folder = "tweeteval/datasets/irony"
        put(f"{folder}/{part}_text.txt", "so good\nso bad\nah\n")(root)
        put(f"{folder}/{part}_labels.txt", "0\n1\n0\n")(root)


def with_irony(file: str, content: bytes | str) -> Write:
    return both(irony, put(file, content))


def goemotions(content: bytes | str) -> Write:
    rows = "a\t1\tid\nb\t2\tid\n"
    folder = "affecteval/goemotions"
    good = [put(f"{folder}/{part}.tsv", rows) for part in ("train", "dev", "test")]
    return both(*good, put(TSV, content))


def emobank(content: str) -> Write:
    return put(CSV, content)


ONE_MORE_KEY = """
from mtra_jax import config


def get_config(name):
    found = config.preset("tiny_synthetic", "ew")
    with found.unlocked():
        found.epoch = 3
    return found
"""
ROW_OF_TWO_LINES = """
from mtra_jax.runs import experiments


def get_sweep(name):
    return experiments.Sweep(experiments.grid(["ew"], "tiny_synthetic", [0])[:1] + (
        experiments.Trial("e\\nw", "ew", "tiny_synthetic", 0),
    ))
"""
EMOBANK_ROWS = "id,split,V,A,D,text\n" + "".join(
    f"x,{part},1,2,3,t\n" for part in ("train", "dev", "test", "test")
)


def intensity(content: bytes | str) -> Write:
    header = "ID\tTweet\tAffect Dimension\tIntensity Score\n"
    root = "affecteval/ei-reg/EI-reg/training/EI-reg-En-{}-train.txt"
    return both(
        put(root.format("anger"), f"{header}id\tso\tanger\t0.5\n"),
        put(INTENSITY, content),
    )


def pipe(file: str) -> Write:
    """A pipe that nobody writes to: whoever opens it waits for ever."""

    def write(root):
        (root / file).unlink(missing_ok=True)
        os.mkfifo(root / file)

    return write


def folder(file: str) -> Write:
    def write(root):
        (root / file).mkdir(parents=True)

    return write


CONFIG = configs.to_dict(configs.preset("tiny_synthetic", "ew"))
CUT_OFF = json.dumps(CONFIG)[:-9]  # in the last key
CUT_END = CUT_OFF.rindex('"')
SMALL = encoder.EncoderConfig(
    vocab_size=100,
    hidden_size=4,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=8,
    max_position_embeddings=64,
)


def run_with(**changes) -> Write:
    """`config.json` of a run, with other values; `...` leaves a key out."""
    values = {k: v for k, v in {**CONFIG, **changes}.items() if v is not ...}
    return put("config.json", json.dumps(values))


def results(**changes) -> dict:
    scores = {"irony": {"macro_f1": 50.0}, "avg": 50.0}
    values = {"validation": scores, "test": scores, "majority": scores}
    values |= {"best_epoch": 1, "epochs": 2, "train_seconds": 1.5}
    return {**values, **changes}


def finished_with(content: str) -> Write:
    return both(run_with(), put("results.json", content))


def itself(values: dict) -> Write:
    """A finished run in the work directory of `ITSELF`."""
    return both(
        put("run/config.json", json.dumps(CONFIG)),
        put("run/results.json", json.dumps(values)),
    )


def line(**changes) -> str:
    """A line of `results.jsonl`."""
    values = {"name": "ew", "seed": 0, "preset": "tiny_synthetic", "overrides": {}}
    return json.dumps({**values, "results": results(), **changes}) + "\n"


def bert_of(config: encoder.EncoderConfig) -> Write:
    """A small pretrained encoder and its tokenizer, beside the data."""

    def write(root):
        irony(root)
        directory = root / "bert"
        directory.mkdir()
        weights = {e.name: np.zeros(e.shape, "f4") for e in naming.entries(config)}
        safetensors.numpy.save_file(weights, directory / "model.safetensors")
        pretrained.save_config(directory, config)
        tokens.save_tokenizer(tokens.train_tokenizer(["so good"], 30), directory, 64)

    return write


bert = bert_of(SMALL)


def bert_with(file: str, content: bytes | str) -> Write:
    return both(bert, put(f"bert/{file}", content))


def bert_config(**changes) -> Write:
    def write(root):
        path = root / "bert" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return both(bert, write)


def bert_without(file: str, *writes: Write) -> Write:
    return both(bert, lambda root: (root / "bert" / file).unlink(), *writes)


def tokenizer_with(change: Callable[[dict], object]) -> Write:
    def write(root):
        path = root / "bert" / "tokenizer.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return both(bert, write)


def with_unknown_unknown(values):
    values["model"]["unk_token"] = "[OOV]"


def with_long_id(values):
    values["model"]["vocab"]["so"] = 10**6


def with_other_template(values):
    values["post_processor"]["single"][0] = {
        "SpecialToken": {"id": "[BOS]", "type_id": 0}
    }


def with_long_template(values):
    values["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [100]


def without_template(values):
    values["post_processor"] = None


def shards_of(weight_map) -> Write:
    index = json.dumps({"weight_map": weight_map})
    return bert_without(
        "model.safetensors", put("bert/model.safetensors.index.json", index)
    )


# ---- the table


class Row(NamedTuple):
    """`command` is a script and its flags."""

    write: Write
    command: tuple[str, ...]
    message: str


ROWS = {
    # flags
    "unknown flag": Row(
        nothing,
        ("train", "--wrkdir=x", *FLAGS[1:]),
        "unknown argument --wrkdir; did you mean --workdir?",
    ),
    "no work directory": Row(
        nothing, FLAGS[:2], "the following arguments are required: --workdir"
    ),
    "flag without its value": Row(
        nothing, ("predict", "--workdir"), "argument --workdir: expected one argument"
    ),
    "empty work directory": Row(
        nothing,
        (*FLAGS, "--workdir="),
        "'': an empty name; expected a directory, or the name of a new one",
    ),
    "work directory that is a file": Row(
        put("run", "x"),
        FLAGS,
        "{tmp}/run: not a directory; expected a directory, or the name of a new one",
    ),
    "work directory below a file": Row(
        put("run", "x"),
        (*FLAGS, "--workdir={tmp}/run/run"),
        "{tmp}/run/run: Not a directory; expected a directory, or the name of a new one",
    ),
    "work directory with a long name": Row(
        nothing,
        (*FLAGS, f"--workdir={LONG}"),
        LONG + ": File name too long; expected a directory, or the name of a new one",
    ),
    "process number that is no number": Row(
        nothing,
        (*FLAGS, "--num_processes=two"),
        "argument --num_processes: invalid int value: 'two'",
    ),
    "split that is none": Row(
        nothing,
        (*SCORE, "--split=train"),
        "argument --split: invalid choice: 'train' ...",
    ),
    "neither run nor predictions": Row(
        nothing, ("evaluate",), "expected either --workdir DIR or --predictions DIR"
    ),
    "predictions that are no directory": Row(
        put("p", "1\n"), (*SCORE, "--predictions={tmp}/p"), "{tmp}/p: not a directory"
    ),
    "run with a long name": Row(
        nothing, ("evaluate", f"--workdir={LONG}"), LONG + ": no such directory"
    ),
    "unknown benchmark of 10,000 letters": Row(
        nothing,
        (*SCORE, f"--benchmark={'a' * 10_000}"),
        "unknown benchmark 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'; known: tweeteval, affecteval, synthetic",
    ),
    "empty name of a task": Row(
        nothing,
        (*SCORE, "--tasks=irony,"),
        "unknown task '' of tweeteval; known: emotion, hate, irony, offensive, sentiment, stance",
    ),
    "unknown task of a run": Row(
        run_with(),
        ("predict", "--workdir={tmp}", "--task=ironi"),
        "unknown task 'ironi' of this run; did you mean irony?",
    ),
    "row without a name": Row(
        nothing, ("table", "={tmp}"), "={tmp}: expected NAME=WORKDIR"
    ),
    "row of two lines": Row(
        run_with(),
        ("table", "E\nW={tmp}"),
        "name 'E\\nW'; expected no line breaks or control characters",
    ),
    "two rows of one name": Row(
        finished_with(json.dumps(results())),
        (*TABLE, "EW={tmp}"),
        "name EW is there twice; expected names that differ",
    ),
    "format of a table that is none": Row(
        nothing,
        (*REPORT, "--format=html"),
        "argument --format: invalid choice: 'html' ...",
    ),
    "table that cannot be written": Row(
        put("results.jsonl", line()),
        (*REPORT, "--out={tmp}/no/table"),
        "{tmp}/no/table: No such file or directory",
    ),
    "unknown baseline": Row(
        put("results.jsonl", line()),
        (*REPORT, "--baseline=mtra"),
        "unknown baseline 'mtra'; known: ew",
    ),
    "long name of results": Row(
        nothing, ("report", LONG), LONG + ": File name too long"
    ),
    "copied and downloaded": Row(
        nothing,
        ("prepare_data", "--data_dir={tmp}", "--from_dir=x", "--download"),
        "argument --download: not allowed with argument --from_dir",
    ),
    "data directory that is a file": Row(
        put("data", "x"),
        ("prepare_data", "--data_dir={tmp}/data"),
        "{tmp}/data: not a directory; expected a directory, or the name of a new one",
    ),
    "empty data directory": Row(
        nothing,
        ("prepare_data", "--data_dir="),
        "'': an empty name; expected a directory, or the name of a new one",
    ),
    "unknown flag of prepare_data": Row(
        nothing,
        ("prepare_data", "--data_dri={tmp}", "--data_dir={tmp}"),
        "unknown argument --data_dri; did you mean --data_dir?",
    ),
    # configurations
    "no value": Row(
        nothing,
        (*FLAGS, "--config.seed"),
        "--config.seed: no value; expected --config.seed=VALUE",
    ),
    "unknown key": Row(
        nothing,
        (*FLAGS, "--config.epoch=3"),
        "unknown key --config.epoch; did you mean epochs?",
    ),
    "underscore in a number": Row(
        nothing,
        (*FLAGS, "--config.epochs=1_0"),
        "--config.epochs is '1_0'; expected a whole number",
    ),
    "digits of another script": Row(
        nothing,
        (*FLAGS, "--config.epochs=١"),
        "--config.epochs is '١'; expected a whole number",
    ),
    "number of 5,000 digits": Row(
        nothing,
        (*FLAGS, f"--config.epochs={'9' * 5000}"),
        "--config.epochs is '9999999999999999999999999999999999999...99999999999999999999999999999999999999'; expected a whole number",
    ),
    "number beyond 32 bits": Row(
        nothing,
        (*FLAGS, "--config.batch_size=2147483648"),
        "batch_size is 2147483648; expected at most 2147483647",
    ),
    "rate that is not a number": Row(
        nothing,
        (*FLAGS, "--config.learning_rate=nan"),
        "learning_rate is nan; expected more than 0",
    ),
    "no such preset file": Row(
        nothing,
        (*FLAGS, "--config={tmp}/no.py:x"),
        "{tmp}/no.py: no such configuration file",
    ),
    "preset file with a long name": Row(
        nothing, (*FLAGS, f"--config={LONG}:x"), LONG + ": no such configuration file"
    ),
    "preset file that is a directory": Row(
        nothing, (*FLAGS, "--config={tmp}:x"), "{tmp}: no such configuration file"
    ),
    "preset file with a slip": Row(
        put("c.py", "def get_config(name):\n    return (\n"),
        (*FLAGS, "--config={tmp}/c.py:x"),
        "{tmp}/c.py:2: SyntaxError: '(' was never closed",
    ),
    "preset file with a NUL": Row(
        put("c.py", b"x = 1\n\0\n"),
        (*FLAGS, "--config={tmp}/c.py:x"),
        "{tmp}/c.py: SyntaxError: ...",
    ),
    "preset file in UTF-16": Row(
        put("c.py", "x = 1\n".encode("utf-16")),
        (*FLAGS, "--config={tmp}/c.py:x"),
        "{tmp}/c.py: SyntaxError: ...",
    ),
    "preset file that breaks down": Row(
        put("c.py", "def get_config(name):\n    return int(name)\n"),
        (*FLAGS, "--config={tmp}/c.py:x"),
        "{tmp}/c.py:2: ValueError: invalid literal for int() with base 10: 'x'",
    ),
    "preset file without its function": Row(
        put("c.py", ""),
        (*FLAGS, "--config={tmp}/c.py:x"),
        "{tmp}/c.py: no function get_config; see configs/mtra.py",
    ),
    "preset that is none": Row(
        put("c.py", "def get_config(name):\n    return [name]\n"),
        (*FLAGS, "--config={tmp}/c.py:x"),
        "{tmp}/c.py: get_config returns ['x']; expected a ConfigDict",
    ),
    "preset with a key too many": Row(
        put("c.py", ONE_MORE_KEY),
        (*FLAGS, "--config={tmp}/c.py:x"),
        "{tmp}/c.py: unknown key epoch; did you mean epochs?",
    ),
    "sweep that is none": Row(
        put("c.py", "get_sweep = str\n"),
        ("sweep", "--config={tmp}/c.py:x", "--workdir={tmp}/run"),
        "{tmp}/c.py: get_sweep returns 'x'; expected a Sweep",
    ),
    "sweep with a row of two lines": Row(
        put("c.py", ROW_OF_TWO_LINES),
        ("sweep", "--config={tmp}/c.py:x", "--workdir={tmp}/run"),
        "{tmp}/c.py:x: name 'e\\nw'; expected no line breaks or control characters",
    ),
    "sweep into a file": Row(
        put("run", ""),
        SWEEP,
        "{tmp}/run: not a directory; expected a directory, or the name of a new one",
    ),
    "more devices than there are": Row(
        nothing,
        (*FLAGS, "--config.devices=9"),
        "devices is 9; expected 1 to 8, or 0 for all of them",
    ),
    "batch that the devices cannot share": Row(
        irony,
        (*TRAIN, "--config.batch_size=129"),
        "batch_size is 129; expected a multiple of the 8 devices",
    ),
    "heads that do not divide the width": Row(
        irony,
        (*TRAIN, "--config.backbone.num_attention_heads=3"),
        "hidden_size 128 is not a multiple of num_attention_heads 3",
    ),
    "vocabulary below the alphabet": Row(
        irony,
        (*TRAIN, "--config.backbone.vocab_size=5"),
        "vocab_size must be at least 19, the characters of the texts; found 5",
    ),
    # data
    "no data directory": Row(
        nothing,
        FLAGS,
        "{tmp}/none: no such directory; a data directory holds tweeteval/datasets/TASK/{train,val,test}_{text,labels}.txt, stance/TARGET/ likewise (scripts/prepare_data.py fetches or copies it)",
    ),
    "empty file": Row(
        with_irony(TEXT, ""),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt: the file is empty; expected one example a line",
    ),
    "only a byte-order mark": Row(
        with_irony(LABELS, "\ufeff"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_labels.txt: the file is empty; expected one example a line",
    ),
    "text in Latin-1": Row(
        with_irony(TEXT, "so good\nca\xe9\nah\n".encode("latin-1")),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt:2: byte 0xe9 is not UTF-8; expected UTF-8 text",
    ),
    "text in UTF-16": Row(
        with_irony(TEXT, "so\nso\nah\n".encode("utf-16")),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt:1: byte 0xff is not UTF-8; expected UTF-8 text",
    ),
    "lone surrogate in a text": Row(
        with_irony(TEXT, b"so\nso\n\xed\xa0\x80\n"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt:3: byte 0xed is not UTF-8; expected UTF-8 text",
    ),
    "text cut off in a character": Row(
        with_irony(TEXT, "so\nso\n😭".encode()[:-1]),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt:3: byte 0xf0 is not UTF-8; expected UTF-8 text",
    ),
    "one label too few": Row(
        with_irony(LABELS, "0\n1\n"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt has 3 lines but {tmp}/tweeteval/datasets/irony/train_labels.txt has 2; expected one label for each text",
    ),
    "old Mac line ends": Row(
        with_irony(LABELS, "0\r1\r0\r"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt has 3 lines but {tmp}/tweeteval/datasets/irony/train_labels.txt has 1; expected one label for each text",
    ),
    "label out of range": Row(
        with_irony(LABELS, "0\n1\n2\n"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_labels.txt:3: label '2' of IronyEval; expected an integer from 0 to 1",
    ),
    "label with a point": Row(
        with_irony(LABELS, "0\n1.0\n0\n"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_labels.txt:2: label '1.0' of IronyEval; expected an integer from 0 to 1",
    ),
    "label of 10 MB": Row(
        with_irony(LABELS, b"0\n" + b"1" * TEN_MEGABYTES + b"\n0\n"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_labels.txt:2: label '1111111111111111111111111111111111111...11111111111111111111111111111111111111' of IronyEval; expected an integer from 0 to 1",
    ),
    "label with a NUL": Row(
        with_irony(LABELS, "0\n1\0\n0\n"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_labels.txt:2: label '1\\x00' of IronyEval; expected an integer from 0 to 1",
    ),
    "label in Arabic digits": Row(
        with_irony(LABELS, "٠\n١\n٠\n"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_labels.txt:1: label '٠' of IronyEval; expected an integer from 0 to 1",
    ),
    "label behind a direction mark": Row(
        with_irony(LABELS, "0\n\u200f1\n0\n"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_labels.txt:2: label '\\u200f1' of IronyEval; expected an integer from 0 to 1",
    ),
    "directory for a file": Row(
        folder(TEXT),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt: cannot be read: Is a directory",
    ),
    "file for a directory": Row(
        put("tweeteval", "x"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt: cannot be read: Not a directory",
    ),
    "pipe for a file": Row(
        both(irony, pipe(TEXT)),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt: cannot be read: a pipe; expected a file",
    ),
    "two columns for three": Row(
        goemotions("a\t1\tid\nb\t2\n"),
        GOEMOTIONS,
        "{tmp}/affecteval/goemotions/dev.tsv:2: 2 columns; expected 3: text, label ids, comment id",
    ),
    "quote that never closes": Row(
        goemotions('a\t1\tid\n"b\t2\tid\n'),
        GOEMOTIONS,
        "{tmp}/affecteval/goemotions/dev.tsv:2: quoting that CSV does not allow: unexpected end of data",
    ),
    "carriage return in a text": Row(
        goemotions("a\t1\tid\nb\rc\t2\tid\n"),
        GOEMOTIONS,
        "{tmp}/affecteval/goemotions/dev.tsv:2: quoting that CSV does not allow: new-line character seen in unquoted field",
    ),
    "label ids with a blank": Row(
        goemotions("a\t1, 2\tid\nb\t1 2\tid\n"),
        GOEMOTIONS,
        "{tmp}/affecteval/goemotions/dev.tsv:2: label '1 2' of GoEmotions; expected an integer from 0 to 27",
    ),
    "empty line of a table": Row(
        goemotions("a\t1\tid\n\nb\t2\tid\n"),
        GOEMOTIONS,
        "{tmp}/affecteval/goemotions/dev.tsv:2: 0 columns; expected 3: text, label ids, comment id",
    ),
    "only rows of two labels": Row(
        goemotions("a\t1,2\tid\n"),
        GOEMOTIONS,
        "{tmp}/affecteval/goemotions/dev.tsv: no example of GoEmotions; expected at least one",
    ),
    "column that is missing": Row(
        emobank("id,split,V,A,text\n"),
        EMOBANK,
        "{tmp}/affecteval/emobank/emobank.csv:1: no column 'D'; found ['id', 'split', 'V', 'A', 'text']",
    ),
    "column that is there twice": Row(
        emobank(EMOBANK_ROWS.replace("id,", "V,")),
        EMOBANK,
        "{tmp}/affecteval/emobank/emobank.csv:1: column 'V' is there 2 times; expected it once",
    ),
    "unknown split of the data": Row(
        emobank(EMOBANK_ROWS + "x,tset,1,2,3,t\n"),
        EMOBANK,
        "{tmp}/affecteval/emobank/emobank.csv:6: split 'tset'; expected train, dev, test",
    ),
    "value that is not a number": Row(
        emobank(EMOBANK_ROWS + "x,test,1,nan,3,t\n"),
        EMOBANK,
        "{tmp}/affecteval/emobank/emobank.csv:6: A 'nan'; expected a finite number",
    ),
    "value beyond 32 bits": Row(
        emobank(EMOBANK_ROWS + "x,test,1,2,1e39,t\n"),
        EMOBANK,
        "{tmp}/affecteval/emobank/emobank.csv:6: D '1e39'; expected a finite number",
    ),
    "decimal comma": Row(
        emobank(EMOBANK_ROWS + "x,test,1,2,3,5,t\n"),
        EMOBANK,
        "{tmp}/affecteval/emobank/emobank.csv:6: 7 columns; expected 6: id, split, V, A, D, text",
    ),
    "value of 1 MB": Row(
        emobank(EMOBANK_ROWS + f"x,test,1,2,{'1' * 10**6}x,t\n"),
        EMOBANK,
        "{tmp}/affecteval/emobank/emobank.csv:6: D '1111111111111111111111111111111111111...1111111111111111111111111111111111111x'; expected a finite number",
    ),
    "no header": Row(
        intensity("id\tso\tfear\t0.5\n"),
        EI_REG,
        "{tmp}/affecteval/ei-reg/EI-reg/training/EI-reg-En-fear-train.txt:1: header 'id\\tso\\tfear\\t0.5'; expected ['ID', 'Tweet', 'Affect Dimension', 'Intensity Score'], separated by tabs",
    ),
    "only a header": Row(
        intensity("ID\tTweet\tAffect Dimension\tIntensity Score\n"),
        EI_REG,
        "{tmp}/affecteval/ei-reg/EI-reg/training/EI-reg-En-fear-train.txt: only a header; expected examples below it",
    ),
    "tab in a text": Row(
        intensity(
            "ID\tTweet\tAffect Dimension\tIntensity Score\nid\ts\to\tfear\t0.5\n"
        ),
        EI_REG,
        "{tmp}/affecteval/ei-reg/EI-reg/training/EI-reg-En-fear-train.txt:2: 5 columns; expected 4: ID, Tweet, Affect Dimension, Intensity Score",
    ),
    "label that is missing": Row(
        intensity("ID\tTweet\tAffect Dimension\tIntensity Score\nid\tso\tfear\tNONE\n"),
        EI_REG,
        "{tmp}/affecteval/ei-reg/EI-reg/training/EI-reg-En-fear-train.txt:2: Intensity Score 'NONE'; expected a finite number",
    ),
    # predictions
    "no predictions": Row(
        irony,
        SCORE,
        "{tmp}/irony.txt: No such file or directory; expected 3 lines, the predictions of irony",
    ),
    "one prediction too few": Row(
        with_irony("irony.txt", "0\n1\n"),
        SCORE,
        "{tmp}/irony.txt:3: found 2 lines; expected 3, one a test example of irony",
    ),
    "prediction with a point": Row(
        with_irony("irony.txt", "0\r\n1.0\r\n0\r\n"),
        SCORE,
        "{tmp}/irony.txt:2: found '1.0'; expected a label id from 0 to 1",
    ),
    "prediction with a NUL": Row(
        with_irony("irony.txt", b"0\n\0\n0\n"),
        SCORE,
        "{tmp}/irony.txt:2: found '\\x00'; expected a label id from 0 to 1",
    ),
    "lone surrogate in a prediction": Row(
        with_irony("irony.txt", b"0\n\xed\xb0\x80\n0\n"),
        SCORE,
        "{tmp}/irony.txt:2: byte 0xed is not UTF-8 text",
    ),
    "pipe for predictions": Row(
        both(irony, pipe("irony.txt")),
        SCORE,
        "{tmp}/irony.txt: a pipe; expected a file of 3 lines",
    ),
    "two values for three": Row(
        both(emobank(EMOBANK_ROWS), put("emobank.txt", "1\t2\t3\n1\t2\n")),
        SCORE_VALUES,
        "{tmp}/emobank.txt:2: found 2 tab-separated values; expected 3 (V, A, D)",
    ),
    "infinite value": Row(
        both(emobank(EMOBANK_ROWS), put("emobank.txt", "1\t2\t3\n1\tinf\t3\n")),
        SCORE_VALUES,
        "{tmp}/emobank.txt:2: found 'inf'; expected a finite number",
    ),
    "value that overflows in squares": Row(
        both(emobank(EMOBANK_ROWS), put("emobank.txt", "1\t2\t3\n1\t1e300\t3\n")),
        SCORE_VALUES,
        "{tmp}/emobank.txt:2: found '1e300'; expected a finite number",
    ),
    "prediction of 1 MB": Row(
        both(
            emobank(EMOBANK_ROWS),
            put("emobank.txt", f"1\t2\t3\n1\t2\t{'1' * 10**6}x\n"),
        ),
        SCORE_VALUES,
        "{tmp}/emobank.txt:2: found '1111111111111111111111111111111111111...1111111111111111111111111111111111111x'; expected a finite number",
    ),
    # runs
    "directory that holds no run": Row(
        nothing, PREDICT, "{tmp}/config.json: no such file; expected a run's directory"
    ),
    "configuration that was cut off": Row(
        put("config.json", CUT_OFF),
        PREDICT,
        "{tmp}/config.json: damaged: Unterminated string starting at: line 1 column "
        f"{CUT_END + 1} (char {CUT_END})",
    ),
    "configuration with a byte-order mark": Row(
        put("config.json", "\ufeff" + json.dumps(CONFIG)),
        PREDICT,
        "{tmp}/config.json: damaged: Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
    ),
    "configuration in Latin-1": Row(
        put("config.json", b'{"benchmark": "\xe9"}'),
        PREDICT,
        "{tmp}/config.json: damaged: 'utf-8' codec can't decode byte 0xe9 in position 15: invalid continuation byte",
    ),
    "configuration that is a list": Row(
        put("config.json", "[1, 2]"),
        PREDICT,
        "{tmp}/config.json: damaged: [1, 2]; expected an object",
    ),
    "configuration without a key": Row(
        run_with(epochs=...),
        PREDICT,
        "{tmp}/config.json: damaged: no key epochs; expected a whole number",
    ),
    "configuration with a slip in a key": Row(
        run_with(epoch=9),
        PREDICT,
        "{tmp}/config.json: damaged: unknown key epoch; did you mean epochs?",
    ),
    "text for a number": Row(
        run_with(epochs="9"),
        PREDICT,
        "{tmp}/config.json: damaged: epochs is '9'; expected a whole number",
    ),
    "true for a number": Row(
        run_with(seed=True),
        PREDICT,
        "{tmp}/config.json: damaged: seed is True; expected a whole number",
    ),
    "not a number for a rate": Row(
        run_with(warm_up=float("nan")),
        PREDICT,
        "{tmp}/config.json: damaged: warm_up is nan; expected a number",
    ),
    "number for a list of tasks": Row(
        run_with(tasks=3),
        PREDICT,
        "{tmp}/config.json: damaged: tasks is 3; expected a list of names",
    ),
    "list for a method": Row(
        run_with(method=["ew"]),
        PREDICT,
        "{tmp}/config.json: damaged: method is ['ew']; expected an object",
    ),
    "unknown method": Row(
        run_with(method={"name": "we"}),
        PREDICT,
        "{tmp}/config.json: damaged: unknown method 'we'; known: ew, si, tw, uw, gls, dwa, pcgrad, imtl_l, rlw, mt_vib, vmtl, hierarchical_mtl, infomtl, mtra, stl, stl_cnn",
    ),
    "text of 10 MB for a benchmark": Row(
        run_with(benchmark="a" * TEN_MEGABYTES),
        PREDICT,
        "{tmp}/config.json: damaged: benchmark is 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'; known: tweeteval, affecteval, synthetic",
    ),
    "NUL in a path": Row(
        run_with(data={**CONFIG["data"], "dir": "a\0b"}),
        PREDICT,
        "{tmp}/config.json: damaged: data.dir is 'a\\x00b'; expected a text that files can be named by",
    ),
    "lone surrogate in a path": Row(
        run_with(data={**CONFIG["data"], "dir": "\ud800"}),
        PREDICT,
        "{tmp}/config.json: damaged: data.dir is '\\ud800'; expected a text that files can be named by",
    ),
    "run that has not begun": Row(
        run_with(),
        PREDICT,
        "{tmp}/encoder/config.json: No such file or directory; expected a JSON file",
    ),
    "run that has not finished": Row(
        run_with(), TABLE, "{tmp}/results.json: no such file; the run has not finished"
    ),
    "results that were cut off": Row(
        finished_with('{"validation": {"avg": 5'),
        TABLE,
        "{tmp}/results.json: damaged: Expecting ',' delimiter: line 1 column 25 (char 24); remove it to score again",
    ),
    "results that are a list": Row(
        finished_with("[]"),
        TABLE,
        "{tmp}/results.json: damaged: []; expected an object; remove it to score again",
    ),
    "results of one split only": Row(
        finished_with(json.dumps({"validation": {}})),
        TABLE,
        "{tmp}/results.json: damaged: no 'test'; expected an object",
    ),
    "text for a figure": Row(
        finished_with(json.dumps(results(test={"irony": {"macro_f1": "50"}}))),
        TABLE,
        "{tmp}/results.json: damaged: figure '50' of 'test/irony/macro_f1'; expected a number from -100 to 100, or null",
    ),
    "figure above 100": Row(
        finished_with(json.dumps(results(test={"avg": 123.4}))),
        TABLE,
        "{tmp}/results.json: damaged: figure 123.4 of 'test/avg'; expected a number from -100 to 100, or null",
    ),
    "line that was cut off": Row(
        put("results.jsonl", line() + line()[:30]),
        REPORT,
        "{tmp}/results.jsonl:2: damaged: not JSON from column 27 on: Unterminated string starting at",
    ),
    "empty line of results": Row(
        put("results.jsonl", line() + "\n" + line(seed=1)),
        REPORT,
        "{tmp}/results.jsonl:2: damaged: not JSON from column 1 on: Expecting value",
    ),
    "no line of results": Row(
        put("results.jsonl", ""),
        REPORT,
        "{tmp}/results.jsonl: empty; expected a finished run",
    ),
    "line that is a number": Row(
        put("results.jsonl", line() + "7\n"),
        REPORT,
        "{tmp}/results.jsonl:2: damaged: 7; expected an object with 'name'",
    ),
    "line that is not UTF-8": Row(
        put("results.jsonl", line().encode() + b"\xff\n"),
        REPORT,
        "{tmp}/results.jsonl:2: byte 0xff is not UTF-8 text",
    ),
    "line nested 100,000 deep": Row(
        put("results.jsonl", "[" * 100_000),
        REPORT,
        "{tmp}/results.jsonl:1: damaged: nested too deep",
    ),
    "seed in words": Row(
        put("results.jsonl", line(seed="one")),
        REPORT,
        "{tmp}/results.jsonl:1: damaged: 'seed' is 'one'; expected a whole number",
    ),
    "name of two lines": Row(
        put("results.jsonl", line(name="e\nw")),
        REPORT,
        "{tmp}/results.jsonl:1: damaged: name 'e\\nw'; expected no line breaks or control characters",
    ),
    "lone surrogate in a name": Row(
        put("results.jsonl", line(name="\ud800")),
        REPORT,
        "{tmp}/results.jsonl:1: damaged: name '\\ud800'; expected no line breaks or control characters",
    ),
    "figure of 400 digits": Row(
        put(
            "results.jsonl",
            line(results=results(test={"irony": {"macro_f1": 10**400}})),
        ),
        REPORT,
        "{tmp}/results.jsonl:1: damaged: figure 100000000000000000...0000000000000000000 of 'test/irony/macro_f1'; expected a number from -100 to 100, or null",
    ),
    "results of no task": Row(
        put("results.jsonl", line(results=results(test={"avg": 1.0}))),
        REPORT,
        "{tmp}/results.jsonl:1: damaged: results of no task; expected at least one",
    ),
    "run that is there twice": Row(
        put("results.jsonl", line() * 2),
        REPORT,
        "{tmp}/results.jsonl:2: ew, seed 0 is on line 1 already; expected each run once",
    ),
    # encoders and tokenizers
    "no such encoder": Row(irony, PRETRAINED, "'{tmp}/bert': no such directory"),
    "encoder with the name of a file": Row(
        with_irony("bert", "x"),
        PRETRAINED,
        "{tmp}/bert: expected a directory with config.json; found a file",
    ),
    "home of nobody": Row(
        irony,
        (*TRAIN, "--config.backbone.path=~nobody-of-that-name/bert"),
        "--config.backbone.path=~nobody-of-that-name/bert: no user 'nobody-of-that-name' here; expected a path without ~ (or ./~ for a ~)",
    ),
    "encoder without a configuration": Row(
        bert_without("config.json"),
        PRETRAINED,
        "{tmp}/bert/config.json: No such file or directory; expected a JSON file",
    ),
    "another kind of encoder": Row(
        bert_config(model_type="gpt2"),
        PRETRAINED,
        "{tmp}/bert/config.json: model_type is 'gpt2'; this architecture is not supported; known: bert, roberta, xlm-roberta, camembert",
    ),
    "decoder": Row(
        bert_config(is_decoder=True),
        PRETRAINED,
        "{tmp}/bert/config.json: is_decoder is true; expected an encoder",
    ),
    "relative positions": Row(
        bert_config(position_embedding_type="relative_key"),
        PRETRAINED,
        "{tmp}/bert/config.json: position_embedding_type is 'relative_key'; expected 'absolute'",
    ),
    "text for a size": Row(
        bert_config(hidden_size="4"),
        PRETRAINED,
        "{tmp}/bert/config.json: hidden_size is '4'; expected int",
    ),
    "true for a size": Row(
        bert_config(vocab_size=True),
        PRETRAINED,
        "{tmp}/bert/config.json: vocab_size is True; expected int",
    ),
    "not a number for a constant": Row(
        bert_config(layer_norm_eps=float("nan")),
        PRETRAINED,
        "{tmp}/bert/config.json: layer_norm_eps is nan; expected 0 or more, finite",
    ),
    "constant below zero": Row(
        bert_config(layer_norm_eps=-1e-12),
        PRETRAINED,
        "{tmp}/bert/config.json: layer_norm_eps is -1e-12; expected 0 or more, finite",
    ),
    "size that the weights do not have": Row(
        bert_config(hidden_size=8),
        PRETRAINED,
        "{tmp}/bert: embeddings.word_embeddings.weight has shape (100, 4); config.json says (100, 8)",
    ),
    "text beyond the positions": Row(
        bert,
        (*PRETRAINED, "--config.data.max_length=65"),
        "data.max_length is 65; expected at most 64, the positions of the encoder",
    ),
    "no weights": Row(
        bert_without("model.safetensors"),
        PRETRAINED,
        "{tmp}/bert: no model.safetensors and no model.safetensors.index.json",
    ),
    "pickled weights": Row(
        bert_without("model.safetensors", put("bert/pytorch_model.bin", "x")),
        PRETRAINED,
        "{tmp}/bert: only safetensors are read; found pickled weights, which PyTorch converts: from transformers import AutoModel; AutoModel.from_pretrained('{tmp}/bert').save_pretrained('{tmp}/bert')",
    ),
    "empty weights": Row(
        bert_with("model.safetensors", ""),
        PRETRAINED,
        "{tmp}/bert/model.safetensors: not a readable safetensors file: ...",
    ),
    "header longer than the file": Row(
        bert_with("model.safetensors", struct.pack("<Q", 10**15) + b"{}"),
        PRETRAINED,
        "{tmp}/bert/model.safetensors: not a readable safetensors file: ...",
    ),
    "weights that were cut off": Row(
        bert_with("model.safetensors", safetensors.numpy.save({"a": np.zeros(9)})[:-1]),
        PRETRAINED,
        "{tmp}/bert/model.safetensors: not a readable safetensors file: ...",
    ),
    "weights of something else": Row(
        bert_with("model.safetensors", safetensors.numpy.save({"a": np.zeros(9)})),
        PRETRAINED,
        "{tmp}/bert: expected one encoder, with one embeddings.word_embeddings.weight; found none",
    ),
    "shard outside the directory": Row(
        shards_of({"a": "../model.safetensors"}),
        PRETRAINED,
        "{tmp}/bert/model.safetensors.index.json: expected a file beside it; found '../model.safetensors'",
    ),
    "shard that is missing": Row(
        shards_of({"a": "model-1.safetensors"}),
        PRETRAINED,
        "{tmp}/bert/model-1.safetensors: not a readable safetensors file: No such file or directory: {tmp}/bert/model-1.safetensors",
    ),
    "no tokenizer": Row(
        bert_without("tokenizer.json"),
        PRETRAINED,
        "{tmp}/bert: no tokenizer found; expected tokenizer.json, or vocab.txt, or vocab.json and merges.txt",
    ),
    "tokenizer that was cut off": Row(
        bert_with("tokenizer.json", '{"version": "1.0"'),
        PRETRAINED,
        "{tmp}/bert/tokenizer.json: not a tokenizer: ...",
    ),
    "tokenizer that is not UTF-8": Row(
        bert_with("tokenizer.json", b"\xff{}"),
        PRETRAINED,
        "{tmp}/bert/tokenizer.json: not a tokenizer: ...",
    ),
    "tokenizer without special tokens": Row(
        tokenizer_with(without_template),
        PRETRAINED,
        "{tmp}/bert: the tokenizer adds no special tokens; expected one that puts [CLS] or <s> before a text",
    ),
    "tokenizer with an undefined token": Row(
        tokenizer_with(with_other_template),
        PRETRAINED,
        "{tmp}/bert: the tokenizer puts '[BOS]' around a text; expected one of its special_tokens",
    ),
    "tokenizer with ids out of range": Row(
        tokenizer_with(with_long_id),
        PRETRAINED,
        "{tmp}/bert: token 'so' of the tokenizer has the id 1000000; the encoder has rows for 100 tokens",
    ),
    "special token out of range": Row(
        tokenizer_with(with_long_template),
        PRETRAINED,
        "{tmp}/bert: the tokenizer gives a special token the id 100; the encoder has rows for 100 tokens",
    ),
    "tokenizer without an unknown token": Row(
        tokenizer_with(with_unknown_unknown),
        PRETRAINED,
        "{tmp}/bert: the tokenizer cannot encode a text: WordPiece error: Missing [UNK] token from the vocabulary",
    ),
    "tokenizer larger than the encoder": Row(
        bert_of(dataclasses.replace(SMALL, vocab_size=5)),
        PRETRAINED,
        "{tmp}/bert: token 'good' of the tokenizer has the id 16; the encoder has rows for 5 tokens",
    ),
    # runs that begin
    "damaged configuration in the work directory": Row(
        put("run/config.json", "{"),
        FLAGS,
        "{tmp}/run/config.json: damaged: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    ),
    "another run in the work directory": Row(
        put("run/config.json", json.dumps(CONFIG)),
        FLAGS,
        "{tmp}/run/config.json: benchmark is 'synthetic' there and 'tweeteval' here; expected the same configuration, or a new --workdir",
    ),
    "damaged results of a sweep": Row(
        put("run/results.jsonl", "{}"),
        SWEEP,
        "{tmp}/run/results.jsonl:1: damaged: no 'name'; expected a text",
    ),
    "configuration nested 100,000 deep": Row(
        put("config.json", "[" * 100_000), PREDICT, "{tmp}/config.json: damaged: ..."
    ),
    "results nested 100,000 deep": Row(
        finished_with("[" * 100_000), TABLE, "{tmp}/results.json: damaged: ..."
    ),
    "run itself without its epochs": Row(
        itself(results(epochs=None)),
        ITSELF,
        "{tmp}/run/results.json: damaged: 'epochs' is None; expected a whole number",
    ),
    "run itself with the epochs of another task": Row(
        itself(results(best_epoch={"irony": 1}, epochs={"stance": 2})),
        ITSELF,
        "{tmp}/run/results.json: damaged: 'epochs' of ['stance']; expected those of "
        "['irony']",
    ),
    "run itself without a majority": Row(
        itself({**results(), "majority": None}),
        ITSELF,
        "{tmp}/run/results.json: damaged: 'majority' is None; expected an object",
    ),
    "run itself that took a text": Row(
        itself(results(train_seconds="1.5")),
        ITSELF,
        "{tmp}/run/results.json: damaged: 'train_seconds' is '1.5'; expected a number",
    ),
    "no steps to time": Row(
        nothing, (*BENCHMARK, "--steps=0"), "--steps is 0; expected at least 1"
    ),
    "devices that are none": Row(
        nothing,
        (*BENCHMARK, "--devices=1,two"),
        "argument --devices: '1,two' is not a comma-separated list of numbers",
    ),
    "more tasks than a batch has texts": Row(
        nothing, (*BENCHMARK, "--tasks=2,256"), "--tasks 256: expected at most 128"
    ),
    "unknown method to time": Row(
        nothing,
        (*BENCHMARK, "--method=ew,mtr"),
        "unknown method 'mtr'; did you mean mtra?",
    ),
    "row that the sweep has not": Row(
        nothing, (*SWEEP, "--only=mtr"), "--only mtr: did you mean mtra?"
    ),
    "batch that does not part": Row(
        nothing,
        (*ITSELF, "--config.micro_batches=5"),
        "batch_size is 128; expected a multiple of 40, devices times micro_batches",
    ),
    "damaged results of the run itself": Row(
        both(put("run/config.json", json.dumps(CONFIG)), put("run/results.json", "[]")),
        ("train", f"{PRESET}synthetic", "--workdir={tmp}/run"),
        "{tmp}/run/results.json: damaged: []; expected an object; remove it to score again",
    ),
    "cache below a file": Row(
        both(bert, put("x", "")),
        (
            *PRETRAINED,
            "--config.data.max_length=64",
            "--config.data.cache_dir={tmp}/x/y",
        ),
        "{tmp}/x/y: cannot write the cache: Not a directory",
    ),
    "empty vocabulary": Row(
        bert_without("tokenizer.json", put("bert/vocab.txt", "")),
        PRETRAINED,
        "{tmp}/bert/vocab.txt: not a vocabulary: the file is empty",
    ),
    "vocabulary in Latin-1": Row(
        bert_without("tokenizer.json", put("bert/vocab.txt", b"caf\xe9\n")),
        PRETRAINED,
        "{tmp}/bert/vocab.txt: not a vocabulary: 'utf-8' codec can't decode byte 0xe9 in position 3: invalid continuation byte",
    ),
}


# ---- the runner


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    def fit(*arguments):
        raise AssertionError("a training began")

    monkeypatch.setattr(loop, "fit", fit)


@functools.cache
def main_of(name: str) -> Callable:
    path = ROOT / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def answer(monkeypatch, capsys, root: Path, command: tuple[str, ...]) -> str:
    """What a command says to standard error; nothing may go elsewhere."""
    name, *flags = (filled(part, root) for part in command)
    monkeypatch.setattr(sys, "argv", [name, *flags])
    before = sorted(root.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        cli.run(main_of(name))
    assert stop.value.code == 2
    assert sorted(root.rglob("*")) == before
    output, errors = capsys.readouterr()
    assert output == ""
    return errors


def filled(text: str, root: Path) -> str:
    return text.replace("{tmp}", str(root)).replace("{root}", str(ROOT))


@pytest.mark.parametrize(("write", "command", "message"), ROWS.values(), ids=ROWS)
def test_bad_input_is_answered_with_one_line_and_code_2(
    write, command, message, tmp_path, monkeypatch, capsys
):
    write(tmp_path)
    errors = answer(monkeypatch, capsys, tmp_path, command)
    expected = f"error: {filled(message, tmp_path)}"
    if message.endswith(LIBRARYS):
        found, expected = errors, expected.removesuffix(LIBRARYS)
        assert re.fullmatch(re.escape(expected) + " [^\n]{9,400}\n", found)
    else:
        assert errors == f"{expected}\n"


def test_the_table_is_long():
    assert len(ROWS) >= 70


# ---- texts


@pytest.fixture
def outputs_of_lengths(monkeypatch):
    """In place of a model: polarity 0, 1 or 2 by the length of the text, modulo 3."""
    saved = types.SimpleNamespace(benchmark=SYNTHETIC)
    monkeypatch.setattr(scoring, "load", lambda workdir, task, cache_dir: saved)

    def make_predictor(saved, task):
        return lambda texts: np.eye(3)[[len(text) % 3 for text in texts]]

    monkeypatch.setattr(scoring, "make_predictor", make_predictor)


LABEL = ("predict", "--workdir={tmp}", "--task=polarity")
LABEL_FILE = (*LABEL, "--input={tmp}/texts")
NOT_UTF8 = "is not UTF-8; expected UTF-8 text"
TEXTS = {
    "no such file": (nothing, "cannot be read: No such file or directory"),
    "directory": (folder("texts"), "cannot be read: Is a directory"),
    "Latin-1": (put("texts", b"so\nca\xe9\n"), f"2: byte 0xe9 {NOT_UTF8}"),
    "UTF-16": (put("texts", "so\n".encode("utf-16")), f"1: byte 0xff {NOT_UTF8}"),
    "lone surrogate": (put("texts", b"\n\n\xed\xa0\x80"), f"3: byte 0xed {NOT_UTF8}"),
    "NUL in two bytes": (put("texts", b"so\n\xc0\x80\n"), f"2: byte 0xc0 {NOT_UTF8}"),
    "half of an emoji": (put("texts", b"so\n\xf0\x9f\n"), f"2: byte 0xf0 {NOT_UTF8}"),
    "after 10 MB": (
        put("texts", b"a" * TEN_MEGABYTES + b"\n\xff\n"),
        f"2: byte 0xff {NOT_UTF8}",
    ),
}


@pytest.mark.usefixtures("outputs_of_lengths")
@pytest.mark.parametrize(("write", "message"), TEXTS.values(), ids=TEXTS)
def test_texts_that_are_none_are_named_with_their_line(
    write, message, tmp_path, monkeypatch, capsys
):
    write(tmp_path)
    colon = ":" if message[0].isdigit() else ": "
    expected = f"{colon}{message}\n"
    found = answer(monkeypatch, capsys, tmp_path, LABEL_FILE)
    assert found == f"error: {tmp_path}/texts{expected}"
    if not message[0].isdigit():
        return
    content = (tmp_path / "texts").read_bytes()
    stdin = types.SimpleNamespace(buffer=io.BytesIO(content))
    monkeypatch.setattr("sys.stdin", stdin)
    found = answer(monkeypatch, capsys, tmp_path, LABEL)
    assert found == f"error: standard input{expected}"


@pytest.mark.usefixtures("outputs_of_lengths")
def test_what_comes_before_a_line_that_is_none_is_labelled(
    tmp_path, monkeypatch, capsys
):
    """A chunk at a time; nothing of the chunk with the fault."""
    content = b"a\n" * 5000 + b"\xff\n"
    stdin = types.SimpleNamespace(buffer=io.BytesIO(content))
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr(sys, "argv", ["predict", f"--workdir={tmp_path}", LABEL[2]])
    with pytest.raises(SystemExit) as stop:
        cli.run(main_of("predict"))
    assert stop.value.code == 2
    output, errors = capsys.readouterr()
    labels = [json.loads(line)["label"] for line in output.splitlines()]
    assert labels == ["neutral"] * 4096
    assert errors == f"error: standard input:5001: byte 0xff {NOT_UTF8}\n"
