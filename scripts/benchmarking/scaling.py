"""Numbers of tasks, depths of the encoder -> seconds to compile, seconds of a step.

The work is the same for every number of tasks: the same texts, in batches with an equal
share of every task, packed into the same shape.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import host_costs
import jax
import jax.numpy as jnp
import numpy as np
import timing
import workload

from mtra_jax.data.packed import batches, plans, shapes
from mtra_jax.methods import registry
from mtra_jax.models import encoder, pretrained
from mtra_jax.tasks import Benchmark, Task
from mtra_jax.train import build, step
from mtra_jax.train.devices import AXIS, Program, choose_devices, replicate, to_host
from mtra_jax.types import Batch, Params

SMALL = encoder.EncoderConfig(
    vocab_size=2000,
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=512,
    max_position_embeddings=128,
)
"""An encoder that a CPU trains at a few steps a second."""
RUN_STEPS = 12_120
"""Steps of 20 epochs of TweetEval in batches of 128."""
NUM_BATCHES = 4
"""Batches packed for each number of tasks; the steps cycle through them."""
LONGEST = 64
"""Tokens of a text, as many as the shortest row has: all batches share one shape."""


class TaskCost(NamedTuple):
    """Cost of training with `num_tasks` tasks.

    `ratio` compares a step with that of the quickest number of tasks: the median over
    rounds, in each of which every number of tasks is timed once.
    """

    num_tasks: int
    compile_seconds: float
    """The first step minus a later one: tracing and compiling."""
    step_seconds: float
    """The median."""
    ratio: float


class LayerCost(NamedTuple):
    """Cost of the value and gradient of an encoder.

    An iteration of its loop runs `unroll` layers; without a loop, all.
    `total_seconds` is the time of a run: compiling its programs, then its steps.
    """

    num_layers: int
    unroll: int
    compile_seconds: float
    step_seconds: float
    total_seconds: float


# ---- tasks


def tasks(
    counts: Sequence[int] = (2, 8, 32, 128),
    *,
    config: encoder.EncoderConfig = SMALL,
    num_texts: int = 16_384,
    batch_size: int = 128,
    dtype: Any = jnp.float32,
    num_rounds: int = 7,
    num_steps: int = 1,
    seed: int = 0,
) -> list[TaskCost]:
    """The cost of MTRA's step with each of `counts` tasks, on one device.

    Model, method, optimiser, update and packed batches are those of a run. The numbers of
    tasks take turns, `num_rounds` times, `num_steps` steps each.
    With a filled compilation cache, `compile_seconds` is the time of reading it.

    Raises:
      ValueError: a number of tasks is not in [1, `batch_size`].
    """
    if not all(1 <= count <= batch_size for count in counts):
        raise ValueError(f"`counts` must be in [1, {batch_size}]; found {counts}.")
    packed = batches_of(counts, config, num_texts, batch_size, seed)
    functions = {}
    for count, items in packed.items():
        steps = steps_of(count, config, items, num_texts, dtype)
        functions[str(count)] = functools.partial(_take, steps, num_steps)
    first, later = _time(functions, num_rounds)
    return task_costs(counts, first, later / num_steps, num_steps)


def task_costs(
    counts: Sequence[int], first: np.ndarray, later: np.ndarray, num_steps: int = 1
) -> list[TaskCost]:
    """Costs from `first` [C], the seconds of compiling and `num_steps` steps, and `later`
    [R, C], the seconds per step in R rounds."""
    medians = np.median(later, axis=0)
    ratios = np.median(later / later[:, :1], axis=0)
    rows = zip(
        map(int, counts),
        np.maximum(first - num_steps * medians, 0).tolist(),
        medians.tolist(),
        (ratios / ratios.min()).tolist(),
        strict=True,
    )
    return [TaskCost(*row) for row in rows]


def benchmark_of(num_tasks: int) -> Benchmark:
    """Classification tasks of 2, 3 and 4 classes in turn."""
    names = [f"task_{index:03d}" for index in range(num_tasks)]
    return Benchmark(
        f"scaling_{num_tasks}",
        tuple(
            Task(name, name, "classification", tuple("abcd"[: 2 + i % 3]), ())
            for i, name in enumerate(names)
        ),
    )


def batches_of(
    counts: Sequence[int],
    config: encoder.EncoderConfig,
    num_texts: int,
    batch_size: int,
    seed: int,
) -> dict[int, list[Batch]]:
    """Packed batches for each number of tasks, all of one shape."""
    longest = min(config.max_length, LONGEST)
    tokens = host_costs.random_tokens(num_texts, config.vocab_size, longest, seed)
    corpora = {
        count: host_costs.corpus_of(benchmark_of(count), tokens, seed)
        for count in counts
    }
    planned = {
        count: plans.plan_epoch(
            corpus.sizes, batch_size, seed=seed, epoch=0, sampling="joint"
        )[:NUM_BATCHES]
        for count, corpus in corpora.items()
    }
    shape = shapes.covering(
        [
            need
            for count in counts
            for need in shapes.needed(corpora[count], planned[count], 1)
        ]
    )
    return {
        count: list(batches.Batcher(corpora[count], [shape]).batches(planned[count]))
        for count in counts
    }


def step_of(
    num_tasks: int,
    config: encoder.EncoderConfig,
    num_texts: int,
    dtype: Any,
    *,
    unroll: int | None = None,
    one_task: bool = False,
    axis_name: str | None = None,
    merged: bool = False,
) -> tuple[Callable, Callable[[], step.TrainState]]:
    """MTRA's `update(state, batch)` and `new_state()` for `benchmark_of(num_tasks)`.

    `unroll`, `merged`: see `encoder.Encoder`.
    """
    benchmark = benchmark_of(num_tasks)
    names = benchmark.task_names
    sizes = (num_texts // num_tasks,) * num_tasks
    model = build.make_model(
        benchmark,
        config,
        dtype=dtype,
        head_dropout=0.2,
        sizes=sizes,
        unroll=unroll,
        merged=merged,
    )
    choice = build.MethodChoice("mtra", registry.options("mtra"))
    settings = build.Settings(5e-5, 1000, 1.0, choice.numbers())
    update = step.make_update(
        build.make_method(model, choice),
        build.make_optimiser(names, settings),
        tasks=names,
        one_task=one_task,
        axis_name=axis_name,
    )

    def new_state() -> step.TrainState:
        backbone = pretrained.init_encoder(config, jax.random.key(0))
        return build.init_state(model, choice, settings, backbone, seed=0)

    return update, new_state


def steps_of(
    num_tasks: int,
    config: encoder.EncoderConfig,
    packed: list[Batch],
    num_texts: int,
    dtype: Any,
) -> workload.Steps:
    """The steps of a run with `num_tasks` tasks on the batches `packed`."""
    update, new_state = step_of(num_tasks, config, num_texts, dtype, axis_name=AXIS)
    devices = choose_devices(1)
    program = Program(update, devices, donate_first=True)
    stepper = workload.Stepper(program, replicate(to_host(new_state()), devices))
    return workload.Steps(stepper.launch, jax.block_until_ready, packed)


def _take(steps: workload.Steps, count: int, _: int) -> None:
    steps.take(count)


def _time(
    functions: Mapping[str, Callable[[Any], Any]], num_rounds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the first calls, [C], and of later ones in turns, [R, C]."""
    first, later = (
        np.stack(list(timing.in_turns(functions, range(n)).values()), axis=1)
        for n in (1, num_rounds)
    )
    return first[0], later


