"""Copies, downloads (from a server on this machine) and the table of rows."""

import contextlib
import hashlib
import http.server
import io
import os
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from mtra_jax import cli
from mtra_jax.commands import prepare
from mtra_jax.data.built_in import fetch, sources
from mtra_jax.errors import InputError
from mtra_jax.tasks import AFFECTEVAL, TWEETEVAL, Benchmark

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "prepare_data.py"
ALL = Benchmark("all", tuple(dict.fromkeys(TWEETEVAL.tasks + AFFECTEVAL.tasks)))
MAPPINGS = [f"tweeteval/datasets/{name}/mapping.txt" for name in TWEETEVAL.task_names]


def file_content(file: str) -> str:
    """Two examples a file, three in the test files; each text names its file."""
    rows = range(3 if "test" in file else 2)
    if file.endswith("_text.txt"):
        return "".join(f"{file} {row} \n" for row in rows)
    if file.endswith("_labels.txt"):
        return "".join(f"{row % 2}\n" for row in rows)
    if file.endswith(".tsv"):
        return "".join(f"{file} {row}\t{row}\tid\n" for row in rows)
    if file.endswith(".csv"):
        splits = ["train", "train", "dev", "test", "test"]
        lines = [f"{n},{split},3,3,3,text {n}\n" for n, split in enumerate(splits)]
        return "id,split,V,A,D,text\n" + "".join(lines)
    header = "ID\tTweet\tAffect Dimension\tIntensity Score\n"
    return header + "".join(f"id\t{file} {row}\tjoy\t0.{row}\n" for row in rows)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def source(tmp_path):
    """A small data root, with additional files that no task needs."""
    root = tmp_path / "source"
    for task in ALL.tasks:
        for file in sources.task_files(task):
            write(root / file, file_content(file).encode())
    for file in (*MAPPINGS, "affecteval/goemotions/emotions.txt"):
        write(root / file, b"0\tname\n")
    write(root / "tweeteval/datasets/emoji/train_text.txt", b"not a task\n")
    return root


def files_under(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def script():
    return prepare


def run(script, capsys, *flags) -> tuple[int, str, str]:
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPT), *map(str, flags)])
        try:
            cli.run(script.main)
        except SystemExit as stop:
            code = stop.code
    return code, *capsys.readouterr()


def test_copies_the_files_of_the_tasks_and_counts_them(
    script, source, tmp_path, capsys
):
    target = tmp_path / "new" / "data"
    flags = ("--data_dir", target, "--from_dir", source)
    code, output, errors = run(script, capsys, *flags)
    assert (code, errors) == (0, "")
    expected = files_under(source)
    del expected["tweeteval/datasets/emoji/train_text.txt"]
    assert files_under(target) == expected
    lines = output.splitlines()
    assert len(lines) == 1 + 9 * 3  # EmotionEval once
    assert lines[0].replace("in Table 9", "title").split() == [
        *("task", "title", "split", "rows", "paper", "difference")
    ]
    assert len({len(line) for line in lines}) == 1
    table = [line.split() for line in lines[1:]]
    assert ["sentiment", "SentiEval", "test", "3", "11906", "-11903"] in table
    assert ["stance", "StanceEval", "train", "10", "2620", "-2610"] in table
    assert ["ei-reg", "EI-Reg", "validation", "8", "1464", "-1456"] in table
    assert ["emobank", "EmoBank", "validation", "1", "1000", "-999"] in table


def test_copies_over_older_files_and_onto_itself(script, source, tmp_path, capsys):
    target = tmp_path / "data"
    file = "tweeteval/datasets/irony/test_labels.txt"
    write(target / file, b"1\n")
    flags = ("--benchmark", "tweeteval", "--from_dir", source)
    assert run(script, capsys, *flags, "--data_dir", target)[0] == 0
    assert (target / file).read_bytes() == b"0\n1\n0\n"
    assert not (target / "affecteval").exists()
    before = files_under(source)
    assert run(script, capsys, *flags, "--data_dir", source)[0] == 0
    assert files_under(source) == before


