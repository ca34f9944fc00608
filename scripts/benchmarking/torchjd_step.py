"""A balancer of TorchJD -> the gradient of the network of `balancer_speeds`, in PyTorch.

Gradient methods use `mtl_backward`, which takes the Jacobian of the shared parameters
alone, and `jac_to_grad`; where the weights follow from the Gramian, without joining the
Jacobians into one matrix, TorchJD's way to save memory. Scalarisations need one backward
pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torchjd import aggregation, scalarization
from torchjd.autojac import jac_to_grad, mtl_backward

# Name in `mtra_jax.balancing` -> T -> TorchJD's method with the options of ours.
SCALARIZERS: dict[str, Callable[[int], Any]] = {
    "sum": lambda _: scalarization.Sum(),
    "ew": lambda _: scalarization.Mean(),
    "rlw": lambda _: scalarization.Random(),
    "uw": scalarization.UW,
    "imtl_l": scalarization.IMTLL,
    "dwa": lambda _: scalarization.DWA(),
    "gls": lambda _: scalarization.GeometricMean(),
    "stch": lambda count: scalarization.STCH(
        mu=1.0, weights=torch.full((count,), 1 / count)
    ),
    "famo": scalarization.FAMO,
}
AGGREGATORS: dict[str, Callable[[int], Any]] = {
    "mgda": lambda _: aggregation.MGDA(),
    "cagrad": lambda _: aggregation.CAGrad(c=0.5),
    "nash_mtl": lambda count: aggregation.NashMTL(n_tasks=count),
    "fairgrad": lambda _: aggregation.FairGrad(alpha=2.0),
    "pcgrad": lambda _: aggregation.PCGrad(),
    "gradvac": lambda _: aggregation.GradVac(beta=0.01),
    "upgrad": lambda _: aggregation.UPGrad(),
    "aligned_mtl": lambda _: aggregation.AlignedMTL(),
    "config": lambda _: aggregation.ConFIG(),
    "imtl_g": lambda _: aggregation.IMTLG(),
    "graddrop": lambda _: aggregation.GradDrop(),
    # Its first risk is not divided; after a step that only collects, both agree.
    "excess_mtl": lambda _: aggregation.ExcessMTL(n_warmup_steps=1),
}


class TorchStep:
    """One forward pass, and the backward passes of a balancer; gradients lie in `.grad`.

    `params`: the NumPy arrays of our network. `inputs`, `labels`: [B, D] and [T, B].

    Raises:
      ImportError: TorchJD's method needs a package that is not installed.
      KeyError: TorchJD lacks the method.
    """

    def __init__(
        self, name: str, params: Any, inputs: np.ndarray, labels: np.ndarray
    ) -> None:
        self.shared = [_layer(layer) for layer in params["shared"]]
        self.heads = [_layer(layer) for layer in params["heads"]]
        self.inputs = torch.from_numpy(inputs)
        self.labels = torch.from_numpy(labels.astype(np.int64))
        make = SCALARIZERS.get(name) or AGGREGATORS[name]
        self.is_scalarizer = name in SCALARIZERS
        self.is_famo = name == "famo"
        self.method = make(len(labels))

    def __call__(self) -> torch.Tensor:
        """The losses [T]; their gradients replace those of the step before."""
        for leaf in self.leaves():
            leaf.grad = None
        z = self.inputs
        for kernel, bias in self.shared:
            z = torch.relu(z @ kernel + bias)
        losses = [
            torch.nn.functional.cross_entropy(z @ kernel + bias, own)
            for (kernel, bias), own in zip(self.heads, self.labels, strict=True)
        ]
        if self.is_scalarizer:
            stacked = torch.stack(losses)
            self.method(stacked).backward()
            if self.is_famo:
                self.method.update(stacked.detach())
            return stacked.detach()
        mtl_backward(losses, z)
        saves = isinstance(self.method, aggregation.GramianWeightedAggregator)
        options = {"optimize_gramian_computation": True} if saves else {}
        shared = [leaf for layer in self.shared for leaf in layer]
        jac_to_grad(shared, self.method, **options)
        return torch.stack(losses).detach()

    def leaves(self) -> list[torch.Tensor]:
        """All parameters, in the order of the leaves of ours: heads, then shared."""
        layers = [*self.heads, *self.shared]
        return [leaf for kernel, bias in layers for leaf in (bias, kernel)]

    def gradient(self) -> list[np.ndarray]:
        """The gradients of the last step, in the order of the leaves of ours."""
        return [leaf.grad.numpy() for leaf in self.leaves()]


def _layer(params: Any) -> tuple[torch.Tensor, torch.Tensor]:
    kernel, bias = (torch.tensor(params[name]) for name in ("kernel", "bias"))
    return kernel.requires_grad_(), bias.requires_grad_()


def start(threads: int) -> None:
    """Sets PyTorch's threads."""
    torch.set_num_threads(threads)
