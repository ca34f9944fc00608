"""`mtra-jax predict`: formats in and out, chunks, and rows that come slowly."""

import csv
import dataclasses
import io
import json
import threading
import types

import numpy as np
import pytest
from messages import assert_mentions

from mtra_jax.api import loading
from mtra_jax.commands import predict
from mtra_jax.data.table_files import cells
from mtra_jax.errors import InputError
from mtra_jax.reports.predicted import answers
from mtra_jax.reports.progress import text_counts
from mtra_jax.runs.trained import prediction
from mtra_jax.tasks import Task

MOOD = Task("mood", "Mood", "classification", ("sad", "glad"), ("macro_f1",))
STARS = Task("stars", "Stars", "regression", ("stars",), ("pearson",))
SIZE = Task("size", "Size", "regression", ("width", "height"), ("pearson",))
TOPICS = Task(
    "topics",
    "Topics",
    "multi_label",
    ("food", "art"),
    ("macro_f1",),
    thresholds=(0.25, 0.75),
)
SAME = Task("same", "Same", "classification", ("no", "yes"), ("f1",), is_pair=True)
TASKS = (MOOD, STARS, SIZE, TOPICS, SAME)


class Fake:
    """Outputs that depend on the first text's number of characters."""

    def __init__(self, tasks):
        self.tasks, self.sizes = tasks, []

    def tasks_for(self, *, has_pairs):
        return tuple(task for task in self.tasks if task.is_pair == has_pairs)

    def __call__(self, texts, second_texts=()):
        self.sizes.append(len(texts))
        n = np.array([len(text) for text in texts], float)
        outputs = {
            "mood": np.stack([n % 2, 1 - n % 2], axis=1),
            "stars": n[:, None] * 10,
            "size": np.stack([n, -n], axis=1),
            "topics": np.stack([n * 0 + 0.5, n * 0 + 0.5], axis=1),
        }
        if second_texts:
            other = np.array([len(text) for text in second_texts], float)
            outputs = {"same": np.stack([n != other, n == other], axis=1).astype(float)}
        return {t.name: outputs[t.name] for t in self.tasks if t.name in outputs}


@pytest.fixture
def labelled(tmp_path, monkeypatch, capsys):
    """`labelled(content, *flags)`: what is written for a file of that content."""

    def run(content, *flags, suffix=""):
        path = tmp_path / f"texts{suffix}"
        path.write_bytes(content.encode())

        def load(workdir, task, cache_dir):
            chosen = tuple(t for t in TASKS if task in ("", t.name))
            run.fake = Fake(chosen)
            return run.fake

        monkeypatch.setattr(loading, "load_predictor", load)
        predict.main([f"--workdir={tmp_path}", f"--input={path}", *flags])
        output, run.errors = capsys.readouterr()
        return output

    return run


def test_lines_of_text_give_all_tasks_beside_the_text(labelled):
    first, second = map(json.loads, labelled("a b\nsoso\n").splitlines())
    assert first == {
        "text": "a b",
        "mood": {"label": "sad", "probabilities": {"sad": 1, "glad": 0}},
        "stars": {"values": {"stars": 30}},
        "size": {"values": {"width": 3, "height": -3}},
        "topics": {"labels": ["food"], "probabilities": {"food": 0.5, "art": 0.5}},
    }
    assert second["text"] == "soso"
    assert second["mood"]["label"] == "glad"


def test_one_task_of_lines_of_text_is_its_prediction_alone(labelled):
    (record,) = map(json.loads, labelled("a b\n", "--task=stars").splitlines())
    assert record == {"values": {"stars": 30}}


def test_many_lines_come_in_order_and_in_chunks(labelled):
    lines = ["a" * (n % 7) for n in range(3000)]
    output = labelled("\n".join(lines) + "\n", "--task=stars")
    values = [json.loads(line)["values"]["stars"] for line in output.splitlines()]
    assert values == [10 * len(line) for line in lines]
    assert labelled.fake.sizes == [64, 1024, 1024, 3000 - 64 - 2 * 1024]


def test_a_prediction_that_is_not_finite_has_no_label():
    outputs = np.array([np.nan, 0.5])
    assert answers.answer(MOOD, outputs)["label"] is None
    assert answers.cells(MOOD, outputs) == {"mood": "", "mood_probability": ""}


@pytest.mark.parametrize(
    ("task", "outputs", "expected"),
    [
        (MOOD, [0.3, 0.7], {"mood": "glad", "mood_probability": 0.7}),
        (STARS, [2.5], {"stars": 2.5}),
        (SIZE, [1, 2], {"size_width": 1, "size_height": 2}),
        (
            TOPICS,
            [0.25, 0.7],
            {"topics": "food", "topics_food": 0.25, "topics_art": 0.7},
        ),
        (
            TOPICS,
            [0.5, 0.9],
            {"topics": "food,art", "topics_food": 0.5, "topics_art": 0.9},
        ),
        (TOPICS, [0.1, 0.2], {"topics": "", "topics_food": 0.1, "topics_art": 0.2}),
    ],
)
def test_the_cells_of_each_kind(task, outputs, expected):
    assert answers.cells(task, np.array(outputs)) == expected


