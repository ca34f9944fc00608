"""Own tasks: what a TOML file and its data mean, and a refusal for every fault."""

import dataclasses
import json
import re
import unicodedata
import warnings
from pathlib import Path
from typing import get_args

import datasets
import numpy as np
import pyarrow
import pytest
from messages import assert_mentions
from pyarrow import parquet

from mtra_jax import metrics
from mtra_jax.data.own_tasks import spelling, task_entries, task_file
from mtra_jax.data.splits.examples import SPLITS
from mtra_jax.errors import InputError
from mtra_jax.tasks import Benchmark, Kind, Task

TOML = "tasks.toml"
CSV = "text,label\na,x\nb,y\nc,x\n"
FILES = 'files = { train = "t.csv", validation = "t.csv", test = "t.csv" }\n'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def write(folder: Path, **contents: str) -> Path:
    """Writes files, "t_csv" as t.csv, and returns the path of the TOML file."""
    for name, content in contents.items():
        (folder / ".".join(name.rsplit("_", 1))).write_text(content, newline="")
    return folder / TOML


def load(path: Path, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*training texts too")
        warnings.filterwarnings("ignore", message=".*makes a misspelling an error")
        return task_file.load(path, *args, **kwargs)


def one(folder: Path, toml: str, **contents: str):
    """The task "t", whose table has the lines `toml`, and its splits."""
    path = write(folder, tasks_toml=f"[t]\n{toml}", **contents)
    benchmark, splits = load(path)
    return benchmark.tasks[0], splits["t"]


# ---- the page on own tasks

PAGE = Path(task_file.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_page_explains_every_key():
    table = PAGE.partition("**Files**")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines() if line[:3] == "| `"]
    assert sorted(re.findall(r"`(\w+)`", "".join(cells))) == sorted(task_entries.KEYS)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_page_lists_the_metrics_of_each_kind(kind):
    table = PAGE.partition("## Metrics")[2]
    (row,) = re.findall(rf"^\| {kind.replace('_', '-')} \|.*", table, re.MULTILINE)
    named = {name.partition(":")[0] for name in re.findall(r"`(\S+)`", row)}
    # Metrics of given outputs are those of the papers' benchmarks.
    assert named == {
        metric.name.partition(":")[0]
        for metric in metrics.METRICS.values()
        if kind in metric.kinds and not metric.outputs
    }


# ---- values


def test_classes_are_named_and_in_order(tmp_path):
    task, splits = one(tmp_path, FILES, t_csv="text,label\n a b ,y\n,x\n\t,y\n")
    assert task == Task(
        "t", "t", "classification", ("x", "y"), ("macro_f1", "accuracy")
    )
    assert list(splits) == list(SPLITS)
    for part in splits.values():
        assert part.texts == ["a b", "", ""]
        assert part.labels.dtype == np.int32
        assert part.labels.tolist() == [1, 0, 1]
        assert (part.targets, tuple(part.second_texts)) == ((), ())


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "-1", "9"], ("-1", "9", "10")),
        (["0", "1", "2", "10"], ("0", "1", "2", "10")),
        (["4.5", "10", "1e1"], ("4.5", "10", "1e1")),
        (["1.0", "2.0", "1"], ("1", "2")),
        (["01", "1"], ("01", "1")),
        (["b", "10", "9", "a", "B"], ("10", "9", "B", "a", "b")),
        (["é", "z", "nan", " z "], ("nan", "z", "é")),
        (["True", "False"], ("False", "True")),
    ],
)
def test_labels_that_are_numbers_are_in_the_order_of_numbers(
    tmp_path, labels, expected
):
    rows = "".join(f'{n},"{label}"\n' for n, label in enumerate(labels))
    task, splits = one(tmp_path, FILES, t_csv=f"text,label\n{rows}")
    assert task.labels == expected
    names = [expected[label] for label in splits["train"].labels]
    assert names == [x.strip().removesuffix(".0") for x in labels]


def test_typed_labels_have_the_names_of_their_texts(tmp_path):
    labels = [1, 2.0, "3", 2.5, True, False, "x"]
    lines = [json.dumps({"text": "a", "label": label}) for label in labels]
    toml = FILES.replace("csv", "jsonl")
    task, splits = one(tmp_path, toml, t_jsonl="\n".join(lines))
    assert task.labels == ("1", "2", "2.5", "3", "false", "true", "x")
    names = [task.labels[label] for label in splits["train"].labels]
    assert names == ["1", "2", "3", "2.5", "true", "false", "x"]


def test_listed_labels_keep_their_order(tmp_path):
    toml = f'{FILES}labels = ["z", "y", "x"]'
    task, splits = one(tmp_path, toml, t_csv=CSV)
    assert task.labels == ("z", "y", "x")
    assert splits["test"].labels.tolist() == [2, 1, 2]
    task, _ = one(
        tmp_path, f"{FILES}labels = [2, 1.0, true]", t_csv="text,label\na,1\n"
    )
    assert task.labels == ("2", "1", "true")


def test_every_key_of_a_task_reaches_it(tmp_path):
    toml = f"""{FILES}kind = "classification"
title = "Reviews, old"
text = ["body", "title"]
label = "stars"
metrics = ["f1:good", "accuracy"]
class_weights = {{ good = 3, "1" = 0.5 }}
label_smoothing = 0.1
"""
    rows = "stars,title,n,body\ngood,T,0,B\n1,t,0,b\nbad,,0,\n"
    task, splits = one(tmp_path, toml, t_csv=rows)
    assert task == Task(
        "t",
        "Reviews, old",
        "classification",
        ("1", "bad", "good"),
        ("f1:good", "accuracy"),
        is_pair=True,
        class_weights=(0.5, 1.0, 3.0),
        label_smoothing=0.1,
    )
    assert splits["train"].texts == ["B", "b", ""]
    assert splits["train"].second_texts == ["T", "t", ""]
    for weights in ("none", "balanced"):
        task, _ = one(tmp_path, f'{FILES}class_weights = "{weights}"', t_csv=CSV)
        assert task.class_weights == weights
    task, _ = one(tmp_path, FILES, t_csv=CSV)
    assert (task.class_weights, task.label_smoothing) == ("", None)


def test_regression_has_a_dimension_for_each_column(tmp_path):
    rows = "text,V,A\na,1,-2.5\nb, .5 ,1e3\n"
    toml = f'{FILES}kind = "regression"\nlabel = ["A", "V"]'
    task, splits = one(tmp_path, toml, t_csv=rows)
    assert (task.labels, task.metrics) == (("A", "V"), ("pearson", "rmse"))
    assert splits["test"].labels.dtype == np.float64
    assert splits["test"].labels.tolist() == [[-2.5, 1], [1000, 0.5]]
    toml = FILES.replace("csv", "jsonl") + 'kind = "regression"\nlabel = "y"'
    lines = '{"text": "a", "y": 3}\n{"text": "b", "y": "4.5"}\n{"text": "", "y": -0.0}'
    task, splits = one(tmp_path, toml, t_jsonl=lines)
    assert splits["test"].labels.tolist() == [[3], [4.5], [0]]


