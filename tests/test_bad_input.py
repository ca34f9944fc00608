"""Bad flags and files, one row each: one line on standard error, exit code 2, no new files.

A row lists what the line must mention, in this order: file and line, key, value, and what
is expected. One row of each kind holds the whole sentence. `{tmp}` stands for the directory
of the test, `{root}` for that of the repository.
"""

import dataclasses
import io
import json
import os
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy
from messages import assert_mentions

from mtra_jax import cli
from mtra_jax import config as configs
from mtra_jax.api import loading
from mtra_jax.commands import verbs
from mtra_jax.data.tokenizing import tokens
from mtra_jax.models import encoder, naming, pretrained
from mtra_jax.runs.directory import tasks_json
from mtra_jax.runs.training import loop
from mtra_jax.tasks import SYNTHETIC

ROOT = Path(__file__).resolve().parents[1]
PRESET = "--config={root}/configs/baselines.py:ew_new_"
TRAIN = (
    "train",
    f"{PRESET}tweeteval",
    "--workdir={tmp}/run",
    "--config.data.dir={tmp}",
    "--config.data.cache_dir=",
    "--config.tasks=irony",
)
MTRA = (
    "train",
    "--config={root}/configs/mtra.py:new_synthetic",
    "--workdir={tmp}/run",
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
SWEEP = ("sweep", "--config={root}/configs/sweep.py:synthetic", "--workdir={tmp}/run")
EXPERIMENT = ("experiment", "main", "--scale=smoke", "--workdir={tmp}/run")
SEARCH = ("search", "ew", "--preset=tiny_synthetic", "--workdir={tmp}/run")
TUNED = """[search]
format = 1
preset = "tiny_synthetic"

[mtra]
trials = 16
values = { learning_rate = 1e-4, "method.bet" = 2 }
"""
REPORT = ("report", "{tmp}")
BENCHMARK = ("benchmark", f"{PRESET}synthetic", "--config.data.cache_dir=")
TEXT = "tweeteval/datasets/irony/train_text.txt"
LABELS = "tweeteval/datasets/irony/train_labels.txt"
TSV = "affecteval/goemotions/dev.tsv"
CSV = "affecteval/emobank/emobank.csv"
INTENSITY = "affecteval/ei-reg/EI-reg/training/EI-reg-En-fear-train.txt"
TEN_MEGABYTES = 10**7
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
    found = config.preset("new_synthetic", "ew")
    with found.unlocked():
        found.epoch = 3
    return found
"""
ROW_OF_TWO_LINES = """
from mtra_jax.runs.trials import run_specs


def get_sweep(name):
    return run_specs.Sweep(run_specs.grid(["ew"], "new_synthetic", [0])[:1] + (
        run_specs.Trial("e\\nw", "ew", "new_synthetic", 0),
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


CONFIG = configs.to_dict(configs.preset("new_synthetic", "ew"))
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
    def tasks(root):
        tasks_json.write(root, SYNTHETIC.select(["irony"]))

    return both(run_with(), tasks, put("results.json", content))


def itself(values: dict) -> Write:
    """A finished run in the work directory of `ITSELF`."""
    return both(
        put("run/config.json", json.dumps(CONFIG)),
        put("run/results.json", json.dumps(values)),
    )


def line(**changes) -> str:
    """A line of `results.jsonl`."""
    values = {"name": "ew", "seed": 0, "preset": "new_synthetic", "overrides": {}}
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
    """`command` is a script and its flags, `message` the sentence or what it mentions."""

    write: Write
    command: tuple[str, ...]
    message: str | tuple[str | int, ...]


ROWS = {
    # flags
    "unknown flag": Row(
        nothing,
        ("train", "--wrkdir=x", *FLAGS[1:]),
        "unknown argument --wrkdir; did you mean --workdir?",
    ),
    "no work directory": Row(nothing, FLAGS[:2], ("--workdir",)),
    "flag without its value": Row(nothing, ("predict", "--workdir"), ("--workdir",)),
    "empty work directory": Row(
        nothing,
        (*FLAGS, "--workdir="),
        "'': an empty name; expected a directory, or the name of a new one",
    ),
    "work directory that is a file": Row(
        put("run", "x"), FLAGS, ("{tmp}/run", "directory", "name")
    ),
    "work directory below a file": Row(
        put("run", "x"),
        (*FLAGS, "--workdir={tmp}/run/run"),
        ("{tmp}/run/run", "directory", "name"),
    ),
    "work directory with a long name": Row(
        nothing, (*FLAGS, f"--workdir={LONG}"), (LONG, "name", "directory")
    ),
    "process number that is no number": Row(
        nothing, (*FLAGS, "--num_processes=two"), ("--num_processes", "value", "'two'")
    ),
    "split that is none": Row(
        nothing, (*SCORE, "--split=train"), ("--split", "'train'")
    ),
    "neither run nor predictions": Row(
        nothing, ("evaluate",), ("--workdir", "--predictions")
    ),
    "predictions that are no directory": Row(
        put("p", "1\n"), (*SCORE, "--predictions={tmp}/p"), ("{tmp}/p", "directory")
    ),
    "run with a long name": Row(
        nothing, ("evaluate", f"--workdir={LONG}"), (LONG, "directory")
    ),
    "unknown benchmark of 10,000 letters": Row(
        nothing,
        (*SCORE, f"--benchmark={'a' * 10_000}"),
        (
            "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
        ),
    ),
    "empty name of a task": Row(nothing, (*SCORE, "--tasks=irony,"), ("task", "''")),
    "unknown task of a run": Row(
        run_with(),
        ("predict", "--workdir={tmp}", "--task=ironi"),
        "unknown task 'ironi' of this run; did you mean irony?",
    ),
    "row without a name": Row(nothing, ("table", "={tmp}"), ("={tmp}", "NAME=WORKDIR")),
    "row of two lines": Row(
        run_with(),
        ("table", "E\nW={tmp}"),
        ("name", "'E\\nW'", "line breaks", "characters"),
    ),
    "two rows of one name": Row(
        finished_with(json.dumps(results())),
        (*TABLE, "EW={tmp}"),
        ("name", "EW", "twice"),
    ),
    "epochs of a run before its first": Row(
        run_with(),
        (*TABLE, "--epochs"),
        ("metrics.jsonl", "No such file", "after its first epoch"),
    ),
    "split of a table of epochs": Row(
        run_with(),
        (*TABLE, "--epochs", "--split=test"),
        ("--split test", "validation"),
    ),
    "Markdown beside curves": Row(
        run_with(), (*TABLE, "--curves={tmp}/c", "--markdown"), ("--markdown", "PNG")
    ),
    "baseline of a grid": Row(
        put("results.jsonl", line()),
        (*REPORT, "--grid=beta,epsilon", "--baseline=ew"),
        ("--baseline ew", "--grid"),
    ),
    "grid of one option": Row(
        put("results.jsonl", line()),
        (*REPORT, "--grid=beta"),
        ("--grid beta", "two options"),
    ),
    "grid of an option that no run sets": Row(
        put("results.jsonl", line()),
        (*REPORT, "--grid=beta,epsilom"),
        ("no run sets", "beta"),
    ),
    "figure without a grid": Row(
        nothing, (*REPORT, "--figure=g"), ("--figure", "--grid")
    ),
    "representations and a format": Row(
        nothing,
        (*REPORT, "--representations", "--format=csv"),
        ("--format csv", "--representations"),
    ),
    "format of a table that is none": Row(
        nothing, (*REPORT, "--format=html"), ("--format", "'html'")
    ),
    "table that cannot be written": Row(
        put("results.jsonl", line()),
        (*REPORT, "--out={tmp}/no/table"),
        ("{tmp}/no/table", "file", "directory"),
    ),
    "table in place of its results": Row(
        put("results.jsonl", line()),
        (*REPORT, "--out={tmp}/results.jsonl"),
        ("--out", "{tmp}/results.jsonl", "another file"),
    ),
    "unknown baseline": Row(
        put("results.jsonl", line()), (*REPORT, "--baseline=mtra"), ("'mtra'",)
    ),
    "empty name of results": Row(nothing, ("report", ""), ("''", "directory")),
    "empty name of a table": Row(
        put("results.jsonl", line()), (*REPORT, "--out="), ("--out", "empty")
    ),
    "empty name of a figure": Row(
        put("results.jsonl", line()),
        (*REPORT, "--grid=beta,epsilon", "--figure="),
        ("--figure", "empty"),
    ),
    "long name of results": Row(nothing, ("report", LONG), (LONG, "name")),
    "copied and downloaded": Row(
        nothing,
        ("prepare", "--data_dir={tmp}", "--from_dir=x", "--download"),
        ("--download", "--from_dir"),
    ),
    "data directory that is a file": Row(
        put("data", "x"),
        ("prepare", "--data_dir={tmp}/data"),
        ("{tmp}/data", "directory", "name"),
    ),
    "empty data directory": Row(
        nothing, ("prepare", "--data_dir="), ("''", "empty", "name", "directory")
    ),
    "unknown flag of prepare_data": Row(
        nothing,
        ("prepare", "--data_dri={tmp}", "--data_dir={tmp}"),
        ("--data_dri", "--data_dir"),
    ),
    # configurations
    "unknown preset": Row(
        nothing,
        ("train", f"{PRESET}sinthetic", "--workdir={tmp}/run"),
        ("'ew_new_sinthetic'", "ew_new_synthetic"),
    ),
    "unknown key of a method": Row(
        nothing,
        (*MTRA, "--config.method.bta=1"),
        ("--config.method.bta", "method.beta"),
    ),
    "unknown task": Row(
        nothing, (*FLAGS, "--config.tasks=ironi"), ("'ironi'", "irony")
    ),
    "word for a number": Row(
        nothing,
        (*FLAGS, "--config.learning_rate=much"),
        ("--config.learning_rate", "'much'"),
    ),
    "no epochs": Row(nothing, (*FLAGS, "--config.epochs=0"), ("epochs", "0")),
    "negative length of the perturbation": Row(
        nothing, (*MTRA, "--config.method.epsilon=-1"), ("epsilon", "-1")
    ),
    "length that holds no text": Row(
        nothing, (*ITSELF, "--config.data.max_length=2"), ("data.max_length", "2", "3")
    ),
    "benchmark without its data": Row(
        nothing, (*TRAIN[:3], "--config.tasks=irony"), ("data.dir",)
    ),
    "work directory of another seed": Row(
        put("run/config.json", json.dumps(CONFIG)),
        (*ITSELF, "--config.seed=5"),
        ("{tmp}/run/config.json", "seed", 0, 5, "--workdir"),
    ),
    "label out of range in the validation part": Row(
        with_irony("tweeteval/datasets/irony/val_labels.txt", "0\n7\n0\n"),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/val_labels.txt:2", "'7'"),
    ),
    "no value": Row(nothing, (*FLAGS, "--config.seed"), ("--config.seed", "value")),
    "unknown key": Row(
        nothing, (*FLAGS, "--config.epoch=3"), ("--config.epoch", "epochs")
    ),
    "underscore in a number": Row(
        nothing,
        (*FLAGS, "--config.epochs=1_0"),
        "--config.epochs is '1_0'; expected a whole number",
    ),
    "digits of another script": Row(
        nothing, (*FLAGS, "--config.epochs=١"), ("--config.epochs", "'١'", "number")
    ),
    "number of 5,000 digits": Row(
        nothing,
        (*FLAGS, f"--config.epochs={'9' * 5000}"),
        (
            "--config.epochs",
            "'9999999999999999999999999999999999999...99999999999999999999999999999999999999'",
            "number",
        ),
    ),
    "number beyond 32 bits": Row(
        nothing,
        (*FLAGS, "--config.batch_size=2147483648"),
        ("batch_size", "2147483648", "2147483647"),
    ),
    "rate that is not a number": Row(
        nothing, (*FLAGS, "--config.learning_rate=nan"), ("learning_rate", "nan", "0")
    ),
    "no such preset file": Row(
        nothing, (*FLAGS, "--config={tmp}/no.py:x"), ("{tmp}/no.py", "file")
    ),
    "preset file with a long name": Row(
        nothing, (*FLAGS, f"--config={LONG}:x"), (LONG, "file")
    ),
    "preset file that is a directory": Row(
        nothing, (*FLAGS, "--config={tmp}:x"), ("{tmp}", "file")
    ),
    "preset file with a slip": Row(
        put("c.py", "def get_config(name):\n    return (\n"),
        (*FLAGS, "--config={tmp}/c.py:x"),
        "{tmp}/c.py:2: SyntaxError: '(' was never closed",
    ),
    "preset file with a NUL": Row(
        put("c.py", b"x = 1\n\0\n"),
        (*FLAGS, "--config={tmp}/c.py:x"),
        ("{tmp}/c.py", "null bytes"),
    ),
    "preset file in UTF-16": Row(
        put("c.py", "x = 1\n".encode("utf-16")),
        (*FLAGS, "--config={tmp}/c.py:x"),
        ("{tmp}/c.py", "null bytes"),
    ),
    "preset file that breaks down": Row(
        put("c.py", "def get_config(name):\n    return int(name)\n"),
        (*FLAGS, "--config={tmp}/c.py:x"),
        ("{tmp}/c.py:2", "10", "'x'"),
    ),
    "preset file without its function": Row(
        put("c.py", ""),
        (*FLAGS, "--config={tmp}/c.py:x"),
        ("{tmp}/c.py", "get_config", "mtra.py"),
    ),
    "preset that is none": Row(
        put("c.py", "def get_config(name):\n    return [name]\n"),
        (*FLAGS, "--config={tmp}/c.py:x"),
        ("{tmp}/c.py", "get_config", "['x']"),
    ),
    "preset with a key too many": Row(
        put("c.py", ONE_MORE_KEY),
        (*FLAGS, "--config={tmp}/c.py:x"),
        ("{tmp}/c.py", "epoch", "epochs"),
    ),
    "sweep that is none": Row(
        put("c.py", "get_sweep = str\n"),
        ("sweep", "--config={tmp}/c.py:x", "--workdir={tmp}/run"),
        ("{tmp}/c.py", "get_sweep", "'x'"),
    ),
    "sweep with a row of two lines": Row(
        put("c.py", ROW_OF_TWO_LINES),
        ("sweep", "--config={tmp}/c.py:x", "--workdir={tmp}/run"),
        ("{tmp}/c.py", "name", "'e\\nw'", "line breaks", "characters"),
    ),
    "sweep into a file": Row(put("run", ""), SWEEP, ("{tmp}/run", "directory", "name")),
    "search of an unknown method": Row(
        nothing, (*SEARCH[:1], "mtraa", *SEARCH[2:]), ("method mtraa", "mtra")
    ),
    "search with an unknown preset": Row(
        nothing, (*SEARCH, "--preset=tiny"), ("preset 'tiny'", "tiny_synthetic")
    ),
    "search with more trials than points": Row(
        nothing, (*SEARCH, "--trials=99"), ("--trials 99", "ew", "6 points", "optuna")
    ),
    "file of a search with an unknown key": Row(
        put("f.toml", TUNED),
        (*SWEEP, "--found={tmp}/f.toml"),
        ("{tmp}/f.toml:7", "mtra.values", "method.bet", "method.beta"),
    ),
    "file of a search of another preset": Row(
        put("f.toml", TUNED.replace("bet", "beta")),
        (*EXPERIMENT, "--benchmark=tweeteval", "--found={tmp}/f.toml"),
        ("{tmp}/f.toml", "search.preset", "tiny_synthetic", "tiny_tweeteval"),
    ),
    "experiment that is unknown": Row(
        nothing,
        ("experiment", "mian", "--workdir={tmp}/run"),
        ("experiment mian", "main"),
    ),
    "scale that is unknown": Row(
        nothing, (*EXPERIMENT, "--scale=big"), ("--scale big", "paper", "small")
    ),
    "seeds that are no numbers": Row(
        nothing, (*EXPERIMENT, "--seeds=0,x"), ("--seeds 0,x", "0,1,2")
    ),
    "seed that is there twice": Row(
        nothing, (*EXPERIMENT, "--seeds=1,01"), ("--seeds 1,01", "different")
    ),
    "experiment whose rows set the key": Row(
        nothing,
        ("experiment", "pairs", *EXPERIMENT[2:], "--config.tasks=irony"),
        ("--config.tasks", "pairs"),
    ),
    "experiment without data": Row(
        nothing,
        (
            *("experiment", "main", "--scale=small", "--workdir={tmp}/run"),
            "--data_dir={tmp}/none",
        ),
        ("{tmp}/none", "no such"),
    ),
    "more devices than there are": Row(
        nothing, (*FLAGS, "--config.devices=9"), ("9", "1", "8", "0")
    ),
    "batch that the devices cannot share": Row(
        irony, (*TRAIN, "--config.batch_size=129"), ("batch_size", "129", "8")
    ),
    "heads that do not divide the width": Row(
        irony,
        (*TRAIN, "--config.backbone.num_attention_heads=3"),
        ("hidden_size", "128", "num_attention_heads", "3"),
    ),
    "vocabulary below the alphabet": Row(
        irony, (*TRAIN, "--config.backbone.vocab_size=5"), ("vocab_size", "19", "5")
    ),
    # data
    "no data directory": Row(
        nothing, FLAGS, ("{tmp}/none", "directory", "mtra-jax prepare")
    ),
    "empty file": Row(
        with_irony(TEXT, ""),
        TRAIN,
        (
            "{tmp}/tweeteval/datasets/irony/train_text.txt",
            "file",
            "empty",
            "example",
            "line",
        ),
    ),
    "only a byte-order mark": Row(
        with_irony(LABELS, "\ufeff"),
        TRAIN,
        (
            "{tmp}/tweeteval/datasets/irony/train_labels.txt",
            "file",
            "empty",
            "example",
            "line",
        ),
    ),
    "text in Latin-1": Row(
        with_irony(TEXT, "so good\nca\xe9\nah\n".encode("latin-1")),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_text.txt:2: byte 0xe9 is not UTF-8; expected UTF-8 text",
    ),
    "text in UTF-16": Row(
        with_irony(TEXT, "so\nso\nah\n".encode("utf-16")),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/train_text.txt:1", "0xff", "UTF-8"),
    ),
    "lone surrogate in a text": Row(
        with_irony(TEXT, b"so\nso\n\xed\xa0\x80\n"),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/train_text.txt:3", "0xed", "UTF-8"),
    ),
    "text cut off in a character": Row(
        with_irony(TEXT, "so\nso\n😭".encode()[:-1]),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/train_text.txt:3", "0xf0", "UTF-8"),
    ),
    "one label too few": Row(
        with_irony(LABELS, "0\n1\n"),
        TRAIN,
        (
            "{tmp}/tweeteval/datasets/irony/train_text.txt",
            "3",
            "{tmp}/tweeteval/datasets/irony/train_labels.txt",
            "2",
        ),
    ),
    "old Mac line ends": Row(
        with_irony(LABELS, "0\r1\r0\r"),
        TRAIN,
        (
            "{tmp}/tweeteval/datasets/irony/train_text.txt",
            "3",
            "{tmp}/tweeteval/datasets/irony/train_labels.txt",
            "1",
        ),
    ),
    "label out of range": Row(
        with_irony(LABELS, "0\n1\n2\n"),
        TRAIN,
        "{tmp}/tweeteval/datasets/irony/train_labels.txt:3: label '2' of IronyEval; expected an integer from 0 to 1",
    ),
    "label with a point": Row(
        with_irony(LABELS, "0\n1.0\n0\n"),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/train_labels.txt:2", "'1.0'", "0", "1"),
    ),
    "label of 10 MB": Row(
        with_irony(LABELS, b"0\n" + b"1" * TEN_MEGABYTES + b"\n0\n"),
        TRAIN,
        (
            "{tmp}/tweeteval/datasets/irony/train_labels.txt:2",
            "...11111111111111111111111111111111111111'",
            "0",
            "1",
        ),
    ),
    "label with a NUL": Row(
        with_irony(LABELS, "0\n1\0\n0\n"),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/train_labels.txt:2", "'1\\x00'", "0", "1"),
    ),
    "label in Arabic digits": Row(
        with_irony(LABELS, "٠\n١\n٠\n"),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/train_labels.txt:1", "'٠'", "0", "1"),
    ),
    "label behind a direction mark": Row(
        with_irony(LABELS, "0\n\u200f1\n0\n"),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/train_labels.txt:2", "'\\u200f1'", "0", "1"),
    ),
    "directory for a file": Row(
        folder(TEXT),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/train_text.txt", "directory"),
    ),
    "file for a directory": Row(
        put("tweeteval", "x"),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/train_text.txt", "directory"),
    ),
    "pipe for a file": Row(
        both(irony, pipe(TEXT)),
        TRAIN,
        ("{tmp}/tweeteval/datasets/irony/train_text.txt", "pipe", "file"),
    ),
    "two columns for three": Row(
        goemotions("a\t1\tid\nb\t2\n"),
        GOEMOTIONS,
        "{tmp}/affecteval/goemotions/dev.tsv:2: 2 columns; expected 3: text, label ids, comment id",
    ),
    "quote that never closes": Row(
        goemotions('a\t1\tid\n"b\t2\tid\n'),
        GOEMOTIONS,
        ("{tmp}/affecteval/goemotions/dev.tsv:2", "CSV"),
    ),
    "carriage return in a text": Row(
        goemotions("a\t1\tid\nb\rc\t2\tid\n"),
        GOEMOTIONS,
        ("{tmp}/affecteval/goemotions/dev.tsv:2", "CSV", "line"),
    ),
    "label ids with a blank": Row(
        goemotions("a\t1, 2\tid\nb\t1 2\tid\n"),
        GOEMOTIONS,
        ("{tmp}/affecteval/goemotions/dev.tsv:2", "'1 2'", "0", "27"),
    ),
    "empty line of a table": Row(
        goemotions("a\t1\tid\n\nb\t2\tid\n"),
        GOEMOTIONS,
        ("{tmp}/affecteval/goemotions/dev.tsv:2", "0", "3"),
    ),
    "only rows of two labels": Row(
        goemotions("a\t1,2\tid\n"),
        GOEMOTIONS,
        ("{tmp}/affecteval/goemotions/dev.tsv", "example"),
    ),
    "column that is missing": Row(
        emobank("id,split,V,A,text\n"),
        EMOBANK,
        (
            "{tmp}/affecteval/emobank/emobank.csv:1",
            "'D'",
            "['id', 'split', 'V', 'A', 'text']",
        ),
    ),
    "column that is there twice": Row(
        emobank(EMOBANK_ROWS.replace("id,", "V,")),
        EMOBANK,
        ("{tmp}/affecteval/emobank/emobank.csv:1", "'V'", "2"),
    ),
    "unknown split of the data": Row(
        emobank(EMOBANK_ROWS + "x,tset,1,2,3,t\n"),
        EMOBANK,
        ("{tmp}/affecteval/emobank/emobank.csv:6", "split", "'tset'"),
    ),
    "value that is not a number": Row(
        emobank(EMOBANK_ROWS + "x,test,1,nan,3,t\n"),
        EMOBANK,
        ("{tmp}/affecteval/emobank/emobank.csv:6", "'nan'", "finite", "number"),
    ),
    "value beyond 32 bits": Row(
        emobank(EMOBANK_ROWS + "x,test,1,2,1e39,t\n"),
        EMOBANK,
        ("{tmp}/affecteval/emobank/emobank.csv:6", "'1e39'", "finite", "number"),
    ),
    "decimal comma": Row(
        emobank(EMOBANK_ROWS + "x,test,1,2,3,5,t\n"),
        EMOBANK,
        ("{tmp}/affecteval/emobank/emobank.csv:6", "7", "6"),
    ),
    "value of 1 MB": Row(
        emobank(EMOBANK_ROWS + f"x,test,1,2,{'1' * 10**6}x,t\n"),
        EMOBANK,
        (
            "{tmp}/affecteval/emobank/emobank.csv:6",
            "...1111111111111111111111111111111111111x'",
            "finite",
            "number",
        ),
    ),
    "no header": Row(
        intensity("id\tso\tfear\t0.5\n"),
        EI_REG,
        (
            "{tmp}/affecteval/ei-reg/EI-reg/training/EI-reg-En-fear-train.txt:1",
            "'id\\tso\\tfear\\t0.5'",
            "['ID', 'Tweet', 'Affect Dimension', 'Intensity Score']",
        ),
    ),
    "only a header": Row(
        intensity("ID\tTweet\tAffect Dimension\tIntensity Score\n"),
        EI_REG,
        (
            "{tmp}/affecteval/ei-reg/EI-reg/training/EI-reg-En-fear-train.txt",
            "header",
            "examples",
        ),
    ),
    "tab in a text": Row(
        intensity(
            "ID\tTweet\tAffect Dimension\tIntensity Score\nid\ts\to\tfear\t0.5\n"
        ),
        EI_REG,
        (
            "{tmp}/affecteval/ei-reg/EI-reg/training/EI-reg-En-fear-train.txt:2",
            "5",
            "4",
        ),
    ),
    "label that is missing": Row(
        intensity("ID\tTweet\tAffect Dimension\tIntensity Score\nid\tso\tfear\tNONE\n"),
        EI_REG,
        (
            "{tmp}/affecteval/ei-reg/EI-reg/training/EI-reg-En-fear-train.txt:2",
            "'NONE'",
            "finite",
            "number",
        ),
    ),
    # predictions
    "no predictions": Row(
        irony, SCORE, ("{tmp}/irony.txt", "file", "directory", "3", "lines")
    ),
    "one prediction too few": Row(
        with_irony("irony.txt", "0\n1\n"),
        SCORE,
        "{tmp}/irony.txt:3: found 2 lines; expected 3, one a test example of irony",
    ),
    "prediction with a point": Row(
        with_irony("irony.txt", "0\r\n1.0\r\n0\r\n"),
        SCORE,
        ("{tmp}/irony.txt:2", "'1.0'", "0", "1"),
    ),
    "prediction with a NUL": Row(
        with_irony("irony.txt", b"0\n\0\n0\n"),
        SCORE,
        ("{tmp}/irony.txt:2", "'\\x00'", "0", "1"),
    ),
    "lone surrogate in a prediction": Row(
        with_irony("irony.txt", b"0\n\xed\xb0\x80\n0\n"),
        SCORE,
        ("{tmp}/irony.txt:2", "0xed", "UTF-8"),
    ),
    "pipe for predictions": Row(
        both(irony, pipe("irony.txt")),
        SCORE,
        ("{tmp}/irony.txt", "pipe", "file", "3", "lines"),
    ),
    "two values for three": Row(
        both(emobank(EMOBANK_ROWS), put("emobank.txt", "1\t2\t3\n1\t2\n")),
        SCORE_VALUES,
        ("{tmp}/emobank.txt:2", "2", "3"),
    ),
    "infinite value": Row(
        both(emobank(EMOBANK_ROWS), put("emobank.txt", "1\t2\t3\n1\tinf\t3\n")),
        SCORE_VALUES,
        ("{tmp}/emobank.txt:2", "'inf'", "finite", "number"),
    ),
    "value that overflows in squares": Row(
        both(emobank(EMOBANK_ROWS), put("emobank.txt", "1\t2\t3\n1\t1e300\t3\n")),
        SCORE_VALUES,
        ("{tmp}/emobank.txt:2", "'1e300'", "finite", "number"),
    ),
    "prediction of 1 MB": Row(
        both(
            emobank(EMOBANK_ROWS),
            put("emobank.txt", f"1\t2\t3\n1\t2\t{'1' * 10**6}x\n"),
        ),
        SCORE_VALUES,
        (
            "{tmp}/emobank.txt:2",
            "...1111111111111111111111111111111111111x'",
            "finite",
            "number",
        ),
    ),
    # runs
    "directory that holds no run": Row(
        nothing, PREDICT, ("{tmp}/config.json", "file", "run", "directory")
    ),
    "configuration that was cut off": Row(
        put("config.json", CUT_OFF),
        PREDICT,
        ("{tmp}/config.json", "line 1 column", CUT_END + 1),
    ),
    "configuration with a byte-order mark": Row(
        put("config.json", "\ufeff" + json.dumps(CONFIG)),
        PREDICT,
        ("{tmp}/config.json", "1", "0"),
    ),
    "configuration in Latin-1": Row(
        put("config.json", b'{"benchmark": "\xe9"}'),
        PREDICT,
        ("{tmp}/config.json", "'utf-8'", "0xe9", "15"),
    ),
    "configuration that is a list": Row(
        put("config.json", "[1, 2]"), PREDICT, ("{tmp}/config.json", "[1, 2]", "object")
    ),
    "configuration without a key": Row(
        run_with(epochs=...), PREDICT, ("{tmp}/config.json", "epochs", "number")
    ),
    "configuration with a slip in a key": Row(
        run_with(epoch=9), PREDICT, ("{tmp}/config.json", "epoch", "epochs")
    ),
    "text for a number": Row(
        run_with(epochs="9"),
        PREDICT,
        "{tmp}/config.json: epochs is '9'; expected a whole number",
    ),
    "true for a number": Row(
        run_with(seed=True), PREDICT, ("{tmp}/config.json", "seed", "True")
    ),
    "not a number for a rate": Row(
        run_with(warm_up=float("nan")), PREDICT, ("{tmp}/config.json", "warm_up", "nan")
    ),
    "number for a list of tasks": Row(
        run_with(tasks=3), PREDICT, ("{tmp}/config.json", "tasks", "3", "list")
    ),
    "list for a method": Row(
        run_with(method=["ew"]), PREDICT, ("{tmp}/config.json", "method", "['ew']")
    ),
    "unknown method": Row(
        run_with(method={"name": "we"}),
        PREDICT,
        ("{tmp}/config.json", "'we'", "imtl_l", "mt_vib", "hierarchical_mtl"),
    ),
    "text of 10 MB for a benchmark": Row(
        run_with(benchmark="a" * TEN_MEGABYTES),
        PREDICT,
        (
            "{tmp}/config.json",
            "benchmark",
            "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
        ),
    ),
    "NUL in a path": Row(
        run_with(data={**CONFIG["data"], "dir": "a\0b"}),
        PREDICT,
        ("{tmp}/config.json", "data.dir", "'a\\x00b'"),
    ),
    "lone surrogate in a path": Row(
        run_with(data={**CONFIG["data"], "dir": "\ud800"}),
        PREDICT,
        ("{tmp}/config.json", "data.dir", "'\\ud800'"),
    ),
    "run that has not begun": Row(
        run_with(), PREDICT, ("{tmp}/encoder/config.json", "file", "directory", "JSON")
    ),
    "run that has not finished": Row(
        run_with(), TABLE, ("{tmp}/results.json", "file", "run", "finished")
    ),
    "results that were cut off": Row(
        finished_with('{"validation": {"avg": 5'),
        TABLE,
        ("{tmp}/results.json", "','", "1", "25", "24"),
    ),
    "results that are a list": Row(
        finished_with("[]"), TABLE, ("{tmp}/results.json", "[]", "object", "remove")
    ),
    "results of one split only": Row(
        finished_with(json.dumps({"validation": {}})),
        TABLE,
        ("{tmp}/results.json", "'test'", "object"),
    ),
    "text for a figure": Row(
        finished_with(json.dumps(results(test={"irony": {"macro_f1": "50"}}))),
        TABLE,
        ("{tmp}/results.json", "'50'", "'test/irony/macro_f1'", "-100", "100"),
    ),
    "figure above 100": Row(
        finished_with(json.dumps(results(test={"avg": 123.4}))),
        TABLE,
        "{tmp}/results.json: damaged: figure 123.4 of 'test/avg'; expected a number from -100 to 100, or null",
    ),
    "line that was cut off": Row(
        put("results.jsonl", line() + line()[:30]),
        REPORT,
        ("{tmp}/results.jsonl:2", "JSON", "column", "27"),
    ),
    "empty line of results": Row(
        put("results.jsonl", line() + "\n" + line(seed=1)),
        REPORT,
        ("{tmp}/results.jsonl:2", "JSON", "column", "1", "value"),
    ),
    "no line of results": Row(
        put("results.jsonl", ""),
        REPORT,
        ("{tmp}/results.jsonl", "empty", "finished", "run"),
    ),
    "line that is a number": Row(
        put("results.jsonl", line() + "7\n"),
        REPORT,
        ("{tmp}/results.jsonl:2", "7", "'name'"),
    ),
    "line that is not UTF-8": Row(
        put("results.jsonl", line().encode() + b"\xff\n"),
        REPORT,
        "{tmp}/results.jsonl:2: byte 0xff is not UTF-8 text",
    ),
    "line nested 100,000 deep": Row(
        put("results.jsonl", "[" * 100_000), REPORT, ("{tmp}/results.jsonl:1", "nested")
    ),
    "seed in words": Row(
        put("results.jsonl", line(seed="one")),
        REPORT,
        ("{tmp}/results.jsonl:1", "'seed'", "'one'"),
    ),
    "name of two lines": Row(
        put("results.jsonl", line(name="e\nw")),
        REPORT,
        ("{tmp}/results.jsonl:1", "name", "'e\\nw'", "line breaks", "characters"),
    ),
    "lone surrogate in a name": Row(
        put("results.jsonl", line(name="\ud800")),
        REPORT,
        ("{tmp}/results.jsonl:1", "name", "'\\ud800'", "line breaks", "characters"),
    ),
    "figure of 400 digits": Row(
        put(
            "results.jsonl",
            line(results=results(test={"irony": {"macro_f1": 10**400}})),
        ),
        REPORT,
        (
            "{tmp}/results.jsonl:1",
            "100000000000000000...0000000000000000000",
            "'test/irony/macro_f1'",
            "-100",
            "100",
        ),
    ),
    "results of no task": Row(
        put("results.jsonl", line(results=results(test={"avg": 1.0}))),
        REPORT,
        ("{tmp}/results.jsonl:1", "results", "task"),
    ),
    "run that is there twice": Row(
        put("results.jsonl", line() * 2), REPORT, ("{tmp}/results.jsonl:2", "0", "1")
    ),
    # encoders and tokenizers
    "no such encoder": Row(irony, PRETRAINED, ("'{tmp}/bert'", "directory")),
    "encoder with the name of a file": Row(
        with_irony("bert", "x"),
        PRETRAINED,
        ("{tmp}/bert", "directory", "config.json", "file"),
    ),
    "home of nobody": Row(
        irony,
        (*TRAIN, "--config.backbone.path=~nobody-of-that-name/bert"),
        ("--config.backbone.path", "name", "user", "'nobody-of-that-name'"),
    ),
    "encoder without a configuration": Row(
        bert_without("config.json"),
        PRETRAINED,
        ("{tmp}/bert/config.json", "no such file", "directory", "BERT"),
    ),
    "another kind of encoder": Row(
        bert_config(model_type="gpt2"),
        PRETRAINED,
        ("{tmp}/bert/config.json", "model_type", "'gpt2'"),
    ),
    "decoder": Row(
        bert_config(is_decoder=True),
        PRETRAINED,
        ("{tmp}/bert/config.json", "is_decoder", "true"),
    ),
    "relative positions": Row(
        bert_config(position_embedding_type="relative_key"),
        PRETRAINED,
        (
            "{tmp}/bert/config.json",
            "position_embedding_type",
            "'relative_key'",
            "'absolute'",
        ),
    ),
    "text for a size": Row(
        bert_config(hidden_size="4"),
        PRETRAINED,
        ("{tmp}/bert/config.json", "hidden_size", "'4'"),
    ),
    "true for a size": Row(
        bert_config(vocab_size=True),
        PRETRAINED,
        ("{tmp}/bert/config.json", "vocab_size", "True"),
    ),
    "not a number for a constant": Row(
        bert_config(layer_norm_eps=float("nan")),
        PRETRAINED,
        ("{tmp}/bert/config.json", "layer_norm_eps", "nan", "0"),
    ),
    "constant below zero": Row(
        bert_config(layer_norm_eps=-1e-12),
        PRETRAINED,
        ("{tmp}/bert/config.json", "layer_norm_eps", "-1e-12", "0"),
    ),
    "size that the weights do not have": Row(
        bert_config(hidden_size=8),
        PRETRAINED,
        "{tmp}/bert: embeddings.word_embeddings.weight has shape (100, 4); config.json says (100, 8)",
    ),
    "text beyond the positions": Row(
        bert,
        (*PRETRAINED, "--config.data.max_length=65"),
        ("data.max_length", "65", "64"),
    ),
    "no weights": Row(
        bert_without("model.safetensors"),
        PRETRAINED,
        ("{tmp}/bert", "model.safetensors", "model.safetensors.index.json"),
    ),
    "pickled weights": Row(
        bert_without("model.safetensors", put("bert/pytorch_model.bin", "x")),
        PRETRAINED,
        "{tmp}/bert: only safetensors are read; found pickled weights, which PyTorch converts: from transformers import AutoModel; AutoModel.from_pretrained('{tmp}/bert').save_pretrained('{tmp}/bert')",
    ),
    "empty weights": Row(
        bert_with("model.safetensors", ""),
        PRETRAINED,
        ("{tmp}/bert/model.safetensors", "safetensors", "file"),
    ),
    "header longer than the file": Row(
        bert_with("model.safetensors", struct.pack("<Q", 10**15) + b"{}"),
        PRETRAINED,
        ("{tmp}/bert/model.safetensors", "safetensors", "file"),
    ),
    "weights that were cut off": Row(
        bert_with("model.safetensors", safetensors.numpy.save({"a": np.zeros(9)})[:-1]),
        PRETRAINED,
        ("{tmp}/bert/model.safetensors", "safetensors", "file"),
    ),
    "weights of something else": Row(
        bert_with("model.safetensors", safetensors.numpy.save({"a": np.zeros(9)})),
        PRETRAINED,
        ("{tmp}/bert", "encoder", "embeddings.word_embeddings.weight"),
    ),
    "shard outside the directory": Row(
        shards_of({"a": "../model.safetensors"}),
        PRETRAINED,
        ("{tmp}/bert/model.safetensors.index.json", "file", "'../model.safetensors'"),
    ),
    "shard that is missing": Row(
        shards_of({"a": "model-1.safetensors"}),
        PRETRAINED,
        (
            "{tmp}/bert/model-1.safetensors",
            "safetensors",
            "file",
            "directory",
            "{tmp}/bert/model-1.safetensors",
        ),
    ),
    "no tokenizer": Row(
        bert_without("tokenizer.json"),
        PRETRAINED,
        ("{tmp}/bert", "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt"),
    ),
    "tokenizer that was cut off": Row(
        bert_with("tokenizer.json", '{"version": "1.0"'),
        PRETRAINED,
        ("{tmp}/bert/tokenizer.json", "tokenizer"),
    ),
    "tokenizer that is not UTF-8": Row(
        bert_with("tokenizer.json", b"\xff{}"),
        PRETRAINED,
        ("{tmp}/bert/tokenizer.json", "tokenizer"),
    ),
    "tokenizer without special tokens": Row(
        tokenizer_with(without_template),
        PRETRAINED,
        ("{tmp}/bert", "tokenizer", "[CLS]"),
    ),
    "tokenizer with an undefined token": Row(
        tokenizer_with(with_other_template),
        PRETRAINED,
        ("{tmp}/bert", "'[BOS]'", "special_tokens"),
    ),
    "tokenizer with ids out of range": Row(
        tokenizer_with(with_long_id),
        PRETRAINED,
        "{tmp}/bert: token 'so' of the tokenizer has the id 1000000; the encoder has rows for 100 tokens",
    ),
    "special token out of range": Row(
        tokenizer_with(with_long_template), PRETRAINED, ("{tmp}/bert", "100")
    ),
    "tokenizer without an unknown token": Row(
        tokenizer_with(with_unknown_unknown),
        PRETRAINED,
        ("{tmp}/bert", "tokenizer", "[UNK]", "vocabulary"),
    ),
    "tokenizer larger than the encoder": Row(
        bert_of(dataclasses.replace(SMALL, vocab_size=5)),
        PRETRAINED,
        ("{tmp}/bert", "'good'", "16", "5"),
    ),
    # runs that begin
    "damaged configuration in the work directory": Row(
        put("run/config.json", "{"), FLAGS, ("{tmp}/run/config.json", "1", "2")
    ),
    "another run in the work directory": Row(
        put("run/config.json", json.dumps(CONFIG)),
        FLAGS,
        (
            "{tmp}/run/config.json",
            "benchmark",
            "'synthetic'",
            "'tweeteval'",
            "--workdir",
        ),
    ),
    "damaged results of a sweep": Row(
        put("run/results.jsonl", "{}"), SWEEP, ("{tmp}/run/results.jsonl:1", "'name'")
    ),
    "configuration nested 100,000 deep": Row(
        put("config.json", "[" * 100_000), PREDICT, ("{tmp}/config.json",)
    ),
    "results nested 100,000 deep": Row(
        finished_with("[" * 100_000), TABLE, ("{tmp}/results.json",)
    ),
    "run itself without its epochs": Row(
        itself(results(epochs=None)),
        ITSELF,
        ("{tmp}/run/results.json", "'epochs'", "None"),
    ),
    "run itself with the epochs of another task": Row(
        itself(results(best_epoch={"irony": 1}, epochs={"stance": 2})),
        ITSELF,
        ("{tmp}/run/results.json", "'epochs'", "['stance']", "['irony']"),
    ),
    "run itself without a majority": Row(
        itself({**results(), "majority": None}),
        ITSELF,
        ("{tmp}/run/results.json", "'majority'", "None"),
    ),
    "run itself that took a text": Row(
        itself(results(train_seconds="1.5")),
        ITSELF,
        ("{tmp}/run/results.json", "'train_seconds'", "'1.5'"),
    ),
    "no steps to time": Row(nothing, (*BENCHMARK, "--steps=0"), ("--steps", "0", "1")),
    "devices that are none": Row(
        nothing, (*BENCHMARK, "--devices=1,two"), ("--devices", "'1,two'", "list")
    ),
    "more tasks than a batch has texts": Row(
        nothing, (*BENCHMARK, "--tasks=2,256"), ("--tasks", "256", "128")
    ),
    "unknown method to time": Row(
        nothing, (*BENCHMARK, "--method=ew,mtr"), ("'mtr'", "mtra")
    ),
    "row that the sweep has not": Row(
        nothing, (*SWEEP, "--only=mtr"), ("--only", "mtra")
    ),
    "batch that does not part": Row(
        nothing,
        (*ITSELF, "--config.micro_batches=5"),
        ("batch_size", "128", "40", "micro_batches"),
    ),
    "damaged results of the run itself": Row(
        both(put("run/config.json", json.dumps(CONFIG)), put("run/results.json", "[]")),
        ("train", f"{PRESET}synthetic", "--workdir={tmp}/run"),
        ("{tmp}/run/results.json", "[]", "object", "remove"),
    ),
    "cache below a file": Row(
        both(bert, put("x", "")),
        (
            *PRETRAINED,
            "--config.data.max_length=64",
            "--config.data.cache_dir={tmp}/x/y",
        ),
        ("{tmp}/x/y", "cache", "directory"),
    ),
    "empty vocabulary": Row(
        bert_without("tokenizer.json", put("bert/vocab.txt", "")),
        PRETRAINED,
        ("{tmp}/bert/vocab.txt", "vocabulary", "file", "empty"),
    ),
    "vocabulary in Latin-1": Row(
        bert_without("tokenizer.json", put("bert/vocab.txt", b"caf\xe9\n")),
        PRETRAINED,
        ("{tmp}/bert/vocab.txt", "'utf-8'", "0xe9", "3"),
    ),
}


# ---- the runner


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    def fit(*arguments):
        raise AssertionError("a training began")

    monkeypatch.setattr(loop, "fit", fit)


def main_of(name: str) -> Callable:
    return verbs.VERBS[name].module.main


def answer(monkeypatch, capsys, root: Path, command: tuple[str, ...]) -> str:
    """Returns standard error of a command that must write nothing else."""
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
def test_bad_input_ends_with_one_line_and_code_2(
    write, command, message, tmp_path, monkeypatch, capsys
):
    write(tmp_path)
    errors = answer(monkeypatch, capsys, tmp_path, command)
    assert errors.startswith("error: ")
    if isinstance(message, str):
        assert errors == f"error: {filled(message, tmp_path)}\n"
    else:
        parts = [filled(str(part), tmp_path) for part in message]
        assert_mentions(errors, *parts)


# ---- texts


@pytest.fixture
def outputs_of_lengths(monkeypatch):
    """In place of a model: polarity 0, 1 or 2 by the length of the text, modulo 3."""

    class Predictor:
        tasks = SYNTHETIC.tasks[:1]

        def tasks_for(self, *, has_pairs):
            return self.tasks

        def __call__(self, texts):
            return {"polarity": np.eye(3)[[len(text) % 3 for text in texts]]}

    monkeypatch.setattr(loading, "load_predictor", lambda *_: Predictor())


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
def test_invalid_utf8_is_reported_with_its_line(
    write, message, tmp_path, monkeypatch, capsys
):
    write(tmp_path)
    colon = ":" if message[0].isdigit() else ": "
    expected = f"{colon}{message}\n"
    actual = answer(monkeypatch, capsys, tmp_path, LABEL_FILE)
    assert actual == f"error: {tmp_path}/texts{expected}"
    if not message[0].isdigit():
        return
    content = (tmp_path / "texts").read_bytes()
    stdin = types.SimpleNamespace(buffer=io.BytesIO(content))
    monkeypatch.setattr("sys.stdin", stdin)
    actual = answer(monkeypatch, capsys, tmp_path, LABEL)
    assert actual == f"error: standard input{expected}"


@pytest.mark.usefixtures("outputs_of_lengths")
def test_texts_before_an_invalid_line_are_labelled(tmp_path, monkeypatch, capsys):
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
    assert labels == ["neutral"] * (64 + 4 * 1024)
    assert errors == f"error: standard input:5001: byte 0xff {NOT_UTF8}\n"
