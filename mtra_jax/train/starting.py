"""Parameters of a finished run and of a new one -> those that the new run starts from."""

from typing import NamedTuple

import jax
import numpy as np

from mtra_jax.tasks import Task
from mtra_jax.train.backbone import Backbone
from mtra_jax.types import Params


class Start(NamedTuple):
    """The best epoch of a finished run, see `runs.training.warm_start.read`.

    `source`: its directory. `params`: all of its parameters. `tasks`: as they were resolved
    in that run.
    """

    source: str
    backbone: Backbone
    params: Params
    tasks: tuple[Task, ...]
    method: str


class Started(NamedTuple):
    """First parameters of a new run, and a line about their origin."""

    params: Params
    line: str


def start(
    params: Params, given: Start, tasks: tuple[Task, ...], method: str
) -> Started:
    """Puts what fits of `given` in place of the new `params`.

    The encoder is in `params` already. A head is taken if the task has the same name, kind,
    labels and size of the head. The parameters of the method are taken as a whole if the
    method and all tasks are the same, because those of one task may depend on the others.
    """
    old = {task.name: task for task in given.tasks}
    heads = dict(params["heads"])
    for task in tasks:
        before = old.get(task.name)
        if before is None or not _is_same(before, task):
            continue
        head = given.params["heads"][task.name]
        if _fits(head, heads[task.name]):
            heads[task.name] = rescaled(head, before, task)
    taken = [name for name, head in heads.items() if head is not params["heads"][name]]
    new = [name for name in heads if name not in taken]
    parts = ["encoder"]
    if taken:
        parts.append(f"heads of {', '.join(taken)}")
    started = {**params, "heads": heads}
    is_same = method == given.method and not new and [*old] == [t.name for t in tasks]
    if is_same and params["method"] and _fits(given.params["method"], params["method"]):
        started["method"] = given.params["method"]
        parts.append(f"parameters of {method}")
    line = f"warm start from {given.source}: {'; '.join(parts)}"
    return Started(started, f"{line}. New heads: {', '.join(new)}" if new else line)


def _is_same(one: Task, other: Task) -> bool:
    return (one.kind, one.labels) == (other.kind, other.labels)


def _fits(there: Params, here: Params) -> bool:
    """Whether two trees have the same names and shapes."""
    return _shapes(there) == _shapes(here)


def _shapes(tree: Params) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}


def rescaled(head: Params, before: Task, now: Task) -> Params:
    """Returns the head with the same predictions in the user's unit.

    A regression head predicts (value − mean)/deviation. If the training targets of the two
    runs differ, their means and deviations do too.
    """
    old, new = _scale(before), _scale(now)
    if before.kind != "regression" or all(map(np.array_equal, old, new)):
        return head
    ratio = old[1] / new[1]
    shift = (old[0] - new[0]) / new[1]
    return {
        **head,
        "kernel": np.asarray(head["kernel"] * ratio, np.float32),
        "bias": np.asarray(head["bias"] * ratio + shift, np.float32),
    }


def _scale(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The means and deviations [d] of the targets; 0 and 1 if they are not standardised."""
    size = task.num_outputs
    means, deviations = task.means or (0.0,) * size, task.deviations or (1.0,) * size
    return np.array(means), np.array(deviations)
