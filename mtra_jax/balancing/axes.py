"""Values that are equal on all devices -> ones that may differ, as `shard_map` has them."""

from typing import Any

import jax

from mtra_jax.balancing import checks
from mtra_jax.balancing.contract import Tree, wide


def varying(tree: Tree, axis_name: str | None) -> Tree:
    """Marks `tree` as different on each device, as `shard_map` tracks it.

    The gradient with respect to a value that is equal on all devices would be the sum over
    them.
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


def result(
    returned: Any, *, has_aux: bool, axis_name: str | None
) -> tuple[jax.Array, Any]:
    """`checks.result` of what `losses_fn` returned; the losses are `wide` and `varying`.

    The mark makes the gradient of losses that are equal, such as those of the global batch,
    D times that of the device's part, as in `pmap`: the mean over D devices is then right.
    """
    losses, outputs = checks.result(returned, has_aux)
    return varying(wide(losses), axis_name), outputs
