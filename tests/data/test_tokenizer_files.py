"""Tokenizer files of checkpoints: the ids of `AutoTokenizer`, and one-line refusals."""

import json
import os

import numpy as np
import pytest
from tiers import NIGHTLY_ONLY
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer

from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError

WORDS = "the quick brown fox jumps over hello world don't can't cafe naive"
TEXTS = [
    "The Quick brown Fox, jumps!",
    "  leading and  two  blanks ",
    "café naïve ÀÉ i̇stanbul İ ﬁ ǆ ＦＵＬＬ",
    "",
    "hello <mask> [MASK] <s> world </s> <pad> [CLS] a[MASK]b [mask] <unk>",
    "emoji 😀👩‍👩‍👧 #tag @user <user> http fox",
    "tab\there\u2028nl\u0085x\r\n\0y",
    "你好 world don't",
    "a" * 150,
    "the fox " * 30 + "end",
]
ROLES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def put(directory, file, **values):
    """Sets values in a JSON file, which may be absent."""
    path = directory / file
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**old, **values}))


def write_vocabulary(directory, *more, model_type="bert"):
    """`vocab.txt` with characters and words, and the model's type."""
    characters = [chr(code) for code in range(33, 127)] + list("éïÀÉ你好")
    words = [*WORDS.split(), "The", "Quick", "jump", "##s", "##ing"]
    lines = [*ROLES, *characters, *(f"##{c}" for c in characters), *words]
    lines = [*dict.fromkeys(lines), *more]
    (directory / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    put(directory, "config.json", model_type=model_type, vocab_size=len(lines))
    return len(lines)


def write_merges(directory, model_type="roberta"):
    """`vocab.json` and `merges.txt` of a small byte-level tokenizer."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator([WORDS] * 5, trainer)
    learner.model.save(str(directory))
    size = learner.get_vocab_size()
    put(directory, "config.json", model_type=model_type, vocab_size=size)


def write_unigram(directory, model_type):
    """`tokenizer.json` of the kind of XLM-R and CamemBERT."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    if model_type == "camembert":
        unused = ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED")
        special = [*unused, "<s>", "</s>", "<mask>"]
    learner = Tokenizer(models.Unigram())
    learner.normalizer = normalizers.NFKC()
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    learner.train_from_iterator([WORDS, *TEXTS[:3]] * 5, trainer)
    learner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[(t, learner.token_to_id(t)) for t in ("<s>", "</s>")],
    )
    learner.decoder = decoders.Metaspace()
    learner.save(str(directory / "tokenizer.json"))
    size = learner.get_vocab_size()
    put(directory, "config.json", model_type=model_type, vocab_size=size)


def make_whole(directory, **options):
    """Puts `tokenizer.json` and `tokenizer_config.json` in place of the vocabulary."""
    AutoTokenizer.from_pretrained(directory, **options).save_pretrained(directory)
    for file in ("vocab.txt", "vocab.json", "merges.txt"):
        (directory / file).unlink(missing_ok=True)


def bert(directory):
    write_vocabulary(directory)


def whole_bert(directory):
    write_vocabulary(directory)
    make_whole(directory)


def roberta(directory):
    write_merges(directory)


def whole_roberta(directory):
    write_merges(directory)
    make_whole(directory)


LAYOUTS = {
    "bert": bert,
    "whole bert": whole_bert,
    "roberta": roberta,
    "whole roberta": whole_roberta,
}
USER = {
    "content": "<user>",
    "lstrip": True,
    "normalized": False,
    "rstrip": True,
    "single_word": False,
    "special": True,
}
SETTINGS = {
    "none": {},
    "cased": {"do_lower_case": False},
    "accents preserved": {"strip_accents": False},
    "cased without accents": {"do_lower_case": False, "strip_accents": True},
    "no Chinese characters apart": {"tokenize_chinese_chars": False},
    "prefix space": {"add_prefix_space": True},
    "cut at the start": {"truncation_side": "left"},
    "special tokens split": {"split_special_tokens": True},
    "another mask": {"mask_token": "<mask>"},
    "another first token": {"cls_token": "the"},
    "another last token": {"sep_token": "fox"},
    "another unknown token": {"unk_token": "x"},
    "more special tokens": {"additional_special_tokens": ["<user>", "fox"]},
    "added tokens": {"added_tokens_decoder": {"500": USER}},
    "a word as an added token": {
        "added_tokens_decoder": {"215": {**USER, "content": "hello", "special": False}}
    },
    "short maximum": {"model_max_length": 7},
    "tokens that nobody adds": {"add_bos_token": True, "add_eos_token": True},
    "custom code": {"auto_map": {"AutoTokenizer": ["a.B", None]}},
    "trust asked for": {"trust_remote_code": True, "do_lower_case": False},
}


