"""A seed -> the benchmark `synthetic`: tweet-like texts drawn from a grammar.

A text is a few clauses between an opener and closers. One clause holds the author's
feeling: an opinion ("the pizza was not really great") or a reaction to an event ("oh so
lovely! the train was cancelled after all"). The others distract: opinions of somebody
else, concessions and former opinions of the author, plain facts. All tasks read the same
latent factors:

* `polarity`: the final feeling of the author. Negation flips a word; the conceded half of
  a contrast and the opinions of others do not count; an event outweighs the words.
* `target`: the topic of the author's own opinion, among the topics mentioned.
* `irony`: whether the words of a reaction contradict the event.
* `stance`: the polarity of an opinion about means of travel; otherwise "none".
* `intensity`: the strength of the author's words, 0 to 4: the word, its degree, a
  negation and an exclamation mark count.

Every label is a function of its text, and no text of a task occurs twice.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtra_jax.data.built_in import synthetic_grammar
from mtra_jax.data.splits.examples import LABEL_TYPES, SPLITS, Examples
from mtra_jax.tasks import SYNTHETIC, Task

# Examples for training, validation and test.
DEFAULT_SIZES: Mapping[str, tuple[int, int, int]] = {
    "polarity": (2500, 300, 600),
    "target": (1500, 300, 600),
    "irony": (1000, 300, 600),
    "stance": (500, 300, 600),
    "intensity": (1000, 300, 600),
}

# Relative frequency of each structure of text, by task.
STRUCTURES = {
    "polarity": {"plain": 6, "contrast": 4, "hearsay": 3, "event": 3, "neutral": 4},
    "target": {"plain": 6, "contrast": 5, "hearsay": 6},
    "irony": {"event": 1},
    "stance": {"plain": 8, "contrast": 4, "hearsay": 5},
    "intensity": {"plain": 8, "contrast": 3, "hearsay": 4, "event": 2, "neutral": 1},
}

_TOPICS = tuple(synthetic_grammar.TOPICS)
_TRAVEL = _TOPICS.index("travel")


class Clause(NamedTuple):
    """Words and their feeling: polarity -1 or 1 (0 for none), strength in [0, 4]."""

    words: str
    polarity: int
    strength: float


class Tweet(NamedTuple):
    """A text and its latent factors: polarity -1, 0 or 1, the index of the topic."""

    text: str
    polarity: int
    strength: float
    topic: int
    ironic: bool


class Draw:
    """Random choices from `random()` alone, which is equal in all versions of Python."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def pick(self, items: Sequence[Any]) -> Any:
        return items[int(self.random() * len(items))]

    def word(self, words: str) -> str:
        """Picks a word; earlier words are more frequent."""
        items = words.split()
        return items[int(self.random() ** 1.5 * len(items))]

    def weighted(self, weights: Mapping[Any, float]) -> Any:
        items = list(weights)
        point = self.random() * sum(weights.values())
        for item in items[:-1]:
            point -= weights[item]
            if point < 0:
                return item
        return items[-1]


def _feeling(
    draw: Draw,
    polarity: int,
    topic: int,
    frames: Mapping[str, Sequence[str]],
    negated: float = 0.3,
) -> Clause:
    """Draws a clause "... [negator] [degree] word ..." with the meaning `polarity`."""
    kind = draw.weighted({"adjective": 7, "verb": 3})
    negator = (
        draw.pick(synthetic_grammar.NEGATORS[kind]) if draw.chance(negated) else ""
    )
    level = int(draw.random() * len(synthetic_grammar.STRENGTHS))
    factor = draw.weighted({0.5: 5, 1.0: 8, 1.3: 7})
    surface = -polarity if negator else polarity
    word = draw.word(synthetic_grammar.FEELINGS[kind][surface][level])
    words = draw.pick(frames[kind]).format(
        thing=_thing(draw, topic),
        other=draw.pick(synthetic_grammar.OTHERS),
        phrase=f"{negator} {draw.pick(synthetic_grammar.DEGREES[factor])} {word}",
    )
    strength = synthetic_grammar.STRENGTHS[level] * factor
    return Clause(
        words,
        polarity,
        strength * (synthetic_grammar.NEGATION_DAMPING if negator else 1.0),
    )