@pytest.mark.parametrize(
    ("separator", "cells", "expected"),
    [
        ("", ["b,a", "", "a", " c , a "], ["ab", "", "a", "ac"]),
        ("", ['["b", "a"]', "[]", '["c"]', "b"], ["ab", "", "c", "b"]),
        ("", ["['b', 'a']", "['c']", '["b"]'], ["ab", "c", "b"]),
        (" ", ["b a", "", "c"], ["ab", "", "c"]),
        ("|", ["a|b|a", "c"], ["ab", "c"]),
    ],
)
def test_labels_of_a_text_are_divided(tmp_path, separator, cells, expected):
    toml = f'{FILES}kind = "multi_label"\n'
    toml += f'label_separator = "{separator}"' if separator else ""
    rows = "".join('a,"' + cell.replace('"', '""') + '"\n' for cell in cells)
    task, splits = one(tmp_path, toml, t_csv=f"text,label\n{rows}")
    assert task.metrics == ("macro_f1", "micro_f1")
    assert task.labels == tuple(sorted(set("".join(expected))))
    labels = splits["train"].labels
    assert labels.dtype == np.float32
    assert [[task.labels[i] for i in np.flatnonzero(row)] for row in labels] == [
        list(names) for names in expected
    ]


def test_lists_and_columns_of_flags_are_labels_too(tmp_path):
    toml = FILES.replace("csv", "jsonl") + 'kind = "multi_label"\n'
    lines = '{"text": "a", "label": ["b", 10]}\n{"text": "b", "label": [9, 10]}\n'
    task, splits = one(tmp_path, toml, t_jsonl=lines)
    assert task.labels == ("10", "9", "b")
    assert splits["test"].labels.tolist() == [[1, 0, 1], [1, 1, 0]]
    lines = (
        '{"text": "a", "p": 1, "q": false}\n{"text": "b", "p": "0", "q": 1.0}\n'
        '{"text": "c", "p": "True", "q": "0.0"}\n'
    )
    task, splits = one(tmp_path, f'{toml}label = ["q", "p"]', t_jsonl=lines)
    assert task.labels == ("q", "p")
    assert splits["test"].labels.tolist() == [[0, 1], [1, 0], [0, 1]]


PARTLY = """text,mood,stars,a,b
one,glad,3,0,1
two, ,4,1,
three,sad,,1,0
four,glad,1,,
five,sad,2,0,0
"""
PARTS = {
    "mood": ("classification", '"mood"', "mood", ["one", "three", "four", "five"]),
    "stars": ("regression", '"stars"', "stars", ["one", "two", "four", "five"]),
    "tags": ("multi_label", '["a", "b"]', "b", ["one", "three", "five"]),
}


@pytest.mark.parametrize("name", PARTS)
def test_rows_without_a_label_can_be_left_out(name, tmp_path):
    """One table with a column for each task, labelled in part."""
    kind, label, column, expected = PARTS[name]
    toml = f'{FILES}kind = "{kind}"\nlabel = {label}\n'
    _, splits = one(tmp_path, f'{toml}missing = "skip"', t_csv=PARTLY)
    assert splits["train"].texts == expected
    lines = [
        dict(zip(("text", "mood", "stars", "a", "b"), row.split(","), strict=True))
        for row in PARTLY.splitlines()[1:]
    ]
    nulls = [{k: v.strip() or None for k, v in line.items()} for line in lines]
    content = "\n".join(map(json.dumps, nulls))
    toml_of_json = toml.replace("t.csv", "t.jsonl") + 'missing = "skip"'
    _, splits = one(tmp_path, toml_of_json, t_jsonl=content)
    assert splits["train"].texts == expected
    absent = [{k: v for k, v in line.items() if v is not None} for line in nulls]
    content = "\n".join(map(json.dumps, absent))
    _, splits = one(tmp_path, toml_of_json, t_jsonl=content)
    assert splits["train"].texts == expected
    both = toml_of_json.replace('train = "t.jsonl"', 'train = ["t.jsonl", "u.jsonl"]')
    _, splits = one(tmp_path, both, t_jsonl=content, u_jsonl='{"text": "six"}')
    assert splits["train"].texts == expected
    never = "\n".join(json.dumps({"text": line["text"]}) for line in nulls)
    with pytest.raises(InputError) as error:
        one(tmp_path, toml_of_json, t_jsonl=never)
    assert_mentions(error.value, tmp_path / "t.jsonl", "no column")
    with pytest.raises(InputError) as error:
        one(tmp_path, toml, t_csv=PARTLY)
    assert_mentions(error.value, tmp_path / "t.csv", column, 'missing = "skip"')


def test_a_file_of_json_lines_without_the_label_is_named(tmp_path):
    """By a warning if another file of the split has the key, else by an error."""
    files = 'files = { validation = "t.jsonl", test = "t.jsonl", train = '
    keys = f'missing = "skip"\nlabel = "mood"\n{files}'
    full = "".join(f'{{"text": "{x}", "mood": "{x}"}}\n' for x in "ab")
    misspelt, other = full.replace('"mood"', '"moood"'), '{"text": "c", "star": 1}\n'
    contents = {"t_jsonl": full, "u_jsonl": misspelt, "v_jsonl": other}
    with pytest.warns(UserWarning, match="no column") as caught:
        _, splits = one(
            tmp_path, keys + '["u.jsonl", "t.jsonl", "v.jsonl"] }', **contents
        )
    assert sorted(splits["train"].texts) == ["a", "b"]
    lines = [str(w.message) for w in caught if "no column" in str(w.message)]
    assert len(lines) == 2
    assert_mentions(lines[0], tmp_path / "u.jsonl", "'mood'", "'moood'")
    assert_mentions(lines[1], tmp_path / "v.jsonl", "'mood'", "'star'")
    (tmp_path / "t.csv").write_text("text,mood\nd,a\ne,b\n")
    with pytest.warns(UserWarning, match=r"u\.jsonl: no column 'mood'"):
        one(tmp_path, keys + '["t.csv", "u.jsonl"] }')
    for table in ("t.csv", "t.jsonl"):  # nothing to say of complete files
        with warnings.catch_warnings(record=True) as quiet:
            one(tmp_path, keys + f'["{table}"] }}')
        assert not [w for w in quiet if "no column" in str(w.message)]
    with pytest.raises(InputError) as error:
        one(tmp_path, keys + '["u.jsonl", "v.jsonl"] }')
    assert_mentions(error.value, tmp_path / "u.jsonl", "'mood'", "'moood'")
    (tmp_path / "t.csv").write_text("text,moood\nd,a\ne,b\n")
    with pytest.raises(InputError) as error:
        one(tmp_path, keys + '["t.jsonl", "t.csv"] }')
    assert_mentions(error.value, tmp_path / "t.csv", "'mood'", "'moood'")


