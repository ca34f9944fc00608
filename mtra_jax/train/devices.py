"""The machine's devices -> programs over them, and copies of arrays to and from them.

Besides `runs.processes.group`, only this module and `mappings` name devices. The axes of
arrays are those of `mappings`.
"""

import contextlib
import functools
import glob
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import jax
import numpy as np

from mtra_jax import failures
from mtra_jax.errors import InputError, RunError
from mtra_jax.train.mappings import AXIS, MAPPINGS

__all__ = [
    "AXIS",
    "Program",
    "choose_devices",
    "compiling",
    "count_local",
    "local_device",
    "local_places",
    "replicate",
    "start_devices",
    "to_host",
]

TRITON_PRODUCTS = "xla_gpu_enable_triton_gemm"
"""XLA's flag: whether Triton's kernels are tried for matrix products."""

# The advice at the end of JAX's messages.
_ADVICE = " (set JAX_PLATFORMS='' to automatically choose an available backend)"
# Tracing is Python: several threads would only take turns.
_LOWERING = threading.Lock()


@functools.cache
def start_devices() -> None:
    """Starts JAX's devices, so that a failure to start is an error that names its cause.

    Raises:
      InputError: `JAX_PLATFORMS` names devices that this machine does not have.
      RunError: no device can be used.
    """
    _compile_products_by_cublas()
    try:
        jax.devices()
    except Exception as error:  # JAX raises many types, also AssertionError
        if failures.out_of_memory(error):
            raise
        reason = failures.first_line(error).removesuffix(_ADVICE)
        if isinstance(error, AssertionError):
            reason = "no plugin for it"
        if asked := os.environ.get("JAX_PLATFORMS"):
            raise InputError(
                f"JAX_PLATFORMS={asked}: cannot be used here: {reason}; expected a "
                "platform of this machine that JAX is installed for, or no JAX_PLATFORMS"
            ) from error
        raise RunError(f"no device can be used: {reason}") from error


def _compile_products_by_cublas() -> None:
    """Sets `TRITON_PRODUCTS` to false if JAX can use NVIDIA GPUs, unless it is set.

    On an H100 MTRA's step of RoBERTa-base then compiled in 27 s instead of 47 s and took
    21.2 ms instead of 21.3 ms.
    """
    has_cuda = any(
        importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)
    )
    flags = os.environ.get("XLA_FLAGS", "")
    if has_cuda and TRITON_PRODUCTS not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{TRITON_PRODUCTS}=false".strip()


def choose_devices(count: int) -> list[jax.Device]:
    """Returns the first `count` devices of all processes; 0 means all devices.

    Raises:
      InputError: `count` is negative, larger than the number of devices, or so small that
        a process has none.
    """
    start_devices()
    devices = jax.devices()
    if count == 0:
        return devices
    if count < 0 or count > len(devices):
        raise InputError(
            f"devices is {count}; expected 1 to {len(devices)}, or 0 for all of them"
        )
    owners = [device.process_index for device in devices]
    least = 1 + max(map(owners.index, range(jax.process_count())))
    if count < least:
        raise InputError(
            f"devices is {count}, which leaves none for one of {jax.process_count()} "
            f"processes; expected {least} or more, or 0 for all {len(devices)}"
        )
    return devices[:count]


def local_device() -> list[jax.Device]:
    """Returns the first device of this process, for work that each process does alone."""
    start_devices()
    return jax.local_devices()[:1]


def count_local() -> tuple[int, int]:
    """Returns the number of this process's devices, and of all devices visible to it.

    The second number is larger under SLURM, where JAX gives each process one GPU of its
    host's.
    """
    used = jax.local_device_count()
    if jax.default_backend() != "gpu":
        return used, used
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return used, max(used, len([name for name in named.split(",") if name]))
    return used, max(used, len(glob.glob("/dev/nvidia[0-9]*")))


def local_places(devices: list[jax.Device]) -> tuple[int, ...]:
    """Returns the indices of this process's devices on the device axis."""
    return tuple(
        place
        for place, device in enumerate(devices)
        if device.process_index == jax.process_index()
    )


class Program:
    """`function(replicated, shard, *settings) -> replicated`, mapped over `devices`.

    `settings` are replicated arguments that are the same in every call. Programs that
    differ only in the values of their settings share one compilation. With `donate_first`
    the result reuses the memory of the first argument. `mapping`: a name in `MAPPINGS`.
    """

    def __init__(
        self,
        function: Callable,
        devices: list[jax.Device],
        *,
        donate_first: bool,
        settings: tuple = (),
        mapping: str = "pmap",
    ) -> None:
        self._mapping = MAPPINGS[mapping](devices)
        self._settings = self._mapping.replicate(settings)
        self._mapped = self._mapping.map(
            function, num_settings=len(settings), donate_first=donate_first
        )
        self._compiling: dict[Any, futures.Future] = {}

    def __call__(self, replicated: Any, shard: Any) -> Any:
        """Runs the program; compiles it first if these shapes are new."""
        waiting = self._compiling.pop(_shapes(shard), None)
        # A compilation that no thread has begun is cancelled: the call below compiles.
        if waiting is not None and not waiting.cancel():
            waiting.result()
        return self._mapped(*self._arguments(replicated, shard))

    def lowered(self, replicated: Any, shard: Any) -> jax.stages.Lowered:
        """Returns the program for these shapes, traced but not compiled."""
        with _LOWERING:
            return self._mapped.lower(*self._arguments(replicated, shard))

    def _arguments(self, replicated: Any, shard: Any) -> tuple:
        place = self._mapping
        return place.replicate(replicated), place.split(shard), *self._settings

    def compiled(self, replicated: Any, shard: Any) -> jax.stages.Compiled:
        """Returns the compiled program for these shapes."""
        return self.lowered(replicated, shard).compile()

    def compile_ahead(
        self, pool: futures.Executor, replicated: Any, shards: Sequence[Any]
    ) -> list[futures.Future]:
        """Begins to compile in `pool` for the shapes of each of `shards`.

        A later call waits for the compilation of its shapes. The values of the arrays do
        not matter.
        """
        blank = self._mapping.blank(replicated)
        begun = {_shapes(s): pool.submit(self.compiled, blank, s) for s in shards}
        self._compiling.update(begun)
        return list(begun.values())


@contextlib.contextmanager
def compiling() -> Iterator[futures.Executor]:
    """A pool of threads for `Program.compile_ahead`; pending work is cancelled at its end.

    XLA compiles without Python's lock. One processor is left to the training thread,
    which compiles its first program itself if no thread has begun it.
    """
    count = max((os.cpu_count() or 1) - 1, 1)
    pool = futures.ThreadPoolExecutor(count, thread_name_prefix="compile")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _shapes(tree: Any) -> tuple:
    return tuple(leaf.shape for leaf in jax.tree.leaves(tree))


def replicate(tree: Any, devices: list[jax.Device], mapping: str = "pmap") -> Any:
    """Copies the host's arrays to each of this process's devices among `devices`.

    `mapping`: that of the programs which take the result; with `shard_map` the copies on
    the devices of all processes are one array.

    Passing host arrays to a program instead would compile it twice, and copy them in
    every call. A `jax.Array` stays where it is.
    """
    return MAPPINGS[mapping](devices).replicate(tree)


def to_host(tree: Any) -> Any:
    """Returns NumPy copies of replicated arrays."""
    return jax.tree.map(_to_numpy, tree)


def _to_numpy(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        leaf = leaf.addressable_shards[0].data
    # A copy: on a CPU a view would share memory that the next step may overwrite.
    return np.array(leaf)
