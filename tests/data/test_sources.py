"""Readers of the real benchmarks: exact content, one-line errors, the real files."""

import contextlib
import csv
import dataclasses
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mtra_jax.data.built_in import benchmark_files, sources
from mtra_jax.data.built_in.tweeteval import STANCE_TARGETS
from mtra_jax.errors import InputError
from mtra_jax.tasks import AFFECTEVAL, GOEMOTIONS_LABELS, TWEETEVAL, Benchmark

ALL = Benchmark("all", tuple(dict.fromkeys(TWEETEVAL.tasks + AFFECTEVAL.tasks)))
TASKS = {task.name: task for task in ALL.tasks}
EMOTION = "tweeteval/datasets/emotion"
GOEMOTIONS = "affecteval/goemotions"
EMOBANK = "affecteval/emobank/emobank.csv"
EI_REG = "affecteval/ei-reg/EI-reg"
HEADER = "ID\tTweet\tAffect Dimension\tIntensity Score\n"


def write(root: Path, file: str, content: str | bytes) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def root(tmp_path):
    """A few examples of every task and split; each text names its place."""
    folders = [f"tweeteval/datasets/{name}" for name in TWEETEVAL.task_names[:-1]]
    folders += [f"tweeteval/datasets/stance/{t}" for t in STANCE_TARGETS]
    for folder in folders:
        name = folder.rpartition("/")[2]
        for part in ("train", "val", "test"):
            write(tmp_path, f"{folder}/{part}_text.txt", f"{name} {part} a \n b\n")
            write(tmp_path, f"{folder}/{part}_labels.txt", "1\n0\n")
    for part in ("train", "dev", "test"):
        rows = f"{part} one\t27\tid1\n{part} two\t3,4\tid2\n{part} three\t0\tid3\n"
        write(tmp_path, f"{GOEMOTIONS}/{part}.tsv", rows)
    write(
        tmp_path,
        EMOBANK,
        "id,split,V,A,D,text\n"
        'x1,train,3.0,3.5,3.25,"Said ""so"", twice"\n'
        "x2,test,1,5,4.5,t\n"
        "x3,dev,2.,.5,1e0,d\n"
        "x4,train,4.0,2.5,1.25,  last \n",
    )
    for folder, name in {
        "training": "EI-reg-En-{}-train.txt",
        "development": "2018-EI-reg-En-{}-dev.txt",
        "test-gold": "2018-EI-reg-En-{}-test-gold.txt",
    }.items():
        for number, emotion in enumerate(("anger", "fear", "joy", "sadness")):
            row = f'id\t"{emotion} {folder}\\n \t{emotion}\t0.{number}\n'
            write(tmp_path, f"{EI_REG}/{folder}/{name.format(emotion)}", HEADER + row)
    return tmp_path


def load(root: Path, *names: str) -> dict:
    return sources.load_benchmark(ALL.select(names or ALL.task_names), root)


def test_reads_only_the_selected_tasks_in_the_benchmarks_order(root):
    loaded = load(root, "irony", "emotion")
    assert list(loaded) == ["emotion", "irony"]
    assert [tuple(splits) for splits in loaded.values()] == [sources.SPLITS] * 2
    train = loaded["emotion"]["train"]
    assert train.texts == ["emotion train a", "b"]
    assert train.labels.dtype == np.int32
    assert train.labels.tolist() == [1, 0]
    assert loaded["irony"]["validation"].texts[0] == "irony val a"
    assert loaded["irony"]["test"].texts[0] == "irony test a"


def test_stance_is_its_targets_in_alphabetical_order(root):
    write(root, "tweeteval/datasets/stance/climate/test_text.txt", "x\ny\nz")
    write(root, "tweeteval/datasets/stance/climate/test_labels.txt", "2\n2\n0")
    test = load(root, "stance")["stance"]["test"]
    assert [text.split()[0] for text in test.texts[::2]] == [
        "abortion",
        "atheism",
        "x",
        "z",
        "b",
        "b",
    ]
    assert test.labels.tolist() == [1, 0, 1, 0, 2, 2, 0, 1, 0, 1, 0]
    # The sizes cut the task into its targets again.
    assert test.targets == (
        ("abortion", 2),
        ("atheism", 2),
        ("climate", 3),
        ("feminist", 2),
        ("hillary", 2),
    )
    assert load(root, "emotion")["emotion"]["test"].targets == ()


