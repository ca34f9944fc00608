"""Workloads -> the figures that `scripts/benchmark.py` prints."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax.benchmark import cost, timing, torch_step, workload
from mtra_jax.benchmark.workload import Item, Stepper, Workload
from mtra_jax.errors import InputError
from mtra_jax.methods import registry
from mtra_jax.models import pretrained
from mtra_jax.runs import preparation
from mtra_jax.train.devices import replicate

LOSS_TOLERANCE = 1e-3
"""Relative: float32 sums of another order, bound and all; bfloat16 has 0.03."""


class Fill(NamedTuple):
    """Texts and tokens of some steps."""

    texts: int
    real_tokens: int
    share: float
    """Of the processed tokens, real ones."""
    share_by_task: dict[str, float]


class Speed(NamedTuple):
    """What a method's train step costs on this machine."""

    method: str
    seconds: list[float]
    """Of each step."""
    fill: Fill
    flops: float
    """Operations of the model on real tokens, all steps together."""
    rate_of_products: float
    """Operations per second of a large matrix product."""
    num_compiled: int
    memory: cost.Memory
    """Of the step of the largest shape."""
    parameters: dict[str, int]

    @property
    def share_of_rate(self) -> float:
        """Of the rate of a matrix product, counting real tokens only."""
        return self.flops / sum(self.seconds) / self.rate_of_products


class Versus(NamedTuple):
    """Our step and PyTorch's on the same batches, in turns."""

    ours: list[float]
    theirs: list[float]
    ratio: timing.Ratio
    """Of the times, theirs over ours: how many times as fast ours is."""
    losses: dict[str, tuple[float, float]]
    """Ours and theirs on the first batch, without dropout."""


class Resident(NamedTuple):
    """The most memory that was resident in a process that took steps alone, in bytes."""

    ours: int
    theirs: int
    num_steps: int

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs


def passes(config: ConfigDict) -> int:
    """Forward passes, each with its backward pass, that a step of the method needs."""
    options = {key: value for key, value in config.method.items() if key != "name"}
    return registry.example(config.method.name, **options).passes


def fill(found: Workload) -> Fill:
    """Counts the texts and tokens of a workload's items."""
    names = found.prepared.run.benchmark.task_names
    real, processed = np.zeros(len(names)), np.zeros(len(names))
    for item in found.items:
        real[item.task] += item.real_tokens
        processed[item.task] += item.processed_tokens
    shares = {n: r / p for n, r, p in zip(names, real, processed, strict=True) if p}
    if found.config.sampling == "joint":
        shares = {}
    texts = sum(item.num_texts for item in found.items)
    return Fill(texts, int(real.sum()), float(real.sum() / processed.sum()), shares)


def speeds(loads: Sequence[Workload]) -> tuple[list[Speed], list[Stepper]]:
    """Times the steps of all workloads in turns, after each shape was compiled."""
    rate = cost.matrix_rate(
        preparation.compute_dtype(loads[0].config), loads[0].prepared.devices[0]
    )
    steppers = [Stepper(found.prepared) for found in loads]
    compiled = []
    for found, stepper in zip(loads, steppers, strict=True):
        with cost.compilations() as count:
            for item in workload.one_of_each_shape(found.items):
                stepper(item)
            compiled.append(count())
    rounds = range(min(len(found.items) for found in loads))
    runs = {
        str(number): _nth(stepper, found.items)
        for number, (found, stepper) in enumerate(zip(loads, steppers, strict=True))
    }
    seconds = timing.in_turns(runs, rounds)
    measured = [
        _speed(found, stepper, seconds[str(number)], rate, compiled[number])
        for number, (found, stepper) in enumerate(zip(loads, steppers, strict=True))
    ]
    return measured, steppers


def _nth(stepper: Stepper, items: Sequence[Item]) -> Callable[[int], Any]:
    return lambda number: stepper(items[number])


def _speed(
    found: Workload,
    stepper: Stepper,
    seconds: np.ndarray,
    rate: float,
    num_compiled: int,
) -> Speed:
    items = found.items[: len(seconds)]
    found = found._replace(items=items)
    encoder_config = found.prepared.backbone.config
    flops = sum(
        cost.step_flops(encoder_config, lengths_of(item), passes(found.config))
        for item in items
    )
    largest = max(items, key=lambda item: item.processed_tokens)
    num_devices = len(found.prepared.devices)
    return Speed(
        found.config.method.name,
        seconds.tolist(),
        fill(found),
        flops,
        rate * num_devices,
        num_compiled,
        cost.memory(stepper.compiled(largest)),
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
    """Numbers in training and in testing, without the heads (the paper's Table 19)."""
    sizes = {
        part: sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))
        for part, tree in params.items()
    }
    return {"training": sizes["encoder"] + sizes["method"], "testing": sizes["encoder"]}


