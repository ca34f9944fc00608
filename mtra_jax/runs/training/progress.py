"""Validation scores -> the progress of a training run, and whether it has ended."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from mtra_jax.train.batching import Schedule


class Progress(NamedTuple):
    """The progress of a training run; stored as the record of each checkpoint."""

    step: int = 0
    validated: int = 0
    """Validated epochs. The state may be saved between the last step of an epoch and its
    validation."""
    skipped_steps: int = 0
    best_loss: float = math.inf
    """The validation loss of the best epoch."""
    best_epoch: int = 0
    stale_epochs: int = 0
    seconds: float = 0.0
    best_summary: dict[str, Any] | None = None
    """The validation figures of the best epoch, as in `results.json`."""
    best_score: float = math.inf
    """The score of the best epoch, see `selection.Selection`; lower is better."""
    best_thresholds: dict[str, list[float]] | None = None
    """The thresholds of the best epoch, see `Evaluation.thresholds`."""
    said: Sequence[str] = ()
    """The kinds of lines that the run has said once, see `bound_ceilings.findings`."""

    def is_over(self, schedule: Schedule) -> bool:
        """Whether training has ended."""
        return (
            self.validated >= schedule.epochs or self.stale_epochs >= schedule.patience
        )

    def after_epoch(
        self,
        epoch: int,
        loss: float,
        summary: dict[str, Any],
        score: float,
        thresholds: dict[str, list[float]] | None = None,
    ) -> "Progress":
        """The progress after the validation of `epoch` (from 0).

        The best epoch has the lowest `score`, the first of equals. A score that is not
        finite never counts as better, negative infinity included.
        """
        validated = self._replace(validated=epoch + 1)
        if math.isfinite(score) and score < self.best_score:
            return validated._replace(
                best_score=score,
                best_loss=loss,
                best_epoch=epoch + 1,
                stale_epochs=0,
                best_summary=summary,
                best_thresholds=thresholds,
            )
        return validated._replace(stale_epochs=self.stale_epochs + 1)