def test_bad_sources_and_flags_write_nothing(script, source, tmp_path, capsys):
    target = tmp_path / "data"
    write(source / "tweeteval/datasets/stance/climate/val_labels.txt", b"0\n7\n")
    for flags, message in (
        (["--from_dir", source], "stance/climate/val_labels.txt:2: label '7'"),
        (["--from_dir", tmp_path / "no"], "/no: no such directory; a data directory"),
        ([], "/data: no such directory; a data directory holds tweeteval/datasets/"),
        (["--from_dir", source, "--download"], "not allowed with argument"),
        (["--benchmark", "tweeteva"], "'tweeteva' (choose from"),
    ):
        code, output, errors = run(script, capsys, "--data_dir", target, *flags)
        assert (code, output) == (2, "")
        assert message in errors
        assert errors.count("\n") == 1
        assert not target.exists()


def test_unwritable_targets_are_named_and_hold_no_part(source, tmp_path):
    write(tmp_path / "one" / "tweeteval", b"a file in the way")
    (tmp_path / "two" / sources.task_files(TWEETEVAL.tasks[0])[0]).mkdir(parents=True)
    for target in (tmp_path / "one", tmp_path / "two"):
        with pytest.raises(InputError, match=r"train_text.txt: cannot be written: "):
            fetch.copy_benchmark(TWEETEVAL, source, target)
    assert list(files_under(tmp_path / "two")) == []


@pytest.mark.processes
def test_the_command_itself(source, tmp_path):
    def command(*flags):
        path = {**os.environ, "PYTHONPATH": str(ROOT)}
        line = [sys.executable, SCRIPT, "--benchmark", "affecteval", *flags]
        return subprocess.run(line, env=path, capture_output=True, text=True)

    good, bad = command("--data_dir", source), command("--data_dir", tmp_path / "no")
    assert (good.returncode, good.stderr) == (0, "")
    assert len(good.stdout.splitlines()) == 1 + 4 * 3
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)


@pytest.mark.shared
def test_real_rows_beside_the_papers(script, shared_data, capsys):
    code, output, _ = run(script, capsys, "--data_dir", shared_data)
    assert code == 0
    _, *lines = output.splitlines()
    rows, shared = lines[: 9 * 3], lines[9 * 3 :]
    assert shared[0] == (
        "hate: 233 of 2970 test texts and 3 of 1000 validation texts are training texts too"
    )
    names = [line.partition(":")[0] for line in shared]
    assert names == ["hate", "offensive", "stance", "goemotions", "emobank"]
    rows = [line.split() for line in rows]
    assert [row for row in rows if row[-1] != "0"] == [
        ["sentiment", "SentiEval", "train", "47453", "45389", "+2064"],
        ["sentiment", "SentiEval", "test", "12284", "11906", "+378"],
        ["goemotions", "GoEmotions", "test", "4590", "4591", "-1"],
    ]


def test_table_9_sums_to_the_papers_totals():
    totals = {name: sum(rows) for name, rows in fetch.PAPER_ROWS.items()}
    assert totals == {
        "emotion": 5052,  # the paper prints 5,502: two digits are swapped
        "hate": 12970,
        "irony": 4601,
        "offensive": 14100,
        "sentiment": 59295,
        "stance": 4163,
        "goemotions": 45447,
        "emobank": 10062,
        "ei-reg": 12634,
    }


