"""scripts/pretrain_tiny.py: packed texts, corrupted tokens, batches, the encoder it made."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest
from tiers import nightly_only

from mtra_jax import config_files
from mtra_jax.data.built_in import synthetic
from mtra_jax.data.tokenizing import tokens
from mtra_jax.models import pretrained

ROOT = Path(__file__).resolve().parents[1]
script = config_files.execute(str(ROOT / "scripts/pretrain_tiny.py"))
SPECIAL = len(tokens.SPECIAL_TOKENS)


def rows_of(lengths):
    """Rows whose texts are [CLS], numbers from 100, [SEP]; the lengths include these."""
    offsets = np.cumsum([0, *lengths])
    ids = np.arange(offsets[-1], dtype=np.int32) + 100
    ids[offsets[:-1]], ids[offsets[1:] - 1] = 2, 3
    return tokens.Tokens(ids, offsets), script.pack(tokens.Tokens(ids, offsets))


def test_packing_keeps_every_text_whole():
    lengths = [40, 30, 20, 25, 9]
    encoded, rows = rows_of(lengths)
    texts = []
    for ids, segments, positions in zip(*rows, strict=True):
        for segment in range(1, segments.max() + 1):
            at = np.flatnonzero(segments == segment)
            np.testing.assert_array_equal(positions[at], np.arange(len(at)))
            texts.append(ids[at].tolist())
    expected = [
        encoded.ids[a:b].tolist()
        for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)
    ]
    assert sorted(texts) == sorted(expected)
    assert (rows.segments > 0).sum() == sum(lengths)


def test_each_token_has_the_state_of_the_first_token_of_its_text():
    _, rows = rows_of([40, 30, 20, 25, 9])
    hidden = np.random.default_rng(0).normal(size=(*rows.tokens.shape, 3))
    states = np.asarray(script.first_states(hidden.astype(np.float32), rows.positions))
    for row, column in zip(*np.nonzero(rows.segments), strict=True):
        (own,) = np.nonzero(rows.segments[row] == rows.segments[row, column])
        np.testing.assert_array_equal(
            states[row, column], hidden[row, own[0]].astype(np.float32)
        )


def test_cross_entropy_is_the_mean_over_the_chosen_tokens():
    rng = np.random.default_rng(0)
    scores, ids = rng.normal(size=(2, 5, 7)), rng.integers(0, 7, (2, 5))
    where = rng.random((2, 5)) < 0.5
    losses = [
        np.log(np.exp(scores[at]).sum()) - scores[at][ids[at]]
        for at in zip(*np.nonzero(where), strict=True)
    ]
    actual = float(script.cross_entropy(scores, ids, where))
    assert actual == pytest.approx(np.mean(losses), rel=1e-6)
    assert float(script.cross_entropy(scores, ids, where & False)) == 0


def test_shares_of_corrupted_tokens_are_those_of_bert():
    _, rows = rows_of([64] * 1000)
    inputs, chosen = map(np.asarray, script.corrupt(rows, jax.random.key(0), 4, 900))
    is_word = (rows.tokens >= SPECIAL) & (rows.segments > 0)
    count, picked = is_word.sum(), chosen.sum()
    assert not (chosen & ~is_word).any()
    np.testing.assert_array_equal(inputs[~chosen], rows.tokens[~chosen])

    def assert_share(part, whole, expected):
        # Four standard errors of a share.
        assert abs(part / whole - expected) < 4 * (expected / whole) ** 0.5

    assert_share(picked, count, 0.15)
    is_masked = chosen & (inputs == 4)
    assert_share(is_masked.sum(), picked, 0.8)
    assert_share((chosen & (inputs == rows.tokens)).sum(), picked, 0.1)
    others = inputs[chosen & ~is_masked & (inputs != rows.tokens)]
    assert others.min() >= SPECIAL
    assert others.max() < 900


def test_batches_have_every_row_once_an_epoch():
    order = np.arange(4 * script.ROWS)[:, None]
    rows = script.Rows(order, order, order)
    drawn = [batch.tokens[:, 0] for batch in script.batches(rows, 8)]
    for epoch in (drawn[:4], drawn[4:]):
        assert sorted(np.concatenate(epoch)) == order[:, 0].tolist()
    assert not np.array_equal(drawn[0], drawn[4])


def test_no_text_of_the_benchmark_is_read_for_pretraining():
    benchmark = synthetic.generate(seed=0)
    parts = [part for task in benchmark.values() for part in task.values()]
    own = {text for part in parts for text in part.texts}
    few = dict(zip(range(300), own, strict=False)).values()
    free = synthetic.unlabelled(2000, 0, frozenset())
    without = synthetic.unlabelled(2000, 0, frozenset([*free[:500], *few]))
    assert len(set(without)) == 2000
    assert set(without).isdisjoint([*free[:500], *few])


BUILT_IN = pretrained.resolve("builtin:tiny")


@pytest.mark.slow
def test_the_tokenizer_of_the_built_in_encoder_is_made_again(tmp_path):
    tokenizer = tokens.train_tokenizer(script.unlabelled_texts(), script.VOCAB_SIZE)
    tokens.save_tokenizer(tokenizer, tmp_path, script.MAX_LENGTH)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (BUILT_IN / name).read_bytes()


@nightly_only
def test_the_built_in_encoder_is_made_again(tmp_path):
    script.main(["--to", str(tmp_path / "encoder")])
    card, other = (
        re.search(r"[\d.]+%", (path / "README.md").read_text())[0]
        for path in (BUILT_IN, tmp_path / "encoder")
    )
    # Rounding differs between machines, and grows over the steps.
    assert float(other[:-1]) == pytest.approx(float(card[:-1]), abs=0.5)
