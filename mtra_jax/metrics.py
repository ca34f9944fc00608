"""Predictions and labels -> figures in percent: the tasks' metrics, Avg. and Δp."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.tasks import Task

Scores = Mapping[str, Mapping[str, float | None]]
"""Figures by task and metric; a missing one is NaN or None."""


def score(
    task: Task,
    predictions: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray | None = None,
) -> dict[str, float]:
    """The metrics of one task, in percent, in the order of `task.metrics`.

    Classification: class ids, int [N]. Regression: values, float [N, D]. The figures
    equal those of the official TweetEval scorer if each class occurs in the labels or the
    predictions. A class that occurs in neither counts as 0 here, since the average is
    over all classes of the task. A correlation with a constant is defined as 0.

    Raises:
      ValueError: a wrong shape or type, unequal lengths, no examples, a class id out of
        range, or a value that is not finite.

    Source: appendix B.3; TweetEval (Barbieri et al. 2020), its evaluation script.

    >>> from mtra_jax.tasks import TWEETEVAL
    >>> irony = TWEETEVAL.select(["irony"]).tasks[0]
    >>> score(irony, np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    {'irony_f1': 50.0}
    """
    del probabilities
    predictions = check_values(task, predictions, "predictions")
    labels = check_values(task, labels, "labels")
    if len(predictions) != len(labels):
        raise ValueError(
            f"{task.name}: {len(predictions)} predictions for {len(labels)} labels"
        )
    return {
        metric: 100.0 * METRICS[metric].fraction(predictions, labels, task.num_outputs)
        for metric in task.metrics
    }


def check_values(task: Task, values: np.ndarray, name: str) -> np.ndarray:
    """Returns the class ids, int [N], or the values, float64 [N, D].

    Raises:
      ValueError: a value is invalid. The message holds `name`, the rule and the first
        wrong value.
    """
    values = np.asarray(values)
    if task.is_classification:
        expected = "integers [N]"
        fits = values.ndim == 1 and np.issubdtype(values.dtype, np.integer)
    else:
        expected = f"numbers [N, {task.num_outputs}]"
        fits = values.ndim == 2 and values.shape[1] == task.num_outputs
    if not fits or not len(values):
        raise ValueError(
            f"{task.name}: `{name}` must be {expected} with N > 0; found "
            f"{values.dtype} {list(values.shape)}"
        )
    if task.is_classification:
        rule = f"from 0 to {task.num_outputs - 1}"
        valid = (values >= 0) & (values < task.num_outputs)
    else:
        rule = "finite"
        values = values.astype(np.float64)
        valid = np.isfinite(values)
    if not valid.all():
        place = tuple(np.argwhere(~valid)[0])
        raise ValueError(
            f"{task.name}: `{name}` must be {rule}; found {values[place]} "
            f"at index {place[0]}"
        )
    return values


def best_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The threshold of each label with the highest F1, the nearest to 0.5: [D]."""
    best = []
    for p, y in zip(probabilities.T, labels.T > 0, strict=True):
        cuts = np.unique([*p, 0.5])
        f1 = [2 * np.sum(y & (p >= t)) / (np.sum(p >= t) + np.sum(y)) for t in cuts]
        order = np.lexsort((np.abs(cuts - 0.5), -np.asarray(f1)))
        best.append(cuts[order[0]])
    return np.array(best)


def average(scores: Scores, tasks: Iterable[Task]) -> float:
    """Avg.: the mean over tasks of the mean over the task's metrics.

    `scores`: metric figures by task name. Source: appendix B.3.

    >>> from mtra_jax.tasks import AFFECTEVAL
    >>> tasks = AFFECTEVAL.select(["emotion", "ei-reg"]).tasks
    >>> average({"emotion": {"macro_f1": 80.0},
    ...          "ei-reg": {"pearson": 50.0, "spearman": 60.0}}, tasks)
    67.5
    """
    return _mean_over_tasks(scores, tasks)


def delta_p(scores: Scores, baseline_scores: Scores, tasks: Iterable[Task]) -> float:
    """Δp: the mean relative improvement over a baseline, in percent.

    Averaged over a task's metrics, then over tasks. Every metric here is better when
    higher, so the sign (-1)^p of the formula is +1.

    Raises:
      ValueError: a figure of the baseline is 0 or negative (a correlation can be), which
        makes the ratio undefined or its sign wrong; or a figure is missing.

    Source: appendix B.3.
    """
    tasks = tuple(tasks)
    improvements: dict[str, dict[str, float]] = {}
    for task in tasks:
        improvements[task.name] = {}
        for metric in task.metrics:
            figure, base = (
                _number(of[task.name][metric]) for of in (scores, baseline_scores)
            )
            if not base > 0 or math.isnan(figure):
                raise ValueError(
                    f"Δp needs positive figures of the baseline; found {base} for "
                    f"{metric} of {task.name}, and {figure} to compare"
                )
            change = figure - base
            improvements[task.name][metric] = 100.0 * change / base
    return _mean_over_tasks(improvements, tasks)


def not_positive(
    scores: Mapping[str, Mapping[str, float | None]], tasks: Iterable[Task]
) -> Iterator[tuple[Task, str, float]]:
    """Yields (task, metric, figure) for figures that cannot be the baseline of Δp.

    Missing figures (None) are skipped.
    """
    for task in tasks:
        for metric in task.metrics:
            figure = scores[task.name][metric]
            if figure is not None and figure <= 0:
                yield task, metric, figure


def summarize(scores: Scores, tasks: Iterable[Task]) -> dict[str, Any]:
    """One split of results.json: `{"emotion": {"macro_f1": 76.97}, ..., "avg": 69.96}`.

    `average` and `delta_p` accept the result as `scores`.
    """
    tasks = tuple(tasks)
    summary: dict[str, Any] = {
        task.name: {
            metric: _number(scores[task.name][metric]) for metric in task.metrics
        }
        for task in tasks
    }
    summary["avg"] = average(scores, tasks)
    return summary


def majority_baseline(
    task: Task, train_labels: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """The metrics of always predicting the most frequent training class, or the mean value.

    Ties between classes go to the first. Shapes and errors are those of `score`.
    """
    train_labels = check_values(task, train_labels, "train_labels")
    if task.is_classification:
        constant = np.bincount(train_labels).argmax()
    else:
        constant = train_labels.mean(axis=0)
    return score(task, np.broadcast_to(constant, np.shape(labels)), labels)


def _mean_over_tasks(figures: Scores, tasks: Iterable[Task]) -> float:
    means = [
        np.mean([_number(figures[task.name][metric]) for metric in task.metrics])
        for task in tasks
    ]
    if not means:
        raise ValueError("an average needs at least one task; found none")
    return float(np.mean(means))


def _number(figure: float | None) -> float:
    """The figure, or NaN for null in JSON, which makes every mean over it NaN too."""
    return math.nan if figure is None else float(figure)


def _f1(predictions: np.ndarray, labels: np.ndarray, classes: Iterable[int]) -> float:
    from sklearn.metrics import f1_score

    return float(
        f1_score(
            labels, predictions, labels=list(classes), average="macro", zero_division=0
        )
    )


def _macro_recall(
    predictions: np.ndarray, labels: np.ndarray, classes: Iterable[int]
) -> float:
    from sklearn.metrics import recall_score

    return float(
        recall_score(
            labels, predictions, labels=list(classes), average="macro", zero_division=0
        )
    )


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    # Imported late: it takes two seconds, and is only needed at the end of an epoch.
    from scipy import stats

    # Also covers a single example, for which scipy raises.
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(stats.pearsonr(x, y).statistic)


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    from scipy import stats

    return _pearson(stats.rankdata(x), stats.rankdata(y))


class Metric(NamedTuple):
    """`fraction(predictions, labels, num_outputs)` for tasks of `kind`.

    `num_outputs`: the least number of classes or dimensions that the metric needs.
    """

    kind: str
    num_outputs: int
    fraction: Callable[[np.ndarray, np.ndarray, int], float]


def _column(statistic: Callable, index: int) -> Callable:
    """`statistic` of one dimension of a regression task."""
    return lambda x, y, num_outputs: statistic(x[:, index], y[:, index])


METRICS = {
    "micro_f1": Metric(
        "multi_label",
        1,
        lambda x, y, n: float(2 * np.sum(x * y) / max(np.sum(x + y), 1)),
    ),
    "macro_f1": Metric("classification", 1, lambda x, y, n: _f1(x, y, range(n))),
    "irony_f1": Metric("classification", 2, lambda x, y, n: _f1(x, y, [1])),
    "favor_against_f1": Metric("classification", 3, lambda x, y, n: _f1(x, y, [1, 2])),
    "macro_recall": Metric(
        "classification", 1, lambda x, y, n: _macro_recall(x, y, range(n))
    ),
    "pearson": Metric("regression", 1, _column(_pearson, 0)),
    "pearson_v": Metric("regression", 1, _column(_pearson, 0)),
    "pearson_a": Metric("regression", 2, _column(_pearson, 1)),
    "pearson_d": Metric("regression", 3, _column(_pearson, 2)),
    "spearman": Metric("regression", 1, _column(_spearman, 0)),
}


def check_metrics(tasks: Iterable[Task]) -> None:
    """Raises InputError if a task has no metric, or a metric that does not fit it."""
    for task in tasks:
        if not task.metrics:
            raise InputError(
                f"task {task.name}: no metric; known: {', '.join(METRICS)}"
            )
        for name in task.metrics:
            fitting = [key for key, metric in METRICS.items() if _fits(metric, task)]
            if name not in fitting:
                fault = "does not fit" if name in METRICS else "is unknown"
                raise InputError(
                    f"task {task.name}, a {task.kind} with {task.num_outputs} outputs: "
                    f"metric {shown(name)} {fault}; {did_you_mean(name, fitting)}"
                )


def _fits(metric: Metric, task: Task) -> bool:
    return metric.kind == task.kind and metric.num_outputs <= task.num_outputs
