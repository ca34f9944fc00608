"""The results of a run -> the table at its end, with lines that explain it."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from mtra_jax import metrics
from mtra_jax.reports.formatting import tables
from mtra_jax.tasks import Task

Results = Mapping[str, Any]
"""As in `results.json`."""


EW = "EW"
"""The title of the method `ew`, and the first word of its variants'."""
BOUND = (
    "bound I: estimate of the information that z has of the labels, in nats; ceiling H(Y): "
    "their entropy, the most it can be"
)
NOTHING = "no better than the majority, or the same prediction for all texts"


class Compared(Protocol):
    """A finished run whose figures are shown beside those of another run."""

    @property
    def name(self) -> str:
        """The name of its row."""

    @property
    def command(self) -> str:
        """The command that trained it."""

    @property
    def origin(self) -> str:
        """Seed, machine, version, day and commit, as text."""

    @property
    def results(self) -> dict[str, Any]:
        """As in `results.json`."""


def figure_rows(
    results: Results, name: str, others: Sequence[Compared] = ()
) -> dict[str, Mapping[str, Any]]:
    """Test figures by row name: the majority, the `others`, then `name`, the run itself."""
    rows = {"majority": results["majority"]}
    rows |= {f"{run.name} (stored)": run.results["test"] for run in others}
    return {**rows, name: results["test"]}


def table(
    results: Results,
    tasks: Sequence[Task],
    name: str,
    others: Sequence[Compared] = (),
) -> str:
    """The test figures of the majority, `others` and the run `name`, below a head line."""
    text = tables.score_table(figure_rows(results, name, others), tasks)
    average = results["validation"]["avg"]
    validation = tables.MISSING if _is_missing(average) else f"{average:.2f}"
    selection = results.get("selection", "loss")  # absent in runs of older versions
    errors = tables.errors_of(tasks)
    unit = f", {errors} in the task's unit" if errors else ""
    return (
        f"Test figures in percent{unit}. Best epoch by {selection}: "
        f"{best_epochs(results)}, validation Avg. {validation}.\n{text}"
    )


def report(
    results: Results,
    tasks: Sequence[Task],
    name: str,
    others: Sequence[Compared] = (),
    *,
    has_bound: bool = False,
) -> str:
    """The table, followed by lines on missing figures, names and stored runs."""
    lines = [table(results, tasks, name, others), *problems(results, tasks)]
    rows = (name, *(run.name for run in others))
    has_ew = any(f"{row} ".startswith(f"{EW} ") for row in rows)
    if is_early(results):
        lines.append("the last epoch is the best: more --config.epochs may help")
    lines.append(legend(tasks, has_ew=has_ew, has_bound=has_bound))
    lines += [f"{o.name} (stored): {o.command}; {o.origin}" for o in others]
    return "\n".join(lines)


def legend(tasks: Sequence[Task], has_ew: bool, has_bound: bool = False) -> str:
    """One line on the abbreviations in the table of `tasks`.

    `has_bound`: whether the tables of the epochs had bounds on I(Z; Y).

    >>> from mtra_jax.tasks import AFFECTEVAL
    >>> print(legend(AFFECTEVAL.select(["ei-reg"]).tasks, has_ew=False))
    majority: the most frequent class, or the mean; Avg.: mean over the tasks; Pear: Pearson correlation; Spear: Spearman correlation
    """
    constant = "the most frequent class, or the mean"
    if any(task.kind == "multi_label" for task in tasks):
        constant = "the most frequent class, the mean, or all labels"
    parts = [f"majority: {constant}", f"Avg.: mean over the tasks{_left_out(tasks)}"]
    chosen = (metrics.find(name, task) for task in tasks for name in task.metrics)
    parts += dict.fromkeys(map(_meaning, chosen))
    if has_ew:
        parts.append("EW: equal weighting, the mean of the task losses, or their sum")
    if has_bound:
        parts.append(BOUND)
    return "; ".join(parts)


def _meaning(metric: metrics.Metric) -> str:
    direction = "" if metric.higher_is_better else ", lower is better"
    return f"{metric.title}: {metric.meaning}{direction}"


def _left_out(tasks: Sequence[Task]) -> str:
    """The figures that Avg. leaves out, as the end of its explanation; or empty."""
    errors = tables.errors_of(tasks)
    if not errors:
        return ""
    shares = [[metrics.find(m, t).is_share for m in t.metrics] for t in tasks]
    absent = [t.title for t, share in zip(tasks, shares, strict=True) if not any(share)]
    so = f" (and so without {', '.join(absent)})" if absent else ""
    return f" without {errors}{so}"


