"""Five toy tasks on a table in place of an encoder: models, batches, steps, gradients."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtra_jax.balancing import Inputs
from mtra_jax.methods import gradients, registry
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import heads
from mtra_jax.train import devices as device_programs
from mtra_jax.train import step
from mtra_jax.train.devices import AXIS, to_host
from mtra_jax.types import Batch

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
SIZES = (3, 2, 2, 1, 4)
STARTS = np.cumsum((0, *SIZES))
IS_CLASSIFICATION = (True, False, True, False, True)
NUM_EXAMPLES = (10, 20, 30, 40, 50)
# The numbers of tasks, slots, features and tokens all differ.
HIDDEN, VOCABULARY = 6, 7
# Indices in `NAMES`; -1 is an empty place of the batch.
MIXTURES = {
    "all": (0, 3, 1, -1, 2, 0, 4, 1, -1, 3, 4, 2, 0, 1, 4, 2),
    "two_absent": (2, -1, 2, 2, -1, 2, 4, 4, 1, 1, 4, -1, 4, 1, 1, -1),
    "one": (-1, -1, 1, 1, -1, -1, 1, *[-1] * 9),
}

# After the first step the trace of the momentum is the gradient. Adamax's first update does
# not depend on the gradient's scale; the real optimiser has separate tests.
DESCENT = optax.with_extra_args_support(optax.sgd(1e-2, momentum=0.9))
SEED = 2


class StepResult(NamedTuple):
    """The gradient and metrics of one step, and the method's next state."""

    grads: Any
    metrics: dict[str, Any]
    state: Any


class Table:
    """In place of an encoder: the hidden state of a token is its row of the table."""

    def apply(
        self, variables, tokens, segments, positions, wanted, *, deterministic, rngs
    ):
        table = variables["params"]["embeddings"]["word_embeddings"]["embedding"]
        return states_at(table[tokens], wanted)


def states_at(hidden, wanted):
    """Returns all states [R, S, H], or only those at `wanted` [B], like `Encoder`."""
    return hidden if wanted is None else hidden.reshape(-1, hidden.shape[-1])[wanted]


def objective_of(method, names):
    """The objective of a method whose balancer reads the losses.

    (`params["method"]`, losses, present, memory, key) -> (value, next memory).
    """

    def objective(own, losses, present, memory, rng):
        inputs = Inputs(losses, present, rng)
        result = gradients.balance(method, own, inputs, memory, names)
        return result.value, result.memory

    return objective


def first_memory(method, names=NAMES):
    """The memory before the first step, of a method that reads no gradients."""
    return gradients.first_memory(method, {"heads": dict.fromkeys(names)})


