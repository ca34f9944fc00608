"""Pairs of texts as tokens and corpora: what is cached, mixed, drawn, hashed and refused.

`test_tokenizer_files.py` compares ids and types with those of `transformers`.
"""

import hashlib
import itertools
import json

import numpy as np
import pytest
from tokenizers import Tokenizer, processors

from mtra_jax.data import benchmarks
from mtra_jax.data.splits import fingerprints
from mtra_jax.data.splits.examples import Examples
from mtra_jax.data.tokenizing import pairs, tokens
from mtra_jax.errors import InputError
from mtra_jax.tasks import Benchmark, Task

FIRSTS = ["a cat sat", "rain", "", "the cat and the dog sat there all day long"]
SECONDS = ["a dog ran", "", "no cat", "the rain ran on and on and on and on"]
CLASSES = "classification", ("no", "yes"), ("accuracy",)
BENCHMARK = Benchmark(
    "mixed",
    (
        Task("follows", "Follows", *CLASSES, is_pair=True),
        Task("mood", "Mood", *CLASSES),
        Task("near", "Near", "regression", ("likeness",), ("pearson",), is_pair=True),
    ),
)
PAIR_TEMPLATE = "[CLS] $A [SEP] $B:1 [SEP]:1"


@pytest.fixture(scope="module")
def bert():
    return tokens.train_tokenizer([*FIRSTS, *SECONDS], 80)


@pytest.fixture(scope="module")
def roberta(bert):
    """The same words in RoBERTa's template, which has no types."""
    tokenizer = Tokenizer.from_str(bert.to_str())
    tokenizer.post_processor = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def with_template(tokenizer, **templates):
    """A copy whose post-processor has the `templates` of single texts and of pairs."""
    spec = json.loads(tokenizer.to_str())
    names = [("[CLS]", 2), ("[SEP]", 3)]
    made = processors.TemplateProcessing(
        **{"single": "[CLS] $A [SEP]", **templates}, special_tokens=names
    )
    copy = Tokenizer.from_str(json.dumps(spec))
    copy.post_processor = made
    return copy


def without_second(tokenizer):
    """A copy that drops the second text, as only a file can ask for."""
    spec = json.loads(tokenizer.to_str())
    pair = spec["post_processor"]["pair"]
    spec["post_processor"]["pair"] = [
        piece for piece in pair if piece.get("Sequence", {}).get("id") != "B"
    ]
    return Tokenizer.from_str(json.dumps(spec))


