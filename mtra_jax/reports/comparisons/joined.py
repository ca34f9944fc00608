"""Files of several sweeps, such as the jobs of a cluster -> the runs of one table."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtra_jax.errors import InputError
from mtra_jax.reports.comparisons import comparison
from mtra_jax.reports.comparisons.comparison import Entry


class Source(NamedTuple):
    """A file of runs. `name`: begins the names of its rows; "" leaves them as they are."""

    path: Path
    name: str = ""


def read(sources: Sequence[Source]) -> list[Entry]:
    """The runs of the files, in their order.

    Raises:
      InputError: a file cannot be read or is damaged; a run is in two files, or has other
        tasks than the first.
    """
    entries: list[Entry] = []
    places: dict[tuple[str, int], Path] = {}
    labels: dict[str, str] = {}
    for path, label in sources:
        own = comparison.read(path)
        if label:
            own = _named(own, label)
        for entry in own:
            if labels.setdefault(entry.name, label) != label:
                raise InputError(
                    f"{path}: a row {entry.name!r} is in another sweep already; expected "
                    "other names before the rows"
                )
            comparison.check_same_tasks(entry, (entries or own)[0], str(path))
            first = places.setdefault((entry.name, entry.seed), path)
            if first is not path:
                raise InputError(
                    f"{path}: {entry.name}, seed {entry.seed} is in {first} already; "
                    "expected each run once, or names of the rows of each sweep, as A=DIR "
                    "B=DIR"
                )
        entries += own
    return entries


def _named(entries: Sequence[Entry], label: str) -> list[Entry]:
    """The runs with `label` before the names of their rows and baselines."""
    baselines = comparison.baselines_of(entries)
    return [
        entry._replace(
            name=f"{label} {entry.name}",
            values={
                "method": entry.name,
                **entry.values,
                "label": label,
                "baseline": f"{label} {baselines[entry.name]}",
            },
        )
        for entry in entries
    ]