@pytest.mark.parametrize("split", sources.SPLITS)
def test_one_split_needs_its_own_files_only(root, split):
    """EmoBank is one file; for the other tasks only the files of the split are needed."""
    whole = load(root)
    parts = {"train": "train", "validation": "val|dev", "test": "test"}
    for path in list(root.rglob("*.t*")):
        if path.suffix in (".txt", ".tsv") and not re.search(parts[split], path.name):
            path.unlink()
    alone = sources.load_benchmark(ALL, root, [split])
    assert list(alone) == list(whole)
    for name, splits in alone.items():
        assert list(splits) == [split]
        assert splits[split].texts == whole[name][split].texts
        assert splits[split].targets == whole[name][split].targets
        np.testing.assert_array_equal(splits[split].labels, whole[name][split].labels)


def test_an_unknown_split_is_refused(root):
    with pytest.raises(InputError, match="unknown split 'tests'; did you mean test"):
        sources.load_benchmark(ALL, root, ["tests"])


def test_a_reader_without_a_layout_is_an_internal_error(tmp_path):
    with pytest.raises(KeyError, match="no row of _LAYOUTS for elsewhere/x"):
        benchmark_files.read_text(tmp_path, "elsewhere/x")


def test_only_a_line_feed_ends_a_text(root):
    breaks = "a\u2028b\x85c\x0bd\x0ce\x1cf\rg"
    write(root, f"{EMOTION}/test_text.txt", f"{breaks}\n\n\u200bz ")
    write(root, f"{EMOTION}/test_labels.txt", "3\n2\n1")
    test = load(root, "emotion")["emotion"]["test"]
    assert test.texts == [breaks, "", "\u200bz"]  # an empty text is an example
    assert test.labels.tolist() == [3, 2, 1]


def test_byte_order_marks_carriage_returns_and_no_last_newline(root):
    write(root, f"{EMOTION}/val_text.txt", b"\xef\xbb\xbfone \r\ntwo\r\n\r\nfour")
    write(root, f"{EMOTION}/val_labels.txt", b"\xef\xbb\xbf3\r\n 0 \r\n01\r\n2")
    validation = load(root, "emotion")["emotion"]["validation"]
    assert validation.texts == ["one", "two", "", "four"]
    assert validation.labels.tolist() == [3, 0, 1, 2]


def test_goemotions_keeps_rows_with_one_label_and_unquotes(root):
    rows = b'"He said ""no"". "\t2\ta\r\nplain "inner"\t27\tb\r\nboth\t1,2\tc\r\n\t0\td'
    write(root, f"{GOEMOTIONS}/dev.tsv", rows)
    splits = load(root, "goemotions")["goemotions"]
    assert splits["validation"].texts == ['He said "no".', 'plain "inner"', ""]
    assert splits["validation"].labels.tolist() == [2, 27, 0]
    assert splits["train"].texts == ["train one", "train three"]
    assert splits["test"].labels.dtype == np.int32


def test_emobank_values_are_v_a_d_whatever_the_columns_order(root):
    splits = load(root, "emobank")["emobank"]
    assert splits["train"].texts == ['Said "so", twice', "last"]
    assert splits["train"].labels.dtype == np.float64
    assert splits["train"].labels.tolist() == [[3.0, 3.5, 3.25], [4.0, 2.5, 1.25]]
    assert splits["validation"].labels.tolist() == [[2.0, 0.5, 1.0]]
    assert splits["test"].labels.tolist() == [[1.0, 5.0, 4.5]]
    rows = "text,D,split,A,V\r\nq,3,train,2,1\r\nr,3,dev,2,1\r\ns,3,test,2,1\r\n"
    write(root, EMOBANK, "\ufeff" + rows)
    assert load(root, "emobank")["emobank"]["test"].labels.tolist() == [[1, 2, 3]]


