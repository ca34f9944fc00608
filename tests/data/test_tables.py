"""Tables of four formats: exact cells and places, a refusal for every fault, round trips."""

import csv
import io
import json
import sys
import tempfile
from pathlib import Path

import pyarrow
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from messages import assert_mentions
from pyarrow import parquet

from mtra_jax.data.table_files import tables
from mtra_jax.errors import InputError

MARK = b"\xef\xbb\xbf"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, **options) -> list[tuple[str, dict]]:
    """The rows with the end of their place, after the name of the file."""
    rows = tables.rows(path, **options)
    return [(row.place.removeprefix(f"{path}"), row.cells) for row in rows]


# Content -> rows; each row has the line that it begins at.
GOOD = {
    "plain.csv": ("a,b\n1,x y\n2,\n", [(2, "1", "x y"), (3, "2", "")]),
    "mark-and-crlf.csv": (MARK + b"a,b\r\n1,2\r\n", [(2, "1", "2")]),
    "no-last-line-feed.csv": ("a,b\n1,2", [(2, "1", "2")]),
    "line-breaks.csv": (
        'a,b\n"one\ntwo\r\nthree",1\n"say ""so""",2\n',
        [(2, "one\ntwo\r\nthree", "1"), (5, 'say "so"', "2")],
    ),
    "blank-lines.csv": ("\na,b\n\n1,2\n\r\n3,4\n\n", [(4, "1", "2"), (6, "3", "4")]),
    "quoted-names.csv": ('"a","b"\n",",""""\n', [(2, ",", '"')]),
    "other-breaks.csv": ("a,b\nx\u2028y,\x85\n", [(2, "x\u2028y", "\x85")]),
    "inner-quotes.csv": ('a,b\n5" pipe,it"s\n', [(2, '5" pipe', 'it"s')]),
    "white-space.csv": ("a,b\n x , \t\n", [(2, " x ", " \t")]),
    "long.csv": (f"a,b\n{'x' * 300_000},1\n", [(2, "x" * 300_000, "1")]),
    "plain.tsv": ("a\tb\n1\tx, y\n\t\n", [(2, "1", "x, y"), (3, "", "")]),
    # As in GLUE's files: quotes that open without closing are characters.
    "quotes-are-characters.tsv": (
        'a\tb\n"Yes," he said\t1\n"open\t2\nlast "\t"3\nx"\t"4"5\n',
        [
            (2, '"Yes," he said', "1"),
            (3, '"open', "2"),
            (4, 'last "', '"3'),
            (5, 'x"', '"4"5'),
        ],
    ),
    # As pandas writes them.
    "quoted.tsv": (
        'a\tb\n"say ""so"""\t1\n"tab\tin"\t2\n"two\nlines"\t3\n4\t"two\nlines"\n5\t6\n',
        [
            (2, 'say "so"', "1"),
            (3, "tab\tin", "2"),
            (4, "two\nlines", "3"),
            (6, "4", "two\nlines"),
            (8, "5", "6"),
        ],
    ),
    "open-before-blank.tsv": ('a\tb\n1\t"2\n\n3\t4\n', [(2, "1", '"2'), (4, "3", "4")]),
    "open-at-the-end.tsv": ('a\tb\r\n1\t"2', [(2, "1", '"2')]),
    "mark-and-crlf.tsv": (MARK + b'a\tb\r\n1\t"2"\r\n', [(2, "1", "2")]),
    "values.jsonl": (
        MARK
        + b'{"a": "\\u00e9\\n", "b": [1, 2.5, null]}\r\n\n {"b": {"c": true}, "a": 0}',
        [(1, "é\n", [1, 2.5, None]), (3, 0, {"c": True})],
    ),
    "long.jsonl": (json.dumps({"a": "x" * 10**6, "b": 1}), [(1, "x" * 10**6, 1)]),
}


@pytest.mark.parametrize("name", GOOD)
def test_cells_and_lines_are_read_as_written(tmp_path, name):
    content, expected = GOOD[name]
    result = read(write(tmp_path, name, content))
    assert result == [(f":{line}", {"a": a, "b": b}) for line, a, b in expected]


def test_columns_stay_in_the_order_of_the_file(tmp_path):
    path = write(tmp_path, "x.csv", "z,,a\n1,2,3\n")
    assert list(read(path)[0][1].items()) == [("z", "1"), ("", "2"), ("a", "3")]
    path = write(tmp_path, "x.jsonl", '{"z": 1, "a": 2}\n{"a": 3, "q": 4}\n')
    assert [list(cells) for _, cells in read(path)] == [["z", "a"], ["a", "q"]]


