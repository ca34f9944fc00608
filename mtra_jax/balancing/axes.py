"""A tree that is equal on all devices -> one that may differ, as `shard_map` tracks it."""

from typing import Any

import jax

from mtra_jax.balancing.contract import Tree


def varying(tree: Tree, axis_name: str | None) -> Tree:
    """Marks `tree` as different on each device, as `shard_map` tracks it.

    The gradient with respect to a value that is equal on all devices would be the sum over
    them. The mark of losses that are equal, such as those of the global batch, makes their
    gradient D times that of the device's part, as in `pmap`.
    """
    if axis_name is None:
        return tree

    def mark(leaf: Any) -> Any:
        # JAX refuses a leaf that is marked already, and has no stable name for the mark.
        try:
            return jax.lax.pcast(leaf, axis_name, to="varying")
        except ValueError:
            return leaf

    return jax.tree.map(mark, tree)
