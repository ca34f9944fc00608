"""Prediction files against scikit-learn's report, as the official scorer reads it."""

import numpy as np
import pytest
from sklearn.metrics import classification_report

from mtra_jax.errors import InputError
from mtra_jax.reports.predicted import predictions as files
from mtra_jax.tasks import AFFECTEVAL, TWEETEVAL, Task

TASKS = {task.name: task for task in (*TWEETEVAL.tasks, *AFFECTEVAL.tasks)}
TARGETS = {"abortion": 40, "atheism": 25, "climate": 30, "feminist": 35, "hillary": 20}
NUM_EXAMPLES = 150
TAGS = Task("tags", "Tags", "multi_label", ("a", "b", "c"), ("micro_f1",))


def example(task, seed):
    """Labels, and predictions that agree with about half of them."""
    rng = np.random.default_rng(seed)
    if not task.is_classification:
        labels = rng.normal(size=(NUM_EXAMPLES, task.num_outputs))
        return labels, (labels + rng.normal(size=labels.shape)).astype(np.float32)
    labels, others = rng.integers(0, task.num_outputs, (2, NUM_EXAMPLES))
    return labels, np.where(rng.random(NUM_EXAMPLES) < 0.5, labels, others)


def official_figure(directory, task, labels):
    """The figure of the official scorer, which compares lines as strings.

    Source: cardiffnlp/tweeteval, evaluation script: scikit-learn's report; the five
    targets of stance end to end.
    """
    if task.name == "stance":
        paths = [directory / "stance" / f"{target}.txt" for target in TARGETS]
    else:
        paths = [directory / f"{task.name}.txt"]
    actual = [line for path in paths for line in path.read_text().split("\n")[:-1]]
    gold = [str(label) for label in labels]
    # The scorer's report holds 0 there too, with a warning.
    report = classification_report(gold, actual, output_dict=True, zero_division=0)
    if task.name == "stance":
        return (report["1"]["f1-score"] + report["2"]["f1-score"]) / 2
    if task.name == "irony":
        return report["1"]["f1-score"]
    key = "recall" if task.name == "sentiment" else "f1-score"
    return report["macro avg"][key]


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_exactly_those_of_the_official_scorer(tmp_path, seed):
    gold, expected = {}, {}
    for task in TWEETEVAL.tasks:
        gold[task.name], predicted = example(task, seed)
        sizes = TARGETS if task.name == "stance" else None
        files.write_predictions(tmp_path, task, predicted, sizes)
        figure = official_figure(tmp_path, task, gold[task.name])
        expected[task.name] = {task.metrics[0]: 100 * figure}
    actual = files.score_predictions(
        tmp_path, TWEETEVAL.tasks, gold, {"stance": TARGETS}
    )
    avg = actual.pop("avg")
    assert actual == expected
    mean = sum(figure for row in expected.values() for figure in row.values()) / 6
    assert avg == pytest.approx(mean, rel=1e-14)


@pytest.mark.shared
def test_figures_on_the_real_test_labels_are_the_official_ones(shared_data, tmp_path):
    rng = np.random.default_rng(0)
    for task in TWEETEVAL.select(["emotion", "hate", "irony", "sentiment"]).tasks:
        path = shared_data / "tweeteval" / "datasets" / task.name / "test_labels.txt"
        gold = np.array(path.read_text().split(), dtype=int)
        # Half right, and one class never predicted.
        others = rng.integers(0, task.num_outputs - 1, len(gold))
        keep = (rng.random(len(gold)) < 0.5) & (gold < task.num_outputs - 1)
        files.write_predictions(tmp_path, task, np.where(keep, gold, others))
        actual = files.score_predictions(tmp_path, [task], {task.name: gold})
        figure = 100 * official_figure(tmp_path, task, gold)
        assert actual == {task.name: {task.metrics[0]: figure}, "avg": figure}