def test_a_first_line_that_is_the_given_columns_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\na,b\n")
    with pytest.raises(InputError) as error:
        read(path, columns=("a", "b"))
    assert_mentions(error.value, path, ":1", "['a', 'b']", "expected a row")
    path.write_text("1,2\na,b\n")
    assert read(path, columns=("a", "b")) == [
        (":1", {"a": "1", "b": "2"}),
        (":2", {"a": "a", "b": "b"}),
    ]


def test_columns_can_be_named_for_files_without_names(tmp_path):
    path = write(tmp_path, "x.tsv", "gj04\t1\t\tSo it is.\n")
    names = ["source", "label", "mark", "text"]
    cells = {"source": "gj04", "label": "1", "mark": "", "text": "So it is."}
    assert read(path, columns=names) == [(":1", cells)]
    with pytest.raises(InputError) as error:
        read(path, columns=names, needs=["body"])
    assert_mentions(error.value, path, "columns", "'body'", "'source'")


def test_the_format_is_the_suffix_in_any_case_or_is_given(tmp_path):
    assert read(write(tmp_path, "x.TSV", "a\tb\n1\t2\n")) == [
        (":2", {"a": "1", "b": "2"})
    ]
    path = write(tmp_path, "x.txt", '{"a": 1}\n')
    assert read(path, format="jsonl") == [(":1", {"a": 1})]
    for name in ("x.txt", "x", "x.csv.gz", "x.json"):
        with pytest.raises(InputError) as error:
            tables.rows(tmp_path / name)
        assert_mentions(error.value, name, ".csv", ".tsv", ".jsonl", ".parquet")
    with pytest.raises(InputError, match="format 'tvs'; did you mean tsv"):
        tables.rows(path, "tvs")


# (name, content, what the message mentions in this order)
BAD = [
    ("empty.csv", "", [": the file is empty", "column names"]),
    ("only-a-mark.csv", MARK, [": the file is empty"]),
    ("only-blank.csv", "\n\r\n", [": the file is empty"]),
    ("short-row.csv", "a,b\n1,2\n3\n", [":3", "1 columns; expected 2", "['a', 'b']"]),
    ("long-row.csv", "a,b\n1,2,3\n", [":2", "3 columns; expected 2"]),
    (
        "after-line-breaks.csv",
        'a,b\n"1\n1",2\n3,4,5\n',
        [":4", "3 columns; expected 2"],
    ),
    ("twice.csv", "a,b,a\n1,2,3\n", [":1", "'a'", "2 times; expected it once"]),
    ("missing.csv", "a,c\n1,2\n", [":1", "no column 'b'", "['a', 'c']"]),
    ("nul.csv", "a,b\n1,2\n\0,4\n", [":3", "NUL byte"]),
    ("latin-1.csv", b"a,b\n1,2\n\xe9,3\n", [":3", "byte 0xe9", "UTF-8"]),
    (
        "latin-1-in-quotes.csv",
        b'a,b\n"\n\n\xe9",3\n',
        [":4", "byte 0xe9", "UTF-8"],
    ),
    ("utf-16.csv", "a,b\n1,2\n".encode("utf-16"), [":1", "byte 0xff", "UTF-8"]),
    ("utf-16-no-mark.csv", "a,b\n".encode("utf-16-le"), [":1", "NUL byte"]),
    ("surrogate.csv", b"a,b\n\xed\xa0\x80,1\n", [":2", "byte 0xed"]),
    ("never-closed.csv", 'a,b\n1,2\n"3,4\n5,6\n', [":3", "quoting", "end of data"]),
    ("text-after-quote.csv", 'a,b\n"1"x,2\n', [":2", "quoting", "expected after"]),
    ("carriage-return.csv", "a,b\n1\r2,3\n", [":2", "carriage return", "line feeds"]),
    ("empty.tsv", "", [": the file is empty"]),
    ("commas.tsv", "a,b\n1,2\n", [":1", "no column 'a'", "['a,b']"]),
    ("short-row.tsv", "a\tb\n1\t2\n3\n", [":3", "1 columns; expected 2"]),
    ("short-row-quoted.tsv", 'a\tb\n"3"\n', [":2", "1 columns; expected 2"]),
    ("long-row-quoted.tsv", 'a\tb\n"1" x\t2\t3\n', [":2", "3 columns; expected 2"]),
    ("open-field.tsv", 'a\tb\n1\t"2\n3\n', [":2", "'\"2'", "not closed"]),
    ("twice.tsv", "a\tb\tb\n", [":1", "'b'", "2 times"]),
    ("nul.tsv", "a\tb\n1\t\0\n", [":2", "NUL byte"]),
    (
        "not-json.jsonl",
        '{"a": 1, "b": 2}\n{"a": 1 2}\n',
        [":2", "not JSON", "column 9"],
    ),
    ("cut.jsonl", '{"a": 1, "b": 2', [":1", "not JSON"]),
    ("array.jsonl", '[{"a": 1, "b": 2}]', [":1", "[{", "one JSON object a line"]),
    ("text.jsonl", '"a"\n', [":1", "'a'", "one JSON object a line"]),
    ("two-objects.jsonl", '{"a": 1} {"b": 2}', [":1", "Extra data", "column 10"]),
    ("indented.jsonl", '{\n  "a": 1\n}\n', [":1", "not JSON"]),
    ("twice.jsonl", '{"a": 1, "b": 2, "a": 3}', [":1", "'a'", "2 times"]),
    ("twice-inside.jsonl", '{"a": {"c": 1, "c": 2}, "b": 1}', [":1", "'c'", "2 times"]),
    ("missing.jsonl", '{"a": 1, "b": 2}\n{"a": 1}', [":2", "no column 'b'", "['a']"]),
    ("half.jsonl", r'{"a": "\ud83d", "b": 1}', [":1", "surrogate"]),
    ("half-name.jsonl", r'{"a": 1, "b": 1, "\ud83d": 1}', [":1", "surrogate"]),
    ("nul.jsonl", '{"a": "\0", "b": 1}', [":1", "not JSON", "control character"]),
    ("deep.jsonl", '{"a": ' + "[" * 100_000, [":1", "JSON"]),
    ("digits.jsonl", '{"a": ' + "9" * 5000 + "}", [":1", "JSON", "4300"]),
    ("latin-1.jsonl", b'{"a": 1, "b": 2}\n{"a": "\xe9"}', [":2", "byte 0xe9"]),
    ("text.parquet", "a,b\n", [": cannot be read as Parquet"]),
    ("empty.parquet", "", [": cannot be read as Parquet"]),
]