def check_ids(directory, place):
    """Ids and types equal `AutoTokenizer`'s, truncated or not, also after saving."""
    theirs = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    expected = [
        [theirs(t, truncation=True, max_length=n)["input_ids"] for t in TEXTS]
        for n in (512, 9)
    ]
    tokenizer = tokens.load_tokenizer(directory)
    assert [ids(tokenizer, n) for n in (512, 9)] == expected
    check_pairs(tokenizer, theirs, return_token_type_ids=True)
    saved = place / "saved"
    tokens.save_tokenizer(tokenizer, saved, 512)
    put(saved, "config.json", model_type="bert")
    again = tokens.load_tokenizer(saved)
    assert [ids(again, n) for n in (512, 9)] == expected
    theirs = AutoTokenizer.from_pretrained(saved, local_files_only=True)
    for length, rows in zip((512, 9), expected, strict=True):
        actual = theirs(TEXTS, truncation=True, max_length=length)["input_ids"]
        assert actual == rows
    check_pairs(again, theirs)


def check_pairs(tokenizer, theirs, **options):
    """Each text with itself and three others as the second, whole and cut."""
    firsts = TEXTS * 4
    seconds = [text for at in (0, 1, 3, 7) for text in TEXTS[at:] + TEXTS[:at]]
    for length in (512, 30, 9):
        expected = theirs(
            firsts, seconds, truncation=True, max_length=length, **options
        )
        actual = tokens.encode(tokenizer, firsts, length, seconds)
        assert rows(actual.ids, actual) == expected["input_ids"]
        if actual.types is not None:
            assert rows(actual.types, actual) == expected["token_type_ids"]
        else:
            assert not np.any(np.concatenate(expected.get("token_type_ids", [[0]])))


def ids(tokenizer, max_length):
    actual = tokens.encode(tokenizer, TEXTS, max_length)
    return rows(actual.ids, actual)


def rows(values, encoded):
    """The values of each text's tokens."""
    edges = zip(encoded.offsets, encoded.offsets[1:], strict=False)
    return [values[start:end].tolist() for start, end in edges]


def test_the_texts_distinguish_the_settings(tmp_path):
    """Otherwise the comparisons below could not fail."""
    ids_by_layout = {}
    for name, settings in SETTINGS.items():
        for layout, write in LAYOUTS.items():
            directory = tmp_path / f"{name} {layout}"
            directory.mkdir()
            write(directory)
            put(directory, "tokenizer_config.json", **settings)
            actual = ids(tokens.load_tokenizer(directory), 9)
            ids_by_layout.setdefault(layout, {})[name] = actual
    for name in list(SETTINGS)[1:10]:
        assert any(
            ids_by_layout[k][name] != ids_by_layout[k]["none"] for k in LAYOUTS
        ), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "settings"),
    [
        # Each setting with every third layout; the others run nightly.
        pytest.param(
            write,
            settings,
            id=f"{layout}-{name}",
            marks=NIGHTLY_ONLY if (i + k) % 3 else (),
        )
        for i, (layout, write) in enumerate(LAYOUTS.items())
        for k, (name, settings) in enumerate(SETTINGS.items())
    ],
)
def test_settings_change_ids_as_in_transformers(tmp_path, write, settings):
    write(tmp_path)
    put(tmp_path, "tokenizer_config.json", **settings)
    check_ids(tmp_path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "PreTrainedTokenizerFast",
        "TokenizersBackend",
        "NobodysTokenizer",
        "MPNetTokenizer",
        "ElectraTokenizer",
        "BertTokenizerFast",
    ],
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_the_named_class_reads_the_files(tmp_path, name, file):
    whole_bert(tmp_path)
    put(tmp_path, "tokenizer_config.json", tokenizer_class=None)
    put(tmp_path, file, tokenizer_class=name)
    # The generic class reads this from `tokenizer.json`; BERT's does not.
    put(tmp_path, "tokenizer.json", normalizer={"type": "NFC"})
    check_ids(tmp_path, tmp_path)