class Site(http.server.ThreadingHTTPServer):
    """Serves `pages` (path -> bytes); `lengths` overrides the announced length."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.lengths, self.requests = {}, {}, []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        page = self.server.pages.get(self.path)
        if page is None:
            self.send_error(404)
            return
        self.send_response(200)
        length = self.server.lengths.get(self.path, len(page))
        if length is not None:  # GitHub announces no length for its archives
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return stream.getvalue()


def digests(root: Path) -> dict[str, str]:
    return {
        file: hashlib.sha256(content).hexdigest()
        for file, content in sorted(files_under(root).items())
    }


@pytest.fixture
def site(source, monkeypatch):
    """The four publishers at one address, in their own layouts."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Site() as server, contextlib.ExitStack() as stack:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        content = files_under(source)
        server.pages["/tweeteval.zip"] = archive(
            {"tweeteval-main/README.md": b"", "../../../outside.txt": b"evil"}
            | {
                f"tweeteval-main/{file.removeprefix('tweeteval/')}": data
                for file, data in content.items()
                if file.startswith("tweeteval/")
            }
        )
        server.lengths["/tweeteval.zip"] = None
        server.pages["/ei-reg.zip"] = archive(
            {"__MACOSX/English/EI-reg/training/x.txt": b""}
            | {
                file.replace("affecteval/ei-reg/", "All-data/English/"): data
                for file, data in content.items()
                if file.startswith("affecteval/ei-reg/")
            }
        )
        for folder in ("goemotions", "emobank"):
            for file, data in content.items():
                if file.startswith(f"affecteval/{folder}/"):
                    server.pages[file.removeprefix("affecteval")] = data
        for name, page in {
            "tweeteval": "/tweeteval.zip",
            "ei-reg": "/ei-reg.zip",
            "goemotions": "/goemotions",
            "emobank": "/emobank",
        }.items():
            publisher = fetch.PUBLISHERS[name]
            local = publisher._replace(
                address=server.address + page,
                sha256=digests(source / publisher.target),
            )
            monkeypatch.setitem(fetch.PUBLISHERS, name, local)
        yield server


def test_downloads_what_is_missing_once(script, site, source, tmp_path, capsys):
    target = tmp_path / "data"
    flags = ("--data_dir", target, "--download")
    code, output, errors = run(script, capsys, *flags)
    assert code == 0
    assert len(output.splitlines()) == 1 + 9 * 3
    assert "tweeteval.zip" in errors  # the bars
    assert sorted(site.requests) == [
        "/ei-reg.zip",
        "/emobank/emobank.csv",
        "/goemotions/dev.tsv",
        "/goemotions/test.tsv",
        "/goemotions/train.tsv",
        "/tweeteval.zip",
    ]
    expected = files_under(source)
    del expected["tweeteval/datasets/emoji/train_text.txt"]
    del expected["affecteval/goemotions/emotions.txt"]  # not needed by any reader
    assert files_under(target) == expected
    assert not list(tmp_path.rglob("outside.txt"))

    site.requests.clear()
    changed = target / "tweeteval/datasets/irony/train_text.txt"
    changed.write_bytes(b"my own\nchanges\n")
    (target / "affecteval/goemotions/dev.tsv").unlink()
    (target / "tweeteval/datasets/hate/val_labels.txt").write_bytes(b"x\n")
    assert run(script, capsys, *flags)[0] == 0
    assert len(site.requests) == 4  # the archive and the three files of GoEmotions
    assert changed.read_bytes() == b"my own\nchanges\n"
    site.requests.clear()
    assert run(script, capsys, *flags)[0] == 0
    assert site.requests == []


def test_affecteval_takes_only_emotion_of_the_archive(script, site, tmp_path, capsys):
    flags = ("--data_dir", tmp_path / "data", "--download", "--benchmark", "affecteval")
    assert run(script, capsys, *flags)[0] == 0
    folders = (tmp_path / "data" / "tweeteval" / "datasets").iterdir()
    assert [folder.name for folder in folders] == ["emotion"]