@pytest.mark.parametrize(
    ("options", "lines", "is_advised"),
    [
        ("", ['{"text": "a", "label": "x"}', '{"text": "b"}'], True),
        ("", ['{"text": "b"}', '{"text": "a", "label": "x"}'], True),
        ("", ['{"text": "b"}', '{"text": "a", "labels": "x"}'], False),
        (
            'kind = "multi_label"',
            ['{"text": "a", "label": ["x"]}', '{"text": "b"}'],
            True,
        ),
    ],
)
def test_a_row_without_the_key_of_its_label_names_the_remedy(
    options, lines, is_advised, tmp_path
):
    """Where other rows have the key."""
    with pytest.raises(InputError) as error:
        one(tmp_path, f'files = "t.jsonl"\n{options}', t_jsonl="\n".join(lines))
    number = 1 + ['"b"' in line for line in lines].index(True)
    assert_mentions(error.value, f"{tmp_path / 't.jsonl'}:{number}", "'label'")
    assert ('missing = "skip"' in str(error.value)) == is_advised


def test_rows_without_several_labels_can_be_left_out(tmp_path):
    """By default an empty cell is a text with none of the labels, and null an error."""
    toml = f'{FILES}kind = "multi_label"\nlabel = "tags"\nlabels = ["x", "y"]\n'
    content = 'text,tags\none,x\ntwo,\nthree,"x,y"\nfour,[]\n'
    _, splits = one(tmp_path, toml, t_csv=content)
    np.testing.assert_array_equal(
        splits["train"].labels, [[1, 0], [0, 0], [1, 1], [0, 0]]
    )
    by_sign = toml + 'label_separator = ";"'
    _, splits = one(tmp_path, by_sign, t_csv=content.replace('"x,y"', "x;y"))
    np.testing.assert_array_equal(splits["train"].labels[1:], [[0, 0], [1, 1], [0, 0]])
    skipping = f'{toml}missing = "skip"'
    _, splits = one(tmp_path, skipping, t_csv=content)
    assert splits["train"].texts == ["one", "three", "four"]
    np.testing.assert_array_equal(splits["train"].labels, [[1, 0], [1, 1], [0, 0]])
    lines = [
        {"text": "one", "tags": ["x"]},
        {"text": "two", "tags": None},
        {"text": "three"},
        {"text": "four", "tags": []},
    ]
    content = "\n".join(map(json.dumps, lines))
    _, splits = one(tmp_path, skipping.replace("t.csv", "t.jsonl"), t_jsonl=content)
    assert splits["train"].texts == ["one", "four"]
    content = "\n".join(map(json.dumps, lines[:2]))
    with pytest.raises(InputError) as error:
        one(tmp_path, toml.replace("t.csv", "t.jsonl"), t_jsonl=content)
    assert_mentions(error.value, ":2: tags None", 'or missing = "skip"')


def test_a_label_that_training_lacks_names_the_key_that_lists_it(tmp_path):
    train = "text,label\none,a\ntwo,b\nthree,a\nfour,b\n"
    files = 'files = { train = "t.csv", validation = "t.csv", test = "u.csv" }\n'
    test = "text,label\nfive,optimism\n"
    with pytest.raises(InputError) as error:
        one(tmp_path, files, t_csv=train, u_csv=test)
    assert_mentions(error.value, "u.csv:2", "'optimism'", "(a, b)", "`labels`")
    listed = f'{files}labels = ["a", "b", "optimism"]'
    task, _ = one(tmp_path, listed, t_csv=train, u_csv=test)
    assert task.labels == ("a", "b", "optimism")
    with pytest.raises(InputError) as error:
        one(tmp_path, f'{files}labels = ["b", "a"]', t_csv=train, u_csv=test)
    assert str(error.value).endswith("is not one of the 2 labels (b, a)")


@pytest.mark.parametrize("text", ["NaN", "nan", " NAN "])
@pytest.mark.parametrize(
    ("kind", "label"), [("regression", '"a"'), ("multi_label", '["a", "b"]')]
)
def test_the_text_nan_is_a_missing_number(kind, label, text, tmp_path):
    """As tables are written with `na_rep="NaN"`."""
    toml = f'{FILES}kind = "{kind}"\nlabel = {label}\n'
    content = f"text,a,b\none,1,0\ntwo,{text},1\nthree,0,1\n"
    _, splits = one(tmp_path, f'{toml}missing = "skip"', t_csv=content)
    assert splits["train"].texts == ["one", "three"]
    with pytest.raises(InputError) as error:
        one(tmp_path, toml, t_csv=content)
    assert_mentions(error.value, f"{tmp_path / 't.csv'}:3", 'missing = "skip"')


def test_the_text_nan_is_a_class(tmp_path):
    content = "text,label\none,NaN\ntwo,x\nthree,\n"
    task, splits = one(tmp_path, f'{FILES}missing = "skip"', t_csv=content)
    assert task.labels == ("NaN", "x")
    assert splits["train"].texts == ["one", "two"]


