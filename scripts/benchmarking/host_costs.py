"""Generated texts like tweets -> time and memory of planning and packing on the host."""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtra_jax.data.built_in import sources
from mtra_jax.data.packed import batches, packing, plans, shapes
from mtra_jax.data.tokenizing.tokens import Tokens
from mtra_jax.tasks import TWEETEVAL, Benchmark

VOCAB_SIZE = 30_522
CHUNK = 1_000_000
"""Texts generated at a time."""
SHAPES = 12
"""The default limit of a configuration on the shapes of packed batches."""
STATUS = Path("/proc/self/status")


class Throughput(NamedTuple):
    """Seconds of an epoch on the host, by stage: medians of some epochs.

    CPU seconds of the single thread, as on an otherwise idle core.
    """

    num_texts: int
    num_tokens: int
    plan_seconds: float
    """Choosing the texts of each batch."""
    shapes_seconds: float
    """Choosing the shapes of batches, once per run, from at most 512 batches."""
    pack_seconds: float
    """Placing texts in rows, and building the arrays of all batches."""
    wall_seconds: float
    """Wall-clock seconds of all stages; other processes may add to them."""

    @property
    def texts_per_second(self) -> float:
        """Texts over the seconds of planning, choosing shapes and packing."""
        return self.num_texts / (
            self.plan_seconds + self.shapes_seconds + self.pack_seconds
        )


class Footprint(NamedTuple):
    """Cost, for one process, of planning and packing a corpus that lies in files.

    `peak_bytes` is the peak resident memory of the process, with libraries and mapped
    pages. `mapped_bytes` of mapped pages, which the system can reclaim, were resident at
    the end; None if the system does not report them.
    """

    num_texts: int
    num_tokens: int
    file_bytes: int
    corpus_seconds: float
    """Mapping the files, and laying out tasks and targets."""
    plan_seconds: float
    """Planning an epoch."""
    shapes_seconds: float
    pack_seconds: float
    """Packing one batch of texts from random places; the mean."""
    library_bytes: int
    """Peak before the corpus is opened."""
    peak_bytes: int
    mapped_bytes: int | None


# ---- texts


def tweet_lengths(
    rng: np.random.Generator, num_texts: int, longest: int = 120
) -> np.ndarray:
    """Lengths in tokens of texts like tweets, about 30: int64 [N], 3 to `longest`."""
    return np.clip(rng.normal(30, 14, num_texts), 3, longest).round().astype(np.int64)


def random_tokens(num_texts: int, vocab_size: int, longest: int, seed: int) -> Tokens:
    """Texts of random ids, of lengths like tweets'."""
    rng = np.random.default_rng(seed)
    lengths = tweet_lengths(rng, num_texts, longest)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Tokens(rng.integers(0, vocab_size, offsets[-1], np.int32), offsets)


def corpus_of(benchmark: Benchmark, tokens: Tokens, seed: int) -> batches.Corpus:
    """Equal shares of the texts for the tasks, in their order, with random targets."""
    rng = np.random.default_rng([seed, 1])
    num_texts, num_tasks = len(tokens.offsets) - 1, len(benchmark.tasks)
    examples = {}
    for index, task in enumerate(benchmark.tasks):
        size = num_texts // num_tasks + (index < num_texts % num_tasks)
        if task.is_classification:
            labels = rng.integers(0, task.num_outputs, size, np.int32)
        else:
            labels = rng.random((size, task.num_outputs), np.float32)
        # Only the number of texts matters here.
        examples[task.name] = sources.Examples(range(size), labels)
    return batches.build_corpus(benchmark, examples, tokens)


# ---- throughput


def throughput(
    num_texts: int = 100_000,
    *,
    benchmark: Benchmark = TWEETEVAL,
    batch_size: int = 128,
    num_epochs: int = 3,
    seed: int = 0,
) -> Throughput:
    """The seconds for one core to plan and pack an epoch for one device."""
    tokens = random_tokens(num_texts, VOCAB_SIZE, 120, seed)
    corpus = corpus_of(benchmark, tokens, seed)
    seconds, started = [], time.perf_counter()
    for epoch in range(num_epochs):
        plan, plan_seconds = _timed(_plan, corpus, batch_size, seed, epoch)
        chosen, shapes_seconds = _timed(_shapes, corpus, plan)
        batcher = batches.Batcher(corpus, chosen, seed=seed)
        _, pack_seconds = _timed(_exhaust, batcher.batches(plan, epoch=epoch))
        seconds.append((plan_seconds, shapes_seconds, pack_seconds))
    wall_seconds = (time.perf_counter() - started) / num_epochs
    stages = np.median(seconds, axis=0).tolist()
    return Throughput(num_texts, len(tokens.ids), *stages, wall_seconds)


