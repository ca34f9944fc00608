"""A corpus and a plan -> the few shapes that its batches are packed in.

Each shape is a program to compile, and fewer shapes are more padding in every step.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mtra_jax.data import batches, packing
from mtra_jax.data.batches import Corpus
from mtra_jax.data.packing import Shape

PLANNED_BATCHES = 512
"""How many batches of a plan are looked at."""
RESERVE = 4.5
"""Standard deviations; of a normal distribution one in 300,000 draws is beyond."""


def needed(
    corpus: Corpus, plan: np.ndarray, num_shares: int, part_size: int | None = None
) -> list[Shape]:
    """The smallest shapes that hold the batches of `plan`: of every n-th in a long one.

    `num_shares`: see `batches.device_shares`; `part_size`: see `batches.Batcher`.
    """
    sampled = _shares(corpus, plan, num_shares, part_size)
    return [packing.needed_shape(shares) for shares in sampled]


def _shares(
    corpus: Corpus, plan: np.ndarray, num_shares: int, part_size: int | None
) -> list[list[np.ndarray]]:
    """The lengths of the texts in all shares of each batch."""
    lengths = np.diff(corpus.tokens.offsets)
    found = []
    for examples in plan[:: -(-len(plan) // PLANNED_BATCHES)]:
        parts = batches.parts(corpus, examples, part_size)
        shares = (batches.device_shares(lengths, p, num_shares) for p in parts)
        found.append(list(itertools.chain.from_iterable(shares)))
    return found


def reserve(
    corpus: Corpus,
    plan: np.ndarray,
    needs: Sequence[Shape],
    num_shares: int,
    part_size: int | None = None,
) -> Shape:
    """A shape that holds nearly every batch of all plans that are drawn like `plan`.

    The number of tokens in n random texts is about normal, so `RESERVE` standard
    deviations above the mean bound it. The shape has more rows than `needs`, the shapes
    of `plan`, by the factor between this bound and the largest share of `plan`.
    """
    lengths = np.diff(corpus.tokens.offsets)
    parts = np.split(lengths, np.cumsum(corpus.sizes)[:-1])
    means = np.array([own.mean() if own.size else 0.0 for own in parts])
    variances = np.array([own.var() if own.size else 0.0 for own in parts])
    tasks = np.where(plan >= 0, corpus.tasks[plan], batches.PADDING)
    counts = np.stack([np.sum(tasks == task, axis=1) for task in range(len(parts))], 1)
    counts = -(-counts // num_shares)  # texts of each task in a share: [num_batches, T]
    if part_size is not None:
        counts = np.diag(counts.max(axis=0))  # each task has shares of its own
    # Drawn without replacement: all texts of a task always have the same sum.
    shrunk = counts * np.clip(1 - counts / np.maximum(corpus.sizes, 1), 0, 1)
    bound = np.max(counts @ means + RESERVE * np.sqrt(shrunk @ variances))
    sampled = _shares(corpus, plan, num_shares, part_size)
    largest = max(int(share.sum()) for shares in sampled for share in shares)
    cover = covering(needs, packing.row_length_for(int(lengths.max(initial=1))))
    factor = max(bound / max(largest, 1), 1.0)
    return Shape(math.ceil(cover.num_rows * factor), cover.row_length)


def covering(needs: Sequence[Shape], row_length: int = 1) -> Shape:
    """The smallest shape that holds all `needs`, in rows of at least `row_length`."""
    row_length = max(row_length, *(need.row_length for need in needs))
    return Shape(max(_rows_at(need, row_length) for need in needs), row_length)


def _rows_at(need: Shape, row_length: int) -> int:
    """Rows of `row_length` that hold the rows of `need`, laid side by side."""
    return -(-need.num_rows // (row_length // need.row_length))


def _holds(shape: Shape, need: Shape) -> bool:
    if shape.row_length < need.row_length:
        return False
    return _rows_at(need, shape.row_length) <= shape.num_rows


def choose(
    needs: Sequence[Shape],
    *,
    program_cost: float,
    max_shapes: int = 0,
    candidates: Iterable[Shape] | None = None,
) -> tuple[Shape, ...]:
    """The set of shapes that is cheapest to compile and to run `needs` in, cheapest first.

    A shape costs `program_cost`, one compilation; each of `needs` costs `Shape.cost` of
    the cheapest shape that holds it. One of the shapes holds all `needs`. `max_shapes` is
    the largest number of shapes, without limit where 0.

    Starts from `candidates`, by default `needs`, and drops the shape that saves least
    until every shape saves more than it costs.
    """
    if not needs:
        return ()
    counts = Counter(needs)
    weights = np.array(list(counts.values()))
    options = set(counts if candidates is None else candidates)
    covers = [s for s in options if all(_holds(s, need) for need in counts)]
    cover = min(covers or [covering(needs)], key=_by_cost)
    shapes = sorted({*options, cover}, key=_by_cost)
    # [shapes, distinct needs]
    costs = np.array(
        [[s.cost if _holds(s, n) else np.inf for n in counts] for s in shapes]
    )
    while len(shapes) > 1:
        saved = _savings(costs, weights)
        saved[shapes.index(cover)] = np.inf
        least = int(np.argmin(saved))
        if saved[least] > program_cost and not 0 < max_shapes < len(shapes):
            break
        del shapes[least]
        costs = np.delete(costs, least, axis=0)
    return tuple(shapes)


def _by_cost(shape: Shape) -> tuple[float, Shape]:
    return shape.cost, shape


def _savings(costs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """By how much each shape is cheaper than the next one that serves: [S] of [S, N]."""
    order = np.argsort(costs, axis=0, kind="stable")
    columns = np.arange(costs.shape[1])
    saved = np.zeros(len(costs))
    best, second = order[0], order[1]
    np.add.at(saved, best, weights * (costs[second, columns] - costs[best, columns]))
    return saved
