"""An experiment of the papers, a scale and a backbone -> the sweeps that it needs.

`configs/experiments.py` holds the experiments and scales as literal tables.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from mtra_jax import config as configs
from mtra_jax import config_files
from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.runs.trials import run_specs, tuned_rows
from mtra_jax.runs.trials.found_toml import Tuning
from mtra_jax.runs.trials.run_specs import Overrides, Sweep, Trial

SPEC = "configs/experiments.py"
FRACTION = "data.fraction"
TASKS = "tasks"
Chosen = TypeVar("Chosen")


class Row(NamedTuple):
    """A row of a table: a method with some values, and the row of Δp and p.

    A `data.fraction` here is a share of the training examples of the scale. `plain`: the
    name of the same trials without the last override, if it changes nothing.
    """

    name: str
    method: str
    overrides: Overrides = ()
    baseline: str = "ew"
    plain: str = ""


class Part(NamedTuple):
    """A table of an experiment with several: its tasks and the title."""

    title: str
    tasks: tuple[str, ...]

    @property
    def directory(self) -> str:
        """Its directory, within that of the experiment."""
        return "-".join(self.tasks)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Rows to train, and the columns of their table.

    `papers`: the tables of the papers. `columns`: "summary" for Avg. and Δp alone, "tasks"
    for the figures of each task too, "cost" for parameters, memory and time, "analysis" for
    the row of `analyses.ANALYSES` with the experiment's name. `parts`: by benchmark, the
    groups of tasks with a table each; {} for one table of all tasks. `prompts`: the numbers
    of demonstrations with which a language model may be asked, () for none.
    """

    about: str
    papers: str
    rows: tuple[Row, ...]
    columns: Literal["summary", "tasks", "cost", "analysis"] = "tasks"
    parts: Mapping[str, tuple[Part, ...]] = dataclasses.field(default_factory=dict)
    prompts: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of the paper's setting is trained.

    `backbone`, `benchmark` and `seeds` are defaults. `overrides`: for every run. `tasks`:
    by benchmark, those of experiments without parts; all of a benchmark that is missing.
    `most_texts`: by experiment, the texts of each task and split that an analysis reads;
    all of them in an experiment that is missing.
    """

    about: str
    backbone: str
    benchmark: str
    seeds: tuple[int, ...]
    overrides: Overrides = ()
    tasks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    most_texts: Mapping[str, int] = dataclasses.field(default_factory=dict)


class Table(NamedTuple):
    """A table of a study: its sweep, and (name of the row, name of its trials).

    Several rows may show the same trials. `directory`: within the study's work directory.
    """

    title: str
    tasks: tuple[str, ...]
    directory: str
    sweep: Sweep
    rows: list[tuple[str, str]]


class Study(NamedTuple):
    """An experiment with a backbone, a benchmark, a scale and seeds.

    `most_texts`: of each task and split that its analysis reads; 0 for all.
    """

    name: str
    experiment: Experiment
    backbone: str
    benchmark: str
    scale: str
    seeds: tuple[int, ...]
    tables: list[Table]
    most_texts: int = 0

    @property
    def preset(self) -> str:
        """The preset of `configs/mtra.py` that all runs start from."""
        return f"{self.backbone}_{self.benchmark}"

    @property
    def title(self) -> str:
        """The title of the study's tables."""
        seeds = ", ".join(map(str, self.seeds))
        word = "seeds" if len(self.seeds) > 1 else "seed"
        return f"{self.name}, {self.preset}, scale {self.scale}, {word} {seeds}"


class Catalogue(NamedTuple):
    """The tables of `configs/experiments.py`."""

    experiments: Mapping[str, Experiment]
    scales: Mapping[str, Scale]
    backbones: Sequence[str]
    benchmarks: Sequence[str]


def load() -> Catalogue:
    """The experiments and scales, from `get_catalogue()` of `SPEC`.

    Raises:
      InputError: no such file, or the file does not define them.
    """
    path, catalogue = config_files.call(SPEC, "get_catalogue", SPEC, is_shipped=True)
    if not isinstance(catalogue, Catalogue):
        raise InputError(
            f"{path}: get_catalogue returns {shown(catalogue)}; expected a Catalogue"
        )
    return catalogue