def test_the_layout_is_that_of_the_leaderboard(tmp_path):
    sizes = {"abortion": 2, "atheism": 1}
    files.write_predictions(tmp_path, TASKS["stance"], np.array([2, 0, 1]), sizes)
    files.write_predictions(tmp_path, TASKS["emotion"], np.array([3, 0]))
    files.write_predictions(tmp_path, TASKS["ei-reg"], np.array([[0.5], [2]]))
    files.write_predictions(
        tmp_path, TASKS["emobank"], np.array([[1, 2.5, 3], [4, 5, 1e-7]])
    )
    actual = {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert actual == {
        "stance/abortion.txt": b"2\n0\n",
        "stance/atheism.txt": b"1\n",
        "emotion.txt": b"3\n0\n",
        "ei-reg.txt": b"0.5\n2.0\n",
        "emobank.txt": b"1.0\t2.5\t3.0\n4.0\t5.0\t1e-07\n",
    }


@pytest.mark.parametrize("name", TASKS)
def test_reading_gives_back_exactly_what_was_written(tmp_path, name):
    task = TASKS[name]
    labels, predicted = example(task, seed=4)
    files.write_predictions(tmp_path, task, predicted, TARGETS)
    actual = files.read_predictions(tmp_path, task, NUM_EXAMPLES, TARGETS)
    np.testing.assert_array_equal(actual, predicted)
    assert actual.dtype == (np.int64 if task.is_classification else np.float64)
    # So figures from the files equal those of the run to the bit.
    actual = files.score_predictions(tmp_path, [task], {name: labels}, {name: TARGETS})
    assert actual[name] == files.metrics.score(task, predicted, labels)


def test_extreme_float32_values_survive(tmp_path):
    info = np.finfo(np.float32)
    values = np.array(
        [info.max, info.min, info.tiny, info.smallest_subnormal, -0.0, 1 + info.eps],
        dtype=np.float32,
    )[:, None]
    files.write_predictions(tmp_path, TASKS["ei-reg"], values)
    actual = files.read_predictions(tmp_path, TASKS["ei-reg"], len(values))
    np.testing.assert_array_equal(actual.astype(np.float32), values)


def test_writing_again_replaces_the_file_and_leaves_nothing_else(tmp_path):
    for predicted in (np.array([0, 1, 1]), np.array([1, 0])):
        files.write_predictions(tmp_path, TASKS["irony"], predicted)
    assert [path.name for path in tmp_path.iterdir()] == ["irony.txt"]
    assert (tmp_path / "irony.txt").read_text() == "1\n0\n"


@pytest.mark.parametrize(
    "predicted", [np.array([0, 2]), np.array([0.2, 0.8]), np.array([], dtype=int)]
)
def test_invalid_predictions_are_not_written(tmp_path, predicted):
    with pytest.raises(ValueError, match="irony: `predictions`"):
        files.write_predictions(tmp_path, TASKS["irony"], predicted)
    assert not list(tmp_path.iterdir())


def test_stance_sizes_must_add_up(tmp_path):
    sizes = {"abortion": 2, "atheism": 2}
    with pytest.raises(ValueError, match="add up to 3"):
        files.write_predictions(tmp_path, TASKS["stance"], np.array([0, 1, 2]), sizes)
    with pytest.raises(ValueError, match="add up to 3"):
        files.read_predictions(tmp_path, TASKS["stance"], 3, sizes)
    assert not list(tmp_path.iterdir())


def test_stance_without_targets_is_one_file(tmp_path):
    files.write_predictions(tmp_path, TASKS["stance"], np.array([0, 1, 2]))
    assert (tmp_path / "stance.txt").read_text() == "0\n1\n2\n"
    actual = files.read_predictions(tmp_path, TASKS["stance"], 3)
    np.testing.assert_array_equal(actual, [0, 1, 2])


READABLE = {
    "plain": b"1\n0\n1\n",
    "no last newline": b"1\n0\n1",
    "crlf": b"1\r\n0\r\n1\r\n",
    "crlf, no last newline": b"1\r\n0\r\n1",
    "byte-order mark": b"\xef\xbb\xbf1\n0\n1\n",
    "blanks": b" 1\n0 \n+1\n",
}


@pytest.mark.parametrize("content", READABLE.values(), ids=READABLE)
def test_harmless_differences_are_accepted(tmp_path, content):
    (tmp_path / "irony.txt").write_bytes(content)
    actual = files.read_predictions(tmp_path, TASKS["irony"], 3)
    np.testing.assert_array_equal(actual, [1, 0, 1])


def test_sets_of_labels_are_written_and_read_back(tmp_path):
    sets = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1]])
    files.write_predictions(tmp_path, TAGS, sets)
    assert (tmp_path / "tags.txt").read_bytes() == b"1\n\n0,2\n"
    actual = files.read_predictions(tmp_path, TAGS, 3)
    np.testing.assert_array_equal(actual, sets)
    assert actual.dtype == np.int64


@pytest.mark.parametrize("content", [b"1\r\n\r\n2 , 0\r\n", b"1\n \n2,0"])
def test_harmless_differences_of_sets_are_accepted(tmp_path, content):
    (tmp_path / "tags.txt").write_bytes(content)
    actual = files.read_predictions(tmp_path, TAGS, 3)
    np.testing.assert_array_equal(actual, [[0, 1, 0], [0, 0, 0], [1, 0, 1]])


