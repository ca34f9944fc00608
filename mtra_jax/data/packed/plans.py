"""Numbers of examples and a seed -> which examples each batch holds, in which order."""

from collections.abc import Sequence

import numpy as np

PADDING = -1
"""An empty place of a batch."""


def plan_epoch(
    sizes: Sequence[int],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    sampling: str = "per_task",
) -> np.ndarray:
    """The examples of each batch of an epoch: int64 [num_batches, batch_size].

    Examples are numbered across tasks; -1 marks an empty place. A pure function of
    its arguments, so all processes have the same plan and a run can continue at any batch.

    `sampling="per_task"` (MTRA, Algorithm 1): each task is split into random batches, and
    all batches are visited in random order. The last batch of a task may be smaller.
    `sampling="joint"`: every batch has an equal share of every task. The number of batches
    is such that the epoch has as many examples; tasks that run out are reshuffled. Plans
    by temperature or under a cap: see `mixing.plan_epoch`.

    Raises:
      ValueError: an unknown `sampling`, or `joint` with more tasks than places.
    """
    rng = np.random.default_rng([seed, epoch])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    if sampling == "per_task":
        batches = np.concatenate(
            [
                _split(start + rng.permutation(size), batch_size)
                for start, size in zip(starts, sizes, strict=True)
            ]
        )
        return batches[rng.permutation(len(batches))]
    if sampling != "joint":
        raise ValueError(f"`sampling` must be per_task or joint; found {sampling!r}.")
    if len(sizes) > batch_size:
        raise ValueError(f"`batch_size` must be at least {len(sizes)}, one per task.")
    num_batches = -(-sum(sizes) // batch_size)
    shares = np.full(len(sizes), batch_size // len(sizes))
    shares[: batch_size % len(sizes)] += 1
    columns = [
        start + _cycle(rng, size, num_batches * share).reshape(num_batches, share)
        for start, size, share in zip(starts, sizes, shares, strict=True)
    ]
    return np.concatenate(columns, axis=1)


def plan_evaluation(sizes: Sequence[int], batch_size: int) -> np.ndarray:
    """All examples once, task by task: int64 [num_batches, batch_size].

    The order within a task depends on its size alone, and not on the order of its file:
    where a file is sorted by label, a batch in that order would have one label, and a MINE
    bound, whose pairs are drawn within the batch, would be 0 whatever z is.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    return np.concatenate(
        [
            _split(start + np.random.default_rng(0).permutation(size), batch_size)
            for start, size in zip(starts, sizes, strict=True)
        ]
    )


def in_order(plan: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of the places of `plan` -> those of the examples in order.

    >>> in_order(np.array([[2, 0], [1, -1]]), np.array([20, 0, 10, 99]))
    array([ 0, 10, 20])
    """
    examples = plan.reshape(-1)
    filled = examples >= 0
    return rows[filled][np.argsort(examples[filled])]


def _split(examples: np.ndarray, batch_size: int) -> np.ndarray:
    num_batches = -(-len(examples) // batch_size)
    padded = np.full(num_batches * batch_size, PADDING, np.int64)
    padded[: len(examples)] = examples
    return padded.reshape(num_batches, batch_size)


def _cycle(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    rounds = -(-count // size)
    return np.concatenate([rng.permutation(size) for _ in range(rounds)])[:count]
