"""A function of one device's shard -> a compiled program over all devices.

`pmap` and `shard_map` give the same numbers to the bit. State and results have no device
axis: every device holds the same copy. Batches have a leading axis of the local devices.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "data"


class Mapping(Protocol):
    """A way to map functions over a list of devices, and to place their arguments."""

    def map(
        self, function: Callable, *, num_settings: int, donate_first: bool
    ) -> jax.stages.Wrapped:
        """Maps `function(replicated, shard, *settings)` over the devices."""
        ...

    def replicate(self, tree: Any) -> Any:
        """Copies the host's arrays, the same in all processes, to every device."""
        ...

    def split(self, tree: Any) -> Any:
        """Prepares the host's arrays [local devices, ...] as the `shard` of the program."""
        ...

    def blank(self, tree: Any) -> Any:
        """Returns replicated shapes in place of arrays, for compiling ahead.

        A step may overwrite the arrays while another thread compiles.
        """
        ...


class Pmap:
    """`jax.pmap`: each process passes and receives arrays of its devices."""

    def __init__(self, devices: list[jax.Device]) -> None:
        self._devices = devices
        mine = [d for d in devices if d.process_index == jax.process_index()]
        self._everywhere = NamedSharding(_mesh(mine), PartitionSpec())

    def map(
        self, function: Callable, *, num_settings: int, donate_first: bool
    ) -> jax.stages.Wrapped:
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
        """Returns the host's arrays [local devices, ...], which `pmap` itself splits."""
        return tree

    def blank(self, tree: Any) -> Any:
        """Returns replicated shapes in place of arrays, for compiling ahead."""
        if jax.process_count() > 1:
            # `pmap` makes global arrays of its arguments, which takes values.
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

    def map(
        self, function: Callable, *, num_settings: int, donate_first: bool
    ) -> jax.stages.Wrapped:
        """Maps `function(replicated, shard, *settings)` over the devices."""

        def on_one_device(replicated: Any, shard: Any, *settings: Any) -> Any:
            # `pmap` removes the device axis; `shard_map` leaves it with length 1.
            shard = jax.tree.map(lambda x: jnp.squeeze(x, 0), shard)
            return function(replicated, shard, *settings)

        same = PartitionSpec()
        mapped = jax.shard_map(
            on_one_device,
            mesh=self._mesh,
            in_specs=(same, PartitionSpec(AXIS), *[same] * num_settings),
            out_specs=same,
            # As in `pmap`: the cotangents of a sum over the axis are not summed again.
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
        """Returns global arrays [devices, ...] from each process's [local devices, ...]."""

        def place(x: Any) -> jax.Array:
            return jax.make_array_from_process_local_data(self._split, np.asarray(x))

        return jax.tree.map(place, tree)

    def blank(self, tree: Any) -> Any:
        """Returns replicated shapes in place of arrays, for compiling ahead."""
        return _blank(tree, self._everywhere)


MAPPINGS: dict[str, Callable[[list[jax.Device]], Mapping]] = {
    "pmap": Pmap,
    "shard_map": ShardMap,
}
"""Constructors of the mappings by name."""


def _mesh(devices: list[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,))


def _replicate(tree: Any, place: Callable[[Any], jax.Array]) -> Any:
    is_placed = jax.Array, jax.ShapeDtypeStruct
    return jax.tree.map(lambda x: x if isinstance(x, is_placed) else place(x), tree)


def _blank(tree: Any, everywhere: NamedSharding) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), tree
    )
