"""Numbers of examples by label -> a line that names the labels of a task."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from mtra_jax import metrics
from mtra_jax.tasks import Task

_MOST = 12  # labels; of more the extremes are shown


def line(name: str, counts: Mapping[str, int]) -> str:
    """The labels of task `name` with their numbers; of many the rarest and commonest.

    >>> line("reviews", {"bad": 18, "godo": 1, "good": 17})
    'reviews: bad 18, godo 1, good 17'
    """
    if len(counts) <= _MOST:
        return f"{name}: {_listed(counts)}"
    ordered = sorted(counts, key=lambda label: counts[label])
    rare = {label: counts[label] for label in ordered[:5]}
    common = {label: counts[label] for label in ordered[-3:]}
    return (
        f"{name}: {len(counts)} labels, the rarest {_listed(rare)}, the most common "
        f"{_listed(common)}"
    )


def absent(
    tasks: Iterable[Task], labels: Mapping[str, np.ndarray], split: str
) -> Iterator[str]:
    """Yields a line for each task with classes or labels that no scored example has.

    `labels`: by task name, as in `metrics.score`. Only where a metric counts them as 0.
    """
    for task in tasks:
        names, affected = metrics.zeros(task, labels[task.name])
        if names:
            listed = ", ".join(names)
            if len(names) > _MOST:
                listed = f"{', '.join(names[:5])} and {len(names) - 5} more labels"
            yield (
                f"{task.name}: no {split} example of {listed}, which counts as 0 in "
                f"{', '.join(affected)}"
            )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {number}" for label, number in counts.items())
