"""Tokens and labels of all tasks, and a plan -> packed batches."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import NamedTuple, TypeVar

import numpy as np

from mtra_jax.data.packed import packing
from mtra_jax.data.packed.packing import Shape
from mtra_jax.data.packed.plans import PADDING
from mtra_jax.data.splits import targets as task_targets
from mtra_jax.data.splits.examples import Examples
from mtra_jax.data.tokenizing.tokens import Tokens
from mtra_jax.tasks import Benchmark
from mtra_jax.types import Batch

Item = TypeVar("Item")


class Corpus(NamedTuple):
    """One split of all tasks laid end to end, task after task."""

    tokens: Tokens
    tasks: np.ndarray
    """int32 [N]"""
    targets: np.ndarray
    """float32 [N, L], in the joint label space."""
    sizes: tuple[int, ...]
    """Examples per task."""
    labels: tuple[np.ndarray, ...] = ()
    """The labels of each task's examples, as in `Examples`; () where nothing is scored."""


def build_corpus(
    benchmark: Benchmark, examples: Mapping[str, Examples], tokens: Tokens
) -> Corpus:
    """Lays the tasks' `examples` end to end; `tokens` holds their texts in that order.

    The targets of a task are those of `targets.of_labels`.
    """
    sizes = tuple(len(examples[name].texts) for name in benchmark.task_names)
    labels = tuple(examples[name].labels for name in benchmark.task_names)
    targets = np.zeros((sum(sizes), benchmark.num_slots), np.float32)
    start = 0
    for task, size, own in zip(benchmark.tasks, sizes, labels, strict=True):
        slots = benchmark.slots(task.name)
        targets[start : start + size, slots] = task_targets.of_labels(task, own)
        start += size
    tasks = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return Corpus(tokens, tasks, targets, sizes, labels)


