"""The answer of a language model to a question -> a label, or why it has none.

An answer is its first line that is not empty, after a leading `<think>...</think>` block.
A label is accepted if it is spelled as in the prompt, but for upper and lower case, and for
white space and punctuation at both ends. A number must be in the range of the prompt.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from mtra_jax.prompting.prompts import Label, Question

_THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
# Matches in linear time.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
# How refusals of instructed models begin; the curly apostrophe is theirs.
_REFUSAL = re.compile(
    r"(i[’']?m sorry|i am sorry|sorry\b|i apologi[sz]e|i can(no|['’])t\b|i can not\b|"
    r"i[’']?m (unable|not able)|i am (unable|not able)|i won[’']?t\b|i will not\b|"
    r"as an ai\b|as a language model\b|unfortunately, i\b)",
    re.IGNORECASE,
)
Kind = Literal["read", "refused", "unparsable"]


class Reply(NamedTuple):
    """The reply of a model. `is_refused`: the server reports a refusal."""

    text: str
    is_refused: bool = False


class Counts(NamedTuple):
    """Numbers of answers of each `Kind`."""

    read: int
    refused: int
    unparsable: int


def read(asked: Question, reply: Reply) -> tuple[Label | None, Kind]:
    """The label in a reply; None with "refused" or "unparsable"."""
    line = _first_line(reply.text)
    label = None if reply.is_refused else _label(asked, line)
    if label is not None:
        return label, "read"
    is_refused = reply.is_refused or _REFUSAL.match(_stripped(line))
    return None, "refused" if is_refused else "unparsable"


def predictions(
    asked: Question, replies: Sequence[Reply], labels: np.ndarray, means: np.ndarray
) -> tuple[np.ndarray, Counts]:
    """The predictions of the replies, with the shape and type of `labels`.

    `labels`: the right ones, [N] or [N, D]. A reply without a label counts as a wrong one:
    the class after the right class, in the order of the task; no label of a multi-label
    task, or all of them where none is right; the values `means` [D] of a regression,
    those of the training data.
    """
    predicted = np.array(labels)
    counts = dict.fromkeys(("read", "refused", "unparsable"), 0)
    for place, reply in enumerate(replies):
        label, kind = read(asked, reply)
        counts[kind] += 1
        predicted[place] = (
            _wrong(asked, labels[place], means) if label is None else label
        )
    return predicted, Counts(**counts)


def _wrong(asked: Question, right: Label, means: np.ndarray) -> Label:
    if asked.task.kind == "regression":
        return means
    if asked.task.kind == "multi_label":
        return np.full_like(right, 0 if np.any(right) else 1)
    return (int(right) + 1) % asked.task.num_outputs


def _first_line(text: str) -> str:
    thoughts = _THOUGHTS.match(text)
    rest = text[thoughts.end() :] if thoughts else text
    return next((line.strip() for line in rest.splitlines() if line.strip()), "")


def _label(asked: Question, line: str) -> Label | None:
    task = asked.task
    if task.kind == "classification":
        return _place(task.labels, line)
    if task.kind == "multi_label":
        return _label_set(asked, line)
    return _values(asked, line)


def _place(names: Sequence[str], text: str) -> int | None:
    """The place of `text` in `names`; None without one, or with several."""
    text = text.strip()
    if text in names:
        return names.index(text)
    plain = _plain(text)
    places = [i for i, name in enumerate(names) if plain and _plain(name) == plain]
    return places[0] if len(places) == 1 else None


def _label_set(asked: Question, line: str) -> np.ndarray | None:
    """0 and 1 of each label; None unless each part is a label, and none occurs twice."""
    task = asked.task
    chosen = np.zeros(task.num_outputs, np.float32)
    if _place([asked.nothing, *task.labels], line) == 0:
        return chosen
    for part in line.split(asked.separator.strip()):
        place = _place(task.labels, part)
        if place is None or chosen[place]:
            return None
        chosen[place] = 1
    return chosen


def _values(asked: Question, line: str) -> np.ndarray | None:
    """The numbers, one for each dimension, within its range."""
    parts = [part.strip() for part in line.removesuffix(".").split(",")]
    if len(parts) != len(asked.ranges) or not all(map(_NUMBER.fullmatch, parts)):
        return None
    values = np.array(parts, np.float64)
    lows, highs = np.transpose(asked.ranges)
    is_within = ((lows <= values) & (values <= highs)).all()
    return values if is_within else None


def _plain(text: str) -> str:
    return _stripped(text).casefold()


def _stripped(text: str) -> str:
    """`text` without white space, punctuation and symbols at both ends."""
    start, end = 0, len(text)
    while start < end and _is_sign(text[start]):
        start += 1
    while start < end and _is_sign(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] in "PSZ" or character.isspace()
