"""The state and one shard of a packed batch -> the next state and metrics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mtra_jax.methods import gradients, layout
from mtra_jax.methods.contract import Method
from mtra_jax.types import Batch, Metrics, Params, Rngs


class TrainState(NamedTuple):
    """The arrays that training changes, and the root key of its randomness.

    `bad_steps` counts the latest skipped steps in a row. The key is an argument of the
    program, not a constant in it, so that runs with different seeds share compiled
    programs.
    """

    params: Params
    optimiser: Any
    method: Any
    """The method's memory, see `gradients.first_memory`."""
    step: jax.Array
    bad_steps: jax.Array
    rng: jax.Array
    """uint32 [2], the words of the root key; constant."""


def init_state(
    method: Method,
    optimiser: optax.GradientTransformation,
    params: Params,
    rng: jax.Array,
) -> TrainState:
    """Returns the state before the first step of the run with the root key `rng`."""
    zero = jnp.zeros((), jnp.int32)
    words = jax.random.key_data(rng)
    moments = jax.jit(optimiser.init)(params)  # one program, not one for each leaf
    memory = gradients.first_memory(method, params)
    return TrainState(params, moments, memory, zero, zero, words)


def step_rngs(root: jax.Array, step: jax.Array, axis_name: str | None) -> Rngs:
    """Returns the "method" key, the same on all devices, and the device's "dropout" key."""
    method_rng, dropout_rng = jax.random.split(jax.random.fold_in(root, step))
    if axis_name is not None:
        device = jax.lax.axis_index(axis_name)
        dropout_rng = jax.random.fold_in(dropout_rng, device)
    return {"method": method_rng, "dropout": dropout_rng}


def make_update(
    method: Method,
    optimiser: optax.GradientTransformationExtraArgs,
    *,
    tasks: tuple[str, ...],
    one_task: bool,
    axis_name: str | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Returns `update(state, batch) -> (state, metrics)` for one device's shard.

    `tasks`: the names of all tasks in the order of the label space. With `one_task` the
    caller guarantees that each global batch holds a single task. The metrics hold [T]
    arrays (`losses`, `present`, `weights`, and each term of the method under `terms`) and
    scalars (`objective`, `scalars`).

    A step whose objective or gradient is not finite is skipped: only `step` and
    `bad_steps` change. All devices compute the same global values, so they skip the same
    steps. The new parameters are not read for this, so that one pass over them computes and
    writes them; a finite gradient moves them beyond float32 only at absurd rates.
    """

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        root = jax.random.wrap_key_data(state.rng)
        rngs = step_rngs(root, state.step, axis_name)
        gradient = gradients.differentiate(
            method,
            state.params,
            batch,
            rngs,
            state.method,
            tasks=tasks,
            one_task=one_task,
            axis_name=axis_name,
        )
        updates, optimiser_state = optimiser.update(
            gradient.grads, state.optimiser, state.params, present=gradient.present
        )
        params = optax.apply_updates(state.params, updates)
        norms = {
            "norm/grads": optax.tree.norm(gradient.grads),
            "norm/updates": optax.tree.norm(updates),
            "norm/params": optax.tree.norm(params),
        }
        is_good = jnp.isfinite(norms["norm/grads"] + gradient.objective)
        bad_steps = jnp.where(is_good, 0, state.bad_steps + 1)
        skipped = state._replace(step=state.step + 1, bad_steps=bad_steps)
        taken = skipped._replace(
            params=params, optimiser=optimiser_state, method=gradient.memory
        )
        new_state = jax.tree.map(
            lambda new, old: jnp.where(is_good, new, old), taken, skipped
        )
        metrics = {
            "losses": gradient.losses,
            "present": gradient.present,
            "weights": gradient.weights,
            "terms": gradient.terms,
            "objective": gradient.objective,
            "scalars": {**gradient.scalars, **norms, "bad_steps": bad_steps},
        }
        return new_state, metrics

    return update


def make_forward(
    method: Method, *, axis_name: str | None = None
) -> Callable[[Params, Batch], tuple[jax.Array, Metrics]]:
    """Returns `forward(params, batch) -> (outputs, metrics)` without dropout.

    `outputs`: [B * D, L], of the global batch in planned order. `metrics`: `losses` [T] and
    `terms`, as in training but without MTRA's perturbation, which needs a gradient
    (section 3.3). `batch` has one part.
    """

    def forward(params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        outcome = method.losses(params, layout.only_part(batch), None, axis_name)
        outputs = layout.gather(outcome.outputs, axis_name)
        return outputs, {"losses": outcome.losses, "terms": outcome.terms}

    return forward
