"""The synthetic benchmark: a reader of its language, its shape, its noise."""

import hashlib
import re

import numpy as np
import pytest

from mtra_jax.data.built_in import synthetic, synthetic_grammar
from mtra_jax.data.splits import noise
from mtra_jax.errors import InputError
from mtra_jax.tasks import SYNTHETIC

SIZES = dict.fromkeys(synthetic.DEFAULT_SIZES, (400, 100, 200))


@pytest.fixture(scope="module")
def benchmark():
    return synthetic.generate(seed=0)


# A reader that has the words and the rules, but not the way the texts were drawn.

TOPIC_OF = {
    word: index
    for index, words in enumerate(synthetic_grammar.TOPICS.values())
    for word in words.split()
}
FEELING_OF = {
    word: (polarity, strength)
    for lexicon in (synthetic_grammar.ADJECTIVES, synthetic_grammar.VERBS)
    for polarity, levels in lexicon.items()
    for strength, words in zip((1.0, 2.0, 3.0), levels, strict=True)
    for word in words.split()
}
FACTOR_OF = {
    word: factor
    for factor, degrees in synthetic_grammar.DEGREES.items()
    for word in degrees
    if word
}
NEGATION = re.compile(r"\b(not|hardly|never|far from)\b")
HEARSAY = re.compile(r"\b(says the|finds the|according to|those around|and friends)\b")
CONCEDED = re.compile(r"\balthough .*?,|\bi used to say .*?,|^.* but | even if .*$")


def read(text):
    """Returns the reader's (polarity, strength, topic, ironic) of `text`."""
    valence = 0
    for sign, events in synthetic_grammar.EVENTS.items():
        for event in events:
            if event in text:
                valence, text = sign, text.replace(event, "")
    for sentence, mark in re.findall(r"(.+?)(\.\.\.|\.|!| -|$)(?: |$)", text):
        if HEARSAY.search(sentence):
            continue
        clause = CONCEDED.sub(" ", sentence)
        words = re.findall(r"\w+", clause)
        feelings = [FEELING_OF[word] for word in words if word in FEELING_OF]
        if not feelings:
            continue
        polarity, strength = feelings[0]
        for degree, factor in FACTOR_OF.items():
            strength *= factor if degree in clause else 1
        if NEGATION.search(clause):
            polarity, strength = -polarity, 0.7 * strength
        if mark == "!" and " even if " not in sentence:
            strength += 0.6
        topics = [TOPIC_OF[word] for word in words if word in TOPIC_OF]
        ironic = valence == -polarity
        return valence or polarity, min(4.0, strength), (topics or [None])[0], ironic
    return 0, 0.0, None, False


def label_of(task, text):
    polarity, strength, topic, ironic = read(text)
    if task == "stance":
        return 0 if topic != 1 else {-1: 1, 1: 2}[polarity]
    readings = {
        "polarity": polarity + 1,
        "target": topic,
        "irony": int(ironic),
        "intensity": strength,
    }
    return readings[task]


@pytest.mark.parametrize("task", SYNTHETIC.task_names)
def test_a_reader_of_the_text_alone_finds_every_label(benchmark, task):
    for texts, labels, *_ in benchmark[task].values():
        actual = np.array([label_of(task, text) for text in texts], np.float32)
        np.testing.assert_allclose(actual, labels.reshape(-1), atol=1e-5)


@pytest.mark.parametrize("task", SYNTHETIC.task_names)
def test_a_single_word_does_not_predict_the_label(benchmark, task):
    texts, labels, *_ = benchmark[task]["train"]
    words = [set(re.findall(r"[#@]?\w+|\S", text)) for text in texts]
    vocabulary = sorted({word for bag in words for word in bag})
    has = np.array([[word in bag for word in vocabulary] for bag in words])
    if task == "intensity":
        values = labels[:, 0] - labels.mean()
        centred = has - has.mean(0)
        scale = np.sqrt(np.square(centred).sum(0) * np.square(values).sum())
        correlations = values @ centred / np.where(scale, scale, 1)
        assert np.abs(correlations).max() < 0.35  # measured: 0.26
        return
    onehot = np.eye(labels.max() + 1)[labels]
    present, totals = has.T.astype(float) @ onehot, onehot.sum(0)
    # The best rule "one label with the word, another without it"; the reader has 1.
    accuracy = (present.max(1) + (totals - present).max(1)) / len(texts)
    majority = totals.max() / len(texts)
    assert majority < 0.6
    assert accuracy.max() < majority + 0.09  # measured: at most 0.06


