"""Functions of one shard -> programs over all devices. The only place that knows devices.

State and results have no device axis: every device holds the same copy. Batches have a
leading axis of the local devices.
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
import jax.numpy as jnp
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


class Pmap:
    """`jax.pmap`: every process gives and gets arrays of its own devices."""

    def __init__(self, devices: list[jax.Device]) -> None:
        self._devices = devices
        mine = [d for d in devices if d.process_index == jax.process_index()]
        self._everywhere = NamedSharding(_mesh(mine), PartitionSpec())

    def map(self, function: Callable, *, num_settings: int, donate_first: bool) -> Any:
        """Maps `function(replicated, shard, *settings)` over the devices."""
        return jax.pmap(
            function,
            axis_name=AXIS,
            in_axes=(None, 0, *[None] * num_settings),
            out_axes=None,
            devices=self._devices,
            donate_argnums=(0,) if donate_first else (),
        )

    def replicate(self, tree: Any) -> Any:
        """Copies the host's arrays to every device of this process."""
        return _replicate(tree, lambda x: jax.device_put(x, self._everywhere))

    def split(self, tree: Any) -> Any:
        """Leaves arrays [local devices, ...] of the host to `pmap`, which splits them."""
        return tree

    def blank(self, tree: Any) -> Any:
        """Shapes in place of arrays, which a step may overwrite meanwhile."""
        if jax.process_count() > 1:  # `pmap` makes global arrays of them
            return self.replicate(
                jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
            )
        return _blank(tree, self._everywhere)


class ShardMap:
    """`jax.jit` of `jax.shard_map`: arrays belong to all devices of all processes."""

    def __init__(self, devices: list[jax.Device]) -> None:
        self._mesh = _mesh(devices)
        self._everywhere = NamedSharding(self._mesh, PartitionSpec())
        self._split = NamedSharding(self._mesh, PartitionSpec(AXIS))

    def map(self, function: Callable, *, num_settings: int, donate_first: bool) -> Any:
        """Maps `function(replicated, shard, *settings)` over the devices."""

        def on_one_device(replicated: Any, shard: Any, *settings: Any) -> Any:
            # `pmap` takes the axis of the devices away, `shard_map` leaves its length 1.
            shard = jax.tree.map(lambda x: jnp.squeeze(x, 0), shard)
            return function(replicated, shard, *settings)

        same = PartitionSpec()
        mapped = jax.shard_map(
            on_one_device,
            mesh=self._mesh,
            in_specs=(same, PartitionSpec(AXIS), *[same] * num_settings),
            out_specs=same,
            # As `pmap` does: a sum over the axis has no cotangents to sum once more.
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=(0,) if donate_first else ())

    def replicate(self, tree: Any) -> Any:
        """Copies the host's arrays, the same in all processes, to every device."""

        def place(x: Any) -> jax.Array:
            x = np.asarray(x)
            return jax.make_array_from_callback(
                x.shape, self._everywhere, lambda i: x[i]
            )

        return _replicate(tree, place)

    def split(self, tree: Any) -> Any:
        """Global arrays [devices, ...] of each process's [local devices, ...]."""

        def place(x: Any) -> jax.Array:
            return jax.make_array_from_process_local_data(self._split, np.asarray(x))

        return jax.tree.map(place, tree)

    def blank(self, tree: Any) -> Any:
        """Shapes in place of arrays, which a step may overwrite meanwhile."""
        return _blank(tree, self._everywhere)


MAPPINGS = {"pmap": Pmap, "shard_map": ShardMap}
"""The ways to map a program over devices; the numbers are the same to the bit."""


def _mesh(devices: list[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,))


def _replicate(tree: Any, place: Callable[[Any], jax.Array]) -> Any:
    is_placed = jax.Array, jax.ShapeDtypeStruct
    return jax.tree.map(lambda x: x if isinstance(x, is_placed) else place(x), tree)


def _blank(tree: Any, everywhere: NamedSharding) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), tree
    )


class Program:
    """`function(replicated, shard, *settings) -> replicated` over `devices`.

    `settings` are replicated arguments that are the same in every call: programs that
    differ in their values alone are compiled once. With `donate_first` the memory of the
    first argument is given to the result. `mapping`: a name in `MAPPINGS`.
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
        """Runs it, compiled for these shapes where it is not yet."""
        waiting = self._compiling.pop(_shapes(shard), None)
        # One that no thread has begun is compiled by the call below.
        if waiting is not None and not waiting.cancel():
            waiting.result()
        return self._mapped(*self._arguments(replicated, shard))

    def lowered(self, replicated: Any, shard: Any) -> jax.stages.Lowered:
        """The program of these shapes as it is given to the compiler."""
        with _LOWERING:
            return self._mapped.lower(*self._arguments(replicated, shard))

    def _arguments(self, replicated: Any, shard: Any) -> tuple:
        place = self._mapping
        return place.replicate(replicated), place.split(shard), *self._settings

    def compiled(self, replicated: Any, shard: Any) -> jax.stages.Compiled:
        """The program of these shapes, to ask for its text and its memory."""
        return self.lowered(replicated, shard).compile()

    def compile_ahead(
        self, pool: futures.Executor, replicated: Any, shards: Sequence[Any]
    ) -> list[futures.Future]:
        """Begins to compile the programs of `shards` in `pool`; a call waits for its own.

        The values of the arrays do not matter.
        """
        blank = self._mapping.blank(replicated)
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


def _shapes(tree: Any) -> tuple:
    return tuple(leaf.shape for leaf in jax.tree.leaves(tree))


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """Places arrays of the host on this process's share of `devices`, a copy on each.

    Arrays of the host given as they are would compile a program twice, and be copied in
    every call. A `jax.Array` stays where it is.
    """
    return Pmap(devices).replicate(tree)


def to_host(tree: Any) -> Any:
    """A copy of replicated arrays as NumPy arrays of this process."""
    return jax.tree.map(_to_numpy, tree)


def _to_numpy(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        leaf = leaf.addressable_shards[0].data
    # A copy: on a CPU the view would share memory that the next step is given.
    return np.array(leaf)