def with_method(config: ConfigDict, method: str) -> ConfigDict:
    """The same configuration with another method, at that method's own sampling.

    Raises:
      InputError: an unknown method, or one that trains each task in a run of its own.
    """
    if method in registry.METHODS and registry.METHODS[method].is_separate:
        raise InputError(f"--method {method}: trains each task in a run of its own")
    if method == config.method.name:
        return config
    copied = configs.from_dict(configs.to_dict(config))
    return configs.apply(copied, [("method.name", method)])


def versus_torch(
    found: Workload, *, compile_model: bool, packed: bool, threads: int | None = None
) -> Versus:
    """Times our step and PyTorch's in turns, once both give the same losses.

    `packed`: PyTorch gets our rows too; else it pads to the longest text of a batch.

    Raises:
      InputError: PyTorch is absent, the method is none of its, the losses differ, or
        there are several devices.
    """
    config = found.config
    if len(found.prepared.devices) != 1:
        raise InputError("--against torch: needs one device, --config.devices=1")
    trainer = torch_trainer(
        found, compile_model=compile_model, packed=packed, threads=threads
    )
    first = found.items[0]
    losses = _losses(found, first, trainer.losses(trainer.place(first.batch)))
    tolerance = LOSS_TOLERANCE if _is_float32(config) else 0.03
    for name, (ours, theirs) in losses.items():
        if abs(ours - theirs) > tolerance * max(1.0, abs(theirs)):
            raise InputError(
                f"--against torch: {name} is {ours} here and {theirs} in PyTorch; "
                "expected equal losses, without dropout"
            )
    stepper = Stepper(found.prepared)
    for item in workload.one_of_each_shape(found.items):
        stepper(item)
        trainer.step(trainer.place(item.batch))
    seconds = timing.in_turns(
        {
            "ours": stepper,
            "theirs": lambda item: trainer.step(trainer.place(item.batch)),
        },
        found.items,
    )
    ours, theirs = seconds["ours"], seconds["theirs"]
    return Versus(ours.tolist(), theirs.tolist(), timing.ratio(theirs, ours), losses)


def _is_float32(config: ConfigDict) -> bool:
    return preparation.compute_dtype(config) == np.float32


def torch_trainer(
    found: Workload, *, compile_model: bool, packed: bool, threads: int | None = None
) -> torch_step.TorchTrainer:
    """PyTorch's step from the parameters of our run, on `threads` cores or as it likes.

    Raises:
      InputError: PyTorch is absent, or the method is none of its.
    """
    config, prepared = found.config, found.prepared
    if threads is not None:
        torch_step.torch.set_num_threads(threads)
    run = prepared.run
    model = preparation.make_model(
        config, run.benchmark, prepared.backbone.config, run.train.corpus.sizes
    )
    options = config.method
    device = "cpu" if prepared.devices[0].platform == "cpu" else "cuda"
    with tempfile.TemporaryDirectory() as directory:
        pretrained.save_encoder(
            Path(directory), prepared.backbone.config, run.state.params["encoder"]
        )
        return torch_step.TorchTrainer(
            Path(directory),
            run.state.params,
            model.space,
            method=options.name,
            beta=options.get("beta"),
            epsilon=options.get("epsilon"),
            floor=options.get("floor"),
            head_dropout=config.head_dropout,
            learning_rate=config.learning_rate,
            clip_norm=config.clip_norm,
            device=device,
            use_bfloat16=not _is_float32(config),
            compile_model=compile_model,
            packed=packed,
        )


def _losses(
    found: Workload, item: Item, theirs: dict[str, float]
) -> dict[str, tuple[float, float]]:
    prepared = found.prepared
    params = replicate(prepared.run.state.params, prepared.devices)
    _, measured = prepared.run.forward(params, item.batch)
    ours = {"aligned": measured["losses"], **measured["terms"]}
    return {
        name: (float(values[item.task]), theirs[name])
        for name, values in ours.items()
        if name in theirs
    }


def collectives(
    config: ConfigDict, counts: Sequence[int]
) -> dict[int, dict[str, cost.Collective]]:
    """The collectives of the step's program on each number of devices."""
    found = {}
    for count in counts:
        config.devices = count
        on_devices = workload.load(config, 1)
        stepper = Stepper(on_devices.prepared)
        text = stepper.compiled(on_devices.items[0]).as_text()
        found[count] = cost.collectives(text)
    return found