def test_texts_look_like_tweets(benchmark):
    texts = [
        t for splits in benchmark.values() for e in splits.values() for t in e.texts
    ]
    counts = [len(text.split()) for text in texts]
    assert min(counts) >= 8
    assert max(counts) <= 40
    assert 14 < np.mean(counts) < 20
    assert not any("  " in text or text != text.strip() for text in texts)
    for sign in ("#", "@user", "😀", "!", "...", "?"):
        assert 0.005 < np.mean([sign in text for text in texts]) < 0.6


def test_sizes_types_and_ranges(benchmark):
    assert tuple(benchmark) == SYNTHETIC.task_names
    for task in SYNTHETIC.tasks:
        splits = benchmark[task.name]
        assert tuple(splits) == ("train", "validation", "test")
        sizes = tuple(len(examples.texts) for examples in splits.values())
        assert sizes == synthetic.DEFAULT_SIZES[task.name]
        for texts, labels, *_ in splits.values():
            if task.is_classification:
                assert (labels.dtype, labels.shape) == (np.int32, (len(texts),))
                counts = np.bincount(labels)
                assert len(counts) == task.num_outputs
                assert counts.min() > 0.12 * len(texts)
            else:
                assert (labels.dtype, labels.shape) == (np.float64, (len(texts), 1))
                assert labels.min() == 0
                assert 3 < labels.max() <= 4
                assert labels.std() > 0.8


def test_splits_do_not_overlap(benchmark):
    for splits in benchmark.values():
        texts = [text for examples in splits.values() for text in examples.texts]
        assert len(set(texts)) == len(texts)


def test_a_text_drawn_twice_occurs_once(monkeypatch):
    monkeypatch.setattr(
        synthetic_grammar, "TOPICS", dict.fromkeys(synthetic_grammar.TOPICS, "thing")
    )
    for name in ("OPENERS", "CLOSERS", "EMOJI", "HASHTAGS"):
        monkeypatch.setattr(synthetic_grammar, name, ["x"])
    lexicon = {+1: ("nice", "good", "great"), -1: ("dull", "bad", "awful")}
    monkeypatch.setattr(
        synthetic_grammar, "FEELINGS", {"adjective": lexicon, "verb": lexicon}
    )
    draw = synthetic.Draw("seed")
    drawn = {synthetic._tweet(draw, "irony").text for _ in range(3000)}
    assert len(drawn) < 2980
    splits = synthetic.generate(0, {"irony": (1000, 1000, 1000)})["irony"]
    texts = [text for examples in splits.values() for text in examples.texts]
    assert len(texts) == len(set(texts)) == 3000


def same(first, second):
    return all(
        a.texts == b.texts and np.array_equal(a.labels, b.labels)
        for task, splits in first.items()
        for a, b in zip(splits.values(), second[task].values(), strict=True)
    )


def test_the_seed_decides_the_data():
    assert same(synthetic.generate(1, SIZES), synthetic.generate(1, SIZES))
    first, second = synthetic.generate(1, SIZES), synthetic.generate(2, SIZES)
    for task in SIZES:
        shared = set(first[task]["train"].texts) & set(second[task]["train"].texts)
        assert len(shared) < 4


def test_the_data_of_a_seed_stay_as_they_are(benchmark):
    texts, labels, *_ = benchmark["irony"]["train"]
    assert texts[0] == "oh absolutely stunning. my flight came with a gift."
    assert labels[0] == 0
    everything = [
        # The digest is that of values in float32.
        (e.texts, e.labels.astype(np.float32).astype(e.labels.dtype).tolist())
        for d in benchmark.values()
        for e in d.values()
    ]
    digest = hashlib.sha256(repr(everything).encode()).hexdigest()
    assert digest[:16] == "70474ae803d527d3"


def test_a_task_is_independent_of_others_and_its_test_of_its_training(benchmark):
    alone = synthetic.generate(0, {"irony": (50, 300, 600)})["irony"]
    whole = benchmark["irony"]
    assert alone["test"].texts == whole["test"].texts
    assert alone["validation"].texts == whole["validation"].texts
    assert alone["train"].texts == whole["train"].texts[:50]


