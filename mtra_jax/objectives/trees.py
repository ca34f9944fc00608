"""Masks of trees: the leaves that a function applies to; means over devices."""

from typing import Any

import jax
import jax.numpy as jnp


def mask(name: str, booleans: Any, tree: Any) -> list[bool]:
    """The booleans for the leaves of `tree`, from a tree like it or a prefix of one.

    Raises:
      ValueError: `booleans` has another structure, or other leaves than booleans.
    """
    paths = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(booleans):
        is_boolean = isinstance(leaf, bool) or getattr(leaf, "dtype", "") == jnp.bool_
        is_array = getattr(leaf, "shape", ()) != ()
        is_traced = isinstance(leaf, jax.core.Tracer)
        if is_array or is_traced or not is_boolean:
            shown = f"an array of shape {leaf.shape}" if is_array else repr(leaf)
            shown = "a traced value" if is_traced else shown
            raise ValueError(f"{_rule(name)}; found {shown}{_place(path)}.")
        paths.append(path)
    try:
        return jax.tree.leaves(jax.tree.broadcast(booleans, tree))
    except ValueError as error:  # of many lines
        own = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        fault = "other containers"
        if extra := [p for p in paths if all(q[: len(p)] != p for q in own)]:
            fault = f"one{_place(extra[0])}, where the parameters have no entry"
        if missing := [q for q in own if all(q[: len(p)] != p for p in paths)]:
            fault = f"no boolean{_place(missing[0])}"
        raise ValueError(f"{_rule(name)}; found {fault}.") from error


def mean_over(tree: Any, axis_name: str | None, averaged: Any = False) -> Any:
    """Averages over the axis the leaves that the mask `averaged`, or a prefix, leaves out.

    None for `axis_name` means no axis.
    """
    if axis_name is None:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    done = mask("averaged", averaged, tree)
    means = iter(
        jax.lax.pmean(
            [leaf for leaf, hit in zip(leaves, done, strict=True) if not hit], axis_name
        )
    )
    return jax.tree.unflatten(
        structure,
        [leaf if hit else next(means) for leaf, hit in zip(leaves, done, strict=True)],
    )


def _rule(name: str) -> str:
    return f"`{name}` must return a tree of booleans like the parameters, or a prefix of it"


def _place(path: tuple) -> str:
    return f" at {jax.tree_util.keystr(path) or 'the top'}"