def best_epochs(results: Results) -> str:
    """The best epoch and the number of epochs; for each task if trained separately."""
    best, last = results["best_epoch"], results["epochs"]
    if not isinstance(best, dict):
        return f"{best} of {last}"
    return ", ".join(f"{task} {epoch} of {last[task]}" for task, epoch in best.items())


def problems(results: Results, tasks: Sequence[Task]) -> list[str]:
    """Lines on tasks without figures, and on tasks that learned nothing."""
    lines = []
    if lacking := without_figures(results["test"]):
        lines.append(f"test outputs not finite, no figures: {', '.join(lacking)}")
    if names := stuck(results, tasks):
        lines.append(
            f"{NOTHING}: {', '.join(names)}; more --config.epochs or another "
            "--config.learning_rate may help"
        )
    if names := larger_errors(results, tasks):
        lines.append(
            f"larger than the error of the mean: {', '.join(names)}; more --config.epochs "
            "may help"
        )
    return lines


def larger_errors(results: Results, tasks: Sequence[Task]) -> list[str]:
    """The errors of tasks that a constant prediction makes smaller, as TASK METRIC.

    Without the tasks of `stuck`. Correlations may be high all the same.
    """
    test, majority = results["test"], results.get("majority", {})
    others = {
        *stuck(results, tasks),
        *without_figures(test),
        *without_figures(majority),
    }
    names = []
    for task in tasks:
        if task.name in others or task.name not in test:
            continue
        for name, value in majority.get(task.name, {}).items():
            metric = metrics.find(name, task)
            if not metric.higher_is_better and test[task.name].get(name, 0) > value:
                names.append(f"{task.name} {metric.title}")
    return names


def stuck(results: Results, tasks: Sequence[Task]) -> list[str]:
    """The tasks of which `NOTHING` is true, by their test figures and predictions."""
    # Absent in runs of older versions.
    test, majority = results["test"], results.get("majority", {})
    constant = results.get("constant", [])
    lacking = without_figures(test) + without_figures(majority)
    return [
        task.name
        for task in tasks
        if task.name in test and task.name in majority and task.name not in lacking
        if task.name in constant
        or not _is_better(test[task.name], majority[task.name], task)
    ]


def _is_better(figures: Results, others: Results, task: Task) -> bool:
    """Whether one of `figures` is better than that of `others`."""
    for name, other in others.items():
        is_higher = metrics.find(name, task).higher_is_better
        own = figures.get(name, other)
        if own > other if is_higher else own < other:
            return True
    return False


def stuck_rows(runs: Iterable[tuple[str, Results]], tasks: Sequence[Task]) -> str:
    """A line on the tasks of `stuck` by row, of runs with their rows; "" without any."""
    counts: dict[str, Counter[str]] = {}
    numbers: Counter[str] = Counter()
    for row, results in runs:
        numbers[row] += 1
        counts.setdefault(row, Counter()).update(stuck(results, tasks))
    parts = []
    for row, own in counts.items():
        names = (f"{task} ({n} of {numbers[row]} runs)" for task, n in own.items())
        if own:
            parts.append(f"{row}: {', '.join(names)}")
    return f"{NOTHING}: {'; '.join(parts)}" if parts else ""


def is_early(results: Results) -> bool:
    """Whether the last epoch was the best, of a run or of one of its separate tasks."""
    best, last = results["best_epoch"], results["epochs"]
    if isinstance(best, dict):
        return any(best[task] == last[task] for task in best)
    return best == last


def without_figures(test: Mapping[str, Any]) -> list[str]:
    """The tasks with a missing figure, NaN or (read from a file) None.

    `test`: the test figures of `results.json`.
    """
    return [
        task
        for task, figures in test.items()
        if task != "avg" and any(map(_is_missing, figures.values()))
    ]


def seconds(results: Results) -> str:
    """The time of training and of scoring the test set.

    >>> seconds({"train_seconds": 109.4, "scoring_seconds": 3.2})
    '109 s of training, 3 s of scoring'
    """
    line = f"{results['train_seconds']:.0f} s of training"
    if "scoring_seconds" not in results:  # a run of an older version
        return line
    return f"{line}, {results['scoring_seconds']:.0f} s of scoring"


def _is_missing(figure: float | None) -> bool:
    return figure is None or math.isnan(figure)