def _thing(draw: Draw, topic: int) -> str:
    return draw.word(synthetic_grammar.TOPICS[_TOPICS[topic]])


def _fact(draw: Draw, topic: int) -> str:
    return draw.pick(synthetic_grammar.FACTS).format(
        thing=_thing(draw, topic),
        place=draw.pick(synthetic_grammar.PLACES),
        other=draw.pick(synthetic_grammar.OTHERS),
    )


def _marked(draw: Draw, clause: Clause) -> Clause:
    """Ends a clause with a mark; an exclamation mark adds strength, up to 4."""
    mark = draw.weighted({".": 6, "!": 4, "...": 2, " -": 1})
    shout = synthetic_grammar.EXCLAMATION if mark == "!" else 0.0
    return Clause(
        clause.words + mark, clause.polarity, min(4.0, clause.strength + shout)
    )


def _event(draw: Draw, topic: int, valence: int) -> tuple[list[str], Clause]:
    """Draws an event and a reaction, which is ironic more often if the event is bad."""
    ironic = draw.chance(0.65 if valence < 0 else 0.2)
    surface = -valence if ironic else valence
    reaction = _marked(
        draw, _feeling(draw, surface, topic, synthetic_grammar.REACTIONS, 0.1)
    )
    owner, outcome = (
        draw.pick(("the", "my", "our")),
        draw.pick(synthetic_grammar.EVENTS[valence]),
    )
    event = f"{owner} {_thing(draw, topic)} {outcome}."
    return _ordered(draw, event, reaction.words, 0.4), reaction


def _ordered(draw: Draw, first: str, second: str, share: float) -> list[str]:
    return [first, second] if draw.chance(share) else [second, first]


def _contrast(
    draw: Draw, conceded: Clause, counted: Clause
) -> tuple[list[str], Clause]:
    frame = draw.pick(synthetic_grammar.CONTRASTS)
    # The final mark belongs to the clause before it.
    if frame.endswith("{counted}"):
        counted = _marked(draw, counted)
    else:
        conceded = _marked(draw, conceded)
    sentence = frame.format(conceded=conceded.words, counted=counted.words)
    return [sentence], counted


def _sentences(
    draw: Draw, structure: str, topic: int, polarity: int
) -> tuple[list[str], Clause]:
    """Draws the sentences that determine the labels, and the author's clause."""
    other = (topic + 1 + int(draw.random() * (len(_TOPICS) - 1))) % len(_TOPICS)
    # A distractor contradicts the author more often than not.
    opposite = -polarity if draw.chance(0.55) else polarity
    if structure == "event":
        return _event(draw, topic, polarity)
    if structure == "neutral":
        opinion = _feeling(draw, opposite, other, synthetic_grammar.OTHERS_FRAMES)
        fact = _fact(draw, topic) + "."
        sentences = [fact, _fact(draw, other) + "."]
        if draw.chance(0.6):
            sentences = _ordered(draw, _marked(draw, opinion).words, fact, 0.8)
        return sentences, Clause("", 0, 0.0)
    counted = _feeling(draw, polarity, topic, synthetic_grammar.OWN_FRAMES)
    if structure == "contrast":
        conceded = _feeling(draw, opposite, other, synthetic_grammar.OWN_FRAMES)
        return _contrast(draw, conceded, counted)
    counted = _marked(draw, counted)
    if structure == "plain":
        about = other if draw.chance(0.5) else topic
        return _ordered(draw, _fact(draw, about) + ".", counted.words, 0.8), counted
    opinion = _marked(
        draw, _feeling(draw, opposite, other, synthetic_grammar.OTHERS_FRAMES)
    )
    return _ordered(draw, opinion.words, counted.words, 0.8), counted


