"""Functions of one shard -> programs over all devices. The only place that knows devices.

State and results have no device axis: every device holds the same copy, given as
`in_axes=None` and `out_axes=None`. Batches have a leading axis of the local devices.
"""

import contextlib
import functools
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtra_jax import failures
from mtra_jax.errors import InputError, RunError

AXIS = "data"
TRITON_PRODUCTS = "xla_gpu_enable_triton_gemm"
"""XLA's flag: whether Triton's kernels are tried for matrix products."""

# JAX's own, at the end of its messages.
_ADVICE = " (set JAX_PLATFORMS='' to automatically choose an available backend)"
# Tracing is Python: several threads at it would only take turns.
_LOWERING = threading.Lock()


@functools.cache
def start_devices() -> None:
    """Starts JAX's devices; anything that touches a device does so as well, unnamed.

    Raises:
      InputError: `JAX_PLATFORMS` names devices that are not there.
      RunError: no device can be used.
    """
    _compile_products_by_cublas()
    try:
        jax.devices()
    except Exception as error:  # of many types, an AssertionError among them
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
    """Sets XLA's flag for it where JAX can use NVIDIA's GPUs and the user has not set it.

    Without Triton's kernels to choose from, MTRA's step of RoBERTa-base compiled in 27
    instead of 47 s on an H100 and took 21.2 instead of 21.3 ms.
    """
    has_cuda = any(
        importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)
    )
    flags = os.environ.get("XLA_FLAGS", "")
    if has_cuda and TRITON_PRODUCTS not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{TRITON_PRODUCTS}=false".strip()


def choose_devices(count: int) -> list[jax.Device]:
    """The first `count` devices of all processes; all for 0.

    Raises:
      InputError: there are not so many.
    """
    start_devices()
    devices = jax.devices()
    if count == 0:
        return devices
    if count < 0 or count > len(devices):
        raise InputError(
            f"devices is {count}; expected 1 to {len(devices)}, or 0 for all of them"
        )
    return devices[:count]


def local_places(devices: list[jax.Device]) -> tuple[int, ...]:
    """Where this process's devices stand on the axis."""
    return tuple(
        place
        for place, device in enumerate(devices)
        if device.process_index == jax.process_index()
    )


class Program:
    """`function(replicated, shard, *settings) -> replicated` over `devices`.

    `settings` are replicated arguments that are the same in every call: programs that
    differ in their values alone are compiled once. With `donate_first` the memory of the
    first argument is given to the result.
    """

    def __init__(
        self,
        function: Callable,
        devices: list[jax.Device],
        *,
        donate_first: bool,
        settings: tuple = (),
    ) -> None:
        self._devices = devices
        self._settings = replicate(settings, devices)
        self._mapped = jax.pmap(
            function,
            axis_name=AXIS,
            in_axes=(None, 0, *(None for _ in settings)),
            out_axes=None,
            devices=devices,
            donate_argnums=(0,) if donate_first else (),
        )
        self._compiling: dict[Any, futures.Future] = {}

    def __call__(self, replicated: Any, shard: Any) -> Any:
        """Runs it, compiled for these shapes where it is not yet."""
        waiting = self._compiling.pop(_shapes(shard), None)
        # One that no thread has begun is compiled by the call below.
        if waiting is not None and not waiting.cancel():
            waiting.result()
        replicated = replicate(replicated, self._devices)
        return self._mapped(replicated, shard, *self._settings)

    def lowered(self, replicated: Any, shard: Any) -> jax.stages.Lowered:
        """The program of these shapes as it is given to the compiler."""
        replicated = replicate(replicated, self._devices)
        with _LOWERING:
            return self._mapped.lower(replicated, shard, *self._settings)

    def compiled(self, replicated: Any, shard: Any) -> jax.stages.Compiled:
        """The program of these shapes, to ask for its text and its memory."""
        return self.lowered(replicated, shard).compile()

    def compile_ahead(
        self, pool: futures.Executor, replicated: Any, shards: Sequence[Any]
    ) -> list[futures.Future]:
        """Begins to compile the programs of `shards` in `pool`; a call waits for its own.

        The values of the arrays do not matter.
        """
        blank = _blank(replicated, self._devices)
        begun = {_shapes(s): pool.submit(self.compiled, blank, s) for s in shards}
        self._compiling.update(begun)
        return list(begun.values())


@contextlib.contextmanager
def compiling() -> Iterator[futures.Executor]:
    """A pool of threads for `Program.compile_ahead`; what has not begun at its end never is.

    XLA compiles without Python's lock. One processor is left to the thread that trains:
    it waits for its first program, and compiles it where no thread has begun that.
    """
    count = max((os.cpu_count() or 1) - 1, 1)
    pool = futures.ThreadPoolExecutor(count, thread_name_prefix="compile")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _blank(tree: Any, devices: list[jax.Device]) -> Any:
    """Stands for the arrays of `tree`, which a step may be given and overwrite meanwhile."""
    if jax.process_count() > 1:  # `pmap` makes global arrays of them
        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
        return replicate(zeros, devices)
    sharding = _everywhere(devices)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )


def _shapes(tree: Any) -> tuple:
    return tuple(leaf.shape for leaf in jax.tree.leaves(tree))


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """Places arrays of the host on `devices` as a `Program` returns its results.

    Arrays of the host given as they are would compile a program twice, and be copied in
    every call. What is a `jax.Array` already stays where it is.
    """
    everywhere = _everywhere(devices)
    is_placed = jax.Array, jax.ShapeDtypeStruct
    return jax.tree.map(
        lambda x: x if isinstance(x, is_placed) else jax.device_put(x, everywhere), tree
    )


def _everywhere(devices: list[jax.Device]) -> NamedSharding:
    mine = np.array([d for d in devices if d.process_index == jax.process_index()])
    return NamedSharding(Mesh(mine, (AXIS,)), PartitionSpec())


def to_host(tree: Any) -> Any:
    """A copy of replicated arrays as NumPy arrays of this process."""
    return jax.tree.map(_to_numpy, tree)


def _to_numpy(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        leaf = leaf.addressable_shards[0].data
    # A copy: on a CPU the view would share memory that the next step is given.
    return np.array(leaf)
