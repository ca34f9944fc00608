"""A TOML file that defines own tasks -> the tasks and their examples."""

from collections.abc import Sequence
from typing import NamedTuple

from mtra_jax.data.sources import SPLITS, Splits
from mtra_jax.tasks import Benchmark


class Data(NamedTuple):
    """Tasks with their examples."""

    benchmark: Benchmark
    splits: Splits

    def select(self, names: Sequence[str]) -> "Data":
        """Only the tasks `names`."""
        splits = {name: self.splits[name] for name in names}
        return Data(self.benchmark.select(names), splits)


def names(path: str) -> tuple[str, ...]:
    raise NotImplementedError(path)


def load(path: str, names: tuple[str, ...] = ()) -> Data:
    raise NotImplementedError(path)


def read(path: str, benchmark: Benchmark, splits: Sequence[str] = SPLITS) -> Splits:
    raise NotImplementedError(path)
