"""A sweep and the values of a search -> the sweep with these values in its trials."""

from collections.abc import Sequence
from typing import Any

from mtra_jax.errors import InputError
from mtra_jax.runs.experiments import Overrides, Sweep, Trial
from mtra_jax.runs.search_values import HEAD, Tuning


def tuned(sweep: Sweep, tuning: Tuning) -> Sweep:
    """The sweep with the values that `tuning` has for the methods of its rows.

    They come after the values that all rows of the sweep share and before a row's own.
    A space with another name than its method's, such as `ew_tuned`, is a row after that of
    the method.

    Raises:
      InputError: a trial has another preset than the search.
    """
    has_rows = len({trial.name for trial in sweep.trials}) > 1
    shared = [
        pair
        for pair in sweep.trials[0].overrides
        if has_rows and all(pair in trial.overrides for trial in sweep.trials)
    ]
    trials: list[Trial] = []
    for trial in sweep.trials:
        check_preset(tuning, trial.preset)
        trials.append(trial)
        if trial.name == trial.method:
            trials += [
                trial._replace(name=chosen.row, baseline=sweep.baseline_of(trial))
                for chosen in tuning.rows.values()
                if chosen.row and chosen.method == trial.method
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
                    f"--config.{key}: {tuning.path} sets it for {name}; expected another "
                    "key, or no --found"
                )


def described(tuning: Tuning | None, trial: Trial) -> dict[str, Any] | None:
    """How a trial was tuned, for `results.jsonl`; None if it was not."""
    chosen = tuning.of(trial.name, trial.method) if tuning else None
    if tuning is None or chosen is None:
        return None
    return {"name": chosen.name, "trials": chosen.num_trials, "file": tuning.path}