@pytest.mark.parametrize(
    ("deviations", "outputs", "expected"),
    [
        ((), [2.123456789, 3.2e-7], [2.123457, 3.2e-7]),
        ((), [0.00012345678949, 0.0], [0.0001234568, 0.0]),
        (
            (1e-8, 1e4),
            [3.2123456789e-8, 12345.123456789],
            [3.212346e-8, 12345.123457],
        ),
    ],
)
def test_values_are_rounded_in_the_unit_of_the_task(deviations, outputs, expected):
    means = tuple(0.0 for _ in deviations)
    task = dataclasses.replace(SIZE, means=means, deviations=deviations)
    values = answers.answer(task, np.array(outputs))["values"]
    assert list(values.values()) == expected


def test_thresholds_are_a_half_before_they_are_chosen():
    task = Task("t", "T", "multi_label", ("a", "b"), ("macro_f1",))
    assert answers.answer(task, np.array([0.5, 0.49]))["labels"] == ["a"]


# ---- tables


@pytest.fixture
def tables():
    return pytest.importorskip("mtra_jax.data.table_files.tables")


@pytest.mark.usefixtures("tables")
def test_csv_gives_csv_with_its_columns(labelled):
    content = 'id,body,mood\r\n1,"a, ""b""\nc",sad\r\n2,soso,glad\r\n'
    output = labelled(content, "--text=body", suffix=".csv")
    first, second = csv.DictReader(io.StringIO(output))
    assert first == {
        "id": "1",
        "body": 'a, "b"\nc',
        "mood": "sad",
        "predicted_mood": "glad",
        "mood_probability": "1.0",
        "stars": "80.0",
        "size_width": "8.0",
        "size_height": "-8.0",
        "topics": "food",
        "topics_food": "0.5",
        "topics_art": "0.5",
    }
    assert (second["id"], second["body"], second["stars"]) == ("2", "soso", "40.0")


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(("suffix", "sign"), [(".csv", ","), (".tsv", "\t")])
def test_a_table_without_a_row_gives_its_columns(labelled, suffix, sign):
    content = sign.join(["id", "text", "mood"]) + "\n"
    output = labelled(content, "--task=mood", suffix=suffix)
    names = ["id", "text", "mood", "predicted_mood", "mood_probability"]
    assert output == sign.join(names) + "\n"


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("is_first", [True, False])
def test_a_prediction_has_one_key_where_rows_are_labelled_in_part(labelled, is_first):
    rows = ['{"text": "so", "mood": "sad"}', '{"text": "x"}']
    content = "\n".join(rows if is_first else reversed(rows))
    output = labelled(content, "--task=mood", suffix=".jsonl")
    records = {row["text"]: row for row in map(json.loads, output.splitlines())}
    assert records["so"]["mood"] == "sad"
    assert records["so"]["predicted_mood"]["label"] == "glad"
    assert records["x"].keys() == {"text", "predicted_mood"}


@pytest.mark.usefixtures("tables")
def test_labels_with_a_comma_are_a_list_that_reads_back():
    labels = ("New York, NY", "Paris")
    task = Task("places", "Places", "multi_label", labels, ("macro_f1",))
    cell = answers.cells(task, np.array([0.9, 0.8]))["places"]
    assert cells.label_names(cell, "", "places", "here") == list(labels)


@pytest.mark.usefixtures("tables")
def test_csv_of_excel_keeps_its_separator_and_byte_order_mark(labelled):
    content = '\ufeffid;body\r\n1;"so; so"\r\n2;caf\u00e9\r\n'
    flags = ("--text=body", "--task=stars")
    output = labelled(content, *flags, "--separator=;", suffix=".csv")
    assert output == '\ufeffid;body;stars\n1;"so; so";60.0\n2;caf\u00e9;40.0\n'
    assert not labelled(content[1:], *flags, "--separator=;", suffix=".csv").startswith(
        "\ufeff"
    )
    with pytest.raises(InputError) as error:
        labelled(content, *flags, suffix=".csv")
    assert_mentions(
        error.value, "texts.csv:1", "'body'", "';' seems to separate", "set separator"
    )


def test_a_log_gets_lines_with_the_number_of_texts(monkeypatch, capsys):
    times = iter([0.0, 2.0, 6.0, 6.0, 7.0])
    clock = types.SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr(text_counts, "time", clock)
    monkeypatch.setattr(text_counts.bars, "has_terminal", lambda: False)
    with text_counts.shown(is_quiet=False) as count:
        for number in (64, 12, 3):
            count(number)
    assert capsys.readouterr() == ("", "texts labelled: 76\n")


