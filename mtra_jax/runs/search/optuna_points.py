"""Results of earlier trials -> the next point by Optuna, from a journal in the directory.

Optuna is the extra `search`: it is imported when a search starts.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

from mtra_jax.errors import InputError, refusing
from mtra_jax.runs.trials import spaces
from mtra_jax.runs.trials.spaces import Axis, Point, Space
from mtra_jax.runs.trials.validation_run import Record

FILE = "search.journal"


class Tree:
    """Points by a tree-structured Parzen estimator; bad trials end by the median rule.

    An axis reaches from its least to its largest value, in logarithms unless one is 0.

    The first trial has the point `first`. A trial is the next one of the journal: one that
    was interrupted has its point again. The sampler's seed is made of `seed` and the number
    of the trial, so an interrupted search has the points of one that was not.
    """

    def __init__(
        self, path: Path, name: str, space: Space, first: Point, seed: int
    ) -> None:
        """Opens the study `name` of the journal `path`.

        Raises:
          InputError: Optuna is not installed, or the journal is damaged.
        """
        self._optuna = optuna = load()
        self._seed, self._first = seed, first
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        base = {key: float(value) for key, value in first}
        self._ranges = {axis.key: _range(axis, base[axis.key]) for axis in space.axes}
        path.parent.mkdir(parents=True, exist_ok=True)
        with refusing(f"{path}: damaged"):
            backend = optuna.storages.journal.JournalFileBackend(str(path))
            self._study = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend),
                study_name=name,
                load_if_exists=True,
                direction="minimize",
                pruner=optuna.pruners.MedianPruner(),
            )

    def point(self, number: int) -> Point:
        """The point of trial `number`, which is the last of the journal or a new one."""
        optuna, study = self._optuna, self._study
        digest = hashlib.sha256(f"{self._seed} {number}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        trials = study.get_trials(deepcopy=False)
        if number == len(trials) == 0:
            study.enqueue_trial({key: float(value) for key, value in self._first})
        waiting = optuna.trial.TrialState.WAITING
        if number == len(trials) or trials[number].state == waiting:
            self._trial = study.ask()
        else:
            self._trial = optuna.trial.Trial(study, trials[number]._trial_id)
        # A value that the journal has already is read, not drawn.
        values = {
            key: self._trial.suggest_float(key, low, high, log=low > 0)
            for key, (low, high) in self._ranges.items()
        }
        if number == 0:
            return self._first  # to the last digit
        return tuple((key, spaces.text(value)) for key, value in values.items())

    def is_hopeless(self, epoch: int, score: float) -> bool:
        """Whether the trial of the last `point` is worse than the median at `epoch`."""
        self._trial.report(score, epoch)
        return self._trial.should_prune()

    def end(self, number: int, record: Record) -> None:
        """Adds the result of trial `number` to the journal, unless it has one."""
        states = self._optuna.trial.TrialState
        trial = self._study.get_trials(deepcopy=False)[number]
        if trial.state.is_finished() or record.state == "failed":
            return  # a failed one is trained again
        if record.state == "pruned":
            self._study.tell(number, state=states.PRUNED)
        else:
            # An infinite score is the worst for the estimator too.
            score = record.score if math.isfinite(record.score) else math.inf
            self._study.tell(number, score)


def _range(axis: Axis, base: float) -> tuple[float, float]:
    """The least and the largest value; the first trial's, `base`, lies within."""
    values = [*axis.scaled(base), base]
    return min(values), max(values)


def load() -> Any:
    """The module `optuna`.

    Raises:
      InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "--space optuna needs optuna, which is not installed; expected pip install "
            "optuna, or --space grid"
        ) from error
    return optuna