# ---- layers


def layers(
    depths: Sequence[int] = (6, 12, 24),
    *,
    unrolls: Sequence[int] | None = None,
    config: encoder.EncoderConfig = SMALL,
    num_texts: int = 128,
    dtype: Any = jnp.float32,
    num_rounds: int = 5,
    num_programs: int = 12,
    num_steps: int = RUN_STEPS,
    seed: int = 0,
) -> list[LayerCost]:
    """The cost of an encoder's value and gradient by depth and layers per iteration.

    `unrolls`: by default one layer an iteration, and all. Dropout is on; the last layer
    computes the first tokens alone. A run compiles `num_programs` shapes, a
    configuration's default limit, and takes `num_steps` steps. All kinds take turns,
    `num_rounds` times.
    """
    batch = batches_of([1], config, num_texts, num_texts, seed)[1][0]
    batch = jax.tree.map(lambda x: jnp.asarray(x[0, 0]), batch)
    kinds = [(depth, unroll) for depth in depths for unroll in unrolls or (1, depth)]
    functions = {}
    for depth, unroll in kinds:
        deep = dataclasses.replace(config, num_hidden_layers=depth)
        params = pretrained.init_encoder(deep, jax.random.key(seed))
        program = jax.jit(jax.value_and_grad(loss_of(deep, dtype, unroll)))
        functions[f"{depth} {unroll}"] = functools.partial(_run, program, params, batch)
    first, later = _time(functions, num_rounds)
    return layer_costs(kinds, first, later, num_programs, num_steps)


def _run(program: Callable, params: Params, batch: Batch, number: int) -> None:
    jax.block_until_ready(program(params, batch, jax.random.key(number)))


def layer_costs(
    kinds: Sequence[tuple[int, int]],
    first: np.ndarray,
    later: np.ndarray,
    num_programs: int,
    num_steps: int,
) -> list[LayerCost]:
    """Costs from `first` [C] and `later` [R, C], seconds for each (depth, unroll)."""
    medians = np.median(later, axis=0)
    compiling = np.maximum(first - medians, 0)
    totals = num_programs * compiling + num_steps * medians
    columns = compiling.tolist(), medians.tolist(), totals.tolist()
    return [LayerCost(*kind, *row) for kind, *row in zip(kinds, *columns, strict=True)]


def loss_of(
    config: encoder.EncoderConfig, dtype: Any, unroll: int
) -> Callable[..., jax.Array]:
    """`loss(params, batch, rng)`: the mean square of z; dropout by `rng`."""
    model = build.make_model(
        benchmark_of(1), config, dtype=dtype, head_dropout=0.2, unroll=unroll
    )

    def loss(params: Params, batch: Batch, rng: jax.Array) -> jax.Array:
        z = model.represent({"encoder": params}, batch, rng)
        return jnp.mean(z.astype(jnp.float32) ** 2)

    return loss