def test_a_split_may_be_several_files_of_any_format(tmp_path):
    toml = (
        'files = { train = ["t.csv", "t.jsonl", "t.parquet", "t.txt"], test = "t.csv" }'
    )
    columns = {"label": ["y"], "text": ["f"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    contents = {"t_csv": CSV, "t_jsonl": '{"text": "d", "label": "z"}'}
    with pytest.raises(InputError, match=r"t\.txt: the name ends with no known format"):
        one(tmp_path, toml, **contents, t_txt="text\tlabel\ng\tx\n")
    toml = toml.replace(', "t.txt"', "") + "\nshares = { validation = 0.2 }"
    task, splits = one(tmp_path, toml, **contents)
    assert task.labels == ("x", "y", "z")
    assert sorted(splits["train"].texts + splits["validation"].texts) == list("abcdf")
    assert splits["test"].texts == list("abc")


def test_csv_with_another_separator(tmp_path):
    toml = FILES + 'separator = ";"\n'
    content = '\ufefftext;label\n"a; b";x\n"c, d";y\n'
    _, splits = one(tmp_path, toml, t_csv=content)
    assert splits["train"].texts == ["a; b", "c, d"]
    with pytest.raises(InputError) as error:
        one(tmp_path, FILES, t_csv=content)
    assert_mentions(error.value, "t.csv:1", "no column 'text'", "';' seems to separate")


def test_data_in_place_of_the_tasks_are_refused(tmp_path):
    write(tmp_path, t_csv=CSV)
    with pytest.raises(InputError) as error:
        task_file.names(tmp_path / "t.csv")
    expected = "expected a TOML file that describes tasks, not data"
    assert str(error.value) == f"{tmp_path / 't.csv'}: {expected}"


def test_text_of_another_encoding_is_refused_with_the_format_of_excel(tmp_path):
    (tmp_path / "t.csv").write_bytes("text,label\ncafé,x\n".encode("cp1252"))
    with pytest.raises(InputError) as error:
        one(tmp_path, FILES)
    assert_mentions(error.value, "t.csv:2", "0xe9", 'in Excel: "CSV UTF-8"')


def test_tasks_are_those_of_the_file_in_its_order(tmp_path):
    path = write(
        tmp_path,
        tasks_toml=f"[b]\n{FILES}[a]\n{FILES}kind = 'regression'\nlabel = 'n'\n"
        '[c]\nfiles = "missing.csv"',
        t_csv="text,label,n\na,x,1\nb,y,2\n",
    )
    assert task_file.names(path) == ("b", "a", "c")
    data = load(path, ["a", "b"])
    assert data.benchmark.name == "own"
    assert data.benchmark.task_names == tuple(data.splits) == ("b", "a")
    assert [task.kind for task in data.benchmark.tasks] == [
        "classification",
        "regression",
    ]
    with pytest.raises(
        InputError, match=r"tasks.toml: unknown task 'd'; known: b, a, c"
    ):
        load(path, ["d"])
    with pytest.raises(InputError, match="unknown split 'dev'"):
        load(path, ["a"], ["dev"])
    with pytest.raises(InputError, match=r"missing.csv: cannot be read: No such file"):
        load(path)


def test_only_the_files_that_are_needed_are_read(tmp_path):
    path = write(tmp_path, tasks_toml=f"[t]\n{FILES}", t_csv=CSV)
    benchmark, whole = load(path)
    toml = '[t]\nfiles = { train = "no.csv", validation = "no.csv", test = "t.csv" }'
    write(tmp_path, tasks_toml=toml)
    splits = task_file.read(path, benchmark, ["test"])
    assert list(splits["t"]) == ["test"]
    assert splits["t"]["test"].labels.tolist() == whole["t"]["test"].labels.tolist()
    with pytest.raises(InputError, match=r"no.csv: cannot be read"):
        task_file.read(path, benchmark, ["validation", "test"])
    with pytest.raises(InputError, match=r"no.csv: cannot be read"):
        load(path, (), ["test"])  # its labels are in the training data
    write(tmp_path, tasks_toml=f'{toml}\nlabels = ["y", "x"]')
    data = load(path, (), ["test"])
    assert data.splits["t"]["test"].labels.tolist() == [1, 0, 1]


def test_labels_of_a_benchmark_are_those_it_was_trained_with(tmp_path):
    path = write(tmp_path, tasks_toml=f"[t]\n{FILES}", t_csv="text,label\na,y\n")
    trained = Task("t", "T", "classification", ("z", "y"), ("accuracy",))
    benchmark = Benchmark("own", (trained,))
    assert task_file.read(path, benchmark, ["test"])["t"]["test"].labels.tolist() == [1]
    write(tmp_path, t_csv="text,label\na,y\nb,x\n")
    with pytest.raises(InputError) as error:
        task_file.read(path, benchmark, ["test"])
    assert_mentions(error.value, tmp_path / "t.csv:3", "'x'", "2 labels", "z, y")
    for other, parts in (
        (dataclasses.replace(trained, kind="multi_label"), ["kind is classification"]),
        (dataclasses.replace(trained, is_pair=True), ["is_pair is False"]),
        (dataclasses.replace(trained, name="u"), ["no task 'u'", "known: t"]),
    ):
        with pytest.raises(InputError) as error:
            task_file.read(path, Benchmark("own", (other,)))
        assert_mentions(error.value, path, *parts)
    write(tmp_path, tasks_toml=f'[t]\n{FILES}labels = ["y", "z"]')
    with pytest.raises(InputError) as error:
        task_file.read(path, benchmark)
    assert_mentions(error.value, f"{path}:1", "['y', 'z']", "['z', 'y']")


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (["train", "test"], "2 of 3 test texts are training texts too"),
        (["train", "validation"], "1 of 2 validation texts are training texts too"),
        (
            ["train", "validation", "test"],
            "2 of 3 test texts and 1 of 2 validation texts are training texts too",
        ),
        (["validation", "test"], None),
    ],
)
def test_texts_of_other_splits_that_are_training_texts_are_counted(
    tmp_path, splits, expected
):
    rows = "text,label\n{}\n"
    write(
        tmp_path,
        a_csv=rows.format("a,x\nb,y\nc,x"),
        b_csv=rows.format("a,y\n b,y\nd,y"),
        c_csv=rows.format("c,y\nd,x"),
    )
    toml = '[t]\nfiles = { train = "a.csv", validation = "c.csv", test = "b.csv" }'
    path = write(tmp_path, tasks_toml=toml)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        task_file.load(path, splits=splits)
        write(tmp_path, b_csv=rows.format("e,y"), c_csv=rows.format("e,y"))
        task_file.load(path, splits=splits)
    lines = [str(warning.message) for warning in record]
    assert lines == ([f"{path}:1: t: {expected}"] if expected else [])


def test_splits_that_are_a_share_are_named_with_the_key_that_scores_all(tmp_path):
    toml = '[a]\nfiles = "a.csv"\nshares = { test = 0.25 }\n'
    toml += '[b]\nfiles = { train = ["x/b.csv", "c.csv"], validation = "d.csv" }\n'
    toml += '[c]\nfiles = { test = "a.csv" }\n'
    path = write(tmp_path, tasks_toml=toml)
    assert task_file.cut_off(path, ["a", "b", "c"], "test") == [
        f'{path}:1: a: a share of 0.25 of "a.csv" was split off for test; '
        'files = { test = "a.csv" } scores all of it',
        f'{path}:4: b: a share of 0.1 of ["x/b.csv", "c.csv"] was split off for test; '
        'files = { test = ["x/b.csv", "c.csv"] } scores all of it',
    ]
    assert task_file.cut_off(path, ["b"], "validation") == []
    # The advice is followed.
    rows = "".join(f"{n},{'xy'[n % 2]}\n" for n in range(40))
    trained = Benchmark("own", (Task("a", "A", "classification", ("x", "y"), ()),))
    write(tmp_path, a_csv=f"text,label\n{rows}")
    assert len(task_file.read(path, trained, ["test"])["a"]["test"].texts) == 10
    write(tmp_path, tasks_toml='[a]\nfiles = { test = "a.csv" }')
    assert len(task_file.read(path, trained, ["test"])["a"]["test"].texts) == 40
    assert task_file.cut_off(path, ["a"], "test") == []


