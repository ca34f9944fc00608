"""Reading lines, text and JSON; replacing files and directories whole."""

import errno
import io
import json
import math
import os
import re
import types
from pathlib import Path

import pytest

from mtra_jax import files
from mtra_jax.errors import InputError


@pytest.fixture(params=["file", "standard input"])
def read(request, tmp_path, monkeypatch):
    """Reads `content` from a file or from standard input, and returns its name too."""

    def from_file(content):
        path = tmp_path / "texts.txt"
        path.write_bytes(content)
        return files.read_lines(str(path)), str(path)

    def from_standard_input(content):
        stdin = types.SimpleNamespace(buffer=io.BytesIO(content))
        monkeypatch.setattr("sys.stdin", stdin)
        return files.read_lines(None), "standard input"

    return from_file if request.param == "file" else from_standard_input


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\nno last line feed", ["a", "no last line feed"]),
        (b"dos\r\nunix\nold\rmac\r\n", ["dos", "unix", "old\rmac"]),
        (b"two\r\r\n", ["two\r"]),
        (b"\xef\xbb\xbfmark\nsecond\n", ["mark", "second"]),
        (b"first\n\xef\xbb\xbfsecond\n", ["first", "\ufeffsecond"]),
        (
            "a\u2028b\u0085c\x0bd\x0ce\x1cf\n".encode(),
            ["a\u2028b\u0085c\x0bd\x0ce\x1cf"],
        ),
        (b"nul\x00in it\n", ["nul\x00in it"]),
        (b"  blanks \t\n", ["  blanks \t"]),
        ("é 😭\n".encode(), ["é 😭"]),
    ],
)
def test_lines_end_at_line_feeds_only(read, content, expected):
    lines, _ = read(content)
    assert list(lines) == expected


@pytest.mark.parametrize(
    ("content", "number", "byte"),
    [
        (b"\xff\n", 1, "0xff"),
        (b"fine\n\r\nlatin \xe9t\xe9\nfine\n", 3, "0xe9"),
        (b"\xef\xbb\xbfmark \x80\n", 1, "0x80"),
        (b"fine\ncut \xf0\x9f\x98", 2, "0xf0"),
        (b"fine\nsurrogate \xed\xa0\x80\n", 2, "0xed"),
    ],
)
def test_line_that_is_not_utf8_is_named(read, content, number, byte):
    lines, name = read(content)
    for _ in range(number - 1):
        next(lines)
    message = f"{name}:{number}: byte {byte} is not UTF-8; expected UTF-8 text"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        next(lines)


class Typed(io.RawIOBase):
    """Gives one line a read, as a terminal does."""

    def __init__(self):
        super().__init__()
        self.num_reads = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        self.num_reads += 1
        buffer[:2] = b"a\n"
        return 2


def test_lines_come_while_they_are_typed(monkeypatch):
    typed = Typed()
    stdin = types.SimpleNamespace(buffer=io.BufferedReader(typed))
    monkeypatch.setattr("sys.stdin", stdin)
    lines = files.read_lines(None)
    for number in range(1, 4):
        assert next(lines) == "a"
        assert typed.num_reads == number


@pytest.mark.parametrize("path", ["absent.txt", "absent/texts.txt", "."])
def test_file_that_cannot_be_read_is_named(tmp_path, path):
    name = str(tmp_path / path)
    with pytest.raises(
        InputError, match=f"^{re.escape(name)}: cannot be read: [^\n]+$"
    ):
        next(files.read_lines(name))


def test_an_empty_path_does_not_mean_standard_input():
    with pytest.raises(InputError, match=": cannot be read: "):
        next(files.read_lines(""))


# ---- text and JSON


def test_a_byte_order_mark_is_dropped_and_line_ends_stay():
    content = "\ufeffa\r\nb\u2028c\n".encode()
    assert files.decode(content, Path("a.txt")) == "a\r\nb\u2028c\n"


