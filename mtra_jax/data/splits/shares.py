"""Training examples and shares -> the examples of the splits that have no data.

Which split an example goes to depends on its texts, its labels and the seed, not on the
name of the task: tasks that are read from the same texts have mostly the same test
texts, so a test text of one task is rarely a training text of another.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from mtra_jax.data.splits.examples import Examples, take
from mtra_jax.errors import InputError
from mtra_jax.tasks import Task

_ORDER = ("test", "validation")  # the first to choose


def cut(
    task: Task, examples: Examples, shares: Mapping[str, float], seed: int, where: str
) -> dict[str, Examples]:
    """Divides `examples` into "train" and the splits of `shares`, each in its order.

    A split gets its share of the examples of every class, rounded so that the shares of
    all classes together are right, and every class keeps at least one training example.
    Regression has no classes; an example of a multi-label task counts for its rarest
    label. Examples of a class with the same texts stay together.

    Raises:
      InputError: too few examples for a split to get any; the message begins with
      `where`.
    """
    strata = _strata(task, examples)
    sizes = np.bincount(strata)
    left = sizes - 1
    quotas = {}
    for split in _ORDER:
        if split in shares:
            quotas[split] = _quotas(sizes, shares[split], left)
            left = left - quotas[split]
    places = _places(examples, strata, quotas, seed)
    rows = {split: np.flatnonzero(places == split) for split in ("train", *quotas)}
    for split in quotas:
        if not len(rows[split]):
            number, distinct = np.count_nonzero(sizes), len(set(examples.texts))
            texts = f", {distinct} of them different," if distinct < len(strata) else ""
            hint = '; or kind = "regression"?' if _are_numbers(task) else ""
            raise InputError(
                f"{where}: {len(strata)} examples{texts} in {number} classes; none is left "
                f"for {split}, whose share is {shares[split]}; expected more examples, or "
                f"data for {split}{hint}"
            )
    return {split: take(examples, rows[split]) for split in rows}


def _are_numbers(task: Task) -> bool:
    """Whether the classes of a task are numbers, at least one of them with decimals."""
    try:
        values = [float(name) for name in task.labels]
    except ValueError:
        return False
    return task.is_classification and any(value % 1 for value in values)


def _strata(task: Task, examples: Examples) -> np.ndarray:
    """The class that each example counts for: integers [N]."""
    if task.kind == "classification":
        return examples.labels
    if task.kind == "regression":
        return np.zeros(len(examples.texts), np.int32)
    counts = examples.labels.sum(axis=0)
    rarest = np.where(examples.labels > 0, counts, np.inf).argmin(axis=1)
    has_label = examples.labels.any(axis=1)
    return np.where(has_label, rarest, task.num_outputs)


def _quotas(sizes: np.ndarray, share: float, left: np.ndarray) -> np.ndarray:
    """The examples of each class that a split gets: [C], at most `left`.

    By the largest remainder: the classes whose rounded share is furthest below the
    exact one get an example more.
    """
    exact = sizes * share
    quota = np.minimum(np.floor(exact).astype(int), np.maximum(left, 0))
    missing = max(1, int(sizes.sum() * share + 0.5)) - quota.sum()
    for number in np.argsort(quota - exact, kind="stable"):
        if missing > 0 and quota[number] < left[number]:
            quota[number] += 1
            missing -= 1
    return quota


def _places(
    examples: Examples,
    strata: np.ndarray,
    quotas: Mapping[str, np.ndarray],
    seed: int,
) -> np.ndarray:
    """The split of each example: strings [N]."""
    second = examples.second_texts or [""] * len(examples.texts)
    groups: dict[tuple[int, bytes], list[int]] = {}
    for row, texts in enumerate(zip(examples.texts, second, strict=True)):
        key = int(strata[row]), _digest(seed, texts)
        groups.setdefault(key, []).append(row)
    room = {split: quota.copy() for split, quota in quotas.items()}
    places = np.full(len(strata), "train", dtype="<U10")
    for stratum, digest in sorted(groups):
        rows = groups[stratum, digest]
        for split, free in room.items():
            if len(rows) <= free[stratum]:
                places[rows] = split
                free[stratum] -= len(rows)
                break
    return places


def _digest(seed: int, texts: tuple[str, str]) -> bytes:
    """Sixteen bytes that order texts at random; another seed gives another order."""
    content = json.dumps([seed, *texts]).encode()
    return hashlib.blake2b(content, digest_size=16).digest()
