"""Trials and the name of an analysis -> the figures of the finished ones, by row."""

from collections.abc import Iterable
from pathlib import Path

from mtra_jax.runs.directory import layout
from mtra_jax.runs.trained import analyses
from mtra_jax.runs.trained.analyses import Values
from mtra_jax.runs.trials.run_specs import Trial


def by_row(
    trials: Iterable[Trial], directory: Path, name: str, most_texts: int = 0
) -> dict[str, list[Values]]:
    """The `analyses.figures` of the finished runs of `trials` below `directory`."""
    values: dict[str, list[Values]] = {}
    for trial in trials:
        place = directory / trial.directory
        if layout.read_results(place) is not None:
            own = analyses.figures(place, name, most_texts)
            values.setdefault(trial.name, []).append(own)
    return values