def test_a_label_that_looks_misspelt_is_named(tmp_path):
    labels = ["good"] * 17 + ["bad"] * 18 + ["neutral"] * 12 + ["godo"]
    rows = "".join(f"{n},{label}\n" for n, label in enumerate(labels))
    path = write(tmp_path, tasks_toml=f"[t]\n{FILES}", t_csv=f"text,label\n{rows}")
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        task_file.load(path, splits=["train"])
        toml = f'[t]\n{FILES}labels = ["godo", "good", "bad", "neutral"]'
        write(tmp_path, tasks_toml=toml)
        task_file.load(path, splits=["train"])
    assert [str(warning.message) for warning in record] == [
        f"{path}:1: class godo of t has 1 training example; did you mean good? "
        "labels = [...] makes a misspelling an error"
    ]


@pytest.mark.parametrize(
    ("kind", "labels", "parts"),
    [
        ("", ["bad", "good", "NaN"], ["class NaN", "missing value"]),
        ("", ["bad", "good", "none"], []),
        ('kind = "multi_label"\n', ["a", "b", "a;b"], ["t", "a;b", '";"']),
        ('kind = "multi_label"\nlabel_separator = ";"\n', ["a", "b", "a;b"], []),
        ('kind = "multi_label"\n', ["a", "b", "and/or"], []),
        ("", ["1", "01", "2"], ["class 01", "20", "are they one class?"]),
        ("", [f"{n / 4}" for n in range(12)], ["12 classes", 'kind = "regression"']),
        ("", [f"{n / 4}" for n in range(10)], []),
        ("", [str(n) for n in range(12)], []),
    ],
)
def test_labels_that_may_be_none_or_several_are_named(kind, labels, parts, tmp_path):
    rows = "".join(f"{n},{labels[n % len(labels)]}\n" for n in range(60))
    toml = f"[t]\n{kind}{FILES}"
    path = write(tmp_path, tasks_toml=toml, t_csv=f"text,label\n{rows}")
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        task_file.load(path, splits=["train"])
    assert len(record) == bool(parts)
    if parts:
        assert_mentions(record[0].message, f"{path}:1", *parts)


def test_a_split_without_files_and_training_files_is_the_one_that_is_named(tmp_path):
    path = write(tmp_path, tasks_toml='[t]\nfiles = { test = "t.csv" }\n', t_csv=CSV)
    task = Task("t", "t", "classification", ("x", "y"), ("accuracy",))
    with pytest.raises(InputError, match=f"^{path}:1: t: no files of validation$"):
        task_file.read(path, Benchmark("own", (task,)), ["validation"])


def test_names_that_differ_in_case_alone_are_refused(tmp_path):
    path = write(tmp_path, tasks_toml=f"[mood]\n{FILES}\n[Mood]\n{FILES}", t_csv=CSV)
    with pytest.raises(InputError) as error:
        task_file.load(path)
    line = (tmp_path / "tasks.toml").read_text().splitlines().index("[Mood]") + 1
    assert_mentions(error.value, f"{path}:{line}", "mood", "Mood", "case")


def test_two_unicode_forms_of_a_label_are_one_class(tmp_path):
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    rows = "".join(f"{n},{[*forms, 'tea'][n % 3]}\n" for n in range(60))
    path = write(tmp_path, tasks_toml=f"[t]\n{FILES}", t_csv=f"text,label\n{rows}")
    data = task_file.load(path, splits=["train"])
    assert data.benchmark.tasks[0].labels == (forms[0], "tea")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"good": 30, "Good": 20}, [("Good", "good")]),
        ({"good": 30, "Good": 30}, [("good", "Good")]),
        ({"positive": 30, "postive": 3}, [("postive", "positive")]),
        ({"neutral": 30, "nuetral": 3}, [("nuetral", "neutral")]),
        ({"positive": 30, "negitive": 1, "negative": 9}, [("negitive", "negative")]),
        ({"not-offensive": 1000, "offensive": 20}, []),
        ({"positive": 29, "postive": 3}, []),
        ({"good": 30, "gold": 20, "1": 50, "10": 1}, []),
        ({"yes": 30, "yep": 3}, []),
        ({"ab": 1, "abc": 1}, []),
    ],
)
def test_labels_that_may_be_misspelt(counts, expected):
    assert list(spelling.suspects(counts)) == expected


# ---- refusals

# (file t.csv, lines of [t], what the message mentions in this order)
BAD_DATA = [
    ("text,label\na,x\nb,\n", FILES, ["t.csv:3", "label is empty"]),
    ("text,label\na,x\nb, \n", FILES, ["t.csv:3", "label is empty"]),
    ("text,label\na,x\nb,x\n", FILES, [f"{TOML}:1", "'x'", "two classes"]),
    (
        "text,label\na,x\nb,1\n",
        FILES + 'labels = ["x", "y"]',
        ["t.csv:3", "'1'", "x, y"],
    ),
    (f"text,label\n1,{'b' * 300}\n", FILES, ["t.csv:2", "label", "300 characters"]),
    ('text,label\na,x\nb,"y\nz"\n', FILES, ["t.csv:3", "label", r"'y\nz'", "control"]),
    ("text,stars\na,1\n", FILES, ["t.csv:1", "no column 'label'", "['text', 'stars']"]),
    ("body,label\na,1\n", FILES, ["t.csv:1", "no column 'text'", "['body', 'label']"]),
    ("text,label\n", FILES, ["t.csv", "no row"]),
    ("", FILES, ["t.csv", "the file is empty"]),
    ("text,label\na\n", FILES, ["t.csv:2", "1 columns; expected 2"]),
    *(
        (f"text,label\na,1\nb,{cell}\n", f'{FILES}kind = "regression"', parts)
        for cell, parts in {
            "nan": ["t.csv:3", "label", "'nan'", "finite number"],
            "inf": ["t.csv:3", "'inf'"],
            "1e39": ["t.csv:3", "'1e39'"],
            "1_0": ["t.csv:3", "'1_0'"],
            "": ["t.csv:3", "''"],
            '"4,5"': ["t.csv:3", "'4,5'", "finite number, with a decimal point"],
            "true": ["t.csv:3", "'true'"],
            "٣": ["t.csv:3", "'٣'"],
        }.items()
    ),
    (CSV, FILES + 'separator = ";;"', [f"{TOML}:3", "t.separator", "';;'", "one sign"]),
    (
        CSV,
        FILES + 'format = "tsv"\nseparator = ";"',
        ["t.csv", "a separator", "the format is tsv"],
    ),
    (
        "text,p\na,2\n",
        f'{FILES}kind = "multi_label"\nlabel = ["p"]',
        ["t.csv:2", "p", "'2'", "0 or 1"],
    ),
    (
        'text,label\na,"[a]"\n',
        f'{FILES}kind = "multi_label"',
        ["t.csv:2", "'[a]'", "JSON list"],
    ),
    (
        'text,label\na,"x,,y"\n',
        f'{FILES}kind = "multi_label"',
        ["t.csv:2", "label is empty"],
    ),
    (
        "text,label\na,\n",
        f'{FILES}kind = "multi_label"',
        [f"{TOML}:1", "no training example has a label"],
    ),
    (CSV, FILES + "class_weights = { z = 2 }", [f"{TOML}:1", "'z'", "known: x, y"]),
    (
        "text,label\na,x\nb,y\n",
        'files = { train = "t.csv" }',
        [f"{TOML}:1", "2 examples in 2 classes", "test", "0.1"],
    ),
    (CSV, 'files = { test = "t.csv" }', [f"{TOML}:1", "t", "no files of train"]),
]