@dataclasses.dataclass(frozen=True)
class Toy:
    """Toy tasks in some order: `order[i]` is the index in `NAMES` of task i.

    All texts share a few tokens, so that the tasks' gradients overlap.
    """

    mixtures: ClassVar = MIXTURES
    order: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps_per_epoch: int = 2

    @property
    def names(self):
        return tuple(NAMES[task] for task in self.order)

    @property
    def slots(self):
        """[L]: the index of each slot if the tasks are in the order of `NAMES`."""
        own = [np.arange(STARTS[task], STARTS[task + 1]) for task in self.order]
        return np.concatenate(own)

    @property
    def model(self):
        sizes = [SIZES[task] for task in self.order]
        space = Space(
            self.names,
            np.repeat(np.arange(5, dtype=np.int32), sizes),
            np.array([IS_CLASSIFICATION[task] for task in self.order]),
            tuple(NUM_EXAMPLES[task] for task in self.order),
            self.steps_per_epoch,
        )
        outputs = tuple(zip(self.names, sizes, strict=True))
        return Model(Table(), heads.Heads(outputs), space, HIDDEN)

    def make(self, name):
        return registry.make(name, self.model)

    def params(self, name):
        """Parameters in float64; the method's are near, but not at, their initial values."""
        rng = np.random.default_rng(3)
        layers = {
            task: {"kernel": rng.normal(size=(HIDDEN, d)), "bias": rng.normal(size=d)}
            for task, d in zip(NAMES, SIZES, strict=True)
        }
        table = rng.normal(size=(VOCABULARY, HIDDEN))
        own = jax.tree.map(
            lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), first_params(name)
        )
        return {
            "encoder": {"embeddings": {"word_embeddings": {"embedding": table}}},
            "heads": layers,
            "method": own,
        }

    def batch(self, tasks, num_devices=None, seed=0):
        """A planned batch of texts of one token; with `num_devices` its shards [D, ...].

        `tasks`: as in `MIXTURES`. Empty places have tokens and targets like a text.
        """
        rng = np.random.default_rng(seed)
        tasks, size = np.asarray(tasks), len(tasks)
        targets = np.zeros((size, STARTS[-1]))
        partners = np.arange(size, dtype=np.int32)
        for task in range(5):
            rows = np.flatnonzero(tasks == task)
            partners[rows] = rng.permutation(rows)
            shape = len(rows), SIZES[task]
            targets[rows, STARTS[task] : STARTS[task + 1]] = (
                np.eye(SIZES[task])[rng.integers(SIZES[task], size=len(rows))]
                if IS_CLASSIFICATION[task]
                else 2 * rng.normal(size=shape)
            )
        places = {task: place for place, task in enumerate(self.order)}
        batch = Batch(
            tokens=rng.integers(VOCABULARY, size=(1, 1, size), dtype=np.int32),
            segments=np.ones((1, 1, size), np.int32),
            positions=np.zeros((1, 1, size), np.int32),
            types=np.zeros((1, 1, size), np.int32),
            first_tokens=np.arange(size, dtype=np.int32)[None],
            where=tasks >= 0,
            tasks=np.array([places.get(task, 0) for task in tasks], np.int32),
            targets=targets[:, self.slots],
            partners=partners,
        )
        return batch if num_devices is None else shards(batch, num_devices)

    def program(self, name, num_devices=1):
        """One training step, compiled once for all tests."""
        return compiled(self, name, num_devices)

    def rngs(self, at):
        """The keys of step `at`; "method" is the same on all devices."""
        return step.step_rngs(jax.random.key(SEED), at, None)

    def state(self, name, params=None):
        """The state before the first step."""
        params = self.params(name) if params is None else params
        rng = jax.random.key(SEED)
        return to_host(step.init_state(self.make(name), DESCENT, params, rng))

    def differentiate(self, name, tasks, **changes):
        """Runs a step on the batch of `tasks` from the first state with `changes`."""
        before = self.state(name)._replace(**changes)
        after, metrics = self.program(name)(before, self.batch(tasks, 1))
        return StepResult(after.optimiser[0].trace, to_host(metrics), after.method)

    def gradient(self, method, params, batch, rngs, state=(), one_task=False):
        """`gradients.differentiate` on one device, for a batch without the axis P."""
        return gradients.differentiate(
            method,
            params,
            jax.tree.map(lambda x: jnp.asarray(x)[None], batch),
            rngs,
            state,
            tasks=self.names,
            one_task=one_task,
            axis_name=None,
        )

    def losses_and_gradients(self, params, batch):
        """Losses [T], and each task's gradient by encoder and heads, in NumPy."""
        table = params["encoder"]["embeddings"]["word_embeddings"]["embedding"]
        z = table[batch.tokens.ravel()]
        losses, grads = np.zeros(5), []
        for task, name in enumerate(self.names):
            head = params["heads"][name]
            own = np.flatnonzero(self.model.space.slot_tasks == task)
            rows = np.flatnonzero(batch.where & (batch.tasks == task))
            wanted = batch.targets[np.ix_(rows, own)]
            features = np.maximum(z[rows], 0)
            predicted = features @ head["kernel"] + head["bias"]
            count = max(len(rows), 1)
            if self.model.space.is_classification[task]:
                logs = predicted - np.logaddexp.reduce(predicted, axis=1, keepdims=True)
                losses[task] = -np.sum(wanted * logs) / count
                by_outputs = (np.exp(logs) - wanted) / count
            else:
                losses[task] = np.sum((predicted - wanted) ** 2) / (count * len(own))
                by_outputs = 2 * (predicted - wanted) / (count * len(own))
            by_z = np.where(z[rows] > 0, by_outputs @ head["kernel"].T, 0)
            by_table = np.zeros_like(table)
            np.add.at(by_table, batch.tokens.ravel()[rows], by_z)
            layers = jax.tree.map(np.zeros_like, params["heads"])
            layers[name] = {
                "kernel": features.T @ by_outputs,
                "bias": by_outputs.sum(0),
            }
            embeddings = {"word_embeddings": {"embedding": by_table}}
            grads.append({"encoder": {"embeddings": embeddings}, "heads": layers})
        return losses, grads


def shards(batch, num_devices):
    """A planned batch of one part on devices: arrays [D, P, ...].

    Position p of the planned batch is text p // D of device p % D.
    """
    devices = range(num_devices)
    flat = jax.tree.map(lambda x: np.reshape(x, (-1, *x.shape[3:])), batch[:4])
    per_token = (
        np.stack([x[d::num_devices] for d in devices])[:, None, None, None]
        for x in flat
    )
    starts = np.arange(flat[0].shape[0] // num_devices, dtype=np.int32)
    first_tokens = np.tile(starts, (num_devices, 1, 1, 1))
    per_text = (
        np.stack([x[d::num_devices] for d in devices])[:, None] for x in batch[5:]
    )
    return Batch(*per_token, first_tokens, *per_text)


class Program:
    """`step.make_update` over devices, and the number of its compilations."""

    def __init__(self, toy, name, num_devices):
        update = step.make_update(
            toy.make(name),
            DESCENT,
            tasks=toy.names,
            one_task=False,
            axis_name=AXIS,
        )
        devices = jax.devices()[:num_devices]
        self.call = device_programs.Program(update, devices, donate_first=False)
        self.num_compilations = 0

    def __call__(self, state, batch):
        def listen(event, seconds, **details):
            is_one = event == "/jax/core/compile/backend_compile_duration"
            self.num_compilations += is_one

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            return self.call(state, batch)
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)


@functools.cache
def first_params(name):
    """The method's initial parameters, computed once for all tests."""
    params = jax.jit(Toy().make(name).init)(jax.random.key(0))
    return jax.tree.map(np.float64, params)


@functools.cache
def compiled(toy, name, num_devices):
    return Program(toy, name, num_devices)
