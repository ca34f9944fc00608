"""Methods, presets and seeds -> the trials of a sweep; a trial -> its configuration."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import config_files, config_values
from mtra_jax.errors import InputError, check_name, did_you_mean, shown
from mtra_jax.runs.trials.found_toml import OWN_KEYS, Tuning

Overrides = tuple[tuple[str, str], ...]
"""(dotted key, text), as on a command line."""
Settings = Mapping[str, Any] | Sequence[tuple[str, Any]]
"""The same in a file of sweeps, where values may also be numbers or truth values."""


class Trial(NamedTuple):
    """One training run; `name` is its row in the table, the same for all seeds.

    `baseline` is the row that Δp and p of this one refer to; "" for that of the sweep.
    """

    name: str
    method: str
    preset: str
    seed: int
    overrides: Overrides = ()
    baseline: str = ""

    @property
    def directory(self) -> str:
        """Its work directory, within that of the sweep.

        >>> Trial("mtra w/o TA", "mtra", "tiny_synthetic", 2).directory
        'mtra-w-o-ta/seed2'
        """
        return f"{_slug(self.name)}/seed{self.seed}"


class Sweep(NamedTuple):
    """Trials in the order of the table, and the name of the row for Δp and p.

    `tuning`: whose values the trials have, see `tuned_rows.tuned`. `optional`: trials of
    rows that are trained only if a command names them, see `with_optional`.
    """

    trials: tuple[Trial, ...]
    baseline: str = "ew"
    tuning: Tuning | None = None
    optional: tuple[Trial, ...] = ()

    def baseline_of(self, trial: Trial) -> str:
        """The row that Δp and p of the row of `trial` refer to."""
        return trial.baseline or self.baseline


def grid(
    methods: Iterable[str],
    preset: str,
    seeds: Iterable[int],
    overrides: Settings = (),
    baselines: Mapping[str, str] | None = None,
) -> tuple[Trial, ...]:
    """Every method with every seed; rows are named after the methods.

    `baselines`: by method, the baseline of its row if it is not the sweep's.

    Raises:
      InputError: `overrides` are not pairs, or `seeds` not whole numbers.
    """
    own, numbers, shared = baselines or {}, _numbers(seeds), _pairs(overrides)
    return tuple(
        Trial(method, method, preset, seed, shared, own.get(method, ""))
        for method in methods
        for seed in numbers
    )


def variants(
    method: str,
    changes: Mapping[str, Settings],
    preset: str,
    seeds: Iterable[int],
    overrides: Settings = (),
    baseline: str = "",
) -> tuple[Trial, ...]:
    """One method with every seed under each of `changes`: row name -> overrides.

    Raises:
      InputError: overrides are not pairs, or `seeds` not whole numbers.
    """
    numbers, shared = _numbers(seeds), _pairs(overrides)
    return tuple(
        Trial(name, method, preset, seed, shared + pairs, baseline)
        for name, change in changes.items()
        for pairs in [_pairs(change)]
        for seed in numbers
    )


def _pairs(settings: Settings) -> Overrides:
    """Keys and values as the text of a command line.

    >>> _pairs({"epochs": 10, "method.logarithm": False, "tasks": ("irony", "stance")})
    (('epochs', '10'), ('method.logarithm', 'false'), ('tasks', 'irony,stance'))
    """
    pairs = settings.items() if isinstance(settings, Mapping) else settings
    listed = [*pairs] if isinstance(pairs, Iterable) else [pairs]
    for pair in listed:
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2
        if not is_pair or not isinstance(pair[0], str):
            raise InputError(
                f"overrides {shown(settings)}; expected pairs of a key and a value, such "
                'as (("epochs", 10), ("sampling", "joint")), or a dictionary'
            )
    return tuple((key, config_values.as_text(value)) for key, value in listed)


def _numbers(seeds: Iterable[int]) -> tuple[int, ...]:
    numbers = [*seeds] if isinstance(seeds, Iterable) else [seeds]
    if not isinstance(seeds, Iterable) or any(type(n) is not int for n in numbers):
        raise InputError(
            f"seeds {shown(seeds)}; expected whole numbers, such as (0, 1, 2)"
        )
    return tuple(numbers)


def config_of(trial: Trial, overrides: Sequence[tuple[str, str]] = ()) -> ConfigDict:
    """The configuration of `trial`; the user's `overrides` replace values but the seed.

    Raises:
      InputError: an unknown name or key, a value that does not fit, or a key of `OWN_KEYS`.
    """
    for key, _ in overrides:
        if key in OWN_KEYS:
            advice = "another key"
            if key == "seed":
                advice = "--seeds of `sweep` or `experiment`"
            raise InputError(f"--config.{key}: set by the sweep; expected {advice}")
    try:
        config = configs.preset(trial.preset, trial.method)
        return configs.apply(
            config, [*trial.overrides, *overrides, ("seed", str(trial.seed))]
        )
    except InputError as error:
        raise InputError(f"{trial.name}: {error}") from error


def load(spec: str, *, is_shipped: bool = False) -> Sweep:
    """The sweep of `FILE:NAME`, from `get_sweep(NAME)` of the file.

    `is_shipped`: see `preset_files.find`.

    Raises:
      InputError: no such file or sweep, or trials that `check` refuses.
    """
    path, sweep = config_files.call(
        spec,
        "get_sweep",
        "configs/sweep.py",
        names_line=True,
        is_shipped=is_shipped,
    )
    if not isinstance(sweep, Sweep):
        raise InputError(f"{path}: get_sweep returns {shown(sweep)}; expected a Sweep")
    check(sweep._replace(trials=sweep.trials + sweep.optional), spec)
    return sweep


def with_optional(sweep: Sweep, rows: Sequence[str]) -> Sweep:
    """The sweep with those of its optional trials whose rows are in `rows`, at the end.

    >>> ew, cagrad = (tuple(grid([x], "tiny_synthetic", [0])) for x in ("ew", "cagrad"))
    >>> both = with_optional(Sweep(ew, optional=cagrad), ["cagrad"])
    >>> [trial.name for trial in both.trials]
    ['ew', 'cagrad']
    """
    named = tuple(trial for trial in sweep.optional if trial.name in rows)
    rest = tuple(trial for trial in sweep.optional if trial.name not in rows)
    return sweep._replace(trials=sweep.trials + named, optional=rest)


def with_seeds(sweep: Sweep, seeds: Sequence[int]) -> Sweep:
    """The sweep with `seeds` for each of its rows.

    Raises:
      InputError: trials of a row differ in more than the seed.

    >>> two = with_seeds(Sweep(tuple(grid(["ew", "si"], "tiny_synthetic", [0]))), [3, 5])
    >>> [(trial.name, trial.seed) for trial in two.trials]
    [('ew', 3), ('ew', 5), ('si', 3), ('si', 5)]
    """
    rows: dict[str, Trial] = {}
    for trial in sweep.trials:
        first = rows.setdefault(trial.name, trial)
        if trial._replace(seed=first.seed) != first:
            raise InputError(
                f"--seeds: {trial.name!r} has other values with seed {trial.seed} than "
                f"with {first.seed}; expected rows whose runs differ in the seed alone"
            )
    trials = (row._replace(seed=seed) for row in rows.values() for seed in seeds)
    return sweep._replace(trials=tuple(trials))


def check(sweep: Sweep, source: str) -> None:
    """Raises InputError, beginning with `source`, if trials cannot form a table.

    That is so if two trials share a directory, a name has no letter or digit from which
    to make a directory name, a baseline is missing, or seeds of a row have different ones.
    """
    names = list(dict.fromkeys(trial.name for trial in sweep.trials))
    wanted = [sweep.baseline, *(sweep.baseline_of(trial) for trial in sweep.trials)]
    for baseline in wanted:
        if baseline not in names:
            hint = did_you_mean(baseline, names)
            raise InputError(f"{source}: no run of the baseline {baseline!r}; {hint}")
    baselines: dict[str, str] = {}
    for trial in sweep.trials:
        own = sweep.baseline_of(trial)
        first_own = baselines.setdefault(trial.name, own)
        if own != first_own:
            raise InputError(
                f"{source}: {trial.name!r} has the baselines {first_own!r} and {own!r}; "
                "expected one for all seeds"
            )
    owners: dict[str, Trial] = {}
    for trial in sweep.trials:
        check_name(trial.name, f"{source}: name")
        if not _slug(trial.name):
            raise InputError(
                f"{source}: name {trial.name!r}; expected a letter or digit"
            )
        first = owners.get(trial.directory)
        if first is not None:
            raise InputError(
                f"{source}: {first.name!r} and {trial.name!r}, seed {trial.seed}, both in "
                f"{trial.directory}; expected names and seeds that differ"
            )
        owners[trial.directory] = trial


def _slug(name: str) -> str:
    """`name` in lower case; a dash replaces characters other than a-z, 0-9 and _."""
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")
