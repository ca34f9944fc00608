"""A sweep and the values of a search -> the sweep with these values in its trials."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from mtra_jax import config as configs
from mtra_jax import config_values
from mtra_jax.errors import InputError
from mtra_jax.runs.directory import layout
from mtra_jax.runs.trials.found_toml import HEAD, OWN_KEYS, Tuning
from mtra_jax.runs.trials.run_specs import Overrides, Sweep, Trial
from mtra_jax.tasks import BENCHMARKS, OWN

DATA, ENCODER, SELECTION = "data.tasks", "backbone.path", "selection"
SHOWN = {DATA, ENCODER}
"""Tasks and encoder may move, but others are more often the reason for another path."""


def tuned(sweep: Sweep, tuning: Tuning) -> Sweep:
    """The sweep with the values that `tuning` has for the methods of its rows.

    They come after the values that all rows of the sweep share and before a row's own.
    A space with another name than its method's, such as `ew_tuned`, is a row after that of
    the method, unless the sweep has it.

    Raises:
      InputError: a trial has another preset than the search.
    """
    has_rows = len({trial.name for trial in sweep.trials}) > 1
    shared = [
        pair
        for pair in sweep.trials[0].overrides
        if has_rows and all(pair in trial.overrides for trial in sweep.trials)
    ]
    there = {trial.name for trial in sweep.trials}
    trials: list[Trial] = []
    for trial in sweep.trials:
        check_preset(tuning, trial.preset)
        trials.append(trial)
        if trial.name == trial.method:
            trials += [
                trial._replace(name=chosen.row, baseline=sweep.baseline_of(trial))
                for chosen in tuning.rows.values()
                if chosen.method == trial.method
                and chosen.row
                and chosen.row not in there
            ]
    names = list(dict.fromkeys(trial.name for trial in trials))
    trials.sort(key=lambda trial: names.index(trial.name))
    made = tuple(
        trial._replace(
            overrides=(
                *(pair for pair in trial.overrides if pair in shared),
                *values_of(tuning, trial.name, trial.method),
                *(pair for pair in trial.overrides if pair not in shared),
            )
        )
        for trial in trials
    )
    return sweep._replace(trials=made, tuning=tuning)


def values_of(tuning: Tuning | None, row: str, method: str) -> Overrides:
    """The values of a row of a table; () if it was not tuned."""
    chosen = tuning.of(row, method) if tuning else None
    return chosen.values if chosen else ()


def check_preset(tuning: Tuning, preset: str) -> None:
    """Raises InputError if the search was one with another preset."""
    if tuning.preset != preset:
        raise InputError(
            f"{tuning.path}: {HEAD}.preset is {tuning.preset!r}; expected {preset!r}, as "
            "in these runs"
        )


def check_overrides(
    tuning: Tuning | None, overrides: Sequence[tuple[str, str]]
) -> None:
    """Raises InputError if the user sets a key that the search has chosen."""
    if tuning is None:
        return
    for name, chosen in tuning.rows.items():
        for key, _ in overrides:
            if key in dict(chosen.values):
                raise InputError(
                    f"--config.{key}: {tuning.path} sets it for {name}; expected the "
                    "command without this flag, or without --found"
                )


def difference(
    trials: Sequence[Trial],
    tuning: Tuning | None,
    overrides: Sequence[tuple[str, str]],
) -> str:
    """How the tuned `trials` differ from the search, on one line; "" if they do not.

    What a search on other data or with other epochs has chosen may not suit these runs.
    Keys are those that the search, the user or all trials set, without the values that were
    searched. `overrides`: the user's.

    Raises:
      InputError: the file names an unknown key, or a value that does not fit.
    """
    if tuning is None:
        return ""
    own = [trial for trial in trials if tuning.of(trial.name, trial.method)]
    searched = {key for row in tuning.rows.values() for key, _ in row.values}
    shared = [
        pair
        for pair in (own[0].overrides if own else ())
        if all(pair in trial.overrides for trial in own)
    ]
    pairs = (*tuning.overrides, *shared, *overrides)
    hidden = {*searched, *layout.FREE_KEYS, *OWN_KEYS}
    hidden -= SHOWN & dict(tuning.overrides).keys()  # files of older versions lack them
    keys = dict.fromkeys(key for key, _ in pairs if key not in hidden)
    there: dict[str, list[str]] = {key: [] for key in keys}
    here: dict[str, list[str]] = {key: [] for key in keys}
    for trial in dict.fromkeys(trial._replace(seed=0) for trial in own):
        try:
            before = _values(trial, tuning.overrides)
        except InputError as error:
            raise InputError(f"{tuning.path}: {HEAD}.overrides: {error}") from error
        now = _values(trial, (*trial.overrides, *overrides))
        for key in keys:
            there[key].append(before[key])
            here[key].append(now[key])
    differing = [key for key in keys if there[key] != here[key]]
    if not differing:
        return ""
    sides = (
        ", ".join(f"{key}={' or '.join(dict.fromkeys(side[key]))}" for key in differing)
        for side in (there, here)
    )
    text = f"{tuning.path}: found with {'; these runs have '.join(sides)}"
    if SELECTION in differing:
        text += f"; --config.{SELECTION}={there[SELECTION][0]} chooses epochs as there"
    return text


def _values(trial: Trial, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The values by dotted key, as text, after `pairs` are set in the trial's preset."""
    config = configs.preset(trial.preset, trial.method)
    for key, text in pairs:
        config_values.set_text(config, key, text)
    values = config_values.flat(config)
    path = config.backbone.path
    is_new = not (path or config.warm_start)
    values[ENCODER] = "new" if is_new else PurePath(path).name or path
    if config.benchmark != OWN:
        names = configs.task_names(config)
        is_whole = names == BENCHMARKS[config.benchmark].task_names
        values["tasks"] = () if is_whole else names
    return {key: _text(value) for key, value in values.items()}


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(sorted(value)) or "all"
    return str(value)


def described(tuning: Tuning | None, trial: Trial) -> dict[str, Any] | None:
    """How a trial was tuned, for `results.jsonl`; None if it was not."""
    chosen = tuning.of(trial.name, trial.method) if tuning else None
    if tuning is None or chosen is None:
        return None
    return {"name": chosen.name, "trials": chosen.num_trials, "file": tuning.path}