@pytest.mark.parametrize(
    "model_type", ["distilbert", "electra", "mpnet", "squeezebert", "no-such-type"]
)
def test_other_model_types_are_read_by_their_class(tmp_path, model_type):
    write_vocabulary(tmp_path, model_type="bert")
    make_whole(tmp_path)
    put(tmp_path, "tokenizer_config.json", tokenizer_class=None)
    put(tmp_path, "config.json", model_type=model_type)
    check_ids(tmp_path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"add_prefix_space": False}])
@pytest.mark.parametrize("model_type", ["xlm-roberta", "camembert"])
def test_unigram_tokenizers_equal_transformers(tmp_path, model_type, settings):
    write_unigram(tmp_path, model_type)
    put(tmp_path, "tokenizer_config.json", **settings)
    check_ids(tmp_path, tmp_path)


def without_settings(directory):
    (directory / "tokenizer_config.json").unlink()


def without_any(directory):
    without_settings(directory)
    (directory / "config.json").unlink()


def with_special_map(directory):
    without_settings(directory)
    put(directory, "special_tokens_map.json", mask_token="<mask>", cls_token="[CLS]")


def with_special_object(directory):
    mask = {**USER, "content": "[MASK]", "rstrip": False}
    del mask["special"]
    put(directory, "special_tokens_map.json", mask_token=mask)


def with_added_file(directory):
    put(directory, "added_tokens.json", **{"<user>": 220, "hello": 221})


def cut_at_the_start(directory):
    truncation = {"direction": "Left", "max_length": 5, "stride": 2}
    padding = {"strategy": {"Fixed": 9}, "direction": "Left", "pad_token": "[PAD]"}
    put(
        directory,
        "tokenizer.json",
        truncation={**truncation, "strategy": "LongestFirst"},
        padding={**padding, "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0},
    )


def cut_at_the_end_after_all(directory):
    cut_at_the_start(directory)
    put(directory, "tokenizer_config.json", truncation_side="right")


def with_old_processor(directory):
    old = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    put(directory, "tokenizer.json", post_processor=old)


def with_file_of_a_version(directory):
    spec = json.loads((directory / "tokenizer.json").read_text())
    spec["normalizer"]["lowercase"] = False
    (directory / "tokenizer.4.0.0.json").write_text(json.dumps(spec))
    put(
        directory,
        "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        fast_tokenizer_files=["tokenizer.json", "tokenizer.4.0.0.json"],
    )


def with_short_words(directory):
    spec = json.loads((directory / "tokenizer.json").read_text())
    spec["model"]["max_input_chars_per_word"] = 3
    (directory / "tokenizer.json").write_text(json.dumps(spec))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        without_settings,
        without_any,
        with_special_map,
        with_special_object,
        with_added_file,
        cut_at_the_start,
        cut_at_the_end_after_all,
        with_old_processor,
        with_file_of_a_version,
        with_short_words,
    ],
)
def test_the_other_files_are_read_as_in_transformers(tmp_path, change):
    whole_bert(tmp_path)
    change(tmp_path)
    check_ids(tmp_path, tmp_path)


def test_lines_that_end_in_cr_lf_give_the_same_tokens(tmp_path):
    bert(tmp_path)
    expected = ids(tokens.load_tokenizer(tmp_path), 64)
    path = tmp_path / "vocab.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert ids(tokens.load_tokenizer(tmp_path), 64) == expected


# Gaps.


