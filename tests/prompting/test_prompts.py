"""Prompts of every kind of task, and the demonstrations in them."""

import collections

import numpy as np
import pytest

from mtra_jax.data.splits.examples import Examples
from mtra_jax.errors import InputError
from mtra_jax.prompting import answers, demonstrations, prompts
from mtra_jax.prompting.prompts import Demonstration
from mtra_jax.tasks import BENCHMARKS, Benchmark, Task

TOPICS = Task(
    "topics", "Topics", "multi_label", ("food", "none", "a, b"), ("micro_f1",)
)
MATCH = Task("match", "Match", "classification", ("yes", "no"), ("accuracy",), True)
STARS = Task("stars", "Stars", "regression", ("stars",), ("pearson",))
OWN = Benchmark("own", (TOPICS, MATCH, STARS))
NO_EXAMPLES = Examples([], np.zeros(0, np.int32))


def own(task, labels=(), dtype=np.float32):
    values = np.array(labels, dtype)
    return prompts.question(OWN, task, Examples([""] * len(values), values))


def test_a_prompt_of_a_benchmark_without_demonstrations():
    benchmark = BENCHMARKS["tweeteval"]
    question = prompts.question(benchmark, benchmark.tasks[2], NO_EXAMPLES)
    asked = prompts.prompt(question, [], "so\n great  ")
    assert asked == (prompts.text_of(asked),)
    assert prompts.messages_of(asked) == [{"role": "user", "content": asked[0]}]
    assert asked[0] == (
        "Task: IronyEval. Is the tweet ironic?\n"
        "Answer with exactly one of these labels and nothing else: non_irony, irony\n"
        "\n"
        "Text: so great\n"
        "Answer:"
    )


def test_a_prompt_of_pairs_shows_both_texts_and_the_demonstrations():
    shots = [Demonstration("a", "b", np.int32(1)), Demonstration("c", "d", np.int32(0))]
    asked = prompts.prompt(own(MATCH), shots, "e", "f")
    assert prompts.messages_of(asked) == [
        {
            "role": "user",
            "content": "Task: Match. Label the pair of texts.\n"
            "Answer with exactly one of these labels and nothing else: yes, no\n\n"
            "First text: a\nSecond text: b\nAnswer:",
        },
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "First text: c\nSecond text: d\nAnswer:"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "First text: e\nSecond text: f\nAnswer:"},
    ]
    assert prompts.text_of(asked) == (
        "Task: Match. Label the pair of texts.\n"
        "Answer with exactly one of these labels and nothing else: yes, no\n"
        "\n"
        "First text: a\nSecond text: b\nAnswer: no\n"
        "\n"
        "First text: c\nSecond text: d\nAnswer: yes\n"
        "\n"
        "First text: e\nSecond text: f\nAnswer:"
    )


def test_labels_that_contain_a_comma_are_separated_by_another_sign():
    question = own(TOPICS)
    assert prompts.rule(question) == (
        'Answer with the labels that apply, separated by ";", or with "no label", and '
        "nothing else: food; none; a, b"
    )
    assert prompts.answer(question, np.array([1, 0, 1])) == "food; a, b"
    assert prompts.answer(question, np.zeros(3)) == "no label"


def test_ranges_are_those_of_the_training_values_moved_outwards():
    question = own(STARS, [[1.7], [4.2], [2.0]])
    assert prompts.rule(question) == (
        "Answer with one number from 1 to 5 and nothing else."
    )
    assert prompts.answer(question, np.float32([4.2])) == "4.2"
    emobank = BENCHMARKS["affecteval"].tasks[2]
    values = np.float32([[1.2, 1.8, 2.1], [4.6, 4.4, 4.2]])
    question = prompts.question(
        BENCHMARKS["affecteval"], emobank, Examples(["", ""], values)
    )
    assert prompts.rule(question).endswith(
        "V from 1 to 5, A from 1 to 5, D from 2 to 5"
    )
    assert prompts.answer(question, values[0]) == "1.2, 1.8, 2.1"


