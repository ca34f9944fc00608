"""A workload -> our step and PyTorch's on the same batches, timed in turns."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import timing
import torch_step
import workload
from ml_collections import ConfigDict
from workload import Item, Workload

from mtra_jax.errors import InputError
from mtra_jax.models import pretrained
from mtra_jax.runs.training import choices
from mtra_jax.train import build
from mtra_jax.train.devices import replicate

LOSS_TOLERANCE = 1e-3
"""Relative tolerance for float32 sums in another order; 0.03 for bfloat16."""


class Versus(NamedTuple):
    """Seconds of our steps and of PyTorch's on the same batches, in turns."""

    ours: list[float]
    theirs: list[float]
    ratio: timing.Ratio
    """Their time over ours, the speed-up of our step."""
    losses: dict[str, tuple[float, float]]
    """By name, our loss and theirs on the first batch, without dropout."""


class Resident(NamedTuple):
    """Peak resident memory, in bytes, of a process that only ran steps."""

    ours: int
    theirs: int
    num_steps: int

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs


def versus_torch(
    loaded: Workload, *, compile_model: bool, packed: bool, threads: int | None = None
) -> Versus:
    """Times our step and PyTorch's in turns, once both give the same losses.

    `packed`: PyTorch gets our packed rows; otherwise it pads to the longest text.

    Raises:
      InputError: PyTorch is absent, its step lacks the method, the losses differ, or
        the run has several devices.
    """
    config = loaded.config
    if len(loaded.prepared.devices) != 1:
        raise InputError("--against torch: needs one device, --config.devices=1")
    trainer = torch_trainer(
        loaded, compile_model=compile_model, packed=packed, threads=threads
    )
    first = loaded.items[0]
    losses = _losses(loaded, first, trainer.losses(trainer.place(first.batch)))
    tolerance = LOSS_TOLERANCE if _is_float32(config) else 0.03
    for name, (ours, theirs) in losses.items():
        if abs(ours - theirs) > tolerance * max(1.0, abs(theirs)):
            raise InputError(
                f"--against torch: {name} is {ours} here and {theirs} in PyTorch; "
                "expected equal losses, without dropout"
            )
    stepper = workload.stepper_of(loaded.prepared)
    for item in workload.one_of_each_shape(loaded.items):
        stepper(item)
        trainer.step(trainer.place(item.batch))
    seconds = timing.in_turns(
        {
            "ours": stepper,
            "theirs": lambda item: trainer.step(trainer.place(item.batch)),
        },
        loaded.items,
    )
    ours, theirs = seconds["ours"], seconds["theirs"]
    return Versus(ours.tolist(), theirs.tolist(), timing.ratio(theirs, ours), losses)


def _is_float32(config: ConfigDict) -> bool:
    return build.compute_dtype(config.compute_dtype) == np.float32


def torch_trainer(
    loaded: Workload, *, compile_model: bool, packed: bool, threads: int | None = None
) -> torch_step.TorchTrainer:
    """PyTorch's step from the parameters of our run.

    `threads`: CPU threads of PyTorch; None leaves the choice to PyTorch.

    Raises:
      InputError: PyTorch is absent, or its step lacks the method.
    """
    config, prepared = loaded.config, loaded.prepared
    if threads is not None:
        torch_step.torch.set_num_threads(threads)
    run = prepared.run
    model = choices.make_model(
        config, run.benchmark, prepared.inputs.backbone.config, run.train.corpus.sizes
    )
    options = config.method
    device = "cpu" if prepared.devices[0].platform == "cpu" else "cuda"
    with tempfile.TemporaryDirectory() as directory:
        pretrained.save_encoder(
            Path(directory),
            prepared.inputs.backbone.config,
            run.state.params["encoder"],
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
    loaded: Workload, item: Item, theirs: dict[str, float]
) -> dict[str, tuple[float, float]]:
    prepared = loaded.prepared
    params = replicate(prepared.run.state.params, prepared.devices)
    _, measured = prepared.run.forward(params, item.batch)
    ours = {"aligned": measured["losses"], **measured["terms"]}
    return {
        name: (float(values[item.task]), theirs[name])
        for name, values in ours.items()
        if name in theirs
    }
