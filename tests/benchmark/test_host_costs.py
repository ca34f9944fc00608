"""Generated texts have the requested sizes; time and memory of planning them."""

import subprocess
import sys
from pathlib import Path

import host_costs
import numpy as np
import pytest

from mtra_jax.data.tokenizing.tokens import Tokens
from mtra_jax.tasks import AFFECTEVAL, TWEETEVAL


def test_lengths_are_like_those_of_tweets():
    lengths = host_costs.tweet_lengths(np.random.default_rng(0), 20_000)
    assert lengths.dtype == np.int64
    assert lengths.min() == 3
    assert 60 < lengths.max() <= 120
    assert 29 < lengths.mean() < 31
    assert host_costs.tweet_lengths(np.random.default_rng(0), 1000, 40).max() == 40


def test_random_tokens_have_the_lengths_and_ids_asked_for():
    tokens = host_costs.random_tokens(300, 50, 64, seed=1)
    assert tokens.ids.dtype == np.int32
    assert len(tokens.lengths) == 300
    assert tokens.offsets[0] == 0
    assert tokens.offsets[-1] == len(tokens.ids)
    assert tokens.lengths.max() <= 64
    assert set(tokens.ids.tolist()) == set(range(50))


@pytest.mark.parametrize("benchmark", [TWEETEVAL, AFFECTEVAL], ids=lambda b: b.name)
def test_a_corpus_has_equal_shares_and_targets_in_own_slots(benchmark):
    tokens = host_costs.random_tokens(101, 50, 64, seed=1)
    corpus = host_costs.corpus_of(benchmark, tokens, seed=2)
    assert sum(corpus.sizes) == 101
    assert max(corpus.sizes) - min(corpus.sizes) == 1
    np.testing.assert_array_equal(
        np.bincount(corpus.tasks, minlength=len(benchmark.tasks)), corpus.sizes
    )
    for index, task in enumerate(benchmark.tasks):
        rows = corpus.targets[corpus.tasks == index]
        own = benchmark.slots(task.name)
        assert not np.delete(rows, np.r_[own], axis=1).any()
        if task.is_classification:
            np.testing.assert_array_equal(rows.sum(axis=1), 1)
            assert set(np.unique(rows)) == {0, 1}
        else:
            assert len(np.unique(rows[:, own])) > 10


def test_throughput_counts_all_stages():
    figures = host_costs.throughput(2_000, num_epochs=2)
    assert figures.num_texts == 2_000
    assert 29 < figures.num_tokens / 2_000 < 31
    assert min(figures[2:]) > 0
    total = figures.plan_seconds + figures.shapes_seconds + figures.pack_seconds
    assert figures.texts_per_second == pytest.approx(2_000 / total)


def test_tokens_are_written_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(host_costs, "CHUNK", 300)
    host_costs.write_tokens(tmp_path / "tokens", 1_000, seed=3)
    tokens = Tokens(
        *(np.load(tmp_path / "tokens" / f"{name}.npy") for name in ("ids", "offsets"))
    )
    assert tokens.ids.dtype == np.int32
    assert tokens.offsets.dtype == np.int64
    assert tokens.offsets.shape == (1_001,)
    assert tokens.offsets[-1] == len(tokens.ids)
    assert 3 <= tokens.lengths.min() <= tokens.lengths.max() <= 120
    assert 28 < tokens.lengths.mean() < 32
    pieces = [tokens.lengths[start : start + 300] for start in (0, 300, 600)]
    assert not np.array_equal(pieces[0], pieces[1])
    # Every piece is filled, not left as zeros.
    starts = tokens.offsets[:-1]
    assert np.mean(tokens.ids == 0) < 0.01
    assert np.mean(tokens.ids[starts[-50] :] == 0) < 0.01
    assert tokens.ids.max() < host_costs.VOCAB_SIZE


def test_a_footprint_is_that_of_a_fresh_process(tmp_path):
    # The memory of this process must not be included.
    ballast = np.ones(200_000_000 // 8)
    figures = host_costs.ten_million(20_000, directory=tmp_path, num_batches=5)
    assert figures.num_texts == 20_000
    assert figures.file_bytes == sum(f.stat().st_size for f in tmp_path.iterdir())
    assert figures.file_bytes >= 4 * figures.num_tokens + 8 * 20_001
    seconds = figures[3:7]
    assert min(seconds) > 0
    assert 10**7 < figures.library_bytes <= figures.peak_bytes
    assert figures.peak_bytes - figures.library_bytes < 10**8
    assert figures.peak_bytes < host_costs.peak_bytes()
    assert ballast[-1] == 1


def test_peak_memory_grows_with_what_is_held():
    """In a new process, whose peak so far is small."""
    script = (
        "import host_costs, numpy\n"
        "size = host_costs.peak_bytes() + 50_000_000\n"
        "held = numpy.ones(size // 8)\n"
        "print(host_costs.peak_bytes() - size, held[0])\n"
    )
    command = [sys.executable, "-c", script]
    place = Path(host_costs.__file__).parent
    done = subprocess.run(
        command, cwd=place, capture_output=True, text=True, check=True
    )
    more, first = done.stdout.split()
    assert int(more) >= 0
    assert first == "1.0"


def test_peak_memory_where_the_system_has_no_account(monkeypatch, tmp_path):
    monkeypatch.setattr(host_costs, "STATUS", tmp_path / "none")
    assert host_costs._status_bytes("RssFile") is None
    assert host_costs.peak_bytes() > 10**7
