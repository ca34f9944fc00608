"""Untrusted files run no code, and nothing is sent over the network unasked.

The scripts run in one process, one after another. An audit hook, loaded before
anything else, closes the network to it and records what is tried: sockets, the classes
that a pickle asks for, and files that are written elsewhere than in the work directory,
the cache and the directory for temporary files.
"""

import ast
import io
import json
import os
import pickle
import shutil
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import parsed
import pytest
import xla_flags

from mtra_jax import config as configs
from mtra_jax.data.built_in import fetch, sources
from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError
from mtra_jax.models import encoder, pretrained
from mtra_jax.runs.directory import best_model, layout
from mtra_jax.runs.trials import run_specs
from mtra_jax.tasks import AFFECTEVAL, TWEETEVAL

ROOT = Path(__file__).resolve().parents[1]

# ---- runs without a network

# AF_UNIX stays open: the event loops of Orbax wake themselves by a `socketpair`. The
# two classes are what tensorboardX sends between its threads.
GUARD = """
import os, sys

AF_UNIX = 1
NETWORK = {
    "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr",
    "socket.gethostbyname", "socket.getnameinfo", "socket.sendmsg", "socket.sendto",
}
OWN_CLASSES = {("tensorboardX.proto.event_pb2", "Event"), ("builtins", "object")}
WRITES = {"os.mkdir": 0, "os.rename": 1, "os.symlink": 1, "os.link": 1}
ALLOWED = os.environ["GUARD_ALLOWED"].split(os.pathsep)
record = os.open(os.environ["GUARD_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(text):
    os.write(record, (text.replace("\\n", " ") + "\\n").encode())

def shown(arguments):
    return ascii([a for a in arguments if isinstance(a, (str, int, tuple))])

def note_write(path):
    if isinstance(path, int):
        return
    path = os.path.abspath(os.fsdecode(path))
    if path != os.devnull and not any(path.startswith(root) for root in ALLOWED):
        note("write " + path)

def watch(event, arguments):
    if event in NETWORK or (
        event == "socket.__new__" and arguments[1] not in (AF_UNIX, -1)
    ):
        note(event + " " + shown(arguments))
        raise OSError("the network is closed")
    if event == "pickle.find_class" and arguments not in OWN_CLASSES:
        note("pickle " + ".".join(arguments))
    elif event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        note_write(arguments[0])
    elif event in WRITES:
        note_write(arguments[WRITES[event]])

note("on")
sys.addaudithook(watch)
"""
# Importing JAX costs more than most of the scripts. After each it notes what has come to
# lie in the home directory.
DRIVER = """
import contextlib, json, os, runpy, sys

for name, (script, *flags) in json.loads(sys.argv[1]).items():
    sys.argv = [script, *flags]
    code = 0
    with (
        open(f"{name}.stdout", "w") as out, contextlib.redirect_stdout(out),
        open(f"{name}.stderr", "w") as err, contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            code = stop.code
    lines = open(os.environ["GUARD_RECORD"]).read().splitlines()
    with open(f"{name}.json", "w") as file:
        json.dump([code, lines, os.listdir(os.environ["HOME"])], file)
"""
# What would point elsewhere, or keep a library from trying.
NOT_PASSED_ON = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "XDG_", "JAX_COMPILATION_")


