"""Replies of models: what is a label, a refusal or neither, and how each is scored."""

import numpy as np
import pytest

from mtra_jax import metrics
from mtra_jax.prompting import answers
from mtra_jax.prompting.answers import Reply
from mtra_jax.prompting.prompts import Question
from mtra_jax.tasks import TWEETEVAL, Task

STANCE = Question(TWEETEVAL.tasks[-1], "")
SIGNS = Question(
    Task("s", "S", "classification", ("+", "-", "A", "a"), ("accuracy",)), ""
)
TOPICS = Question(
    Task("t", "T", "multi_label", ("food", "sea", "sun"), ("micro_f1",)), ""
)
MARKS = Question(
    Task("m", "M", "regression", ("v", "d"), ("pearson",)), "", ((0, 1), (-2.5, 5))
)


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        (STANCE, "against", 1),
        (STANCE, ' "Favor". \n', 2),
        (STANCE, "\n\n**NONE**\nText: and so on", 0),
        (STANCE, "<think>in favor?\nno</think>\nagainst", 1),
        (STANCE, "<think>against", "unparsable"),
        (STANCE, "in favor", "unparsable"),
        (STANCE, "favor, against", "unparsable"),
        (STANCE, "favour", "unparsable"),
        (STANCE, "", "unparsable"),
        (STANCE, "...", "unparsable"),
        (STANCE, "I'm sorry, but I can't label this.", "refused"),
        (STANCE, "I cannot assist with that request.", "refused"),
        (STANCE, "As an AI language model, I have no stance.", "refused"),
        (STANCE, "As against", "unparsable"),
        # Labels that differ in signs or case alone are read as they are spelled.
        (SIGNS, "-", 1),
        (SIGNS, " A\n", 2),
        (SIGNS, "a", 3),
        (SIGNS, "'a'", "unparsable"),
        (SIGNS, "--", "unparsable"),
        (TOPICS, "sun, Food.", [1, 0, 1]),
        (TOPICS, "none", [0, 0, 0]),
        (TOPICS, "sea", [0, 1, 0]),
        (TOPICS, "sea, sea", "unparsable"),
        (TOPICS, "sea and sun", "unparsable"),
        (TOPICS, "sea, none", "unparsable"),
        (MARKS, "0.5, -2", [0.5, -2]),
        (MARKS, "1,5.", [1, 5]),
        (MARKS, "5e-1, 1.5E+0", [0.5, 1.5]),
        (MARKS, "0.5, 1e999", "unparsable"),
        (MARKS, "0.5, 1e", "unparsable"),
        (MARKS, "0.5", "unparsable"),
        (MARKS, "0.5, 5.1", "unparsable"),
        (MARKS, "0.5, 2, 3", "unparsable"),
        (MARKS, "0.5, two", "unparsable"),
        (MARKS, "0.5, nan", "unparsable"),
        (MARKS, "1_0, 2", "unparsable"),
        (MARKS, "v: 0.5, d: 1", "unparsable"),
    ],
)
def test_a_label_is_read_as_the_prompt_spells_it(question, text, expected):
    label, kind = answers.read(question, Reply(text))
    if isinstance(expected, str):
        assert (label, kind) == (None, expected)
    else:
        assert kind == "read"
        np.testing.assert_array_equal(label, expected)


def test_a_refusal_that_the_server_reports_is_one_whatever_its_text():
    assert answers.read(STANCE, Reply("against", is_refused=True)) == (None, "refused")


def predicted(question, texts, labels, means=()):
    replies = [Reply(text) for text in texts]
    return answers.predictions(question, replies, np.array(labels), np.array(means))


def test_a_class_that_is_not_read_is_a_wrong_one_for_every_metric():
    texts = ["favor", "against", "?", "none", "I cannot", "?"]
    values, counts = predicted(STANCE, texts, [2, 1, 0, 0, 1, 2])
    assert counts == (3, 1, 2)
    assert sum(counts) == 6
    # none, against and favor are followed by against, favor and none.
    assert values.tolist() == [2, 1, 1, 0, 2, 0]
    score = metrics.score(STANCE.task, values, np.array([2, 1, 0, 0, 1, 2]))
    # Precision and recall of against: 1/2 and 1/2; of favor: 1/2 and 1/2.
    assert score["favor_against_f1"] == pytest.approx(50.0)


def test_a_label_set_that_is_not_read_has_no_right_label():
    gold = np.float32([[1, 0, 0], [0, 0, 0], [0, 1, 1]])
    values, counts = predicted(TOPICS, ["?", "?", "sea"], gold)
    assert values.tolist() == [[0, 0, 0], [1, 1, 1], [0, 1, 0]]
    assert counts == (1, 0, 2)
    # One hit, of four predicted and three right labels.
    score = metrics.score(TOPICS.task, values, gold)
    assert score["micro_f1"] == pytest.approx(100 * 2 / (4 + 3))


def test_numbers_that_are_not_read_are_the_training_means():
    gold = np.float32([[0.1, 0], [0.9, 4], [0.4, 1]])
    values, counts = predicted(MARKS, ["0.2, 1", "a lot", "0.8, 3"], gold, [0.5, 2])
    np.testing.assert_allclose(values, [[0.2, 1], [0.5, 2], [0.8, 3]], rtol=1e-6)
    assert counts == (2, 0, 1)