@pytest.mark.slow
@pytest.mark.parametrize(
    "lines",
    [
        ["the", "fox", "hello", "zebra"],
        ["", "zebra"],
        ["", "", "zebra"],
        [" ", "zebra"],
    ],
    ids=["repeated lines", "blank line", "two blank lines", "space"],
)
@pytest.mark.parametrize("whole", [False, True])
def test_a_vocabulary_with_gaps_keeps_its_line_numbers(tmp_path, lines, whole):
    size = write_vocabulary(tmp_path, *lines)
    if whole:
        make_whole(tmp_path)
    tokenizer = tokens.load_tokenizer(tmp_path, size)
    assert tokenizer.token_to_id("zebra") == size - 1
    assert tokens.num_ids(tokenizer) == size
    check_ids(tmp_path, tmp_path)
    with pytest.raises(
        InputError, match=f"'zebra' of the tokenizer has the id {size - 1}"
    ):
        tokens.load_tokenizer(tmp_path, size - 1)


def test_the_cache_keeps_ids_beyond_the_number_of_tokens(tmp_path, monkeypatch):
    size = write_vocabulary(tmp_path, "the", "fox", "zebra")
    tokenizer = tokens.load_tokenizer(tmp_path, size)
    assert tokenizer.get_vocab_size() < size
    first = tokens.cached_encode(tmp_path / "cache", tokenizer, ["zebra"], 8)
    assert first.ids.tolist() == [2, size - 1, 3]
    monkeypatch.delattr(tokens, "encode")
    again = tokens.cached_encode(tmp_path / "cache", tokenizer, ["zebra"], 8)
    assert again.ids.tolist() == [2, size - 1, 3]


def test_the_cache_distinguishes_sides_and_splitting_of_special_tokens(tmp_path):
    long = "the quick brown fox [MASK]"
    actual = []
    for settings in ({}, {"truncation_side": "left"}, {"split_special_tokens": True}):
        write_vocabulary(tmp_path)
        put(tmp_path, "tokenizer_config.json", **settings)
        tokenizer = tokens.load_tokenizer(tmp_path)
        for _ in range(2):
            encoded = tokens.cached_encode(tmp_path / "cache", tokenizer, [long], 5)
        actual.append(encoded.ids.tolist())
        (tmp_path / "tokenizer_config.json").unlink()
    tokenizer = tokens.load_tokenizer(tmp_path)
    the, quick, brown, fox = map(tokenizer.token_to_id, long.split()[:4])
    assert actual[0] == [2, the, quick, brown, 3]
    assert actual[1] == [2, brown, fox, 4, 3]
    assert actual[2] == [2, the, quick, brown, 3]
    assert len(list((tmp_path / "cache").iterdir())) == 6


# Tokenizers of another encoder.


def refusal(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("write", "model_type", "message"),
    [
        (bert, "roberta", "RobertaTokenizer, the class of this checkpoint, reads "
         "vocab.json and merges.txt; found vocab.txt, the vocabulary of another class"),
        (roberta, "bert", "BertTokenizer, the class of this checkpoint, reads vocab.txt; "
         "found vocab.json and merges.txt, the vocabulary of another class"),
        (roberta, "camembert", "CamembertTokenizer, the class of this checkpoint, reads "
         "sentencepiece.bpe.model; found vocab.json and merges.txt, the vocabulary of"),
        (bert, "xlm-roberta", "XLMRobertaTokenizer, the class of this checkpoint, reads "
         "sentencepiece.bpe.model; found vocab.txt, the vocabulary of another class"),
        (whole_bert, "camembert", ": cannot load the tokenizer (tokenizer.json is of the "
         "kind WordPiece): "),
        (whole_bert, "roberta", "tokenizer.json: a WordPiece tokenizer, which "
         "RobertaTokenizer, the class of this checkpoint, would read as BPE"),
    ],
)  # fmt: skip
def test_files_of_another_class_are_refused(tmp_path, write, model_type, message):
    write(tmp_path)
    put(tmp_path, "config.json", model_type=model_type)
    if (tmp_path / "tokenizer_config.json").exists():
        put(tmp_path, "tokenizer_config.json", tokenizer_class=None)
    actual = refusal(tokens.load_tokenizer, tmp_path)
    assert actual.startswith(str(tmp_path))
    assert message in actual


