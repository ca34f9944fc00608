"""Data sets in the layouts of other projects, each read as a TOML file describes it.

The rows are made up; names of files, columns, separators and quoting are the originals'.
"""

import numpy as np
import pytest

from mtra_jax.data.built_in import sources
from mtra_jax.data.own_tasks import task_file
from mtra_jax.errors import InputError
from mtra_jax.tasks import AFFECTEVAL, TWEETEVAL


def read(folder, toml, contents):
    """The only task of `toml` and its splits."""
    for name, content in contents.items():
        (folder / name).write_bytes(content.encode())
    (folder / "tasks.toml").write_text(toml)
    benchmark, splits = task_file.load(folder / "tasks.toml")
    (task,) = benchmark.tasks
    return task, splits[task.name]


def named(task, part):
    return [task.labels[label] for label in part.labels]


def test_glue_s_pairs_with_numbers_of_rows_and_quotes(tmp_path):
    """GLUE's RTE and QNLI: tabs, a number first, quotes without a meaning."""
    head = "index\tsentence1\tsentence2\tlabel\n"
    train = head + (
        '0\t"No," she said.\tShe said "no".\tentailment\n'
        "1\tRome is in Italy.\tIt rains.\tnot_entailment\n"
        '2\t"Open\tA 5" pipe\tnot_entailment\n'
        "3\t\"Whole.\"\tMr. O'Hara's\tentailment\n"
    )
    toml = """[rte]
files = { train = "train.tsv", validation = "dev.tsv", test = "dev.tsv" }
text = ["sentence1", "sentence2"]
"""
    dev = head + '0\tA "b\tc" d\tnot_entailment\n1\t"\t"\tentailment\n'
    task, splits = read(tmp_path, toml, {"train.tsv": train, "dev.tsv": dev})
    assert task.labels == ("entailment", "not_entailment")
    assert task.is_pair
    part = splits["train"]
    assert part.texts == [
        '"No," she said.',
        "Rome is in Italy.",
        '"Open',
        "Whole.",  # a whole field in quotes cannot be told from a quoted one
    ]
    assert part.second_texts == [
        'She said "no".',
        "It rains.",
        'A 5" pipe',
        "Mr. O'Hara's",
    ]
    assert named(task, part) == [
        "entailment",
        "not_entailment",
        "not_entailment",
        "entailment",
    ]
    part = splits["test"]
    assert (part.texts, part.second_texts) == (['A "b', '"'], ['c" d', '"'])
    assert named(task, part) == ["not_entailment", "entailment"]


def test_glue_s_single_sentences_without_names_of_columns(tmp_path):
    """GLUE's CoLA: no line of names, four columns, the classes 0 and 1."""
    content = (
        "gj04\t1\t\tOur friends won't buy this.\n"
        "gj04\t0\t*\tThey drank the pub.\n"
        'bc01\t1\t\t"Them" is what she said.\n'
    )
    toml = """[cola]
files = { train = "t.tsv", validation = "t.tsv", test = "t.tsv" }
columns = ["source", "acceptable", "mark", "sentence"]
text = "sentence"
label = "acceptable"
labels = [0, 1]
metrics = ["mcc"]
"""
    with pytest.warns(UserWarning, match="3 of 3 test texts"):
        task, splits = read(tmp_path, toml, {"t.tsv": content})
    assert (task.labels, task.metrics) == (("0", "1"), ("mcc",))
    assert splits["train"].labels.tolist() == [1, 0, 1]
    assert splits["train"].texts[1:] == [
        "They drank the pub.",
        '"Them" is what she said.',
    ]


def test_semeval_s_table_of_emotions(tmp_path):
    """SemEval-2018's E-c: tabs, a column of 0 and 1 for each emotion."""
    names = ["anger", "joy", "love"]
    head = "\t".join(["ID", "Tweet", *names]) + "\n"
    train = head + (
        '2017-En-21441\t“Worry is a down payment" Joyce Meyer.\t0\t1\t0\n'
        '2017-En-31535\t@user it\'s "fun"\\nso\t0\t1\t1\n'
        "2017-En-22190\tnothing\t0\t0\t0\n"
    )
    test = head + '2018-En-01559\t"furious\t1\t0\t0\n'
    toml = f"""[emotions]
kind = "multi_label"
files = {{ train = "E-c-train.txt", validation = "E-c-test.txt", test = "E-c-test.txt" }}
format = "tsv"
text = "Tweet"
label = {names}
"""
    contents = {"E-c-train.txt": train, "E-c-test.txt": test}
    task, splits = read(tmp_path, toml, contents)
    assert (task.kind, task.labels) == ("multi_label", tuple(names))
    assert splits["train"].labels.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert splits["train"].texts[1] == '@user it\'s "fun"\\nso'
    assert splits["test"].texts == ['"furious']
    with pytest.raises(
        InputError, match=r"E-c-test\.txt:2: love 'NONE'; expected 0 or 1"
    ):
        read(tmp_path, toml, {"E-c-test.txt": head + "1\ta\t0\t0\tNONE\n"})


