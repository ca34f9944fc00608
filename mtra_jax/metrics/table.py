"""All metrics: names, titles and meanings, the tasks that they fit, how to read them."""

from collections.abc import Iterable
from typing import NamedTuple

from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.metrics import statistics
from mtra_jax.metrics.statistics import Statistic
from mtra_jax.tasks import Kind, Task

CLASSES: tuple[Kind, ...] = ("classification",)
LABELS: tuple[Kind, ...] = ("classification", "multi_label")
VALUES: tuple[Kind, ...] = ("regression",)
LABEL, DIM = "LABEL", "DIM"
"""They stand for one label or dimension of a task in the name and the texts of a row."""
_KINDS = {
    "classification": "a classification",
    "regression": "a regression",
    "multi_label": "a multi-label task",
}


class Metric(NamedTuple):
    """A row of the table, or (from `find`) a metric of one task."""

    name: str
    title: str
    """Short name for the heads of tables."""
    meaning: str
    kinds: tuple[Kind, ...]
    statistic: Statistic
    outputs: tuple[int, ...] = ()
    """The classes, labels or dimensions that are measured; () for all."""
    least_outputs: int = 1
    is_share: bool = True
    """Shown in percent and part of Avg.; otherwise an error in the task's unit."""
    higher_is_better: bool = True
    needs_probabilities: bool = False
    is_bounded: bool = True
    """Whether its figures lie between -100 and 100."""


def _error(name: str, title: str, meaning: str, statistic: Statistic) -> Metric:
    """An error in the unit of a regression task."""
    return Metric(
        name,
        title,
        meaning,
        VALUES,
        statistic,
        is_share=False,
        higher_is_better=False,
        is_bounded=False,
    )


# The titles are those of the papers' tables, short enough for six tasks on a terminal.
_ROWS = (
    Metric("accuracy", "Acc", "accuracy (multi-label: of whole label sets)", LABELS,
           statistics.accuracy),
    Metric("balanced_accuracy", "B-Acc", "mean recall of the classes in the labels",
           CLASSES, statistics.balanced_accuracy),
    Metric("macro_f1", "M-F1", "macro-averaged F1", LABELS, statistics.macro_f1),
    Metric("micro_f1", "Mic-F1", "micro-averaged F1", LABELS, statistics.micro_f1),
    Metric("weighted_f1", "W-F1", "F1 weighted by the frequency of the classes", LABELS,
           statistics.weighted_f1),
    Metric(f"f1:{LABEL}", f"F1({LABEL})", f"F1 of {LABEL}", LABELS, statistics.macro_f1),
    Metric("macro_recall", "M-Rec", "macro-averaged recall", LABELS,
           statistics.macro_recall),
    Metric("mcc", "MCC", "Matthews correlation coefficient", CLASSES, statistics.mcc),
    Metric("kappa", "Kappa", "Cohen's kappa", CLASSES, statistics.kappa),
    Metric("auroc", "AUROC", "area under the ROC curve, mean over the classes", LABELS,
           statistics.auroc, needs_probabilities=True),
    Metric("pearson", "Pear", "Pearson correlation", VALUES, statistics.pearson),
    Metric("spearman", "Spear", "Spearman correlation", VALUES, statistics.spearman),
    _error("rmse", "RMSE", "root of the mean squared error", statistics.rmse),
    _error("mae", "MAE", "mean absolute error", statistics.mae),
    Metric("r2", "R²", "coefficient of determination", VALUES, statistics.r2,
           is_bounded=False),
    Metric(f"pearson:{DIM}", f"Pear({DIM})", f"Pearson correlation of {DIM}", VALUES,
           statistics.pearson),
    Metric(f"spearman:{DIM}", f"Spear({DIM})", f"Spearman correlation of {DIM}", VALUES,
           statistics.spearman),
    _error(f"rmse:{DIM}", f"RMSE({DIM})", f"root of the mean squared error of {DIM}",
           statistics.rmse),
    _error(f"mae:{DIM}", f"MAE({DIM})", f"mean absolute error of {DIM}", statistics.mae),
    Metric(f"r2:{DIM}", f"R²({DIM})", f"coefficient of determination of {DIM}", VALUES,
           statistics.r2, is_bounded=False),
    # Those of the papers' benchmarks.
    Metric("irony_f1", "F1(i.)", "F1 of the ironic class", CLASSES, statistics.macro_f1,
           outputs=(1,), least_outputs=2),
    Metric("favor_against_f1", "F1(a.f.)", "mean F1 of against and favor", CLASSES,
           statistics.macro_f1, outputs=(1, 2), least_outputs=3),
    Metric("pearson_v", "V", "Pearson correlation of valence", VALUES,
           statistics.pearson, outputs=(0,)),
    Metric("pearson_a", "A", "of arousal", VALUES, statistics.pearson, outputs=(1,),
           least_outputs=2),
    Metric("pearson_d", "D", "of dominance", VALUES, statistics.pearson, outputs=(2,),
           least_outputs=3),
)  # fmt: skip
METRICS = {metric.name: metric for metric in _ROWS}
"""By name. `f1:LABEL` stands for `f1:joy` and so on, for each label of a task."""


