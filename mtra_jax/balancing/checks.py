"""The arguments of a step -> the same, or a ValueError with the rule and the value.

Checks of a step read shapes and types alone: they run once, when the step is traced.
"""

import math
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp

from mtra_jax.balancing.contract import Balancer, Reads, State, Tree


class OptionError(ValueError):
    """An option is out of its range; `rule` says in words what is valid.

    `choices`: the texts among which it must be, if it is a text.
    """

    def __init__(
        self, name: str, value: Any, rule: str, choices: tuple[str, ...] = ()
    ) -> None:
        super().__init__(f"`{name}` must be {rule}; found {value!r}.")
        self.name, self.value, self.rule, self.choices = name, value, rule, choices


def option(name: str, value: Any, rule: str, is_valid: Callable[[Any], bool]) -> None:
    """Raises OptionError unless `is_valid(value)`; `rule` says in words what is valid.

    Programs may take numbers as arguments, which have no value when they are traced.
    """
    if not isinstance(value, jax.core.Tracer) and not is_valid(value):
        raise OptionError(name, value, rule)


def choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raises OptionError unless `value` is one of `choices`."""
    names = tuple(choices)
    if value not in names:
        rule = " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        raise OptionError(name, value, rule, names)


def balancer(value: Any) -> None:
    """Raises TypeError if `value` is not a `Balancer`, as a function not called yet."""
    if isinstance(value, Balancer) and not isinstance(value.reads, Reads):
        raise TypeError(f"`reads` must be a value of `Reads`; found {value.reads!r}.")
    if not isinstance(value, Balancer):
        kind = getattr(value, "__name__", type(value).__name__)
        raise TypeError(
            f"`balancer` must be a Balancer, such as `cagrad()` returns; found {kind}."
        )


def positive(name: str, value: Any) -> None:
    """Raises OptionError unless `value` is positive and finite."""
    option(name, value, "more than 0, finite", lambda x: 0 < _number(x) < math.inf)


def not_negative(name: str, value: Any) -> None:
    """Raises OptionError unless `value` is 0 or more, and finite."""
    option(name, value, "0 or more, finite", lambda x: 0 <= _number(x) < math.inf)


def share(name: str, value: Any) -> None:
    """Raises OptionError unless `value` is in [0, 1]."""
    option(name, value, "at least 0 and at most 1", lambda x: 0 <= _number(x) <= 1)


def counts(name: str, values: Any) -> tuple[Any, ...]:
    """Returns `values`, numbers of 0 or more with a positive sum.

    Raises:
      OptionError: they are not, as far as they have values.
    """
    is_list = isinstance(values, Iterable) and getattr(values, "ndim", 1) > 0
    numbers = tuple(values) if is_list else ()
    valued = [_number(x) for x in numbers if not isinstance(x, jax.core.Tracer)]
    # The sum has a value only if no number is traced.
    is_traced = len(valued) < len(numbers)
    if not (
        all(map(_is_single, numbers))
        and all(x >= 0 for x in valued)
        and sum(valued) < math.inf
        and (is_traced or sum(valued) > 0)
    ):
        raise OptionError(name, values, "numbers of 0 or more, not all 0")
    # In Python's floats: the sum of narrow integers overflows.
    return tuple(x if isinstance(x, jax.core.Tracer) else _number(x) for x in numbers)


def _is_single(value: Any) -> bool:
    return getattr(value, "shape", ()) == ()


def _number(value: Any) -> float:
    """`value` as a float; NaN, which lies in no range, for what is not a number."""
    try:
        return math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def integer(name: str, value: Any, least: int = 1) -> None:
    """Raises OptionError unless `value` is an integer of `least` or more."""
    option(
        name,
        value,
        f"an integer, {least} or more",
        lambda number: isinstance(number, Integral) and int(number) >= least,
    )


def pair(result: Any) -> tuple[Any, Any]:
    """Returns `result` if it is a pair.

    Raises:
      ValueError: it is not.
    """
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(
            "With `has_aux`, `losses_fn` must return a pair (losses, outputs); found "
            f"{_described(result)}."
        )
    return result


def result(returned: Any, has_aux: bool) -> tuple[jax.Array, Any]:
    """Losses [T] and outputs of what `losses_fn` returned; None without `has_aux`.

    Raises:
      ValueError: it is not a pair with `has_aux`, or the losses are not [T] floats.
    """
    values, outputs = pair(returned) if has_aux else (returned, None)
    return losses(values), outputs


def losses(values: Any, rule: str = "`losses_fn` must return losses [T]") -> jax.Array:
    """Returns `values` if they are an array [T] of floats.

    Raises:
      ValueError: they are not, or T is 0; the message begins with `rule`.
    """
    is_array = isinstance(values, jax.Array)
    if not (
        is_array
        and values.ndim == 1
        and values.size
        and jnp.issubdtype(values.dtype, jnp.floating)
    ):
        raise ValueError(f"{rule}; found {_described(values)}.")
    return jnp.asarray(values)


def rows_of_a_batch(z: Tree) -> None:
    """Raises ValueError if an array of a representation has no axis for the batch."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(z):
        if leaf.ndim == 0:
            raise ValueError(
                "the representation must have the batch as its first axis; found a number "
                f"at {jax.tree_util.keystr(path) or 'the top'}."
            )


