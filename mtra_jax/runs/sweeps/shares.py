"""A machine and several workers -> the cores, GPUs and memory of each of them."""

import math
import os

import jax

from mtra_jax.errors import InputError
from mtra_jax.runs.directory import metrics_log
from mtra_jax.train import devices

ALLOCATOR = "XLA_PYTHON_CLIENT_ALLOCATOR"
FRACTIONS = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
"""JAX's variables: how a process takes memory of a GPU, and how much of it at its start."""
ALL_OF_A_GPU = 0.9
VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARED = ("cpu", "gpu")
"""The platforms that several processes can use."""

_set_here: list[str] = []


def start_devices(num_workers: int) -> None:
    """Starts the devices of a process that will have `num_workers`.

    With more than one it takes memory of a GPU only while it uses it itself.

    Raises:
      InputError: there are several workers, and several processes run this command
        together, or the devices serve one process at a time.
      RunError: no device can be used.
    """
    if num_workers > 1 and ALLOCATOR not in os.environ:
        os.environ[ALLOCATOR] = "platform"
        _set_here.append(ALLOCATOR)
    devices.start_devices()
    if num_workers == 1:
        return
    if jax.process_count() > 1:
        raise InputError(
            f"--jobs {num_workers}: {jax.process_count()} processes run this command "
            "together; expected --jobs 1"
        )
    if jax.default_backend() not in SHARED:
        raise InputError(
            f"--jobs {num_workers}: a {jax.default_backend()} serves one process at a "
            "time; expected --jobs 1"
        )


def cores(place: int, num_workers: int) -> list[int]:
    """The cores of worker `place`; [] where a process cannot be bound to some."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    own = sorted(os.sched_getaffinity(0))
    return own[place::num_workers] or [own[place % len(own)]]


def environment(place: int, num_workers: int) -> dict[str, str]:
    """The environment of worker `place`, with its GPUs and its share of their memory.

    Of several GPUs all workers have equally many, or share one if they are more.
    """
    own = {key: v for key, v in os.environ.items() if key not in _set_here}
    own[metrics_log.JOBS] = str(num_workers)
    gpus = _visible_gpus()
    count = len(gpus)
    if count > 1:
        each = max(count // num_workers, 1)
        first = place * each % count
        own[VISIBLE] = ",".join(gpus[first : first + each])
    if not any(name in own for name in FRACTIONS):
        num_sharing = math.ceil(num_workers / max(count, 1))
        own[FRACTIONS[1]] = f"{ALL_OF_A_GPU / num_sharing:.3f}"
    return own


def _visible_gpus() -> list[str]:
    """The GPUs of this process, by index or by name as in `VISIBLE`; [] without GPUs."""
    if jax.default_backend() != "gpu":
        return []
    if named := os.environ.get(VISIBLE):
        names = [name.strip() for name in named.split(",")]
        # CUDA ends the list there.
        names = names[: names.index("-1")] if "-1" in names else names
        return [*filter(None, names)]
    return [*map(str, range(devices.count_local()[0]))]
