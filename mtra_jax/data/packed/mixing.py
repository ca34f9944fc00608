"""Sizes of tasks -> an epoch's batches of one task each, by temperature or under a cap."""

from collections.abc import Sequence

import numpy as np

from mtra_jax.data.packed.plans import PADDING


def plan_epoch(
    sizes: Sequence[int],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    cap: int = 0,
    temperature: float | None = None,
) -> np.ndarray:
    """The examples of each batch of an epoch: int64 [num_batches, batch_size].

    As in `plans.plan_epoch`, examples are numbered across tasks, -1 marks an empty place,
    and the plan is a pure function of the arguments. Every batch holds one task; their
    numbers are those of `num_batches`, their order is random.

    A task is visited in rounds. A round has each of its examples once, shuffled and split
    into batches, the last of which may be smaller. A task that runs out within an epoch
    begins another round. One that does not continues its round in the next epoch, so that
    a cap leaves no example out for ever.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    counts = num_batches(sizes, batch_size, cap=cap, temperature=temperature)
    batches = np.full((sum(counts), batch_size), PADDING, np.int64)
    row = 0
    for task, (start, size, count) in enumerate(
        zip(starts, sizes, counts, strict=True)
    ):
        per_round = -(-size // batch_size)
        order, current = np.empty(0, np.int64), -1
        for index in range(epoch * count, (epoch + 1) * count):
            number, place = divmod(index, per_round)
            if number != current:
                rng = np.random.default_rng([seed, task, number, 2])
                order, current = rng.permutation(size), number
            own = order[place * batch_size : (place + 1) * batch_size]
            batches[row, : len(own)] = start + own
            row += 1
    rng = np.random.default_rng([seed, epoch])
    return batches[rng.permutation(len(batches))]


def num_batches(
    sizes: Sequence[int],
    batch_size: int,
    *,
    cap: int = 0,
    temperature: float | None = None,
) -> tuple[int, ...]:
    """The number of batches of each task in an epoch.

    `cap`: examples of a task that count, at most; 0 for all. Without `temperature` a task
    has the batches that its capped size fills. With a temperature τ there are as many
    batches in all, divided in proportion to the capped sizes to the power 1/τ: τ = 1 is
    proportional to them, and the larger τ, the more equal the numbers. Every task has a
    batch at least; the others are rounded by largest remainders.

    Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified
    Text-to-Text Transformer", section 3.5.2 (there without a fixed total).
    """
    capped = np.minimum(sizes, cap) if cap else np.asarray(sizes)
    whole = -(-capped // batch_size)
    if temperature is None:
        return tuple(map(int, whole))
    # Divided by the largest, so that no power overflows.
    weights = (capped / capped.max()) ** (1 / temperature)
    return apportion(weights, int(whole.sum()))


def apportion(weights: np.ndarray, total: int) -> tuple[int, ...]:
    """Divides `total` in proportion to positive `weights`, with at least 1 for each.

    Weights that come to less than 1 get 1, and the rest is divided among the others, by
    largest remainders; of equal remainders the first counts.

    Raises:
      ValueError: `total` is less than the number of weights.
    """
    if total < len(weights):
        raise ValueError(f"`total` must be at least {len(weights)}; found {total}.")
    counts = np.ones(len(weights), np.int64)
    is_open = np.ones(len(weights), bool)
    while is_open.any():
        left = total - np.sum(counts[~is_open])
        quotas = left * weights / weights[is_open].sum()
        small = is_open & (quotas < 1)
        if small.any():
            is_open &= ~small
            continue
        counts[is_open] = np.floor(quotas[is_open])
        remainders = np.where(is_open, quotas - counts, -1)
        most = np.argsort(-remainders, kind="stable")[: total - counts.sum()]
        counts[most] += 1
        break
    return tuple(map(int, counts))