def test_text_that_is_not_utf8_is_reported_with_line_and_byte():
    with pytest.raises(InputError) as error:
        files.decode(b"a\nb\n\xe9", Path("a.txt"))
    assert str(error.value) == "a.txt:3: byte 0xe9 is not UTF-8; expected UTF-8 text"
    with pytest.raises(InputError, match=r"^a\.txt:1: byte 0xe9 is not UTF-8 text$"):
        files.decode(b"\xe9", Path("a.txt"), " text")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"a": 1', "damaged: Expecting ',' delimiter: line 1 column 8 (char 7)"),
        (b"\xff", "damaged: 'utf-8' codec can't decode byte 0xff in position 0"),
        (b"[" * 10**5, "damaged: maximum recursion depth exceeded"),
    ],
)
def test_damaged_json_is_reported_with_its_place_and_advice(tmp_path, content, fault):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        files.read_json(path, "; remove it")
    message = str(error.value)
    assert message.startswith(f"{path}: {fault}")
    assert message.endswith("; remove it")
    assert "\n" not in message


def test_absent_json_raises_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "a.json")


def test_json_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "new" / "a.json"
    files.write_json(path, {"é": [1, 2.5, None], "avg": math.nan, "t": (math.inf,)})
    assert files.read_json(path) == {"é": [1, 2.5, None], "avg": None, "t": [None]}
    assert path.read_text().startswith("{\n  ")
    assert path.read_text().endswith("}\n")


# ---- replacing files


@pytest.mark.parametrize("text", ["a\r\nb\n", "é\u2028", ""])
def test_text_is_written_byte_by_byte(tmp_path, text):
    files.write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes() == text.encode()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_file_that_its_writer_hides_has_the_permissions_of_the_umask(tmp_path):
    previous = os.umask(0o022)
    try:
        with files.replacing(tmp_path / "a.txt") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600))
    finally:
        os.umask(previous)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_a_process_that_ends_before_the_renaming_leaves_the_old_file(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.txt"
    path.write_text("old")
    contents = []

    def killed(temporary, target):
        contents.append((temporary.read_text(), path.read_text(), temporary.parent))
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(path, "new")
    assert contents == [("new", "old", tmp_path)]
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (lambda path: files.write_json(path, {"a": object()}), TypeError),
        (lambda path: files.write_text(path, "\ud800"), UnicodeEncodeError),
    ],
)
def test_a_value_that_cannot_be_written_leaves_the_old_file(tmp_path, write, error):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(error):
        write(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def fail_at(call, number, monkeypatch):
    def fail(path, *_, **__):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, call, fail)


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("write_bytes", errno.EACCES),
        ("write_bytes", errno.EROFS),
        ("replace", errno.EPERM),
        ("mkdir", errno.EACCES),
    ],
)
def test_a_refused_write_names_the_file_in_one_line(
    tmp_path, monkeypatch, call, number
):
    path = tmp_path / "a.txt"
    path.write_text("old")
    fail_at(call, number, monkeypatch)
    with pytest.raises(OSError, match="Errno") as error:
        files.write_bytes(path, b"new")
    assert error.value.errno == number
    assert error.value.filename == str(tmp_path if call == "mkdir" else path)
    assert "\n" not in str(error.value)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_names_the_file_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fill_disk(temporary, content):
        temporary.write_text("n")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as `write` raises it

    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(OSError, match="No space") as error:
        files.write_text(path, "new")
    assert str(error.value) == f"[Errno 28] No space left on device: '{path}'"
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


# ---- replacing directories


def test_a_directory_is_replaced_whole(tmp_path):
    target = tmp_path / "deep" / "a"
    for number in (1, 2):
        with files.replacing_directory(target) as temporary:
            assert os.listdir(temporary) == []
            (temporary / f"{number}.json").write_text(json.dumps(number))
            names = sorted(os.listdir(tmp_path / "deep"))
            assert names == [".a", "a"][:number]
        assert os.listdir(target) == [f"{number}.json"]
    assert os.listdir(tmp_path / "deep") == ["a"]


def test_a_failed_body_leaves_the_old_directory_and_is_cleared_by_the_next(tmp_path):
    target = tmp_path / "a"
    target.mkdir()
    (target / "old").touch()

    def fail():
        with files.replacing_directory(target) as temporary:
            (temporary / "new").touch()
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert os.listdir(target) == ["old"]
    with files.replacing_directory(target) as temporary:
        assert os.listdir(temporary) == []
    assert os.listdir(target) == []
    assert os.listdir(tmp_path) == ["a"]