def test_large_and_small_numbers_have_all_digits_and_no_exponent():
    """Such as years, prices and shares: a model that copies the form is read."""
    for values, texts in (
        ([1815.0, 2024.0], ["1815", "2024"]),
        ([12345.0, 6_543_210.0], ["12345", "6543210"]),
        ([0.00001234, 0.5], ["0.00001234", "0.5"]),
        ([-0.12345, 7.0], ["-0.1235", "7"]),
    ):
        question = own(STARS, [[value] for value in values])
        assert (
            "e" not in prompts.rule(question).partition("number")[2].partition("and")[0]
        )
        for value, text in zip(values, texts, strict=True):
            assert prompts.answer(question, np.array([value])) == text
            read, kind = answers.read(question, answers.Reply(text))
            assert kind == "read"
            np.testing.assert_allclose(read, [value], rtol=5e-4)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_answer_of_a_demonstration_is_read_as_its_label(name):
    benchmark = BENCHMARKS[name]
    for task in benchmark.tasks:
        if task.is_classification:
            labels = np.arange(task.num_outputs)
        else:
            labels = np.linspace(0, 1, 12, dtype=np.float32).reshape(-1, 1)
            labels = np.repeat(labels, task.num_outputs, axis=1)
        question = prompts.question(benchmark, task, Examples([""] * 12, labels))
        for label in labels:
            text = prompts.answer(question, label)
            value, kind = answers.read(question, answers.Reply(f" {text}\n\nText: x"))
            assert kind == "read"
            np.testing.assert_allclose(value, label, rtol=1e-3)


def test_the_tasks_of_the_papers_alone_have_descriptions():
    for name in prompts.DESCRIBED:
        assert {*BENCHMARKS[name].task_names} <= prompts.ABOUT.keys()
    made = BENCHMARKS["synthetic"]
    stance = prompts.question(made, made.tasks[3], NO_EXAMPLES)
    assert (stance.task.name, stance.about) == ("stance", "Label the text.")


# ---- demonstrations

WORDS = Task("w", "W", "classification", ("a", "b", "c"), ("accuracy",))


def words(classes):
    return Examples([f"{c} {i}" for i, c in enumerate(classes)], np.int32(classes))


def drawn(train, number, seed=0, test=NO_EXAMPLES, task=WORDS):
    return demonstrations.draw(task, train, test, number, seed)


def test_few_demonstrations_are_balanced_over_the_classes():
    train = words([0] * 50 + [1] * 3 + [2] * 2)
    counts = set()
    for seed in range(20):
        shots = drawn(train, 4, seed)
        assert all(shot.text.startswith(str(shot.label)) for shot in shots)
        assert len({shot.text for shot in shots}) == 4
        counts.add(tuple(sorted(collections.Counter(s.label for s in shots).values())))
    assert counts == {(1, 1, 2)}
    # Two of three classes: each of them is left out under some seed.
    pairs = {frozenset(int(s.label) for s in drawn(train, 2, k)) for k in range(20)}
    assert pairs == {frozenset(p) for p in [(0, 1), (0, 2), (1, 2)]}


def test_the_draw_is_that_of_the_seed():
    train = words([0, 1, 2] * 20)
    texts = [[s.text for s in drawn(train, 4, seed)] for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    other = Task("v", "W", "classification", WORDS.labels, ("accuracy",))
    assert [s.text for s in drawn(train, 4, task=other)] != texts[0]


def test_test_texts_are_never_demonstrations():
    train = words([0, 1, 2, 0, 1, 2])
    test = Examples(train.texts[:3], train.labels[:3])
    for seed in range(10):
        assert not {s.text for s in drawn(train, 3, seed, test)} & set(test.texts)
    with pytest.raises(InputError, match=r"task w: 3 training examples .* at least 4"):
        drawn(train, 4, 0, test)
    assert drawn(train, 0, 0, train) == []


def test_a_pair_is_a_test_text_only_with_both_texts():
    train = Examples(["a", "a"], np.int32([0, 1]), second_texts=["x", "y"])
    test = Examples(["a"], np.int32([0]), second_texts=["x"])
    (shot,) = drawn(train, 1, test=test, task=MATCH)
    assert (shot.text, shot.second, shot.label) == ("a", "y", 1)


def test_demonstrations_of_numbers_are_spread_over_their_range():
    values = np.float32(np.random.default_rng(0).permutation(100)).reshape(-1, 1)
    train = Examples([str(v) for v in values[:, 0]], values)
    for seed in range(10):
        labels = sorted(float(s.label[0]) for s in drawn(train, 4, seed, task=STARS))
        assert [label // 25 for label in labels] == [0, 1, 2, 3]


def test_demonstrations_of_label_sets_show_every_label_and_none():
    sets = np.zeros((60, 3), np.float32)
    sets[:40, 0], sets[40:42, 1], sets[42:44, 2], sets[44:46] = 1, 1, 1, 1
    train = Examples([str(i) for i in range(60)], sets)
    for seed in range(10):
        shots = drawn(train, 4, seed, task=TOPICS)
        assert len({s.text for s in shots}) == 4
        assert np.sum([s.label for s in shots], axis=0).min() >= 1
        assert any(not s.label.any() for s in shots)
