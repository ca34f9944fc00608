"""A corpus and a plan -> the few shapes of its packed batches.

Each shape is a program to compile; fewer shapes mean more padding in every step.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mtra_jax.data.packed import batches, packing, plans
from mtra_jax.data.packed.batches import Corpus
from mtra_jax.data.packed.packing import Shape

PLANNED_BATCHES = 256
"""Number of batches of a plan that are measured."""
RESERVE = 4.5
"""In standard deviations. A normal variable exceeds it once in 300,000 draws."""

Need = tuple[Shape, ...]
"""The smallest shapes that hold a batch, one for each row length, shortest first."""


def needed(
    corpus: Corpus,
    plan: np.ndarray,
    num_shares: int,
    part_size: int | None = None,
    longest_row: int = 0,
) -> list[Need]:
    """The needs of the batches of `plan`, or of every n-th batch if the plan is long.

    `num_shares`: see `batches.device_shares`. `part_size`: see `batches.Batcher`. The
    longest rows hold the longest text of the corpus and at least `longest_row` tokens.
    """
    longest_row = max(longest_row, longest_row_of(corpus))
    sampled = _shares(corpus, plan, num_shares, part_size)
    return [packing.needed_shapes(shares, longest_row) for shares in sampled]


def longest_row_of(corpus: Corpus) -> int:
    """The row length that the longest text needs."""
    lengths = np.diff(corpus.tokens.offsets)
    return packing.row_length_for(int(lengths.max(initial=1)))


def _shares(
    corpus: Corpus, plan: np.ndarray, num_shares: int, part_size: int | None
) -> list[list[np.ndarray]]:
    """The lengths of the texts in all shares of each measured batch."""
    lengths = np.diff(corpus.tokens.offsets)
    sampled = []
    for examples in plan[:: -(-len(plan) // PLANNED_BATCHES)]:
        parts = batches.parts(corpus, examples, part_size)
        shares = (batches.device_shares(lengths, p, num_shares) for p in parts)
        sampled.append(list(itertools.chain.from_iterable(shares)))
    return sampled


def reserve(
    corpus: Corpus,
    plan: np.ndarray,
    needs: Sequence[Need],
    num_shares: int,
    part_size: int | None = None,
) -> Shape:
    """A shape that holds nearly every batch of all plans that are drawn like `plan`.

    The number of tokens in n random texts is nearly normal, so it rarely exceeds its mean
    by more than `RESERVE` standard deviations. The rows of `needs`, the needs of `plan`,
    are multiplied by the ratio of this bound to the largest share of `plan`.
    """
    lengths = np.diff(corpus.tokens.offsets)
    parts = np.split(lengths, np.cumsum(corpus.sizes)[:-1])
    means = np.array([own.mean() if own.size else 0.0 for own in parts])
    variances = np.array([own.var() if own.size else 0.0 for own in parts])
    tasks = np.where(plan >= 0, corpus.tasks[plan], plans.PADDING)
    counts = np.stack([np.sum(tasks == task, axis=1) for task in range(len(parts))], 1)
    counts = -(-counts // num_shares)  # texts of each task in a share: [num_batches, T]
    if part_size is not None:
        counts = np.diag(counts.max(axis=0))  # a share holds one task
    # Drawing without replacement: the sum over all texts of a task is constant.
    shrunk = counts * np.clip(1 - counts / np.maximum(corpus.sizes, 1), 0, 1)
    bound = np.max(counts @ means + RESERVE * np.sqrt(shrunk @ variances))
    sampled = _shares(corpus, plan, num_shares, part_size)
    largest = max(int(share.sum()) for shares in sampled for share in shares)
    cover = covering(needs)
    factor = max(bound / max(largest, 1), 1.0)
    return Shape(math.ceil(cover.num_rows * factor), cover.row_length)


def covering(needs: Sequence[Need]) -> Shape:
    """The smallest shape in rows of the longest length that holds all `needs`."""
    rows, row_length = zip(*(need[-1] for need in needs), strict=True)
    return Shape(max(rows), max(row_length))


def choose(
    needs: Sequence[Need],
    *,
    program_cost: float,
    max_shapes: int = 0,
    candidates: Iterable[Shape] | None = None,
) -> tuple[Shape, ...]:
    """The shapes that minimise the cost of compiling and running `needs`, cheapest first.

    Each shape costs `program_cost`, one compilation. Each of `needs` costs the
    `Shape.cost` of the cheapest shape that holds it. One of the shapes holds all `needs`.
    `max_shapes`: the largest number of shapes; 0 for any number.

    The search is greedy. From `candidates`, by default all shapes in `needs`, it drops
    the shape that saves least until every shape saves more than it costs.
    """
    if not needs:
        return ()
    counts = Counter(needs)
    weights = np.array(list(counts.values()))
    options = set(itertools.chain(*counts) if candidates is None else candidates)
    covers = [s for s in options if all(_holds(s, need) for need in counts)]
    cover = min(covers or [covering(needs)], key=_by_cost)
    shapes = sorted({*options, cover}, key=_by_cost)
    costs = np.array([shape.cost for shape in shapes])
    # [shapes, distinct needs]
    holds = np.array([[_holds(shape, need) for need in counts] for shape in shapes])
    while len(shapes) > 1:
        saved = _savings(costs, holds, weights)
        saved[shapes.index(cover)] = np.inf
        least = int(np.argmin(saved))
        if saved[least] > program_cost and not 0 < max_shapes < len(shapes):
            break
        del shapes[least]
        costs, holds = np.delete(costs, least), np.delete(holds, least, axis=0)
    return tuple(shapes)


def _by_cost(shape: Shape) -> tuple[float, Shape]:
    return shape.cost, shape


def _holds(shape: Shape, need: Need) -> bool:
    return any(
        shape.row_length == own.row_length and shape.num_rows >= own.num_rows
        for own in need
    )


def _savings(costs: np.ndarray, holds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The saving of each shape over the next larger one, for the needs it serves: [S].

    `costs` [S]: increasing. `holds` [S, N] bool: whether a shape holds a need.
    """
    columns = np.arange(holds.shape[1])
    first = np.argmax(holds, axis=0)
    others = holds.copy()
    others[first, columns] = False
    second = np.argmax(others, axis=0)
    next_cost = np.where(others.any(axis=0), costs[second], np.inf)
    return np.bincount(first, weights * (next_cost - costs[first]), len(costs))
