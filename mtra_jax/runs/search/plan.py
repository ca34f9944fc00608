"""Methods, a preset and a budget -> the trials of a search, all of them checked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mtra_jax import config_values, files
from mtra_jax.config_values import AVERAGE, LOSSES
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.runs.directory import layout
from mtra_jax.runs.search import optuna_points
from mtra_jax.runs.trials import found_toml, run_specs
from mtra_jax.runs.trials import spaces as search_spaces
from mtra_jax.runs.trials.run_specs import Overrides, Trial
from mtra_jax.runs.trials.spaces import Point, Space

SETTINGS = "search.json"
Kind = Literal["grid", "optuna"]


class Search(NamedTuple):
    """A search as requested by one command. `overrides`: the user's, for every trial."""

    preset: str
    workdir: Path
    spaces: Mapping[str, Space]
    num_trials: int
    kind: Kind
    seed: int
    overrides: Overrides
    command: str

    def trial(self, name: str, point: Point) -> Trial:
        """The run of a point in the space `name`."""
        space = self.spaces[name]
        overrides = (*self.overrides, *space.fixed, *point)
        return Trial(name, space.method, self.preset, self.seed, overrides)

    def directory(self, name: str, number: int) -> Path:
        """The directory of a trial."""
        return self.workdir / name / f"trial{number:02d}"

    def base(self, name: str) -> dict[str, Any]:
        """The configuration of the first trial, by dotted key."""
        trial = self.trial(name, ())._replace(overrides=self.spaces[name].fixed)
        return config_values.flat(run_specs.config_of(trial, self.overrides))

    def selection(self, name: str) -> str:
        """The figure by which the trials are compared, see `training.selection.make`."""
        return self.base(name)["selection"]


def make(
    names: Sequence[str],
    preset: str,
    workdir: Path,
    num_trials: int,
    kind: Kind,
    seed: int,
    overrides: Overrides = (),
    command: str = "",
) -> Search:
    """A search over the spaces `names`; writes nothing.

    Raises:
      InputError: an unknown name or preset, a grid with fewer points than trials, values
        that do not fit, a key that a space has fixed, a comparison by losses that depend on
        what is varied, another search in `workdir`, or a `found.toml` there that is damaged
        or compared more trials.
    """
    spaces = search_spaces.load(preset)
    for name in names:
        if name not in spaces:
            raise InputError(f"method {name}: {did_you_mean(name, spaces)}")
    chosen = {name: spaces[name] for name in names}
    search = Search(preset, workdir, chosen, num_trials, kind, seed, overrides, command)
    search = _compared_by_figures(search)
    for name in chosen:
        _check_fixed(chosen[name], name, overrides)
        points = search_spaces.ordered(chosen[name], search.base(name), seed)
        if kind == "grid" and len(points) < num_trials:
            raise InputError(
                f"--trials {num_trials}: the grid of {name} has {len(points)} points, and "
                f"all methods get as many trials; expected at most {len(points)}, or "
                "--space optuna"
            )
        for point in points[:num_trials]:
            run_specs.config_of(search.trial(name, point))
    if kind == "optuna":
        optuna_points.load()
    check(search)
    return search


def _compared_by_figures(search: Search) -> Search:
    """The search with `selection` "average" where the preset chooses epochs by the loss.

    The validation loss of a method contains its options: with a larger β that of MTRA is
    smaller, however good the model.

    Raises:
      InputError: the user compares by a loss the trials of a space with such options.
    """
    is_chosen = "selection" in dict(search.overrides)
    for name, space in search.spaces.items():
        own = search.selection(name)
        if own not in LOSSES:
            continue
        if not is_chosen:
            by_figures = (*search.overrides, ("selection", AVERAGE))
            return search._replace(overrides=by_figures)
        options = [axis.key for axis in space.axes if axis.key.startswith("method.")]
        if options:
            raise InputError(
                f"--config.selection={own}: the validation loss of {name} may depend on "
                f"{', '.join(options)}, which its trials vary; expected TASK/METRIC for one "
                "figure, or average where metrics are shares"
            )
    return search


def _check_fixed(space: Space, name: str, overrides: Overrides) -> None:
    for key, value in space.fixed:
        if key in dict(overrides):
            raise InputError(
                f"--config.{key}: {name} is the search with {value!r}; expected another "
                f"key, or no {name}"
            )


def settings(search: Search) -> dict[str, Any]:
    """The settings that all commands with one work directory must have in common."""
    own = {k: v for k, v in search.overrides if k not in layout.FREE_KEYS}
    return {
        "preset": search.preset,
        "space": search.kind,
        "seed": search.seed,
        "overrides": own,
    }


def check(search: Search) -> None:
    """Raises InputError if `workdir` holds another search, or one with more trials."""
    _check_settings(search)
    _check_found(search)


def _check_settings(search: Search) -> None:
    path = search.workdir / SETTINGS
    if not path.exists():
        return
    before = files.read_json(path)
    for key, value in settings(search).items():
        there = before.get(key) if isinstance(before, dict) else None
        if there != value:
            raise InputError(
                f"{path}: {key} is {there!r} there and {value!r} here; expected the same, "
                "or a new --workdir"
            )


def _check_found(search: Search) -> None:
    """Raises InputError if `found.toml` cannot take the results of `search`.

    Fewer trials could replace values by worse ones.
    """
    path = search.workdir / found_toml.FILE
    if not path.exists():
        return
    rows = found_toml.read(str(path)).rows
    if not (search.workdir / SETTINGS).exists():
        raise InputError(
            f"{path}: a search without its {SETTINGS}; expected a whole search, or a new "
            "--workdir"
        )
    for name in search.spaces:
        there = rows[name].num_trials if name in rows else 0
        if search.num_trials < there:
            raise InputError(
                f"--trials {search.num_trials}: {path} has the best of {there} trials of "
                f"{name}; expected at least {there}, or a new --workdir"
            )
