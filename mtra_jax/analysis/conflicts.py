"""Gradients of T tasks -> their cosines, and the share of pairs that conflict."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax.balancing.rows import inner_products


def gramian(gradients: Any) -> jax.Array:
    """Returns the inner products [T, T] of the tasks' gradients.

    `gradients`: any pytree of arrays [T, ...].

    Raises:
      ValueError: there is no array, or the numbers of tasks differ.

    >>> gramian({"a": jnp.eye(2), "b": jnp.array([1.0, -1.0])}).tolist()
    [[2.0, -1.0], [-1.0, 2.0]]
    """
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(gradients)]
    counts = {leaf.shape[:1] for leaf in leaves}
    if len(counts) != 1 or counts == {()}:
        raise ValueError(
            "`gradients` must hold arrays [T, ...] of one T; "
            f"found shapes {[leaf.shape for leaf in leaves]}."
        )
    products = [inner_products(leaf) for leaf in leaves]
    return sum(products[1:], products[0])


def cosines(products: Any) -> np.ndarray:
    """Returns the cosines [..., T, T] of gradients with inner products [..., T, T].

    NaN for a task whose gradient is zero, such as one that is absent from a batch.

    Raises:
      ValueError: the last two axes differ.

    >>> cosines([[4.0, -1.0], [-1.0, 1.0]]).tolist()
    [[1.0, -0.5], [-0.5, 1.0]]
    """
    products = _square(products)
    lengths = np.sqrt(np.diagonal(products, axis1=-2, axis2=-1))
    scale = lengths[..., :, None] * lengths[..., None, :]
    ratios = np.where(scale > 0, products, np.nan) / np.where(scale > 0, scale, 1)
    return np.clip(ratios, -1, 1)  # rounding may pass 1


def conflict_share(products: Any) -> np.ndarray:
    """Returns the share [...] of pairs of tasks whose gradients have a negative cosine.

    `products` [..., T, T], as `gramian` returns. Pairs with a zero gradient are left
    out; NaN if no pair is left.

    Raises:
      ValueError: the last two axes differ.

    Source: Yu et al. 2020, Definition 1.

    >>> print(conflict_share([[1.0, -1.0, 2.0], [-1.0, 2.0, 0.0], [2.0, 0.0, 9.0]]))
    0.3333333333333333
    """
    angles = cosines(products)
    one, other = np.triu_indices(angles.shape[-1], 1)
    pairs = angles[..., one, other]
    count = np.isfinite(pairs).sum(axis=-1)
    conflicts = (pairs < 0).sum(axis=-1)
    return np.where(count > 0, conflicts, np.nan) / np.maximum(count, 1)


def _square(products: Any) -> np.ndarray:
    products = np.asarray(products, np.float64)
    if products.ndim < 2 or products.shape[-1] != products.shape[-2]:
        raise ValueError(f"`products` must be [..., T, T]; found {products.shape}.")
    return products
