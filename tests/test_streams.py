"""Standard streams that are closed, full or without a reader, under real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [pytest.mark.processes, pytest.mark.hostile]
# One import for all cases: each runs in a child with its streams, and ends as a
# process does. `many` lines are more than a buffer and a pipe hold.
DRIVER = """
import contextlib, json, os, sys
from mtra_jax import cli
from mtra_jax.errors import InputError

def lines(arguments):
    for number in range(2):
        print(number, flush=True)
    open("done", "w").close()

def many(arguments):
    for number in range(20000):
        print("a line", number)
    open("done", "w").close()

def silent(arguments):
    open("done", "w").close()

def first_file(arguments):
    with open("done", "w") as file:
        file.write(str(file.fileno()))
    os.write(1, b"of a library")

def wrong(arguments):
    raise InputError("a.txt:1: wrong")

def lost_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return writer

def place(number, what):
    if what == "closed":
        os.close(number)
        return None
    source = {
        "unread": lost_reader,
        "full": lambda: os.open("/dev/full", os.O_WRONLY),
        "file": lambda: os.open(f"stream{number}", os.O_WRONLY | os.O_CREAT),
    }[what]()
    os.dup2(source, number)
    os.close(source)
    return open(number, "w", closefd=False)

def child(name, main, product, out, err):
    os.mkdir(name)
    os.chdir(name)
    streams = place(1, out), place(2, err)
    if "closed" in (out, err):
        os.close(0)
        sys.stdin = None
    sys.stdout, sys.stderr = streams
    sys.argv = ["script.py"]
    cli.run(globals()[main], output_is_product=product)

codes = {}
for name, case in json.loads(sys.argv[1]).items():
    if not (number := os.fork()):
        child(name, *case)
        sys.exit(0)
    codes[name] = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
with open("codes.json", "w") as file:
    json.dump(codes, file)
"""
NO_SPACE = "standard output: No space left on device"
# Name -> main, whether its output is the product, its two streams; then the exit code,
# its text on standard error, and whether it reached its end.
CASES = {
    "product": (("lines", True, "file", "file"), 0, "", True),
    "product unread": (("many", True, "unread", "file"), 141, "", False),
    "product unread at its end": (("lines", True, "unread", "file"), 141, "", False),
    "product full": (("many", True, "full", "file"), 1, f"error: {NO_SPACE}\n", False),
    "product closed": (
        ("lines", True, "closed", "file"),
        1,
        "error: standard output: Bad file descriptor\n",
        False,
    ),
    "no product, closed": (("silent", True, "closed", "file"), 0, "", True),
    "progress unread": (("many", False, "unread", "file"), 0, "", True),
    "progress full": (
        ("many", False, "full", "file"),
        0,
        f"warning: {NO_SPACE}; further lines are dropped\n",
        True,
    ),
    "progress closed": (("many", False, "closed", "file"), 0, "", True),
    "all closed": (("many", False, "closed", "closed"), 0, None, True),
    "all full": (("many", False, "full", "full"), 0, None, True),
    "an error nobody reads": (("wrong", True, "file", "unread"), 2, None, False),
    "an error without a stream": (("wrong", True, "file", "closed"), 2, None, False),
    "first file": (("first_file", False, "closed", "closed"), 0, None, True),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The directory with a folder for each case, and the exit codes."""
    root = tmp_path_factory.mktemp("streams")
    cases = {name: case[0] for name, case in CASES.items()}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(cases)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return root, json.loads((root / "codes.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_a_failing_stream_ends_only_a_script_whose_product_it_is(ended, name):
    root, codes = ended
    _, code, message, comes_to_its_end = CASES[name]
    assert codes[name] == code
    if message is not None:
        assert (root / name / "stream2").read_text() == message
    assert (root / name / "done").exists() == comes_to_its_end


def test_a_file_never_takes_the_place_of_a_closed_stream(ended):
    """Otherwise output of libraries would go into the file."""
    assert int((ended[0] / "first file" / "done").read_text()) > 2


def report(tmp_path, redirections, *flags):
    scores = {"irony": {"macro_f1": 50.0}, "avg": 50.0}
    line = {"name": "ew", "seed": 0, "preset": "new_synthetic", "overrides": {}}
    line["results"] = {"validation": scores, "test": scores}
    (tmp_path / "results.jsonl").write_text(json.dumps(line) + "\n")
    return subprocess.run(
        [
            *("bash", "-c", f'"$0" "$@" {redirections}', sys.executable),
            *(ROOT / "scripts/report.py", tmp_path / "results.jsonl", *flags),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_real_script_on_a_full_disk(tmp_path):
    done = report(tmp_path, "> /dev/full")
    assert (done.returncode, done.stderr) == (1, f"error: {NO_SPACE}\n")


def test_a_real_script_without_streams_writes_its_file(tmp_path):
    done = report(tmp_path, "<&- >&- 2>&-", "--out", tmp_path / "table")
    assert done.returncode == 0
    assert "50.00" in (tmp_path / "table").read_text()


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_product_is_utf_8_whatever_the_locale(encoding):
    call = "cli.run(lambda _: print('caf\\u00e9 \\u20ac'), output_is_product=%s)"
    written = {}
    for is_product in (True, False):
        done = subprocess.run(
            [sys.executable, "-c", f"from mtra_jax import cli; {call % is_product}"],
            env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        )
        written[is_product] = done.stdout
    text = "caf\u00e9 \u20ac\n"
    assert written[True] == text.encode()
    assert written[False] == text.encode(encoding, "backslashreplace")