def guarded(root: Path, *command: str) -> tuple[str, list[str]]:
    """Runs Python in `root / "out"`, where alone it may write.

    Returns what it printed as an error, and what the guard recorded.
    """
    for folder in ("guard", "home", "out/tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "guard" / "sitecustomize.py").write_text(GUARD)
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(NOT_PASSED_ON) and not key.lower().endswith("_proxy")
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=root / "out",
        env={
            **environment,
            "GUARD_ALLOWED": f"{root / 'out'}{os.sep}",
            "GUARD_RECORD": str(root / "record"),
            "HOME": str(root / "home"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join([str(root / "guard"), str(ROOT)]),
            "TMPDIR": str(root / "out" / "tmp"),
            "XLA_FLAGS": xla_flags.QUICK,
        },
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr, (root / "record").read_text().splitlines()


ATTEMPTS = """
import _socket, os, pickle, socket, urllib.request
socket.socketpair()
for attempt in (
    lambda: socket.create_connection(("127.0.0.1", 9)),
    lambda: socket.getaddrinfo("localhost", 80),
    lambda: socket.socket(),
    lambda: _socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
    lambda: urllib.request.urlopen("http://127.0.0.1:9"),
):
    try:
        attempt()
    except OSError as error:
        assert "the network is closed" in str(error), error
    else:
        raise SystemExit("the network is open")
pickle.loads(pickle.dumps(os.getpid))
open(os.environ["HOME"] + "/file", "w").close()
os.mkdir(os.environ["HOME"] + "/folder")
open(os.environ["TMPDIR"] + "/file", "w").close()
"""


@pytest.mark.processes
def test_the_guard_sees_and_stops_what_it_is_for(tmp_path):
    _, record = guarded(tmp_path, "-c", ATTEMPTS)
    home = tmp_path / "home"
    assert [line.partition(" ")[0] for line in record[:-3]] == [
        "on",
        *("socket.getaddrinfo", "socket.getaddrinfo"),
        *("socket.__new__", "socket.__new__"),
        "socket.getaddrinfo",
    ]
    assert "'localhost', 80" in record[2]
    assert record[-3:] == [
        f"pickle {os.getpid.__module__}.getpid",
        f"write {home / 'file'}",
        f"write {home / 'folder'}",
    ]
    assert len(list(home.iterdir())) == 2


class Done(NamedTuple):
    """The output and files of a script; `record` is the guard's up to its end."""

    code: int
    out: str
    err: str
    record: list[str]
    home: list[str]


def assert_closed(done: Done) -> None:
    assert done.code == 0, done.err[-3000:]
    assert done.record == ["on"]
    assert done.home == []


TINY = "configs/mtra.py:new_synthetic"
SMALL = (
    "--config.tasks=irony,intensity",
    "--config.epochs=1",
    "--config.backbone.hidden_size=32",
    "--config.backbone.intermediate_size=64",
    "--config.backbone.num_hidden_layers=1",
    "--config.data.fraction=0.1",
    "--config.data.max_shapes=1",
)


PREDICT = ["predict.py", "--workdir=run", "--task=irony", "--input=texts"]


def commands(root: Path) -> dict[str, list[str]]:
    """Training, scoring, predicting; a local checkpoint; last what must be refused."""

    def train(preset: str, workdir: str, *flags: str) -> list[str]:
        config, cache = f"--config={ROOT / preset}", "--config.data.cache_dir=cache"
        return ["train.py", config, f"--workdir={workdir}", cache, *flags]

    return {
        "train": train(TINY, "run", *SMALL),
        "evaluate": ["evaluate.py", "--workdir=run", "--cache_dir=cache"],
        "predict": [*PREDICT, "--cache_dir=cache"],
        "checkpoint": train(
            "configs/baselines.py:ew_minilm_tweeteval",
            "pretrained",
            f"--config.backbone.path={root / 'checkpoint'}",
            f"--config.data.dir={root / 'data'}",
            "--config.tasks=irony",
            "--config.epochs=1",
            "--config.batch_size=8",
            "--config.data.max_length=16",
            "--config.data.max_shapes=1",
        ),
        "hub": train(TINY, "none", *SMALL, "--config.backbone.path=nobody/no-model"),
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("closed")


@pytest.fixture(scope="module")
def done(root):
    """The scripts by their names in `commands`."""
    write_checkpoint(root / "checkpoint", root / "ran")
    write_tweets(root / "data")
    out = root / "out"
    out.mkdir()
    (out / "texts").write_text("so good\n")
    return run_all(root, commands(root))


def run_all(root: Path, asked: dict[str, list[str]]) -> dict[str, Done]:
    paths = {
        name: [str(ROOT / "scripts" / script), *flags]
        for name, (script, *flags) in asked.items()
    }
    guarded(root, "-c", DRIVER, json.dumps(paths))
    out, result = root / "out", {}
    for name in asked:
        code, record, home = json.loads((out / f"{name}.json").read_text())
        printed = [
            (out / f"{name}.{kind}").read_text() for kind in ("stdout", "stderr")
        ]
        result[name] = Done(code, *printed, record, home)
    return result


@pytest.mark.processes
def test_a_run_neither_opens_sockets_nor_unpickles_nor_writes_elsewhere(root, done):
    assert_closed(done["train"])
    workdir = root / "out" / "run"
    assert json.loads((workdir / "results.json").read_text())["epochs"] == 1
    assert list((workdir / "checkpoints").iterdir())
    assert list((workdir / "tensorboard").iterdir())
    assert list((root / "out" / "cache").glob("*.npy"))


@pytest.mark.processes
def test_scoring_and_predicting_do_neither(root, done):
    assert_closed(done["evaluate"])
    results = json.loads((root / "out" / "run" / "results.json").read_text())
    assert json.loads(done["evaluate"].out) == results["test"]
    assert_closed(done["predict"])
    assert json.loads(done["predict"].out)["label"] in ("sincere", "ironic")


TEXTS = [f"what a {word} day again" for word in ("fine", "grim", "long", "dull")]


def write_tweets(root: Path) -> None:
    folder = root / "tweeteval" / "datasets" / "irony"
    folder.mkdir(parents=True)
    for part in ("train", "val", "test"):
        (folder / f"{part}_text.txt").write_text("\n".join(TEXTS * 2) + "\n")
        (folder / f"{part}_labels.txt").write_text("0\n1\n" * 4)


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def write_checkpoint(directory: Path, marker: Path) -> None:
    """A BERT with its vocabulary, and code and pickles that ask to be loaded."""
    learned = tokens.train_tokenizer(TEXTS, 60).get_vocab()
    sizes = encoder.EncoderConfig(
        vocab_size=len(learned),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=32,
    )
    params = pretrained.init_encoder(sizes, jax.random.key(0))
    pretrained.save_encoder(directory, sizes, params)
    vocabulary = sorted(learned, key=learned.__getitem__)
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    for name in (
        "modeling_trap",
        "tokenization_trap",
        "configuration_trap",
        "__init__",
    ):
        (directory / f"{name}.py").write_text(code)
    config = json.loads((directory / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_trap.Trap",
        "AutoModel": "modeling_trap.Trap",
        "AutoTokenizer": ["tokenization_trap.Trap", "tokenization_trap.Trap"],
    }
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": config["auto_map"], "trust_remote_code": True})
    )
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(marker)))


@pytest.mark.processes
def test_a_local_checkpoint_and_local_files_need_no_network_and_run_no_code(root, done):
    """Without `tokenizer.json`, so that `transformers` reads the vocabulary."""
    assert_closed(done["checkpoint"])
    assert not (root / "ran").exists()
    results = json.loads((root / "out" / "pretrained" / "results.json").read_text())
    assert results["examples"]["irony"] == dict.fromkeys(sources.SPLITS, 8)


@pytest.mark.processes
def test_a_hub_name_of_the_user_goes_to_the_hub_and_to_no_other(root, done):
    """So the guard would have seen it in the scripts before."""
    asked = done["hub"]
    assert asked.code == 2
    assert asked.err.startswith("error: nobody/no-model: no such directory, and not")
    assert "the network is closed" in asked.err
    assert asked.err.count("\n") == 1
    attempts = [line for line in asked.record if line.startswith("socket.")]
    assert attempts
    assert all("'huggingface.co'" in line for line in attempts)
    assert not any(line.startswith("pickle") for line in asked.record)
    assert not (root / "out" / "none").exists()


@pytest.mark.processes
def test_the_run_of_another_chooses_neither_cache_nor_network(root, done, tmp_path):
    results = json.loads((root / "out" / "run" / "results.json").read_text())
    out, home = tmp_path / "out", tmp_path / "home"
    shutil.copytree(root / "out" / "run", out / "run")
    (out / "texts").write_text("so good\n")
    file = out / "run" / "config.json"
    values = json.loads(file.read_text())
    values["data"] |= {"dir": "hub", "cache_dir": str(tmp_path / "theirs")}
    values["backbone"]["path"] = "nobody/no-model"
    file.write_text(json.dumps(values))
    scored = ["evaluate.py", "--workdir=run", "--data_dir=none"]
    result = run_all(
        tmp_path,
        {
            "hub": ["evaluate.py", "--workdir=run"],
            "chosen": [*scored, "--cache_dir=own"],
            "predict": [*PREDICT, "--cache_dir=own"],
            "default": scored,
        },
    )
    assert (result["hub"].code, result["hub"].err) == (
        2,
        "error: run/config.json: data.dir is 'hub' there; expected --data_dir hub, to go "
        "online, or --data_dir DIR\n",
    )
    for name in ("chosen", "predict"):
        assert_closed(result[name])
    assert json.loads(result["chosen"].out) == results["test"]
    assert list((out / "own").glob("*.npy"))
    assert result["default"].code == 0
    own = home / ".cache" / "mtra_jax"
    assert all(
        line == "on" or f"{line}/".startswith((f"write {own}/", f"write {own.parent}/"))
        for line in result["default"].record
    )
    assert list(own.glob("*.npy"))
    assert not (tmp_path / "theirs").exists()


# ---- what the sources may call


class Module(NamedTuple):
    """A file, its path from the root of the repository."""

    path: str
    text: str

    @property
    def nodes(self) -> list[ast.AST]:
        return parsed.nodes(self.text)


Rule = Callable[[Module], Iterator[tuple[int, str]]]

# All of these can run what they read; the last ones listen.
NEVER_IMPORTED = {
    *("_pickle", "cloudpickle", "dill", "jsonpickle", "joblib", "marshal", "pickle"),
    *("shelve", "torch", "yaml", "code", "codeop", "runpy"),
    *("http.server", "socketserver", "wsgiref", "xmlrpc", "flask", "aiohttp"),
}
# PyTorch's step is timed beside ours; what it can read are pickles, so it reads nothing.
TORCH_IN = {
    "mtra_jax/prompting/local.py",  # an extra, for language models
    "scripts/benchmarking/prediction_speed.py",
    "scripts/benchmarking/torch_speed.py",
    "scripts/benchmarking/torchjd_step.py",
    "scripts/benchmarking/torch_step.py",
}
# Who may go over the network, and only if the user names an address or a hub.
NETWORK_IN = {
    "urllib.request": {
        "mtra_jax/data/built_in/fetch.py",
        "mtra_jax/prompting/endpoint.py",
    },
    "http.client": {
        "mtra_jax/data/built_in/fetch.py",
        "mtra_jax/prompting/endpoint.py",
    },
    "datasets": {"mtra_jax/data/built_in/hub.py"},
    "huggingface_hub": {
        "mtra_jax/exports/publishing.py",
        "mtra_jax/models/pretrained.py",
    },
    "transformers": {"mtra_jax/data/tokenizing/auto_tokenizers.py", *TORCH_IN},
    **dict.fromkeys(
        ("asyncio", "ftplib", "httpx", "requests", "smtplib", "urllib3"), frozenset()
    ),
    # The address of process 0, which the user names.
    "socket": {"mtra_jax/runs/processes/joining.py"},
}
# A file of the user's own, named with --config, is a program by design.
RUNS_A_FILE = {"mtra_jax/config_files.py"}
# Reads what is left in work directories and caches, by whoever shares them.
ANY_ATTRIBUTE = {
    *("exec_module", "load_module", "run_module", "run_path", "read_pickle"),
    *("extractall", "unpack_archive", "popen", "system", "getoutput"),
    *("getstatusoutput", "serve_forever"),
}
BUILTINS = {"eval", "exec", "compile", "__import__"}
MUST_BE_FALSE = {"trust_remote_code", "allow_pickle", "shell"}


def imports(module: Module) -> Iterator[tuple[int, str]]:
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def is_of(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def calls(module: Module) -> Iterator[ast.Call]:
    for node in module.nodes:
        if isinstance(node, ast.Call):
            yield node


def has_false(call: ast.Call, name: str) -> bool:
    return any(
        keyword.arg == name
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is False
        for keyword in call.keywords
    )


def nothing_that_runs_what_it_reads_is_imported(module):
    for line, name in imports(module):
        allowed = name == "torch" and module.path in TORCH_IN
        if any(is_of(name, package) for package in NEVER_IMPORTED) and not allowed:
            yield line, f"imports {name}"
    for node in module.nodes:
        if isinstance(node, ast.Attribute):
            used = ast.unparse(node)
            if any(is_of(used, package) for package in ("torch.load", "torch.hub")):
                yield node.lineno, f"uses {used}"


def the_network_is_known_to_few(module):
    for line, name in imports(module):
        for package, places in NETWORK_IN.items():
            if is_of(name, package) and module.path not in places:
                yield line, f"imports {name}"


def no_text_becomes_a_program(module):
    for node in module.nodes:
        if isinstance(node, ast.Name) and node.id in (BUILTINS | {"builtins"}):
            yield node.lineno, f"uses {node.id}"
        elif isinstance(node, ast.Attribute) and node.attr in ANY_ATTRIBUTE:
            by_design = node.attr == "exec_module" and module.path in RUNS_A_FILE
            if not by_design:
                yield node.lineno, f"uses {ast.unparse(node)}"


def what_must_be_off_is_off(module):
    for node in module.nodes:
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg in MUST_BE_FALSE and not has_false(node, keyword.arg):
                    yield node.lineno, ast.unparse(keyword)
        elif isinstance(node, ast.Constant) and node.value in MUST_BE_FALSE:
            yield node.lineno, f"{node.value!r} as a text"


def numpy_reads_no_pickles(module):
    for line, name in imports(module):
        if name in ("numpy.load", "numpy.fromfile"):
            yield line, f"imports {name}"
    for call in calls(module):
        result = ast.unparse(call.func)
        if result in ("np.load", "numpy.load") and not has_false(call, "allow_pickle"):
            yield call.lineno, f"{result} without allow_pickle=False"


def tokenizers_come_without_code(module):
    for call in calls(module):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "from_pretrained":
            local = any(
                keyword.arg == "local_files_only"
                and isinstance(keyword.value, ast.Constant)
                and keyword.value.value is True
                for keyword in call.keywords
            )
            if not (local and has_false(call, "trust_remote_code")):
                yield call.lineno, ast.unparse(call)


RULES = (
    nothing_that_runs_what_it_reads_is_imported,
    the_network_is_known_to_few,
    no_text_becomes_a_program,
    what_must_be_off_is_off,
    numpy_reads_no_pickles,
    tokenizers_come_without_code,
)


@pytest.fixture(scope="module")
def modules():
    result = [
        Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for folder in ("mtra_jax", "scripts", "configs")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    assert {path for places in NETWORK_IN.values() for path in places} <= {
        module.path for module in result
    }
    return result


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_all_sources_keep_the_rule(rule, modules):
    broken = [
        f"{module.path}:{line}: {message}"
        for module in modules
        for line, message in rule(module)
    ]
    assert not broken, "\n" + "\n".join(broken)


def test_only_the_users_own_files_are_run(modules):
    result = {
        module.path
        for module in modules
        for node in module.nodes
        if isinstance(node, ast.Attribute) and node.attr == "exec_module"
    }
    assert result == RUNS_A_FILE


BREACHES = [
    (nothing_that_runs_what_it_reads_is_imported, "import pickle"),
    (nothing_that_runs_what_it_reads_is_imported, "def f():\n    import torch.nn"),
    (nothing_that_runs_what_it_reads_is_imported, "from torch import load"),
    (nothing_that_runs_what_it_reads_is_imported, "found = torch.load(path)"),
    (nothing_that_runs_what_it_reads_is_imported, "torch.hub.load(name)"),
    (nothing_that_runs_what_it_reads_is_imported, "from yaml import load"),
    (nothing_that_runs_what_it_reads_is_imported, "from http.server import HTTPServer"),
    (nothing_that_runs_what_it_reads_is_imported, "from http import server"),
    (the_network_is_known_to_few, "import urllib.request"),
    (the_network_is_known_to_few, "from urllib import request"),
    (the_network_is_known_to_few, "def f():\n    import socket"),
    (the_network_is_known_to_few, "from datasets import load_dataset"),
    (no_text_becomes_a_program, "x = eval('1')"),
    (no_text_becomes_a_program, "run = exec"),
    (no_text_becomes_a_program, "import builtins\nbuiltins.eval('1')"),
    (no_text_becomes_a_program, "m = __import__('os')"),
    (no_text_becomes_a_program, "spec.loader.exec_module(module)"),
    (no_text_becomes_a_program, "zipped.extractall(path)"),
    (no_text_becomes_a_program, "import os\nos.system('ls')"),
    (what_must_be_off_is_off, "subprocess.run('ls', shell=True)"),
    (what_must_be_off_is_off, "subprocess.run('ls', shell=is_shell)"),
    (what_must_be_off_is_off, "load(name, trust_remote_code=True)"),
    (what_must_be_off_is_off, "load(name, **{'trust_remote_code': True})"),
    (what_must_be_off_is_off, "np.load(path, allow_pickle=True)"),
    (numpy_reads_no_pickles, "np.load(path)"),
    (numpy_reads_no_pickles, "numpy.load(path, allow_pickle=flag)"),
    (numpy_reads_no_pickles, "from numpy import load"),
    (tokenizers_come_without_code, "AutoTokenizer.from_pretrained(name)"),
    (
        tokenizers_come_without_code,
        "AutoTokenizer.from_pretrained(name, trust_remote_code=False)",
    ),
    (
        tokenizers_come_without_code,
        "AutoTokenizer.from_pretrained(name, local_files_only=True)",
    ),
]


@pytest.mark.parametrize(
    ("rule", "text"), BREACHES, ids=[f"{r.__name__}: {t}" for r, t in BREACHES]
)
def test_breach_is_seen(rule, text):
    assert list(rule(Module("mtra_jax/data/a.py", text)))


def test_what_keeps_the_rules_is_let_through():
    text = (
        "import json, re, urllib.parse, http\nimport numpy as np\n"
        "pattern = re.compile('a')\nmodel.eval()\n"
        "x = np.load(path, mmap_mode='r', allow_pickle=False)\n"
        "subprocess.run(['ls'], shell=False)\n"
    )
    module = Module("mtra_jax/data/a.py", text)
    assert not [result for rule in RULES for result in rule(module)]


# ---- the cache of tokens


def npy(header: str, data: bytes = bytes(64), version: int = 1) -> bytes:
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + data


def npy_of(shape: str, descr: str = "<i4") -> bytes:
    return npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n")


def saved(function: Callable, value: object, **options) -> bytes:
    stream = io.BytesIO()
    function(stream, value, **options)
    return stream.getvalue()


def planted(marker: Path) -> dict[str, bytes]:
    objects = np.array([Trap(marker)], dtype=object)
    return {
        "objects": saved(np.save, objects, allow_pickle=True),
        "objects in an archive": saved(np.savez, objects, allow_pickle=True),
        "a bare pickle": pickle.dumps(Trap(marker)),
        "an archive of numbers": saved(np.savez, np.arange(3)),
        "no archive": b"PK\x03\x04" + bytes(100),
        "beyond the file": npy_of("(1099511627776,)"),
        "beyond 64 bits": npy_of(f"({10**40},)"),
        "product beyond 64 bits": npy_of("(4611686018427387904, 8)"),
        "negative": npy_of("(-1,)"),
        "truth as a size": npy_of("(True,)"),
        "a type of objects": npy_of("(1,)", "|O"),
        "open brackets": npy("(" * 5000),
        "nested signs": npy("-" * 5000 + "1"),
        "open quotes": npy("{'descr': '''<i4"),
        "a call": npy("__import__('os').getpid()\n", version=2),
        "nothing": b"",
    }


@pytest.mark.filterwarnings("ignore:overflow encountered")  # NumPy, of the shape
@pytest.mark.parametrize("name", list(planted(Path())))
@pytest.mark.parametrize("part", ["ids", "offsets"])
def test_a_planted_cache_file_is_rebuilt_and_not_unpickled(tmp_path, name, part):
    tokenizer = tokens.train_tokenizer(TEXTS, 60)
    expected = tokens.cached_encode(tmp_path, tokenizer, TEXTS, 16)
    (file,) = tmp_path.glob(f"*.{part}.npy")
    good, marker = file.read_bytes(), tmp_path / "ran"
    file.write_bytes(planted(marker)[name])
    actual = tokens.cached_encode(tmp_path, tokenizer, TEXTS, 16)
    np.testing.assert_array_equal(actual.ids, expected.ids)
    np.testing.assert_array_equal(actual.offsets, expected.offsets)
    assert not marker.exists()
    assert file.read_bytes() == good


def test_the_planted_pickles_would_have_run(tmp_path):
    marker = tmp_path / "ran"
    for name, read in {
        "objects": lambda data: np.load(io.BytesIO(data), allow_pickle=True),
        "a bare pickle": pickle.loads,
    }.items():
        read(planted(marker)[name])
        assert marker.exists(), name
        marker.unlink()


# ---- archives

IRONY = TWEETEVAL.select(["irony"])
FILES = [
    f"{part}_{kind}.txt"
    for part in ("train", "val", "test")
    for kind in ("text", "labels")
]


def tweeteval_archive(
    path: Path, change: Callable[[zipfile.ZipFile, str, bytes], None] | None = None
) -> fetch.Publisher:
    """The publisher's layout; `change` writes the training texts in its own way."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in FILES:
            content = b"0\n1\n" if "labels" in name else b"a text\nanother\n"
            member = f"main/datasets/irony/{name}"
            if name == FILES[0] and change is not None:
                change(zipped, member, content)
            else:
                zipped.writestr(member, content)
    return fetch.PUBLISHERS["tweeteval"]._replace(address=path.as_uri(), sha256={})


def with_mode(mode: int, content: bytes | None = None) -> Callable:
    def change(zipped, member, own):
        info = zipfile.ZipInfo(member)
        info.create_system = 3
        info.external_attr = mode << 16
        zipped.writestr(info, own if content is None else content)

    return change


def renamed(name: str) -> Callable:
    return lambda zipped, _, content: zipped.writestr(name, content)


def bomb(zipped: zipfile.ZipFile, member: str, _: bytes) -> None:
    with zipped.open(member, "w") as stream:
        for _ in range(65):
            stream.write(bytes(1 << 20))


def unreadable(method: int) -> Callable:
    return lambda zipped, member, content: zipped.writestr(
        member, content, compress_type=method
    )


ARCHIVES = {
    "above, by two names": (renamed("../datasets/irony/train_text.txt"), "has no"),
    "above": (renamed("main/datasets/irony/../../../train_text.txt"), "has no"),
    "around": (renamed("main/datasets/stance/../irony/train_text.txt"), "has no"),
    "absolute": (renamed("/datasets/irony/train_text.txt"), "has no"),
    "with a drive": (renamed("C:\\datasets\\irony\\train_text.txt"), "has no"),
    "link": (with_mode(stat.S_IFLNK | 0o777, b"/etc/passwd"), "link or a device"),
    "device": (with_mode(stat.S_IFCHR | 0o666), "link or a device"),
    "pipe": (with_mode(stat.S_IFIFO | 0o666), "link or a device"),
    "bomb": (bomb, "has 68157440 bytes; expected at most 67108864"),
    "bzip2": (unreadable(zipfile.ZIP_BZIP2), "not compressed by deflate"),
    "lzma": (unreadable(zipfile.ZIP_LZMA), "not compressed by deflate"),
}


def everything_under(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def refusal(call: Callable, *arguments, **options) -> str:
    """The message of the InputError: one line."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder deep enough that what climbs out of it is seen."""
    deep = tmp_path / "a" / "b" / "c"
    (deep / "tmp").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(deep / "tmp"))
    return deep


def test_an_archive_of_plain_files_is_taken(tmp_path, place):
    """The originals of the hostile ones."""
    for change in (None, with_mode(stat.S_IFREG | 0o644), with_mode(0)):
        publisher = tweeteval_archive(tmp_path / "main.zip", change)
        fetch.download_benchmark(IRONY, place / "data", {"tweeteval": publisher})
        result = sources.load_benchmark(IRONY, place / "data")
        assert result["irony"]["train"].texts == ["a text", "another"]
        (place / "data/tweeteval/datasets/irony/train_text.txt").unlink()


@pytest.mark.parametrize(("change", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_a_hostile_archive_is_one_line_and_writes_nothing(
    tmp_path, place, change, message
):
    publisher = tweeteval_archive(tmp_path / "main.zip", change)
    before = everything_under(tmp_path)
    result = refusal(
        fetch.download_benchmark, IRONY, place / "data", {"tweeteval": publisher}
    )
    assert result.startswith(f"{publisher.address}: ")
    assert message in result
    assert everything_under(tmp_path) == before


def test_a_member_that_hides_its_size_is_refused_at_its_limit(tmp_path, place):
    """64 MiB and 77 bytes that say they are 15."""
    path, size = tmp_path / "main.zip", (1 << 26) + 77

    def change(zipped, member, content):
        with zipped.open(member, "w") as stream:
            stream.write(bytes(77))
            for _ in range(64):
                stream.write(bytes(1 << 20))

    publisher = tweeteval_archive(path, change)
    whole = path.read_bytes()
    assert whole.count(struct.pack("<I", size)) == 2  # in both of its headers
    path.write_bytes(whole.replace(struct.pack("<I", size), struct.pack("<I", 15)))
    tracemalloc.start()
    try:
        result = refusal(
            fetch.download_benchmark, IRONY, place / "data", {"tweeteval": publisher}
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "no readable archive: Bad CRC-32" in result
    assert peak < 2**22
    assert not (place / "data").exists()


def test_damaged_archives_are_one_line(tmp_path, place):
    """Each byte of the directory's first entry, whose name is not ASCII, and its end."""
    path = tmp_path / "main.zip"
    publisher = tweeteval_archive(path, renamed("main/\u00e9"))
    whole = path.read_bytes()
    start, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    size = whole.index(b"PK\x01\x02", start + 1) - start
    refused = 0
    for at in (*range(start, start + size), *range(end, len(whole))):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        message = refusal(
            fetch.download_benchmark, IRONY, place / "data", {"tweeteval": publisher}
        )
        refused += "no readable archive" in message
    assert refused >= 20
    assert not (place / "data").exists()


def test_a_download_without_an_end_is_cut(tmp_path, place, monkeypatch):
    monkeypatch.setattr(fetch, "_LARGEST_DOWNLOAD", 1 << 20)
    endless = tmp_path / "emobank.csv"
    endless.touch()
    os.truncate(endless, 1 << 33)
    publisher = fetch.Publisher(tmp_path.as_uri(), "", "affecteval/emobank", {})
    task = AFFECTEVAL.select(["emobank"])
    result = refusal(
        fetch.download_benchmark, task, place / "data", {"emobank": publisher}
    )
    assert "emobank.csv: download failed: more than 1048576 bytes came" in result
    assert everything_under(place) == ["tmp"]


# ---- names

CLIMBING = ["../../x", "/etc/x", "..", "irony/../../x", "irony\0", "~/x", "C:\\x"]


@pytest.mark.parametrize("name", CLIMBING)
def test_a_task_of_a_configuration_cannot_leave_the_work_directory(tmp_path, name):
    """`stl` has a directory for each task, and `predict.py` reads from there."""
    values = configs.to_dict(configs.preset("new_synthetic", "stl"))
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**values, "tasks": ["irony", name]}))
    assert repr(name) in refusal(layout.read_config, tmp_path)
    file.write_text(json.dumps(values))
    assert repr(name) in refusal(best_model.load, tmp_path, name)
    overrides = [("tasks", f"irony,{name}")]
    config = configs.preset("new_synthetic", "stl")
    assert "unknown task" in refusal(configs.apply, config, overrides)
    assert everything_under(tmp_path) == ["config.json"]


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "a/b/../../../x", "~/x", "C:\\x", "\u2025/x"]
)
def test_a_run_of_a_sweep_cannot_leave_the_work_directory(tmp_path, name):
    run = run_specs.Trial(name, "ew", "new_synthetic", 0)
    run_specs.check(run_specs.Sweep((run,), baseline=name), "sweep")
    place = (tmp_path / run.directory).resolve()
    assert place.parent.parent == tmp_path.resolve()
    assert place.name == "seed0"


@pytest.mark.parametrize("name", ["..", "/", ".", "../..", "\0", "x\0", "a\n/../b"])
def test_each_run_of_a_sweep_has_a_separate_directory(name):
    run = run_specs.Trial(name, "ew", "new_synthetic", 0)
    result = refusal(run_specs.check, run_specs.Sweep((run,), baseline=name), "sweep")
    assert result.startswith(f"sweep: name {name!r}; expected ")


@pytest.mark.parametrize("seed", ["/../../../x", "0/../../x", "..", 1.5])
def test_a_seed_of_a_sweep_cannot_either(seed):
    run = run_specs.Trial("ew", "ew", "new_synthetic", seed)
    assert "--config.seed" in refusal(run_specs.config_of, run)