def test_far_fewer_tokens_than_rows_are_refused(tmp_path):
    size = write_vocabulary(tmp_path)
    for rows in (size, 2 * size, size + 128):
        tokens.load_tokenizer(tmp_path, rows)
    assert refusal(tokens.load_tokenizer, tmp_path, 2 * size + 1) == (
        f"{tmp_path}: the tokenizer has {size} tokens, the encoder rows for "
        f"{2 * size + 1}; expected the encoder's own tokenizer, with tokens for 50% of "
        "the rows and more"
    )


def test_a_special_token_without_a_row_is_refused(tmp_path):
    tokenizer = tokens.train_tokenizer(["so good"], 30)
    spec = json.loads(tokenizer.to_str())
    spec["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [40]
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    assert tokens.num_ids(tokens.load_tokenizer(tmp_path, 41)) == 41
    assert refusal(tokens.load_tokenizer, tmp_path, 40) == (
        f"{tmp_path}: the tokenizer gives a special token the id 40; the encoder has "
        "rows for 40 tokens"
    )


def test_a_tokenizer_without_tokens_for_the_texts_is_refused():
    tokenizer = tokens.train_tokenizer(["so good"], 30)
    common, strange = "so good", "a 你好 "
    for texts in ([], ["", "  "], [common, strange], [common, strange, strange]):
        tokens.check_fit(tokenizer, texts, "DIR")
    assert refusal(
        tokens.check_fit, tokenizer, [common, *[strange] * 4, ""], "DIR"
    ) == (
        "DIR: the tokenizer gives mostly unknown tokens, or none, to the training texts: "
        "it has tokens for 33% of the characters of 6 texts; expected the encoder's own "
        "tokenizer, and one for the language of the texts"
    )
    many = [*[strange] * 5000, *[common] * 1000]
    assert " of 300 texts" in refusal(tokens.check_fit, tokenizer, many, "DIR")


def test_a_tokenizer_that_drops_the_texts_is_refused():
    tokenizer = Tokenizer(models.BPE({"<s>": 0, "a": 1}, []))
    tokens.check_fit(tokenizer, ["a", "a b", "c"], "DIR")
    assert "for 25% of the characters" in refusal(
        tokens.check_fit, tokenizer, ["a", "bc \ud83d"], "DIR"
    )


@pytest.mark.parametrize("model_type", ["xlm-roberta", "camembert"])
def test_the_unknown_token_of_a_unigram_vocabulary_is_counted(tmp_path, model_type):
    """Its marks of words are tokens in any language."""
    write_unigram(tmp_path, model_type)
    tokenizer = tokens.load_tokenizer(tmp_path)
    tokens.check_fit(tokenizer, [WORDS], "DIR")
    assert " 0% of the characters" in refusal(
        tokens.check_fit, tokenizer, ["мир мир мир"], "DIR"
    )


def test_bytes_of_any_language_are_tokens(tmp_path):
    roberta(tmp_path)
    tokens.check_fit(tokens.load_tokenizer(tmp_path), ["мир 你好 😀"], "DIR")


# Classes that are refused.


@pytest.mark.parametrize(
    "name", ["BertweetTokenizer", "PhobertTokenizer", "BertJapaneseTokenizer"]
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_class_without_a_fast_form_is_one_line(tmp_path, name, file):
    (tmp_path / "vocab.txt").write_text("hello 3\nworld 2\n")
    (tmp_path / "bpe.codes").write_text("h e 5\n")
    put(tmp_path, "config.json", model_type="roberta")
    put(tmp_path, file, tokenizer_class=name)
    assert refusal(tokens.load_tokenizer, tmp_path) == (
        f"{tmp_path}: {name} is a tokenizer in Python, without a fast form; expected a "
        "checkpoint with a fast one (tokenizer.json)"
    )


def test_a_fast_form_beside_a_slow_class_can_be_chosen(tmp_path):
    whole_roberta(tmp_path)
    put(tmp_path, "tokenizer_config.json", tokenizer_class="BertweetTokenizer")
    message = refusal(tokens.load_tokenizer, tmp_path)
    assert message.endswith(
        'tokenizer.json is read in its place if tokenizer_config.json has "tokenizer_'
        'class": "PreTrainedTokenizerFast"'
    )
    put(tmp_path, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    check_ids(tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["BertConfig", ["x"], 3])
def test_a_class_that_is_not_a_tokenizer_is_not_called(tmp_path, name):
    whole_bert(tmp_path)
    put(tmp_path, "tokenizer_config.json", tokenizer_class=name)
    assert "tokenizer_class is " in refusal(tokens.load_tokenizer, tmp_path)


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "NobodysTokenizer"])
def test_the_generic_class_needs_its_file(tmp_path, name):
    bert(tmp_path)
    put(tmp_path, "tokenizer_config.json", tokenizer_class=name)
    assert refusal(tokens.load_tokenizer, tmp_path) == (
        f"{tmp_path}: tokenizer_class is '{name}', which reads tokenizer.json; found a "
        "vocabulary only; expected that file, or the class of the vocabulary"
    )


def test_a_sentencepiece_model_names_the_package_that_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\n\x05")
    put(tmp_path, "config.json", model_type="xlm-roberta")
    assert refusal(tokens.load_tokenizer, tmp_path) == (
        f"{tmp_path}/sentencepiece.bpe.model: transformers reads it with the package "
        "sentencepiece, which is not installed; expected that, or tokenizer.json"
    )


# Files with other content.

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:"
    + b"0" * 64
    + b"\nsize 466062\n"
)
FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
FILES += ["added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "a git-lfs pointer, not the file itself; git lfs pull"),
        (
            b"<!DOCTYPE html>\n<html lang='en'>",
            "a web page, not the file itself; downl",
        ),
        (b"\xef\xbb\xbf\n<html>", "a web page, not the file itself"),
        (b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code>", "a web page, not"),
        (b"404: Not Found", "the answer of a server (404: Not Found), not the file"),
        (b"Entry not found\n", "the answer of a server (Entry not found), not the"),
    ],
    ids=["pointer", "page", "page after a mark", "error of a store", "404", "no entry"],
)
def test_an_incomplete_download_is_named(tmp_path, file, content, message):
    whole_bert(tmp_path)
    (tmp_path / file).write_bytes(content)
    actual = refusal(tokens.load_tokenizer, tmp_path)
    assert actual.startswith(f"{tmp_path / file}: {message}")


