"""Figures of a baseline -> why Δp over it, or the interval of Δp, is missing."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtra_jax import metrics
from mtra_jax.reports.formatting import tables
from mtra_jax.reports.statistics import seeds, significance
from mtra_jax.tasks import Task


def delta_p(
    baseline: str,
    means: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    tasks: Sequence[Task],
) -> str | None:
    """Why Δp over `baseline` is missing; None if it is there."""
    if baseline not in means:
        return f"no Δp against {baseline}: it has no finished run"
    return tables.delta_p_note(baseline, means[baseline], tasks)


def interval(
    baseline: str, summaries: Sequence[Mapping[str, Any]], tasks: Sequence[Task]
) -> str | None:
    """Why Δp over `baseline` has no interval although it is defined; None if it has one.

    `summaries`: those of its seeds.
    """
    if len(summaries) < significance.FEWEST_SEEDS:
        return None
    means, *figures = (
        {
            t.name: {m: seeds.cell(own, (t.name, m)).mean for m in t.metrics}
            for t in tasks
        }
        for own in (summaries, *([summary] for summary in summaries))
    )
    are_bad = [any(metrics.unfit_bases(own, tasks)) for own in figures]
    if any(metrics.unfit_bases(means, tasks)) or not any(are_bad):
        return None
    return (
        f"no interval of Δp against {baseline}: a figure of one of its seeds is too small "
        "to be divided by"
    )