def test_ei_reg_is_four_emotions_and_never_quoted(root):
    splits = load(root, "ei-reg")["ei-reg"]
    assert splits["validation"].texts == [
        f'"{emotion} development\\n' for emotion in ("anger", "fear", "joy", "sadness")
    ]
    np.testing.assert_array_equal(splits["test"].labels, [[0.0], [0.1], [0.2], [0.3]])
    assert splits["train"].texts[2] == '"joy training\\n'


BAD_FILES = [
    (f"{EMOTION}/train_text.txt", b"", r"train_text.txt: the file is empty"),
    (f"{EMOTION}/train_text.txt", b"\xef\xbb\xbf", r"train_text.txt: .* is empty"),
    (f"{EMOTION}/train_labels.txt", b"", r"train_labels.txt: the file is empty"),
    (
        f"{EMOTION}/train_text.txt",
        b"one\n",
        r"train_text.txt has 1 lines but .*train_labels.txt has 2",
    ),
    (
        f"{EMOTION}/train_labels.txt",
        b"1\n0\n\n",
        r"train_text.txt has 2 lines but .*train_labels.txt has 3",
    ),
    (
        f"{EMOTION}/test_labels.txt",
        b"3\n4\n",
        r"test_labels.txt:2: label '4' of EmotionEval; expected .* from 0 to 3$",
    ),
    (f"{EMOTION}/test_labels.txt", b"-1\n0\n", r"test_labels.txt:1: label '-1'"),
    (f"{EMOTION}/test_labels.txt", b"1\njoy\n", r"test_labels.txt:2: label 'joy'"),
    (f"{EMOTION}/test_labels.txt", b"1.0\n1\n", r"test_labels.txt:1: label '1.0'"),
    (f"{EMOTION}/test_labels.txt", b"1\n\n", r"test_labels.txt:2: label ''"),
    (f"{EMOTION}/test_labels.txt", b"0_1\n1\n", r"test_labels.txt:1: label '0_1'"),
    (f"{EMOTION}/test_labels.txt", "١\n1\n", r"test_labels.txt:1: label '١'"),
    (f"{EMOTION}/test_labels.txt", b"9" * 9999 + b"\n0\n", r"labels.txt:1: label '99"),
    (
        f"{EMOTION}/val_text.txt",
        b"\xef\xbb\xbfone\ntwo \xff\n",
        r"val_text.txt:2: byte 0xff is not UTF-8",
    ),
    (
        "tweeteval/datasets/stance/feminist/val_labels.txt",
        b"0\n3\n",
        r"stance/feminist/val_labels.txt:2: label '3' of StanceEval",
    ),
    (
        f"{GOEMOTIONS}/dev.tsv",
        b"a\t1\tid\nb\t2\n",
        r"dev.tsv:2: 2 columns; expected 3: text, label ids, comment id$",
    ),
    (f"{GOEMOTIONS}/dev.tsv", b"a\t1\tid\nb\t28\tid\n", r"dev.tsv:2: label '28'"),
    (f"{GOEMOTIONS}/dev.tsv", b"a\t1\tid\nb\t2,x\tid\n", r"dev.tsv:2: label 'x'"),
    (f"{GOEMOTIONS}/dev.tsv", b"a\t\tid\n", r"dev.tsv:1: label ''"),
    (f"{GOEMOTIONS}/test.tsv", b"a\t1,2\tid\n", r"test.tsv: no example of GoEmotions"),
    (
        f"{GOEMOTIONS}/train.tsv",
        b'one\t1\tid\n"two\nthree\t2\tid\n',
        r"train.tsv:2: quoting that CSV does not allow",
    ),
    (
        f"{GOEMOTIONS}/train.tsv",
        b"one\t1\tid\rtwo\t2\tid\r",
        r"train.tsv:1: a carriage return alone, which CSV does not allow; expected line",
    ),
    (
        f"{GOEMOTIONS}/train.tsv",
        b'"two\nlines"\t1\tid\nb\tx\tid\n',
        r"train.tsv:3: label 'x'",
    ),
    (EMOBANK, b"", r"emobank.csv: the file is empty"),
    (EMOBANK, b"id,split,V,A,text\n", r"emobank.csv:1: no column 'D'; found \['id'"),
    (EMOBANK, b"x1,train,1,2,3,t\n", r"emobank.csv:1: no column 'split'"),
    (
        EMOBANK,
        b"id,split,V,A,D,text\nx,train,1,2,3\n",
        r"emobank.csv:2: 5 columns; expected 6: id, split, V, A, D, text$",
    ),
    (
        EMOBANK,
        b"id,split,V,A,D,text\nx,valid,1,2,3,t\n",
        r"emobank.csv:2: split 'valid'; expected train, dev, test$",
    ),
    (
        EMOBANK,
        b"id,split,V,A,D,text\nx,train,1,nan,3,t\n",
        r"emobank.csv:2: A 'nan'; expected a finite number$",
    ),
    (EMOBANK, b"id,split,V,A,D,text\nx,train,1,2,-inf,t\n", r"csv:2: D '-inf'"),
    (EMOBANK, b"id,split,V,A,D,text\nx,train,1e39,2,3,t\n", r"csv:2: V '1e39'"),
    (
        EMOBANK,
        b"id,split,V,A,D,text\nx,train,1,2,3,t\nx,test,1,2,3,t\n",
        r"emobank.csv, split 'dev': no example of EmoBank",
    ),
    (
        f"{EI_REG}/training/EI-reg-En-joy-train.txt",
        b"id\tgood\tjoy\t0.5\n",
        r"joy-train.txt:1: header 'id.*0.5'; expected \['ID', 'Tweet', ",
    ),
    (
        f"{EI_REG}/training/EI-reg-En-joy-train.txt",
        HEADER.encode(),
        r"joy-train.txt: only a header",
    ),
    (
        f"{EI_REG}/test-gold/2018-EI-reg-En-fear-test-gold.txt",
        HEADER.encode() + b"id\ta\tfear\t0.5\nid\tb\t0.5\n",
        r"fear-test-gold.txt:3: 3 columns; expected 4: ID, Tweet",
    ),
    (
        f"{EI_REG}/development/2018-EI-reg-En-fear-dev.txt",
        HEADER.encode() + b"id\ta\tfear\tNONE\n",
        r"fear-dev.txt:2: Intensity Score 'NONE'; expected a finite number",
    ),
    (
        f"{EI_REG}/development/2018-EI-reg-En-fear-dev.txt",
        HEADER.encode() + b"id\ta\tfear\tinf\n",
        r"fear-dev.txt:2: Intensity Score 'inf'",
    ),
]


