"""Benchmark, encoder and method -> model, initial parameters, compiled programs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from mtra_jax.data.splits import targets
from mtra_jax.methods import registry
from mtra_jax.methods.contract import Method
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import encoder, heads
from mtra_jax.tasks import Benchmark
from mtra_jax.train import optimiser, schedules, step
from mtra_jax.train.devices import AXIS, Program
from mtra_jax.types import Batch, Params


class MethodChoice(NamedTuple):
    """The name of a method in `registry.METHODS`, and the options of its factory."""

    name: str
    options: Mapping[str, Any]

    def numbers(self) -> dict[str, np.float32]:
        """Returns the options that are floats, which programs take as arguments.

        The default of an option decides its type: see `contract.Factory`.
        """
        return {
            name: np.float32(value)
            for name, value in self.options.items()
            if type(value) is float
        }

    def critic_rate(self) -> np.float32 | None:
        """Returns `Settings.critic_rate`; None if it is 1, or the method has no critic."""
        rate = self.options.get("critic_rate", 1.0)
        return np.float32(rate) if rate != 1 else None


class OptimiserChoice(NamedTuple):
    """Names in `optimiser.OPTIMISERS` and `schedules.DECAYS`."""

    name: str = "adamax"
    schedule: str = "constant"


PAPER = OptimiserChoice()
"""The optimiser of MTRA: Adamax, with a constant rate after the warm-up."""


class Settings(NamedTuple):
    """Numbers that training programs take as arguments.

    Runs that differ only in these share compiled programs. Numbers that are None are not
    part of the program.
    """

    learning_rate: ArrayLike
    warm_up_steps: ArrayLike
    clip_norm: ArrayLike
    method: Mapping[str, ArrayLike]
    """See `MethodChoice.numbers`."""
    num_steps: ArrayLike | None = None
    """Planned steps of the whole run, for schedules that decay."""
    weight_decay: ArrayLike | None = None
    layer_decay: ArrayLike | None = None
    critic_rate: ArrayLike | None = None
    """Multiplier of the learning rate of a method's statistics network."""


def use_compilation_cache(directory: Path | None) -> None:
    """Stores compiled programs in `directory`, so that the next start is quick.

    None does not change JAX's settings.
    """
    if directory is None:
        return
    jax.config.update("jax_compilation_cache_dir", str(directory / "programs"))
    # Small programs too, because a start needs ten. By default JAX also stores the results
    # of kernel tuning on GPUs here, which programs with common parts share.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def compute_dtype(name: str) -> Any:
    """Returns the precision of the encoder; parameters and losses stay in float32.

    `name`: a NumPy name, or "auto" for bfloat16 on accelerators and float32 on CPUs.
    """
    if name == "auto":
        return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    return jnp.dtype(name)


def make_model(
    benchmark: Benchmark,
    encoder_config: encoder.EncoderConfig,
    *,
    dtype: Any,
    head_dropout: float,
    sizes: tuple[int, ...] | None = None,
    steps_per_epoch: int = 1,
    unroll: int | None = None,
    in_pieces: bool = False,
    merged: bool = False,
    label_entropies: np.ndarray | None = None,
) -> Model:
    """Makes the network, without parameters.

    `sizes`: the number of training examples of each task; `label_entropies`: see `Space`.
    Only training uses these two and `steps_per_epoch`. `dtype`, `unroll`, `merged`: see
    `encoder.Encoder`. `in_pieces`: the gradient of each layer is averaged over the devices
    as soon as it is made, not all of it at the end.
    """
    kinds = np.array([task.kind for task in benchmark.tasks])
    space = Space(
        benchmark.task_names,
        benchmark.slot_tasks(),
        is_classification=kinds == "classification",
        num_examples=sizes or (1,) * len(benchmark.tasks),
        steps_per_epoch=steps_per_epoch,
        is_multi_label=kinds == "multi_label" if "multi_label" in kinds else None,
        class_weights=targets.slot_weights(benchmark),
        label_smoothing=targets.smoothings(benchmark),
        label_entropies=label_entropies,
    )
    outputs = tuple((task.name, task.num_outputs) for task in benchmark.tasks)
    return Model(
        encoder.Encoder(
            encoder_config, dtype, unroll, AXIS if in_pieces else None, merged
        ),
        heads.Heads(outputs, head_dropout),
        space,
        encoder_config.hidden_size,
        in_pieces=in_pieces,
        reads_types=any(task.is_pair for task in benchmark.tasks),
    )