@pytest.mark.parametrize(("name", "content", "parts"), BAD, ids=[row[0] for row in BAD])
def test_faults_are_refused_with_file_line_and_value(tmp_path, name, content, parts):
    path = write(tmp_path, name, content)
    with pytest.raises(InputError) as error:
        read(path, needs=["a", "b"])
    assert_mentions(error.value, f"{path}{parts[0]}", *parts[1:])
    assert len(str(error.value)) < 300 + len(str(path))


@pytest.mark.parametrize("suffix", tables.FORMATS)
def test_files_that_cannot_be_opened_are_named(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    with pytest.raises(InputError) as error:
        tables.read(path)
    assert_mentions(error.value, path, "cannot be read", "No such file")
    path.mkdir()
    with pytest.raises(InputError) as error:
        tables.read(path)
    assert_mentions(error.value, path, "cannot be read", "Is a directory")


def test_a_whole_file_has_a_row(tmp_path):
    for name, content in (("x.csv", "a,b\n"), ("x.jsonl", "\n"), ("x.tsv", "a\tb")):
        path = write(tmp_path, name, content)
        assert list(tables.rows(path)) == []
        with pytest.raises(InputError) as error:
            tables.read(path)
        assert_mentions(error.value, path, "no row", "at least one")


def test_rows_are_read_as_they_are_asked_for(tmp_path, monkeypatch):
    class Endless:
        """Standard input that has no end."""

        lines = 0

        def __iter__(self):
            yield b"a,b\n"
            while True:
                self.lines += 1
                yield b"1,2\n"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    endless = Endless()
    monkeypatch.setattr(sys, "stdin", type("Input", (), {"buffer": endless}))
    rows = tables.rows(None, "csv")
    assert [next(rows).place for _ in range(3)] == [
        f"standard input:{line}" for line in (2, 3, 4)
    ]
    assert endless.lines == 3
    for format in ("", "parquet"):
        with pytest.raises(InputError, match="standard input: "):
            tables.rows(None, format)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input: closed"):
        next(tables.rows(None, "csv"))


def test_other_readers_keep_their_limit_on_fields(tmp_path):
    limit = csv.field_size_limit()
    path = write(tmp_path, "x.csv", f"a\n{'x' * 300_000}\n{'y' * 300_000}\n")
    for row in tables.rows(path):
        assert csv.field_size_limit() == limit
        assert len(row.cells["a"]) == 300_000


# ---- Parquet


def test_parquet_has_values_by_row_number(tmp_path):
    columns = {
        "text": ["a", None, "c\0"],
        "label": [1, 2, 3],
        "tags": [["x", "y"], [], None],
        "value": [0.5, float("inf"), None],
    }
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    expected = [
        {name: values[row] for name, values in columns.items()} for row in range(3)
    ]
    assert read(path) == [(f", row {n}", row) for n, row in enumerate(expected, 1)]
    with pytest.raises(InputError) as error:
        read(path, needs=["body"])
    assert_mentions(error.value, path, "no column 'body'", "'text'")
    with pytest.raises(InputError, match=r"columns are given"):
        read(path, columns=["a"])


def test_parquet_is_read_in_parts(tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"a": list(range(3000))}), path)
    rows = list(tables.rows(path))
    assert [row.cells["a"] for row in rows] == list(range(3000))
    assert rows[2999].place == f"{path}, row 3000"


