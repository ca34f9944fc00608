"""A task, its training examples and a text -> the prompt that a language model answers.

A prompt is a conversation: models that chat get each demonstration as a question and its
answer, all others one text. `TEMPLATE` is the only template. A text takes one line: its
line breaks become blanks.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtra_jax.data.splits.examples import Examples
from mtra_jax.errors import InputError
from mtra_jax.tasks import AFFECTEVAL, TWEETEVAL, Benchmark, Task

FORMAT = 3
"""Changes with `TEMPLATE`, `ABOUT` or the wording below."""
TEMPLATE = """\
Task: {title}. {about}
{rule}

{text}"""
CUE = "Answer:"
DESCRIBED = (TWEETEVAL.name, AFFECTEVAL.name)
"""The benchmarks whose tasks have a description in `ABOUT`."""
# Models that are trained see the text alone, and so do these: the prompt does not name the
# target of a tweet's stance.
ABOUT = {
    "emotion": "Which emotion does the author of the tweet express?",
    "hate": "Is the tweet hateful towards women or immigrants?",
    "irony": "Is the tweet ironic?",
    "offensive": "Is the language of the tweet offensive?",
    "sentiment": "Which sentiment does the tweet express?",
    "stance": "Which stance does the tweet take on its topic, one of atheism, climate "
    "change, feminism, Hillary Clinton and abortion?",
    "goemotions": "Which emotion does the author of the comment express?",
    "emobank": "How positive (valence, V), how excited (arousal, A) and how much in "
    "control (dominance, D) is the feeling that the text expresses?",
    "ei-reg": "How intense is the emotion that the author of the tweet expresses?",
}
# The first of them that no label contains separates labels.
SEPARATORS = (", ", "; ", " | ")
NOTHING = ("none", "no label")
"""The answer of a multi-label task without a label: the first that is not a label."""

Prompt = tuple[str, ...]
"""Questions and answers in turns; the last one is a question."""
Label = int | np.ndarray
"""A class id; or the values or 0/1 of a regression or a multi-label task, [D]."""


class Question(NamedTuple):
    """The question about each text of a task.

    `ranges`: the least and the greatest answer of each regression dimension.
    """

    task: Task
    about: str
    ranges: tuple[tuple[float, float], ...] = ()

    @property
    def separator(self) -> str:
        """The text between two labels."""
        for separator in SEPARATORS:
            if not any(separator.strip() in label for label in self.task.labels):
                return separator
        raise InputError(
            f"task {self.task.name}: its labels contain each of , ; and |; expected one "
            "of these signs to be free, to separate labels in a prompt"
        )

    @property
    def nothing(self) -> str:
        """The answer for an example without a label."""
        labels = {label.casefold() for label in self.task.labels}
        return next((text for text in NOTHING if text not in labels), "-")


class Demonstration(NamedTuple):
    """A labelled example within a prompt; `second` is "" but for pairs of texts."""

    text: str
    second: str
    label: Label


def question(benchmark: Benchmark, task: Task, train: Examples) -> Question:
    """The question of a task of `benchmark`, whose training labels `train` has.

    A dimension's range is that of its training values, moved outwards to one digit.
    """
    kind = "pair of texts" if task.is_pair else "text"
    about = f"Rate the {kind}." if task.kind == "regression" else f"Label the {kind}."
    if benchmark.name in DESCRIBED:
        about = ABOUT.get(task.name, about)
    if task.kind != "regression":
        return Question(task, about)
    values = train.labels.astype(np.float64)
    lows, highs = values.min(axis=0).tolist(), values.max(axis=0).tolist()
    return Question(task, about, tuple(map(_outwards, lows, highs)))


def _outwards(low: float, high: float) -> tuple[float, float]:
    """Both numbers, moved outwards to the first digit of their difference.

    >>> _outwards(1.2, 4.6), _outwards(0.019, 0.992), _outwards(40, 76)
    ((1.0, 5.0), (0.0, 1.0), (40.0, 80.0))
    """
    if not high > low:
        return low, high
    digits = -math.floor(math.log10(high - low))
    step = 10.0**-digits
    return (
        round(math.floor(low / step) * step, digits),
        round(math.ceil(high / step) * step, digits),
    )


def prompt(
    asked: Question,
    demonstrations: Sequence[Demonstration],
    text: str,
    second: str = "",
) -> Prompt:
    """The prompt about a text, or a pair of texts; each question ends with `CUE`."""
    turns: list[str] = []
    for shot in demonstrations:
        turns += _shown(asked, shot.text, shot.second), answer(asked, shot.label)
    first, *rest = *turns, _shown(asked, text, second)
    head = TEMPLATE.format(
        title=asked.task.title, about=asked.about, rule=rule(asked), text=first
    )
    return head, *rest


def text_of(prompt: Prompt) -> str:
    """The prompt as one text, which a model continues.

    >>> print(text_of(("Text: a\\nAnswer:", "good", "Text: b\\nAnswer:")))
    Text: a
    Answer: good
    <BLANKLINE>
    Text: b
    Answer:
    """
    pairs = (prompt[i : i + 2] for i in range(0, len(prompt), 2))
    return "\n\n".join(" ".join(pair) for pair in pairs)


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    """The prompt as the messages of a chat.

    >>> messages_of(("Text: a", "good", "Text: b"))[1]
    {'role': 'assistant', 'content': 'good'}
    """
    roles = itertools.cycle(("user", "assistant"))
    return [
        {"role": role, "content": content}
        for role, content in zip(roles, prompt, strict=False)
    ]


def rule(asked: Question) -> str:
    """The form of an answer, and the labels or ranges."""
    task = asked.task
    if task.kind == "classification":
        return (
            "Answer with exactly one of these labels and nothing else: "
            f"{asked.separator.join(task.labels)}"
        )
    if task.kind == "multi_label":
        return (
            f'Answer with the labels that apply, separated by "{asked.separator.strip()}", '
            f'or with "{asked.nothing}", and nothing else: '
            f"{asked.separator.join(task.labels)}"
        )
    ranges = [f"from {_number(low)} to {_number(high)}" for low, high in asked.ranges]
    if len(ranges) == 1:
        return f"Answer with one number {ranges[0]} and nothing else."
    named = zip(task.labels, ranges, strict=True)
    return (
        f"Answer with {len(ranges)} numbers, separated by commas, and nothing else: "
        f"{', '.join(f'{label} {range_}' for label, range_ in named)}"
    )


def answer(asked: Question, label: Label) -> str:
    """A label as a demonstration shows it, and as a model should."""
    task = asked.task
    if task.kind == "regression":
        return ", ".join(map(_number, np.atleast_1d(label)))
    if task.kind == "multi_label":
        names = [task.labels[i] for i in np.flatnonzero(label)]
        return asked.separator.join(names) or asked.nothing
    return task.labels[int(label)]


def _shown(asked: Question, text: str, second: str) -> str:
    """The text and the cue."""
    if not asked.task.is_pair:
        return f"Text: {_line(text)}\n{CUE}"
    return f"First text: {_line(text)}\nSecond text: {_line(second)}\n{CUE}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _number(value: float) -> str:
    """A number with four digits, or all those before the point, without an exponent.

    >>> [*map(_number, (12345.6, 0.123456, 3.0, 1e-6))]
    ['12346', '0.1235', '3', '0.000001']
    """
    digits = max(4, len(f"{abs(value):.0f}"))
    return np.format_float_positional(value, digits, fractional=False, trim="-")