def break_site(site: Site, fault: str) -> str:
    """Breaks the site; returns the expected parts of the message."""
    pages = site.pages
    if fault == "absent":
        del pages["/goemotions/test.tsv"]
        return "/goemotions/test.tsv: download failed: HTTP Error 404: Not Found; "
    if fault == "cut":
        site.lengths["/emobank/emobank.csv"] = len(pages["/emobank/emobank.csv"]) + 9
        return "/emobank/emobank.csv: download failed: 121 of 130 bytes came; "
    if fault == "no archive":
        pages["/ei-reg.zip"] = b"<html>moved</html>"
        return "/ei-reg.zip: no readable archive: File is not a zip file"
    if fault == "damaged":
        pages["/ei-reg.zip"] = pages["/ei-reg.zip"].replace(b"0.1", b"0.2")
        return "/ei-reg.zip: no readable archive: Bad CRC-32"
    if fault == "incomplete":
        pages["/ei-reg.zip"] = archive({"All-data/English/EI-reg/training/x": b""})
        return "/ei-reg.zip: the archive has no English/EI-reg/training/EI-reg-En-anger"
    page = b"id,split,V,A,D,text\n1,train,3,?,3,text\n"
    if fault == "changed":
        pages["/emobank/emobank.csv"] = page
        before = fetch.PUBLISHERS["emobank"].sha256["emobank.csv"]
        return (
            f"/emobank: emobank.csv has the SHA-256 {hashlib.sha256(page).hexdigest()}; "
            f"expected {before}; "
        )
    if fault == "changed in the archive":
        content = file_content("x")
        pages["/ei-reg.zip"] = archive(
            {
                f"All-data/English/EI-reg/{name}": content.encode()
                for name in fetch.PUBLISHERS["ei-reg"].sha256
            }
        )
        return "/ei-reg.zip: development/2018-EI-reg-En-anger-dev.txt has the SHA-256 "
    pages["/emobank/emobank.csv"] = page
    publisher = fetch.PUBLISHERS["emobank"]
    fetch.PUBLISHERS["emobank"] = publisher._replace(sha256={})  # `site` restores it
    return "/emobank/emobank.csv:2: A '?'; expected a finite number"


@pytest.mark.parametrize(
    "fault",
    [
        "absent",
        "cut",
        "no archive",
        "damaged",
        "incomplete",
        "changed",
        "changed in the archive",
        "unreadable",
    ],
)
def test_failed_downloads_leave_no_part(script, site, tmp_path, capsys, fault):
    message = break_site(site, fault)
    target = tmp_path / "data"
    flags = ("--data_dir", target, "--download", "--benchmark", "affecteval")
    code, output, errors = run(script, capsys, *flags)
    assert (code, output) == (2, "")
    line = errors.splitlines()[-1].rpartition("\r")[2]
    assert message in line
    assert site.address in line
    source = fetch.PUBLISHERS[
        {
            "absent": "goemotions",
            "cut": "emobank",
            "changed": "emobank",
            "unreadable": "emobank",
        }.get(fault, "ei-reg")
    ]
    assert not (target / source.target).exists()
    assert not list(target.rglob(".*"))
    assert (target / "tweeteval/datasets/emotion/test_text.txt").exists()


def test_no_server_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Site() as closed:
        address = closed.address
    publisher = fetch.Publisher(address, "", "affecteval/emobank", {})
    with pytest.raises(InputError, match=r"emobank.csv: download failed: .*refused"):
        fetch.download_benchmark(
            AFFECTEVAL.select(["emobank"]), tmp_path / "data", {"emobank": publisher}
        )
    assert not (tmp_path / "data").exists()


# ---- the publishers' digests


def test_every_file_that_is_downloaded_has_a_digest():
    for name, publisher in fetch.PUBLISHERS.items():
        tasks = [t for t in ALL.tasks if fetch._publisher_of(t) == name]
        expected = {file for task in tasks for file in sources.task_files(task)}
        expected |= set(MAPPINGS) if name == "tweeteval" else set()
        assert {f"{publisher.target}/{file}" for file in publisher.sha256} == expected


def test_digests_are_sha256():
    for publisher in fetch.PUBLISHERS.values():
        for digest in publisher.sha256.values():
            assert re.fullmatch("[0-9a-f]{64}", digest)


@pytest.mark.parametrize("name", ["tweeteval", "emobank"])
def test_addresses_of_github_name_a_commit(name):
    assert re.search(r"/[0-9a-f]{40}(\.zip$|/)", fetch.PUBLISHERS[name].address)


@pytest.mark.shared
def test_the_real_files_have_the_publishers_digests(shared_data):
    different = set()
    for publisher in fetch.PUBLISHERS.values():
        real = digests(shared_data / publisher.target)
        different |= {
            f"{publisher.target}/{file}"
            for file, digest in publisher.sha256.items()
            if real[file] != digest
        }
    # These rows were rebuilt from the SemEval releases: see publishers.py.
    folder = "tweeteval/datasets/sentiment"
    assert different == {f"{folder}/train_text.txt", f"{folder}/train_labels.txt"}
