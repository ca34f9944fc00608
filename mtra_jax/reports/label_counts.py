"""Numbers of training examples by label -> a line that names the labels of a task."""

from collections.abc import Mapping

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


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {number}" for label, number in counts.items())