def draw_partners(tasks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random permutation of the positions of each task: int32 [B].

    `tasks` [B], negative at empty places; those keep their own position.
    """
    partners = np.arange(len(tasks), dtype=np.int32)
    for task in np.unique(tasks[tasks >= 0]):
        positions = np.flatnonzero(tasks == task)
        partners[positions] = rng.permutation(positions)
    return partners


def split_by_task(
    examples: np.ndarray, tasks: np.ndarray, part_size: int
) -> np.ndarray:
    """Splits a planned batch into one part per task: int64 [P, part_size].

    `tasks` [B] are those of `examples` [B]. Parts are in the order of the tasks; -1 marks
    an empty place.

    Raises:
      ValueError: a task has more than `part_size` texts.
    """
    valid = examples >= 0
    examples, tasks = examples[valid], tasks[valid]
    present, counts = np.unique(tasks, return_counts=True)
    if counts.max(initial=0) > part_size:
        raise ValueError(f"`part_size` must be at least {counts.max()}.")
    parts = np.full((len(present), part_size), PADDING, np.int64)
    for part, task in zip(parts, present, strict=True):
        own = examples[tasks == task]
        part[: len(own)] = own
    return parts


def device_shares(
    lengths: np.ndarray, examples: np.ndarray, num_shares: int
) -> list[np.ndarray]:
    """The lengths of the texts in each share of one planned batch.

    Each device has one share per micro-batch, so `num_shares` is D * K.
    """
    shares = (examples[share::num_shares] for share in range(num_shares))
    return [lengths[share[share >= 0]] for share in shares]


def parts(
    corpus: Corpus, examples: np.ndarray, part_size: int | None
) -> Sequence[np.ndarray]:
    """The parts of a planned batch, see `split_by_task`; one part without `part_size`."""
    if part_size is None:
        return [examples]
    return list(split_by_task(examples, corpus.tasks[examples], part_size))


class Batcher:
    """Packs planned batches of a corpus for the devices of this process.

    `local_devices`: the indices of this process's devices among all `num_devices`. The
    texts of a device are divided into `micro_batches` shares, each packed separately.
    With `part_size` each task of a batch is packed separately, as a part of at most that
    many texts. A batch gets the first of `shapes` that holds it, see `shapes.choose`;
    without `shapes` it gets the smallest possible one.
    """

    def __init__(
        self,
        corpus: Corpus,
        shapes: Sequence[Shape] = (),
        *,
        num_devices: int = 1,
        local_devices: Sequence[int] = (0,),
        micro_batches: int = 1,
        part_size: int | None = None,
        seed: int = 0,
    ) -> None:
        self.corpus = corpus
        self.shapes = tuple(shapes)
        self.num_devices = num_devices
        self.local_devices = tuple(local_devices)
        self.micro_batches = micro_batches
        self.part_size = part_size
        self.seed = seed
        self.lengths = np.diff(corpus.tokens.offsets)

    def batches(
        self, plan: np.ndarray, *, epoch: int = 0, start: int = 0
    ) -> Iterator[Batch]:
        """Yields the packed batches of `plan` from `start` on; arrays are [D, ...]."""
        for index in range(start, len(plan)):
            rng = np.random.default_rng([self.seed, epoch, index, 1])
            yield self.pack(plan[index], rng)

    def pack(self, examples: np.ndarray, rng: np.random.Generator) -> Batch:
        """Packs a batch of `examples` [batch_size]; -1 marks an empty place."""
        own = parts(self.corpus, examples, self.part_size)
        num_shares = self.num_devices * self.micro_batches
        shares = [
            s for part in own for s in device_shares(self.lengths, part, num_shares)
        ]
        if self.shapes:
            return self._pack(own, packing.fit(shares, self.shapes), rng)
        return self._pack(own, packing.needed_shape(shares), rng)

    def blanks(self, examples: np.ndarray) -> list[Batch]:
        """Batches without texts, one of each shape, to compile programs with.

        `examples` [batch_size] are those of any batch of the plan.
        """
        own = parts(self.corpus, examples, self.part_size)
        empty = [np.full_like(part, PADDING) for part in own]
        rng = np.random.default_rng(0)
        return [self._pack(empty, shape, rng) for shape in self.shapes]

    def _pack(
        self, planned: Sequence[np.ndarray], shape: Shape, rng: np.random.Generator
    ) -> Batch:
        packed = [self._pack_part(part, shape, rng) for part in planned]
        batch = Batch(
            *(np.stack(arrays, axis=1) for arrays in zip(*packed, strict=True))
        )
        if self.part_size is None:
            return batch
        # Devices without a text of the part need its task too.
        owners = np.stack([self.corpus.tasks[part[:1]] for part in planned])
        return batch._replace(tasks=np.broadcast_to(owners, batch.tasks.shape))

    def _pack_part(
        self, examples: np.ndarray, shape: Shape, rng: np.random.Generator
    ) -> Batch:
        tasks = np.where(examples >= 0, self.corpus.tasks[examples], PADDING)
        partners = draw_partners(tasks, rng)
        devices = [
            self._pack_device(
                examples[device :: self.num_devices],
                partners[device :: self.num_devices],
                shape,
            )
            for device in self.local_devices
        ]
        return Batch(*(np.stack(arrays) for arrays in zip(*devices, strict=True)))

    def _pack_device(
        self, examples: np.ndarray, partners: np.ndarray, shape: Shape
    ) -> Batch:
        where = examples >= 0
        shares = [
            self._pack_rows(examples[share :: self.micro_batches], shape)
            for share in range(self.micro_batches)
        ]
        tokens, segments, positions, types, first_tokens = (
            np.stack(arrays) for arrays in zip(*shares, strict=True)
        )
        return Batch(
            tokens,
            segments,
            positions,
            types,
            first_tokens,
            where=where,
            tasks=np.where(where, self.corpus.tasks[examples], 0).astype(np.int32),
            targets=np.where(where[:, None], self.corpus.targets[examples], 0),
            partners=partners,
        )

    def _pack_rows(self, examples: np.ndarray, shape: Shape) -> tuple[np.ndarray, ...]:
        """Tokens, segments, positions, types [R, S], and where each text starts."""
        where = examples >= 0
        valid = examples[where]
        lengths = self.lengths[valid]
        places = packing.first_fit_decreasing(lengths, shape.row_length)
        starts = places.rows * shape.row_length + places.starts
        first_tokens = np.zeros(len(examples), np.int32)
        first_tokens[where] = starts

        total = int(lengths.sum())
        text_starts = np.cumsum(lengths) - lengths
        columns = np.arange(total) - np.repeat(text_starts, lengths)
        destinations = np.repeat(starts, lengths) + columns
        sources = np.repeat(self.corpus.tokens.offsets[valid], lengths) + columns
        flat = np.zeros((4, shape.num_tokens), np.int32)
        flat[0, destinations] = self.corpus.tokens.ids[sources]
        flat[1, destinations] = np.repeat(_ranks(places), lengths)
        flat[2, destinations] = columns
        if self.corpus.tokens.types is not None:
            flat[3, destinations] = self.corpus.tokens.types[sources]
        return *flat.reshape(4, *shape), first_tokens


def _ranks(places: packing.Places) -> np.ndarray:
    """1, 2, ... for the texts of each row, from left to right."""
    order = np.lexsort((places.starts, places.rows))
    rows = places.rows[order]
    first = np.searchsorted(rows, rows, side="left")
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.arange(len(rows)) - first + 1
    return ranks


def prefetch(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Yields `items`, made up to `depth` ahead in a separate thread.

    An exception of `items` is raised here, after the items that precede it.
    """
    iterator = iter(items)

    def take() -> list[Item]:
        """The next item, or nothing at the end."""
        return list(itertools.islice(iterator, 1))

    with futures.ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        pending = deque(pool.submit(take) for _ in range(depth))
        while taken := pending.popleft().result():
            pending.append(pool.submit(take))
            yield from taken
