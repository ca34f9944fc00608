"""Labels -> labels with a random share replaced; example counts -> a random subsample."""

import numpy as np

from mtra_jax.errors import InputError


def flip_labels(
    labels: np.ndarray,
    num_classes: int | None,
    share: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns a copy in which a random share of the labels is drawn anew.

    `labels`: class ids [N]; or, with `num_classes` None, regression values or the 0 and 1
    of several labels, [N, D]. `share` in [0, 1]: round(share * N) examples are chosen. A
    new class is drawn uniformly from all K = `num_classes`, the right one included, so
    that about 1 - 1/K of the chosen labels become wrong. New values, or a new set of
    labels, are the whole row of an example drawn uniformly, with replacement, from all N
    (the paper adds noise to classification only). With the same `rng` state a larger share
    changes a superset of the examples.

    Raises:
      InputError: `share` is outside [0, 1].

    Source: MTRA (ACL 2026), appendix C.4.

    >>> flip_labels(np.zeros(6, np.int32), 3, 0.5, np.random.default_rng(0)).shape
    (6,)
    """
    if not 0 <= share <= 1:
        raise InputError(f"data.label_noise must lie in [0, 1]; found {share}")
    size = len(labels)
    chosen = rng.permutation(size)[: round(share * size)]
    if num_classes is None:
        drawn = labels[rng.integers(size, size=size)] if size else labels
    else:
        drawn = rng.integers(num_classes, size=size)
    flipped = np.array(labels)
    flipped[chosen] = drawn[chosen]
    return flipped


def subsample(
    num_examples: int, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Returns sorted indices of a random `fraction` of the examples: int64 [M].

    M = round(fraction * N), but at least 1 if N is. With the same `rng` state the indices
    of a larger fraction include those of a smaller one.

    Raises:
      InputError: `fraction` is outside (0, 1].

    >>> len(subsample(10, 0.25, np.random.default_rng(0)))
    2
    """
    if not 0 < fraction <= 1:
        raise InputError(f"data.fraction must lie in (0, 1]; found {fraction}")
    size = max(1, round(fraction * num_examples))
    return np.sort(rng.permutation(num_examples)[:size])


def spread(
    num_examples: int,
    limit: int,
    classes: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns sorted indices of at most `limit` examples, spread over classes: int64 [M].

    `classes`: class ids [N], or None for regression. One random example of each class is
    chosen first, then random examples of any class. So a `limit` of at least the number
    of classes includes all classes; a plain random choice often misses rare ones. With
    the same `rng` state the indices of a larger limit include those of a smaller one.

    >>> classes = np.array([0, 0, 0, 0, 0, 0, 0, 1, 2])
    >>> sorted(classes[spread(9, 3, classes, np.random.default_rng(0))].tolist())
    [0, 1, 2]
    """
    order = rng.permutation(num_examples)
    if classes is not None:
        _, first = np.unique(classes[order], return_index=True)
        is_later = np.ones(num_examples, bool)
        is_later[first] = False
        # A stable sort preserves the random order within both groups.
        order = order[np.argsort(is_later, kind="stable")]
    return np.sort(order[:limit])
