"""Trained models and new texts -> probabilities, or values, for every task at once.

Texts are packed into batches of a few fixed shapes, so that later calls compile nothing
new: a call of any number of texts needs at most three programs for each row length.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jax.typing import ArrayLike

from mtra_jax.data.packed import batches, packing, plans
from mtra_jax.data.packed.packing import Shape
from mtra_jax.data.splits import readout
from mtra_jax.data.splits.texts import normalize
from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError
from mtra_jax.methods.contract import Method
from mtra_jax.methods.model import Model
from mtra_jax.runs.directory.best_model import Saved
from mtra_jax.runs.training import choices
from mtra_jax.tasks import Task
from mtra_jax.train import build, evaluate, step
from mtra_jax.train.devices import AXIS, Program, local_device, replicate
from mtra_jax.types import Batch, Params

Rows = Callable[[Model, Method, Params, Batch], jax.Array]
MAPPING = "shard_map"
"""`pmap` would hold the programs of a model when the model is long gone."""
BATCH_TOKENS = (64, 512, 2048)
"""Tokens of the batches, places for padding included: for one text, for a few, for many."""
TOKENS_PER_TEXT = 16
"""Room of a batch for which it has one place for a text."""


class Predictor:
    """Calls of trained models with texts: `predictor(texts)`.

    `models`: one for all tasks, or one for each. `names`: the tasks to predict, all of
    the models if empty. `tasks` holds them in order.
    """

    def __init__(self, models: Sequence[Saved], names: Sequence[str] = ()) -> None:
        self._models = [_Model(saved) for saved in models]
        tasks = [task for saved in models for task in saved.benchmark.tasks]
        self.tasks: tuple[Task, ...] = tuple(
            task for task in tasks if not names or task.name in names
        )

    def tasks_for(self, *, has_pairs: bool) -> tuple[Task, ...]:
        """The tasks whose inputs are pairs of texts, or those whose inputs are one text.

        Raises:
          InputError: there is no such task.
        """
        fitting = tuple(task for task in self.tasks if task.is_pair == has_pairs)
        if not fitting:
            names = ", ".join(task.name for task in self.tasks)
            wanted = "one text, not a pair," if has_pairs else "a pair of texts"
            raise InputError(f"{names}: expected {wanted} for each example")
        return fitting

    def __call__(
        self, texts: Sequence[str], second_texts: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Predicts all tasks that read such texts: float64 [N, d] by task name.

        The rows are in the order of the `texts`: probabilities of the classes, or of each
        label of a multi-label task, or values in the unit of the training data.
        `second_texts`: empty, or the second text of each of N pairs.

        Raises:
          InputError: no task reads single texts, or none reads pairs.
          ValueError: the two numbers of texts differ.
        """
        if second_texts and len(second_texts) != len(texts):
            raise ValueError(
                f"`second_texts` must have {len(texts)} texts; found {len(second_texts)}."
            )
        wanted = {task.name for task in self.tasks_for(has_pairs=bool(second_texts))}
        results = {}
        for model in self._models:
            benchmark = model.saved.benchmark
            own = [task for task in benchmark.tasks if task.name in wanted]
            if own:
                outputs = model.outputs(texts, second_texts)
                for task in own:
                    part = outputs[:, benchmark.slots(task.name)]
                    results[task.name] = in_units(task, part)
        return results


def in_units(task: Task, outputs: np.ndarray) -> np.ndarray:
    """Raw outputs of a task [N, d] -> probabilities, or values in the user's unit."""
    shares = readout.probabilities(task, outputs)
    if shares is None:
        return readout.predictions(task, outputs).astype(np.float64)
    return shares


class _Model:
    """One trained encoder with its heads, on one device."""

    def __init__(self, saved: Saved) -> None:
        self.saved = saved
        devices = local_device()
        self._forward = program_of(saved, devices, outputs_of)
        self._params = replicate(saved.params, devices)

    def outputs(self, texts: Sequence[str], second_texts: Sequence[str]) -> np.ndarray:
        """Raw outputs of all tasks, float32 [N, L], in the order of the texts."""
        width = self.saved.benchmark.num_slots
        return rows_of(
            self._forward, self._params, self.saved, texts, second_texts, width
        )