def make_method(
    model: Model, choice: MethodChoice, numbers: Mapping[str, ArrayLike] | None = None
) -> Method:
    """Makes the chosen method; `numbers` replace those options (see `Settings`)."""
    options = {**choice.options, **(numbers or {})}
    return registry.make(choice.name, model, **options)


def packs_tasks_apart(model: Model, choice: MethodChoice) -> bool:
    """Whether the method needs batches in parts of one task each."""
    return make_method(model, choice).reads_gradients


def init_params(
    model: Model,
    method: Method,
    encoder_params: Params,
    rng: jax.Array,
    biases: np.ndarray | None = None,
) -> Params:
    """Returns the parameters before training: the encoder's, new heads, the method's.

    `biases` [L]: those of the heads, see `targets.base_rates`; None for zeros.
    """

    # One program: each start would compile, or load, separate operations one by one.
    @jax.jit
    def new_params(rng: jax.Array) -> Params:
        heads_rng, method_rng = jax.random.split(rng)
        z = jnp.zeros((1, method.num_features or model.hidden_size))
        return {
            "heads": model.heads.init(heads_rng, z, deterministic=True)["params"],
            "method": method.init(method_rng),
        }

    params = {"encoder": encoder_params, **new_params(rng)}
    if biases is not None:
        for task, name in enumerate(model.space.names):
            own = biases[model.space.slot_tasks == task]
            params["heads"][name]["bias"] = jnp.asarray(own, jnp.float32)
    return params


def init_state(
    model: Model,
    choice: MethodChoice,
    settings: Settings,
    encoder_params: Params,
    seed: int,
    biases: np.ndarray | None = None,
    chosen: OptimiserChoice = PAPER,
) -> step.TrainState:
    """Returns the state before the first step of a run with `seed`.

    `biases`: see `init_params`.
    """
    method = make_method(model, choice)
    root = jax.random.key(seed)
    # Each step folds its number into the root key; no step has this number.
    init_rng = jax.random.fold_in(root, 2**32 - 1)
    params = init_params(model, method, encoder_params, init_rng, biases)
    optimise = make_optimiser(model.space.names, settings, chosen)
    return step.init_state(method, optimise, params, root)


def make_optimiser(
    task_names: tuple[str, ...],
    settings: Settings,
    chosen: OptimiserChoice = PAPER,
) -> optax.GradientTransformationExtraArgs:
    """Makes the chosen optimiser and schedule with the numbers of `settings`."""
    return optimiser.make(
        make_rate(settings, chosen),
        task_names,
        settings.clip_norm,
        name=chosen.name,
        weight_decay=settings.weight_decay,
        layer_decay=settings.layer_decay,
        critic_rate=settings.critic_rate,
    )


def make_rate(settings: Settings, chosen: OptimiserChoice = PAPER) -> optax.Schedule:
    """Makes the schedule of `settings`: (steps taken before, as an array) -> rate."""
    return schedules.make(
        chosen.schedule,
        settings.learning_rate,
        settings.warm_up_steps,
        settings.num_steps,
    )


def make_update(
    model: Model,
    choice: MethodChoice,
    settings: Settings,
    devices: list[jax.Device],
    *,
    one_task: bool,
    mapping: str = "pmap",
    chosen: OptimiserChoice = PAPER,
) -> Program:
    """Makes the program of training: (state, batch) -> (state, metrics).

    With `one_task` each batch must hold the examples of a single task. `mapping`: see
    `devices.Program`.
    """

    def update(state: step.TrainState, batch: Batch, settings: Settings) -> tuple:
        return step.make_update(
            make_method(model, choice, settings.method),
            make_optimiser(model.space.names, settings, chosen),
            tasks=model.space.names,
            one_task=one_task,
            axis_name=AXIS,
        )(state, batch)

    return Program(
        update, devices, donate_first=True, settings=(settings,), mapping=mapping
    )


def make_forward(
    model: Model,
    choice: MethodChoice,
    devices: list[jax.Device],
    *,
    mapping: str = "pmap",
) -> Program:
    """Makes the program of evaluation: (params, batch) -> (outputs, losses)."""

    def forward(
        params: Params, batch: Batch, numbers: Mapping[str, ArrayLike]
    ) -> tuple:
        method = make_method(model, choice, numbers)
        return step.make_forward(method, axis_name=AXIS)(params, batch)

    numbers = (choice.numbers(),)
    return Program(
        forward, devices, donate_first=False, settings=numbers, mapping=mapping
    )