@pytest.mark.parametrize(
    ("file", "content", "message"), BAD_FILES, ids=[row[-1] for row in BAD_FILES]
)
def test_bad_content_gets_one_line_with_file_and_line(root, file, content, message):
    write(root, file, content)
    with pytest.raises(InputError, match=message) as caught:
        load(root)
    assert str(caught.value).startswith(str(root))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + 2 * len(str(root))


@pytest.mark.parametrize("name", TASKS)
def test_every_file_of_a_task_is_needed_and_its_absence_named(root, name):
    for file in sources.task_files(TASKS[name]):
        content = (root / file).read_bytes()
        (root / file).unlink()
        with pytest.raises(InputError) as caught:
            load(root, name)
        assert str(caught.value).startswith(f"{root / file}: no such file; a data")
        assert "(`mtra-jax prepare` fetches or copies it)" in str(caught.value)
        write(root, file, content)
    load(root, name)


def test_the_highest_missing_directory_is_named(tmp_path, root):
    with pytest.raises(InputError, match=r"/nowhere: no such directory; .*tweeteval/"):
        load(tmp_path / "nowhere", "hate")
    (root / EMOBANK).unlink()
    (root / EMOBANK).parent.rmdir()
    with pytest.raises(InputError, match=r"/emobank: no such directory; .*emobank.csv"):
        load(root, "emobank")
    (root / EMOBANK).mkdir(parents=True)
    with pytest.raises(InputError, match=r"emobank.csv: cannot be read: Is a directo"):
        load(root, "emobank")


