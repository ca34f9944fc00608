"""`tokenizer.json` is read alone only if `transformers` gives the same ids."""

import json
import subprocess
import sys

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from mtra_jax.data.tokenizing import plain_tokenizers, tokens
from mtra_jax.errors import InputError

NUM_COMPARED = 300
"""Number of changes tried with `transformers`, out of some 2,000 (which all agreed)."""
WORDS = "the quick brown fox jumps over hello world don't café 你好"
TEXTS = [
    "The Quick brown Fox, don't!",
    "hello <mask> [MASK] <s> café </s> <pad> [CLS] a[MASK]b [mask] 你好world",
    "",
    "fox " * 20 + "end",
]
WHOLE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
ROLES, CONFIG = "special_tokens_map.json", "config.json"
VALUES = [None, True, False, 0, 1, "", "[PAD]", "<s>", "left", [], {}]
VALUES += ["BertTokenizer", "PreTrainedTokenizerFast", "roberta"]
OTHER_KEYS = [
    *("add_bos_token", "add_prefix_space", "additional_special_tokens", "bos_token"),
    *("do_basic_tokenize", "do_lower_case", "extra_special_tokens", "max_length"),
    *("model_name", "never_split", "split_special_tokens", "strip_accents"),
    *("tokenize_chinese_chars", "tokenizer_class", "truncation_side", "unknown_key"),
]


def bert():
    trained = tokens.train_tokenizer([WORDS], 120).to_str()
    return {
        WHOLE: json.loads(trained),
        SETTINGS: {"tokenizer_class": "BertTokenizer", "do_lower_case": True},
        ROLES: {"cls_token": "[CLS]", "mask_token": "[MASK]"},
        CONFIG: {"model_type": "bert"},
    }


def roberta():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=False
    )
    return {
        WHOLE: json.loads(tokenizer.to_str()),
        SETTINGS: {"bos_token": "<s>", "add_prefix_space": False},
        ROLES: {"cls_token": "<s>"},
        CONFIG: {"model_type": "roberta"},
    }


def generic():
    files = bert()
    files[SETTINGS] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 9,
        "mask_token": "[MASK]",
        "truncation_side": "left",
    }
    files[ROLES] = {}
    return files


LAYOUTS = {"bert": bert, "roberta": roberta, "generic": generic}


def places(content, place=()):
    """The paths of all values outside vocabularies."""
    if isinstance(content, dict):
        inner = [(key, value) for key, value in content.items() if key != "vocab"]
    elif isinstance(content, list) and place[-1:] != ("merges",):
        inner = list(enumerate(content))
    else:
        inner = []
    for key, value in inner:
        yield (*place, key)
        yield from places(value, (*place, key))


LEFT_OUT = object()


def replaced(content, place, value):
    """A copy of the content with `value` at `place`, or without the key."""
    if not place:
        return value
    key, *rest = place
    copy = content.copy()
    if not rest and value is LEFT_OUT:
        copy.pop(key)
    else:
        copy[key] = replaced(content[key], rest, value) if rest else value
    return copy


def changed(files):
    """(name, files) with one value changed or removed, or with an additional key."""
    for place in places(files):
        for value in [*VALUES, LEFT_OUT]:
            if len(place) > 1 or value is not LEFT_OUT:
                yield (*place, value), replaced(files, place, value)
    for file in (SETTINGS, ROLES, CONFIG):
        for key in OTHER_KEYS:
            for value in VALUES:
                yield (file, key, value), replaced(files, (file, key), value)


def is_whole(files):
    return all(isinstance(content, dict) for content in files.values()) and (
        plain_tokenizers.is_whole(*(files[f] for f in (WHOLE, SETTINGS, ROLES, CONFIG)))
    )


def write(directory, files):
    for file, content in files.items():
        (directory / file).write_text(json.dumps(content))


@pytest.fixture(autouse=True)
def _without_warnings():
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(level)


def by_transformers(directory):
    """Ids, or None if `transformers` cannot read the directory."""
    try:
        loaded = transformers.AutoTokenizer.from_pretrained(
            directory, local_files_only=True
        )
        return loaded(TEXTS, truncation=True, max_length=12)["input_ids"]
    except Exception:  # whatever its parsers raise
        return None


@pytest.mark.slow
@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_every_change_that_matters_is_left_to_transformers(tmp_path, make):
    """After each accepted change the ids equal those of `transformers`."""
    files = make()
    assert is_whole(files)
    whole = [(what, new) for what, new in changed(files) if is_whole(new)]
    draw = np.random.default_rng(0).permutation(len(whole))[:NUM_COMPARED]
    compared = 0
    for what, new in (whole[index] for index in draw):
        write(tmp_path, new)
        try:
            tokenizer = tokens.load_tokenizer(tmp_path)
        except InputError:  # a value of a wrong type, in a part without effect on ids
            continue
        actual = tokens.encode(tokenizer, TEXTS, 12)
        expected = by_transformers(tmp_path)
        if expected is not None:
            compared += 1
            parts = zip(actual.offsets, actual.offsets[1:], strict=False)
            assert [actual.ids[a:b].tolist() for a, b in parts] == expected, what
    assert compared > 80


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_absent_files_change_nothing(tmp_path, make):
    for absent in (SETTINGS, ROLES, CONFIG):
        files = {**make(), absent: {}}
        for path in tmp_path.iterdir():
            path.unlink()
        write(tmp_path, {f: content for f, content in files.items() if f != absent})
        actual = tokens.encode(tokens.load_tokenizer(tmp_path), TEXTS, 12)
        parts = zip(actual.offsets, actual.offsets[1:], strict=False)
        ids = [actual.ids[a:b].tolist() for a, b in parts]
        assert ids == by_transformers(tmp_path), absent


@pytest.mark.processes
@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_the_usual_layouts_do_not_import_transformers(tmp_path, make):
    write(tmp_path, make())
    assert imported(tmp_path) == "False"


@pytest.mark.processes
@pytest.mark.shared
def test_a_real_checkpoint_does_not_import_transformers(minilm):
    assert imported(minilm) == "False"


def imported(directory):
    """Whether loading the tokenizer imports `transformers`, in a new process."""
    code = (
        "import sys; from mtra_jax.data.tokenizing import tokens; "
        "tokens.load_tokenizer(sys.argv[1]); print('transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, directory],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
