"""Predictions and labels -> figures of the tasks, Avg. and Δp.

A figure undefined on the data counts as that of uninformed predictions: 0 for F1, recall,
MCC, Cohen's kappa, R² and correlations, and 0.5 for AUROC. Shares are in percent, errors
in the task's unit.
"""

from mtra_jax.metrics.averages import (
    LEAST_BASE,
    Scores,
    average,
    delta_p,
    summarize,
    unfit_bases,
)
from mtra_jax.metrics.scoring import check_values, majority_baseline, score, zeros
from mtra_jax.metrics.table import METRICS, Metric, check_metrics, find, is_bounded
from mtra_jax.metrics.thresholds import best_thresholds

__all__ = [
    "LEAST_BASE",
    "METRICS",
    "Metric",
    "Scores",
    "average",
    "best_thresholds",
    "check_metrics",
    "check_values",
    "delta_p",
    "find",
    "is_bounded",
    "majority_baseline",
    "score",
    "summarize",
    "unfit_bases",
    "zeros",
]