@pytest.mark.usefixtures("tables")
def test_tsv_gives_tsv_that_reads_back(labelled, tables, tmp_path):
    content = 'id\ttext\n1\t"a\tb"\n2\tsay "x"\n'
    output = labelled(content, "--task=mood", suffix=".tsv")
    path = tmp_path / "out.tsv"
    path.write_text(output)
    rows = [row.cells for row in tables.rows(path)]
    expected = [
        {"id": "1", "text": "a\tb", "mood": "sad", "mood_probability": "1.0"},
        {"id": "2", "text": 'say "x"', "mood": "sad", "mood_probability": "1.0"},
    ]
    assert rows == expected


@pytest.mark.usefixtures("tables")
def test_json_lines_keep_their_values_and_pairs_have_two_columns(labelled):
    content = '{"a": "so", "b": "oh", "n": [1, null]}\n\n{"b": "ö", "a": "xyz"}\n'
    output = labelled(content, "--text", "a", "b", suffix=".jsonl")
    first, second = map(json.loads, output.splitlines())
    assert first["n"] == [1, None]
    assert first["same"]["label"] == "yes"
    assert second["same"]["label"] == "no"
    assert (second["a"], second["b"]) == ("xyz", "ö")
    assert "mood" not in first


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "same, which reads pairs; --input FILE --text COLUMN COLUMN"),
        (
            ["--text", "text", "n"],
            "mood, stars, size, topics, which read one text; --input FILE --text COLUMN",
        ),
        (["--task=mood"], None),
    ],
)
def test_tasks_that_read_other_examples_are_named(labelled, flags, line):
    labelled("text,n\na,b\n", *flags, suffix=".csv")
    assert labelled.errors == (f"not predicted: {line}\n" if line else "")


def test_lines_of_text_for_a_task_of_pairs_are_refused_with_the_flags():
    predictor = prediction.Predictor([])
    predictor.tasks = (SAME,)
    with pytest.raises(InputError) as error:
        predict.fitting_tasks(predictor, has_pairs=False)
    assert str(error.value) == (
        "same: expected a pair of texts for each example; give --input FILE --text "
        "COLUMN COLUMN"
    )


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("content", "suffix", "parts"),
    [
        ('{"text": "a"}\n{"text": 7}\n', ".jsonl", ["texts.jsonl:2", "text", "7"]),
        ('{"text": "a"}\n{"text": \n', ".jsonl", ["texts.jsonl:2", "JSON"]),
        (
            "body\na\n",
            ".csv",
            ["texts.csv:1", "'text'", "body", "--text COLUMN names it"],
        ),
        (
            '{"body": "a"}\n',
            ".jsonl",
            ["texts.jsonl:1", "'text'", "body", "--text COLUMN names it"],
        ),
        ("text,n\na,1\nb\n", ".csv", ["texts.csv:3", "1", "2"]),
    ],
)
def test_a_bad_row_is_named(labelled, content, suffix, parts):
    with pytest.raises(InputError) as error:
        labelled(content, suffix=suffix)
    assert_mentions(error.value, *parts)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--text=a"], ["--text", "--format"]),
        (["--separator=;"], ["--separator ';'", "one sign, for CSV"]),
        (["--separator=ab", "--format=csv"], ["--separator 'ab'", "one sign"]),
        (["--text", "a", "b", "c", "--format=csv"], ["a b c", "one column, or two"]),
    ],
)
def test_columns_that_fit_no_format_are_refused(labelled, flags, parts):
    with pytest.raises(InputError) as error:
        labelled("a\n", *flags)
    assert_mentions(error.value, *parts)


# ---- rows that come slowly


def test_rows_that_have_come_are_answered_before_the_next_come():
    may_continue = threading.Event()

    def rows():
        yield from ("a", "b")
        assert may_continue.wait(60)
        yield "c"

    parts = predict.chunks(rows(), waits=True)
    assert next(parts) == ["a", "b"]
    may_continue.set()
    assert list(parts) == [["c"]]


def test_an_error_comes_after_the_rows_before_it():
    def rows():
        yield from range(64)
        raise InputError("x:65: odd")

    parts = predict.chunks(rows(), waits=True)
    assert next(parts) == list(range(64))
    with pytest.raises(InputError, match="x:65: odd"):
        next(parts)


def test_fast_rows_fill_their_chunks_and_no_more_are_read_ahead():
    taken = []

    def rows():
        for number in range(100_000):
            taken.append(number)
            yield number

    parts = predict.chunks(rows(), waits=True)
    assert [len(next(parts)) for _ in range(3)] == [64, 1024, 1024]
    assert len(taken) < 64 + 2 * 1024 + 2 * 1024 + 3


def test_files_do_not_wait_and_pipes_do(tmp_path, monkeypatch):
    path = tmp_path / "texts"
    path.write_text("a\n")
    assert not predict.waits(str(path))
    assert not predict.waits(str(tmp_path / "none"))
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO()))
    assert not predict.waits(None)
    with path.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert not predict.waits(None)
    with open("/dev/null") as file:
        monkeypatch.setattr("sys.stdin", file)
        assert predict.waits(None)