def test_a_task_without_files_is_an_error(root):
    task = dataclasses.replace(TASKS["irony"], name="ironi")
    with pytest.raises(InputError, match="'ironi' has no files; did you mean irony"):
        sources.load_benchmark(Benchmark("mine", (task,)), root)


def parse_independently(texts: bytes, labels: bytes) -> tuple[list[str], list[int]]:
    """The rules again, by other means, from the bytes; ValueError if one is broken."""
    lines = []
    for content in (texts, labels):
        content = content.removeprefix(b"\xef\xbb\xbf")
        if not content:
            raise ValueError
        split = content.removesuffix(b"\n").split(b"\n")
        lines.append([str(line, "utf-8") for line in split])
    ids = ["0123".index(line.strip(" \t\r").lstrip("0") or "0") for line in lines[1]]
    if len(lines[0]) != len(ids) or any(
        len(line.strip(" \t\r").lstrip("0")) > 1 or not line.strip(" \t\r")
        for line in lines[1]
    ):
        raise ValueError
    return [text.strip() for text in lines[0]], ids


LINES = st.lists(
    st.sampled_from([b"0", b"1", b" 3 ", b"02", b"4", b"-1", b"x", b"", b"12", b"\x85"])
    | st.text(max_size=3).map(lambda text: text.encode()),
    max_size=3,
)
FILES = (
    st.tuples(LINES, st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([b"", b"\n"]))
    .map(lambda parts: parts[1].join(parts[0]) + parts[2])
    .flatmap(lambda content: st.sampled_from([content, b"\xef\xbb\xbf" + content]))
)
BYTES = FILES | st.binary(max_size=8)


@settings(max_examples=100, deadline=None)
@given(texts=BYTES, labels=BYTES)
@example(texts=b"a\r\n\r\n", labels=b"1\n2")
@example(texts=b"\n", labels=b"0")
@example(texts=b"a\n\xe2\x80\xa8b", labels=b"003\r\n0\n")
def test_any_bytes_are_read_right_or_refused(texts, labels):
    with tempfile.TemporaryDirectory() as folder:
        for part in ("train", "val", "test"):
            write(Path(folder), f"{EMOTION}/{part}_text.txt", texts)
            write(Path(folder), f"{EMOTION}/{part}_labels.txt", labels)
        actual = expected = None
        with contextlib.suppress(ValueError):
            expected = parse_independently(texts, labels)
        with contextlib.suppress(InputError):
            loaded = load(Path(folder), "emotion")["emotion"]["validation"]
            actual = (loaded.texts, loaded.labels.tolist())
    assert actual == expected


# Examples of each class, counted with `sort | uniq -c` and awk.
CLASS_COUNTS = {
    "emotion": ([1400, 708, 294, 855], [160, 97, 28, 89], [558, 358, 123, 382]),
    "hate": ([5217, 3783], [573, 427], [1718, 1252]),
    "irony": ([1417, 1445], [499, 456], [473, 311]),
    "offensive": ([7975, 3941], [865, 459], [620, 240]),
    "sentiment": ([7414, 21267, 18772], [312, 869, 819], [3972, 5937, 2375]),
    "stance": ([688, 1254, 678], [78, 141, 75], [230, 715, 304]),
    "goemotions": [
        [int(count) for count in counts.split()]
        for counts in (
            "2710 1652 1025 1451 1873 649 858 1389 389 709 1402 498 203 510 430 1857 "
            "39 853 1427 85 861 51 586 88 353 817 720 12823",
            "326 208 109 164 258 96 102 164 52 91 212 61 20 52 58 261 6 106 173 8 119 "
            "9 74 8 40 84 95 1592",
            "348 186 131 194 236 86 97 176 56 88 195 76 23 57 65 260 2 93 160 12 107 7 "
            "89 7 44 102 87 1606",
        )
    ],
}
# Rows and the sum of each column, with awk.
VALUE_SUMS = {
    "emobank": [
        (8062, [24011.40, 24541.25, 24691.55]),
        (1000, [2961.96, 3031.25, 3061.44]),
        (1000, [2978.09, 3033.94, 3064.53]),
    ],
    "ei-reg": [(7102, [3546.572]), (1464, [735.966]), (4068, [2102.860])],
}


