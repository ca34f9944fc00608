"""Token ids against transformers' own tokenizers; the cache; training of tokenizers."""

import concurrent.futures
import json
import subprocess
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError

TEXTS = [
    "The train was NOT really great!! 😭 #monday",
    "@user héllo wörld, don't you think so?",
    "",
    "two  blanks and a very long line " * 20,
    "unbelievably inconsiderate",
    " ",
]
CORPUS = [*TEXTS, "the train was great", "a great world", "world of trains"] * 3


def rows(encoded):
    return [
        encoded.ids[start:end].tolist()
        for start, end in zip(encoded.offsets, encoded.offsets[1:], strict=False)
    ]


def by_transformers(directory, texts, max_length):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    return tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]


def byte_level(texts):
    """A small byte-level BPE tokenizer like RoBERTa's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return tokenizer


@pytest.fixture(scope="module")
def bert():
    return tokens.train_tokenizer(CORPUS, 100)


@pytest.fixture(scope="module")
def roberta():
    return byte_level(CORPUS)


@pytest.mark.shared
@pytest.mark.parametrize("max_length", [12, 256])
def test_minilm_on_tweets_equals_transformers(minilm, shared_data, max_length):
    path = shared_data / "tweeteval/datasets/hate/val_text.txt"
    tweets = [*path.read_text(encoding="utf-8").splitlines()[:300], *TEXTS]
    encoded = tokens.encode(tokens.load_tokenizer(minilm), tweets, max_length)
    assert rows(encoded) == by_transformers(minilm, tweets, max_length)
    assert encoded.ids.dtype == np.int32
    assert encoded.offsets.dtype == np.int64


@pytest.mark.shared
def test_padding_and_truncation_of_the_file_are_off(minilm):
    stored = json.loads((minilm / "tokenizer.json").read_text())
    assert stored["padding"]["strategy"] == {"Fixed": 128}
    encoded = tokens.encode(tokens.load_tokenizer(minilm), ["hi", "hi " * 200], 512)
    assert encoded.lengths.tolist() == [3, 202]


@pytest.mark.shared
def test_vocabulary_alone_gives_the_same_tokenizer(minilm, tmp_path):
    for name in ("vocab.txt", "config.json"):
        (tmp_path / name).write_bytes((minilm / name).read_bytes())
    loaded = tokens.load_tokenizer(tmp_path)
    whole = tokens.load_tokenizer(minilm)
    assert rows(tokens.encode(loaded, TEXTS, 20)) == rows(
        tokens.encode(whole, TEXTS, 20)
    )


@pytest.mark.parametrize("max_length", [5, 64])
def test_byte_level_equals_transformers(roberta, tmp_path, max_length):
    tokens.save_tokenizer(roberta, tmp_path, 512)
    encoded = tokens.encode(tokens.load_tokenizer(tmp_path), TEXTS, max_length)
    assert rows(encoded) == by_transformers(tmp_path, TEXTS, max_length)
    assert rows(encoded)[2] == [0, 2]


def test_old_roberta_files_equal_transformers(roberta, tmp_path):
    roberta.model.save(str(tmp_path))  # vocab.json and merges.txt
    config = {"model_type": "roberta", "vocab_size": roberta.get_vocab_size()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    encoded = tokens.encode(tokens.load_tokenizer(tmp_path), TEXTS, 16)
    assert rows(encoded) == by_transformers(tmp_path, TEXTS, 16)
    assert rows(encoded) == rows(tokens.encode(roberta, TEXTS, 16))


def test_truncation_keeps_the_special_tokens(bert):
    whole, cut = (tokens.encode(bert, [TEXTS[3]], n) for n in (512, 9))
    assert whole.lengths[0] > 9
    assert cut.ids.tolist() == [*whole.ids[:8].tolist(), whole.ids[-1]]
    assert (cut.ids[0], cut.ids[-1]) == (2, 3)


def test_an_empty_text_keeps_its_special_tokens(bert):
    encoded = tokens.encode(bert, ["", "train"], 16)
    assert encoded.ids[: encoded.offsets[1]].tolist() == [2, 3]
    assert encoded.lengths.tolist() == np.diff(encoded.offsets).tolist()


def test_without_texts_the_tokens_are_empty(bert, tmp_path):
    for encoded in (
        tokens.encode(bert, [], 16),
        *(tokens.cached_encode(tmp_path, bert, [], 16) for _ in range(2)),
    ):
        assert encoded.ids.shape == (0,)
        assert encoded.offsets.tolist() == [0]


def test_lone_surrogates_read_as_the_replacement_character(roberta):
    encoded = tokens.encode(roberta, ["a \ud83d b", "a \ufffd b"], 16)
    assert rows(encoded)[0] == rows(encoded)[1]


def test_encoding_leaves_the_tokenizer_as_it_was(bert):
    before = bert.to_str()
    tokens.encode(bert, TEXTS, 8)
    assert bert.to_str() == before


def test_threads_that_share_a_tokenizer_get_their_own_lengths(bert):
    texts = ["a long text " * 200] * 8

    def longest(limit):
        return int(tokens.encode(bert, texts, limit).lengths.max())

    limits = [8, 64, 16, 32] * 50
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(longest, limits)) == limits


def test_a_length_without_room_for_a_word_is_refused(bert):
    assert tokens.encode(bert, ["train"], 3).lengths.tolist() == [3]
    with pytest.raises(InputError, match=r"data\.max_length .* 2 special .* found 2"):
        tokens.encode(bert, ["train"], 2)


def test_missing_files_are_named(tmp_path):
    for directory in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=f"^{directory}: no tokenizer found"):
            tokens.load_tokenizer(directory)


@pytest.mark.parametrize("content", [b'{"version": "1.0", "mod', b"\xff\xfe{}", b""])
def test_damaged_file_is_named(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.json: not a tokenizer") as info:
        tokens.load_tokenizer(tmp_path)
    assert "\n" not in str(info.value)


def test_unreadable_vocabulary_is_one_line(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n")  # without a model type
    with pytest.raises(InputError, match=f"^{tmp_path}: cannot load") as info:
        tokens.load_tokenizer(tmp_path)
    assert "\n" not in str(info.value)


def test_tokenizer_without_special_tokens_is_refused(roberta, tmp_path):
    bare = Tokenizer.from_str(roberta.to_str())
    bare.post_processor = processors.ByteLevel()
    bare.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="adds no special tokens"):
        tokens.load_tokenizer(tmp_path)


def counted(monkeypatch):
    """Counts the calls of `encode`."""
    calls, encode = [], tokens.encode
    monkeypatch.setattr(
        tokens, "encode", lambda *args: (calls.append(args), encode(*args))[1]
    )
    return calls


def test_cache_is_read_the_second_time(bert, tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    first = tokens.cached_encode(tmp_path / "a/b", bert, TEXTS, 16)
    second = tokens.cached_encode(tmp_path / "a/b", bert, TEXTS, 16)
    assert len(calls) == 1
    assert isinstance(second.ids, np.memmap)
    assert isinstance(second.offsets, np.memmap)
    assert rows(first) == rows(second) == rows(tokens.encode(bert, TEXTS, 16))
    assert second.ids.dtype == np.int32
    assert len(list((tmp_path / "a/b").iterdir())) == 2  # no temporary file stays


def test_without_a_directory_nothing_is_cached(bert, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert rows(tokens.cached_encode(None, bert, TEXTS, 16)) == rows(
        tokens.encode(bert, TEXTS, 16)
    )
    assert not list(tmp_path.iterdir())


def test_key_depends_on_tokenizer_length_version_and_texts(
    bert, roberta, tmp_path, monkeypatch
):
    calls = counted(monkeypatch)
    for tokenizer, texts, length in (
        (bert, ["ab", "c"], 16),
        (roberta, ["ab", "c"], 16),
        (bert, ["ab", "c"], 17),
        (bert, ["a", "bc"], 16),
        (bert, ["c", "ab"], 16),
    ):
        tokens.cached_encode(tmp_path, tokenizer, texts, length)
    monkeypatch.setattr(tokens.tokenizers, "__version__", "0.0")
    tokens.cached_encode(tmp_path, bert, ["ab", "c"], 16)
    assert len(calls) == 6


def truncate(path):
    path.write_bytes(path.read_bytes()[:-4])


def empty(path):
    path.write_bytes(b"")


def overwrite(path):
    path.write_bytes(b"not an array")


def change_type(path):
    np.save(path, np.load(path).astype(np.float32))


def drop_one(path):
    np.save(path, np.load(path)[:-1])


def change_values(path):
    np.save(path, np.load(path) - 1000)


@pytest.mark.parametrize("part", ["ids", "offsets"])
@pytest.mark.parametrize(
    "damage", [truncate, empty, overwrite, change_type, drop_one, change_values]
)
def test_damaged_cache_is_rebuilt(bert, tmp_path, damage, part):
    expected = rows(tokens.cached_encode(tmp_path, bert, TEXTS, 16))
    (path,) = tmp_path.glob(f"*.{part}.npy")
    sound = path.read_bytes()
    damage(path)
    assert path.read_bytes() != sound
    assert rows(tokens.cached_encode(tmp_path, bert, TEXTS, 16)) == expected
    assert path.read_bytes() == sound


def test_offsets_that_fall_are_rebuilt(bert, tmp_path):
    expected = rows(tokens.cached_encode(tmp_path, bert, TEXTS, 16))
    (path,) = tmp_path.glob("*.offsets.npy")
    offsets = np.load(path)
    np.save(path, offsets[[0, 2, 1, *range(3, len(offsets))]])
    assert rows(tokens.cached_encode(tmp_path, bert, TEXTS, 16)) == expected


def test_unwritable_cache_is_named(bert, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"^{tmp_path}/file: cannot write"):
        tokens.cached_encode(tmp_path / "file", bert, TEXTS, 16)


def test_trained_tokenizer_is_a_lower_casing_bert(bert):
    assert [bert.token_to_id(t) for t in tokens.SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert bert.get_vocab_size() == 100
    assert rows(tokens.encode(bert, ["Great WORLD, train!"], 16)) == [
        [2, *(bert.token_to_id(w) for w in ("great", "world", ",", "train", "!")), 3]
    ]
    assert rows(tokens.encode(bert, ["\u4e00"], 16)) == [[2, 1, 3]]


@pytest.mark.processes
def test_trained_vocabulary_is_equal_in_other_processes(bert):
    # The library alone numbers continuations by a hash table seeded in each process.
    code = (
        "import json, sys; from mtra_jax.data.tokenizing import tokens;"
        "texts = json.load(sys.stdin);"
        "print(tokens.train_tokenizer(texts, 100).to_str())"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(CORPUS),
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == bert.to_str()


def test_a_vocabulary_without_room_for_characters_is_refused():
    with pytest.raises(InputError, match="vocab_size must be at least 9"):
        tokens.train_tokenizer(["ab"], 8)
    assert tokens.train_tokenizer(["ab"], 9).get_vocab_size() == 9


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_saved_tokenizer_loads_here_and_in_transformers(name, tmp_path, request):
    from transformers import AutoTokenizer

    tokenizer = request.getfixturevalue(name)
    tokens.save_tokenizer(tokenizer, tmp_path / "new", 64)
    expected = rows(tokens.encode(tokenizer, TEXTS, 20))
    loaded = tokens.load_tokenizer(tmp_path / "new")
    assert rows(tokens.encode(loaded, TEXTS, 20)) == expected
    assert by_transformers(tmp_path / "new", TEXTS, 20) == expected
    theirs = AutoTokenizer.from_pretrained(tmp_path / "new", local_files_only=True)
    assert theirs.model_max_length == 64
    for role, token in (("pad", 0), ("cls", 2)) if name == "bert" else (("pad", 1),):
        assert getattr(theirs, f"{role}_token_id") == token
    assert len(list((tmp_path / "new").iterdir())) == 2