def _timed(function: Callable, *args: Any) -> tuple[Any, float]:
    started = time.thread_time()
    result = function(*args)
    return result, time.thread_time() - started


def _plan(
    corpus: batches.Corpus, batch_size: int, seed: int, epoch: int = 0
) -> np.ndarray:
    return plans.plan_epoch(corpus.sizes, batch_size, seed=seed, epoch=epoch)


def _shapes(corpus: batches.Corpus, plan: np.ndarray) -> tuple[packing.Shape, ...]:
    needs = shapes.needed(corpus, plan, 1)
    return shapes.choose(needs, program_cost=0.0, max_shapes=SHAPES)


def _exhaust(items: Iterator[Any]) -> None:
    for _ in items:
        pass


# ---- ten million


def ten_million(
    num_texts: int = 10_000_000,
    *,
    directory: Path,
    benchmark: Benchmark = TWEETEVAL,
    batch_size: int = 128,
    num_batches: int = 300,
    seed: int = 0,
) -> Footprint:
    """Memory and time of planning and packing `num_texts` texts, in a new process.

    Writes their tokens, 1.2 GB for ten million, into `directory`, and leaves them there.
    The new process is spawned, so it does not inherit the memory of this one; the calling
    script needs `if __name__ == "__main__"`.
    """
    write_tokens(directory, num_texts, seed)
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        asked = directory, benchmark, batch_size, num_batches, seed
        return pool.submit(measure_footprint, *asked).result()


def write_tokens(directory: Path, num_texts: int, seed: int) -> None:
    """Writes `ids.npy`, int32, and `offsets.npy`, int64, piece by piece."""
    directory.mkdir(parents=True, exist_ok=True)
    sizes = [min(CHUNK, num_texts - start) for start in range(0, num_texts, CHUNK)]
    create = np.lib.format.open_memmap
    offsets = create(directory / "offsets.npy", "w+", np.int64, (num_texts + 1,))
    offsets[0], end = 0, 0
    for index, size in enumerate(sizes):
        rng = np.random.default_rng([seed, index])
        lengths = tweet_lengths(rng, size)
        offsets[end + 1 : end + size + 1] = offsets[end] + np.cumsum(lengths)
        end += size
    ids = create(directory / "ids.npy", "w+", np.int32, (int(offsets[-1]),))
    for index in range(len(sizes)):
        rng = np.random.default_rng([seed, index, 1])
        start = index * CHUNK
        piece = slice(*offsets[[start, start + sizes[index]]].tolist())
        ids[piece] = rng.integers(0, VOCAB_SIZE, piece.stop - piece.start, np.int32)
    offsets.flush()
    ids.flush()


def measure_footprint(
    directory: Path,
    benchmark: Benchmark,
    batch_size: int,
    num_batches: int,
    seed: int,
) -> Footprint:
    """The footprint of this process, which must be a new one, on the written tokens."""
    library_bytes = peak_bytes()
    times = [time.perf_counter()]
    # As `tokens.cached_encode` opens them.
    paths = [directory / f"{name}.npy" for name in ("ids", "offsets")]
    tokens = Tokens(
        *(np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
    )
    corpus = corpus_of(benchmark, tokens, seed)
    times.append(time.perf_counter())
    plan = _plan(corpus, batch_size, seed)
    times.append(time.perf_counter())
    batcher = batches.Batcher(corpus, _shapes(corpus, plan), seed=seed)
    times.append(time.perf_counter())
    rng = np.random.default_rng(seed)
    for index in rng.integers(0, len(plan), num_batches):
        batcher.pack(plan[index], rng)
    times.append(time.perf_counter())
    corpus_seconds, plan_seconds, shapes_seconds, pack_seconds = np.diff(times).tolist()
    return Footprint(
        len(tokens.offsets) - 1,
        len(tokens.ids),
        sum(path.stat().st_size for path in paths),
        corpus_seconds,
        plan_seconds,
        shapes_seconds,
        pack_seconds / num_batches,
        library_bytes,
        peak_bytes(),
        _status_bytes("RssFile"),
    )


def peak_bytes() -> int:
    """Peak resident memory of this process.

    On Linux from /proc: `getrusage` starts at the memory of the parent.
    """
    peak = _status_bytes("VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status_bytes(key: str) -> int | None:
    if not STATUS.is_file():
        return None
    rows = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(rows[key].split()[0]) * 1024 if key in rows else None