def test_wrong_arguments_are_named():
    with pytest.raises(
        InputError, match=r"unknown task 'ironie' .* did you mean irony"
    ):
        synthetic.generate(0, {"ironie": (1, 1, 1)})
    labels, rng = np.zeros(8, np.int32), np.random.default_rng(0)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"data\.label_noise .*; found"):
            noise.flip_labels(labels, 2, share, rng)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_flipped_labels_are_uniform_over_all_classes(num_classes):
    labels = np.full(20_000, 1, np.int32)
    rng = np.random.default_rng(0)
    flipped = noise.flip_labels(labels, num_classes, 0.4, rng)
    shares = np.bincount(flipped, minlength=num_classes) / len(labels)
    expected = np.full(num_classes, 0.4 / num_classes)
    expected[1] += 0.6
    # Four standard deviations of a class's count among the 8,000 chosen.
    np.testing.assert_allclose(shares, expected, atol=4 * np.sqrt(8000 / 4) / 20_000)
    assert flipped.dtype == np.int32
    assert np.all(labels == 1)  # the argument is left alone


def test_all_labels_are_drawn_anew_at_share_one_and_unchanged_at_zero():
    labels = np.arange(1000, dtype=np.int32) % 2 + 5  # outside all classes
    whole = noise.flip_labels(labels, 5, 1.0, np.random.default_rng(0))
    assert whole.max() < 5
    none = noise.flip_labels(labels, 5, 0.0, np.random.default_rng(0))
    assert np.array_equal(none, labels)
    exact = noise.flip_labels(labels, 5, 0.25, np.random.default_rng(0))
    assert np.sum(exact < 5) == 250


def test_flipped_values_are_rows_of_other_examples():
    values = np.arange(2000, dtype=np.float32).reshape(1000, 2)
    flipped = noise.flip_labels(values, None, 0.5, np.random.default_rng(0))
    assert flipped.dtype == np.float32
    assert np.all(flipped[:, 0] % 2 == 0)
    np.testing.assert_array_equal(flipped[:, 1], flipped[:, 0] + 1)  # rows stay whole
    moved = flipped[:, 0] != values[:, 0]
    assert 497 <= np.sum(moved) <= 500
    # Uniform over all 1000 rows, mean 999 and deviation 577: four standard errors.
    assert abs(flipped[moved, 0].mean() - 999) < 4 * 577 / np.sqrt(500)
    assert len(np.unique(flipped[moved, 0])) < 480  # with replacement


def test_more_noise_changes_more_of_the_same():
    labels = np.zeros(1000, np.int32)
    low, high = (
        noise.flip_labels(labels, 9, share, np.random.default_rng(3))
        for share in (0.2, 0.6)
    )
    assert np.array_equal(low[low != 0], high[low != 0])
    assert np.sum(high != 0) > 2 * np.sum(low != 0)


def test_subsample_is_sorted_and_nested():
    few, many, whole = (
        noise.subsample(1000, fraction, np.random.default_rng(0))
        for fraction in (0.1, 0.5, 1)
    )
    assert (len(few), len(many)) == (100, 500)
    assert np.array_equal(whole, np.arange(1000))
    assert np.array_equal(np.unique(many), many)
    assert set(few) < set(many)
    assert abs(many.mean() - 499.5) < 4 * 289 / np.sqrt(500)  # from everywhere


def test_subsample_keeps_at_least_one():
    assert len(noise.subsample(10, 0.001, np.random.default_rng(0))) == 1
    assert len(noise.subsample(0, 0.5, np.random.default_rng(0))) == 0
    for fraction in (0, -0.5, 1.01, float("nan")):
        with pytest.raises(InputError, match=r"data\.fraction .* found"):
            noise.subsample(10, fraction, np.random.default_rng(0))


def test_equal_strengths_are_ties(benchmark):
    """Whether or not float32 hides the noise of their sums."""
    values = np.concatenate([part.labels for part in benchmark["intensity"].values()])
    assert len(np.unique(values)) == len(np.unique(values.astype(np.float32)))


def test_a_caller_may_change_what_it_gets():
    """A second call gives the same again."""
    first = synthetic.generate(3, SIZES)
    expected = (
        list(first["irony"]["train"].texts),
        first["irony"]["train"].labels.copy(),
    )
    first["irony"]["train"].texts.clear()
    first["irony"]["train"].labels[:] = -1
    del first["irony"]["test"]
    again = synthetic.generate(3, SIZES)["irony"]
    assert again["train"].texts == expected[0]
    np.testing.assert_array_equal(again["train"].labels, expected[1])
    assert len(again["test"].texts) == SIZES["irony"][2]
