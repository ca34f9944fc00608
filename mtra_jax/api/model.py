"""A trained model -> predictions, representations and figures, as Python objects."""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from mtra_jax import files, metrics
from mtra_jax.api import inputs
from mtra_jax.data import benchmarks
from mtra_jax.data.splits import fingerprints
from mtra_jax.errors import InputError, caller_level, did_you_mean
from mtra_jax.reports.predicted import answers
from mtra_jax.runs.directory import inputs_json
from mtra_jax.runs.directory.best_model import Saved
from mtra_jax.runs.trained import scored_data, scoring
from mtra_jax.runs.trained.prediction import Predictor
from mtra_jax.runs.trained.representation import Representer
from mtra_jax.tasks import Benchmark, Task

Text = str | tuple[str, str]
"""A text, or the two texts of a pair."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction of a model for one text and one task.

    Classification: `label` and the `probabilities` of all labels, which sum to 1.
    Multi-label: `labels`, those at or above their thresholds, and `probabilities`.
    Regression: `values` by dimension, in the unit of the training data. `label` is None
    if the outputs are not finite.
    """

    label: str | None = None
    labels: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = dataclasses.field(default_factory=dict)
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Model:
    """A trained model of one or more tasks.

    Programs are compiled at the first call for each of a few shapes, and stay with the
    object until it is dropped, or `mtra_jax.train` ends: later calls are quick.
    `results`: as in `results.json`; None if the run has not finished.
    """

    def __init__(
        self,
        saved: Sequence[Saved],
        results: Mapping[str, Any] | None = None,
        *,
        names_data: bool = True,
    ) -> None:
        """`saved`: one model for all tasks, or one for each task.

        `names_data`: whether the configuration names the data, as that of a run does.
        """
        self._saved = list(saved)
        self._names_data = names_data
        self._predictor: Predictor | None = None
        self._representers: dict[int, Representer] = {}
        self.results = results

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, with labels, thresholds and scales."""
        return tuple(task for one in self._saved for task in one.benchmark.tasks)

    def __repr__(self) -> str:
        return f"Model({', '.join(task.name for task in self.tasks)})"

    @overload
    def predict(self, texts: Iterable[Text], task: str) -> list[Prediction]: ...

    @overload
    def predict(
        self, texts: Iterable[Text], task: None = None
    ) -> list[dict[str, Prediction]]: ...

    def predict(
        self, texts: Iterable[Text], task: str | None = None
    ) -> list[Prediction] | list[dict[str, Prediction]]:
        """Predicts `task` for each text; without it all tasks, by name, in one pass.

        `texts`: strings, or pairs of strings. Without `task` the tasks are those that
        read such texts.

        Raises:
          InputError: `texts` is a single string, `task` is unknown, or the task reads
            pairs and the texts are single ones, or the reverse.
        """
        wanted = None if task is None else self._task(task)
        given = inputs.texts_of(texts)
        if not given.first:
            return []
        has_pairs = bool(given.second)
        if wanted is not None and wanted.is_pair != has_pairs:
            expected = "pairs of texts" if wanted.is_pair else "single texts"
            raise InputError(f"task {wanted.name}: expected {expected}")
        if self._predictor is None:
            self._predictor = Predictor(self._saved)
        chosen = self._predictor.tasks_for(has_pairs=has_pairs)
        outputs = self._predictor(given.first, given.second)
        if wanted is not None:
            return [prediction(wanted, row) for row in outputs[wanted.name]]
        return [
            {one.name: prediction(one, outputs[one.name][index]) for one in chosen}
            for index in range(len(given.first))
        ]

    def encode(self, texts: Iterable[Text], task: str | None = None) -> np.ndarray:
        """Returns z, the last hidden state of each text's first token: float32 [N, H].

        The encoder computes in the run's `compute_dtype`, by default bfloat16 on
        accelerators and float32 on CPUs; z is then cast to float32.
        `task`: whose encoder is used, if each task has another one.

        Raises:
          InputError: `texts` is a single string; or each task has an encoder and `task`
            does not name one.
        """
        index = self._index(task)
        given = inputs.texts_of(texts)
        if index not in self._representers:
            self._representers[index] = Representer(self._saved[index])
        return self._representers[index](given.first, given.second)

    def evaluate(
        self,
        tasks: inputs.Given | None = None,
        split: str = "test",
        *,
        data_dir: str = "",
    ) -> dict[str, Any]:
        """Scores the model on one split, as one split of `results`: None for no figure.

        `tasks`: a TOML file, the name of a built-in benchmark with its `data_dir`, or a
        list of (Task, {split: examples}). Those that the model does not have are left
        out; labels go by their names. None for the data that the run was trained with, at
        most `data.limit` examples of each task. Warns if these data are not the same any
        more, or if the file holds other data than those of the training, and only a share
        of them is scored.

        Raises:
          InputError: data are missing, do not fit the model, or have none of its tasks;
            `tasks` is None, and the run's were a list, its file lacks some, or the model
            is an exported one.
        """
        first = self._saved[0]
        own = Benchmark(first.benchmark.name, tuple(self.tasks))
        given, limit = tasks, 0
        if given is None:
            if not self._names_data:
                raise InputError(
                    "an exported model does not name its data; expected "
                    "a TOML file, a list of tasks or the name of a benchmark"
                )
            given, data_dir = inputs.of_run(first.config, own, data_dir)
            limit = first.config.data.limit
        data = inputs.evaluation_data(given, own, split, data_dir)
        scored = benchmarks.limit_examples(data.benchmark, data.splits, limit)
        scores: dict[str, Any] = {}
        for one in self._saved:
            names = [n for n in one.benchmark.task_names if n in scored]
            if not names:
                continue
            splits = {name: scored[name] for name in names}
            scores |= scoring.score_examples(one, splits, split)
            now = fingerprints.of_splits({name: data.splits[name] for name in names})
            for line in _warnings_of(one, now, tasks, split):
                warnings.warn(line, stacklevel=caller_level())
        return files.plain(metrics.summarize(scores, data.benchmark.tasks))

    def _task(self, name: str) -> Task:
        for task in self.tasks:
            if task.name == name:
                return task
        names = [task.name for task in self.tasks]
        raise InputError(f"unknown task {name!r}; {did_you_mean(str(name), names)}")

    def _index(self, task: str | None) -> int:
        """The place of the encoder of `task`."""
        if task is not None:
            self._task(task)
            owners = (task in one.benchmark.task_names for one in self._saved)
            return list(owners).index(True)
        if len(self._saved) > 1:
            raise InputError(
                "each task has its encoder; expected task=, one of "
                f"{', '.join(task.name for task in self.tasks)}"
            )
        return 0


def prediction(task: Task, outputs: np.ndarray) -> Prediction:
    """The prediction for one text from `outputs` [d] of `prediction.Predictor`."""
    parts = answers.answer(task, outputs, is_rounded=False)
    return Prediction(**{**parts, "labels": tuple(parts.get("labels", ()))})


def _warnings_of(
    one: Saved, now: dict[str, Any], tasks: inputs.Given | None, split: str
) -> Iterator[str]:
    """Yields lines on how the scored data `now` differ from those of the run.

    `now`: as `inputs_json.Fingerprints.data`. `tasks`: as in `Model.evaluate`.
    """
    if tasks is None:
        if difference := inputs_json.data_difference(one.inputs, now):
            yield f"not the data of the run: {difference}"
        return
    path = inputs.check_file(tasks) if inputs.is_file(tasks) else ""
    yield from scored_data.cut_off(one.inputs, now, path, split)
