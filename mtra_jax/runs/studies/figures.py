"""A study with finished runs -> pictures of it, where one helps: PNG and PDF files."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtra_jax.reports.comparisons import comparison
from mtra_jax.reports.pictures import drawing, figures
from mtra_jax.reports.statistics.seeds import AVG, figure
from mtra_jax.runs.studies import analysed_runs, experiments
from mtra_jax.runs.studies.experiments import Study, Table
from mtra_jax.runs.sweeps import sweep
from mtra_jax.runs.trained import analyses
from mtra_jax.runs.trials import run_specs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = {
    "data.fraction": "share of the training examples",
    "data.label_noise": "share of labels drawn anew",
}
NOISE, EPOCH = "L2 norm of the noise", "epoch"


def draw(study: Study, workdir: Path) -> list[Path]:
    """Writes the study's pictures into `workdir`; returns their paths, none for some.

    Experiments with a value that grows have curves, other tables of scores a diagram of
    critical differences, if there are enough methods and tasks for one.

    Raises:
      InputError: matplotlib is not installed.
    """
    made: dict[str, Figure] = {}
    for table in study.tables:
        directory = experiments.directory_of(workdir, table)
        for end, drawn in _of_table(study, table, directory).items():
            made["-".join(filter(None, (study.name, table.directory, end)))] = drawn
    return drawing.save_all(made, workdir / drawing.DIRECTORY) if made else []


def _of_table(study: Study, table: Table, directory: Path) -> dict[str, "Figure"]:
    """The pictures of a table, by the end of their names."""
    columns = study.experiment.columns
    if columns == "cost":
        return {}
    if columns == "analysis":
        return _of_analysis(study, table, directory)
    own = {(trial.name, trial.seed) for trial in table.sweep.trials}
    entries = [e for e in sweep.read(directory) if (e.name, e.seed) in own]
    if any(row.plain for row in study.experiment.rows):
        return _of_levels(study, table, entries)
    baselines = {
        trial.name: table.sweep.baseline_of(trial) for trial in table.sweep.trials
    }
    ranking = comparison.compare(entries, baseline=baselines).ranking
    return {} if ranking is None else {"": figures.critical_differences(ranking)}


def _of_levels(
    study: Study, table: Table, entries: Sequence[comparison.Entry]
) -> dict[str, "Figure"]:
    """Avg. against the last value of each row: a line for each method, or a picture.

    Values of a method's option are in a picture of that method, with its own value.
    """
    trials = dict(table.rows)
    averages = {
        (entry.name, entry.seed): figure(entry.results["test"], AVG)
        for entry in entries
    }
    groups: dict[str, dict[str, dict[float, str]]] = {}
    keys: dict[str, str] = {}
    for row in study.experiment.rows:
        if row.plain:
            key, value = row.overrides[-1]
            is_option = key.startswith("method.")
            end = f"{row.plain}-{key.rpartition('.')[2]}" if is_option else ""
            keys[end] = key
            own = groups.setdefault(end, {}).setdefault(row.plain, {})
            if is_option and not own and row.plain in trials:
                own[_value(table, trials[row.plain], key)] = trials[row.plain]
            own[float(value)] = trials[row.name]
    made = {}
    for end, lines in groups.items():
        key, levels = keys[end], sorted(next(iter(lines.values())))
        curves = {
            name: np.array(
                [
                    [averages.get((own[level], seed), math.nan) for level in levels]
                    for seed in study.seeds
                ],
                np.float64,
            )
            for name, own in lines.items()
        }
        label = AXES.get(key, key.rpartition(".")[2])
        made[end] = figures.robustness_curves(levels, curves, label)
    return made


def _value(table: Table, name: str, key: str) -> float:
    """The value of an option in the runs of a name."""
    trial = next(trial for trial in table.sweep.trials if trial.name == name)
    return float(run_specs.config_of(trial).method[key.removeprefix("method.")])


def _of_analysis(study: Study, table: Table, directory: Path) -> dict[str, "Figure"]:
    """A picture for each title, if the names of its columns are numbers."""
    values = analysed_runs.by_row(
        table.sweep.trials, directory, study.name, study.most_texts
    )
    lines = {label: values[trial] for label, trial in table.rows if trial in values}
    made = {}
    label = EPOCH if analyses.ANALYSES[study.name].is_of_epochs else NOISE
    titles = dict.fromkeys(t for seeds in lines.values() for own in seeds for t in own)
    for title in titles:
        names = _numbers(lines, title)
        if not names:
            continue
        curves = _curves(lines, title, names)
        end = "".join(c if c.isalnum() else "_" for c in title.lower()).strip("_")
        sizes = [float(name) for name in names]
        measure = title if label == EPOCH else "Avg."
        made[end] = figures.robustness_curves(sizes, curves, label, measure)
    axes = analyses.ANALYSES[study.name].plane
    if axes and lines:
        names = _numbers(lines, axes[0])
        both = [_curves(lines, title, names) for title in axes]
        paths = {
            name: np.stack([own[name].mean(axis=0) for own in both], axis=1)
            for name in lines
        }
        made[""] = figures.plane(paths, names, *axes)
    return made


def _curves(
    lines: Mapping[str, Sequence[analyses.Values]], title: str, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The figures [seeds, names] of each row; NaN where a run has none."""
    return {
        name: np.array(
            [[own.get(title, {}).get(n, math.nan) for n in names] for own in seeds]
        )
        for name, seeds in lines.items()
    }


def _numbers(lines: Mapping[str, Sequence[analyses.Values]], title: str) -> list[str]:
    """The names of the columns of `title` in their order; [] if one is not a number."""
    names = {
        name for seeds in lines.values() for own in seeds for name in own.get(title, {})
    }
    if not all(name.replace(".", "", 1).isdigit() for name in names):
        return []
    return sorted(names, key=float)
