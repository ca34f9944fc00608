"""A finished run -> its best model's representations and outputs of the run's own texts."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax import config as configs
from mtra_jax.data import benchmarks
from mtra_jax.data.packed import batches, plans, shapes
from mtra_jax.data.splits import fingerprints
from mtra_jax.data.splits.examples import Examples, take
from mtra_jax.errors import InputError
from mtra_jax.methods import layout
from mtra_jax.methods.contract import Method
from mtra_jax.methods.model import Model
from mtra_jax.runs.directory import best_model, inputs_json
from mtra_jax.runs.directory import layout as run_files
from mtra_jax.runs.directory.best_model import Saved
from mtra_jax.runs.trained import prediction
from mtra_jax.runs.training import choices, inputs, task_gradients
from mtra_jax.tasks import Task
from mtra_jax.train import build
from mtra_jax.train.devices import AXIS, local_device, replicate
from mtra_jax.types import Batch, Params

NUM_VIEWS = 2


class Rows(NamedTuple):
    """A row for each of N texts of a task. `z`, `views`: [N, H]; `outputs`: [N, d].

    `views` are z under two different dropout masks of the encoder.
    """

    z: np.ndarray
    views: tuple[np.ndarray, np.ndarray]
    outputs: np.ndarray


class Packed(NamedTuple):
    """All texts of a split in batches of one task each, for one device.

    `batches`: without the axis of devices. `plan`: int [n, B], the texts of each in the
    order of `corpus`; -1 marks an empty place.
    """

    corpus: batches.Corpus
    plan: np.ndarray
    batches: list[Batch]


class Trained:
    """The best model of the run in `directory`, and the examples of the run.

    `most_texts`: the most of each task and split, the same for all runs; 0 for all.

    Raises:
      InputError: there is no finished run of all tasks together, or not its data.
    """

    def __init__(self, directory: Path, most_texts: int = 0) -> None:
        config = run_files.read_config(directory)
        if configs.separate_tasks(config):
            raise InputError(
                f"{directory}: a model for each task; expected one encoder of all tasks"
            )
        # One device computes alone: there is no axis to average layers over.
        config.gradient_pieces = False
        self.config = config
        self.saved: Saved = best_model.load_one(directory, config.data.cache_dir)
        data = inputs.load_data(config)
        now = fingerprints.of_splits(data.splits)
        inputs_json.check_data(directory, self.saved.inputs, now)
        self.examples = {
            task: {split: _drawn(task, own, most_texts) for split, own in parts.items()}
            for task, parts in inputs.examples_of(config, data).items()
        }
        devices = local_device()
        self._program = prediction.program_of(self.saved, devices, _stacked)
        self._params = replicate(self.saved.params, devices)
        self.rows = functools.cache(self._rows)
        # The same for the parameters of every moment, so that `at` keeps it.
        self._gradients = functools.cache(self._program_of_gradients)

    def at(self, params: Params) -> "Trained":
        """The same run with the parameters of another moment of it."""
        other = copy.copy(self)
        other.saved = self.saved._replace(params=params)
        other._params = replicate(params, local_device())
        other.rows = functools.cache(other._rows)
        return other

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the run."""
        return self.saved.benchmark.tasks

    def part(self, task: Task, split: str) -> Examples:
        """The examples of a task and split that the run used."""
        return self.examples[task.name][split]

    def corpus(self, split: str) -> batches.Corpus:
        """The token ids of a split's texts."""
        return benchmarks.build_corpora(
            self.saved.benchmark,
            self.examples,
            self.saved.backbone.tokenizer,
            max_length=self.config.data.max_length,
            cache_dir=None,
            splits=(split,),
        )[split]

    def packed(self, split: str) -> Packed:
        """The texts of a split in batches as large as those of training."""
        corpus = self.corpus(split)
        plan = plans.plan_evaluation(corpus.sizes, self.config.batch_size)
        # Each shape costs the caller a compilation.
        needed = shapes.needed(corpus, plan, 1)
        chosen = shapes.choose(needed, program_cost=0.0, max_shapes=1)
        made = batches.Batcher(corpus, chosen).batches(plan)
        return Packed(corpus, plan, [Batch(*(x[0] for x in batch)) for batch in made])

    def model_and_method(self) -> tuple[Model, Method]:
        """The network, and the method as pure functions of the parameters."""
        config = self.config
        model = choices.make_model(
            config, self.saved.benchmark, self.saved.backbone.config
        )
        return model, build.make_method(model, choices.method_of(config))

    def gramian(self) -> np.ndarray:
        """Inner products [T, T] of the tasks' gradients, see `task_gradients`."""
        program, batch = self._gradients()
        return np.asarray(program(self.saved.params, batch))

    def _program_of_gradients(self) -> tuple[Callable[..., jax.Array], Batch]:
        """The compiled Gramian, and the first training batches of each task."""
        batch = task_gradients.pack(self.corpus("train"), self.config.batch_size)
        program = jax.jit(task_gradients.make_gramian(*self.model_and_method()))
        return program, jax.device_put(jax.tree.map(lambda array: array[0], batch))

    def _rows(self, task: Task, split: str) -> Rows:
        part, width = self.part(task, split), self.saved.backbone.config.hidden_size
        stacked = prediction.rows_of(
            self._program,
            self._params,
            self.saved,
            part.texts,
            part.second_texts,
            (1 + NUM_VIEWS) * width + self.saved.benchmark.num_slots,
        )
        z, first, second, outputs = np.split(
            stacked, [width, 2 * width, 3 * width], axis=1
        )
        own = outputs[:, self.saved.benchmark.slots(task.name)]
        return Rows(z, (first, second), own)


def _drawn(task: str, part: Examples, most: int) -> Examples:
    """`most` of the examples at random, in their order; all for 0."""
    if not 0 < most < len(part.texts):
        return part
    # Not the run's seed: rows of a table are compared on the same texts.
    order = np.random.default_rng([*task.encode()]).permutation(len(part.texts))
    return take(part, np.sort(order[:most]))


def _stacked(model: Model, method: Method, params: Params, batch: Batch) -> jax.Array:
    """z, its views and the outputs of each text, side by side."""
    part = layout.only_part(batch)
    # Another mask for each batch.
    key = jax.random.fold_in(jax.random.key(0), jnp.sum(part.tokens))
    keys = (None, *jax.random.split(key, NUM_VIEWS))
    states = [
        layout.gather(model.represent(params, part, k).astype(jnp.float32), AXIS)
        for k in keys
    ]
    outputs = prediction.outputs_of(model, method, params, batch)
    return jnp.concatenate([*states, outputs], axis=-1)
