"""A configuration -> a run before its first step: its inputs, batches and programs."""

from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mtra_jax.data.packed.batches import Corpus
from mtra_jax.data.splits import targets
from mtra_jax.data.splits.examples import Data
from mtra_jax.methods.model import Model
from mtra_jax.runs.training import (
    bound_ceilings,
    choices,
    diagnostics,
    inputs,
    loop,
    selection,
)
from mtra_jax.train import batching, build, evaluate, starting
from mtra_jax.train.backbone import Backbone
from mtra_jax.train.devices import choose_devices, to_host
from mtra_jax.train.step import TrainState


class Prepared(NamedTuple):
    """A run before its first step, with what it has read and its devices."""

    run: loop.Run
    test: evaluate.Split
    inputs: inputs.Inputs
    devices: list[jax.Device]
    mapping: str = "pmap"
    """The mapping of the run's programs, see `devices.Program`."""
    origin: str = ""
    """A line about parameters that are those of another run, see `starting.start`."""


def prepare(
    config: ConfigDict,
    backbone: Backbone | None = None,
    unroll: int | None = None,
    data: Data | None = None,
    given: starting.Start | None = None,
) -> Prepared:
    """Reads the data and builds the run; `backbone` replaces the configured one.

    `unroll`: see `encoder.Encoder`. `data` replaces the configured tasks and examples.
    `given`: the run at `config.warm_start`.

    Raises:
      InputError: data, weights or devices are missing, or values do not fit together.
    """
    devices = choose_devices(config.devices)
    sampling = choices.sampling_of(config)
    batching.check_batch_size(sampling.batch_size, len(devices), sampling.micro_batches)
    data = data or inputs.load_data(config)
    chosen = selection.make(config.selection, data.benchmark)
    read = inputs.read(config, data, backbone, given)
    sizes = read.corpora["train"].sizes
    schedule = choices.schedule_of(config, sampling, sizes)
    model = _model(config, read, schedule.steps_per_epoch, unroll)
    method = choices.method_of(config)
    settings = choices.settings_of(config, schedule, method)
    train, parts = batching.make_batchers(
        sampling,
        read.corpora,
        devices,
        program_cost=batching.program_cost(read.backbone.config, devices[0].platform),
        max_shapes=config.data.max_shapes,
        is_apart=build.packs_tasks_apart(model, method),
    )
    state, origin = _first_state(config, read, model, settings, given)
    run = loop.Run(
        read.benchmark,
        schedule,
        update=build.make_update(
            model,
            method,
            settings,
            devices,
            one_task=sampling.is_one_task,
            mapping=config.mapping,
            chosen=choices.optimiser_of(config),
        ),
        forward=build.make_forward(model, method, devices, mapping=config.mapping),
        train=train,
        validation=parts["validation"],
        state=state,
        rate=choices.rate_of(config, settings),
        selection=chosen,
        probe=_probe(config, model, read.corpora["train"], devices),
    )
    return Prepared(run, parts["test"], read, devices, config.mapping, origin)


def _model(
    config: ConfigDict, read: inputs.Inputs, steps_per_epoch: int, unroll: int | None
) -> Model:
    train = read.corpora["train"]
    return choices.make_model(
        config,
        read.benchmark,
        read.backbone.config,
        train.sizes,
        steps_per_epoch,
        unroll,
        bound_ceilings.label_entropies(read.benchmark, train),
    )


def _probe(
    config: ConfigDict, model: Model, corpus: Corpus, devices: list[jax.Device]
) -> diagnostics.Diagnostics | None:
    """The diagnostics of the run; None where `diagnostics.every` is 0."""
    return diagnostics.make(
        config.diagnostics.every,
        model,
        choices.method_of(config),
        corpus,
        devices,
        batch_size=config.batch_size,
        micro_batches=config.micro_batches,
        mapping=config.mapping,
    )


def _first_state(
    config: ConfigDict,
    read: inputs.Inputs,
    model: Model,
    settings: build.Settings,
    given: starting.Start | None,
) -> tuple[TrainState, str]:
    """The state before the first step, on the host, and `Prepared.origin`."""
    method = choices.method_of(config)
    state = to_host(
        build.init_state(
            model,
            method,
            settings,
            read.backbone.params,
            config.seed,
            _biases(config, read),
            choices.optimiser_of(config),
        )
    )
    if given is None:
        return state, ""
    tasks = read.benchmark.tasks
    params, line = starting.start(state.params, given, tasks, method.name)
    return state._replace(params=params), line


def _biases(config: ConfigDict, read: inputs.Inputs) -> np.ndarray | None:
    """The biases that the heads start with, see `build.init_params`."""
    if config.heads.start == "zero":
        return None
    train = {task: parts["train"] for task, parts in read.examples.items()}
    return targets.base_rates(train, read.benchmark)