def _tweet(draw: Draw, task: str) -> Tweet:
    """Draws a text for `task`, with its latent factors."""
    structure = draw.weighted(STRUCTURES[task])
    topic = draw.weighted({0: 7, 1: 6, 2: 6, 3: 5})
    if task == "stance" and draw.chance(0.5):
        topic = _TRAVEL
    polarity = -1 if draw.chance(0.52) else 1
    sentences, counted = _sentences(draw, structure, topic, polarity)
    opener = [draw.pick(synthetic_grammar.OPENERS)] if draw.chance(0.5) else []
    closers = [draw.pick(synthetic_grammar.CLOSERS)] if draw.chance(0.4) else []
    closers += [draw.pick(synthetic_grammar.EMOJI)] * draw.weighted({0: 5, 1: 3, 2: 1})
    closers += [draw.pick(synthetic_grammar.HASHTAGS)] if draw.chance(0.3) else []
    while len(" ".join([*opener, *sentences, *closers]).split()) < 8:
        closers.append(draw.pick(synthetic_grammar.CLOSERS))
    text = " ".join(" ".join([*opener, *sentences, *closers]).split())
    if structure == "neutral":
        return Tweet(text, 0, 0.0, topic, False)
    ironic = structure == "event" and counted.polarity != polarity
    return Tweet(text, polarity, counted.strength, topic, ironic)


def _label(task: str, tweet: Tweet) -> int | float:
    """The class id, or the value, of a text from its latent factors."""
    if task == "polarity":
        return tweet.polarity + 1
    if task == "target":
        return tweet.topic
    if task == "irony":
        return int(tweet.ironic)
    if task == "stance":
        favor = 2 if tweet.polarity > 0 else 1
        return favor if tweet.topic == _TRAVEL else 0
    # Sums of decimals: equal strengths must be ties, which rank correlations see.
    return round(tweet.strength, 6)


def generate(
    seed: int = 0, sizes: Mapping[str, Sequence[int]] = DEFAULT_SIZES
) -> dict[str, dict[str, Examples]]:
    """Returns task name -> split ("train", "validation", "test") -> `Examples`.

    `sizes`: the number of examples of the three splits, by task. The texts of a task do
    not depend on the other tasks, and its test texts not on the size of its training
    split.

    Raises:
      InputError: an unknown task.
    """
    tasks = SYNTHETIC.select(tuple(sizes)).tasks
    return {task.name: _generate_task(task, seed, sizes[task.name]) for task in tasks}


def unlabelled(count: int, seed: int, without: frozenset[str]) -> list[str]:
    """Returns `count` different texts of the grammar, none of which is in `without`.

    They have the structures of all tasks in equal shares.
    """
    draw, names = Draw(f"unlabelled/{seed}"), SYNTHETIC.task_names
    texts: dict[str, None] = {}
    while len(texts) < count:
        text = _tweet(draw, names[len(texts) % len(names)]).text
        if text not in without:
            texts[text] = None
    return list(texts)


def _generate_task(task: Task, seed: int, sizes: Sequence[int]) -> dict[str, Examples]:
    texts: set[str] = set()
    splits = {}
    # Test first: later splits avoid the texts of earlier ones.
    for split, size in reversed(list(zip(SPLITS, sizes, strict=True))):
        draw = Draw(f"{seed}/{task.name}/{split}")
        tweets: list[Tweet] = []
        while len(tweets) < size:
            tweet = _tweet(draw, task.name)
            if tweet.text not in texts:
                texts.add(tweet.text)
                tweets.append(tweet)
        labels: np.ndarray = np.array(
            [_label(task.name, tweet) for tweet in tweets], LABEL_TYPES[task.kind]
        )
        if not task.is_classification:
            labels = labels[:, None]
        splits[split] = Examples([tweet.text for tweet in tweets], labels)
    return {split: splits[split] for split in SPLITS}