def rows_of(
    program: Program,
    params: Params,
    saved: Saved,
    texts: Sequence[str],
    second_texts: Sequence[str],
    width: int,
) -> np.ndarray:
    """Returns a row of `program`'s first result for each text: float32 [N, `width`].

    `program(params, batch)` gives the results of a batch as `step.make_forward` does. The
    rows are in the order of the `texts`. `second_texts`: empty, or those of N pairs.
    """
    size, max_length = len(texts), saved.config.data.max_length
    encoded = tokens.encode(
        saved.backbone.tokenizer,
        [*map(normalize, texts)],
        max_length,
        [*map(normalize, second_texts)],
    )
    corpus = batches.Corpus(
        encoded,
        np.zeros(size, np.int32),
        np.zeros((size, saved.benchmark.num_slots), np.float32),
        (size,),
    )
    rows = np.zeros((size, width), np.float32)
    for shape, planned in plan(encoded.lengths, max_length).items():
        split = evaluate.Split(batches.Batcher(corpus, (shape,)), np.stack(planned))
        results, _ = evaluate.predict_outputs(program, params, split)
        rows[np.sort(split.plan[split.plan >= 0])] = results
    return rows


def program_of(saved: Saved, devices: list[jax.Device], rows: Rows) -> Program:
    """The program of `rows(model, method, params, batch)`, for `rows_of`.

    `rows` gives a row of float32 for each place of the batch. The options of the method
    that are numbers are arguments of the program.
    """
    config = saved.config
    model = choices.make_model(config, saved.benchmark, saved.backbone.config)
    choice = choices.method_of(config)

    def run(
        params: Params, batch: Batch, numbers: Mapping[str, ArrayLike]
    ) -> tuple[jax.Array, dict[str, tuple]]:
        method = build.make_method(model, choice, numbers)
        return rows(model, method, params, batch), {"losses": ()}

    numbers = (choice.numbers(),)
    return Program(run, devices, donate_first=False, settings=numbers, mapping=MAPPING)


def outputs_of(model: Model, method: Method, params: Params, batch: Batch) -> jax.Array:
    """The outputs of all tasks [B, L] alone; the compiler drops losses and bounds."""
    del model
    outputs, _ = step.make_forward(method, axis_name=AXIS)(params, batch)
    return outputs


def plan(lengths: np.ndarray, max_length: int) -> dict[Shape, list[np.ndarray]]:
    """Distributes texts of `lengths` [N] over batches of few shapes.

    Returns the batches of each shape, the texts of each as int64 [places]; -1 marks an
    empty place. Long texts come first, in rows as long as they need, and short ones fill
    the room that they leave.
    """
    row_lengths = np.array([_row_length(n, max_length) for n in lengths.tolist()])
    waiting = np.argsort(-row_lengths, kind="stable")
    planned: dict[Shape, list[np.ndarray]] = {}
    while waiting.size:
        row_length = int(row_lengths[waiting[0]])
        options = _shapes(row_length)
        own = waiting[row_lengths[waiting] == row_length]
        shape = options[-1]
        # After a full batch the same program also takes the rest.
        if shape not in planned:
            shape = next(
                (s for s in options if _fit(lengths[own], s) == len(own)), shape
            )
        count = _fit(lengths[waiting], shape)
        batch = np.full(_places(shape), plans.PADDING, np.int64)
        batch[:count] = waiting[:count]
        planned.setdefault(shape, []).append(batch)
        waiting = waiting[count:]
    return planned


def _row_length(length: int, max_length: int) -> int:
    """One of `packing.ROW_LENGTHS`, or else `max_length`, for all longer texts."""
    row_length = packing.row_length_for(length)
    return row_length if row_length in packing.ROW_LENGTHS else max_length


def _shapes(row_length: int) -> list[Shape]:
    """The shapes of batches with rows of this length, smallest first."""
    rows = sorted({max(1, size // row_length) for size in BATCH_TOKENS})
    return [Shape(num_rows, row_length) for num_rows in rows]


def _places(shape: Shape) -> int:
    return max(1, shape.num_tokens // TOKENS_PER_TEXT)


def _fit(lengths: np.ndarray, shape: Shape) -> int:
    """The number of texts, from the first on, that a batch of this shape holds."""
    totals = np.cumsum(lengths[: _places(shape)])
    count = int(np.searchsorted(totals, shape.num_tokens, side="right"))
    while count > 1:
        packed = packing.first_fit_decreasing(lengths[:count], shape.row_length)
        if packed.num_rows <= shape.num_rows:
            break
        count -= max(1, count // 64)
    return count