@pytest.mark.parametrize(
    ("content", "toml", "parts"), BAD_DATA, ids=[str(row[2]) for row in BAD_DATA]
)
def test_faulty_data_are_refused_with_file_line_and_value(
    tmp_path, content, toml, parts
):
    with pytest.raises(InputError) as error:
        one(tmp_path, toml, t_csv=content)
    assert_mentions(error.value, f"{tmp_path}/{parts[0]}", *parts[1:])
    assert len(str(error.value)) < 400 + len(str(tmp_path))


BAD_JSON = {
    '{"text": null, "label": 1}': ["text", "None", "expected a text"],
    '{"text": 5, "label": 1}': ["text", "5", "expected a text"],
    '{"text": ["a"], "label": 1}': ["text", "['a']", "expected a text"],
    '{"label": 1}': ["no column 'text'", "['label']"],
    '{"text": "a"}': ["no column 'label'", "['text']"],
    '{"text": "a", "label": null}': ["label", "None", "expected a label"],
    '{"text": "a", "label": NaN}': ["label", "nan", "expected a label"],
    '{"text": "a", "label": 1e999}': ["label", "inf", "expected a label"],
    '{"text": "a", "label": [1]}': ["label", "[1]", "expected a label", "multi_label"],
    '{"text": "a", "label": {"b": 1}}': ["label", "{'b': 1}", "expected a label"],
    '{"text": "a", "label": ""}': ["label is empty"],
}


@pytest.mark.parametrize("line", BAD_JSON)
def test_faulty_values_of_json_are_refused(tmp_path, line):
    lines = '{"text": "a", "label": 1}\n\n' + line
    with pytest.raises(InputError) as error:
        one(tmp_path, FILES.replace("csv", "jsonl"), t_jsonl=lines)
    assert_mentions(error.value, tmp_path / "t.jsonl:3", *BAD_JSON[line])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("regression", x) for x in ("true", "null", "NaN", "[1]", '"x"', "9" * 400)),
        *(("multi_label", x) for x in ("null", "1", "true", '{"a": 1}', '[["a"]]')),
        *(("multi_label", x) for x in ("[null]", "[NaN]", '[""]')),
    ],
)
def test_values_of_json_that_do_not_fit_the_kind_are_refused(tmp_path, kind, value):
    toml = FILES.replace("csv", "jsonl") + f'kind = "{kind}"'
    with pytest.raises(InputError) as error:
        one(tmp_path, toml, t_jsonl=f'{{"text": "a", "label": {value}}}')
    assert_mentions(error.value, tmp_path / "t.jsonl:1", "label")


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("kind", ["classification", "multi_label"])
def test_labels_that_training_lacks_are_refused(tmp_path, split, kind):
    others = {"train", "validation", "test"} - {split}
    files = ", ".join(f'{other} = "t.csv"' for other in others)
    toml = f'files = {{ {files}, {split} = "u.csv" }}\nkind = "{kind}"'
    contents = {"t_csv": CSV, "u_csv": "text,label\na,x\nb,yy\n"}
    with pytest.raises(InputError) as error:
        one(tmp_path, toml, **contents)
    assert_mentions(error.value, tmp_path / "u.csv:3", "'yy'", "2 labels", "y?")