def test_damaged_and_ambiguous_parquet_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    twice = pyarrow.table([[1], [2]], names=["a", "a"])
    parquet.write_table(twice, path)
    with pytest.raises(InputError) as error:
        read(path)
    assert_mentions(error.value, path, "'a'", "2 times")
    texts = pyarrow.table({"a": ["x" * 1000 + str(n) for n in range(1000)]})
    parquet.write_table(texts, path, compression="snappy", use_dictionary=False)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:100] + b"\xff" * half + content[100 + half :])
    with pytest.raises(InputError) as error:
        read(path)
    assert_mentions(error.value, path, "row 0", "cannot be read as Parquet")


# ---- round trips

HOSTILE = st.text(
    st.sampled_from("\",\t\n\r\\'a \u2028\x85\ufeff😭é[]{}:0;|")
    | st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    max_size=12,
)
CELLS = st.lists(st.tuples(HOSTILE, HOSTILE), max_size=5)
ROUND_TRIP = settings(max_examples=150, deadline=None)


def round_trip(name: str, content: str | bytes) -> list[tuple]:
    with tempfile.TemporaryDirectory() as folder:
        rows = tables.rows(write(Path(folder), name, content))
        return [(row.cells["a"], row.cells["b"]) for row in rows]


@ROUND_TRIP
@given(rows=CELLS, quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
@example(rows=[("", ""), ("\r", "\n"), ("\ufeff", '"'), ("", "\r\n")], quoting=0)
def test_csv_is_read_as_csv_writes_it(rows, quoting):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=quoting)
    writer.writerows([("a", "b"), *rows])
    assert round_trip("x.csv", stream.getvalue()) == rows


@ROUND_TRIP
@given(rows=CELLS)
def test_json_lines_are_read_as_json_writes_them(rows):
    lines = [
        json.dumps({"a": a, "b": b}, ensure_ascii=len(a) % 2 == 0) for a, b in rows
    ]
    assert round_trip("x.jsonl", "\n".join(lines)) == rows


@settings(max_examples=50, deadline=None)
@given(rows=CELLS)
def test_parquet_is_read_as_pyarrow_writes_it(rows):
    columns = {"a": [a for a, _ in rows], "b": [b for _, b in rows]}
    schema = pyarrow.schema([("a", pyarrow.string()), ("b", pyarrow.string())])
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns, schema=schema), stream)
    assert round_trip("x.parquet", stream.getvalue()) == rows


PLAIN = st.text(
    st.sampled_from("\"'a ,\\") | st.characters(exclude_categories=["Cs", "Cc"]),
    max_size=12,
)


@ROUND_TRIP
@given(rows=st.lists(st.tuples(PLAIN, PLAIN), max_size=5))
@example(rows=[('"a', '"'), ('"', 'b"'), ('"a" b', '""a')])
def test_tsv_without_quoting_is_read_as_it_is(rows):
    """Unless a whole field stands in quotes, which cannot be told from a quoted one."""
    rows = [
        tuple("=" + x if x[:1] == x[-1:] == '"' else x for x in row) for row in rows
    ]
    content = "".join(f"{a}\t{b}\n" for a, b in [("a", "b"), *rows])
    assert round_trip("x.tsv", content) == rows


@ROUND_TRIP
@given(rows=st.lists(st.tuples(PLAIN, PLAIN), max_size=5))
def test_tsv_with_all_fields_in_quotes_is_read_as_csv_writes_it(rows):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, "excel-tab", quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    assert round_trip("x.tsv", stream.getvalue()) == rows