def rows(values, offsets):
    return [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def examples(size, seed=0, is_pair=False, labels=None):
    rng = np.random.default_rng(seed)
    made = [
        [
            " ".join(rng.choice(["cat", "dog", "rain", "ran"], 3)) + f" {i}"
            for i in order
        ]
        for order in (range(size), range(size))
    ]
    if labels is None:
        labels = rng.integers(2, size=size).astype(np.int32)
    return Examples(made[0], labels, (), made[1] if is_pair else ())


@pytest.fixture(scope="module")
def splits():
    values = np.random.default_rng(9).normal(size=(9, 1)).astype(np.float32)
    whole = {
        "follows": examples(12, 1, is_pair=True),
        "mood": examples(7, 2),
        "near": examples(9, 3, is_pair=True, labels=values),
    }
    return {name: {"train": part, "test": part} for name, part in whole.items()}


# ---- tokenizers


@pytest.mark.parametrize(
    "change",
    [
        lambda t: with_template(t),  # the library's own for pairs: both texts, bare
        lambda t: with_template(t, pair="[SEP] $A [SEP] $B:1 [SEP]:1"),
        lambda t: with_template(t, pair="$B:1 [SEP] $A"),
        without_second,
    ],
    ids=["no template", "another first token", "no first token", "no second text"],
)
def test_a_tokenizer_without_pairs_is_refused(bert, change):
    tokenizer = change(bert)
    message = (
        "the tokenizer makes no pair of two texts; expected a post_processor whose pair "
        "has both, after the first token of a single text"
    )
    with pytest.raises(InputError, match=f"^{message}$"):
        tokens.encode(tokenizer, FIRSTS, 16, SECONDS)
    with pytest.raises(InputError, match=f"^DIR: {message}$"):
        pairs.check(tokenizer, 2, "DIR")
    assert tokens.encode(tokenizer, FIRSTS, 16).types is None


def test_types_without_a_row_of_the_encoder_are_refused(bert, roberta):
    pairs.check(bert, 2, "DIR")
    pairs.check(roberta, 1, "DIR")
    third = with_template(bert, pair="[CLS] $A [SEP] $B:2 [SEP]:1")
    pairs.check(third, 3, "DIR")
    for tokenizer, num_rows, largest in ((bert, 1, 1), (third, 2, 2)):
        with pytest.raises(InputError) as caught:
            pairs.check(tokenizer, num_rows, "DIR")
        assert str(caught.value) == (
            f"DIR: the tokenizer gives tokens of a pair the type {largest}; the encoder "
            f"has rows for {num_rows} types (type_vocab_size)"
        )


def test_the_special_tokens_of_a_pair_bound_the_length(bert, roberta):
    for tokenizer, count in ((bert, 3), (roberta, 4)):
        shortest = tokens.encode(tokenizer, FIRSTS, count + 1, SECONDS)
        assert shortest.lengths.tolist() == [count + 1] * 4
        with pytest.raises(InputError) as caught:
            tokens.encode(tokenizer, FIRSTS, count, SECONDS)
        assert str(caught.value) == (
            f"data.max_length must be above the {count} special tokens of a pair of "
            f"texts; found {count}"
        )
    assert tokens.encode(bert, FIRSTS, 3).lengths.max() == 3


def test_a_pair_is_one_text_even_if_a_text_is_empty(bert):
    encoded = tokens.encode(bert, ["a", "", ""], 16, ["", "a", ""])
    (a,) = bert.encode("a", add_special_tokens=False).ids
    assert rows(encoded.ids, encoded.offsets) == [[2, a, 3, 3], [2, 3, a, 3], [2, 3, 3]]
    assert rows(encoded.types, encoded.offsets) == [
        [0, 0, 0, 1],
        [0, 0, 1, 1],
        [0, 0, 1],
    ]


def test_lone_surrogates_in_second_texts_read_as_the_replacement_character(bert):
    encoded = tokens.encode(bert, ["a", "a"], 16, ["b \ud83d", "b \ufffd"])
    one, other = rows(encoded.ids, encoded.offsets)
    assert one == other


def test_a_text_without_a_second_is_refused(bert):
    with pytest.raises(ValueError, match="zip"):
        tokens.encode(bert, FIRSTS, 16, SECONDS[:3])


# ---- cache


def check_equal(actual, expected):
    for array, wanted in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
        assert getattr(array, "dtype", None) == getattr(wanted, "dtype", None)


def test_pairs_are_cached_with_their_types(bert, roberta, tmp_path, monkeypatch):
    expected = tokens.encode(bert, FIRSTS, 16, SECONDS)
    for _ in range(2):
        check_equal(tokens.cached_encode(tmp_path, bert, FIRSTS, 16, SECONDS), expected)
        monkeypatch.setattr(tokens, "encode", None)  # the second time from the files
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.undo()
    check_equal(tokens.cached_encode(None, bert, FIRSTS, 16, SECONDS), expected)
    for _ in range(2):
        assert (
            tokens.cached_encode(tmp_path, roberta, FIRSTS, 16, SECONDS).types is None
        )
    assert len(list(tmp_path.iterdir())) == 5


def test_the_key_depends_on_the_second_texts(bert, tmp_path):
    for firsts, seconds in (
        (FIRSTS, SECONDS),
        (SECONDS, FIRSTS),
        (FIRSTS, SECONDS[::-1]),
        ([*FIRSTS, *SECONDS], ()),
        (FIRSTS, ()),
    ):
        actual = tokens.cached_encode(tmp_path, bert, firsts, 16, seconds)
        check_equal(actual, tokens.encode(bert, firsts, 16, seconds))
    assert len(list(tmp_path.glob("*.ids.npy"))) == 5
    assert len(list(tmp_path.glob("*.types.npy"))) == 3


def test_the_key_of_single_texts_is_that_of_earlier_versions(
    bert, tmp_path, monkeypatch
):
    monkeypatch.setattr(tokens.tokenizers, "__version__", "0.0")
    tokens.cached_encode(tmp_path, bert, FIRSTS, 16)
    digest = hashlib.sha256()
    for part in ("0.0", "16", bert.to_str(), *FIRSTS):
        digest.update(len(part).to_bytes(8, "little") + part.encode())
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{digest.hexdigest()}.{part}.npy" for part in ("ids", "offsets")}


@pytest.mark.parametrize(
    "damage",
    [
        lambda types: types[:-1],
        lambda types: types + 1,
        lambda types: types - 1,
        lambda types: types.astype(np.int64),
        lambda types: types[None],
    ],
    ids=["short", "too large", "negative", "another type", "another shape"],
)
def test_damaged_types_are_rebuilt(bert, tmp_path, damage):
    expected = tokens.cached_encode(tmp_path, bert, FIRSTS, 16, SECONDS)
    expected = tokens.Tokens(*map(np.array, expected))
    (path,) = tmp_path.glob("*.types.npy")
    sound = path.read_bytes()
    np.save(path, damage(expected.types))
    check_equal(tokens.cached_encode(tmp_path, bert, FIRSTS, 16, SECONDS), expected)
    assert path.read_bytes() == sound


# ---- corpora


@pytest.mark.parametrize("cached", [False, True])
def test_corpora_hold_pairs_and_single_texts_in_order(bert, splits, tmp_path, cached):
    for _ in range(2):
        corpus = benchmarks.build_corpora(
            BENCHMARK,
            splits,
            bert,
            max_length=9,
            cache_dir=tmp_path if cached else None,
            splits=("test",),
        )["test"]
    assert corpus.sizes == (12, 7, 9)
    bert.enable_truncation(9)
    follows, mood, near = (splits[name]["test"] for name in BENCHMARK.task_names)
    expected = [
        *map(bert.encode, follows.texts, follows.second_texts),
        *map(bert.encode, mood.texts),
        *map(bert.encode, near.texts, near.second_texts),
    ]
    bert.no_truncation()
    ids, offsets, types = corpus.tokens
    assert rows(ids, offsets) == [one.ids for one in expected]
    assert rows(types, offsets) == [one.type_ids for one in expected]
    assert {array.dtype for array in (ids, types)} == {np.dtype(np.int32)}
    assert offsets.dtype == np.int64


def test_second_texts_must_be_as_many_as_the_texts_of_a_task_of_pairs(bert, splits):
    for name, second_texts in (("follows", ()), ("near", ["a"]), ("mood", ["a"] * 7)):
        part = splits[name]["test"]._replace(second_texts=second_texts)
        with pytest.raises(
            InputError, match=f"^{name}, test: .* second texts; expected"
        ):
            benchmarks.build_corpora(
                BENCHMARK,
                {**splits, name: {"test": part}},
                bert,
                max_length=16,
                cache_dir=None,
                splits=("test",),
            )


def test_drawn_pairs_stay_together(splits):
    """The made-up pairs have one number at the end of both texts."""
    drawn = benchmarks.thin(BENCHMARK, splits, fraction=0.75, label_noise=0.5, seed=3)
    limited = benchmarks.thin(BENCHMARK, splits, fraction=0.75, limit=4)
    for parts, train, test in ((drawn, 9, 12), (limited, 4, 4)):
        for part, size in zip(parts["follows"].values(), (train, test), strict=True):
            assert len(part.texts) == len(part.second_texts) == len(part.labels) == size
            ends = [
                [text.split()[-1] for text in texts]
                for texts in (part.texts, part.second_texts)
            ]
            assert ends[0] == ends[1]
            assert set(part.second_texts) <= set(
                splits["follows"]["train"].second_texts
            )
    assert drawn["mood"]["train"].second_texts == ()
    assert limited["mood"]["test"].second_texts == ()


def test_both_texts_of_pairs_are_training_texts(splits):
    parts = [splits[name]["train"] for name in BENCHMARK.task_names]
    expected = [text for part in parts for text in [*part.texts, *part.second_texts]]
    assert benchmarks.train_texts(BENCHMARK, splits) == expected


def test_fingerprints_cover_second_texts():
    one = Examples(["ab", "c"], np.array([0, 1], np.int32), (("x", 2),))
    digest = hashlib.sha256(b"abc")
    digest.update(np.array([2, 1], "<i8").tobytes() + np.array([0, 1], "<i4").tobytes())
    digest.update(b"(('x', 2),)")
    single = fingerprints.of_splits({"task": {"train": one}})["task"]["train"]
    assert single == {"examples": 2, "sha256": digest.hexdigest()}
    hashes = {single["sha256"]}
    for second_texts in (["d", "e"], ["e", "d"], ["de", ""], ["", "de"]):
        part = one._replace(second_texts=second_texts)
        made = fingerprints.of_splits({"task": {"train": part}})["task"]["train"]
        assert made["examples"] == 2
        hashes.add(made["sha256"])
    swapped = one._replace(texts=["d", "e"], second_texts=["ab", "c"])
    hashes.add(fingerprints.of_splits({"t": {"s": swapped}})["t"]["s"]["sha256"])
    assert len(hashes) == 6