def make(
    catalogue: Catalogue,
    name: str,
    scale: str = "paper",
    backbone: str = "",
    benchmark: str = "",
    seeds: Sequence[int] = (),
    tuning: Tuning | None = None,
    most_texts: int | None = None,
) -> Study:
    """The study of experiment `name`; empty arguments are the scale's defaults.

    `tuning`: values of a search, which come after those of the scale and before a row's.
    `most_texts`: see `Study`; None for the scale's.

    Raises:
      InputError: an unknown name, a benchmark that the experiment does not have, a search
        of another preset, or `most_texts` of an experiment without an analysis.
    """
    experiment = _choose("experiment", name, catalogue.experiments)
    chosen = _choose("--scale", scale, catalogue.scales)
    if most_texts is not None and experiment.columns != "analysis":
        raise InputError(
            f"--texts {most_texts}: {name} computes nothing from trained models; expected "
            "no --texts"
        )
    own = experiment.parts
    benchmark = benchmark or (
        chosen.benchmark if not own or chosen.benchmark in own else next(iter(own))
    )
    backbone = backbone or chosen.backbone
    for flag, value, names in (
        ("--backbone", backbone, catalogue.backbones),
        ("--benchmark", benchmark, catalogue.benchmarks),
    ):
        if value not in names:
            raise InputError(f"{flag} {value}: {did_you_mean(value, names)}")
    if own and benchmark not in own:
        raise InputError(
            f"--benchmark {benchmark}: {name} has no groups of its tasks; expected "
            f"{' or '.join(own)}"
        )
    seeds = tuple(seeds) or chosen.seeds
    groups = own.get(benchmark, (Part("", ()),))
    preset = f"{backbone}_{benchmark}"
    if tuning:
        tuned_rows.check_preset(tuning, preset)
        experiment = _with_tuned_rows(experiment, tuning)
    tables = [
        _table(experiment, part, preset, seeds, chosen, benchmark, tuning)
        for part in groups
    ]
    most = chosen.most_texts.get(name, 0) if most_texts is None else most_texts
    return Study(name, experiment, backbone, benchmark, scale, seeds, tables, most)


def _choose(what: str, name: str, table: Mapping[str, Chosen]) -> Chosen:
    if name not in table:
        raise InputError(f"{what} {name}: {did_you_mean(name, table)}")
    return table[name]


def _table(
    experiment: Experiment,
    part: Part,
    preset: str,
    seeds: Sequence[int],
    scale: Scale,
    benchmark: str,
    tuning: Tuning | None,
) -> Table:
    tasks = ",".join(part.tasks) or scale.tasks.get(benchmark, "")
    shared = (*scale.overrides, *([(TASKS, tasks)] if tasks else []))
    names = {row.name: _trial_name(row, preset, tuning) for row in experiment.rows}
    trials: dict[str, list[Trial]] = {}
    for row in experiment.rows:
        name = names[row.name]
        values = tuned_rows.values_of(tuning, row.name, row.method)
        overrides = _merged((*shared, *values), row.overrides)
        baseline = names.get(row.baseline, row.baseline)
        trials[name] = [
            Trial(name, row.method, preset, seed, overrides, baseline) for seed in seeds
        ]
    sweep = Sweep(tuple(itertools.chain(*trials.values())), tuning=tuning)
    run_specs.check(sweep, preset)
    return Table(part.title, part.tasks, part.directory, sweep, [*names.items()])


def _with_tuned_rows(experiment: Experiment, tuning: Tuning) -> Experiment:
    """The experiment with a row for each space of another name than its method's.

    Such a row, EW with weight decay and dropout, is in tables of scores alone.
    """
    if experiment.columns in ("cost", "analysis"):
        return experiment
    rows = []
    for row in experiment.rows:
        rows.append(row)
        rows += [
            row._replace(
                name=f"{chosen.row}{row.name.removeprefix(row.method)}",
                plain=chosen.row if row.plain else "",
            )
            for chosen in tuning.rows.values()
            if chosen.row and row.method == chosen.method == (row.plain or row.name)
        ]
    return dataclasses.replace(experiment, rows=tuple(rows))


def _trial_name(row: Row, preset: str, tuning: Tuning | None) -> str:
    """The name of the trials of `row`: `plain` if its last value changes nothing.

    So a run with the preset's own value of β, or the tuned one, serves every experiment.
    """
    if not row.plain:
        return row.name
    values = tuned_rows.values_of(tuning, row.name, row.method)
    with_it, without = (
        configs.apply(configs.preset(preset, row.method), (*values, *overrides))
        for overrides in (row.overrides, row.overrides[:-1])
    )
    return row.plain if with_it == without else row.name


def _merged(shared: Overrides, own: Overrides) -> Overrides:
    """Both, with the fraction of `own` taken as a share of the shared one."""
    whole, share = dict(shared).get(FRACTION), dict(own).get(FRACTION)
    if whole is None or share is None:
        return (*shared, *own)
    fraction = f"{float(whole) * float(share):g}"
    rest = [pair for pair in (*shared, *own) if pair[0] != FRACTION]
    return (*rest, (FRACTION, fraction))


def check_overrides(study: Study, overrides: Sequence[tuple[str, str]]) -> None:
    """Raises InputError if the user sets a key in which the rows of the study differ."""
    rows = study.experiment.rows
    varied = {key for row in rows for key, _ in row.overrides}
    if study.experiment.parts:
        varied.add(TASKS)
    for key, _ in overrides:
        if key in varied:
            raise InputError(
                f"--config.{key}: set by the rows of {study.name}; expected another key"
            )


def directory_of(workdir: Path, table: Table) -> Path:
    """The directory of the runs of `table`."""
    return workdir / table.directory if table.directory else workdir
