"""Training examples and a seed -> the demonstrations of a task's prompts."""

import collections
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from mtra_jax.data.splits.examples import Examples
from mtra_jax.errors import InputError
from mtra_jax.prompting.prompts import Demonstration
from mtra_jax.tasks import Task


def draw(
    task: Task, train: Examples, test: Examples, number: int, seed: int
) -> list[Demonstration]:
    """Draws `number` training examples whose texts are not test texts, in random order.

    They are balanced over groups: the classes; the labels of a multi-label task, and the
    examples without a label; or `number` parts of the examples sorted by the first
    dimension of a regression. With fewer examples than groups, the groups are drawn, too.
    The draw depends on the seed, the task's name, its examples and nothing else.

    Raises:
      InputError: there are fewer than `number` such examples.
    """
    if not number:
        return []
    tested = set(_texts(test))
    rows = np.array([i for i, t in enumerate(_texts(train)) if t not in tested], int)
    if len(rows) < number:
        raise InputError(
            f"task {task.name}: {len(rows)} training examples whose texts are not test "
            f"texts; expected at least {number}, the demonstrations"
        )
    rng = np.random.default_rng([seed, *task.name.encode()])
    order = rng.permutation(rows)
    groups = _groups(task, train.labels, order, number)
    rng.shuffle(groups)
    chosen = list(itertools.islice(_in_turn(groups), number))
    rng.shuffle(chosen)
    texts = list(_texts(train))
    return [
        Demonstration(texts[i][0], texts[i][1], train.labels[i].copy()) for i in chosen
    ]


def _texts(part: Examples) -> Iterator[tuple[str, str]]:
    """The two texts of each example; the second is "" but for pairs."""
    second = part.second_texts or [""] * len(part.texts)
    return zip(part.texts, second, strict=True)


def _groups(
    task: Task, labels: np.ndarray, order: np.ndarray, number: int
) -> list[list[int]]:
    """The rows `order` in groups, in that order within each group. None is empty."""
    own = labels[order]
    if task.is_classification:
        masks: Iterable[np.ndarray] = (own == c for c in range(task.num_outputs))
    elif task.kind == "multi_label":
        masks = [*(own.T == 1), ~own.any(axis=1)]
    else:
        by_value = np.argsort(own[:, 0], kind="stable")
        # Sorted places are in the random order of `order` again.
        parts = np.array_split(by_value, number)
        return [order[np.sort(part)].tolist() for part in parts]
    groups = [order[mask].tolist() for mask in masks]
    return [group for group in groups if group]


def _in_turn(groups: list[list[int]]) -> Iterator[int]:
    """Yields a row of each group in turn, each row once, until all rows are given."""
    given: set[int] = set()
    queues = [collections.deque(group) for group in groups]
    while any(queues):
        for queue in queues:
            while queue and queue[0] in given:
                queue.popleft()
            if queue:
                given.add(queue[0])
                yield queue.popleft()