# (TOML, what the message mentions in this order)
BAD_TOML = [
    ("", ["", "no task", "[NAME]"]),
    ("# nothing\n", ["", "no task"]),
    ("[t]\ntext =\n", [":2", "Invalid value"]),
    ("[t]\n[t]\n", [":2", "two tables [t]"]),
    ("[t]\nseed = 1\nseed = 2\n", [":3", "Cannot overwrite"]),
    ("[t]\nseed = [", [":2", "Invalid value"]),
    ("seed = 1\n[t]\n", [":1", "seed is 1", "[NAME]"]),
    ("[[t]]\n", [":1", "t is [{", "[NAME]"]),
    ("[t]\nlable = 'x'\n", [":2", "unknown key 'lable'", "label"]),
    ("\n\n[t.x]\nseed = 1\n", [":3", "unknown key 'x'"]),
    (f"[t]\n{FILES}\n['a b']\n", [":4", "'a b'", "letters"]),
    *(
        (f"\n['{name}']\n", [":2", f"'{name}'", "at most 60 letters"])
        for name in (
            "a/b",
            "a,b",
            "(a)",
            "-a",
            ".",
            "a.b",
            "avg",
            "predictions",
            "x" * 61,
        )
    ),
    ('["a\\nb"]\n', ["", r"'a\nb'", "letters"]),
    ('[""]\n', ["", "''", "letters"]),
    ("[t]\n", [":1", "t.files", "either `files` or `dataset`"]),
    (f"[t]\n{FILES}dataset = 'a/b'\n", [":2", "t.files", "either"]),
    ("[t]\nfiles = { dev = 't.csv' }\n", [":2", "'dev'", "train, validation, test"]),
    ("[t]\n[t.files]\ntrain = 5\n", [":2", "{'train': 5}", "a path", "train"]),
    ("[t]\nfiles.test = []\n", [":2", "{'test': []}", "a path", "test"]),
    ('[t]\nfiles = "a\\u0000"\n', [":2", "NUL"]),
    (f"[t]\n{FILES}kind = 'multilabel'\n", [":3", "'multilabel'", "multi_label?"]),
    (f"[t]\n{FILES}kind = 5\n", [":3", "kind is 5", "a text"]),
    (f"[t]\n{FILES}title = ''\n", [":3", "title is ''", "a text"]),
    (f'[t]\n{FILES}title = "a\\nb"\n', [":1", "title", r"'a\nb'"]),
    (f"[t]\n{FILES}text = ['a', 'b', 'c']\n", [":3", "['a', 'b', 'c']", "a pair"]),
    (f"[t]\n{FILES}text = ['a', 'a']\n", [":3", "['a', 'a']", "different"]),
    (f"[t]\n{FILES}text = []\n", [":3", "text is []", "at least one"]),
    (f"[t]\n{FILES}text = 5\n", [":3", "text is 5"]),
    (f"[t]\n{FILES}label = ['a', 'b']\n", [":3", "['a', 'b']", "one column"]),
    (f"[t]\n{FILES}labels = ['a']\n", [":3", "['a']", "at least 2"]),
    (f"[t]\n{FILES}labels = [1, '1', 2]\n", [":3", "different"]),
    (f"[t]\n{FILES}labels = 'a'\n", [":3", "'a'", "a list"]),
    (f"[t]\n{FILES}labels = [[1], 2]\n", [":3", "[1]", "expected a label"]),
    (
        f"[t]\n{FILES}labels = [1, 2]\nkind = 'regression'\n",
        [":3", "[1, 2]", "`label`"],
    ),
    (f"[t]\n{FILES}label_separator = ','\n", [":3", "','", "several labels"]),
    (f"[t]\n{FILES}metrics = []\n", [":3", "metrics is []", "at least one"]),
    (f"[t]\n{FILES}metrics = [1]\n", [":3", "[1]", "texts"]),
    (f"[t]\n{FILES}format = 'tvs'\n", [":3", "'tvs'", "tsv?"]),
    (f"[t]\n{FILES}config = 'en'\n", [":3", "'en'", "`dataset` only"]),
    (f"[t]\n{FILES}splits = {{ test = 'b' }}\n", [":3", "`dataset` only"]),
    ("[t]\ndataset = 'a/b'\nformat = 'csv'\n", [":3", "'csv'", "`files` only"]),
    ("[t]\ndataset = 'a/b/c'\n", [":2", "'a/b/c'", "a directory that exists"]),
    ("[t]\ndataset = './data'\n", [":2", "'./data'", "a directory that exists"]),
    ("[t]\ndataset = '../data'\n", [":2", "'../data'", "a directory that exists"]),
    (
        "[t]\ndataset = 'a/b'\nsplits = { dev = 'b' }\n",
        [":3", "train, validation, test"],
    ),
    ("[t]\ndataset = 'a/b'\nsplits = { test = '' }\n", [":3", "name of a split"]),
    (f"[t]\n{FILES}shares = {{ test = 0.1 }}\n", [":3", "no share for test"]),
    ("[t]\nfiles = 't.csv'\nshares = { test = 0 }\n", [":3", "{'test': 0}", "0 and 1"]),
    ("[t]\nfiles = 't.csv'\nshares = { test = '1' }\n", [":3", "0 and 1 for test"]),
    ("[t]\nfiles = 't.csv'\nshares = { test = 0.9 }\n", [":3", "sum is less than 1"]),
    ("[t]\nfiles = 't.csv'\nshares = { train = 0.9 }\n", [":3", "validation, test"]),
    ("[t]\nfiles = 't.csv'\nshares = { test = nan }\n", [":3", "nan", "0 and 1"]),
    ("[t]\nfiles = 't.csv'\nseed = -1\n", [":3", "-1", "whole number from 0"]),
    ("[t]\nfiles = 't.csv'\nseed = true\n", [":3", "True", "whole number from 0"]),
    (f"[t]\n{FILES}class_weights = 'even'\n", [":3", "'even'", "balanced"]),
    (f"[t]\n{FILES}class_weights = {{}}\n", [":3", "{}", "balanced"]),
    (f"[t]\n{FILES}class_weights = {{ x = 0 }}\n", [":3", "{'x': 0}", "above 0"]),
    (f"[t]\n{FILES}class_weights = {{ x = inf }}\n", [":3", "inf", "above 0"]),
    (f"[t]\n{FILES}missing = 'drop'\n", [":3", "'drop'", "skip"]),
    (f"[t]\n{FILES}label_smoothing = 1\n", [":3", "1", "less than 1"]),
    (f"[t]\n{FILES}label_smoothing = '0'\n", [":3", "'0'", "less than 1"]),
    (f"[t]\n{FILES}label_smoothing = false\n", [":3", "False", "less than 1"]),
    (
        f"[t]\n{FILES}label_smoothing = 0.1\nkind = 'regression'\n",
        [":3", "0.1", "classification only", "regression"],
    ),
]


@pytest.mark.parametrize(("toml", "parts"), BAD_TOML, ids=[row[0] for row in BAD_TOML])
def test_a_faulty_file_of_tasks_is_refused_with_its_line(tmp_path, toml, parts):
    path = write(tmp_path, tasks_toml=toml, t_csv=CSV)
    with pytest.raises(InputError) as error:
        load(path)
    place = path if parts[0] else tmp_path
    assert_mentions(error.value, f"{place}{parts[0]}", *parts[1:])
    assert len(str(error.value)) < 400 + len(str(path))


def test_a_file_of_tasks_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / TOML
    with pytest.raises(InputError, match=r"tasks.toml: cannot be read: No such file"):
        task_file.names(path)
    path.write_bytes(b"[t]\n# \xe9\n")
    with pytest.raises(InputError, match=r"tasks.toml:2: byte 0xe9 is not UTF-8"):
        task_file.names(path)
    path.write_bytes(b"\xef\xbb\xbf[t]\r\nfiles = 't.csv'\r\n")
    assert task_file.names(path) == ("t",)
    path.write_text("t = " + "[" * 100_000)
    with pytest.raises(InputError, match=r"tasks.toml"):
        task_file.names(path)


# ---- data sets

TWO = [datasets.ClassLabel(names=["no", "yes"]), datasets.Value("string")]


def save(folder: Path, **splits: dict[str, list]) -> None:
    """A directory as `save_to_disk` writes it; classes are numbers with names."""
    features = datasets.Features({"label": TWO[0], "text": TWO[1]})
    datasets.DatasetDict(
        {name: datasets.Dataset.from_dict(x, features) for name, x in splits.items()}
    ).save_to_disk(folder)


def rows(texts: str, labels: list[int]) -> dict[str, list]:
    return {"text": list(texts), "label": labels}


def test_a_saved_data_set_has_the_names_of_its_classes(tmp_path):
    save(tmp_path / "d", train=rows("abc", [1, 1, 0]), dev=rows("de", [0, 1]))
    toml = 'dataset = "d"\nsplits = { validation = "dev", test = "dev" }'
    task, splits = one(tmp_path, toml)
    assert task.labels == ("no", "yes")
    assert splits["train"].texts == ["a", "b", "c"]
    assert splits["train"].labels.tolist() == [1, 1, 0]
    assert splits["test"].labels.tolist() == [0, 1]
    task, splits = one(tmp_path, f'{toml}\nlabels = ["yes", "no"]')
    assert splits["train"].labels.tolist() == [0, 0, 1]


def test_a_saved_data_set_is_read_without_the_framework_that_it_asks_for(tmp_path):
    data = datasets.Dataset.from_dict(rows("abcdef", [1, 2] * 3)).with_format("jax")
    data.save_to_disk(tmp_path / "d")
    task, splits = one(tmp_path, 'dataset = "d"\nshares = { test = 0.2 }')
    assert task.labels == ("1", "2")
    assert sorted(t for part in splits.values() for t in part.texts) == list("abcdef")


