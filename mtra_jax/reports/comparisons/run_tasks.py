"""The tasks of a run <-> the "tasks" of its line in `results.jsonl`."""

from collections.abc import Sequence
from typing import Any, get_args

from mtra_jax import metrics
from mtra_jax.errors import InputError, check_name, did_you_mean, shown
from mtra_jax.reports.comparisons.json_members import member
from mtra_jax.tasks import BENCHMARKS, Benchmark, Kind, Task


def columns_of(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks with only the fields that the columns of a table depend on.

    Those that a run resolves from its data have their defaults, so that runs whose
    columns are equal can stand in one table.
    """
    return tuple(Task(t.name, t.title, t.kind, t.labels, t.metrics) for t in tasks)


def described(benchmark: Benchmark) -> list[dict[str, Any]] | None:
    """The tasks for a line of `results.jsonl`; None for those of a built-in benchmark."""
    if benchmark.name in BENCHMARKS:
        return None
    return [
        {
            "name": task.name,
            "title": task.title,
            "kind": task.kind,
            "labels": list(task.labels),
            "metrics": list(task.metrics),
        }
        for task in benchmark.tasks
    ]


def read(values: Any) -> tuple[Task, ...]:
    """The tasks that `described` wrote into `values["tasks"]`.

    Raises:
      InputError: a value is missing or of another kind, or a metric does not fit its task.
    """
    return tuple(map(_task, member(values, "tasks", list)))


def difference(tasks: Sequence[Task], others: Sequence[Task]) -> str | None:
    """How `tasks` differ from `others` in a table; None if they are equal.

    Both as `columns_of` returns them.
    """
    names, other_names = ([t.name for t in part] for part in (tasks, others))
    if names != other_names:
        return f"tasks {', '.join(names)}; expected {', '.join(other_names)}"
    for task, other in zip(tasks, others, strict=True):
        for field in ("title", "kind", "labels", "metrics"):
            own, wanted = getattr(task, field), getattr(other, field)
            if own != wanted:
                return f"{field} of {task.name}: {shown(own)}; expected {shown(wanted)}"
    return None


def _task(values: Any) -> Task:
    name, title, kind = (member(values, key, str) for key in ("name", "title", "kind"))
    if kind not in get_args(Kind):
        raise InputError(f"kind {shown(kind)}; {did_you_mean(kind, get_args(Kind))}")
    lists = {key: tuple(member(values, key, list)) for key in ("labels", "metrics")}
    for key, texts in lists.items():
        for text in texts:
            if type(text) is not str:
                raise InputError(f"{shown(text)} in {shown(key)}; expected a text")
    for text in (name, title, *lists["labels"]):
        check_name(text, "name")
    task = Task(name, title, kind, lists["labels"], lists["metrics"])
    metrics.check_metrics([task])
    return task