def test_examples_without_labels_are_empty_lines(tmp_path):
    files.write_predictions(tmp_path, TAGS, np.zeros((2, 3), int))
    assert (tmp_path / "tags.txt").read_bytes() == b"\n\n"
    np.testing.assert_array_equal(files.read_predictions(tmp_path, TAGS, 2), 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0\n3\n", ":2: found '3'; expected a label id from 0 to 2"),
        (b"0,1,\n1\n", ":1: found ''; expected a label id"),
        (b"0\t1\n1\n", r":1: found '0\\t1'; expected a label id"),
        (b"1\n2,0,2\n", ":2: found '2,0,2'; expected each label id once"),
        (b"1\n", ":2: found 1 lines; expected 2"),
    ],
)
def test_wrong_sets_are_named_with_file_and_line(tmp_path, content, message):
    (tmp_path / "tags.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        files.read_predictions(tmp_path, TAGS, 2)


UNREADABLE = {
    "too few lines": ("irony", b"1\n0\n", ":3: found 2 lines; expected 3"),
    "too many lines": ("irony", b"1\n0\n1\n1\n0\n", ":4: found 5 lines; expected 3"),
    "empty file": ("irony", b"", ":1: found 0 lines; expected 3"),
    "empty line": (
        "irony",
        b"1\n\n0\n",
        ":2: found ''; expected a label id from 0 to 1",
    ),
    "name": ("irony", b"1\nirony\n0\n", ":2: found 'irony'; expected a label id"),
    "float": ("irony", b"1\n0\n1.0\n", ":3: found '1.0'; expected a label id"),
    "underscore": ("irony", b"1\n0_1\n1\n", ":2: found '0_1'; expected a label id"),
    "other script": ("irony", "1\n\u0661\n1\n".encode(), ":2: found"),
    "too large": (
        "irony",
        b"1\n2\n0\n",
        ":2: found '2'; expected a label id from 0 to 1",
    ),
    "negative": ("irony", b"-1\n1\n0\n", ":1: found '-1'; expected a label id"),
    "very long": ("irony", b"1" * 9999 + b"\n1\n0\n", r":1: found '1{37}\.\.\.1{38}'"),
    "not UTF-8": ("irony", b"1\n\xff\n0\n", ":2: byte 0xff is not UTF-8 text"),
    "columns": (
        "emobank",
        b"1\t2\t3\n1\t2\n1\t2\t3\n",
        r":2: found 2 tab-separated values; expected 3 \(V, A, D\)",
    ),
    "one column too many": ("ei-reg", b"1\n2\t2\n3\n", ":2: found 2 tab-separated"),
    "nan": ("ei-reg", b"1\n2\nnan\n", ":3: found 'nan'; expected a finite number"),
    "infinite": ("ei-reg", b"1\n-inf\n3\n", ":2: found '-inf'; expected a finite"),
    "overflow": ("ei-reg", b"1\n2\n1e999\n", ":3: found '1e999'; expected a finite"),
    "hole": (
        "emobank",
        b"1\t\t3\n1\t2\t3\n1\t2\t3\n",
        ":1: found ''; expected a finite",
    ),
    "decimal comma": ("ei-reg", b"0,5\n1\n2\n", ":1: found '0,5'; expected a finite"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_wrong_content_is_named_with_file_and_line(tmp_path, case):
    name, content, message = UNREADABLE[case]
    path = tmp_path / f"{name}.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        files.read_predictions(tmp_path, TASKS[name], 3)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    files.write_predictions(tmp_path, TASKS["stance"], np.arange(3), {"a": 1, "b": 2})
    (tmp_path / "stance" / "b.txt").unlink()
    message = "stance/b.txt: No such file or directory; expected 2 lines"
    with pytest.raises(InputError, match=message):
        files.read_predictions(tmp_path, TASKS["stance"], 3, {"a": 1, "b": 2})
    with pytest.raises(InputError, match=r"absent/irony\.txt: No such file"):
        files.read_predictions(tmp_path / "absent", TASKS["irony"], 3)


def test_a_wrong_line_of_stance_is_counted_in_its_own_file(tmp_path):
    sizes = {"a": 2, "b": 2}
    files.write_predictions(tmp_path, TASKS["stance"], np.array([0, 1, 2, 1]), sizes)
    (tmp_path / "stance" / "b.txt").write_text("2\n3\n")
    with pytest.raises(InputError, match=r"stance/b\.txt:2: found '3'; .* from 0 to 2"):
        files.read_predictions(tmp_path, TASKS["stance"], 4, sizes)