def test_goemotions_with_all_its_labels(tmp_path):
    """Google's GoEmotions: no names, comma-separated numbers; all labels of a comment."""
    content = 'a "b"\t27\tid1\n"c ""d"""\t2,14\tid2\ne\t0\tid3\n'
    toml = """[goemotions]
kind = "multi_label"
files = { train = "t.tsv", validation = "t.tsv", test = "u.tsv" }
columns = ["text", "label", "id"]
"""
    contents = {"t.tsv": content, "u.tsv": "f\t14\tid4\n"}
    task, splits = read(tmp_path, toml, contents)
    assert task.labels == ("0", "2", "14", "27")
    assert splits["train"].texts == ['a "b"', 'c "d"', "e"]
    assert [np.flatnonzero(row).tolist() for row in splits["train"].labels] == [
        [3],
        [1, 2],
        [0],
    ]
    assert splits["test"].labels.tolist() == [[0, 0, 1, 0]]


REVIEWS = (
    "\ufeffId,ProductId,Score,Summary,Text\r\n"
    '1,B001,5.0,Good,"I have bought ""several"",\r\nand they are fine."\r\n'
    "2,B002,1.0,Not as Advertised,Salted peanuts...small<br />ones\r\n"
    '3,B003,4.0,"""Delight"" says it all",\r\n'
    + "".join(f"{n},B004,{n % 5 + 1}.0,x,text {n}\r\n" for n in range(4, 44))
)


def test_reviews_with_ratings_as_values_and_as_classes(tmp_path):
    """Kaggle's food reviews, as pandas writes them: one file for everything."""
    toml = """[stars]
kind = "regression"
files = "Reviews.csv"
text = "Text"
label = "Score"
"""
    task, splits = read(tmp_path, toml, {"Reviews.csv": REVIEWS})
    assert (task.labels, task.metrics) == (("Score",), ("pearson", "rmse"))
    assert {split: len(part.texts) for split, part in splits.items()} == {
        "train": 35,
        "validation": 4,
        "test": 4,
    }
    values = {
        text: value
        for part in splits.values()
        for text, (value,) in zip(part.texts, part.labels.tolist(), strict=True)
    }
    assert values['I have bought "several",\r\nand they are fine.'] == 5
    assert values["Salted peanuts...small<br />ones"] == 1
    assert values[""] == 4
    assert values["text 43"] == 4
    toml = toml.replace('kind = "regression"', "").replace(
        '"Text"', '["Summary", "Text"]'
    )
    task, splits = read(tmp_path, toml, {})
    assert task.labels == ("1", "2", "3", "4", "5")
    assert sorted(np.concatenate([part.labels for part in splits.values()])) == sorted(
        [4, 0, 3, *(n % 5 for n in range(4, 44))]
    )
    assert all(set(part.labels.tolist()) <= set(range(5)) for part in splits.values())
    seconds = [x for part in splits.values() for x in part.texts]
    assert '"Delight" says it all' in seconds


# ---- the built-in benchmarks, as a user would describe their files


@pytest.mark.slow
@pytest.mark.shared
def test_goemotions_needs_no_code(shared_data, tmp_path):
    """Every comment; those with a single label are the built-in task."""
    folder = shared_data / "affecteval" / "goemotions"
    files = [f"{part} = '{folder / file}.tsv'" for part, file in PARTS.items()]
    toml = f"""[goemotions]
kind = "multi_label"
files = {{ {", ".join(files)} }}
columns = ["text", "label", "id"]
"""
    _, splits = read(tmp_path, toml, {})
    builtin = sources.load_benchmark(AFFECTEVAL.select(["goemotions"]), shared_data)
    for split, part in builtin["goemotions"].items():
        labels = splits[split].labels
        (single,) = np.nonzero(labels.sum(axis=1) == 1)
        assert [splits[split].texts[i] for i in single] == part.texts
        assert labels[single].argmax(axis=1).tolist() == part.labels.tolist()


PARTS = {"train": "train", "validation": "dev", "test": "test"}


@pytest.mark.shared
def test_ei_reg_needs_no_code(shared_data, tmp_path):
    folder = shared_data / "affecteval" / "ei-reg" / "EI-reg"
    (task,) = AFFECTEVAL.select(["ei-reg"]).tasks
    paths = sources.task_files(task)
    parts = {split: paths[4 * n : 4 * n + 4] for n, split in enumerate(PARTS)}
    files = [
        f"{split} = {[str(shared_data / path) for path in part]}"
        for split, part in parts.items()
    ]
    assert folder.is_dir()
    toml = f"""[ei-reg]
kind = "regression"
files = {{ {", ".join(files)} }}
format = "tsv"
text = "Tweet"
label = "Intensity Score"
"""
    _, splits = read(tmp_path, toml, {})
    builtin = sources.load_benchmark(AFFECTEVAL.select(["ei-reg"]), shared_data)
    for split, part in builtin["ei-reg"].items():
        assert splits[split].texts == part.texts
        np.testing.assert_array_equal(splits[split].labels, part.labels)


def test_every_built_in_task_has_a_source():
    tasks = {*TWEETEVAL.tasks, *AFFECTEVAL.tasks}
    assert {task.name for task in tasks} == set(sources.SOURCES)