def floats(name: str, tree: Tree) -> None:
    """Raises ValueError if `tree` has no leaves, or a leaf that is not a float."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if not leaves:
        raise ValueError(f"{_quoted(name)} must have arrays; found none.")
    for path, leaf in leaves:
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"{_quoted(name)} must have floats alone, which have gradients; found "
                f"{dtype} at {jax.tree_util.keystr(path) or 'the top'}."
            )


def rows(name: str, tree: Tree, count: int) -> None:
    """Raises ValueError if a leaf of `tree` is not [`count`, ...]."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        shape = jnp.shape(leaf)
        if shape[:1] != (count,):
            raise ValueError(
                f"{_quoted(name)} must have a row for each of the {count} losses; found "
                f"shape {shape} at {jax.tree_util.keystr(path) or 'the top'}. `jnp.stack` "
                "makes one array of T."
            )


def parameters(params: Tree) -> None:
    """Raises ValueError if `params`, of a balancer's `init`, is missing or no float."""
    if params is None:
        raise ValueError(
            "`params` must be the second argument of `init` for this balancer, or a row of "
            "the representation with `represent`; found None."
        )
    floats("params", params)


def present(values: Any, count: int) -> jax.Array:
    """Returns `values` as bool [T]; all True for None.

    Raises:
      ValueError: the shape is another.
    """
    if values is None:
        return jnp.ones(count, bool)
    values = jnp.asarray(values)
    if values.shape != (count,):
        raise ValueError(
            f"`present` must have shape ({count},), as the losses; found {values.shape}."
        )
    return values.astype(bool)


def is_state(value: Any) -> None:
    """Raises TypeError if `value` is not a `State`, as if the argument was forgotten."""
    if not isinstance(value, State):
        raise TypeError(
            "`state` must be what `init` or the step before returned; found "
            f"{_described(value)}."
        )


def state(balancer: Balancer, value: State, count: int, like: Tree) -> None:
    """Raises ValueError if the shapes of `value` are not those of `balancer.init`.

    `count`: T. `like`: the variables that gradients are taken with respect to.
    """
    extra = (like,) if balancer.reads is Reads.GRADIENTS else ()
    expected = _shapes(jax.eval_shape(lambda: balancer.init(count, *extra)))
    actual = _shapes(value)
    if actual != expected:
        raise ValueError(
            f"`state` must be that of `init` for {count} tasks, with {_listed(expected)}; "
            f"found {_listed(actual)}."
        )


def memory(value: Tree, before: Tree) -> None:
    """Raises ValueError if the memory that `combine` returned has other shapes."""
    expected, actual = _shapes(before), _shapes(value)
    if actual != expected:
        wanted, actual_text = map(_listed, (expected, actual))
        if actual[1] == expected[1]:
            wanted, actual_text = (f"the structure {x[0]}" for x in (expected, actual))
        raise ValueError(
            f"`combine` must return a memory like that of the state, with {wanted}; found "
            f"{actual_text}."
        )


def like(name: str, tree: Tree, params: Tree) -> Tree:
    """Returns `tree`, which the function `name` returned, if it is like `params`.

    Raises:
      ValueError: it does not.
    """
    # The stubs of PyTreeDef have no comparison.
    expected: Any = jax.tree.structure(params)
    actual: Any = jax.tree.structure(tree)
    if actual != expected:
        raise ValueError(
            f"`{name}` must return a tree like `params`, {expected}; found {actual}."
        )
    return tree


def per_task(name: str, values: Any, count: int, dtype: Any) -> jax.Array:
    """Returns `values`, one number or T of them, as an array.

    Raises:
      OptionError: their number is not 1 and not T, or one is not finite.
    """
    items, shape = [values], getattr(values, "shape", ())
    if isinstance(values, list | tuple):
        items, shape = list(values), (len(values),)
    elif shape == (count,):
        items = list(values)

    def is_finite(item: Any) -> bool:
        is_traced = isinstance(item, jax.core.Tracer)
        return _is_single(item) and (is_traced or math.isfinite(_number(item)))

    if shape not in ((), (count,)) or not all(map(is_finite, items)):
        rule = f"a finite number, or {count} of them, one for each task"
        raise OptionError(name, values, rule)
    return jnp.asarray(values, dtype)


def _shapes(tree: Tree) -> tuple[Any, list[tuple[int, ...]]]:
    return jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]


def _listed(shapes: tuple[Any, list[tuple[int, ...]]]) -> str:
    listed = ", ".join(map(str, shapes[1]))
    return f"shapes {listed}" if listed else "no arrays"


def _quoted(name: str) -> str:
    return name if " " in name else f"`{name}`"


def _described(value: Any) -> str:
    if isinstance(value, jax.Array):
        return f"shape {value.shape} of {value.dtype}"
    return f"a {type(value).__name__}"