@pytest.fixture(scope="module")
def real(shared_data):
    return sources.load_benchmark(ALL, shared_data)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", CLASS_COUNTS)
def test_real_classes_are_counted_as_by_other_tools(real, name):
    for split, counts in zip(sources.SPLITS, CLASS_COUNTS[name], strict=True):
        texts, labels, *_ = real[name][split]
        assert labels.shape == (len(texts),) == (sum(counts),)
        assert np.bincount(labels).tolist() == counts


@pytest.mark.shared
@pytest.mark.parametrize("name", VALUE_SUMS)
def test_real_values_sum_as_by_other_tools(real, name):
    for split, (rows, sums) in zip(sources.SPLITS, VALUE_SUMS[name], strict=True):
        texts, labels, *_ = real[name][split]
        assert labels.shape == (rows, len(sums))
        assert len(texts) == rows
        np.testing.assert_allclose(labels.sum(0), sums, rtol=1e-12)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["emotion", "hate", "sentiment"])
def test_real_tweets_and_labels_stand_in_the_order_of_the_file(real, shared_data, name):
    folder = shared_data / "tweeteval" / "datasets" / name
    lines = (folder / "test_text.txt").read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert real[name]["test"].texts == [line.decode().strip() for line in lines]
    labels = np.loadtxt(folder / "test_labels.txt", dtype=np.int64)
    np.testing.assert_array_equal(real[name]["test"].labels, labels)


@pytest.mark.shared
def test_the_real_hate_task_has_empty_texts(real):
    empty = {split: e.texts.count("") for split, e in real["hate"].items()}
    assert empty == {"train": 7, "validation": 1, "test": 0}


@pytest.mark.shared
def test_real_stance_sizes_cut_the_task_into_its_targets(real, shared_data):
    sizes = dict(real["stance"]["test"].targets)
    assert tuple(sizes) == STANCE_TARGETS
    assert list(sizes.values()) == [280, 220, 169, 285, 295]
    parts = np.split(real["stance"]["test"].labels, np.cumsum(list(sizes.values())))
    for target, part in zip(sizes, parts[:-1], strict=True):
        folder = shared_data / "tweeteval" / "datasets" / "stance" / target
        np.testing.assert_array_equal(part, np.loadtxt(folder / "test_labels.txt", int))


@pytest.mark.shared
def test_real_first_and_last_texts(real, shared_data):
    with (shared_data / GOEMOTIONS / "train.tsv").open(newline="") as stream:
        rows = [row for row in csv.reader(stream, "excel-tab") if "," not in row[1]]
    train = real["goemotions"]["train"].texts
    assert [train[0], train[-1]] == [rows[0][0].strip(), rows[-1][0].strip()]
    assert '""' not in "".join(train[:2000])  # unquoted
    with (shared_data / EMOBANK).open(newline="") as stream:
        test = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    assert real["emobank"]["test"].texts == [row["text"].strip() for row in test]
    folder = shared_data / EI_REG / "test-gold"
    texts = real["ei-reg"]["test"].texts
    for emotion, position in (("anger", 0), ("sadness", -1)):
        file = folder / f"2018-EI-reg-En-{emotion}-test-gold.txt"
        line = file.read_bytes().split(b"\n")[1 if position == 0 else -2]
        assert texts[position] == line.decode().split("\t")[1].strip()
    assert sum("\\n" in text for text in texts) > 100  # literal, as published


@pytest.mark.shared
def test_class_names_stand_in_the_order_of_the_real_ids(shared_data):
    for task in TWEETEVAL.tasks:
        mapping = shared_data / "tweeteval" / "datasets" / task.name / "mapping.txt"
        names = re.findall(r"^\d+\t(.+)$", mapping.read_text(), re.MULTILINE)
        assert tuple(names) == task.labels
    names = (shared_data / GOEMOTIONS / "emotions.txt").read_text().split()
    assert " ".join(names) == GOEMOTIONS_LABELS
