"""Predictions and labels in, figures in percent out: the tasks' metrics, Avg. and Δp."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from mtra_jax.tasks import Task

Scores = Mapping[str, Mapping[str, float]]


def score(task: Task, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The metrics of one task, in percent, in the order of `task.metrics`.

    Classification: class ids, int [N]. Regression: values, float [N, D]. Equal to the
    official TweetEval scorer wherever each class occurs in the labels or the
    predictions; a class that occurs in neither counts as 0 here, since the average is
    over all classes of the task. A correlation with a constant is defined as 0.

    Raises ValueError for other shapes or types, unequal lengths, no examples, class ids
    out of range, values that are not finite.
    Source: appendix B.3; TweetEval (Barbieri et al. 2020), its evaluation script.

    >>> from mtra_jax.tasks import TWEETEVAL
    >>> irony = TWEETEVAL.select(["irony"]).tasks[0]
    >>> score(irony, np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    {'irony_f1': 50.0}
    """
    predictions = check_values(task, predictions, "predictions")
    labels = check_values(task, labels, "labels")
    if len(predictions) != len(labels):
        raise ValueError(
            f"{task.name}: {len(predictions)} predictions for {len(labels)} labels"
        )
    return {
        metric: 100.0 * _figure(metric, predictions, labels, task.num_outputs)
        for metric in task.metrics
    }


def check_values(task: Task, values: np.ndarray, name: str) -> np.ndarray:
    """The class ids, int [N], or the values, float64 [N, D], if they are valid ones.

    Raises ValueError that names `name`, the rule and the first wrong value.
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

    Raises ValueError where a figure of the baseline is 0 or negative (a correlation can
    be): the ratio is then undefined or has the wrong sign.
    Source: appendix B.3.
    """
    tasks = tuple(tasks)
    for task, metric, base in not_positive(baseline_scores, tasks):
        raise ValueError(
            f"Δp needs positive figures of the baseline; found {base} for {metric} of "
            f"{task.name}"
        )
    improvements: dict[str, dict[str, float]] = {}
    for task in tasks:
        improvements[task.name] = {}
        for metric in task.metrics:
            base = baseline_scores[task.name][metric]
            change = scores[task.name][metric] - base
            improvements[task.name][metric] = 100.0 * change / base
    return _mean_over_tasks(improvements, tasks)


def not_positive(
    scores: Mapping[str, Mapping[str, float | None]], tasks: Iterable[Task]
) -> Iterator[tuple[Task, str, float]]:
    """The figures over which no relative improvement exists: (task, metric, figure).

    Figures that are None are skipped.
    """
    for task in tasks:
        for metric in task.metrics:
            figure = scores[task.name][metric]
            if figure is not None and figure <= 0:
                yield task, metric, figure


def summarize(scores: Scores, tasks: Iterable[Task]) -> dict[str, Any]:
    """One split of results.json: `{"emotion": {"macro_f1": 76.97}, ..., "avg": 69.96}`.

    The result serves as `scores` of `average` and `delta_p`, too.
    """
    tasks = tuple(tasks)
    summary: dict[str, Any] = {
        task.name: {metric: float(scores[task.name][metric]) for metric in task.metrics}
        for task in tasks
    }
    summary["avg"] = average(scores, tasks)
    return summary


def majority_baseline(
    task: Task, train_labels: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """The metrics of always predicting the most frequent training class, or their mean.

    Of equally frequent classes the first counts. Shapes and `Raises` as in `score`.
    """
    train_labels = check_values(task, train_labels, "train_labels")
    if task.is_classification:
        constant = np.bincount(train_labels).argmax()
    else:
        constant = train_labels.mean(axis=0)
    return score(task, np.broadcast_to(constant, np.shape(labels)), labels)


def _mean_over_tasks(figures: Scores, tasks: Iterable[Task]) -> float:
    means = [np.mean([figures[t.name][metric] for metric in t.metrics]) for t in tasks]
    if not means:
        raise ValueError("an average needs at least one task; found none")
    return float(np.mean(means))


def _figure(
    metric: str, predictions: np.ndarray, labels: np.ndarray, num_outputs: int
) -> float:
    """One metric as a fraction."""
    match metric:
        case "macro_f1":
            return _f1(predictions, labels, range(num_outputs))
        case "irony_f1":
            return _f1(predictions, labels, [1])
        case "favor_against_f1":
            return _f1(predictions, labels, [1, 2])
        case "macro_recall":
            return _macro_recall(predictions, labels, range(num_outputs))
        case "pearson" | "pearson_v":
            return _pearson(predictions[:, 0], labels[:, 0])
        case "pearson_a":
            return _pearson(predictions[:, 1], labels[:, 1])
        case "pearson_d":
            return _pearson(predictions[:, 2], labels[:, 2])
        case "spearman":
            return _spearman(predictions[:, 0], labels[:, 0])
    raise ValueError(f"unknown metric {metric!r}")


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
    # Here, and not at the top: two seconds of every start, for the end of an epoch.
    from scipy import stats

    # Also the case of one example, for which scipy raises.
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(stats.pearsonr(x, y).statistic)


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    from scipy import stats

    return _pearson(stats.rankdata(x), stats.rankdata(y))
