"""A trial and a directory -> the score of its run on validation, in `trial.json`.

The callbacks end the run after its last validation: a trial never scores the test set, and
`results.json`, which holds test figures, does not exist for it.
"""

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from mtra_jax import config as configs
from mtra_jax import files
from mtra_jax.errors import InputError, RunError, shown
from mtra_jax.reports.progress.bounds import Bound
from mtra_jax.runs.directory import inputs_json, layout
from mtra_jax.runs.training import display, interfaces, loop, preparation, same_inputs
from mtra_jax.runs.training import run as training
from mtra_jax.runs.trials import run_specs
from mtra_jax.runs.trials.run_specs import Trial

FILE = "trial.json"
FORMAT = 1
State = Literal["finished", "pruned", "diverged", "failed"]
IsHopeless = Callable[[int, float], bool]
"""(epoch, best score up to it) -> whether the trial should end there."""


class Record(NamedTuple):
    """How a trial ended.

    `score`: that of its best epoch, see `selection.Selection`; lower is better, infinite
    for a trial that diverged or failed. `figure`: the loss or figure with this score, None
    for an infinite one. `epochs`: validated ones. `reason`: why it diverged or failed.
    """

    state: State
    score: float
    figure: float | None
    epochs: int
    seconds: float
    reason: str = ""


class _Ended(Exception):
    """The last validation of a run."""

    def __init__(self, progress: loop.Progress, figure: float, state: State) -> None:
        super().__init__(state)
        self.progress, self.figure, self.state = progress, figure, state


class _Diverged(Exception):
    """A run whose steps are not finite any more."""


def read(directory: Path) -> Record | None:
    """The record of the trial in `directory`; None if it has not ended.

    Raises:
      InputError: the file is damaged.
    """
    path = directory / FILE
    try:
        values = files.read_json(path, "; remove it to train the trial again")
    except FileNotFoundError:
        return None
    try:
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
        if values["score"] is None:
            values["score"] = math.inf
        record = Record(**values)
        numbers = (record.score, record.epochs, record.seconds)
        are_numbers = all(type(number) in (int, float) for number in numbers)
        if record.figure is not None:
            are_numbers &= type(record.figure) in (int, float)
        is_ended = record.state in get_args(State)
        if not (is_ended and are_numbers) or math.isnan(record.score):
            raise ValueError(shown(values))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: damaged: {error}; expected the record of a trial; remove it to train "
            "the trial again"
        ) from error
    return record


def check(trial: Trial, directory: Path, current: same_inputs.Current) -> None:
    """Raises InputError if `directory` holds another trial, or one with other data."""
    config = run_specs.config_of(trial)
    layout.check(config, directory)
    if read(directory) is None:
        same_inputs.check(config, directory, current)
        return
    for place, part in _parts(config, directory).items():
        if (place / inputs_json.FILE).exists():  # missing if the trial failed before
            same_inputs.check_run(part, place, current)


def run(
    trial: Trial,
    directory: Path,
    is_hopeless: IsHopeless,
    warn: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """Trains the trial, or continues it, and writes its record; checkpoints are removed.

    `say` receives the lines of the run, which would hide those of a search.

    A trial that fails has no record in its directory: memory, disk or devices may be there
    the next time.

    Raises:
      InputError: the trial lacks data or weights, or does not fit the devices.
      loop.Stopped: `should_stop`, as in `interfaces.Watch`.
    """
    config = run_specs.config_of(trial)
    parts = _parts(config, directory)
    started = time.monotonic()
    layout.write_config(config, directory)
    try:
        endings = []
        # The epochs of tasks that are trained separately cannot be compared.
        own = is_hopeless if len(parts) == 1 else lambda epoch, score: False
        for place, part in parts.items():
            endings.append(_train(part, place, own, warn, should_stop, say))
        record = _record(config.selection, endings)
    except _Diverged as error:
        record = Record("diverged", math.inf, None, 0, 0.0, str(error))
    except RunError as error:
        seconds = round(time.monotonic() - started, 1)
        return Record("failed", math.inf, None, 0, seconds, str(error))
    record = record._replace(seconds=round(time.monotonic() - started, 1))
    files.write_json(directory / FILE, {"format": FORMAT, **record._asdict()})
    remove_checkpoints(directory)
    return record


def remove_checkpoints(directory: Path) -> None:
    """Removes the checkpoints of a trial that has ended: the score is all that counts."""
    for path in (directory, *directory.glob("*/")):
        shutil.rmtree(path / layout.CHECKPOINTS, ignore_errors=True)


def _parts(config: Any, directory: Path) -> dict[Path, Any]:
    """The runs of a trial by directory: one a task if they are trained separately."""
    names = configs.separate_tasks(config)
    parts = {directory / name: configs.of_task(config, name) for name in names}
    return parts or {directory: config}


def _record(selection: str, endings: list[_Ended]) -> Record:
    """The record of one run, or of the runs of the tasks of one trial.

    Their score is the mean loss or Avg., or the sum of the logarithms.
    """
    scores = [ending.progress.best_score for ending in endings]
    figures = [ending.figure for ending in endings]
    count = 1 if selection == "log_sum" else len(endings)
    epochs = sum(ending.progress.validated for ending in endings)
    score = sum(scores) / count
    if not math.isfinite(score):
        reason = f"no finite validation in {epochs} epochs"
        return Record("diverged", math.inf, None, epochs, 0.0, reason)
    return Record(endings[-1].state, score, sum(figures) / count, epochs, 0.0)


def _train(
    config: Any,
    directory: Path,
    is_hopeless: IsHopeless,
    warn: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
    say: Callable[[str], None],
) -> _Ended:
    """Trains one run until its last validation."""
    with display.Display(
        say=say, position=1, warn=warn, should_stop=should_stop
    ) as shown_run:

        def watch_of(
            prepared: preparation.Prepared, at: loop.Progress
        ) -> interfaces.Watch:
            return _watch(prepared.run, at, shown_run.watch(prepared, at), is_hopeless)

        try:
            training.train(config, directory, watch_of)
        except _Ended as ended:
            return ended
    raise AssertionError(f"{directory}: a trial ended without its callbacks")


def _watch(
    run: loop.Run, at: loop.Progress, watch: interfaces.Watch, is_hopeless: IsHopeless
) -> interfaces.Watch:
    """The callbacks of `watch`, which also end the run.

    A run that diverges after a finite validation ends there with its best epoch, as in
    training.

    Raises:
      _Ended: the last epoch was validated before.
    """

    def ended(progress: loop.Progress, state: State = "finished") -> _Ended:
        figure = run.selection.figure_of(progress.best_score)
        return _Ended(progress, figure, state)

    if at.is_over(run.schedule):
        raise ended(at)
    reached = at

    def step(number: int, epoch: int, flat: dict[str, float], examples: int) -> None:
        watch.step(number, epoch, flat, examples)
        count = int(flat["bad_steps"])
        if count >= run.schedule.max_bad_steps:
            if reached.best_epoch:
                raise ended(reached)
            raise _Diverged(f"step {number}: {count} steps in a row are not finite")

    def epoch(
        number: int,
        loss: float,
        summary: dict[str, Any],
        progress: loop.Progress,
        bounds: dict[str, Bound],
    ) -> None:
        nonlocal reached
        reached = progress
        watch.epoch(number, loss, summary, progress, bounds)
        if progress.is_over(run.schedule):
            raise ended(progress)
        if is_hopeless(number, progress.best_score):
            raise ended(progress, "pruned")

    return watch._replace(step=step, epoch=epoch)
