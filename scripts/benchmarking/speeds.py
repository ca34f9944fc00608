"""Workloads -> speed, memory and collectives of their train steps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import compile_events
import jax
import numpy as np
import step_costs
import timing
import workload
from ml_collections import ConfigDict
from workload import Item, Stepper, Workload

from mtra_jax import config as configs
from mtra_jax.errors import InputError
from mtra_jax.methods import registry
from mtra_jax.runs.sweeps import estimates
from mtra_jax.train import build


class Fill(NamedTuple):
    """Texts and tokens of some steps."""

    texts: int
    real_tokens: int
    share: float
    """Real tokens over processed ones."""
    share_by_task: dict[str, float]


class Speed(NamedTuple):
    """Cost of a method's train step on this machine."""

    method: str
    seconds: list[float]
    """Seconds of each step."""
    fill: Fill
    flops: float
    """Operations of the model on real tokens, all steps together."""
    rate_of_products: float
    """Operations per second of a large matrix product."""
    num_compiled: int
    memory: step_costs.Memory
    """Memory of the step with the largest shape."""
    parameters: dict[str, int]

    @property
    def share_of_rate(self) -> float:
        """The step's rate over that of a matrix product, counting real tokens only."""
        return self.flops / sum(self.seconds) / self.rate_of_products


def fill(loaded: Workload) -> Fill:
    """Counts the texts and tokens of a workload's items."""
    names = loaded.prepared.run.benchmark.task_names
    real, processed = np.zeros(len(names)), np.zeros(len(names))
    for item in loaded.items:
        real[item.task] += item.real_tokens
        processed[item.task] += item.processed_tokens
    shares = {n: r / p for n, r, p in zip(names, real, processed, strict=True) if p}
    if loaded.config.sampling == "joint":
        shares = {}
    texts = sum(item.num_texts for item in loaded.items)
    return Fill(texts, int(real.sum()), float(real.sum() / processed.sum()), shares)


def speeds(loads: Sequence[Workload]) -> tuple[list[Speed], list[Stepper]]:
    """Times the steps of all workloads in turns, once every shape is compiled."""
    rate = step_costs.matrix_rate(
        build.compute_dtype(loads[0].config.compute_dtype), loads[0].prepared.devices[0]
    )
    steppers = [workload.stepper_of(loaded.prepared) for loaded in loads]
    compiled = []
    for loaded, stepper in zip(loads, steppers, strict=True):
        with compile_events.collected() as events:
            for item in workload.one_of_each_shape(loaded.items):
                stepper(item)
        compiled.append(events.num_compiled)
    rounds = range(min(len(loaded.items) for loaded in loads))
    runs = {
        str(number): _nth(stepper, loaded.items)
        for number, (loaded, stepper) in enumerate(zip(loads, steppers, strict=True))
    }
    seconds = timing.in_turns(runs, rounds)
    measured = [
        _speed(loaded, stepper, seconds[str(number)], rate, compiled[number])
        for number, (loaded, stepper) in enumerate(zip(loads, steppers, strict=True))
    ]
    return measured, steppers


def _nth(stepper: Stepper, items: Sequence[Item]) -> Callable[[int], Any]:
    return lambda number: stepper(items[number])


def _speed(
    loaded: Workload,
    stepper: Stepper,
    seconds: np.ndarray,
    rate: float,
    num_compiled: int,
) -> Speed:
    items = loaded.items[: len(seconds)]
    loaded = loaded._replace(items=items)
    encoder_config = loaded.prepared.inputs.backbone.config
    flops = sum(
        step_costs.step_flops(
            encoder_config, lengths_of(item), estimates.passes(loaded.config)
        )
        for item in items
    )
    largest = max(items, key=lambda item: item.processed_tokens)
    num_devices = len(loaded.prepared.devices)
    return Speed(
        loaded.config.method.name,
        seconds.tolist(),
        fill(loaded),
        flops,
        rate * num_devices,
        num_compiled,
        step_costs.memory(stepper.compiled(largest.batch)),
        parameters(stepper.state.params),
    )


def lengths_of(item: Item) -> np.ndarray:
    """The lengths of the texts of a batch, [num_texts]."""
    segments = item.batch.segments.reshape(-1, item.batch.segments.shape[-1])
    # Segments are numbered within their row.
    ids = segments + np.arange(len(segments))[:, None] * (segments.max() + 1)
    _, lengths = np.unique(ids[segments > 0], return_counts=True)
    return lengths


def parameters(params: Any) -> dict[str, int]:
    """Counts of parameters in training and in testing, without heads (Table 19)."""
    sizes = {
        part: sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))
        for part, tree in params.items()
    }
    return {"training": sizes["encoder"] + sizes["method"], "testing": sizes["encoder"]}


def with_method(config: ConfigDict, method: str) -> ConfigDict:
    """The same configuration with another method and that method's sampling.

    Raises:
      InputError: an unknown method, or one that trains each task in a separate run.
    """
    if method in registry.METHODS and registry.METHODS[method].is_separate:
        raise InputError(f"--method {method}: trains each task in a run of its own")
    if method == config.method.name:
        return config
    copied = configs.from_dict(configs.to_dict(config))
    return configs.apply(copied, [("method.name", method)])


def collectives(
    config: ConfigDict, counts: Sequence[int]
) -> dict[int, dict[str, step_costs.Collective]]:
    """The collectives of the step's program on each number of devices."""
    by_count = {}
    for count in counts:
        config.devices = count
        on_devices = workload.load(config, 1)
        stepper = workload.stepper_of(on_devices.prepared)
        text = stepper.compiled(on_devices.items[0].batch).as_text()
        by_count[count] = step_costs.collectives(text)
    return by_count
