"""Tasks and benchmarks as data: names, kinds, labels, metrics and output slots."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np

from mtra_jax.errors import InputError, did_you_mean, shown

Kind = Literal["classification", "regression", "multi_label"]
DEFAULT_THRESHOLD = 0.5
"""The probability from which a label is predicted, before validation chose thresholds."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One task: its outputs, its metrics, and how its outputs are read.

    `labels`: class names in the order of their ids, the labels of a multi-label task, or
    the names of the regression dimensions. `metrics`: names that `metrics.find` accepts,
    in the order of the tables. `is_pair`: an example has two texts.

    The other fields depend on the training data. They are set once the data are read
    (`data.splits.targets.resolved`), and stored with a run:

    `means`, `deviations`: of the training targets of each regression dimension. The model
    then predicts (value − mean) / deviation. Empty where it predicts the values.
    `thresholds`: a label of a multi-label task is predicted from this probability on.
    Empty before the first validation, when `DEFAULT_THRESHOLD` is used. `class_weights`:
    the weight of each class in the cross-entropy, or "none" or "balanced" before the data
    are read; "" leaves the choice to the configuration, as None does for
    `label_smoothing`.
    """

    name: str
    title: str
    kind: Kind
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    is_pair: bool = False
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()
    class_weights: str | tuple[float, ...] = ""
    label_smoothing: float | None = None

    def __post_init__(self) -> None:
        """Checks what a caller in Python may mistake; `metrics` checks the metrics.

        Raises:
          InputError: an unknown kind, or one text in place of labels or metrics.
        """
        if self.kind not in get_args(Kind):
            hint = did_you_mean(str(self.kind), get_args(Kind))
            raise InputError(f"task {self.name}: kind is {shown(self.kind)}; {hint}")
        for key in ("labels", "metrics"):
            value = getattr(self, key)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise InputError(
                    f"task {self.name}: {key} is {shown(value)}; expected a tuple of texts"
                )
            # Tasks are compared, hashed and stored: a list or an array becomes a tuple.
            object.__setattr__(self, key, tuple(map(_plain, value)))

    @property
    def num_outputs(self) -> int:
        """The number of classes, labels or regression dimensions."""
        return len(self.labels)

    @property
    def is_classification(self) -> bool:
        """Whether each example has exactly one class."""
        return self.kind == "classification"


def _plain(value: Any) -> Any:
    """An element of an array as a Python object."""
    return value.item() if isinstance(value, np.generic) else value


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Tasks trained together. Their outputs lie side by side in one space of L slots."""

    name: str
    tasks: tuple[Task, ...]

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)

    @property
    def num_slots(self) -> int:
        """L, the sum of the tasks' outputs."""
        return sum(task.num_outputs for task in self.tasks)

    def slots(self, name: str) -> slice:
        """The slots of task `name` in the joint space.

        Raises:
          InputError: an unknown task.
        """
        start = 0
        for task in self.tasks:
            if task.name == name:
                return slice(start, start + task.num_outputs)
            start += task.num_outputs
        raise InputError(
            f"unknown task {name!r}; {did_you_mean(name, self.task_names)}"
        )

    def slot_tasks(self) -> np.ndarray:
        """The index of the task that owns each slot: int32 [L]."""
        sizes = [task.num_outputs for task in self.tasks]
        return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

    def select(self, names: Sequence[str]) -> "Benchmark":
        """The benchmark with only the tasks `names`, in the benchmark's order.

        Raises:
          InputError: an unknown task.
        """
        for name in names:
            if name not in self.task_names:
                raise InputError(
                    f"unknown task {name!r} of {self.name}; "
                    f"{did_you_mean(name, self.task_names)}"
                )
        tasks = tuple(task for task in self.tasks if task.name in names)
        return dataclasses.replace(self, tasks=tasks)

    def common(self, names: Iterable[str], source: str) -> "Benchmark":
        """The benchmark of a model with only the tasks that are among `names`.

        Raises:
          InputError: there is no such task; the message begins with `source`.
        """
        names = list(names)
        common = [name for name in self.task_names if name in names]
        if not common:
            raise InputError(
                f"{source}: {', '.join(names) or 'no task'}: the model has none of them; "
                f"known: {', '.join(self.task_names)}"
            )
        return self.select(common)


EMOTION = Task(
    "emotion",
    "EmotionEval",
    "classification",
    ("anger", "joy", "optimism", "sadness"),
    ("macro_f1",),
)

TWEETEVAL = Benchmark(
    "tweeteval",
    (
        EMOTION,
        Task("hate", "HatEval", "classification", ("not-hate", "hate"), ("macro_f1",)),
        Task(
            "irony",
            "IronyEval",
            "classification",
            ("non_irony", "irony"),
            ("irony_f1",),
        ),
        Task(
            "offensive",
            "OffensEval",
            "classification",
            ("not-offensive", "offensive"),
            ("macro_f1",),
        ),
        # The publisher's test set has 12,284 rows, that of the paper's table 11,906.
        Task(
            "sentiment",
            "SentiEval",
            "classification",
            ("negative", "neutral", "positive"),
            ("macro_recall",),
        ),
        Task(
            "stance",
            "StanceEval",
            "classification",
            ("none", "against", "favor"),
            ("favor_against_f1",),
        ),
    ),
)

GOEMOTIONS_LABELS = (
    "admiration amusement anger annoyance approval caring confusion curiosity desire "
    "disappointment disapproval disgust embarrassment excitement fear gratitude grief joy "
    "love nervousness optimism pride realization relief remorse sadness surprise neutral"
)

AFFECTEVAL = Benchmark(
    "affecteval",
    (
        Task(
            "goemotions",
            "GoEmotions",
            "classification",
            tuple(GOEMOTIONS_LABELS.split()),
            ("macro_f1",),
        ),
        EMOTION,
        Task(
            "emobank",
            "EmoBank",
            "regression",
            ("V", "A", "D"),
            ("pearson_v", "pearson_a", "pearson_d"),
        ),
        Task("ei-reg", "EI-Reg", "regression", ("intensity",), ("pearson", "spearman")),
    ),
)

SYNTHETIC = Benchmark(
    "synthetic",
    (
        Task(
            "polarity",
            "Polarity",
            "classification",
            ("negative", "neutral", "positive"),
            ("macro_f1",),
        ),
        Task(
            "target",
            "Target",
            "classification",
            ("food", "travel", "tech", "sport"),
            ("macro_f1",),
        ),
        Task("irony", "Irony", "classification", ("sincere", "ironic"), ("macro_f1",)),
        Task(
            "stance",
            "Stance",
            "classification",
            ("none", "against", "favor"),
            ("macro_f1",),
        ),
        Task(
            "intensity",
            "Intensity",
            "regression",
            ("intensity",),
            ("pearson", "spearman"),
        ),
    ),
)

OWN = "own"
"""The name of a benchmark of the user's tasks, which a file defines."""
BENCHMARKS = {
    "tweeteval": TWEETEVAL,
    "affecteval": AFFECTEVAL,
    "synthetic": SYNTHETIC,
}
