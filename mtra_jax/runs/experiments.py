"""Methods, presets and seeds -> the runs of a sweep, as data; a run -> its configuration."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import config_files
from mtra_jax.errors import InputError, check_name, did_you_mean, shown

Overrides = tuple[tuple[str, str], ...]
"""(dotted key, text), as on a command line."""
# A sweep sets these itself.
OWN_KEYS = ("seed", "method.name")


class Run(NamedTuple):
    """One training: `name` is its row of the table, the same for all seeds."""

    name: str
    method: str
    preset: str
    seed: int
    overrides: Overrides = ()

    @property
    def directory(self) -> str:
        """Where its files lie in the work directory of the sweep.

        >>> Run("mtra w/o TA", "mtra", "tiny_synthetic", 2).directory
        'mtra-w-o-ta/seed2'
        """
        return f"{_slug(self.name)}/seed{self.seed}"


class Sweep(NamedTuple):
    """Runs in the order of the table, and the name of those that Δp and p refer to."""

    runs: tuple[Run, ...]
    baseline: str = "ew"


def grid(
    methods: Iterable[str],
    preset: str,
    seeds: Sequence[int],
    overrides: Overrides = (),
) -> tuple[Run, ...]:
    """Every method with every seed; the rows have the methods' names."""
    return tuple(
        Run(method, method, preset, seed, tuple(overrides))
        for method in methods
        for seed in seeds
    )


def variants(
    method: str,
    changes: Mapping[str, Overrides],
    preset: str,
    seeds: Sequence[int],
    overrides: Overrides = (),
) -> tuple[Run, ...]:
    """One method with every seed under each of `changes`: row name -> overrides."""
    return tuple(
        Run(name, method, preset, seed, (*overrides, *change))
        for name, change in changes.items()
        for seed in seeds
    )


def config_of(run: Run, overrides: Sequence[tuple[str, str]] = ()) -> ConfigDict:
    """The configuration of `run`; `overrides`, the user's, come after its own.

    Raises:
      InputError: an unknown name or key, a value that does not fit, a key of the sweep's.
    """
    for key, _ in overrides:
        if key in OWN_KEYS:
            raise InputError(f"--config.{key}: set by the sweep; expected another key")
    try:
        config = configs.preset(run.preset, run.method)
        return configs.apply(
            config, [*run.overrides, *overrides, ("seed", str(run.seed))]
        )
    except InputError as error:
        raise InputError(f"{run.name}: {error}") from error


def load(spec: str) -> Sweep:
    """The sweep of `FILE:NAME`; `get_sweep(NAME)` of the file gives it.

    Raises:
      InputError: no such file or sweep, or runs that cannot stand beside each other.
    """
    path, sweep = config_files.call(spec, "get_sweep", "configs/sweep.py")
    if not isinstance(sweep, Sweep):
        raise InputError(f"{path}: get_sweep gives {shown(sweep)}; expected a Sweep")
    check(sweep, spec)
    return sweep


def check(sweep: Sweep, source: str) -> None:
    """Raises InputError that begins with `source` where two runs share a directory, a
    name leaves none, or there is no baseline.
    """
    names = list(dict.fromkeys(run.name for run in sweep.runs))
    if sweep.baseline not in names:
        hint = did_you_mean(sweep.baseline, names)
        raise InputError(f"{source}: no run of the baseline {sweep.baseline!r}; {hint}")
    seen: dict[str, Run] = {}
    for run in sweep.runs:
        check_name(run.name, f"{source}: name")
        if not _slug(run.name):
            raise InputError(f"{source}: name {run.name!r}; expected a letter or digit")
        first = seen.get(run.directory)
        if first is not None:
            raise InputError(
                f"{source}: {first.name!r} and {run.name!r}, seed {run.seed}, both in "
                f"{run.directory}; expected names and seeds that differ"
            )
        seen[run.directory] = run


def _slug(name: str) -> str:
    """Lower-case letters, digits and underscores; a dash for whatever else there is."""
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")
