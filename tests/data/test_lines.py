"""Lines of a file or of standard input, whatever bytes they hold."""

import io
import re
import types

import pytest

from mtra_jax.data import lines
from mtra_jax.errors import InputError


@pytest.fixture(params=["file", "standard input"])
def read(request, tmp_path, monkeypatch):
    """Reads `content` from a file or from standard input, and says its name."""

    def from_file(content):
        path = tmp_path / "texts.txt"
        path.write_bytes(content)
        return lines.read_lines(str(path)), str(path)

    def from_standard_input(content):
        stdin = types.SimpleNamespace(buffer=io.BytesIO(content))
        monkeypatch.setattr("sys.stdin", stdin)
        return lines.read_lines(None), "standard input"

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
        (b"first\n\xef\xbb\xbfkept\n", ["first", "\ufeffkept"]),
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
    actual, _ = read(content)
    assert list(actual) == expected


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
    result, name = read(content)
    for _ in range(number - 1):
        next(result)
    message = f"{name}:{number}: byte {byte} is not UTF-8; expected UTF-8 text"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        next(result)


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
    result = lines.read_lines(None)
    for number in range(1, 4):
        assert next(result) == "a"
        assert typed.num_reads == number


@pytest.mark.parametrize("path", ["absent.txt", "absent/texts.txt", "."])
def test_file_that_cannot_be_read_is_named(tmp_path, path):
    name = str(tmp_path / path)
    with pytest.raises(
        InputError, match=f"^{re.escape(name)}: cannot be read: [^\n]+$"
    ):
        next(lines.read_lines(name))


def test_empty_path_is_no_standard_input():
    with pytest.raises(InputError, match=": cannot be read: "):
        next(lines.read_lines(""))


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(0, 3, []), (2, 3, [2]), (3, 3, [3]), (7, 3, [3, 3, 1]), (3, 1, [1, 1, 1])],
)
def test_chunks(count, size, expected):
    texts = [f"text {i}" for i in range(count)]
    actual = list(lines.chunks(iter(texts), size))
    assert [len(chunk) for chunk in actual] == expected
    assert [text for chunk in actual for text in chunk] == texts


def test_chunk_comes_as_soon_as_it_is_full():
    def texts():
        yield "a"
        yield "b"
        raise AssertionError("read further than needed")

    assert next(lines.chunks(texts(), 2)) == ["a", "b"]
