"""A profile on disk -> the kernels of the device, their kinds, and the gaps between them."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

KINDS = (
    ("attention (fused)", r"fmha|flash|sdpa|attention"),
    (
        "matrix products",
        r"gemm|cutlass|cublas|nvjet|xmma|wgmma|hgmma|matmul|split_?k|\bdot|ynn_",
    ),
    ("copies between host and device", r"memcpyh2d|memcpyd2h|htod|dtoh"),
    ("memory copied or set", r"memcpy|memset|^copy"),
    ("transposes", r"transpose"),
    ("scatter", r"scatter"),
    ("gather, slices", r"gather|slice"),
    ("softmax", r"softmax"),
    ("reductions", r"reduce|norm"),
    ("sorts", r"sort"),
    ("collectives", r"nccl|all_?reduce"),
    ("random numbers", r"rng|threefry"),
    ("element by element", r"fusion|wrapped|loop"),
    ("other", r""),
)
"""Kinds by a pattern of the kernel's lower-case name; the first match counts."""
# Instructions that run others, which the profile also contains.
OUTER = re.compile(r"^(while|call|conditional|end: )")
NUMBERS = re.compile(r"(?:[._]\d+)+(?=$|_)")
ANNOTATED = re.compile(r"\bhlo_op=([\w.\-]+)")
LAYER = re.compile(r"layer_\d+")


class Kernel(NamedTuple):
    """A kernel that the device ran; on a CPU, an instruction."""

    name: str
    instruction: str
    """Its instruction of the compiled program; empty if the profiler reports none."""
    start: float
    end: float
    """Seconds."""


class Share(NamedTuple):
    """A group of kernels: seconds, their number, and their share of the idle time.

    A gap belongs to the kernel that ends it.
    """

    name: str
    seconds: float
    count: int
    idle: float


def read(path: Path) -> list[Kernel]:
    """The kernels of the first GPU in `path`, an `xplane.pb`, in order of their start.

    Without a GPU: the instructions that the CPU ran.
    """
    planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
    gpus = sorted((p for p in planes if "GPU:" in p.name), key=lambda p: p.name)
    if gpus:
        lines = [line for line in gpus[0].lines if line.name.startswith("Stream")]
        events = _events(lines or gpus[0].lines)
    else:
        lines = [line for plane in planes for line in plane.lines]
        events = [kernel for kernel in _events(lines) if kernel.instruction]
    return sorted(events, key=lambda kernel: kernel.start)


def layout(path: Path, num_events: int = 2) -> dict[str, Any]:
    """The lines of each plane of `path`, with the statistics of their first events."""
    planes = jax.profiler.ProfileData.from_file(str(path)).planes
    return {
        plane.name: {
            line.name: [
                {"name": event.name, **{k: str(v) for k, v in event.stats}}
                for event in itertools.islice(line.events, num_events)
            ]
            for line in plane.lines
        }
        for plane in planes
        if "GPU:" in plane.name
    }


def _instruction(stats: Iterable[tuple[str, Any]]) -> str:
    """The instruction in `stats`: a value, or part of an annotation."""
    values = {key: str(value) for key, value in stats}
    if "hlo_op" in values:
        return values["hlo_op"]
    matches = (ANNOTATED.search(value) for value in values.values())
    return next((match[1] for match in matches if match), "")


def _events(lines: Iterable[Any]) -> list[Kernel]:
    return [
        Kernel(
            event.name,
            _instruction(event.stats),
            event.start_ns / 1e9,
            (event.start_ns + event.duration_ns) / 1e9,
        )
        for line in lines
        for event in line.events
        if not OUTER.match(event.name)
    ]


def kind(name: str) -> str:
    """The kind of a kernel by its name.

    >>> kind("nvjet_tst_128x256_64x4_1x2_h_bz_TNN"), kind("input_reduce_fusion_3")
    ('matrix products', 'reductions')
    """
    lower = name.lower()
    return next(title for title, pattern in KINDS if re.search(pattern, lower))


def operation_of(kernel: Kernel, operations: Mapping[str, str]) -> str:
    """The operation of a kernel, from those of the program's instructions; "" if unknown.

    A generated kernel has its instruction's name, with "_" for dots and dashes.
    """
    if kernel.instruction in operations:
        return operations[kernel.instruction]
    return operations.get(kernel.name, "")


def by_kernel_name(operations: Mapping[str, str]) -> dict[str, str]:
    """`operations` by the names of instructions and by those of their kernels."""
    marked = {re.sub(r"[.\-]", "_", name): op for name, op in operations.items()}
    return {**marked, **operations}


def described(kernel: Kernel, operation: str) -> str:
    """The kernel's name and the end of its operation, the same for all layers."""
    name = NUMBERS.sub("", kernel.name)[:60]
    operation = LAYER.sub("layer", operation)
    return f"{name}  {operation[-90:]}".strip()


def busy_seconds(kernels: Iterable[Kernel]) -> float:
    """Seconds in which at least one kernel ran."""
    return sum(end - start for start, end in _merged(kernels))


def gaps(kernels: Iterable[Kernel]) -> list[float]:
    """Seconds between the times in which kernels ran."""
    merged = _merged(kernels)
    return [after[0] - before[1] for before, after in itertools.pairwise(merged)]


def _merged(kernels: Iterable[Kernel]) -> list[tuple[float, float]]:
    """The times in which at least one kernel ran."""
    merged: list[tuple[float, float]] = []
    for kernel in kernels:
        if merged and kernel.start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], kernel.end)
        else:
            merged.append((kernel.start, kernel.end))
    return merged


def shares(kernels: Iterable[Kernel], label: Callable[[Kernel], str]) -> list[Share]:
    """The groups of `label`, the longest first."""
    seconds: dict[str, float] = {}
    counts: dict[str, int] = {}
    idle: dict[str, float] = {}
    last_end = None
    for kernel in kernels:
        name = label(kernel)
        seconds[name] = seconds.get(name, 0.0) + kernel.end - kernel.start
        counts[name] = counts.get(name, 0) + 1
        gap = 0.0 if last_end is None else max(0.0, kernel.start - last_end)
        idle[name] = idle.get(name, 0.0) + gap
        last_end = kernel.end if last_end is None else max(last_end, kernel.end)
    total = sum(idle.values()) or 1.0
    return sorted(
        (
            Share(name, seconds[name], counts[name], idle[name] / total)
            for name in seconds
        ),
        key=lambda share: -share.seconds,
    )