def find(name: str, task: Task) -> Metric:
    """The metric `name` of `task`.

    Its `outputs` are not empty. "f1:joy" is the row "f1:LABEL" for the label joy.

    Raises:
      InputError: the name is unknown, or does not fit the task.

    >>> from mtra_jax.tasks import AFFECTEVAL
    >>> emotion = AFFECTEVAL.select(["emotion"]).tasks[0]
    >>> find("f1:joy", emotion)[:3], find("f1:joy", emotion).outputs
    (('f1:joy', 'F1(joy)', 'F1 of joy'), (1,))
    """
    family, colon, label = name.partition(":")
    if colon and label in task.labels:
        row = METRICS.get(_one_of(family, task))
        if row is not None and _fits(row, task):
            return _of_output(row, task.labels.index(label), label)
    row = METRICS.get(name)
    if row is None or not _fits(row, task) or colon:
        raise _refusal(name, task)
    if row.outputs:
        return row
    if row.needs_probabilities and task.kind == "classification":
        # With two classes the second one is the positive one.
        outputs = (1,) if task.num_outputs == 2 else tuple(range(task.num_outputs))
        return row._replace(outputs=outputs)
    meaning = row.meaning
    if task.kind == "regression" and task.num_outputs > 1:
        meaning += ", mean over the dimensions"
    return row._replace(meaning=meaning, outputs=tuple(range(task.num_outputs)))


def check_metrics(tasks: Iterable[Task]) -> None:
    """Raises InputError if a task has no metric, one twice, or one that does not fit it."""
    for task in tasks:
        if not task.metrics:
            raise InputError(
                f"task {task.name}: no metric; known: {', '.join(_fitting(task))}"
            )
        for place, name in enumerate(task.metrics):
            if not isinstance(name, str):
                raise _refusal(shown(name), task)
            find(name, task)
            if name in task.metrics[:place]:
                raise InputError(
                    f"task {task.name}: metric {shown(name)} is there twice; expected "
                    "each once"
                )


def is_bounded(name: str) -> bool:
    """Whether the figures of the metric `name` lie between -100 and 100.

    So do those of an unknown name.
    """
    row = METRICS.get(name.partition(":")[0])
    return row is None or row.is_bounded


def _one_of(family: str, task: Task) -> str:
    """The name of the row for one output of `task`."""
    return f"{family}:{DIM if task.kind == 'regression' else LABEL}"


def _of_output(row: Metric, index: int, label: str) -> Metric:
    one = row.name.partition(":")[2]
    return row._replace(
        name=row.name.replace(one, label),
        title=row.title.replace(one, label),
        meaning=row.meaning.replace(one, label),
        outputs=(index,),
    )


def _fits(row: Metric, task: Task) -> bool:
    return task.kind in row.kinds and row.least_outputs <= task.num_outputs


def _fitting(task: Task) -> list[str]:
    """The metrics for own tasks that fit `task`, without those of the benchmarks."""
    return [
        name for name, row in METRICS.items() if _fits(row, task) and not row.outputs
    ]


def _refusal(name: str, task: Task) -> InputError:
    fitting = _fitting(task)
    family, colon, label = name.partition(":")
    if colon and _one_of(family, task) in fitting:
        fault = f"has no output {shown(label)}"
        hint = did_you_mean(label, task.labels)
    else:
        fault = "does not fit" if name in METRICS else "is unknown"
        hint = did_you_mean(name, fitting)
    return InputError(
        f"task {task.name}, {_KINDS[task.kind]} with {task.num_outputs} outputs: "
        f"metric {shown(name)} {fault}; {hint}"
    )