def test_a_directory_of_data_files_has_the_splits_of_its_names(tmp_path):
    (tmp_path / "d").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "d" / f"{split}.csv").write_text(f"text,label\n{split},3\nb,10\n")
    task, splits = one(tmp_path, 'dataset = "d"')
    assert task.labels == ("3", "10")
    assert [part.texts[0] for part in splits.values()] == list(SPLITS)
    assert splits["test"].labels.tolist() == [0, 1]
    # A share that is written down is cut from train all the same.
    (tmp_path / "d" / "train.csv").write_text("text,label\nx,3\ny,3\nz,10\n")
    _, splits = one(tmp_path, 'dataset = "d"\nshares = { test = 0.3 }')
    assert splits["test"].texts in (["x"], ["y"])
    assert splits["validation"].texts == ["validation", "b"]


def test_lists_of_classes_are_labels(tmp_path):
    label = datasets.List(datasets.ClassLabel(names=["p", "q", "r"]))
    features = datasets.Features({"label": label, "text": TWO[1]})
    content = {"text": ["a", "b"], "label": [[2, 0], []]}
    data = datasets.Dataset.from_dict(content, features)
    datasets.DatasetDict(dict.fromkeys(SPLITS, data)).save_to_disk(tmp_path / "d")
    task, splits = one(tmp_path, 'dataset = "d"\nkind = "multi_label"')
    assert task.labels == ("p", "q", "r")
    assert splits["test"].labels.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_numbers_of_classes_are_the_values_of_a_regression(tmp_path):
    save(tmp_path / "d", **dict.fromkeys(SPLITS, rows("ab", [0, 1])))
    _, splits = one(tmp_path, 'dataset = "d"\nkind = "regression"')
    assert splits["test"].labels.tolist() == [[0], [1]]


def test_faulty_data_sets_get_one_line(tmp_path):
    good = rows("ab", [0, 1])
    save(tmp_path / "d", train=good, validation=good, test=rows("ab", [1, -1]))
    for toml, parts in (
        ('dataset = "d"', [tmp_path / "d, test, row 2", "label -1", "from 0 to 1"]),
        ('dataset = "d"\ntext = "body"', [tmp_path / "d, ", "'body'", "'label'"]),
        (
            'dataset = "d"\nsplits = { test = "dev" }',
            [tmp_path / TOML, "'dev'", "train"],
        ),
        ('dataset = "nobody/nothing"', ["nobody/nothing: "]),
        ('dataset = "nobody/nothing"\nconfig = "en"', ["nobody/nothing", "'en'"]),
    ):
        with pytest.raises(InputError) as error:
            one(tmp_path, toml)
        assert_mentions(error.value, *parts)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as error:
        one(tmp_path, 'dataset = "empty"')
    assert_mentions(error.value, tmp_path / "empty")
    (tmp_path / "d" / "dataset_dict.json").write_text("{")
    with pytest.raises(InputError) as error:
        one(tmp_path, 'dataset = "d"')
    assert_mentions(error.value, tmp_path / "d")


def test_code_in_a_directory_of_data_is_never_run(tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "d.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    with pytest.raises(InputError):
        one(tmp_path, 'dataset = "d"')
    assert not marker.exists()


# ---- lists

SENTIMENT = Task("s", "S", "classification", ("bad", "1"), ("accuracy",))
PAIRS = dataclasses.replace(SENTIMENT, name="p", is_pair=True)
VALUES = Task("v", "V", "regression", ("V", "A"), ("pearson",))
TOPICS = Task("m", "M", "multi_label", ("a", "b", "c"), ("macro_f1",))


def test_lists_are_examples():
    part = task_file.examples(SENTIMENT, [(" so ", "bad"), ("", 1), ["x", np.int64(1)]])
    assert (part.texts, part.labels.tolist()) == (["so", "", "x"], [0, 1, 1])
    assert (part.labels.dtype, part.second_texts) == (np.int32, ())
    part = task_file.examples(PAIRS, [(("a", " b"), "1"), (["c", "d"], 1.0)])
    assert (part.texts, part.second_texts) == (["a", "c"], ["b", "d"])
    assert part.labels.tolist() == [1, 1]
    pairs = [("a", [1, 2.5]), ("b", (np.float32(3), 4)), ("c", np.array([5, 6]))]
    part = task_file.examples(VALUES, pairs)
    assert part.labels.dtype == np.float64
    assert part.labels.tolist() == [[1, 2.5], [3, 4], [5, 6]]
    single = dataclasses.replace(VALUES, labels=("V",))
    assert task_file.examples(single, [("a", 2), ("b", [3])]).labels.tolist() == [
        [2],
        [3],
    ]
    part = task_file.examples(TOPICS, iter([("a", ["c", "a"]), ("b", {"b"}), ("", [])]))
    assert part.labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("task", "pair", "parts"),
    [
        (SENTIMENT, "ab", ["'ab'", "(text, label)"]),
        (SENTIMENT, ("a", "bad", 1), ["(text, label)"]),
        (SENTIMENT, (None, "bad"), ["text None", "expected a text"]),
        (SENTIMENT, (("a", "b"), "bad"), ["('a', 'b')", "expected a text"]),
        (SENTIMENT, ("\ud83d", "bad"), ["text", "surrogate"]),
        (SENTIMENT, ("a", "good"), ["label 'good'", "2 labels", "(bad, 1)"]),
        (SENTIMENT, ("a", None), ["label None", "expected a label"]),
        (SENTIMENT, ("a", float("nan")), ["label nan", "expected a label"]),
        (PAIRS, ("ab", "bad"), ["'ab'", "a pair of texts"]),
        (PAIRS, (("a",), "bad"), ["('a',)", "a pair of texts"]),
        (PAIRS, (("a", 2), "bad"), ["second text 2", "expected a text"]),
        (VALUES, ("a", 1), ["1 values; expected 2: V, A"]),
        (VALUES, ("a", [1, "x"]), ["A 'x'", "finite number"]),
        (VALUES, ("a", [True, 1]), ["V True", "finite number"]),
        (VALUES, ("a", [1, np.nan]), ["A nan", "finite number"]),
        (TOPICS, ("a", 3), ["label 3", "a list of labels"]),
        (TOPICS, ("a", ["a", "d"]), ["label 'd'", "3 labels"]),
    ],
)
def test_faulty_examples_are_refused_with_their_index(task, pair, parts):
    good = {
        "s": ("a", "bad"),
        "p": (("a", "b"), "bad"),
        "v": ("a", [1, 2]),
        "m": ("a", []),
    }
    with pytest.raises(InputError) as error:
        task_file.examples(task, [good[task.name], pair])
    assert_mentions(error.value, f"{task.name}, example [1]", *parts)


def test_a_list_has_an_example():
    with pytest.raises(InputError, match="s: no example of S; expected at least one"):
        task_file.examples(SENTIMENT, [])
