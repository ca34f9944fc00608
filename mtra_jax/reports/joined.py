"""Files of several sweeps, such as the jobs of a cluster -> the runs of one table."""

from collections.abc import Sequence
from pathlib import Path

from mtra_jax.errors import InputError
from mtra_jax.reports import comparison
from mtra_jax.reports.comparison import Entry


def read(paths: Sequence[Path]) -> list[Entry]:
    """The runs of the files, in their order.

    Raises:
      InputError: a file cannot be read or is damaged; a run is in two files, or has other
        tasks than the first.
    """
    entries: list[Entry] = []
    places: dict[tuple[str, int], Path] = {}
    for path in paths:
        own = comparison.read(path)
        for entry in own:
            comparison.check_same_tasks(entry, (entries or own)[0], str(path))
            first = places.setdefault((entry.name, entry.seed), path)
            if first is not path:
                raise InputError(
                    f"{path}: {entry.name}, seed {entry.seed} is in {first} already; "
                    "expected each run once"
                )
        entries += own
    return entries