def test_a_pipe_is_refused_at_once(tmp_path):
    whole_bert(tmp_path)
    os.mkfifo(tmp_path / "vocab.txt")
    os.mkfifo(tmp_path / "added_tokens.json")
    tokens.load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "file", ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not a readable JSON file: Expecting property name"),
        (b"\xef\xbb\xbf{}", "not a readable JSON file: Unexpected UTF-8 BOM"),
        (b"\xff{}", "not a readable JSON file: 'utf-8' codec"),
        (b"[1]", "expected an object; found [1]"),
        (b"[" * 10**5, "not a readable JSON file: maximum recursion depth"),
    ],
)
def test_a_damaged_json_file_is_named(tmp_path, file, content, message):
    whole_bert(tmp_path)
    (tmp_path / file).write_bytes(content)
    actual = refusal(tokens.load_tokenizer, tmp_path)
    assert actual.startswith(f"{tmp_path / file}: {message}")


# Saving.


def test_a_word_of_the_vocabulary_is_not_made_special_by_saving(tmp_path):
    """`transformers` makes a token special if the settings give it a role."""
    tokenizer = tokens.train_tokenizer(["so good"], 40)
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] != "[MASK]"]
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    assert 4 not in tokenizer.encode("[MASK]").ids
    tokens.save_tokenizer(tokenizer, tmp_path, 32)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert "mask_token" not in settings
    assert settings["cls_token"] == "[CLS]"
    check_ids(tmp_path, tmp_path)


def test_special_tokens_of_other_names_are_saved(tmp_path):
    tokenizer = Tokenizer(
        models.WordLevel({"[BOS]": 0, "?": 1, "so": 2}, unk_token="?")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[BOS]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A", pair="[BOS] $A $B", special_tokens=[("[BOS]", 0)]
    )
    tokens.save_tokenizer(tokenizer, tmp_path, 32)
    check_ids(tmp_path, tmp_path)
